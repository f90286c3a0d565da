"""What is in a model folder, and the memory and time that it will take, before anything is loaded.

Parameters are counted in the headers of the weight files. Operations and memory come from a forward pass without
weights (`passes.py`); a short matrix product says how fast this device is. `benchmarks/full_size.py` measures what the
constants below are fitted on.

Not for batches: an estimate is of one image, and activations grow with the images made together.
"""

import inspect
import json
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from interp.errors import InterpError
from interp.models import files, passes
from interp.models.passes import DECODERS, DENOISERS, KNOWN, Cost
from interp.models.placement import Offload, Placement, resolve_device, sized

LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
"""Components of published folders that interp never loads."""
COUNTERS = ("BOOL", "I8", "I16", "I32", "I64")
"""Stored types that are no parameters but positions and counters."""
CLIP_TOKENS = 77
"""Of a prompt, in every published CLIP."""
FLUX = "FluxTransformer2DModel"

EFFICIENCY = 0.85
"""FLOP/s of a network over those of a large matrix product. Measured on one core in float32: UNet 0.8 to 1.0, VAE 1.0,
text encoders 0.7 to 0.8; UNet 0.6 in bfloat16. Assumed for a GPU."""
HEAP = 160 * 2**20
"""Bytes that a process keeps beside live tensors: compiled kernels, and freed blocks not given back. Measured on a CPU:
UNet 40 to 170 MiB, VAE 40 to 110, text encoders under 20."""
TRANSFER = 8e9
"""Bytes a second from main memory to a GPU; assumed, not measured."""
PROBE = 0.3
"""Seconds that the matrix product runs."""


@dataclass(frozen=True)
class Part:
    """A component that holds weights."""

    name: str
    """In the pipeline, such as `unet`."""
    kind: str
    """Its class, as model_index.json names it."""
    parameters: int
    """Numbers stored, or to be stored."""
    file_bytes: int
    """Size of the weight files that are loaded."""


@dataclass(frozen=True)
class Stages:
    """What the three stages of one image take."""

    encode: Cost
    """All text encoders, one after another, on one prompt."""
    step: Cost
    """One call of the denoiser, with both rows where the pipeline guides."""
    decode: Cost

    @property
    def activation_bytes(self) -> int:
        """Peak memory beside the weights: `HEAP` and the most that one stage holds at once.

        Fused attention holds no score matrix, the eager attention of the text encoders holds it.
        """
        return HEAP + max(self.encode.live_bytes, self.step.live_bytes, self.decode.live_bytes)


@dataclass(frozen=True)
class Estimate:
    """What a model takes in one placement."""

    parts: tuple[Part, ...]
    weights_bytes: int
    """In the placement's dtype."""
    activation_bytes: int
    """Peak beside the weights, of one image with guidance."""
    step_flops: int
    """Of one denoising step, with both rows where the pipeline guides."""
    encode_flops: int
    """Of all text encoders, one prompt."""
    seconds_per_step: float
    seconds_per_image: float
    """One prompt encoded, all steps, one image decoded."""

    def lines(self) -> list[str]:
        """For people, a line a fact."""
        return [
            *(
                f"{p.name}: {p.kind}, {p.parameters / 1e6:,.1f} M parameters, {sized(p.file_bytes)} on disk"
                for p in self.parts
            ),
            f"memory: {sized(self.weights_bytes)} of weights, about {sized(self.activation_bytes)} beside them "
            "for one image",
            f"a prompt: {self.encode_flops / 1e9:,.1f} GFLOP",
            f"a step: {self.step_flops / 1e9:,.1f} GFLOP, about {_span(self.seconds_per_step)}",
            f"an image: about {_span(self.seconds_per_image)}",
        ]


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# ------------------------------------------------------------------------------------------------- what is in a folder


def parts(folder: Path) -> tuple[Part, ...]:
    """The components that hold weights, in the order of model_index.json; those without a folder are passed over.

    Stored numbers are counted, so a buffer that is stored counts too; a component that is there as `.bin` alone is
    built without weights from its configuration.

    Raises:
        InterpError: no index; weights that are missing, damaged or there only as a variant.
    """
    there = []
    for name, entry in files.read_index(folder).items():
        kind = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        # a tokenizer or a scheduler has neither
        holds = any((folder / name / file).is_file() for file in ("config.json", *files.WEIGHTS))
        if kind is not None and name not in LEFT_OUT and holds:
            paths = files.weights(folder, name)
            there.append(Part(name, kind, _count(paths, kind), sum(path.stat().st_size for path in paths)))
    return tuple(there)


def _count(paths: list[Path], kind: str) -> int:
    if paths[0].suffix != ".safetensors":
        config = files.read_json(paths[0].parent / "config.json")
        return sum(p.numel() for p in passes.build(kind, json.dumps(config)).parameters())
    stored = [entry for path in paths for entry in files.header(path).values()]
    return sum(math.prod(shape) for dtype, shape in stored if dtype not in COUNTERS)


# --------------------------------------------------------------------------------------------------------- the estimate


def estimate(folder: Path, placement: Placement, steps: int, size: int | None = None) -> Estimate:
    """What a model takes; nothing of it is loaded.

    Seconds are operations / (`EFFICIENCY` · FLOP/s of a matrix product here), and with offload the bytes moved /
    `TRANSFER`: all weights once an image, or the denoiser's at every step.

    Args:
        folder: in diffusers' layout.
        placement: where it goes.
        steps: of the sampler, one call of the denoiser each.
        size: side in pixels; None for the model's.

    Raises:
        InterpError: as `parts` and `stages`; the placement's device is not there.
    """
    components = parts(folder)
    costs = stages(folder, components, placement.dtype, size)
    weights = {part.name: part.parameters * placement.dtype.itemsize for part in components}
    rate = EFFICIENCY * throughput(str(resolve_device(placement.device)), placement.dtype)
    moved, moved_step = moved_bytes(weights, _one(folder, components, DENOISERS).name, placement.offload)
    step = costs.step.flops / rate + moved_step / TRANSFER
    rest = (costs.encode.flops + costs.decode.flops) / rate + moved / TRANSFER
    return Estimate(
        parts=components,
        weights_bytes=sum(weights.values()),
        activation_bytes=costs.activation_bytes,
        step_flops=costs.step.flops,
        encode_flops=costs.encode.flops,
        seconds_per_step=step,
        seconds_per_image=rest + steps * step,
    )


def moved_bytes(weights: Mapping[str, int], denoiser: str, offload: Offload) -> tuple[int, int]:
    """Bytes of weights that go to the GPU, once an image and at every step; `weights` are bytes by component."""
    if offload == "none":
        return 0, 0
    each_step = weights[denoiser] if offload == "sequential" else 0
    return sum(weights.values()) - each_step, each_step


def stages(folder: Path, components: tuple[Part, ...], dtype: torch.dtype, size: int | None) -> Stages:
    """What the stages take, by the configurations of a folder with these `parts`; arguments as of `estimate`.

    Raises:
        InterpError: a class that is not known; no denoiser or VAE; a size that the model cannot make.
    """
    denoiser, vae = _one(folder, components, DENOISERS), _one(folder, components, DECODERS)
    configs = {part.name: files.read_json(folder / part.name / "config.json") for part in components}
    texts = {part.name: json.dumps(config) for part, config in zip(components, configs.values(), strict=True)}
    pipeline = files.read_index(folder)["_class_name"]
    side = _side(denoiser.kind, configs[denoiser.name], configs[vae.name], size)
    encoders = [part for part in components if part not in (denoiser, vae)]
    lengths = [_tokens(folder, part, pipeline, configs[part.name]) for part in encoders]
    encode = [
        passes.cost(p.kind, texts[p.name], dtype, 1, 0, length) for p, length in zip(encoders, lengths, strict=True)
    ]
    # some denoisers take the guidance as a number, the others guide by a second, negative row
    rows = 1 if denoiser.kind == FLUX or configs[denoiser.name].get("time_cond_proj_dim") else 2
    context = max(lengths, default=CLIP_TOKENS)
    if denoiser.kind == "SD3Transformer2DModel":  # CLIP's, then T5's, which are zeros where T5 is not there
        context = CLIP_TOKENS + _t5_tokens(pipeline)
    upcast = pipeline.startswith("StableDiffusionXL") and configs[vae.name].get("force_upcast", True)
    vae_dtype = torch.float32 if upcast and dtype == torch.float16 else dtype
    return Stages(
        encode=Cost(sum(c.flops for c in encode), max((c.live_bytes for c in encode), default=0)),
        step=passes.cost(denoiser.kind, texts[denoiser.name], dtype, rows, side, context),
        decode=passes.cost(vae.kind, texts[vae.name], vae_dtype, 1, side),
    )


def _one(folder: Path, components: tuple[Part, ...], kinds: Collection[str]) -> Part:
    there = [part for part in components if part.kind in kinds]
    if len(there) != 1:
        raise InterpError(
            f"{folder}: one component of {', '.join(kinds)} is needed, {len(there)} found among "
            f"{', '.join(f'{p.name} ({p.kind})' for p in components) or 'none'} that model_index.json names"
        )
    return there[0]


def _side(kind: str, denoiser: Mapping[str, Any], vae: Mapping[str, Any], size: int | None) -> int:
    """Side of the latents."""
    scale = 2 ** (len(vae["block_out_channels"]) - 1)
    if size is None:
        return 128 if kind == FLUX else denoiser["sample_size"]
    unit = scale * (2 if kind == FLUX else denoiser.get("patch_size") or 1)
    if size <= 0 or size % unit:
        raise InterpError(f"images of {size} pixels: this model's are a multiple of {unit} wide")
    return size // scale


def _tokens(folder: Path, part: Part, pipeline: str, config: Mapping[str, Any]) -> int:
    """Length of a prompt for one text encoder."""
    if part.kind.startswith("CLIP"):
        return config.get("max_position_embeddings", CLIP_TOKENS)
    if part.kind == "T5EncoderModel":
        return _t5_tokens(pipeline)
    if part.kind not in KNOWN:
        raise InterpError(f"{folder}: nothing is known of {part.name}, a {part.kind}; known are {', '.join(KNOWN)}")
    path = folder / part.name.replace("text_encoder", "tokenizer") / "tokenizer_config.json"
    length, limit = files.read_json(path).get("model_max_length"), config["max_position_embeddings"]
    if not isinstance(length, int) or not 0 < length <= limit:
        raise InterpError(f"{path}: model_max_length is {length}, and {part.name} reads {limit} at most; correct it")
    return length


def _t5_tokens(pipeline: str) -> int:
    """Length of a prompt for T5: no file says it, but the pipeline's own default."""
    import diffusers

    arguments = inspect.signature(getattr(diffusers, pipeline, object).__call__).parameters
    if "max_sequence_length" not in arguments:
        raise InterpError(f"how many tokens T5 reads in a {pipeline} is not known: it has no max_sequence_length")
    return arguments["max_sequence_length"].default


@cache
def throughput(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a square matrix product on this device, run for about `PROBE` seconds, once a process."""
    side = 4096 if device.startswith("cuda") else 1024
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    settle = (lambda: None) if device == "cpu" else partial(torch.accelerator.synchronize, device)
    torch.mm(matrix, matrix)
    settle()
    start, times = time.perf_counter(), 0
    while time.perf_counter() - start < PROBE:
        torch.mm(matrix, matrix)
        settle()
        times += 1
    return times * 2 * side**3 / (time.perf_counter() - start)
