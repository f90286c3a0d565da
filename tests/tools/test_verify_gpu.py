"""tools/verify_gpu: a small part of it on the CPU; what fails, dies or hangs is a row."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from interp import InterpError

TOOL = Path(__file__).parents[2] / "tools" / "verify_gpu.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("verify_gpu", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["verify_gpu"] = module
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        spec.loader.exec_module(module)
        yield module


def rows(folder):
    return json.loads((folder / "table.json").read_text())["rows"]


def test_a_small_part_runs_on_the_cpu(tmp_path):
    """As a person calls it: certificate, capture, SAE, mask, a picture and an enhancer of a tiny model."""
    command = [sys.executable, TOOL, "--out", tmp_path, "--device", "cpu", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(tmp_path)
    assert all(row["ok"] for row in found)
    assert [row["part"] for row in found] == ["certificate"] + ["AltDiffusion-m18"] * 5
    drawn = next(row for row in found if row["what"] == "a picture of one step")
    assert drawn["note"] == "[1, 16, 16, 3]" and drawn["seconds"] > 0 < drawn["gib_estimated"] <= drawn["peak_gib"]
    assert "losses" in found[-1]["note"] and "moves the conditioning" in found[-3]["note"]
    table = (tmp_path / "table.md").read_text()
    assert table == done.stdout.rstrip("\n") + "\n" and all(row["what"] in table for row in found)


def started(tool, monkeypatch, text):
    """What `watched` starts in place of the script; its argument is the folder."""
    real = subprocess.Popen
    monkeypatch.setattr(tool.subprocess, "Popen", lambda c, **given: real([c[0], "-c", text, c[-1]], **given))


@pytest.mark.parametrize(
    ("text", "limit", "note"),
    [
        ("import time; time.sleep(60)", 1.0, "stopped after 1 s"),
        ("raise SystemError('the driver | died')", 60.0, "ended with 1: SystemError: the driver | died"),
        ("import os; os.kill(os.getpid(), 11)", 60.0, "ended with -11: nothing said"),
    ],
)
def test_a_part_that_hangs_or_dies_is_a_row_and_loses_no_other(text, limit, note, tool, tmp_path, monkeypatch):
    row = json.dumps({"part": "pocket", "what": "CPU in float32", "ok": True, "seconds": 1.5})
    half = f"import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'rows.jsonl').write_text({row + chr(10) + '{'!r}); "
    started(tool, monkeypatch, half + text)
    tool.watched("pocket", limit, "cpu", tmp_path)
    whole, ended = rows(tmp_path)
    assert whole["ok"] and whole["seconds"] == 1.5
    assert not ended["ok"] and ended["note"] == note
    last = (tmp_path / "table.md").read_text().splitlines()[-1]
    assert "**failed**" in last and last.count("|") == 9


def test_what_fails_within_a_part_is_a_row(tool):
    def out_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    found = tool.tried("FLUX.1", "weights", "cpu", out_of_memory)
    assert not found.ok and found.note == "OutOfMemoryError: CUDA out of memory." and found.seconds is None
    assert tool.tried("FLUX.1", "weights", "cpu", lambda: "good").ok


def test_without_time_nothing_is_started_for_long(tool, tmp_path, monkeypatch, capsys):
    """Every part has its row, and the exit code says that it failed."""
    started(tool, monkeypatch, "import time; time.sleep(60)")
    assert tool.main(["--out", str(tmp_path), "--device", "cpu", "--minutes", "0"]) == 1
    assert [row["part"] for row in rows(tmp_path)] == list(tool.PARTS)
    assert all(not row["ok"] for row in rows(tmp_path)) and "stopped after 0 s" in capsys.readouterr().out


def test_limits_leave_room_for_the_start_of_each_part(tool):
    assert sum(limit for _, limit in tool.PARTS.values()) <= 10.5 * 60  # and `--minutes` bounds them together


@pytest.mark.parametrize("name", ["AltDiffusion-m18", "SDXL", "FLUX.1"])
def test_full_shapes_are_the_published_ones(name, tool, tmp_path):
    """Parameters in billions, as their authors give them."""
    wanted = {
        "AltDiffusion-m18": {"text_encoder": 0.56, "unet": 0.87, "vae": 0.08},
        "SDXL": {"text_encoder": 0.12, "text_encoder_2": 0.69, "unet": 2.57, "vae": 0.08},
        "FLUX.1": {"text_encoder": 0.12, "text_encoder_2": 4.76, "transformer": 11.9, "vae": 0.08},
    }
    from interp.models import sizes

    folder = tool.written(tool.SHAPES[name], tmp_path / "model", small=False)
    found = {part.name: part.parameters / 1e9 for part in sizes.parts(folder)}
    assert found == pytest.approx(wanted[name], rel=0.03, abs=0.01)


def test_verdicts_hold_in_the_papers_direction(tool):
    def verdict(**accuracy):
        return tool.Verdict({}, {k.replace("_", " "): v for k, v in accuracy.items()})

    assert verdict(named=80, masked=20, not_named=5, woken=60).holds
    assert not verdict(named=80, masked=80, not_named=5, woken=60).holds
    assert not verdict(named=80, masked=20, not_named=5, woken=5).holds
    with pytest.raises(InterpError, match="the CPU gave no verdict"):
        tool._compared("cpu", "float32", None, None, [])
