"""What all arms of one experiment share: model, samples, judge, metrics, seed.

All arms share prompts, seeds and initial noise; the seed of a sample follows from its id alone.
"""

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from interp import bounds
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import TEST
from interp.errors import InterpError
from interp.experiments.inputs import answers_cache, bench_of, model_of
from interp.metrics import registry
from interp.metrics.base import Metric
from interp.metrics.judges.base import Judge
from interp.metrics.judges.pocket import load_judge
from interp.models.adapter import Adapter
from interp.store import Journal
from interp.types import Neurons, Sample

KINDS = ("noun_only", "culture_style", "noun_only_en", "culture_style_en")
"""Kinds of prompts: without and with the words that name the culture, in the culture's language and in English."""


@dataclass(frozen=True)
class Setup:
    """What all arms of one experiment share."""

    model: Adapter
    samples: tuple[Sample, ...]
    judge: Judge
    metrics: tuple[Metric, ...] = ()
    """What else every image is measured by."""
    split: str = TEST
    """Of the samples."""
    seed: int = 0
    """Of the images and the control sets."""
    steps: int | None = None
    """Sampler steps; None for the model's."""
    guidance: float | None = None
    """None for the model's."""
    cache: Path | None = None
    """Folder of finished batches, and of single answers where each is paid for; None to keep nothing."""
    progress: bool = True
    """Show bars."""

    @staticmethod
    def of(
        model: Adapter,
        bench: Benchmark,
        split: str = TEST,
        per_culture: int | None = None,
        cultures: Collection[str] | None = None,
        judge: Judge | None = None,
        metrics: Sequence[str | Metric] = (),
        seed: int = 0,
        steps: int | None = None,
        progress: bool = True,
    ) -> "Setup":
        """The setup of an experiment on samples of a benchmark.

        Args:
            model: the adapter.
            bench: the benchmark.
            split: the samples' split.
            per_culture: samples per culture; all if None.
            cultures: only these; all if None.
            judge: the one that ships for the benchmark, on the model's device, if None.
            metrics: what else every image is measured by, named as in `interp.metrics.registry`; on the model's device.
            seed: of the images and the control sets.
            steps: of the sampler; the model's if None.
            progress: show bars.

        Raises:
            InterpError: an unknown split, culture or metric, too few samples, or no judge ships.
        """
        bounds.seed(seed)
        if steps is not None:
            bounds.whole("steps", steps, 1)
        part = bench if per_culture is None else bench.subset(split, per_culture, seed)
        return Setup(
            model,
            part.samples(split, cultures),
            judge or default_judge(bench, model.device),
            tuple(registry.metrics(metrics, bench, model.device)),
            split,
            seed,
            steps,
            cache=answers_cache(model),
            progress=progress,
        )

    @staticmethod
    def on(
        neurons: Neurons,
        model: Adapter | None = None,
        bench: Benchmark | None = None,
        split: str = TEST,
        per_culture: int | None = None,
        cultures: Collection[str] | None = None,
        judge: Judge | None = None,
        metrics: Sequence[str | Metric] = (),
        seed: int = 0,
        steps: int | None = None,
        progress: bool = True,
    ) -> "Setup":
        """The same for neurons, which know their model and benchmark; arguments as of `of`.

        Raises:
            InterpError: the split is that of the selection, model or benchmark is not theirs, or as `of`.
        """
        if split == neurons.split:
            raise InterpError(
                f"the neurons were selected on split {split!r}; measure their effect on another, such as 'test'"
            )
        bench = bench_of(neurons, bench)
        model = model_of(neurons, model)
        return Setup.of(model, bench, split, per_culture, cultures, judge, metrics, seed, steps, progress)

    @cached_property
    def journal(self) -> Journal | None:
        """Answers about images, of this and of earlier runs, read once; None where nothing is kept."""
        return Journal(self.cache / "arms.jsonl") if self.cache else None

    @cached_property
    def cultures(self) -> tuple[str, ...]:
        """Culture of each sample."""
        return tuple(s.culture for s in self.samples)

    @cached_property
    def clusters(self) -> tuple[str, ...]:
        """Noun × culture of each sample: samples of one pair are not independent."""
        return tuple(f"{s.culture}/{s.category}" for s in self.samples)

    @cached_property
    def seeds(self) -> list[int]:
        """Image seed of each sample."""
        return [seed_of(s.id, self.seed) for s in self.samples]


def default_judge(bench: Benchmark, device: str | torch.device | None = None) -> Judge:
    """The judge that ships for a benchmark.

    Args:
        bench: the benchmark.
        device: where it looks at images, such as the model's; None for what is there.

    Raises:
        InterpError: none ships for it, or the device is not there.
    """
    if not registry.is_pocket(bench):
        raise InterpError(f"no judge ships for benchmark {bench.name!r}: pass judge=, such as one of interp.metrics")
    return load_judge(device=device)


def seed_of(sample: str, seed: int = 0) -> int:
    """The image seed of a sample: a checksum of its id, so that it does not depend on which others are drawn."""
    return zlib.crc32(f"{seed}/{sample}".encode())


def texts(samples: Sequence[Sample], kind: str) -> list[str]:
    """The prompts of samples.

    Args:
        samples: of a benchmark.
        kind: one of `KINDS`.

    Raises:
        InterpError: an unknown kind.
    """
    check_kind(kind)
    language = "english" if kind.endswith("_en") else "native"
    return [getattr(getattr(s, language), kind.removesuffix("_en")).text for s in samples]


def check_kind(kind: str) -> None:
    """Refuse an unknown kind of prompts.

    Raises:
        InterpError: with the known ones.
    """
    if kind not in KINDS:
        raise InterpError(f"prompts {kind!r}; known: {', '.join(KINDS)}")
