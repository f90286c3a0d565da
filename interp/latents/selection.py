"""Which latents are a culture's neurons: ranked by their scores, cut at the elbow, filtered by the noun side.

Needs numpy alone, so that a report can show how a set came about.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from interp import bounds
from interp.errors import InterpError
from interp.types import RECORD


@dataclass(frozen=True)
class Rule:
    """How latents are chosen; the defaults are the paper's: rank by WFS, cut at the elbow, then filter."""

    __pydantic_config__ = RECORD

    k: int | Literal["elbow"] = "elbow"
    """Number of ranks, or the elbow of the sorted scores (Appendix C.4)."""
    tau: float | None = 0.5
    """τ: a latent belongs to the noun when its WFS on noun-only prompts is above τ times that on culture-style ones
    (WFS_noun / WFS_cult > τ); None keeps all. The paper gives no number."""
    max_k: int = 50
    """The elbow is sought among so many leading ranks; the chord ends there, so the elbow depends on it."""
    contrast: Literal["ratio", "difference"] = "ratio"
    """What is ranked. `ratio`: WFS_cult as in the paper, the noun enters only through τ. `difference`:
    WFS_cult − WFS_noun, so that a latent that fires for every noun does not take a rank or bend the curve."""
    filter: Literal["after", "before"] = "after"
    """`after` the cut, as in the paper (sets may end up smaller than K, even empty), or `before` the ranking."""

    def __post_init__(self):
        if self.k != "elbow":
            bounds.whole("k (latents per culture, or 'elbow')", self.k, 1)
        bounds.whole("max_k", self.max_k, 1)
        if self.tau is not None:
            bounds.positive("tau", self.tau)
        for name, known in (("contrast", ("ratio", "difference")), ("filter", ("after", "before"))):
            if getattr(self, name) not in known:
                raise InterpError(f"{name} {getattr(self, name)!r}; known: {', '.join(known)}")


@dataclass(frozen=True)
class Ranking:
    """Latents of one culture by falling score; equal scores by their number."""

    latents: Int[np.ndarray, " rank"]
    scores: Float[np.ndarray, " rank"]
    """What they were ranked by."""
    kept: Bool[np.ndarray, " rank"]
    """Whether they pass the noun-side filter."""


def ranking(
    culture_style: Float[np.ndarray, " d_sae"], noun_only: Float[np.ndarray, " d_sae"], rule: Rule | None = None
) -> Ranking:
    """Latents of one culture in the order in which a rule ranks them, those with a score above 0 alone.

    Args:
        culture_style: WFS on culture-style prompts.
        noun_only: WFS on noun-only prompts.
        rule: what is ranked, and whether the filter comes first; None for the paper's.
    """
    rule = rule or Rule()
    scores = culture_style if rule.contrast == "ratio" else culture_style - noun_only
    kept = noun_only <= (np.inf if rule.tau is None else rule.tau * culture_style)
    candidates = np.flatnonzero((scores > 0) & (kept | (rule.filter == "after")))
    latents = candidates[np.argsort(-scores[candidates], kind="stable")]
    return Ranking(latents, scores[latents], kept[latents])


def elbow(curve: Float[np.ndarray, " rank"]) -> int:
    """How many items of a descending curve come before its sharp drop levels off.

    Both axes are scaled to [0, 1]; the elbow is the point farthest below the chord from the first to the last point
    (Satopää et al. 2011, "Kneedle", without smoothing), and belongs to the tail. A curve without a point below its
    chord (flat, straight, concave) has no elbow: all its items count.
    """
    if len(curve) < 3 or curve[0] <= curve[-1]:
        return len(curve)
    height = (curve - curve[-1]) / (curve[0] - curve[-1])
    below = 1 - np.linspace(0, 1, len(curve)) - height
    return int(below.argmax()) if below.max() > 1e-9 else len(curve)


@dataclass(frozen=True)
class Selection:
    """The latents chosen for one culture."""

    indices: tuple[int, ...]
    """Kept latents, by falling score."""
    dropped: tuple[int, ...]
    """Latents among the first K that the noun-side filter took out; empty when the filter came first."""
    k: int
    """How many ranks were considered: the elbow, or the fixed K."""


def select(
    culture_style: Float[np.ndarray, "culture d_sae"],
    noun_only: Float[np.ndarray, "culture d_sae"],
    rule: Rule | None = None,
) -> tuple[Selection, ...]:
    """Latents of each culture, in the order of the rows.

    Args:
        culture_style: WFS on culture-style prompts.
        noun_only: WFS on noun-only prompts; pass the maximum of several controls to filter by all of them.
        rule: how to choose; None for the paper's.
    """
    rule = rule or Rule()
    selections = []
    for ranked in (ranking(*row, rule) for row in zip(culture_style, noun_only, strict=True)):
        k = elbow(ranked.scores[: rule.max_k]) if rule.k == "elbow" else min(rule.k, len(ranked.latents))
        first, kept = ranked.latents[:k], ranked.kept[:k]
        selections.append(Selection(tuple(first[kept].tolist()), tuple(first[~kept].tolist()), k))
    return tuple(selections)
