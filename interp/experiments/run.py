"""What researchers run: mask, amplify, wake, enhance, sweep and steer, measured on the pictures.

Every function takes `Neurons`, which remember their model and benchmark, or a model and a benchmark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from interp import stats
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import TRAIN, refuse_test
from interp.errors import InterpError
from interp.experiments.controls import Make, maker
from interp.experiments.effects import effect_of, effect_over, stage_of, trial
from interp.experiments.inputs import model_of
from interp.experiments.setup import seed_of
from interp.grids import Grid, GridRow
from interp.interventions import generate
from interp.interventions.edits import Amplify, Enhance, Mask, Plan, Steer
from interp.models.adapter import Adapter
from interp.types import Codes, Effect, Interval, Neurons, Sweep


def ablate(
    neurons: Neurons,
    random_control: bool | int = False,
    to: Literal["zero", "mean"] = "zero",
    codes: Codes = "topk",
    **options: Any,
) -> Effect:
    """Mask each culture's neurons on culture-style prompts and look for the culture in the pictures (Tables 1 and 5).

    Args:
        neurons: from `find_neurons`.
        random_control: matched random sets beside it; a number, or True for 20.
        to: zero or mean ablation.
        codes: the SAE's codes.
        options: of `trial`: split, per_culture, cultures, model, bench, judge, metrics, seed, steps, progress.
    """
    return effect_of("masked", trial(neurons, random_control, **options), lambda s: Mask(s, to, codes), "culture_style")


def amplify(
    neurons: Neurons,
    strength: float = 6.0,
    random_control: bool | int = False,
    codes: Codes = "topk",
    **options: Any,
) -> Effect:
    """Amplify each language's neurons by 1 + λ on noun-only prompts (Tables 2 and 3). Options as in `ablate`."""
    return effect_of(
        "amplified", trial(neurons, random_control, **options), lambda s: Amplify(s, strength, codes), "noun_only"
    )


def wake(
    neurons: Neurons, random_control: bool | int = False, recipe: dict[str, Any] | None = None, **options: Any
) -> Effect:
    """Noun-only prompts under the recipe's intervention, each by its own language's set."""
    given = trial(neurons, random_control, **options)
    chosen = dict(
        recipe or given.stage.model.recipe.get("wake", {"intervention": "amplify", "strength": 6, "codes": "topk"})
    )
    return effect_of("woken", given, maker(**chosen), "noun_only")


def enhance(
    model: Adapter,
    bench: Benchmark,
    enhancer: Enhance,
    controls: Mapping[str, Enhance] | None = None,
    prompts: str = "noun_only",
    **options: Any,
) -> Effect:
    """A trained enhancer on noun-only prompts, beside its controls (Table 3).

    Args:
        model: the adapter.
        bench: the benchmark.
        enhancer: trained at the culture layer.
        controls: by name, such as one trained at a random layer, or on shuffled references.
        prompts: `noun_only`, or `noun_only_en` for English ones.
        options: of `stage_of`.

    Raises:
        InterpError: an enhancer is another model's; the train split, which it learned from; as `stage_of`.
    """
    if options.get("split") == TRAIN:
        raise InterpError("enhancers learn from the train split; measure them on another, such as 'test'")
    stage = stage_of(model, bench, **options)
    arms = {"baseline": stage.arm("baseline", prompts)}
    for name, step in {"enhanced": enhancer, **(controls or {})}.items():
        arms[name] = stage.arm(name, prompts, [Plan.of(step)] * len(stage.samples))
    settings = {"intervention": repr(enhancer), "prompts": prompts, "clusters": list(stage.clusters)}
    settings["controls"] = {name: repr(step) for name, step in (controls or {}).items()}
    return effect_over("enhanced", stage, arms, float("nan"), settings)


def sweep(
    neurons: Neurons,
    strengths: Sequence[float] = tuple(range(9)),
    intervention: str = "amplify",
    codes: Codes = "topk",
    split: str = TRAIN,
    per_culture: int | None = 8,
    **options: Any,
) -> Sweep:
    """CultureVQA and noun fidelity of noun-only prompts at several strengths (Figure 11)."""
    if not len(strengths):
        raise InterpError("no strengths; give at least one, such as range(9)")
    given = trial(neurons, split=split, per_culture=per_culture, **options)
    arms = [
        given.stage.arm(f"λ = {s:g}", "noun_only", given.plans(maker(intervention, float(s), codes))) for s in strengths
    ]
    return Sweep(
        tuple(float(s) for s in strengths),
        tuple(given.stage.interval(a.culture_hit) for a in arms),
        tuple(given.stage.interval(a.noun_hit) for a in arms),
        intervention,
        split,
    )


@dataclass(frozen=True)
class Steered:
    """Pictures of the same prompts and seeds, without and with a culture's set."""

    prompts: tuple[str, ...]
    culture: str
    baseline: generate.Images
    steered: generate.Images
    strength: float

    def grid(self) -> Grid:
        """The pictures side by side; shows itself in a notebook."""
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
    """Steer any prompts by one culture's set (Figure 13); additive, at the recipe's strength if none is named."""
    its_model = model_of(neurons, model)
    recipe = its_model.recipe.get("steer", {})
    chosen = strength if strength is not None else float(recipe.get("strength", 1.0))
    plan = Plan.of(Steer(neurons[culture], chosen))
    fixed = list(seeds if seeds is not None else [seed_of(p) for p in prompts])
    pictures = [generate.render(its_model, generate.encode(its_model, list(prompts), p), fixed) for p in (Plan(), plan)]
    return Steered(tuple(prompts), culture, pictures[0], pictures[1], chosen)


def steer_all(
    neurons: Neurons, make: Make, per_culture: int = 2, **options: Any
) -> tuple[dict[str, Interval], Interval]:
    """Neutral English noun-only prompts under each culture's set in turn: how often the judge says that culture.

    Returns:
        By culture, and over all of them.
    """
    given = trial(neurons, per_culture=per_culture, **options)
    stage, hit = given.stage, {}
    for culture in neurons.cultures:
        plans = [Plan.of(make(neurons[culture]))] * len(stage.samples)
        hit[culture] = stage.arm(f"steer {culture}", "noun_only_en", plans, [culture] * len(stage.samples)).culture_hit
    everything, cultures = np.concatenate(list(hit.values())), np.repeat(list(hit), len(stage.samples))
    mean = stats.interval(everything, list(stage.clusters) * len(hit), cultures.tolist())
    return {c: stage.interval(values) for c, values in hit.items()}, mean


def off_target(neurons: Neurons, per_culture: int = 6, **options: Any) -> np.ndarray:
    """Change of the row culture's CultureVQA, in points, when the column culture's set is masked."""
    given = trial(neurons, per_culture=per_culture, **options)
    stage = given.stage
    own = np.array(stage.cultures)
    base = stage.arm("baseline", "culture_style").culture_hit
    matrix = np.full((len(neurons.cultures),) * 2, np.nan)
    for column, culture in enumerate(neurons.cultures):
        hit = stage.arm(
            f"mask {culture}", "culture_style", [Plan.of(Mask(neurons[culture]))] * len(stage.samples)
        ).culture_hit
        for row, other in enumerate(neurons.cultures):
            matrix[row, column] = float(np.nanmean((hit - base)[own == other]))
    return matrix


def tune_strength(
    neurons: Neurons, strengths: Sequence[float], intervention: str, codes: Codes = "topk", **options: Any
) -> Sweep:
    """A sweep on the train split; its `best` is the strength to use. The test split is refused."""
    refuse_test(options.get("split", TRAIN))
    return sweep(neurons, strengths, intervention, codes, **options)
