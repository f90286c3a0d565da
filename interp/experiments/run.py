"""What researchers run: mask, amplify, wake, enhance, sweep and steer, measured on the images.

Every function takes `Neurons`, which remember their model and benchmark, or a model and a benchmark, and goes one way:
setup → `plan_arms` → `measure_arms` → `effect_of`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from interp import stats
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import TEST, TRAIN, refuse_test
from interp.errors import InterpError
from interp.experiments.arms import measure_arms
from interp.experiments.controls import Make, PlannedArm, check_sets, maker, own_plans, set_count
from interp.experiments.effects import effect_of, interval, intervene, mean_change_by_culture
from interp.experiments.inputs import model_of
from interp.experiments.setup import Setup, seed_of
from interp.grids import Grid, GridRow
from interp.interventions import generate
from interp.interventions.edits import Enhance, Mask, Plan, Steer
from interp.metrics.base import Metric
from interp.metrics.judges.base import Judge
from interp.models.adapter import Adapter
from interp.types import RECORD, Codes, Effect, Interval, Neurons, Sweep
from interp.views import Shown

PAPER: Mapping[str, Any] = {"intervention": "amplify", "strength": 6.0, "codes": "topk"}
"""The paper's intervention on noun-only prompts, where a model's recipe names none."""


def ablate(
    neurons: Neurons,
    random_control: bool | int = False,
    to: Literal["zero", "mean"] = "zero",
    codes: Codes = "topk",
    *,
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
) -> Effect:
    """Mask each culture's neurons on culture-style prompts and look for the culture in the images (Tables 1 and 5).

    Args:
        neurons: from `find_neurons`.
        random_control: matched random sets beside it; a number, or True for 20.
        to: zero or mean ablation.
        codes: the SAE's codes.
        model: None for the one the neurons were found on, if this session loaded it.
        bench: None for the one they were found on.
        split: of the samples; the one the neurons were selected on is refused.
        per_culture: samples per culture; all if None.
        cultures: only these; all if None.
        judge: names the culture of an image; the one that ships for the benchmark if None.
        metrics: what else every image is measured by, named as in `interp.metrics.registry`.
        seed: of the images and the control sets.
        steps: of the sampler; the model's if None.
        progress: show bars.

    Raises:
        InterpError: model, benchmark or split do not fit the neurons, a culture has no neurons, too few samples, or no
            judge ships.
    """
    setup = Setup.on(neurons, model, bench, split, per_culture, cultures, judge, metrics, seed, steps, progress)
    return masked(setup, neurons, set_count(random_control), to, codes)


def amplify(
    neurons: Neurons,
    strength: float = 6.0,
    random_control: bool | int = False,
    codes: Codes = "topk",
    *,
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
) -> Effect:
    """Amplify each language's neurons by 1 + λ on noun-only prompts (Tables 2 and 3).

    Args: `strength` is λ; the others are as in `ablate`.
    """
    setup = Setup.on(neurons, model, bench, split, per_culture, cultures, judge, metrics, seed, steps, progress)
    make = maker("amplify", strength, codes)
    return intervene(setup, neurons, make, "amplified", "noun_only", set_count(random_control))


def wake(
    neurons: Neurons,
    random_control: bool | int = False,
    recipe: Mapping[str, Any] | None = None,
    *,
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
) -> Effect:
    """Noun-only prompts under the recipe's intervention, each by its own language's neurons.

    Args: `recipe` has intervention, strength and codes, the model's own if None; the others are as in `ablate`.
    """
    setup = Setup.on(neurons, model, bench, split, per_culture, cultures, judge, metrics, seed, steps, progress)
    return woken(setup, neurons, recipe or wake_recipe(setup.model), set_count(random_control))


def masked(
    setup: Setup, neurons: Neurons, sets: int, to: Literal["zero", "mean"] = "zero", codes: Codes = "topk"
) -> Effect:
    """`ablate` on a setup, beside so many control sets."""
    return intervene(setup, neurons, lambda s: Mask(s, to, codes), "masked", "culture_style", sets)


def woken(setup: Setup, neurons: Neurons, recipe: Mapping[str, Any], sets: int) -> Effect:
    """`wake` on a setup, beside so many control sets."""
    return intervene(setup, neurons, maker(**recipe), "woken", "noun_only", sets)


def wake_recipe(model: Adapter) -> dict[str, Any]:
    """What wakes noun-only prompts: the model's recipe, or the paper's intervention on a model without one."""
    return dict(model.recipe.get("wake", PAPER))


def enhance(
    model: Adapter,
    bench: Benchmark,
    enhancer: Enhance,
    controls: Mapping[str, Enhance] | None = None,
    prompts: str = "noun_only",
    *,
    split: str = TEST,
    per_culture: int | None = None,
    cultures: Collection[str] | None = None,
    judge: Judge | None = None,
    metrics: Sequence[str | Metric] = (),
    seed: int = 0,
    steps: int | None = None,
    progress: bool = True,
) -> Effect:
    """A trained enhancer on noun-only prompts, beside its controls (Table 3).

    Args:
        model: the adapter.
        bench: the benchmark.
        enhancer: trained at the culture layer.
        controls: by name, such as one trained at a random layer, or on shuffled references.
        prompts: `noun_only`, or `noun_only_en` for English ones.
        split: of the samples; the train split, from which enhancers learn, is refused.
        per_culture: as in `ablate`, like all that follow.

    Raises:
        InterpError: an enhancer is another model's; the train split; or as `Setup.of`.
    """
    if split == TRAIN:
        raise InterpError("enhancers learn from the train split; measure them on another, such as 'test'")
    setup = Setup.of(model, bench, split, per_culture, cultures, judge, metrics, seed, steps, progress)
    return enhanced(setup, {"enhanced": enhancer, **(controls or {})}, prompts)


def enhanced(setup: Setup, enhancers: Mapping[str, Enhance], prompts: str = "noun_only") -> Effect:
    """`enhance` on a setup: an arm for each enhancer, the first the one that is not a control."""
    everywhere = {name: (Plan.of(step),) * len(setup.samples) for name, step in enhancers.items()}
    planned = [PlannedArm("baseline", prompts), *(PlannedArm(n, prompts, plans) for n, plans in everywhere.items())]
    first, *controls = enhancers
    settings = {
        "intervention": repr(enhancers[first]), "prompts": prompts,
        "controls": {name: repr(enhancers[name]) for name in controls},
    }  # fmt: skip
    return effect_of(setup, planned, measure_arms(setup, planned), "enhanced", settings)


def sweep(
    neurons: Neurons,
    strengths: Sequence[float] = tuple(range(9)),
    intervention: str = "amplify",
    codes: Codes = "topk",
    split: str = TRAIN,
    per_culture: int | None = 8,
    *,
    model: Adapter | None = None,
    bench: Benchmark | None = None,
    cultures: Collection[str] | None = None,
    judge: Judge | None = None,
    seed: int = 0,
    steps: int | None = None,
    progress: bool = True,
) -> Sweep:
    """CultureVQA and noun fidelity of noun-only prompts at several strengths (Figure 11).

    Args: `intervention` is `amplify` or `steer`; the others are as in `ablate`.

    Raises:
        InterpError: no strengths, or as `ablate`.
    """
    check_strengths(strengths)
    setup = Setup.on(neurons, model, bench, split, per_culture, cultures, judge, (), seed, steps, progress)
    return swept(setup, neurons, strengths, intervention, codes)


def check_strengths(strengths: Sequence[float]) -> None:
    """Refuse an empty sweep.

    Raises:
        InterpError: there is no strength.
    """
    if not len(strengths):
        raise InterpError("no strengths; give at least one, such as range(9)")


def swept(
    setup: Setup, neurons: Neurons, strengths: Sequence[float], intervention: str, codes: Codes = "topk"
) -> Sweep:
    """`sweep` on a setup."""
    check_strengths(strengths)
    plans = [tuple(own_plans(setup, neurons, maker(intervention, float(s), codes))) for s in strengths]
    planned = [PlannedArm(f"λ = {s:g}", "noun_only", p) for s, p in zip(strengths, plans, strict=True)]
    arms = measure_arms(setup, planned).arms
    return Sweep(
        tuple(float(s) for s in strengths),
        tuple(interval(setup, a.culture_hit) for a in arms),
        tuple(interval(setup, a.noun_hit) for a in arms),
        intervention,
        setup.split,
    )


def tune_strength(
    neurons: Neurons,
    strengths: Sequence[float],
    intervention: str,
    codes: Codes = "topk",
    split: str = TRAIN,
    per_culture: int | None = 8,
    *,
    model: Adapter | None = None,
    bench: Benchmark | None = None,
    cultures: Collection[str] | None = None,
    judge: Judge | None = None,
    seed: int = 0,
    steps: int | None = None,
    progress: bool = True,
) -> Sweep:
    """A sweep on the train split; its `best` is the strength to use. The test split is refused.

    Args: as in `sweep`.
    """
    refuse_test(split)
    check_strengths(strengths)
    setup = Setup.on(neurons, model, bench, split, per_culture, cultures, judge, (), seed, steps, progress)
    return swept(setup, neurons, strengths, intervention, codes)


@dataclass(frozen=True)
class Steered(Shown):
    """Images of the same prompts and seeds, without and with a culture's neurons."""

    __pydantic_config__ = RECORD

    prompts: tuple[str, ...]
    culture: str
    baseline: generate.Images
    steered: generate.Images
    strength: float

    def grid(self) -> Grid:
        """The images side by side; shows itself in a notebook."""
        rows = [
            GridRow(prompt, "und", prompt, list(pair))
            for prompt, *pair in zip(self.prompts, self.baseline, self.steered, strict=True)
        ]
        return Grid(f"Steered to {self.culture}, strength {self.strength:g}.", ["plain", self.culture], rows)


def steer(
    neurons: Neurons,
    culture: str,
    prompts: Sequence[str],
    strength: float | None = None,
    seeds: Sequence[int] | None = None,
    model: Adapter | None = None,
) -> Steered:
    """Steer any prompts by one culture's neurons (Figure 13): their mean directions are added.

    Args:
        neurons: from `find_neurons`.
        culture: whose neurons.
        prompts: in any language.
        strength: in multiples of the neurons' usual magnitude; the recipe's if None.
        seeds: one per prompt; from the prompt's text if None.
        model: None for the one the neurons were found on, if this session loaded it.

    Raises:
        InterpError: no such culture, or the model is not theirs.
    """
    model = model_of(neurons, model)
    strength = strength if strength is not None else float(model.recipe.get("steer", {}).get("strength", 1.0))
    seeds = list(seeds if seeds is not None else [seed_of(p) for p in prompts])
    plain, steered = (
        generate.draw(model, generate.encode(model, list(prompts), plan), seeds)
        for plan in (Plan(), Plan.of(Steer(neurons[culture], strength)))
    )
    return Steered(tuple(prompts), culture, plain, steered, strength)


def steer_all(setup: Setup, neurons: Neurons, make: Make) -> tuple[dict[str, Interval], Interval]:
    """Neutral English noun-only prompts under each culture's neurons in turn: how often the judge says that culture.

    Returns:
        By culture, and over all of them.
    """
    check_sets(neurons, neurons.cultures)
    many = len(setup.samples)
    planned = [
        PlannedArm(f"steer {c}", "noun_only_en", (Plan.of(make(neurons[c])),) * many, (c,) * many)
        for c in neurons.cultures
    ]
    hits = [arm.culture_hit for arm in measure_arms(setup, planned).arms]
    cultures = np.repeat(neurons.cultures, many).tolist()
    mean = stats.interval(np.concatenate(hits), list(setup.clusters) * len(hits), cultures)
    return {c: interval(setup, hit) for c, hit in zip(neurons.cultures, hits, strict=True)}, mean


def off_target(
    neurons: Neurons,
    per_culture: int | None = 6,
    *,
    model: Adapter | None = None,
    bench: Benchmark | None = None,
    split: str = TEST,
    cultures: Collection[str] | None = None,
    judge: Judge | None = None,
    seed: int = 0,
    steps: int | None = None,
    progress: bool = True,
) -> Float[np.ndarray, "culture culture"]:
    """Change of the row culture's CultureVQA, in points, when the column culture's neurons are masked.

    Args: as in `ablate`.
    """
    setup = Setup.on(neurons, model, bench, split, per_culture, cultures, judge, (), seed, steps, progress)
    return off_target_of(setup, neurons)


def off_target_of(setup: Setup, neurons: Neurons) -> Float[np.ndarray, "culture culture"]:
    """`off_target` on a setup."""
    check_sets(neurons, neurons.cultures)
    planned = [PlannedArm("baseline", "culture_style")]
    planned += [
        PlannedArm(f"mask {c}", "culture_style", (Plan.of(Mask(neurons[c])),) * len(setup.samples))
        for c in neurons.cultures
    ]
    baseline, *arms = measure_arms(setup, planned).arms
    return np.stack([mean_change_by_culture(setup, arm, baseline, neurons.cultures) for arm in arms], axis=1)
