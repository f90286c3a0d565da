"""A linear probe of culture on the conditioning: the encoder-side measure for what is too dear to draw.

Multinomial logistic regression on standardised, mean-pooled token states. Not a measure of images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InterpError
from interp.models.records import Conditioning

PENALTY = 1e-3
"""Weight of the squared norm, on standardised features."""


def pooled(conditioning: Conditioning) -> Float[Tensor, "prompt d_probe"]:
    """Mean of the states of real tokens; beside it the pooled state, in models that have one."""
    mask = conditioning.mask.float()[..., None]
    mean = (conditioning.embeds.float() * mask).sum(1) / mask.sum(1)
    return mean if conditioning.pooled is None else torch.cat([mean, conditioning.pooled.float()], 1)


def shift(edited: Conditioning, plain: Conditioning) -> Float[np.ndarray, "prompt"]:
    """1 − cosine between the real tokens' states with and without an edit, averaged over tokens.

    In models with a pooled state, the mean of that and of 1 − cosine between the pooled states.
    """
    similar = torch.nn.functional.cosine_similarity
    cosine = similar(edited.embeds.float(), plain.embeds.float(), dim=-1)
    mask = plain.mask.to(cosine)
    moved = 1 - (cosine * mask).sum(1) / mask.sum(1)
    if edited.pooled is not None and plain.pooled is not None:
        moved = (moved + 1 - similar(edited.pooled.float(), plain.pooled.float(), dim=-1)) / 2
    return moved.cpu().double().numpy()


@dataclass(frozen=True)
class Probe:
    """A fitted probe, on the device of the conditioning that it was fitted on; it reads any."""

    labels: tuple[str, ...]
    mean: Float[Tensor, "d_probe"]
    scale: Float[Tensor, "d_probe"]
    weight: Float[Tensor, "culture d_probe"]
    bias: Float[Tensor, "culture"]

    def probabilities(self, conditioning: Conditioning) -> Float[np.ndarray, "prompt culture"]:
        """Probability of each label."""
        x = (pooled(conditioning).to(self.mean.device) - self.mean) / self.scale
        return (x @ self.weight.T + self.bias).softmax(-1).cpu().double().numpy()

    def named(self, conditioning: Conditioning, labels: Sequence[str]) -> Float[np.ndarray, "prompt"]:
        """Probability of one label for each prompt."""
        if unknown := sorted(set(labels) - set(self.labels)):
            raise InterpError(f"the probe was not fitted on {', '.join(unknown)}; it knows {', '.join(self.labels)}")
        column = [self.labels.index(label) for label in labels]
        return self.probabilities(conditioning)[np.arange(len(column)), column]


def fit(conditioning: Conditioning, labels: Sequence[str], steps: int = 60) -> Probe:
    """Fit by L-BFGS from zero, in float32 where the conditioning is, so that the result is the same every time."""
    names = tuple(dict.fromkeys(labels))
    x = pooled(conditioning)
    mean, scale = x.mean(0), x.std(0) + 1e-6
    x, y = (x - mean) / scale, torch.tensor([names.index(label) for label in labels], device=x.device)
    weight = torch.zeros(len(names), x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(len(names), device=x.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(x @ weight.T + bias, y) + PENALTY * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[arg-type]
    return Probe(names, mean, scale, weight.detach(), bias.detach())
