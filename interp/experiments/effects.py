"""The trial that every experiment is: paired arms of the same prompts and seeds, and matched random controls."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp import bounds, stats
from interp.activations import probe
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import TEST
from interp.errors import InterpError
from interp.experiments.arms import Stage
from interp.experiments.controls import RANDOM_SETS, Make, control_sets
from interp.experiments.inputs import arm_cache, bench_of, model_of
from interp.experiments.setup import default_judge
from interp.interventions.edits import Plan
from interp.metrics import registry
from interp.metrics.base import Metric
from interp.metrics.judges.base import Judge
from interp.models.adapter import Adapter
from interp.models.records import Conditioning
from interp.types import Arm, Effect, Measure, Neurons, NeuronSet


@dataclass(frozen=True)
class Trial:
    """What every experiment needs beside its intervention."""

    neurons: Neurons
    stage: Stage
    sets: int
    """Number of random control sets a culture; no more are dealt out than it has samples."""

    @property
    def controls(self) -> dict[str, list[NeuronSet]]:
        """Matched control sets of every culture."""
        return {
            c: control_sets(self.neurons, c, self.sets, self.stage.seed) for c in dict.fromkeys(self.stage.cultures)
        }

    def plans(self, make: Make) -> list[Plan]:
        """Each sample under its own culture's set."""
        return [Plan.of(make(self.neurons[c])) for c in self.stage.cultures]

    def dealt(self, make: Make) -> tuple[list[Plan], list[int]]:
        """Each sample under one control set of its culture, dealt out in turn; and which."""
        controls, turn, plans, owner = self.controls, dict.fromkeys(self.stage.cultures, 0), [], []
        for culture in self.stage.cultures:
            number = turn[culture] % self.sets
            turn[culture] += 1
            plans.append(Plan.of(make(controls[culture][number])))
            owner.append(number)
        return plans, owner


def trial(neurons: Neurons, random_control: bool | int = False, split: str = TEST, **options: Any) -> Trial:
    """Gather model, samples, judge and other metrics for neurons.

    Args:
        neurons: from `find_neurons`.
        random_control: number of matched random sets, or True for 20.
        split: the samples' split.
        options: of `stage_of`, but model and bench may be left out: neurons know theirs.

    Raises:
        InterpError: the split is the one the neurons were selected on, a culture has no neurons, or as `stage_of`.
    """
    if split == neurons.split:
        raise InterpError(
            f"the neurons were selected on split {split!r}; measure their effect on another, such as 'test'"
        )
    found = bench_of(neurons, options.pop("bench", None))
    stage = stage_of(model_of(neurons, options.pop("model", None)), found, split, **options)
    if empty := [c for c in dict.fromkeys(stage.cultures) if not neurons[c].indices]:
        raise InterpError(f"no neurons for {', '.join(empty)}: raise tau or k in find_neurons, or name other cultures")
    bounds.whole("random_control (sets)", int(random_control), 0)
    return Trial(neurons, stage, RANDOM_SETS if random_control is True else int(random_control))


def stage_of(
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
) -> Stage:
    """What all arms of one experiment share.

    Args:
        model: the adapter.
        bench: the benchmark.
        split: the samples' split.
        per_culture: samples a culture; all if None.
        cultures: only these; all if None.
        judge: the one that ships for the benchmark, on the model's device, if None.
        metrics: what else every picture is measured by, named as in `interp.metrics.registry`; on the model's device.
        seed: of the pictures and the control sets.
        steps: of the sampler; the model's if None.
        progress: show bars.

    Raises:
        InterpError: an unknown split, culture or metric, too few samples, or no judge ships.
    """
    bounds.seed(seed)
    if steps is not None:
        bounds.whole("steps", steps, 1)
    chosen = bench if per_culture is None else bench.subset(split, per_culture, seed)
    return Stage(
        model,
        judge or default_judge(bench, model.device),
        chosen.samples(split, cultures),
        seed,
        steps,
        cache=arm_cache(model),
        progress=progress,
        metrics=tuple(registry.metrics(metrics, bench, model.device)),
    )


def effect_of(name: str, given: Trial, make: Make, kind: str, encoder_side: bool = True) -> Effect:
    """Baseline, treatment and, if asked for, random control: paired pictures of the same prompts and seeds.

    Args:
        name: of the effect; also the treatment arm's.
        given: neurons, model, samples.
        make: the intervention of a set.
        kind: `culture_style` or `noun_only` prompts.
        encoder_side: also measure every control set on all prompts by the shift of the conditioning.
    """
    stage = given.stage
    plans = given.plans(make)  # first, so that a bad strength is found before anything is drawn
    baseline, treated = stage.arm("baseline", kind), stage.arm(name, kind, plans)
    arms = {"baseline": baseline, name: treated}
    p, shift = float("nan"), {}
    settings: dict[str, Any] = {"intervention": repr(make(given.neurons[stage.cultures[0]])), "prompts": kind}
    settings["clusters"] = list(stage.clusters)
    if given.sets:
        dealt, owner = given.dealt(make)
        arms["random"] = stage.arm("random", kind, dealt)
        p, extra = _against_control(given, baseline.culture_hit, treated.culture_hit, arms["random"].culture_hit, owner)
        settings |= extra
        if encoder_side:
            shift = _set_shifts(given, make, kind)
    return effect_over(name, stage, arms, p, settings, shift)


def effect_over(
    name: str,
    stage: Stage,
    arms: dict[str, Arm],
    p: float,
    settings: dict[str, Any],
    shift: dict[str, tuple[float, ...]] | None = None,
) -> Effect:
    """Arms with their means, their differences to the baseline and the other measures."""
    baseline = arms["baseline"]
    others = {k: a for k, a in arms.items() if a is not baseline}
    return Effect(
        name=name,
        arms=arms,
        accuracy={k: stage.interval(a.culture_hit) for k, a in arms.items()},
        noun_fidelity={k: stage.interval(a.noun_hit) for k, a in arms.items()},
        difference={k: stage.difference(a.culture_hit, baseline.culture_hit) for k, a in others.items()},
        p_vs_control=p,
        per_culture={k: stage.by_culture(a.culture_hit) for k, a in arms.items()},
        cultures=stage.cultures,
        sample_ids=tuple(s.id for s in stage.samples),
        model_digest=stage.model.model_digest,
        settings=settings,
        set_shift=shift or {},
        measures={m.name: Measure(m.unit, m.direction) for m in stage.metrics},
        measured={m.name: {k: stage.interval(a.scores[m.name]) for k, a in arms.items()} for m in stage.metrics},
    )


def _against_control(
    given: Trial, baseline: np.ndarray, treated: np.ndarray, random: np.ndarray, owner: list[int]
) -> tuple[float, dict[str, float]]:
    """p of the effect among the sets' effects; how many were dealt out, and the paired sign-flip p (see `stats`)."""
    number = np.array(owner)
    effects = [float(np.nanmean((random - baseline)[number == n])) for n in range(given.sets) if (number == n).any()]
    seen = float(np.nanmean(treated - baseline))
    direction = "less" if seen < 0 else "greater"
    flip = stats.paired_permutation_p(treated, random, given.stage.clusters)
    return stats.control_p(seen, effects, direction), {"random_sets": len(effects), "paired_permutation_p": flip}


def _set_shifts(given: Trial, make: Make, kind: str) -> dict[str, tuple[float, ...]]:
    """Encoder side, on all prompts: mean shift of the conditioning under the treatment and under each control set."""
    stage = given.stage
    plain = stage.conditioning(kind, [Plan()] * len(stage.samples))

    def moved(plans: list[Plan]) -> float:
        edited = stage.conditioning(kind, plans)
        assert isinstance(edited, Conditioning) and isinstance(plain, Conditioning)
        return float(probe.shift(edited, plain).mean())

    controls = given.controls
    random = [moved([Plan.of(make(controls[c][n])) for c in stage.cultures]) for n in range(given.sets)]
    return {"treatment": (moved(given.plans(make)),), "random": tuple(random)}
