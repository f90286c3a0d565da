"""The split of imported rows: no picture, caption or category of a culture is in two splits."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from scipy.cluster.hierarchy import DisjointSet

from interp.benchmarks import splits
from interp.benchmarks.importers.log import Log
from interp.benchmarks.schema import SplitName

SHARES: dict[SplitName, int] = {"train": 7, "test": 2, "detection": 1}
_FEW = "its culture has fewer than three categories"
_UNEVEN = "its culture shares its pictures or captions with others and does not reach every split"
Row = dict[str, Any]
Alike = Sequence[tuple[str, str]]
"""Paths of pictures that look the same."""


def split(rows: list[Row], alike: Alike, seed: int, log: Log) -> list[Row]:
    """The rows with their split, 7:2:1 in every culture; cultures for which that cannot be are left out.

    Categories that share a picture, one that looks the same or a culture-style caption go to one split, over all
    cultures that share them.
    """
    rows = _without_few(rows, alike, log)
    keys = [{"culture": culture, "category": category} for culture, category in _grouped(rows, alike)]
    done = [{**row, "split": k["split"]} for row, k in zip(rows, splits.split(keys, seed=seed), strict=True)]
    return _reaching(done, [row["split"] for row in done], _UNEVEN, log)


def _without_few(rows: list[Row], alike: Alike, log: Log) -> list[Row]:
    """The rows of cultures with at least three categories; what they shared with others counts no more."""
    while True:
        kept = _reaching(rows, [category for _, category in _grouped(rows, alike)], _FEW, log)
        if len(kept) == len(rows):
            return rows
        rows = kept


def _reaching(rows: list[Row], values: Sequence[str], reason: str, log: Log) -> list[Row]:
    """The rows of cultures with at least three different values, one of which is given per row."""
    by_culture: dict[str, set[str]] = defaultdict(set)
    for row, value in zip(rows, values, strict=True):
        by_culture[row["culture"]].add(value)
    kept = []
    for row in rows:
        if len(by_culture[row["culture"]]) < len(SHARES):
            log.leave(reason, row["culture"])
        else:
            kept.append(row)
    return kept


def _grouped(rows: Sequence[Row], alike: Alike) -> list[tuple[str, str]]:
    """For each row what its split goes by: the group of its culture and the group of its category."""
    cells = DisjointSet((row["culture"], row["category"]) for row in rows)
    owner: dict[tuple[str, str], tuple[str, str]] = {}
    for row in rows:
        cell = row["culture"], row["category"]
        for shared in (("image", row["image"]), ("caption", row["culture_style"])):
            cells.merge(cell, owner.setdefault(shared, cell))
    for one, other in alike:
        if ("image", one) in owner and ("image", other) in owner:
            cells.merge(owner["image", one], owner["image", other])
    cell_group = _least(cells)
    cultures = DisjointSet(row["culture"] for row in rows)
    for cell, (culture, _) in cell_group.items():
        cultures.merge(cell[0], culture)
    culture_group = _least(cultures)
    return [(culture_group[r["culture"]], "/".join(cell_group[r["culture"], r["category"]])) for r in rows]


def _least(groups: DisjointSet) -> dict[Any, Any]:
    """Every member → the least of its group, so that it does not depend on the order of joining."""
    return {member: least for members in groups.subsets() for least in [min(members)] for member in members}
