"""Grids of images of a study: the same prompts and seeds in every column, the baseline beside the arms.

Nothing is asked of a judge here.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from interp.benchmarks.splits import HELD_OUT, TEST
from interp.experiments import parts, run
from interp.experiments.arms import draw_arm
from interp.experiments.controls import PlannedArm, maker, own_plans, plan_arms
from interp.experiments.setup import Setup, texts
from interp.experiments.study import Study
from interp.grids import Grid
from interp.interventions.edits import Mask, Plan
from interp.types import Sample


def grids(study: Study) -> dict[str, Grid]:
    """Every grid by the part of the report that shows it."""
    shown = study.ask(paired) | {"sweep": study.ask(strengths), "steer": study.ask(steered)}
    return shown | ({"heldout": study.ask(held_out)} if HELD_OUT in study.bench.splits else {})


def paired(study: Study) -> dict[str, Grid]:
    """The gap, masking and waking: one prompt of each culture."""
    neurons = study.ask(parts.neurons)
    samples = different_nouns(_test(study), neurons.cultures)
    setup = _setup(study, samples)
    plain, masked, random = plan_arms(setup, neurons, Mask, "masked", "culture_style", 1, encoder_side=False)
    styled = _draw(setup, {"culture-style": plain, "masked": masked, "random masked": random})
    make = maker(**run.wake_recipe(study.model))
    woken = plan_arms(setup, neurons, make, "woken", "noun_only", 1, encoder_side=False)
    noun_only = _draw(setup, _remedies(study, setup) | {"random": woken[-1]})
    gap = {"culture-style": styled["culture-style"], "noun-only": noun_only["noun-only"]}
    masking = "Masking each culture's neurons, and as many matched random ones."
    same = "The same noun with and without a culture-style modifier, same seed."
    return {
        "gap": prompt_grid(same, gap, samples, "culture_style"),
        "ablate": prompt_grid(masking, styled, samples, "culture_style"),
        "wake": prompt_grid(
            "Noun-only prompts, woken by their own language's neurons.", noun_only, samples, "noun_only"
        ),
    }


def strengths(study: Study) -> Grid:
    """Growing strength."""
    neurons, recipe = study.ask(parts.neurons), run.wake_recipe(study.model)
    samples = different_nouns(_test(study), neurons.cultures[::3])
    setup, usual = _setup(study, samples), float(recipe["strength"])
    arms = {}
    for strength in (share * usual for share in (0.0, 0.25, 0.5, 1.0, 1.5)):
        plans = own_plans(setup, neurons, maker(**{**recipe, "strength": strength}))
        arms[f"λ = {strength:.3g}"] = PlannedArm("strength", "noun_only", tuple(plans))
    title = "The same noun-only prompts under growing strength."
    return prompt_grid(title, _draw(setup, arms), samples, "noun_only")


def steered(study: Study) -> Grid:
    """Neutral English prompts under every culture's neurons."""
    neurons, make = study.ask(parts.neurons), maker(**parts.steer_recipe(study))
    cultures = neurons.cultures
    samples = different_nouns(_test(study), cultures[:: max(1, len(cultures) // 6)])[:6]
    arms = {"unsteered": PlannedArm("unsteered", "noun_only_en")}
    for culture in cultures:
        plans = (Plan.of(make(neurons[culture])),) * len(samples)
        arms[culture] = PlannedArm(culture, "noun_only_en", plans)
    title = "Neutral English prompts, steered by each culture's set."
    return prompt_grid(title, _draw(_setup(study, samples), arms), samples, "noun_only_en")


def held_out(study: Study) -> Grid:
    """Nouns outside the benchmark."""
    samples = different_nouns(study.bench.samples(HELD_OUT), study.ask(parts.neurons).cultures)
    setup = _setup(study, samples)
    arms = _remedies(study, setup) | {"culture-style": PlannedArm("culture-style", "culture_style")}
    title = "Nouns outside the benchmark: what the model makes of them, and the culture they are woken to."
    return prompt_grid(title, _draw(setup, arms), samples, "noun_only")


def remedies(study: Study, title: str, samples: Sequence[Sample]) -> Grid:
    """Noun-only prompts as they are, woken, and under the trained enhancer if there is one."""
    setup = _setup(study, samples)
    return prompt_grid(title, _draw(setup, _remedies(study, setup)), samples, "noun_only")


def one_per_culture(study: Study, languages: Collection[str] | None = None, skip: int = 0) -> list[Sample]:
    """One test sample per culture, each of another noun while there are enough.

    Args:
        study: gives benchmark and cultures.
        languages: only cultures that speak one of these; all if None.
        skip: so many nouns per culture, so that other samples come than elsewhere.
    """
    spoken = study.bench.languages
    cultures = [c for c in study.ask(parts.neurons).cultures if languages is None or spoken[c] in languages]
    left: list[Sample] = []
    for culture in cultures:
        samples = [s for s in study.bench.samples(TEST) if s.culture == culture]
        nouns = list(dict.fromkeys(s.category for s in samples))
        left += [s for s in samples if s.category not in nouns[: min(skip, len(nouns) - 1)]]
    return different_nouns(left, cultures)


def different_nouns(samples: Sequence[Sample], cultures: Sequence[str]) -> list[Sample]:
    """One sample per culture, each of another noun while there are enough."""
    picked: list[Sample] = []
    for culture in cultures:
        of_culture = [s for s in samples if s.culture == culture]
        nouns = {s.category for s in picked}
        picked.append(next((s for s in of_culture if s.category not in nouns), of_culture[0]))
    return picked


def prompt_grid(title: str, arms: Mapping[str, Sequence[np.ndarray]], samples: Sequence[Sample], prompts: str) -> Grid:
    """A grid under its prompts, each with its English beside it."""
    english = texts(samples, f"{prompts.removesuffix('_en')}_en")
    languages = ["en" if prompts.endswith("_en") else s.language for s in samples]
    return Grid.of(title, arms, texts(samples, prompts), languages, english)


def _remedies(study: Study, setup: Setup) -> dict[str, PlannedArm]:
    arms = parts.remedies(study, setup)
    return dict(zip(("noun-only", "woken", "enhanced"), arms, strict=False))


def _draw(setup: Setup, arms: Mapping[str, PlannedArm]) -> dict[str, list[np.ndarray]]:
    """The images of every arm, one array each."""
    return {name: list(draw_arm(setup, arm.prompts, arm.plans)) for name, arm in arms.items()}


def _test(study: Study) -> Sequence[Sample]:
    return study.bench.subset(TEST, 8, study.seed).samples(TEST)


def _setup(study: Study, samples: Sequence[Sample]) -> Setup:
    return Setup(study.model, tuple(samples), study.judge, seed=study.seed, steps=study.sizes.steps, progress=False)
