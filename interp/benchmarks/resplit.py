"""Split a benchmark anew."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.benchmarks import reading
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.rows import find_table, kind_of
from interp.benchmarks.schema import SplitRule
from interp.benchmarks.splits import HELD_OUT, split
from interp.store import check_new


def resplit(folder: str | Path, out: str | Path, shares: tuple[int, int, int] = (7, 2, 1), seed: int = 0) -> Benchmark:
    """Split a benchmark anew, into a folder of its own; the old one is not touched.

    Samples of the split `cross_domain` stay there.

    Args:
        folder: in CultureBench format.
        out: made here.
        shares: of train, test and detection.
        seed: the same seed splits the same rows alike.

    Raises:
        InterpError: it is not in order, a culture has fewer than three categories, or `out` exists.
    """
    check_new(Path(out))
    bench = reading.load(folder)
    rows = [r.model_dump(exclude_none=True) for r in reading.table_rows(bench)]
    held_out = [r for r in rows if r["split"] == HELD_OUT]
    new = split([r for r in rows if r["split"] != HELD_OUT], shares, seed=seed)
    rule = SplitRule(
        rule="every culture by itself, whole categories at a time",
        shares=dict(zip(("train", "test", "detection"), shares, strict=True)),  # type: ignore[arg-type]
        seed=seed,
    )
    card = bench.card.model_copy(update={"split": rule, "digests": {}})

    def place(row: Mapping[str, Any], path: Path) -> None:
        shutil.copyfile(bench.folder / row["image"], path)

    reading.write(out, [*new, *held_out], card, place, kind_of(find_table(bench.folder)))
    return reading.load(out)
