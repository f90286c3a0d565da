"""tools/verify_published: its path on fixtures in the hub's layout; a broken model is a line, not a stop."""

import json
import subprocess
import sys
from pathlib import Path

import families

TOOL = Path(__file__).parents[2] / "tools" / "verify_published.py"


def test_good_and_broken_models_each_get_a_line(tmp_path):
    good, broken = families.build_sd1(tmp_path / "good"), families.build_sd1(tmp_path / "broken")
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])
    out = tmp_path / "out"
    command = [sys.executable, "-W", "ignore", TOOL, "--out", out, "--size", "32", "--steps", "1", good, broken]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert ran.returncode == 1, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == {"passed": 1, "of": 2}
    lines = (out / "table.md").read_text().splitlines()
    assert lines[2].startswith(f"| {good} | yes |") and "| 0 |" in lines[2]
    assert lines[3].startswith(f"| {broken} | no: ") and "diffusion_pytorch_model.safetensors" in lines[3]
    kept = sorted(out.glob("*good/*"))
    assert [p.name for p in kept] == ["0.png", "1.png", "result.json"]
    assert json.loads(kept[-1].read_text())["certificate"]["image_equals_library"] == 0
