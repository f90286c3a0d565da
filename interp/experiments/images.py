"""Picture grids of a study: the same prompts and seeds in every column, the baseline beside the arms."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import HELD_OUT, TEST
from interp.experiments import controls
from interp.experiments.arms import Stage
from interp.experiments.effects import Trial
from interp.grids import Grid
from interp.interventions.edits import Intervention, Mask, Plan
from interp.metrics.judges.base import Judge
from interp.models.adapter import Adapter
from interp.types import Neurons, Sample


@dataclass(frozen=True)
class Album:
    """The pictures of one study."""

    model: Adapter
    bench: Benchmark
    neurons: Neurons
    wake: Mapping[str, Any]
    """Intervention and strength that wake a noun-only prompt."""
    steer: Mapping[str, Any]
    """Those that steer a neutral English prompt."""
    judge: Judge
    """Of the study; nothing is asked of it here."""
    seed: int = 0
    steps: int | None = None
    """Of the sampler; None for the model's."""
    enhancer: Intervention | None = None
    """The trained enhancer, if there is one."""

    def grids(self) -> dict[str, Grid]:
        """Every grid by the part of the report that shows it."""
        out = self.paired() | {"sweep": self.sweep(), "steer": self.steered()}
        return out | ({"heldout": self.held_out()} if HELD_OUT in self.bench.splits else {})

    def paired(self) -> dict[str, Grid]:
        """The gap, masking and waking: one prompt of each culture."""
        make = controls.maker(**self.wake)
        samples = different_nouns(self._test(), self.neurons.cultures)
        stage = self._stage(samples)
        given = Trial(self.neurons, stage, 1)
        style = {
            "culture-style": _drawn(stage, "culture_style"),
            "masked": _drawn(stage, "culture_style", given.plans(Mask)),
            "random masked": _drawn(stage, "culture_style", given.dealt(Mask)[0]),
        }
        noun = self._remedies(stage)
        noun["random"] = _drawn(stage, "noun_only", given.dealt(make)[0])
        gap = {"culture-style": style["culture-style"], "noun-only": noun["noun-only"]}
        masking = "Masking each culture's neurons, and as many matched random ones."
        return {
            "gap": _grid(
                "The same noun with and without a culture-style modifier, same seed.", gap, samples, "culture_style"
            ),
            "ablate": _grid(masking, style, samples, "culture_style"),
            "wake": _grid("Noun-only prompts, woken by their own language's neurons.", noun, samples, "noun_only"),
        }

    def sweep(self) -> Grid:
        """Growing strength."""
        samples = different_nouns(self._test(), self.neurons.cultures[::3])
        stage, chosen = self._stage(samples), float(self.wake["strength"])
        arms = {}
        for strength in (share * chosen for share in (0.0, 0.25, 0.5, 1.0, 1.5)):
            make = controls.maker(**{**self.wake, "strength": strength})
            arms[f"λ = {strength:.3g}"] = _drawn(stage, "noun_only", Trial(self.neurons, stage, 0).plans(make))
        return _grid("The same noun-only prompts under growing strength.", arms, samples, "noun_only")

    def steered(self) -> Grid:
        """Neutral English prompts under every culture's set."""
        cultures = self.neurons.cultures
        samples = different_nouns(self._test(), cultures[:: max(1, len(cultures) // 6)])[:6]
        stage, make = self._stage(samples), controls.maker(**self.steer)
        arms = {"unsteered": _drawn(stage, "noun_only_en")}
        for culture in cultures:
            plan = Plan.of(make(self.neurons[culture]))
            arms[culture] = _drawn(stage, "noun_only_en", [plan] * len(samples))
        return _grid("Neutral English prompts, steered by each culture's set.", arms, samples, "noun_only_en")

    def held_out(self) -> Grid:
        """Nouns outside the benchmark."""
        samples = different_nouns(self.bench.samples(HELD_OUT), self.neurons.cultures)
        arms = self._remedies(self._stage(samples))
        arms["culture-style"] = _drawn(self._stage(samples), "culture_style")
        title = "Nouns outside the benchmark: what the model makes of them, and the culture they are woken to."
        return _grid(title, arms, samples, "noun_only")

    def remedies(self, title: str, samples: Sequence[Sample]) -> Grid:
        """Noun-only prompts as they are, woken, and under the trained enhancer if there is one."""
        return _grid(title, self._remedies(self._stage(samples)), samples, "noun_only")

    def more(self, languages: Collection[str] | None = None, skip: int = 0) -> list[Sample]:
        """One test sample a culture, each of another noun while there are enough.

        Args:
            languages: only cultures that speak one of these; all if None.
            skip: so many nouns a culture, so that other samples come than elsewhere.
        """
        spoken = self.bench.languages
        cultures = [c for c in self.neurons.cultures if languages is None or spoken[c] in languages]
        left = []
        for culture in cultures:
            own = [s for s in self.bench.samples(TEST) if s.culture == culture]
            nouns = list(dict.fromkeys(s.category for s in own))
            left += [s for s in own if s.category not in nouns[: min(skip, len(nouns) - 1)]]
        return different_nouns(left, cultures)

    def _remedies(self, stage: Stage) -> dict[str, list[np.ndarray]]:
        make = controls.maker(**self.wake)
        arms = {
            "noun-only": _drawn(stage, "noun_only"),
            "woken": _drawn(stage, "noun_only", [Plan.of(make(self.neurons[c])) for c in stage.cultures]),
        }
        if self.enhancer is not None:
            arms["enhanced"] = _drawn(stage, "noun_only", [Plan.of(self.enhancer)] * len(stage.samples))
        return arms

    def _test(self) -> Sequence[Sample]:
        return self.bench.subset(TEST, 8, self.seed).samples(TEST)

    def _stage(self, samples: Sequence[Sample]) -> Stage:
        return Stage(self.model, self.judge, tuple(samples), self.seed, self.steps, progress=False)


def different_nouns(samples: Sequence[Sample], cultures: Sequence[str]) -> list[Sample]:
    """One sample a culture, each of another noun while there are enough."""
    chosen: list[Sample] = []
    for culture in cultures:
        own = [s for s in samples if s.culture == culture]
        taken = {s.category for s in chosen}
        chosen.append(next((s for s in own if s.category not in taken), own[0]))
    return chosen


def _drawn(stage: Stage, kind: str, plans: Sequence[Plan] | None = None) -> list[np.ndarray]:
    """The pictures of an arm, one array each."""
    return list(stage.pictures(kind, plans))


def _grid(title: str, arms: Mapping[str, Sequence[np.ndarray]], samples: Sequence[Sample], kind: str) -> Grid:
    """A grid under its prompts, each with its English beside it."""
    side = kind.removesuffix("_en")
    english = [getattr(s.english, side).text for s in samples]
    if kind.endswith("_en"):
        return Grid.of(title, arms, english, ["en"] * len(samples), english)
    native = [getattr(s.native, side).text for s in samples]
    return Grid.of(title, arms, native, [s.language for s in samples], english)
