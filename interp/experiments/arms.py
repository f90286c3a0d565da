"""One arm of an experiment: prompts under plans → pictures → the judge's answers, kept so that a run can resume.

All arms of an experiment share prompts and seeds; the seed of a sample follows from its name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from interp import stats
from interp.activations import capture
from interp.benchmarks.images import Picture
from interp.experiments.setup import seed_of, texts
from interp.interventions import generate
from interp.interventions.edits import Plan
from interp.metrics.base import Metric
from interp.metrics.judges.base import Judge, OneByOne, hear, hits
from interp.metrics.run import is_paid
from interp.models.adapter import Adapter
from interp.models.records import Conditioned
from interp.store import Journal, sha256_bytes, sha256_tensors
from interp.types import Arm, Interval, Sample

JUDGE = "judge"


def _is_answer(value: Any) -> bool:
    """Whether the judge's pair, or a score, is one; what is none is asked for again in the next run."""
    return bool(value[0]) if isinstance(value, list) else not np.isnan(value)


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
    """Folder of finished batches, and of single answers where each is paid for; None to keep nothing."""
    progress: bool = True
    metrics: tuple[Metric, ...] = ()
    """What else every picture is measured by."""

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
        """`culture_style`, `noun_only` (native) or `culture_style_en`, `noun_only_en`."""
        return texts(self.samples, kind)

    def conditioning(self, kind: str, plans: Sequence[Plan]) -> Conditioned:
        """Encode one kind of prompts under one plan a sample."""
        return generate.encode(self.model, self.prompts(kind), plans, progress=self.progress)

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
        """Draw, judge and measure a conditioning of the samples."""
        seen = self._seen(label, conditioning)
        answers = [a for batch in seen for a in batch[JUDGE]]
        return Arm(
            label=label,
            culture_hit=hits([a[0] for a in answers], truth or self.cultures),
            noun_hit=hits([a[1] for a in answers], [s.category for s in self.samples]),
            answer=tuple(a[0] for a in answers),
            scores={m.name: np.array([v for batch in seen for v in batch[m.name]], dtype=float) for m in self.metrics},
        )

    def _seen(self, label: str, conditioning: Conditioned) -> list[dict[str, list[Any]]]:
        """Of every batch the judge's (culture, noun) and each metric's scores; finished ones come from the journal."""
        out = []
        for rows in capture.batches(len(self.samples), self.model.images_at_once, label, self.progress):
            part, seeds = conditioning.rows(rows), self.seeds[rows.start : rows.stop]
            samples = self.samples[rows.start : rows.stop]
            units = self._units(part, seeds, samples)
            known = {name: self._known(units.get(name, [])) for name in self._asked}
            if missing := [name for name, value in known.items() if value is None]:
                pictures = list(self.model.images(part, seeds, self.steps, self.guidance))
                # what is free first: a server may end the run
                for name in sorted(missing, key=lambda name: name in self._paid):
                    known[name] = self._ask(name, pictures, samples, units.get(name, []))
            out.append(known)
        return out

    def _units(self, part: Conditioned, seeds: Sequence[int], samples: Sequence[Sample]) -> dict[str, list[str]]:
        """Keys of what is recorded of a batch: of each picture by itself where it is paid for, else of all at once."""
        whole = self._keys(part, seeds, samples)
        units = {name: [key] for name, key in whole.items()}
        if paid := [name for name in whole if name in self._paid]:
            one = [self._keys(part.rows([n]), [seeds[n]], [samples[n]]) for n in range(len(samples))]
            units |= {name: [keys[name] for keys in one] for name in paid}
        return units

    def _known(self, keys: Sequence[str]) -> list[Any] | None:
        """What the journal says of a batch; None unless it says all."""
        if self._journal is None or not keys:
            return None
        found = [self._journal.done(key) for key in keys]
        return [value for unit in found if unit is not None for value in unit] if None not in found else None

    @cached_property
    def _paid(self) -> frozenset[str]:
        """Which of what is asked is paid for by the picture."""
        paid = {m.name for m in self.metrics if is_paid(m)}
        return frozenset(paid | {JUDGE} if isinstance(self.judge, OneByOne) else paid)

    @property
    def _asked(self) -> list[str]:
        return [JUDGE, *(m.name for m in self.metrics)]

    @cached_property
    def _journal(self) -> Journal | None:
        return Journal(self.cache / "arms.jsonl") if self.cache else None

    def _ask(self, name: str, pictures: Sequence[Picture], samples: Sequence[Sample], keys: Sequence[str]) -> list[Any]:
        """What the judge, or a metric, says of a batch, recorded as it comes.

        Args:
            name: of the metric, or `JUDGE`.
            pictures: of the batch.
            samples: of the batch.
            keys: of its units, in their order; empty where nothing is recorded.
        """
        by_picture = name in self._paid and len(keys) == len(pictures)
        done = [self._journal.done(k) if self._journal is not None and by_picture else None for k in keys]
        out: dict[int, Any] = {n: unit[0] for n, unit in enumerate(done) if unit is not None}
        rows = [n for n in range(len(pictures)) if n not in out]
        for part in self._said(name, [pictures[n] for n in rows], [samples[n] for n in rows]):
            new = {rows[at]: value for at, value in part.items()}
            out |= new
            if self._journal is None or not keys:
                continue
            units = (
                {keys[n]: [v] for n, v in new.items() if _is_answer(v)} if by_picture else {keys[0]: list(new.values())}
            )
            self._journal.record_all(units)
        return [out[n] for n in range(len(pictures))]

    def _said(self, name: str, pictures: Sequence[Picture], samples: Sequence[Sample]) -> Iterator[dict[int, Any]]:
        """What the judge, or a metric, says of pictures by their position, in the parts in which it comes."""
        if name == JUDGE:
            for rows, verdicts in hear(self.judge, pictures, [s.id for s in samples]):
                nouns = verdicts.noun or [""] * len(rows)
                yield {at: list(pair) for at, *pair in zip(rows, verdicts.culture, nouns, strict=True)}
            return
        metric = next(m for m in self.metrics if m.name == name)
        if is_paid(metric):
            for rows, scores in metric.each(pictures, samples):
                yield dict(zip(rows, scores.values.tolist(), strict=True))
        else:
            yield dict(enumerate(metric.measure(pictures, samples).values.tolist()))

    def _keys(self, part: Conditioned, seeds: Sequence[int], samples: Sequence[Sample]) -> dict[str, str]:
        """Of the judge and of each metric that has a digest: all that decides what it says of a batch of pictures."""
        said = f"{self.model.identity}/{self.steps}/{self.guidance}/{list(seeds)}".encode()
        drawn = sha256_tensors({"said": said} | part.arrays())
        judge = getattr(self.judge, "digest", None)
        keys = {JUDGE: f"{drawn}/{judge}/{[s.id for s in samples]}"} if judge else {}
        for metric in self.metrics:
            if metric.digest:
                keys[metric.name] = f"{drawn}/{metric.name}/{metric.digest}/{[metric.key(s) for s in samples]}"
        return {name: sha256_bytes(key.encode()) for name, key in keys.items()}

    def repeated(
        self, metric: Metric, kind: str, plans: Sequence[Plan] | None = None, numbers: int = 4
    ) -> Float[np.ndarray, "sample"]:
        """A score of every sample over several pictures of it, such as their diversity.

        Args:
            metric: scores the pictures of one sample together.
            kind: which prompts.
            plans: one a sample; None for none.
            numbers: pictures of each sample, with the seeds `seed`, `seed` + 1, …
        """
        conditioning = self.conditioning(kind, list(plans or [Plan()] * len(self.samples)))
        stages = [replace(self, seed=self.seed + n, metrics=(metric,)) for n in range(numbers)]
        seeds = [seed for stage in stages for seed in stage.seeds]
        key = stages[0]._keys(conditioning, seeds, self.samples).get(metric.name)
        known = self._journal.done(key) if self._journal is not None and key else None
        if known is None:
            drawn = [generate.render(self.model, conditioning, s.seeds, self.steps, self.guidance) for s in stages]
            pictures = [picture for pictures in drawn for picture in pictures]
            scores = metric.measure(pictures, list(self.samples) * numbers).values
            known = scores.reshape(numbers, -1).mean(0).tolist()
            if self._journal is not None and key:
                self._journal.record(key, known)
        return np.array(known)

    def pictures(self, kind: str, plans: Sequence[Plan] | None = None) -> generate.Images:
        """The pictures of an arm, for grids of a few samples."""
        chosen = list(plans or [Plan()] * len(self.samples))
        return generate.render(self.model, self.conditioning(kind, chosen), self.seeds, self.steps, self.guidance)

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
