"""Stable Diffusion 3 and 3.5: two causal CLIPs by width, T5 behind them by length."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from interp.models.diffusers_adapter import DiffusersAdapter, Request, assemble, place
from interp.models.encoders import T5, TextEncoder
from interp.models.records import Conditioning, States, Tokens
from interp.models.sdxl import clips

PIPELINES = ("StableDiffusion3Pipeline",)
T5_TOKENS = 256
"""The pipeline's own `max_sequence_length`."""


class StableDiffusion3(DiffusersAdapter):
    """Tokens: the CLIPs' states before the last layer, padded to T5's width, then T5's.

    Pooled: both CLIPs' projections. The pipeline hides no padding from T5; where a folder has none, zeros stand for it.
    """

    steps = 28
    guidance = 3.5

    def join(self, states: Mapping[str, States], tokens: Mapping[str, Tokens]) -> Conditioning:
        first, second = states["text_encoder"], states["text_encoder_2"]
        assert first.penultimate is not None and second.penultimate is not None
        clip = torch.cat([first.penultimate, second.penultimate], -1)
        mask = tokens["text_encoder"].mask
        if "text_encoder_3" in states:
            t5, t5_mask = states["text_encoder_3"].output.last_hidden_state, tokens["text_encoder_3"].mask
        else:
            t5 = clip.new_zeros(len(clip), T5_TOKENS, self.denoiser.config.joint_attention_dim)
            t5_mask = mask.new_zeros(len(clip), T5_TOKENS)
        padded = torch.nn.functional.pad(clip, (0, t5.shape[-1] - clip.shape[-1]))
        pooled = torch.cat([first.output.text_embeds, second.output.text_embeds], -1)
        return Conditioning(torch.cat([padded, t5], -2), torch.cat([mask, t5_mask], -1), pooled=pooled)

    def reference(self, prompts: Sequence[str]) -> Mapping[str, Tensor]:
        texts = list(prompts)
        with torch.no_grad():
            out = self.pipeline.encode_prompt(texts, texts, texts, device=self.device)
        return dict(zip(("embeds", "negative", "pooled", "negative_pooled"), out, strict=True))


def load(request: Request) -> StableDiffusion3:
    """Load a folder in the layout of stable-diffusion-3.5-large."""
    placement = place(request, torch.bfloat16)
    pipeline = assemble(request, placement)
    encoders: list[TextEncoder] = [*clips(pipeline, {"text_encoder": -1, "text_encoder_2": -1})]
    if pipeline.text_encoder_3 is not None:
        t5 = T5("text_encoder_3", pipeline.text_encoder_3, pipeline.tokenizer_3, max_tokens=T5_TOKENS, masked=False)
        encoders.append(t5)
    return StableDiffusion3(request, placement, pipeline, encoders)
