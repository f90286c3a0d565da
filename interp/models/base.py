"""The adapter: what every family of text-to-image models offers to the rest of the toolkit.

An adapter names the layers of a text encoder for nnsight, tokenises with spans, turns the encoder's output into a
`Conditioning` and makes images from one. It holds no method of the paper. A new family is one file with one subclass.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from interp.errors import InterpError
from interp.types import Prompt, Span


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
class Conditioning:
    """What the denoiser receives: the prompt branch and the never edited negative branch."""

    embeds: Float[Tensor, "prompt token d_cond"]
    negative: Float[Tensor, "prompt token d_cond"]
    mask: Int[Tensor, "prompt token"]
    pooled: Float[Tensor, "prompt d_pooled"] | None = None
    negative_pooled: Float[Tensor, "prompt d_pooled"] | None = None

    def __len__(self) -> int:
        return self.embeds.shape[0]

    def rows(self, at: Sequence[int]) -> "Conditioning":
        """The conditioning of some prompts."""
        index = torch.as_tensor(at, device=self.embeds.device)

        def pick(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[index]

        return Conditioning(
            self.embeds[index], self.negative[index], self.mask[index], pick(self.pooled), pick(self.negative_pooled)
        )


def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    """Several conditionings as one."""

    def join(items: list[Any]) -> Any:
        return None if items[0] is None else torch.cat(items)

    return Conditioning(
        torch.cat([p.embeds for p in parts]),
        torch.cat([p.negative for p in parts]),
        torch.cat([p.mask for p in parts]),
        join([p.pooled for p in parts]),
        join([p.negative_pooled for p in parts]),
    )


class Adapter(ABC):
    """One loaded model."""

    name: str
    """As the user asked for it."""
    digest: str
    """SHA-256 over all weights."""
    encoder_digest: str
    """SHA-256 over the text encoders' weights: what SAEs and neurons are bound to. They fit every model with these
    encoders, whatever its denoiser (the paper's Q8)."""
    encoders: Mapping[str, EncoderSpec]
    device: torch.device
    recipe: Mapping[str, Any]
    """Encoder, layer, site, codes, intervention and strength to use when the user names none; may be empty."""
    certificate: Mapping[str, float]
    """The checks the adapter passed when it loaded, with the largest difference each saw."""

    @abstractmethod
    def tokenise(self, texts: Sequence[str], encoder: str) -> Tokens:
        """Tokenise for one encoder.

        Raises:
            InterpError: a text is longer than the context.
        """

    @abstractmethod
    def envoy(self, encoder: str) -> Any:
        """The encoder wrapped by nnsight; the same object at every call."""

    @abstractmethod
    def attention(self, envoy: Any, layer: int) -> Any:
        """The envoy whose output is (z [prompt token d_model], pattern [prompt head token token])."""

    @abstractmethod
    def values(self, envoy: Any, layer: int) -> Any:
        """The envoy of the value projection, output [prompt token d_model]."""

    @abstractmethod
    def block(self, envoy: Any, layer: int) -> Any:
        """The envoy of the whole layer, output the residual stream [prompt token d_model]."""

    @abstractmethod
    def is_special(self, ids: Int[Tensor, "prompt token"]) -> Bool[Tensor, "prompt token"]:
        """Which token ids are begin, end or padding."""

    @abstractmethod
    def inputs(self, tokens: Tokens) -> dict[str, Tensor]:
        """The encoder's keyword arguments."""

    @abstractmethod
    def states(self, envoy: Any) -> Any:
        """The encoder's contribution to the conditioning [prompt token d_cond], read inside a trace."""

    @abstractmethod
    def condition(self, states: Mapping[str, Tensor], tokens: Tokens) -> Conditioning:
        """Join the encoders' states to a conditioning, with the negative branch of the empty prompt."""

    @abstractmethod
    def images(
        self,
        conditioning: Conditioning,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        progress: bool = False,
    ) -> UInt8[np.ndarray, "prompt height width rgb"]:
        """One image a prompt; the initial noise depends on the seed alone."""

    def spec(self, encoder: str) -> EncoderSpec:
        """The shape of an encoder.

        Raises:
            InterpError: the model has no such encoder.
        """
        if encoder not in self.encoders:
            raise InterpError(f"{self.name} has no encoder {encoder!r}; it has: {', '.join(self.encoders)}")
        return self.encoders[encoder]

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
        shapes = ", ".join(f"{s.name}: {s.layers} layers × {s.d_model}" for s in self.encoders.values())
        return f"{type(self).__name__}({self.name!r}, {shapes})"


def token_sets(tokens: Tokens, prompts: Sequence[Prompt]) -> tuple[list[list[int]], list[list[int]]]:
    """(T_cult, T_noun) of each prompt as token positions.

    Raises:
        InterpError: a span has no token, because the prompt was cut.
    """
    cult = [tokens.where(i, p.modifier) for i, p in enumerate(prompts)]
    noun = [tokens.where(i, p.noun) for i, p in enumerate(prompts)]
    for prompt, c, n in zip(prompts, cult, noun, strict=True):
        if (prompt.modifier is not None and not c) or (prompt.noun is not None and not n):
            raise InterpError(f"{prompt.text!r}: its modifier or noun has no token; shorten the prompt")
    return cult, noun
