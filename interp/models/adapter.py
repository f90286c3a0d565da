"""The adapter: what every family of text-to-image models offers to the rest of the toolkit.

An adapter has text encoders (`encoders.py`: tokens with spans, and where the states are for nnsight), joins what they
give to a `Conditioning`, and makes images from one. It holds no method of the paper. A new family is one file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from interp.errors import InterpError
from interp.models.encoders import TextEncoder
from interp.models.records import Conditioned, Conditioning, EncoderSpec, States, Tokens
from interp.types import Prompt


class Adapter(ABC):
    """One loaded model."""

    name: str
    """As the user asked for it."""
    model_digest: str
    """SHA-256 over all weights: what the images are bound to."""
    encoder_digest: str
    """SHA-256 over the text encoders' weights: what SAEs and neurons are bound to. They fit every model with these
    encoders, whatever its denoiser (the paper's Q8)."""
    encoders: Mapping[str, TextEncoder]
    """By name in the pipeline; empty where the model has none of its own."""
    device: torch.device
    recipe: Mapping[str, Any]
    """Encoder, layer, site, codes, intervention and strength to use when the user names none; may be empty."""
    images_at_once: int = 64
    """Images drawn together; results of a run do not depend on it beyond rounding."""
    certificate: Mapping[str, float]
    """The checks the adapter passed when it loaded, with the largest difference each saw."""

    @property
    def identity(self) -> str:
        """Names everything that decides an image beside prompt, seed and the call's own arguments: the weights here;
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
            seeds: one per prompt.
            steps: of the sampler; None for the model's.
            guidance: scale; None for the model's.
            size: side in pixels; None for the model's.
            progress: show the sampler's bar.
        """

    def encoder(self, name: str) -> TextEncoder:
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
            last = spec.layers - 1
            unused = f"; layers {spec.reach + 1} to {last} never affect the image" if spec.reach < last else ""
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
        for positions, what, span in zip(sets, ("modifier", "noun"), (prompt.modifier, prompt.noun), strict=True):
            at = tokens.where(row, span)
            if span is not None and (not at or span[1] > read):
                raise InterpError(
                    f"{prompt.text!r}: its {what} {prompt.text[slice(*span)]!r} does not fit into the "
                    f"{tokens.ids.shape[1]} tokens that the encoder reads; shorten the prompt"
                )
            positions.append(at)
    return sets
