"""Measure arms: encode their prompts under their plans, draw images, ask the judge and the metrics.

Here nothing is computed of what they say; that is `effects`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from interp.activations import probe
from interp.experiments.answers import JUDGE, Answers, answer_keys
from interp.experiments.controls import PlannedArm
from interp.experiments.setup import Setup, texts
from interp.interventions import generate
from interp.interventions.edits import Plan
from interp.metrics.base import Metric
from interp.metrics.judges.base import hits
from interp.models.records import Conditioned, Conditioning
from interp.types import Arm


@dataclass(frozen=True)
class MeasuredArms:
    """What came of planned arms."""

    arms: tuple[Arm, ...]
    """Of those that were drawn, in their order."""
    shift: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Encoder side, where control sets were planned: mean of 1 − cosine between edited and plain conditioning under the
    treatment (one number) and under each control set on all samples."""

    def __getitem__(self, label: str) -> Arm:
        return next(arm for arm in self.arms if arm.label == label)


def measure_arms(setup: Setup, planned: Sequence[PlannedArm]) -> MeasuredArms:
    """Encode, draw, judge, journal.

    Args:
        setup: what the arms share.
        planned: from `plan_arms`, or made by hand.
    """
    arms = tuple(measure_arm(setup, arm) for arm in planned if arm.drawn)
    controls = [arm for arm in planned if not arm.drawn]
    if not controls:
        return MeasuredArms(arms)
    treatment = next(arm for arm in planned if arm.plans)
    plain = condition(setup, treatment.prompts)

    def moved(arm: PlannedArm) -> float:
        edited = condition(setup, arm.prompts, arm.plans)
        assert isinstance(edited, Conditioning) and isinstance(plain, Conditioning)
        return float(probe.shift(edited, plain).mean())

    return MeasuredArms(arms, {"treatment": (moved(treatment),), "random": tuple(map(moved, controls))})


def measure_arm(setup: Setup, arm: PlannedArm) -> Arm:
    """One arm: draw and judge its prompts under its plans."""
    return measure_conditioning(setup, condition(setup, arm.prompts, arm.plans), arm.label, arm.truth)


def measure_conditioning(setup: Setup, conditioning: Conditioned, label: str, truth: Sequence[str] = ()) -> Arm:
    """Draw, judge and measure a conditioning of the samples.

    Args:
        setup: gives judge, metrics and seeds.
        conditioning: one row per sample.
        label: of the arm.
        truth: the cultures to look for; the samples' own if empty.
    """
    answers = Answers(setup).of(conditioning, label)
    cultures, nouns = [a[0] for a in answers[JUDGE]], [a[1] for a in answers[JUDGE]]
    return Arm(
        label=label,
        culture_hit=hits(cultures, truth or setup.cultures),
        noun_hit=hits(nouns, [s.category for s in setup.samples]),
        answer=tuple(cultures),
        scores={m.name: np.array(answers[m.name], dtype=float) for m in setup.metrics},
    )


def condition(setup: Setup, prompts: str, plans: Sequence[Plan] = ()) -> Conditioned:
    """Encode one kind of prompts, under one plan per sample or none."""
    each = list(plans) or [Plan()] * len(setup.samples)
    return generate.encode(setup.model, texts(setup.samples, prompts), each, progress=setup.progress)


def draw_arm(setup: Setup, prompts: str, plans: Sequence[Plan] = ()) -> generate.Images:
    """The images of an arm, for grids of a few samples; nobody is asked about them."""
    return generate.draw(setup.model, condition(setup, prompts, plans), setup.seeds, setup.steps, setup.guidance)


def score_repeated(setup: Setup, metric: Metric, arm: PlannedArm, numbers: int = 4) -> Float[np.ndarray, "sample"]:
    """A score of every sample over several images of it, such as their diversity.

    Args:
        setup: what the arms share; its own metrics are not asked.
        metric: scores the images of one sample together.
        arm: prompts and plans.
        numbers: images of each sample, with the seeds `seed`, `seed` + 1, …
    """
    conditioning = condition(setup, arm.prompts, arm.plans)
    setups = [replace(setup, seed=setup.seed + n, metrics=(metric,)) for n in range(numbers)]
    seeds, journal = [s for one in setups for s in one.seeds], setup.journal
    key = answer_keys(setups[0], conditioning, seeds, setup.samples).get(metric.name)
    scores = journal.done(key) if journal is not None and key else None
    if scores is None:
        drawn = [generate.draw(s.model, conditioning, s.seeds, s.steps, s.guidance) for s in setups]
        values = metric.measure([image for images in drawn for image in images], list(setup.samples) * numbers).values
        scores = values.reshape(numbers, -1).mean(0).tolist()
        if journal is not None and key:
            journal.record(key, scores)
    return np.array(scores)
