"""The adapter: what every family of text-to-image models offers to the rest of the toolkit.

An adapter has text encoders (`encoders.py`: tokens with spans, and where the states are for nnsight), joins what they
give to a `Conditioning`, and makes images from one. It holds no method of the paper. A new family is one file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from interp.errors import InterpError
from interp.types import Prompt, Span

if TYPE_CHECKING:
    from interp.models.encoders import TextEncoder


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
        """What decides the pictures, for a digest."""
        names = ("embeds", "mask", "negative", "pooled", "negative_pooled")
        given = zip(names, self._tensors(), strict=True)
        return {name: x.detach().cpu().float().numpy() for name, x in given if x is not None}


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
        """What decides the pictures, for a digest."""
        return {"prompts": "\0".join(self.prompts).encode()}


Conditioned = Conditioning | Verbatim


def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    """Several conditionings as one."""
    first = parts[0]
    pooled = None if first.pooled is None else torch.cat([p.pooled for p in parts if p.pooled is not None])
    return replace(
        first, embeds=torch.cat([p.embeds for p in parts]), mask=torch.cat([p.mask for p in parts]), pooled=pooled
    )


class Adapter(ABC):
    """One loaded model."""

    name: str
    """As the user asked for it."""
    model_digest: str
    """SHA-256 over all weights: what the pictures are bound to."""
    encoder_digest: str
    """SHA-256 over the text encoders' weights: what SAEs and neurons are bound to. They fit every model with these
    encoders, whatever its denoiser (the paper's Q8)."""
    encoders: "Mapping[str, TextEncoder]"
    """By name in the pipeline; empty where the model has none of its own."""
    device: torch.device
    recipe: Mapping[str, Any]
    """Encoder, layer, site, codes, intervention and strength to use when the user names none; may be empty."""
    images_at_once: int = 64
    """Pictures drawn together; results of a run do not depend on it beyond rounding."""
    certificate: Mapping[str, float]
    """The checks the adapter passed when it loaded, with the largest difference each saw."""

    @property
    def identity(self) -> str:
        """Names everything that decides a picture beside prompt, seed and the call's own arguments: the weights here;
        of a family that can be loaded in several ways also precision, kind of device, size and sampler."""
        return self.model_digest

    @abstractmethod
    def condition(self, states: Mapping[str, States], tokens: Mapping[str, Tokens]) -> Conditioning:
        """Join what the encoders gave to a conditioning, with the negative branch of the model."""

    @abstractmethod
    def images(
        self,
        conditioning: Conditioned,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        size: int | None = None,
        progress: bool = False,
    ) -> UInt8[np.ndarray, "prompt height width rgb"]:
        """One image a prompt; the initial noise depends on the seed alone.

        Args:
            conditioning: of `condition`, or `Verbatim` where the model has no encoder.
            seeds: one a prompt.
            steps: of the sampler; None for the model's.
            guidance: scale; None for the model's.
            size: side in pixels; None for the model's.
            progress: show the sampler's bar.
        """

    def encoder(self, name: str) -> "TextEncoder":
        """One of the text encoders.

        Raises:
            InterpError: the model has no such encoder.
        """
        if name not in self.encoders:
            known = ", ".join(self.encoders) or "none that can be read or edited: it is a baseline only"
            raise InterpError(f"{self.name} has no encoder {name!r}; it has: {known}")
        return self.encoders[name]

    def spec(self, encoder: str) -> EncoderSpec:
        """The shape of an encoder."""
        return self.encoder(encoder).spec

    def check_layer(self, layer: int, encoder: str = "text_encoder") -> None:
        """Refuse a layer that does not exist or cannot affect the image."""
        spec = self.spec(encoder)
        if not 0 <= layer <= spec.reach:
            unused = f"; layers {spec.reach + 1} to {spec.layers - 1} never affect the image" * (
                spec.reach + 1 < spec.layers
            )
            raise InterpError(
                f"layer {layer} of {self.name} {encoder}: layers that affect the image are 0 to {spec.reach}{unused}"
            )

    def __repr__(self) -> str:
        specs = [e.spec for e in self.encoders.values()]
        shapes = ", ".join(f"{s.name}: {s.layers} layers × {s.d_model}" for s in specs) or "no text encoder"
        return f"{type(self).__name__}({self.name!r}, {shapes})"


def token_sets(tokens: Tokens, prompts: Sequence[Prompt]) -> tuple[list[list[int]], list[list[int]]]:
    """(T_cult, T_noun) of each prompt as token positions.

    Raises:
        InterpError: the prompt was cut to the context, and a part of a span with it.
    """
    sets: tuple[list[list[int]], list[list[int]]] = ([], [])
    for row, prompt in enumerate(prompts):
        read = max((end for _, end in tokens.offsets[row]), default=0)
        for found, what, span in zip(sets, ("modifier", "noun"), (prompt.modifier, prompt.noun), strict=True):
            at = tokens.where(row, span)
            if span is not None and (not at or span[1] > read):
                raise InterpError(
                    f"{prompt.text!r}: its {what} {prompt.text[slice(*span)]!r} does not fit into the "
                    f"{tokens.ids.shape[1]} tokens that the encoder reads; shorten the prompt"
                )
            found.append(at)
    return sets
