"""Statistics of measured arms: means, paired differences and tests. Nothing is drawn here.

Intervals are over noun × culture clusters within cultures; see `interp.stats`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from interp import stats
from interp.experiments.arms import MeasuredArms, measure_arms
from interp.experiments.controls import Make, PlannedArm, plan_arms
from interp.experiments.setup import Setup
from interp.types import Arm, Effect, Interval, Measure, Neurons


def intervene(
    setup: Setup, neurons: Neurons, make: Make, label: str, prompts: str, sets: int = 0, encoder_side: bool = True
) -> Effect:
    """Plan the arms of an intervention, measure them, and say what it did; arguments as of `controls.plan_arms`."""
    planned = plan_arms(setup, neurons, make, label, prompts, sets, encoder_side)
    measured = measure_arms(setup, planned)
    settings = {"intervention": repr(make(neurons[setup.cultures[0]])), "prompts": prompts}
    return effect_of(setup, planned, measured, label, settings)


def effect_of(
    setup: Setup,
    planned: Sequence[PlannedArm],
    measured: MeasuredArms,
    name: str,
    settings: Mapping[str, Any] | None = None,
) -> Effect:
    """Arms with their means, their differences to the first, and the test against the control sets if there are any.

    Args:
        setup: of the arms.
        planned: the arms; the first is the baseline, and where `random` is among them the second is the treatment.
        measured: what came of them.
        name: of the effect.
        settings: kept with it.
    """
    arms = {arm.label: arm for arm in measured.arms}
    baseline, *others = measured.arms
    p, extra = float("nan"), {}
    for arm in planned:
        if arm.sets:
            p, extra = _against_control(setup, baseline, measured.arms[1], arms[arm.label], arm.sets)
    return Effect(
        name=name,
        arms=arms,
        accuracy={k: interval(setup, a.culture_hit) for k, a in arms.items()},
        noun_fidelity={k: interval(setup, a.noun_hit) for k, a in arms.items()},
        difference={a.label: difference(setup, a.culture_hit, baseline.culture_hit) for a in others},
        p_vs_control=p,
        per_culture={k: by_culture(setup, a.culture_hit) for k, a in arms.items()},
        cultures=setup.cultures,
        sample_ids=tuple(s.id for s in setup.samples),
        model_digest=setup.model.model_digest,
        settings={**(settings or {}), "clusters": list(setup.clusters), **extra},
        set_shift=measured.shift,
        measures={m.name: Measure(m.unit, m.direction) for m in setup.metrics},
        measured={m.name: {k: interval(setup, a.scores[m.name]) for k, a in arms.items()} for m in setup.metrics},
    )


def _against_control(
    setup: Setup, baseline: Arm, treatment: Arm, random: Arm, sets: Sequence[int]
) -> tuple[float, dict[str, float]]:
    """p of the effect among the sets' effects; how many were dealt out, and the paired sign-flip p (see `stats`)."""
    numbers, change = np.array(sets), random.culture_hit - baseline.culture_hit
    effects = [float(np.nanmean(change[numbers == n])) for n in sorted(set(sets))]
    seen = float(np.nanmean(treatment.culture_hit - baseline.culture_hit))
    flip = stats.paired_permutation_p(treatment.culture_hit, random.culture_hit, setup.clusters)
    p = stats.control_p(seen, effects, "less" if seen < 0 else "greater")
    return p, {"random_sets": len(effects), "paired_permutation_p": flip}


def interval(setup: Setup, values: Float[np.ndarray, "sample"]) -> Interval:
    """Mean with an interval over noun × culture clusters within cultures."""
    return stats.interval(values, setup.clusters, setup.cultures)


def difference(setup: Setup, treatment: Float[np.ndarray, "sample"], baseline: Float[np.ndarray, "sample"]) -> Interval:
    """Paired difference with its interval."""
    return stats.paired_difference(treatment, baseline, setup.clusters, setup.cultures)


def by_culture(setup: Setup, values: Float[np.ndarray, "sample"]) -> dict[str, Interval]:
    """Mean with interval in each culture."""
    cultures, clusters = np.array(setup.cultures), np.array(setup.clusters)
    return {
        c: stats.interval(values[cultures == c], clusters[cultures == c].tolist())
        for c in dict.fromkeys(setup.cultures)
    }


def mean_change_by_culture(
    setup: Setup, treatment: Arm, baseline: Arm, cultures: Sequence[str]
) -> Float[np.ndarray, "culture"]:
    """Mean change of CultureVQA in the samples of each culture, in points; NaN where there are none scored."""
    change, of = treatment.culture_hit - baseline.culture_hit, np.array(setup.cultures)
    scored = [change[(of == c) & ~np.isnan(change)] for c in cultures]
    return np.array([values.mean() if len(values) else np.nan for values in scored])
