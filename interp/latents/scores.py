"""Weighted frequency score (Eq. 4-6) and the rule that takes the leading latents by it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp import bounds
from interp.errors import InterpError
from interp.types import RECORD

BETA = 1e-6
"""β of Eq. 5; only there so that a latent that never fires has magnitude 0, not 0/0."""


def frequency(codes: Float[Tensor, "token d_sae"], eps: float = 0.0) -> Float[Tensor, " d_sae"]:
    """Share of tokens on which a latent fires: f(m) = 1/N Σᵢ 1(Z[i,m] > ε) (Eq. 4)."""
    return _counted(codes, eps, BETA).frequency


def magnitude(codes: Float[Tensor, "token d_sae"], eps: float = 0.0, beta: float = BETA) -> Float[Tensor, " d_sae"]:
    """Mean code of a latent where it fires: μ(m) = Σᵢ Z[i,m]·1(Z[i,m] > ε) / (Σᵢ 1(Z[i,m] > ε) + β) (Eq. 5)."""
    return _counted(codes, eps, beta).magnitude


def weighted_frequency(
    codes: Float[Tensor, "token d_sae"], eps: float = 0.0, beta: float = BETA
) -> Float[Tensor, " d_sae"]:
    """Weighted frequency score: WFS(m) = f(m) · μ(m) (Eq. 6)."""
    return _counted(codes, eps, beta).wfs


class WfsAccumulator:
    """Eq. 4–6 over batches of codes, in float64.

    Args:
        d_sae: number of latents.
        eps: ε, a latent fires where its code is greater.
        beta: β of Eq. 5.
    """

    def __init__(self, d_sae: int, eps: float = 0.0, beta: float = BETA):
        self.eps, self.beta, self.tokens = eps, beta, 0
        self._fired, self._fired_sum, self._sum = torch.zeros(3, d_sae, dtype=torch.float64)

    def update(self, codes: Float[Tensor, "token d_sae"]) -> None:
        """Count a batch of codes.

        Raises:
            InterpError: the codes have another number of latents.
        """
        if codes.shape[1] != len(self._sum):
            raise InterpError(f"got codes of {codes.shape[1]} latents after codes of {len(self._sum)}; use one SAE")
        fires = codes > self.eps
        self.tokens += len(codes)
        self._fired += fires.sum(0).cpu().double()
        # where the device has float64, only the sums leave it
        exact = codes.cpu() if codes.device.type == "mps" else codes
        self._fired_sum += (exact * fires.to(exact.device)).sum(0, dtype=torch.float64).cpu()
        self._sum += exact.sum(0, dtype=torch.float64).cpu()

    @property
    def frequency(self) -> Float[Tensor, " d_sae"]:
        """f(m), Eq. 4."""
        return self._fired / self._seen

    @property
    def magnitude(self) -> Float[Tensor, " d_sae"]:
        """μ(m), Eq. 5, in units of the code."""
        return self._fired_sum / (self._fired + self.beta)

    @property
    def wfs(self) -> Float[Tensor, " d_sae"]:
        """WFS(m), Eq. 6."""
        return self.frequency * self.magnitude

    @property
    def mean(self) -> Float[Tensor, " d_sae"]:
        """Mean code over all tokens, silent ones included: the baseline of a mean ablation."""
        return self._sum / self._seen

    @property
    def _seen(self) -> int:
        if self.tokens == 0:
            raise InterpError("no tokens were counted; update() the accumulator with at least one batch of codes")
        return self.tokens


def _counted(codes: Float[Tensor, "token d_sae"], eps: float, beta: float) -> WfsAccumulator:
    counts = WfsAccumulator(codes.shape[1], eps, beta)
    counts.update(codes)
    return counts


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


@dataclass(frozen=True)
class Rule:
    """How latents are chosen; the defaults are the paper's: rank by WFS_cult, cut at the elbow, then filter."""

    __pydantic_config__ = RECORD

    k: int | Literal["elbow"] = "elbow"
    """Number of ranks, or the elbow of the sorted scores (Appendix C.4)."""
    tau: float | None = 0.5
    """τ: a latent is noun-side when WFS_noun / WFS_cult > τ; None keeps all. The paper gives no number."""
    max_k: int = 50
    """The elbow is sought among so many leading ranks; the chord ends there, so the elbow depends on it."""
    contrast: Literal["ratio", "difference"] = "ratio"
    """What is ranked. `ratio`: WFS_cult as in the paper, the noun enters only through τ. `difference`:
    WFS_cult − WFS_noun, so that a latent that fires for every noun does not take a rank or bend the curve."""
    filter: Literal["after", "before"] = "after"
    """`after` the cut, as in the paper (sets may end up smaller than K, even empty), or `before` the ranking."""

    def __post_init__(self):
        if self.k != "elbow":
            bounds.whole("k (latents a culture, or 'elbow')", self.k, 1)
        bounds.whole("max_k", self.max_k, 1)
        if self.tau is not None:
            bounds.positive("tau", self.tau)
        for name, known in (("contrast", ("ratio", "difference")), ("filter", ("after", "before"))):
            if getattr(self, name) not in known:
                raise InterpError(f"{name} {getattr(self, name)!r}; known: {', '.join(known)}")


def select(
    wfs_cult: Float[np.ndarray, "culture d_sae"], wfs_noun: Float[np.ndarray, "culture d_sae"], rule: Rule | None = None
) -> tuple[Selection, ...]:
    """Latents of each culture, in the order of the rows.

    Args:
        wfs_cult: WFS on culture-style prompts.
        wfs_noun: WFS on noun-only prompts; pass the maximum of several controls to filter by all of them.
        rule: how to choose; None for the paper's.
    """
    chosen = rule or Rule()
    return tuple(_select_one(cult, noun, chosen) for cult, noun in zip(wfs_cult, wfs_noun, strict=True))


def _select_one(cult: Float[np.ndarray, " d_sae"], noun: Float[np.ndarray, " d_sae"], rule: Rule) -> Selection:
    score = cult if rule.contrast == "ratio" else cult - noun
    kept = noun <= (np.inf if rule.tau is None else rule.tau * cult)
    candidates = np.flatnonzero((score > 0) & (kept | (rule.filter == "after")))
    ranked = candidates[np.argsort(-score[candidates], kind="stable")]
    k = elbow(score[ranked[: rule.max_k]]) if rule.k == "elbow" else min(rule.k, len(ranked))
    top = ranked[:k]
    return Selection(tuple(top[kept[top]].tolist()), tuple(top[~kept[top]].tolist()), k)
