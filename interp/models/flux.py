"""FLUX.1: T5's tokens, CLIP's pooled state, guidance distilled into the transformer."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from interp.models.diffusers_adapter import DiffusersAdapter, Request, assemble, gaussian, place
from interp.models.encoders import T5, Clip
from interp.models.records import Conditioning, States, Tokens

PIPELINES = ("FluxPipeline",)
T5_TOKENS = 512
"""The pipeline's own `max_sequence_length`."""


class Flux(DiffusersAdapter):
    """Tokens: T5's states, no padding hidden from it. Pooled: CLIP's end token. There is no negative branch."""

    def join(self, states: Mapping[str, States], tokens: Mapping[str, Tokens]) -> Conditioning:
        t5, pooled = states["text_encoder_2"].output.last_hidden_state, states["text_encoder"].output.pooler_output
        return Conditioning(t5, tokens["text_encoder_2"].mask, pooled=pooled)

    @cached_property
    def negative(self) -> Conditioning | None:
        return None

    def reference(self, prompts: Sequence[str]) -> Mapping[str, Tensor]:
        with torch.no_grad():
            embeds, pooled, _ = self.pipeline.encode_prompt(list(prompts), device=self.device)
        return {"embeds": embeds, "pooled": pooled}

    @property
    def own_size(self) -> int:
        return self.pipeline.default_sample_size * self.pipeline.vae_scale_factor

    def noise(self, seeds: Sequence[int], size: int) -> Tensor:
        """Packed as the pipeline takes it: [prompt patch channel]."""
        side = 2 * (size // (2 * self.pipeline.vae_scale_factor))
        shape = (self.denoiser.config.in_channels // 4, side, side)
        packed = self.pipeline._pack_latents(gaussian(shape, seeds), len(seeds), *shape)
        return packed.to(self.device, self.denoiser.dtype)


def load(request: Request) -> Flux:
    """Load a folder in the layout of FLUX.1-dev."""
    placement = place(request, torch.bfloat16)
    pipeline = assemble(request, placement)
    clip = Clip("text_encoder", pipeline.text_encoder, pipeline.tokenizer, masked=False)
    t5 = T5("text_encoder_2", pipeline.text_encoder_2, pipeline.tokenizer_2, max_tokens=T5_TOKENS, masked=False)
    return Flux(request, placement, pipeline, [clip, t5])
