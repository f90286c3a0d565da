"""Weighted frequency score of latents (Eq. 4–6): how often and how strongly each fires."""

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InterpError

BETA = 1e-6
"""β of Eq. 5; only there so that a latent that never fires has magnitude 0, not 0/0."""


def frequency(codes: Float[Tensor, "token d_sae"], eps: float = 0.0) -> Float[Tensor, " d_sae"]:
    """Share of tokens on which a latent fires: f(m) = 1/N Σᵢ 1(Z[i,m] > ε) (Eq. 4)."""
    return counted(codes, eps).frequency


def magnitude(codes: Float[Tensor, "token d_sae"], eps: float = 0.0, beta: float = BETA) -> Float[Tensor, " d_sae"]:
    """Mean code of a latent where it fires: μ(m) = Σᵢ Z[i,m]·1(Z[i,m] > ε) / (Σᵢ 1(Z[i,m] > ε) + β) (Eq. 5)."""
    return counted(codes, eps, beta).magnitude


def weighted_frequency(
    codes: Float[Tensor, "token d_sae"], eps: float = 0.0, beta: float = BETA
) -> Float[Tensor, " d_sae"]:
    """Weighted frequency score: WFS(m) = f(m) · μ(m) (Eq. 6)."""
    return counted(codes, eps, beta).wfs


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


def counted(codes: Float[Tensor, "token d_sae"], eps: float = 0.0, beta: float = BETA) -> WfsAccumulator:
    """The counts of one batch of codes."""
    counts = WfsAccumulator(codes.shape[1], eps, beta)
    counts.update(codes)
    return counts
