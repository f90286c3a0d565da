"""Stable Diffusion XL: two causal CLIPs side by side, and the second one's pooled state."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from interp.models.diffusers_adapter import DiffusersAdapter, Request, assemble, place
from interp.models.encoders import Clip
from interp.models.records import Conditioning, States, Tokens

PIPELINES = ("StableDiffusionXLPipeline",)


class StableDiffusionXL(DiffusersAdapter):
    """Tokens: both encoders' states before the last layer, joined by width. Pooled: the second encoder's projection.

    So the last layer of the first encoder never affects the image. The published model's negative branch is zero.
    """

    def join(self, states: Mapping[str, States], tokens: Mapping[str, Tokens]) -> Conditioning:
        parts = [states[name].penultimate for name in self.encoders]
        embeds = torch.cat([p for p in parts if p is not None], -1)
        return Conditioning(embeds, tokens["text_encoder_2"].mask, pooled=states["text_encoder_2"].output.text_embeds)

    @cached_property
    def negative(self) -> Conditioning | None:
        empty = super().negative
        if empty is None or empty.pooled is None or not self.pipeline.config.force_zeros_for_empty_prompt:
            return empty
        return Conditioning(torch.zeros_like(empty.embeds), empty.mask, pooled=torch.zeros_like(empty.pooled))

    def reference(self, prompts: Sequence[str]) -> Mapping[str, Tensor]:
        with torch.no_grad():
            out = self.pipeline.encode_prompt(list(prompts), device=self.device)
        return dict(zip(("embeds", "negative", "pooled", "negative_pooled"), out, strict=True))


def clips(pipeline: Any, reach: Mapping[str, int]) -> list[Clip]:
    """CLIPs read before the last layer: encoder → the last layer that affects the image."""
    return [
        Clip(
            name,
            getattr(pipeline, name),
            getattr(pipeline, name.replace("text_encoder", "tokenizer")),
            reach=last,
            masked=False,
            penultimate=True,
        )
        for name, last in reach.items()
    ]


def load(request: Request) -> StableDiffusionXL:
    """Load a folder in the layout of stable-diffusion-xl-base-1.0."""
    placement = place(request)
    pipeline = assemble(request, placement)
    encoders = clips(pipeline, {"text_encoder": -2, "text_encoder_2": -1})
    return StableDiffusionXL(request, placement, pipeline, encoders)
