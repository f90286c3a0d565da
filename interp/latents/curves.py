"""How a culture's neurons came about, and what cultures share: rankings, cuts, overlap. Needs numpy alone."""

import math

import numpy as np

from interp.latents.selection import Ranking, Rule, ranking
from interp.types import Matrix, Neurons


def recorded_ranking(neurons: Neurons, culture: str) -> Ranking:
    """The latents of one culture as the recorded rule ranks them; without a record by the paper's, WFS_cult."""
    row = neurons.cultures.index(culture)
    rule = Rule(**dict(neurons.settings.get("rule", {})))
    return ranking(neurons.wfs[row], neurons.wfs_noun[row], rule)


def cut(neurons: Neurons, culture: str) -> int:
    """Ranks before the cut: as recorded, else up to the last latent that was kept."""
    recorded = neurons.settings.get("k", {})
    if culture in recorded:
        return int(recorded[culture])
    kept = np.isin(recorded_ranking(neurons, culture).latents, neurons[culture].indices)
    return int(np.flatnonzero(kept).max(initial=-1)) + 1


def overlap(neurons: Neurons) -> Matrix:
    """Jaccard index of every two cultures' neurons; NaN for two empty sets."""
    sets = [set(neurons.sets[c].indices) if c in neurons.sets else set() for c in neurons.cultures]
    values = [[len(a & b) / len(a | b) if a | b else math.nan for b in sets] for a in sets]
    return Matrix(neurons.cultures, neurons.cultures, np.array(values, dtype=float).reshape((len(sets),) * 2))
