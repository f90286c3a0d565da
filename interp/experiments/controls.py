"""Which arms an experiment has: baseline, treatment, and matched random control sets dealt out over the samples."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from interp import bounds, stats
from interp.errors import InterpError
from interp.experiments.setup import Setup
from interp.interventions.edits import Amplify, Intervention, Plan, Steer, Where
from interp.types import Codes, Neurons, NeuronSet

RANDOM_SETS = 20

Make = Callable[[NeuronSet], Intervention]
"""Makes an intervention of a set of latents."""


@dataclass(frozen=True)
class PlannedArm:
    """One arm before it is measured."""

    label: str
    """Its name in tables."""
    prompts: str
    """Kind of its prompts, one of `setup.KINDS`."""
    plans: tuple[Plan, ...] = ()
    """One per sample; none for the untouched model."""
    truth: tuple[str, ...] = ()
    """Culture to look for in each sample's image; the sample's own if empty."""
    sets: tuple[int, ...] = ()
    """Number of the control set that each sample was dealt."""
    drawn: bool = True
    """False: measured on the encoder's side alone."""


def set_count(random_control: bool | int) -> int:
    """How many control sets are asked for: `RANDOM_SETS` for True.

    Raises:
        InterpError: a number below 0.
    """
    bounds.whole("random_control (sets)", int(random_control), 0)
    return RANDOM_SETS if random_control is True else int(random_control)


def plan_arms(
    setup: Setup, neurons: Neurons, make: Make, label: str, prompts: str, sets: int = 0, encoder_side: bool = True
) -> tuple[PlannedArm, ...]:
    """Baseline, treatment (each sample under its own culture's set) and matched random sets.

    Args:
        setup: gives the samples and the seed of the control sets.
        neurons: from `find_neurons`.
        make: the intervention of a set.
        label: of the treatment.
        prompts: kind of the prompts.
        sets: random control sets per culture, dealt out over its samples in turn; 0 for none.
        encoder_side: also plan every control set on all samples, for the shift of the conditioning alone.

    Raises:
        InterpError: a culture of the samples has no neurons, or too few latents are left to match.
    """
    treatment = tuple(own_plans(setup, neurons, make))
    arms = [PlannedArm("baseline", prompts), PlannedArm(label, prompts, treatment)]
    if not sets:
        return tuple(arms)
    controls = {c: control_sets(neurons, c, sets, setup.seed) for c in dict.fromkeys(setup.cultures)}
    turn: Counter[str] = Counter()
    numbers = []
    for culture in setup.cultures:
        numbers.append(turn[culture] % sets)
        turn[culture] += 1
    random = [Plan.of(make(controls[c][n])) for c, n in zip(setup.cultures, numbers, strict=True)]
    arms.append(PlannedArm("random", prompts, tuple(random), sets=tuple(numbers)))
    if encoder_side:
        for n in range(sets):
            plans = tuple(Plan.of(make(controls[c][n])) for c in setup.cultures)
            arms.append(PlannedArm(f"random {n}", prompts, plans, drawn=False))
    return tuple(arms)


def own_plans(setup: Setup, neurons: Neurons, make: Make) -> list[Plan]:
    """Each sample under its own culture's set.

    Raises:
        InterpError: a culture has no neurons.
    """
    check_sets(neurons, setup.cultures)
    return [Plan.of(make(neurons[c])) for c in setup.cultures]


def check_sets(neurons: Neurons, cultures: Sequence[str]) -> None:
    """Refuse cultures without neurons: an edit of none would pass for one that does nothing.

    Raises:
        InterpError: names them.
    """
    if empty := [c for c in dict.fromkeys(cultures) if not neurons[c].indices]:
        raise InterpError(f"no neurons for {', '.join(empty)}: raise tau or k in find_neurons, or name other cultures")


def control_sets(neurons: Neurons, culture: str, count: int, seed: int = 0) -> list[NeuronSet]:
    """Random sets of the size of a culture's, matched on firing rate and magnitude, without any culture's latents."""
    row = neurons.cultures.index(culture)
    picks = stats.match_controls(
        neurons[culture].indices,
        neurons.frequency[row].astype(float),
        neurons.magnitude[row].astype(float),
        count,
        seed + row,
        {i for one in neurons.sets.values() for i in one.indices},
    )
    return [_random_set(neurons, row, pick, f"random {n} for {culture}") for n, pick in enumerate(picks)]


def _random_set(neurons: Neurons, row: int, pick: Sequence[int], label: str) -> NeuronSet:
    at = list(pick)
    magnitude, baseline = neurons.magnitude[row][at].tolist(), neurons.baseline[row][at].tolist()
    return NeuronSet(label, tuple(pick), tuple(magnitude), tuple(baseline), neurons.sae)


def maker(intervention: str, strength: float, codes: Codes = "topk", tokens: Where = "real") -> Make:
    """An intervention by name.

    Raises:
        InterpError: no intervention of that name.
    """
    if intervention == "amplify":
        return lambda s: Amplify(s, strength, codes, tokens)
    if intervention == "steer":
        return lambda s: Steer(s, strength, tokens)
    raise InterpError(f"intervention {intervention!r}; known: amplify, steer")
