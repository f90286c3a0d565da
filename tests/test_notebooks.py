"""The notebook runs as a script on the pocket model, with fewer samples; what is stored is what the script makes."""

import re
from pathlib import Path

import jupytext
import nbformat

SOURCE = Path(__file__).parents[1] / "notebooks" / "01_tour.py"


def test_tour_runs(tmp_path, monkeypatch):
    text, swapped = re.subn(r"PER_CULTURE = 4\b", "PER_CULTURE = 1", SOURCE.read_text(encoding="utf-8"))
    assert swapped == 1
    names: dict = {}
    exec(compile(text, str(SOURCE), "exec"), names)
    assert len(names["effect"].sample_ids) == len(names["bench"].cultures)
    assert names["effect"].difference["masked"].estimate < 0
    assert "Mask(Italy) + Steer(Japan" in repr(names["plan"])


def test_stored_notebook_is_the_script_and_ran_cleanly():
    stored = nbformat.read(SOURCE.with_suffix(".ipynb"), as_version=4)
    wanted = jupytext.read(SOURCE)
    assert [(c.cell_type, c.source) for c in stored.cells] == [(c.cell_type, c.source) for c in wanted.cells]
    outputs = [out for cell in stored.cells if cell.cell_type == "code" for out in cell.outputs]
    assert {out.output_type for out in outputs} <= {"execute_result", "display_data", "stream"}
    assert not [out.text for out in outputs if out.output_type == "stream" and out.name == "stderr"]
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= 4
    assert not re.search(r"/(home|root|tmp|work|Users)/", nbformat.writes(stored))
