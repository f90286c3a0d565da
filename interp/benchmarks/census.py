"""Count what is in a benchmark (Figure 3)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from interp.benchmarks import reading
from interp.benchmarks.schema import SPLITS
from interp.views import Shown


@dataclass(frozen=True, repr=False)
class Census(Shown):
    """What is in a benchmark."""

    name: str
    counts: Mapping[str, Mapping[str, int]]
    """Culture → split → samples."""
    languages: Mapping[str, int]
    """Language of the native captions → samples."""
    categories: Mapping[str, int]
    regions: Mapping[str, int]
    lengths: Mapping[str, Mapping[str, float]]
    """Language → caption → median length in characters."""
    licences: Mapping[str, int]
    """Licence of the picture → samples; '' where none is given."""
    reviews: Mapping[str, int]
    """Review status of the native captions → samples; '' where none is given."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have samples."""
        return tuple(s for s in SPLITS if any(s in row for row in self.counts.values()))

    def __repr__(self) -> str:
        head = f"{'':>14}" + "".join(f"{s:>14}" for s in self.splits)
        rows = [f"{c:>14}" + "".join(f"{n.get(s, 0):>14,}" for s in self.splits) for c, n in self.counts.items()]
        total = [sum(n.get(s, 0) for n in self.counts.values()) for s in self.splits]
        more = f"{len(self.categories)} categories, {len(self.regions)} regions, {len(self.languages)} languages"
        return "\n".join([f"{self.name}: {sum(total):,} samples, {more}", head, *rows,
                          f"{'all':>14}" + "".join(f"{n:>14,}" for n in total)])  # fmt: skip


def census(folder: str | Path) -> Census:
    """Count what is in a benchmark.

    Args:
        folder: in CultureBench format, or "pocket".

    Raises:
        InterpError: it is not in order.
    """
    bench = reading.load(folder)
    rows = reading.table_rows(bench)
    counts = {c: Counter(r.split for r in rows if r.culture == c) for c in bench.cultures}
    lengths = {}
    for language in sorted({r.language for r in rows}):
        spoken = [r for r in rows if r.language == language]
        lengths[language] = {
            f: float(median(len(getattr(r, f)) for r in spoken)) for f in ("culture_style", "noun_only")
        }
    return Census(
        bench.name,
        counts,
        _counted([r.language for r in rows]),
        _counted([r.category for r in rows]),
        _counted([r.region for r in rows if r.region]),
        lengths,
        _counted([r.image_licence or bench.card.image_licence or "" for r in rows]),
        _counted([r.review or "" for r in rows]),
    )


def _counted(names: list[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())
