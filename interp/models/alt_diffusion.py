"""AltDiffusion m9 and m18, and any folder in their layout: an XLM-R encoder with a projection, VAE and UNet."""

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from interp.errors import InterpError
from interp.models.base import Adapter, Conditioning, EncoderSpec, Tokens

ENCODER = "text_encoder"


class AltDiffusion(Adapter):
    """m18 reads `hidden_states[-2]` through `pre_LN` and `transformation_pre`, m9 the last layer's output.

    So the last layer of m18 never affects the image.
    """

    def __init__(
        self,
        name: str,
        digest: str,
        encoder_digest: str,
        pipeline: Any,
        recipe: Mapping[str, Any],
        steps: int = 30,
        guidance: float = 7.5,
    ) -> None:
        """Args: pipeline, an AltDiffusionPipeline with its encoder in eager attention; the default sampler settings."""
        self.name, self.digest, self.encoder_digest, self.recipe = name, digest, encoder_digest, recipe
        self.pipeline, self.steps, self.guidance = pipeline, steps, guidance
        self.certificate: Mapping[str, float] = {}
        config = pipeline.text_encoder.config
        self.device = pipeline.text_encoder.device
        pre = bool(getattr(config, "has_pre_transformation", False))
        self.encoders = {
            ENCODER: EncoderSpec(
                name=ENCODER,
                layers=config.num_hidden_layers,
                heads=config.num_attention_heads,
                d_model=config.hidden_size,
                reach=config.num_hidden_layers - (2 if pre else 1),
                causal=False,
                max_tokens=pipeline.tokenizer.model_max_length,
            )
        }

    def tokenise(self, texts: Sequence[str], encoder: str) -> Tokens:
        limit = self.spec(encoder).max_tokens
        plain = self.pipeline.tokenizer(list(texts))["input_ids"]
        for text, ids in zip(texts, plain, strict=True):
            if len(ids) > limit:
                raise InterpError(
                    f"{text!r}: {len(ids)} tokens, {len(ids) - limit} more than {self.name} reads ({limit})"
                )
        batch = self.pipeline.tokenizer(
            list(texts),
            padding="max_length",
            max_length=limit,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        return Tokens(
            ids=batch["input_ids"].to(self.device),
            mask=batch["attention_mask"].to(self.device),
            special=self.is_special(batch["input_ids"]).to(self.device),
            offsets=tuple(tuple((int(a), int(b)) for a, b in row) for row in batch["offset_mapping"]),
        )

    @cached_property
    def _envoy(self) -> Any:
        from nnsight import NNsight

        with warnings.catch_warnings():
            # BERT-style layers have a submodule called `output`; the adapter reads the module's output and never it
            warnings.filterwarnings("ignore", ".*has a submodule named 'output'", UserWarning)
            return NNsight(self.pipeline.text_encoder)

    def envoy(self, encoder: str) -> Any:
        self.spec(encoder)
        return self._envoy

    def attention(self, envoy: Any, layer: int) -> Any:
        return envoy.roberta.encoder.layer[layer].attention.self

    def values(self, envoy: Any, layer: int) -> Any:
        return envoy.roberta.encoder.layer[layer].attention.self.value

    def block(self, envoy: Any, layer: int) -> Any:
        return envoy.roberta.encoder.layer[layer]

    def is_special(self, ids: Int[Tensor, "prompt token"]) -> Bool[Tensor, "prompt token"]:
        tokenizer = self.pipeline.tokenizer
        known = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
        return torch.isin(ids, torch.tensor(known, device=ids.device))

    def inputs(self, tokens: Tokens) -> dict[str, Tensor]:
        return {"input_ids": tokens.ids, "attention_mask": tokens.mask}

    def states(self, envoy: Any) -> Any:
        return envoy.output.projection_state

    @cached_property
    def _negative(self) -> Tensor:
        """The empty prompt through the untouched encoder."""
        tokens = self.tokenise([""], ENCODER)
        with torch.no_grad():
            return self.pipeline.text_encoder(**self.inputs(tokens)).projection_state

    def condition(self, states: Mapping[str, Tensor], tokens: Tokens) -> Conditioning:
        embeds = states[ENCODER]
        return Conditioning(embeds, self._negative.expand(embeds.shape[0], -1, -1), tokens.mask)

    def noise(self, seeds: Sequence[int]) -> Tensor:
        """Initial noise [prompt channel height width], each row from its own seed, on the CPU."""
        config = self.pipeline.unet.config
        shape = (config.in_channels, config.sample_size, config.sample_size)
        rows = [torch.randn(shape, generator=torch.Generator().manual_seed(int(s))) for s in seeds]
        return torch.stack(rows).to(self.device, self.pipeline.unet.dtype)

    def images(
        self,
        conditioning: Conditioning,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        progress: bool = False,
    ) -> UInt8[np.ndarray, "prompt height width rgb"]:
        if len(seeds) != len(conditioning):
            raise InterpError(f"{len(conditioning)} prompts but {len(seeds)} seeds; give one seed a prompt")
        self.pipeline.set_progress_bar_config(disable=not progress)
        pictures = self.pipeline(
            prompt_embeds=conditioning.embeds,
            negative_prompt_embeds=conditioning.negative,
            latents=self.noise(seeds),
            num_inference_steps=self.steps if steps is None else steps,
            guidance_scale=self.guidance if guidance is None else guidance,
            output_type="np",
        ).images
        return np.round(pictures * 255).astype(np.uint8)


def load(
    name: str, folder: Path, digest: str, encoder_digest: str, recipe: Mapping[str, Any], **sampler: Any
) -> AltDiffusion:
    """Load a folder component by component: published index files name a class that diffusers no longer resolves.

    Raises:
        InterpError: a component is missing.
    """
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
    from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
        RobertaSeriesModelWithTransformation,
    )
    from diffusers.pipelines.deprecated.alt_diffusion.pipeline_alt_diffusion import AltDiffusionPipeline
    from transformers import AutoTokenizer

    missing = [c for c in ("text_encoder", "tokenizer", "unet", "vae", "scheduler") if not (folder / c).is_dir()]
    if missing:
        raise InterpError(f"{name}: {folder} has no {', '.join(missing)}; an AltDiffusion folder has all five")
    pipeline = AltDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=RobertaSeriesModelWithTransformation.from_pretrained(
            folder / "text_encoder", attn_implementation="eager"
        ).eval(),
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler"),  # pyright: ignore[reportArgumentType]
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    for module in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
        module.requires_grad_(False)
    return AltDiffusion(name, digest, encoder_digest, pipeline, recipe, **sampler)
