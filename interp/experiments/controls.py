"""Matched random control sets."""

from collections.abc import Callable

from interp import stats
from interp.errors import InterpError
from interp.interventions.edits import Amplify, Intervention, Steer, Where
from interp.types import Codes, Neurons, NeuronSet

RANDOM_SETS = 20

Make = Callable[[NeuronSet], Intervention]


def control_sets(neurons: Neurons, culture: str, count: int, seed: int = 0) -> list[NeuronSet]:
    """Random sets of the size of a culture's, matched on firing rate and magnitude, without any culture's latents."""
    row = neurons.cultures.index(culture)
    taken = {i for chosen in neurons.sets.values() for i in chosen.indices}
    picks = stats.match_controls(
        neurons[culture].indices,
        neurons.frequency[row].astype(float),
        neurons.magnitude[row].astype(float),
        count,
        seed + row,
        taken,
    )
    mu, rest = neurons.magnitude[row], neurons.baseline[row]
    return [
        NeuronSet(
            f"random {n} for {culture}",
            pick,
            tuple(mu[list(pick)].tolist()),
            tuple(rest[list(pick)].tolist()),
            neurons.sae,
        )
        for n, pick in enumerate(picks)
    ]


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
