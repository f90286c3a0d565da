"""A loaded benchmark: ask it for samples, prompt pairs, reference pictures and smaller benchmarks.

On disk it is a folder with `benchmark.json`, one table of samples and `images/`, which `reading.py` reads and writes.
"""

import html
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from interp.benchmarks import images
from interp.benchmarks.schema import SPLITS, Card
from interp.benchmarks.splits import check_seed, in_rounds
from interp.bounds import shown
from interp.errors import InterpError
from interp.grouping import group
from interp.types import PromptPair, Sample

CARD = "benchmark.json"


@dataclass(frozen=True, repr=False)
class Benchmark:
    """A loaded benchmark: its samples in memory, its pictures in a folder."""

    card: Card
    folder: Path
    digest: str
    """SHA-256 over rows and pixels of the whole benchmark, whatever part of it is loaded."""
    rows: tuple[Sample, ...]
    selection: tuple[str, ...] = ()
    """In words, what was left out on purpose."""

    @property
    def name(self) -> str:
        """The benchmark's name."""
        return self.card.name

    @property
    def cultures(self) -> tuple[str, ...]:
        """The label set, in the order a judge is offered it."""
        return self.card.labels

    @cached_property
    def languages(self) -> dict[str, str]:
        """Culture → language of most of its captions."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for sample in self.rows:
            counts[sample.culture][sample.language] += 1
        return {c: counts[c].most_common(1)[0][0] for c in self.cultures if c in counts}

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits that have samples."""
        present = {s.split for s in self.rows}
        return tuple(s for s in SPLITS if s in present)

    def samples(self, split: str, cultures: Collection[str] | None = None) -> tuple[Sample, ...]:
        """Samples of a split, in the table's order.

        Args:
            split: one of `splits`.
            cultures: only these; all if None.

        Raises:
            InterpError: if the split or a culture is unknown.
        """
        refuse_unknown("split", [split], self.splits)
        wanted = self.cultures if cultures is None else cultures
        refuse_unknown("culture", wanted, self.cultures)
        return tuple(s for s in self.rows if s.split == split and s.culture in wanted)

    def pairs(
        self, split: str, language: str = "native", cultures: Collection[str] | None = None
    ) -> tuple[PromptPair, ...]:
        """Prompt pairs of a split, in the table's order.

        Args:
            split: one of `splits`.
            language: "native" for the captions in the culture's own language, "english" for those in English.
            cultures: only these; all if None.

        Raises:
            InterpError: if the split, the language or a culture is unknown.
        """
        refuse_unknown("language", [language], ("native", "english"))
        return tuple(getattr(s, language) for s in self.samples(split, cultures))

    def image(self, sample: Sample) -> Image.Image:
        """The reference picture of a sample, as RGB.

        Raises:
            InterpError: if the file is missing or no picture.
        """
        return images.read(self.folder / sample.image)

    def subset(self, split: str, per_culture: int, seed: int) -> "Benchmark":
        """The benchmark with one split cut down, the other splits as they are.

        Within a culture the categories are gone through in rounds, one sample each, so that there are as many clusters
        as possible. A larger subset of the same seed contains the smaller one.

        Raises:
            InterpError: if the split is unknown, a culture of it has fewer samples, or the seed is none.
        """
        check_seed(seed)
        kept: set[str] = set()
        for culture, samples in group(self.samples(split), lambda s: s.culture).items():
            if not 0 < per_culture <= len(samples):
                raise InterpError(
                    f"{shown(per_culture)} samples per culture asked of split {split!r}; {culture} has {len(samples)}; "
                    f"ask for 1 to {len(samples)}"
                )
            kept |= {s.id for s in in_rounds(samples, seed)[:per_culture]}
        rows = tuple(s for s in self.rows if s.split != split or s.id in kept)
        note = f"{split}: {per_culture} per culture, seed {seed}"
        return replace(self, rows=rows, selection=(*self.selection, note))

    def coarse(self) -> "Benchmark":
        """The same benchmark with every sub-region taken as the culture that it belongs to."""
        rows = tuple(replace(s, culture=self.card.root(s.culture)) for s in self.rows)
        labels = tuple(c for c in self.card.labels if c not in self.card.parents)
        languages = {language: c and self.card.root(c) for language, c in self.card.languages.items()}
        card = self.card.model_copy(update={"labels": labels, "languages": languages, "parents": {}})
        return replace(self, card=card, rows=rows, selection=(*self.selection, "sub-regions taken as their cultures"))

    def __repr__(self) -> str:
        counts = Counter(s.split for s in self.rows)
        parts = [f"{s} {counts[s]}" for s in self.splits] + [f"[{note}]" for note in self.selection]
        return f"Benchmark({self.name!r}, {len(self.cultures)} cultures, {', '.join(parts)})"

    def _repr_html_(self) -> str:
        counts = Counter((s.culture, s.split) for s in self.rows)
        body = [[c, self.languages.get(c, ""), *(counts[c, s] for s in self.splits)] for c in self.cultures]
        head = _html_row("th", ["culture", "language", *self.splits])
        title = html.escape(" ".join([f"{self.name} {self.card.version}", *self.selection]))
        return f"<table><caption>{title}</caption>{head}{''.join(_html_row('td', r) for r in body)}</table>"


def _html_row(tag: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(str(c))}</{tag}>' for c in cells)}</tr>"


def refuse_unknown(kind: str, asked: Iterable[str], known: Sequence[str]) -> None:
    """Raise InterpError for the first that is not known, with those that are."""
    if unknown := [a for a in asked if a not in known]:
        raise InterpError(f"unknown {kind} {unknown[0]!r}; known: {', '.join(known)}")
