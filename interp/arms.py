"""One arm of an experiment: prompts under plans → pictures → the judge's answers, kept so that a run can resume.

All arms of an experiment share prompts and seeds; the seed of a sample follows from its name.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from interp import capture, generation, stats
from interp.benchmarks import Benchmark
from interp.errors import InterpError
from interp.interventions import Plan
from interp.metrics.judges.base import Judge, hits
from interp.metrics.judges.pocket import load_judge
from interp.models.base import Adapter, Conditioned
from interp.store import Journal, sha256_tensors
from interp.types import Arm, Interval, Sample


def default_judge(bench: Benchmark) -> Judge:
    """The judge of a benchmark.

    Raises:
        InterpError: none ships for it.
    """
    if not bench.name.startswith("pocket"):
        raise InterpError(f"no judge ships for benchmark {bench.name!r}: pass judge=, such as one of interp.metrics")
    return load_judge()


def seed_of(sample: str, seed: int = 0) -> int:
    """The image seed of a sample: a checksum of its id, so that it does not depend on which others are drawn."""
    return zlib.crc32(f"{seed}/{sample}".encode())


@dataclass(frozen=True)
class Stage:
    """What all arms of one experiment share."""

    model: Adapter
    judge: Judge
    samples: tuple[Sample, ...]
    seed: int = 0
    steps: int | None = None
    """Sampler steps; None for the model's."""
    guidance: float | None = None
    cache: Path | None = None
    """Folder of finished batches; None to keep nothing."""
    progress: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def clusters(self) -> tuple[str, ...]:
        """Noun × culture: samples of one pair are not independent."""
        return tuple(f"{s.culture}/{s.category}" for s in self.samples)

    @cached_property
    def cultures(self) -> tuple[str, ...]:
        return tuple(s.culture for s in self.samples)

    @cached_property
    def seeds(self) -> list[int]:
        return [seed_of(s.id, self.seed) for s in self.samples]

    def prompts(self, kind: str) -> list[str]:
        """`cult`, `noun` (native) or `cult_en`, `noun_en`."""
        pair, side = ("english" if kind.endswith("_en") else "native"), kind.removesuffix("_en")
        return [getattr(getattr(s, pair), side).text for s in self.samples]

    def conditioning(self, kind: str, plans: Sequence[Plan]) -> Conditioned:
        """Encode one kind of prompts under one plan a sample."""
        return generation.encode(self.model, self.prompts(kind), plans, progress=self.progress)

    def arm(
        self, label: str, kind: str, plans: Sequence[Plan] | None = None, truth: Sequence[str] | None = None
    ) -> Arm:
        """Draw and judge.

        Args:
            label: its name in tables.
            kind: which prompts.
            plans: one a sample; None for none.
            truth: the culture to look for, if not the sample's own.
        """
        chosen = list(plans or [Plan()] * len(self.samples))
        conditioning = self.conditioning(kind, chosen)
        return self.judged(label, conditioning, truth)

    def judged(self, label: str, conditioning: Conditioned, truth: Sequence[str] | None = None) -> Arm:
        """Draw and judge a conditioning of the samples."""
        answers = [a for batch in self._answers(label, conditioning) for a in batch]
        return Arm(
            label=label,
            culture_hit=hits([a[0] for a in answers], truth or self.cultures),
            noun_hit=hits([a[1] for a in answers], [s.category for s in self.samples]),
            answer=tuple(a[0] for a in answers),
        )

    def _answers(self, label: str, conditioning: Conditioned) -> list[list[list[str]]]:
        """The judge's (culture, noun) of every picture, batch by batch; finished batches come from the journal."""
        judge = getattr(self.judge, "digest", None)
        journal = Journal(self.cache / "arms.jsonl") if self.cache and judge else None
        out = []
        for rows in capture.batches(len(self.samples), self.model.images_at_once, label, self.progress):
            part, seeds = conditioning.rows(rows), self.seeds[rows.start : rows.stop]
            key = self._key(part, seeds, judge)
            known = None if journal is None else journal.done(key)
            if known is None:
                pictures = self.model.images(part, seeds, self.steps, self.guidance)
                verdicts = self.judge(list(pictures), [self.samples[i].id for i in rows])
                nouns = verdicts.noun or [""] * len(pictures)
                known = [list(pair) for pair in zip(verdicts.culture, nouns, strict=True)]
                if journal is not None:
                    journal.record(key, known)
            out.append(known)
        return out

    def _key(self, part: Conditioned, seeds: Sequence[int], judge: str | None) -> str:
        """Digest of all that decides the answers to a batch of pictures."""
        said = f"{self.model.digest}/{judge}/{self.steps}/{self.guidance}/{list(seeds)}".encode()
        return sha256_tensors({"said": said} | part.arrays())

    def pictures(self, kind: str, plans: Sequence[Plan] | None = None) -> generation.Images:
        """The pictures of an arm, for grids of a few samples."""
        chosen = list(plans or [Plan()] * len(self.samples))
        return generation.render(self.model, self.conditioning(kind, chosen), self.seeds, self.steps, self.guidance)

    def interval(self, values: np.ndarray) -> Interval:
        """Mean with an interval over noun × culture clusters within cultures."""
        return stats.interval(values, self.clusters, self.cultures)

    def difference(self, treatment: np.ndarray, baseline: np.ndarray) -> Interval:
        """Paired difference with its interval."""
        return stats.paired_difference(treatment, baseline, self.clusters, self.cultures)

    def by_culture(self, values: np.ndarray) -> dict[str, Interval]:
        """Mean with interval in each culture."""
        own = np.array(self.cultures)
        clusters = np.array(self.clusters)
        return {c: stats.interval(values[own == c], clusters[own == c].tolist()) for c in dict.fromkeys(self.cultures)}
