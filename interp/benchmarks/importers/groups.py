"""The split of imported rows: no picture, caption or category of a culture is in two splits."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from interp.benchmarks import splits
from interp.benchmarks.importers.drafts import Log
from interp.benchmarks.schema import SplitName

SHARES: dict[SplitName, int] = {"train": 7, "test": 2, "detection": 1}
_FEW = "its culture has fewer than three categories"
_UNEVEN = "its culture shares its pictures or captions with others and does not reach every split"
Row = dict[str, Any]
Alike = Sequence[tuple[str, str]]
"""Paths of pictures that look the same."""


def dealt(rows: list[Row], alike: Alike, seed: int, log: Log) -> list[Row]:
    """The rows with their split, 7:2:1 in every culture; cultures for which that cannot be are left out.

    Categories that share a picture, one that looks the same or a culture-style caption go to one split, over all
    cultures that share them.
    """
    rows = _enough(rows, alike, log)
    keys = [{"culture": culture, "category": category} for culture, category in _grouped(rows, alike)]
    done = [{**row, "split": k["split"]} for row, k in zip(rows, splits.split(keys, seed=seed), strict=True)]
    reached: dict[str, set[str]] = defaultdict(set)
    for row in done:
        reached[row["culture"]].add(row["split"])
    return _without(done, {c for c, found in reached.items() if len(found) < len(SHARES)}, _UNEVEN, log)


def _enough(rows: list[Row], alike: Alike, log: Log) -> list[Row]:
    """The rows of cultures with at least three categories; what they shared with others counts no more."""
    while True:
        found: dict[str, set[str]] = defaultdict(set)
        for row, (_, category) in zip(rows, _grouped(rows, alike), strict=True):
            found[row["culture"]].add(category)
        few = {culture for culture, categories in found.items() if len(categories) < len(SHARES)}
        if not few:
            return rows
        rows = _without(rows, few, _FEW, log)


def _without(rows: list[Row], cultures: set[str], reason: str, log: Log) -> list[Row]:
    for row in rows:
        if row["culture"] in cultures:
            log.leave(reason, row["culture"])
    return [r for r in rows if r["culture"] not in cultures]


def _grouped(rows: Sequence[Row], alike: Alike) -> list[tuple[str, str]]:
    """For each row what its split goes by: the group of its culture and the group of its category."""
    cells, cultures = _Groups(), _Groups()
    owner: dict[tuple[str, str], tuple[str, str]] = {}
    for row in rows:
        cell = row["culture"], row["category"]
        for shared in (("image", row["image"]), ("caption", row["culture_style"])):
            cells.join(cell, owner.setdefault(shared, cell))
    for one, other in alike:
        if ("image", one) in owner and ("image", other) in owner:
            cells.join(owner["image", one], owner["image", other])
    for row in rows:
        cultures.join(row["culture"], cells.root((row["culture"], row["category"]))[0])
    return [(cultures.root(r["culture"]), "/".join(cells.root((r["culture"], r["category"])))) for r in rows]


class _Groups:
    """Keys that belong together, and whatever belongs together with those (union-find)."""

    def __init__(self) -> None:
        self._up: dict[Any, Any] = {}

    def root(self, key: Any) -> Any:
        """The least key of the group, so that it does not depend on the order of joining."""
        passed = []
        while (up := self._up.setdefault(key, key)) != key:
            passed.append(key)
            key = up
        self._up |= dict.fromkeys(passed, key)
        return key

    def join(self, one: Any, other: Any) -> None:
        """Make two groups one."""
        low, high = sorted((self.root(one), self.root(other)))
        self._up[high] = low
