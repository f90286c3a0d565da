"""What the results file says of the latents: which they are, how they rank, and how far two cultures share them."""

import math

import numpy as np

from interp.report.results._parts import Curve
from interp.report.results._values import Matrix
from interp.types import Neurons

HEAD = 40
"""How many leading latents of a WFS curve the file keeps."""


def indices(neurons: Neurons) -> dict[str, list[int]]:
    """`neurons` of a results file."""
    return {culture: list(chosen.indices) for culture, chosen in neurons.sets.items()}


def ranking(neurons: Neurons, culture: str) -> tuple[np.ndarray, np.ndarray]:
    """Latents of one culture in the order in which they were ranked, and the scores they were ranked by.

    The rule is the one that `neurons.settings` records; without a record it is the paper's, WFS_cult.
    """
    row, rule = neurons.cultures.index(culture), dict(neurons.settings.get("rule", {}))
    cult, noun = neurons.wfs[row], neurons.wfs_noun[row]
    score = cult - noun if rule.get("contrast") == "difference" else cult
    tau = rule.get("tau") if rule.get("filter") == "before" else None
    candidates = np.flatnonzero((score > 0) & (True if tau is None else noun <= float(tau) * cult))
    order = candidates[np.argsort(-score[candidates], kind="stable")]
    return order, score[order]


def cut(neurons: Neurons, culture: str) -> int:
    """Ranks before the cut: as recorded, else up to the last latent that was kept."""
    recorded = neurons.settings.get("k", {})
    if culture in recorded:
        return int(recorded[culture])
    kept = np.isin(ranking(neurons, culture)[0], neurons[culture].indices)
    return int(np.flatnonzero(kept).max(initial=-1)) + 1


def curves(neurons: Neurons, head: int = HEAD) -> dict[str, Curve]:
    """`neuron_curves` of a results file."""

    def curve(row: int, culture: str) -> Curve:
        order = ranking(neurons, culture)[0][:head]
        wfs, noun = neurons.wfs[row, order].tolist(), neurons.wfs_noun[row, order].tolist()
        return Curve(index=order.tolist(), wfs=wfs, wfs_noun=noun, k=cut(neurons, culture))

    return {culture: curve(row, culture) for row, culture in enumerate(neurons.cultures)}


def overlap(neurons: Neurons) -> Matrix:
    """Jaccard index of every two cultures' sets; NaN for two empty sets."""
    sets = [set(neurons.sets[c].indices) if c in neurons.sets else set() for c in neurons.cultures]
    values = [[len(a & b) / len(a | b) if a | b else math.nan for b in sets] for a in sets]
    return Matrix(rows=list(neurons.cultures), columns=list(neurons.cultures), values=values)
