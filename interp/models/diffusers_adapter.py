"""What all families share whose images a diffusers pipeline makes: the text encoders run apart from it."""

import importlib
import inspect
import json
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from interp import store
from interp.errors import InterpError
from interp.models import files, passes, sizes
from interp.models import placement as places
from interp.models.adapter import Adapter
from interp.models.encoders import TextEncoder
from interp.models.records import Conditioned, Conditioning, States, Tokens

SMALL = 200_000_000
"""Parameters below which a model fits anywhere: its activations are not estimated, its placement is not announced."""


@dataclass(frozen=True)
class Request:
    """What is to be loaded, and how."""

    name: str
    """As the user asked for it."""
    folder: Path
    device: str | None = None
    dtype: str | torch.dtype | None = None
    offload: str | None = None
    size: int | None = None
    """Side of the images in pixels; None for the model's."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    sampler: Mapping[str, Any] = field(default_factory=dict)
    """`steps` and `guidance`, where they are not the family's."""
    digests: tuple[str, str] | None = None
    """Of the model and of its encoders, where they are known already."""


class DiffusersAdapter(Adapter):
    """A diffusers pipeline, and its text encoders beside it.

    A family says what its denoiser receives (`join`) and, where it differs, its noise and the pipeline's arguments.
    """

    steps: int | None = None
    """Of the sampler; None for the pipeline's own default."""
    guidance: float | None = None

    def __init__(
        self, request: Request, placement: places.Placement, pipeline: Any, encoders: Sequence[TextEncoder]
    ) -> None:
        """Args: request; where it is placed; pipeline, its encoders in eager attention; encoders, the same modules."""
        self.name, self.recipe, self.pipeline, self.size = request.name, request.recipe, pipeline, request.size
        self.encoders = {e.spec.name: e for e in encoders}
        self.certificate: Mapping[str, float] = {}
        self.placement, self.images_at_once = placement, placement.images_at_once
        used = [n for n, part in pipeline.components.items() if isinstance(part, torch.nn.Module)]
        self.model_digest, self.encoder_digest = request.digests or (
            files.digest(request.folder, used),
            files.digest(request.folder, list(self.encoders)),
        )
        defaults = inspect.signature(pipeline.__call__).parameters
        self.steps = request.sampler.get("steps", self.steps) or defaults["num_inference_steps"].default
        guidance = request.sampler.get("guidance", self.guidance)
        self.guidance = defaults["guidance_scale"].default if guidance is None else guidance

    @property
    def denoiser(self) -> Any:
        """The UNet or the transformer."""
        return getattr(self.pipeline, "unet", None) or self.pipeline.transformer

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where images are made."""
        return self.pipeline._execution_device

    @property
    def identity(self) -> str:
        """The weights, and how they are run: precision, kind of device, size, sampler."""
        sampler = {k: v for k, v in self.pipeline.scheduler.config.items() if not k.startswith("_")}
        run = [self.model_digest, str(self.denoiser.dtype), self.device.type, self.size or self.own_size]
        run += [self.steps, self.guidance, type(self.pipeline.scheduler).__name__, sampler]
        return store.sha256_bytes(json.dumps(run, default=str, sort_keys=True).encode())

    # ------------------------------------------------------------------------------------------------ conditioning

    @abstractmethod
    def join(self, states: Mapping[str, States], tokens: Mapping[str, Tokens]) -> Conditioning:
        """What the denoiser receives for the prompts alone: states, mask and, where there is one, the pooled state."""

    def condition(self, states: Mapping[str, States], tokens: Mapping[str, Tokens]) -> Conditioning:
        negative = self.negative
        if negative is None:
            return self.join(states, tokens)
        return replace(self.join(states, tokens), negative=negative.embeds, negative_pooled=negative.pooled)

    @cached_property
    def negative(self) -> Conditioning | None:
        """The empty prompt through the untouched encoders; None in a family without a negative branch."""
        tokens = {name: encoder.tokenise([""]) for name, encoder in self.encoders.items()}
        return self.join({name: self.encoders[name](t) for name, t in tokens.items()}, tokens)

    @abstractmethod
    def reference(self, prompts: Sequence[str]) -> Mapping[str, Tensor]:
        """The fields of a `Conditioning` by the pipeline's own `encode_prompt`; empty where it has no encoders."""

    # -------------------------------------------------------------------------------------------------------- images

    def noise(self, seeds: Sequence[int], size: int) -> Float[Tensor, "prompt channel height width"]:
        """Initial noise, each row from its own seed, on the CPU, so that every device starts from the same."""
        side = size // self.pipeline.vae_scale_factor
        return gaussian((self.denoiser.config.in_channels, side, side), seeds).to(self.device, self.denoiser.dtype)

    @property
    def own_size(self) -> int:
        """Side of the images in pixels that the model was made for."""
        return self.denoiser.config.sample_size * self.pipeline.vae_scale_factor

    @property
    def always(self) -> Mapping[str, Any]:
        """Arguments of every call of the pipeline."""
        return {}

    def arguments(self, conditioning: Conditioning) -> dict[str, Any]:
        """The conditioning as arguments of the pipeline."""
        tensors = {
            "prompt_embeds": conditioning.embeds,
            "pooled_prompt_embeds": conditioning.pooled,
            "negative_prompt_embeds": conditioning.negative,
            "negative_pooled_prompt_embeds": conditioning.negative_pooled,
        }
        return {
            name: x.expand(len(conditioning), *x.shape[1:]) if name.startswith("negative") else x
            for name, x in tensors.items()
            if x is not None
        }

    def images(
        self,
        conditioning: Conditioned,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        size: int | None = None,
        progress: bool = False,
    ) -> UInt8[np.ndarray, "prompt height width rgb"]:
        if len(seeds) != len(conditioning):
            raise InterpError(f"{len(conditioning)} prompts but {len(seeds)} seeds; give one seed per prompt")
        if not isinstance(conditioning, Conditioning):
            raise InterpError(f"{self.name} draws from a conditioning, not from prompts: encode them first")
        return self.draw(self.arguments(conditioning.to(self.device)), seeds, steps, guidance, size, progress)

    def draw(
        self,
        arguments: Mapping[str, Any],
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        size: int | None = None,
        progress: bool = False,
    ) -> UInt8[np.ndarray, "prompt height width rgb"]:
        """Images by the pipeline, from its own arguments: embeddings, or `prompt` for the library's own way."""
        side = size or self.size or self.own_size
        self.pipeline.set_progress_bar_config(disable=not progress)
        try:
            images = self.pipeline(
                **arguments,
                **self.always,
                latents=self.noise(seeds, side),
                # for samplers that add noise at every step
                generator=[torch.Generator().manual_seed(int(s)) for s in seeds],
                height=side,
                width=side,
                num_inference_steps=self.steps if steps is None else steps,
                guidance_scale=self.guidance if guidance is None else guidance,
                output_type="np",
            ).images
        except ValueError as error:  # the library's refusal of a size or a setting
            raise InterpError(f"{self.name}: {store.one_line(error)}") from error
        # half precision may have overflowed on the way
        if bad := int((~np.isfinite(images)).any((1, 2, 3)).sum()):
            precision = str(self.denoiser.dtype).removeprefix("torch.")
            raise InterpError(
                f"{self.name}: {bad} of {len(images)} pictures drawn in {precision} hold values that are not finite; "
                "load the model in bfloat16 or float32"
            )
        return np.round(images * 255).astype(np.uint8)


def gaussian(shape: tuple[int, ...], seeds: Sequence[int]) -> Tensor:
    """Standard normal numbers on the CPU, of the same shape for every seed, [seed …]."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(int(s))) for s in seeds])


def assemble(request: Request, placement: places.Placement, kind: Any = None, **loaded: Any) -> Any:
    """The pipeline that a folder's index names, component by component, on the device that it gets.

    Args:
        request: what is to be loaded.
        placement: device, precision and offload.
        kind: the pipeline's class; None for the one that the index names.
        loaded: components that are there already; None leaves one out.

    Raises:
        InterpError: a component is missing, broken, or of another class.
    """
    index = files.read_index(request.folder)
    kind = kind or class_of("diffusers", index["_class_name"])
    parts, missing = dict(loaded), []
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in loaded:
            continue
        if name in sizes.LEFT_OUT:
            parts[name] = None
        elif isinstance(index.get(name), list):
            library, class_name = index[name]
            parts[name] = component(request.folder, name, library, class_name, placement.dtype)
        elif name in index:
            parts[name] = index[name]
        elif parameter.default is inspect.Parameter.empty:
            missing.append(name)
    if missing:
        raise InterpError(
            f"{request.name}: the index of {request.folder} names no {', '.join(missing)}, which {kind.__name__} needs"
        )
    pipeline = kind(**parts)
    places.apply(pipeline, placement)
    return pipeline


def place(request: Request, preferred: torch.dtype = torch.float16) -> places.Placement:
    """Device, precision and offload of a folder, by its size and what is free; said aloud, but for small models."""
    parts = sizes.parts(request.folder)
    weights = {p.name: p.parameters for p in parts}
    small = sum(weights.values()) < SMALL
    known = all(p.kind in passes.KNOWN for p in parts)
    usual = preferred if places.resolve_device(request.device).type == "cuda" else torch.float32
    precision = places.named_dtype(request.dtype) or usual
    activations = 0
    if known and not small:
        activations = sizes.stages(request.folder, parts, precision, request.size).activation_bytes
    placement = places.choose(
        weights,
        device=request.device,
        dtype=request.dtype,
        offload=request.offload,
        preferred=preferred,
        activation_bytes=activations,
    )
    if small:
        return placement
    placement = placement if known else replace(placement, images_at_once=1)
    tqdm.write(f"{request.name}: {placement}", file=sys.stderr)
    return placement


def component(folder: Path, name: str, library: str | None, class_name: str | None, dtype: torch.dtype) -> Any:
    """One component by the index's (library, class)."""
    if library is None or class_name is None:
        return None
    if not (folder / name).is_dir():
        raise InterpError(f"{folder} has no {name}, which its model_index.json names")
    if name.startswith("tokenizer"):
        return files.load_tokenizer(folder, name)
    if name == "scheduler":
        return files.load_scheduler(folder, name)
    # eager attention: only there the pattern can be read
    options: dict[str, Any] = {"attn_implementation": "eager"} if library == "transformers" else {}
    return files.load_module(class_of(library, class_name), folder, name, dtype, **options)


def class_of(library: str, name: str) -> Any:
    """A class of diffusers or transformers.

    Raises:
        InterpError: neither has it.
    """
    known = library in ("diffusers", "transformers")
    kind = getattr(importlib.import_module(library), name, None) if known else None
    if kind is None:
        raise InterpError(f"model_index.json names {library}.{name}, which the installed {library} does not have")
    return kind
