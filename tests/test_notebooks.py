"""The notebook runs as a script on the pocket model, with fewer samples; the swap is asserted."""

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


def test_the_notebook_is_the_script_as_it_ran():
    built = nbformat.read(SOURCE.with_suffix(".ipynb"), as_version=4)
    script = jupytext.read(SOURCE)
    assert [(c.cell_type, c.source) for c in built.cells] == [(c.cell_type, c.source) for c in script.cells]
    outputs = [o for c in built.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 4
    assert not [o for o in outputs if "/home/" in str(o) or "/work/" in str(o) or "/tmp/" in str(o)]
