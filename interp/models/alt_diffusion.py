"""AltDiffusion m9 and m18, and any folder in their layout: an XLM-R encoder with a projection, VAE and UNet."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from interp.models import files
from interp.models.diffusers_adapter import DiffusersAdapter, Request, assemble, place
from interp.models.encoders import XlmRoberta
from interp.models.records import Conditioning, States, Tokens

PIPELINES = ("AltDiffusionPipeline",)
ENCODER = "text_encoder"


class AltDiffusion(DiffusersAdapter):
    """m18 reads `hidden_states[-2]` through `pre_LN` and `transformation_pre`, m9 the last layer's output.

    So the last layer of m18 never affects the image.
    """

    steps = 30

    def join(self, states: Mapping[str, States], tokens: Mapping[str, Tokens]) -> Conditioning:
        return Conditioning(states[ENCODER].output.projection_state, tokens[ENCODER].mask)

    def reference(self, prompts: Sequence[str]) -> Mapping[str, Tensor]:
        with torch.no_grad():
            embeds, negative = self.pipeline.encode_prompt(list(prompts), self.device, 1, True)
        return {"embeds": embeds, "negative": negative}


def load(request: Request) -> AltDiffusion:
    """Load a folder component by component: published index files name a class that diffusers no longer resolves.

    The sampler is DPM-Solver++, as its authors advise.

    Raises:
        InterpError: a component is missing or broken.
    """
    from diffusers import DPMSolverMultistepScheduler
    from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
        RobertaSeriesModelWithTransformation,
    )
    from diffusers.pipelines.deprecated.alt_diffusion.pipeline_alt_diffusion import AltDiffusionPipeline

    placement = place(request)
    before_last = bool(files.read_json(request.folder / ENCODER / "config.json").get("has_pre_transformation"))
    # what the class builds and its forward pass never reads
    unread = ("roberta.pooler.", *(("transformation.",) if before_last else ()))
    text = files.load_module(
        RobertaSeriesModelWithTransformation,
        request.folder,
        ENCODER,
        placement.dtype,
        unread=unread,
        attn_implementation="eager",
    )
    published = files.load_scheduler(request.folder)
    pipeline = assemble(
        request,
        placement,
        AltDiffusionPipeline,
        text_encoder=text,
        scheduler=DPMSolverMultistepScheduler.from_config(published.config),
        requires_safety_checker=False,
    )
    encoder = XlmRoberta(ENCODER, text, pipeline.tokenizer, reach=-2 if before_last else -1)
    return AltDiffusion(request, placement, pipeline, [encoder])
