"""What the judge and the metrics say of images, kept by all that decides it, so that a run can resume.

A batch is kept as a whole; where each answer is paid for, every image is kept by itself, as the answer comes.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from interp.activations import capture
from interp.benchmarks.images import Picture
from interp.experiments.setup import Setup
from interp.metrics.judges.base import OneByOne, hear
from interp.metrics.run import is_paid, recorded
from interp.models.records import Conditioned
from interp.store import sha256_bytes, sha256_tensors
from interp.types import Sample

JUDGE = "judge"
"""Stands for the judge among the names of metrics."""


class Answers:
    """Answers about the images of one setup."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.journal = setup.journal
        self.asked = [JUDGE, *(m.name for m in setup.metrics)]

    @cached_property
    def paid(self) -> frozenset[str]:
        """Which of what is asked is paid for by the image."""
        names = {m.name for m in self.setup.metrics if is_paid(m)}
        return frozenset(names | {JUDGE} if isinstance(self.setup.judge, OneByOne) else names)

    def of(self, conditioning: Conditioned, label: str) -> dict[str, list[Any]]:
        """The judge's (culture, noun) and each metric's score of every sample's image under a conditioning.

        Images are drawn only for batches that are not known yet.

        Args:
            conditioning: one row per sample.
            label: of the bar.
        """
        setup = self.setup
        whole: dict[str, list[Any]] = {name: [] for name in self.asked}
        for rows in capture.batches(len(setup.samples), setup.model.images_at_once, label, setup.progress):
            part, seeds = conditioning.rows(rows), setup.seeds[rows.start : rows.stop]
            samples = setup.samples[rows.start : rows.stop]
            units = self._units(part, seeds, samples)
            known = {name: self._known(units.get(name, [])) for name in self.asked}
            if missing := [name for name, values in known.items() if values is None]:
                images = list(setup.model.images(part, seeds, setup.steps, setup.guidance))
                # what is free first: a server may end the run
                for name in sorted(missing, key=lambda name: name in self.paid):
                    known[name] = self._ask(name, images, samples, units.get(name, []))
            for name, values in known.items():
                whole[name] += values or []
        return whole

    def _units(self, part: Conditioned, seeds: Sequence[int], samples: Sequence[Sample]) -> dict[str, list[str]]:
        """Keys of what is recorded of a batch: of each image by itself where it is paid for, else of all at once."""
        whole = answer_keys(self.setup, part, seeds, samples)
        units = {name: [key] for name, key in whole.items()}
        if paid := [name for name in whole if name in self.paid]:
            single = [answer_keys(self.setup, part.rows([n]), [seeds[n]], [samples[n]]) for n in range(len(samples))]
            units |= {name: [keys[name] for keys in single] for name in paid}
        return units

    def _known(self, keys: Sequence[str]) -> list[Any] | None:
        """What the journal says of a batch; None unless it says all."""
        if self.journal is None or not keys:
            return None
        units = [self.journal.done(key) for key in keys]
        return [value for unit in units if unit is not None for value in unit] if None not in units else None

    def _ask(self, name: str, images: Sequence[Picture], samples: Sequence[Sample], keys: Sequence[str]) -> list[Any]:
        """What the judge, or a metric, says of a batch, recorded as it comes.

        Args:
            name: of the metric, or `JUDGE`.
            images: of the batch.
            samples: of the batch.
            keys: of its units, in their order; empty where nothing is recorded.
        """
        if name not in self.paid:
            answers: dict[int, Any] = {}
            for part in self._answers(name, images, samples):
                answers |= part
            values = [answers[n] for n in range(len(images))]
            if self.journal is not None and keys:
                self.journal.record(keys[0], values)
            return values

        def ask(missing: Sequence[int]) -> Iterator[dict[int, list[Any]]]:
            for part in self._answers(name, [images[n] for n in missing], [samples[n] for n in missing]):
                yield {missing[at]: [value] for at, value in part.items()}

        units = recorded(
            self.journal if keys else None,
            keys or [str(n) for n in range(len(images))],
            ask,
            lambda unit: _is_answer(unit[0]),
        )
        return [unit[0] for unit in units]

    def _answers(self, name: str, images: Sequence[Picture], samples: Sequence[Sample]) -> Iterator[dict[int, Any]]:
        """What the judge, or a metric, says of images by their position, in the parts in which it comes."""
        if name == JUDGE:
            for rows, verdicts in hear(self.setup.judge, images, [s.id for s in samples]):
                nouns = verdicts.noun or [""] * len(rows)
                yield {at: list(pair) for at, *pair in zip(rows, verdicts.culture, nouns, strict=True)}
            return
        metric = next(m for m in self.setup.metrics if m.name == name)
        if is_paid(metric):
            for rows, scores in metric.each(images, samples):
                yield dict(zip(rows, scores.values.tolist(), strict=True))
        else:
            yield dict(enumerate(metric.measure(images, samples).values.tolist()))


def answer_keys(setup: Setup, part: Conditioned, seeds: Sequence[int], samples: Sequence[Sample]) -> dict[str, str]:
    """Of the judge and of each metric that has a digest: all that decides what it says of some images."""
    how = f"{setup.model.identity}/{setup.steps}/{setup.guidance}/{list(seeds)}".encode()
    drawn = sha256_tensors({"said": how} | part.arrays())
    judge = getattr(setup.judge, "digest", None)
    keys = {JUDGE: f"{drawn}/{judge}/{[s.id for s in samples]}"} if judge else {}
    for metric in setup.metrics:
        if metric.digest:
            keys[metric.name] = f"{drawn}/{metric.name}/{metric.digest}/{[metric.key(s) for s in samples]}"
    return {name: sha256_bytes(key.encode()) for name, key in keys.items()}


def _is_answer(value: Any) -> bool:
    """Whether the judge's pair, or a score, is one; what is none is asked for again in the next run."""
    return bool(value[0]) if isinstance(value, list) else not np.isnan(value)
