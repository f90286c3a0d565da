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
