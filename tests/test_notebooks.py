"""The notebook runs as a script on the pocket model, with fewer samples; the swap is asserted."""

import re
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "notebooks" / "01_tour.py"


def test_tour_runs(tmp_path, monkeypatch):
    text, swapped = re.subn(r"PER_CULTURE = 4\b", "PER_CULTURE = 1", SOURCE.read_text(encoding="utf-8"))
    assert swapped == 1
    names: dict = {}
    exec(compile(text, str(SOURCE), "exec"), names)
    assert len(names["effect"].sample_ids) == len(names["bench"].cultures)
    assert names["effect"].difference["masked"].estimate < 0
    assert "Mask(Italy) + Steer(Japan" in repr(names["plan"])


def test_the_notebook_is_built_from_the_script():
    import json

    built = json.loads(SOURCE.with_suffix(".ipynb").read_text(encoding="utf-8"))
    code = ["".join(c["source"]) for c in built["cells"] if c["cell_type"] == "code"]
    cells = [
        part.split("\n", 1)[1].strip()
        for part in SOURCE.read_text().split("\n# %%")[1:]
        if "[markdown]" not in part[:15]
    ]
    assert [c.strip() for c in code] == cells
    assert any(c.get("outputs") for c in built["cells"])
