"""What goes through a text encoder: tokens with spans, states, and the conditioning that the denoiser reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.types import RECORD, Span


class Options(TypedDict, total=False):
    """How a model is loaded; what is left out, or None, is what suits the model and the machine."""

    device: str | None
    dtype: str | torch.dtype | None
    offload: str | None
    size: int | None
    """Side of the images in pixels."""


@dataclass(frozen=True)
class EncoderSpec:
    """The shape of one text encoder."""

    name: str
    """Its name in the pipeline, `text_encoder`, `text_encoder_2`, …"""
    layers: int
    heads: int
    d_model: int
    reach: int
    """The last layer, counted from 0, that can affect the image."""
    causal: bool
    """Whether tokens attend only to the left (CLIP)."""
    max_tokens: int


@dataclass(frozen=True)
class Tokens:
    """Tokenised prompts, padded to the encoder's context."""

    ids: Int[Tensor, "prompt token"]
    mask: Int[Tensor, "prompt token"]
    """1 for real tokens, special ones included."""
    special: Bool[Tensor, "prompt token"]
    """Begin, end and padding."""
    offsets: tuple[tuple[Span, ...], ...]
    """Character span of each token."""

    def where(self, row: int, span: Span | None) -> list[int]:
        """Positions of the tokens of one prompt that share a character with a span."""
        if span is None:
            return []
        return [
            i
            for i, (start, end) in enumerate(self.offsets[row])
            if max(start, span[0]) < min(end, span[1]) and not bool(self.special[row, i])
        ]


@dataclass(frozen=True)
class States:
    """What one encoder gave for a batch, before the family makes a conditioning of it."""

    output: Any
    """The module's own output."""
    penultimate: Float[Tensor, "prompt token d_model"] | None = None
    """The residual stream before the last layer, where the family reads it."""


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser receives: the prompt branch, and the negative branch, which is one for all and never edited."""

    __pydantic_config__ = RECORD

    embeds: Float[Tensor, "prompt token d_cond"]
    mask: Int[Tensor, "prompt token"]
    """1 where a token is real."""
    negative: Float[Tensor, "1 token d_cond"] | None = None
    """None in models without a negative branch."""
    pooled: Float[Tensor, "prompt d_pooled"] | None = None
    negative_pooled: Float[Tensor, "1 d_pooled"] | None = None

    def __len__(self) -> int:
        return self.embeds.shape[0]

    def rows(self, at: Sequence[int]) -> "Conditioning":
        """The conditioning of some prompts."""
        index = torch.as_tensor(at, device=self.embeds.device)
        pooled = None if self.pooled is None else self.pooled[index]
        return replace(self, embeds=self.embeds[index], mask=self.mask[index], pooled=pooled)

    def to(self, device: torch.device | str) -> "Conditioning":
        """The same on another device."""
        return Conditioning(*[None if x is None else x.to(device) for x in self._tensors()])  # type: ignore[arg-type]

    def _tensors(self) -> tuple[Tensor | None, ...]:
        return self.embeds, self.mask, self.negative, self.pooled, self.negative_pooled

    def arrays(self) -> dict[str, np.ndarray | bytes]:
        """What decides the images, for a digest."""
        names = ("embeds", "mask", "negative", "pooled", "negative_pooled")
        named = zip(names, self._tensors(), strict=True)
        return {name: x.detach().cpu().float().numpy() for name, x in named if x is not None}


@dataclass(frozen=True)
class Verbatim:
    """What a model without a text encoder of its own receives: the prompts as they are."""

    prompts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def rows(self, at: Sequence[int]) -> "Verbatim":
        """Some of the prompts."""
        return Verbatim(tuple(self.prompts[i] for i in at))

    def arrays(self) -> dict[str, np.ndarray | bytes]:
        """What decides the images, for a digest."""
        return {"prompts": "\0".join(self.prompts).encode()}


Conditioned = Conditioning | Verbatim


def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    """Several conditionings as one."""
    first = parts[0]
    pooled = None if first.pooled is None else torch.cat([p.pooled for p in parts if p.pooled is not None])
    return replace(
        first, embeds=torch.cat([p.embeds for p in parts]), mask=torch.cat([p.mask for p in parts]), pooled=pooled
    )
