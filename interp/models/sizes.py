"""What is in a model folder, and the memory and time that it will take, before anything is loaded.

Parameters are counted in the headers of the weight files. Operations and memory come from one pass through modules
without weights (torch's meta device); a short matrix product says how fast this device is. `benchmarks/full_size.py`
measures what the constants below are fitted on.

Not for batches: an estimate is of one image, and activations grow with the images made together.
"""

import inspect
import json
import math
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from interp.errors import InterpError
from interp.models import files
from interp.models.placement import Offload, Placement, resolve_device, sized

LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
"""Components of published folders that interp never loads."""
COUNTERS = ("BOOL", "I8", "I16", "I32", "I64")
"""Stored types that are no parameters but positions and counters."""
CLIP_TOKENS = 77
"""Of a prompt, in every published CLIP."""

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
class Cost:
    """What one forward pass takes."""

    flops: int
    """Floating point operations of matrix products and convolutions; a multiplication and an addition are two."""
    live_bytes: int
    """The most that its tensors hold at once beside the weights, and a convolution's copies of its input and weights,
    which it lays out anew."""


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
    """One prompt encoded, all steps, one picture decoded."""

    def lines(self) -> list[str]:
        """For people, a line a fact."""
        out = [
            f"{p.name}: {p.kind}, {p.parameters / 1e6:,.1f} M parameters, {sized(p.file_bytes)} on disk"
            for p in self.parts
        ]
        return [
            *out,
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
    found = []
    for name, kind in _components(folder).items():
        paths = _weights(folder, name)
        if paths:
            count = _stored(paths) if paths[0].suffix == ".safetensors" else _built(folder / name, kind)
            found.append(Part(name, kind, count, sum(path.stat().st_size for path in paths)))
    return tuple(found)


def _components(folder: Path) -> dict[str, str]:
    """Class names of the components that are there, by their name."""
    index = files.read_index(folder).items()
    named = {name: entry[1] for name, entry in index if isinstance(entry, list) and len(entry) == 2}
    return {n: kind for n, kind in named.items() if kind is not None and n not in LEFT_OUT and (folder / n).is_dir()}


def _weights(folder: Path, component: str) -> list[Path]:
    """The weight files of a component; none for a tokenizer or a scheduler."""
    holds = any((folder / component / name).is_file() for name in ("config.json", *files.WEIGHTS))
    return files.weights(folder, component) if holds else []


def _stored(paths: list[Path]) -> int:
    """Numbers in safetensors files, from their headers."""
    from safetensors import SafetensorError, safe_open

    count = 0
    for path in paths:
        try:
            with safe_open(path, "pt") as file:
                views = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118
                count += sum(math.prod(v.get_shape()) for v in views if v.get_dtype() not in COUNTERS)
        except SafetensorError as error:
            raise InterpError(f"{path}: {error}; download it again") from error
    return count


def _built(folder: Path, kind: str) -> int:
    """Parameters of a component built without weights."""
    return sum(p.numel() for p in build(kind, _config(folder)).parameters())


def _config(folder: Path) -> str:
    return json.dumps(files.read_json(folder / "config.json"))


# ------------------------------------------------------------------------------------------- modules without weights


def build(kind: str, config: str) -> nn.Module:
    """A component of a class in `KNOWN` on the meta device, text encoders in eager attention, as interp loads them.

    Args:
        kind: the class.
        config: the text of its config.json.

    Raises:
        InterpError: a class that is not known.
    """
    if kind not in KNOWN:
        raise InterpError(f"nothing is known of the class {kind!r}; known are {', '.join(KNOWN)}")
    made = _class(kind)
    with torch.device("meta"):
        if kind not in ENCODERS:
            return made.from_config(json.loads(config)).eval()
        module = made(made.config_class.from_dict(json.loads(config))).eval()
    module.set_attn_implementation("eager")
    return module


def _class(kind: str) -> Any:
    if kind == "RobertaSeriesModelWithTransformation":
        from diffusers.pipelines.deprecated.alt_diffusion import modeling_roberta_series as library
    elif kind in ENCODERS:
        import transformers as library
    else:
        import diffusers as library
    return getattr(library, kind)


class _Live(TorchDispatchMode):
    """Bytes of the tensors that are alive, now and at most, a module's own weights aside."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.paused = False
        self.seen = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self.paused:
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor):
                    self.add(leaf)
        if func is torch.ops.aten.convolution.default:
            self.peak = max(self.peak, self.now + args[0].nbytes + args[1].nbytes)
        return out

    def add(self, tensor: Tensor) -> None:
        """Count a tensor until its storage dies; views share one."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.seen:
            self.seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


class _Fused(TorchFunctionMode):
    """Fused attention is spelled out on the meta device: its operations count, its score matrix is never held."""

    def __init__(self, live: _Live) -> None:
        super().__init__()
        self.live = live

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention or self.live.paused:
            return func(*args, **(kwargs or {}))
        self.live.paused = True
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            self.live.paused = False
        self.live.add(out)
        return out


@cache
def cost(kind: str, config: str, dtype: torch.dtype, rows: int = 1, side: int = 0, tokens: int = 0) -> Cost:
    """What one forward pass takes, without a weight.

    Args:
        kind: class in `KNOWN`.
        config: the text of its config.json.
        dtype: of weights and inputs.
        rows: of the batch.
        side: of the latents, for a denoiser or a VAE, which decodes.
        tokens: of the prompt, for a text encoder or a denoiser.

    Raises:
        InterpError: a class that is not known.
    """
    module = nn.Module.to(build(kind, config), dtype=dtype)
    with torch.no_grad(), _Live(module) as live, _Fused(live), FlopCounterMode(display=False) as counted:
        run(module, rows, side, tokens)
    return Cost(int(counted.get_total_flops()), live.peak)


def run(module: nn.Module, rows: int = 1, side: int = 0, tokens: int = 0) -> Any:
    """A module of a class in `KNOWN` on made-up inputs; arguments as of `cost`."""
    kind, first = type(module).__name__, next(module.parameters())

    def of(*shape: int) -> Tensor:
        return torch.full(shape, 0.5, dtype=first.dtype, device=first.device)

    if kind in ENCODERS:
        return module(input_ids=torch.full((rows, tokens), 2, device=first.device))
    if kind in DECODERS:
        return cast(Any, module).decode(of(rows, module.config.latent_channels, side, side))  # type: ignore[union-attr]
    return module(timestep=of(rows), **DENOISERS[kind](module.config, of, rows, side, tokens))


Maker = Callable[..., Tensor]


def _unet(config: Any, of: Maker, rows: int, side: int, tokens: int) -> dict[str, Any]:
    given: dict[str, Any] = {
        "sample": of(rows, config.in_channels, side, side),
        "encoder_hidden_states": of(rows, tokens, config.cross_attention_dim),
    }
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        given["added_cond_kwargs"] = {"text_embeds": of(rows, pooled), "time_ids": of(rows, 6)}
    if config.time_cond_proj_dim is not None:
        given["timestep_cond"] = of(rows, config.time_cond_proj_dim)
    return given


def _sd3(config: Any, of: Maker, rows: int, side: int, tokens: int) -> dict[str, Any]:
    return {
        "hidden_states": of(rows, config.in_channels, side, side),
        "encoder_hidden_states": of(rows, tokens, config.joint_attention_dim),
        "pooled_projections": of(rows, config.pooled_projection_dim),
    }


def _flux(config: Any, of: Maker, rows: int, side: int, tokens: int) -> dict[str, Any]:
    patches = (side // 2) ** 2
    return {
        "hidden_states": of(rows, patches, config.in_channels),
        "encoder_hidden_states": of(rows, tokens, config.joint_attention_dim),
        "pooled_projections": of(rows, config.pooled_projection_dim),
        "img_ids": of(patches, 3),
        "txt_ids": of(tokens, 3),
        "guidance": of(rows) if config.guidance_embeds else None,
    }


def _pixart(config: Any, of: Maker, rows: int, side: int, tokens: int) -> dict[str, Any]:
    sized = config.sample_size == 128 if config.use_additional_conditions is None else config.use_additional_conditions
    return {
        "hidden_states": of(rows, config.in_channels, side, side),
        "encoder_hidden_states": of(rows, tokens, config.caption_channels),
        "encoder_attention_mask": of(rows, tokens),
        "added_cond_kwargs": {
            "resolution": of(rows, 2) if sized else None,
            "aspect_ratio": of(rows, 1) if sized else None,
        },
    }


ENCODERS = (
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "T5EncoderModel",
    "XLMRobertaModel",
    "RobertaSeriesModelWithTransformation",
)
DECODERS = ("AutoencoderKL",)
DENOISERS: dict[str, Callable[[Any, Maker, int, int, int], dict[str, Any]]] = {
    "UNet2DConditionModel": _unet,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
    "PixArtTransformer2DModel": _pixart,
}
KNOWN = (*ENCODERS, *DECODERS, *DENOISERS)


# --------------------------------------------------------------------------------------------------------- the estimate


@dataclass(frozen=True)
class _Costs:
    """The three stages of an image."""

    encode: Cost
    step: Cost
    decode: Cost


def activation_bytes(folder: Path, dtype: torch.dtype, size: int | None = None) -> int:
    """Peak memory beside the weights while one image is made, with guidance.

    `HEAP` and the most that one stage (encode, one step, decode) holds at once. Fused attention holds no score matrix,
    the eager attention of the text encoders holds it.

    Args:
        folder: of the model.
        dtype: of the weights.
        size: side in pixels; None for the model's.

    Raises:
        InterpError: as `estimate`.
    """
    costs = _costs(folder, parts(folder), dtype, size)
    return _activation(costs)


def _activation(costs: _Costs) -> int:
    return HEAP + max(stage.live_bytes for stage in (costs.encode, costs.step, costs.decode))


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
        InterpError: as `parts`; a class that is not known; no denoiser or VAE; a size that the model cannot make; the
            placement's device is not there.
    """
    found = parts(folder)
    costs = _costs(folder, found, placement.dtype, size)
    weights = {part.name: part.parameters * placement.dtype.itemsize for part in found}
    rate = EFFICIENCY * throughput(str(resolve_device(placement.device)), placement.dtype)
    moved, moved_step = moved_bytes(weights, _one(folder, found, DENOISERS).name, placement.offload)
    step = costs.step.flops / rate + moved_step / TRANSFER
    rest = (costs.encode.flops + costs.decode.flops) / rate + moved / TRANSFER
    return Estimate(
        parts=found,
        weights_bytes=sum(weights.values()),
        activation_bytes=_activation(costs),
        step_flops=costs.step.flops,
        encode_flops=costs.encode.flops,
        seconds_per_step=step,
        seconds_per_image=rest + steps * step,
    )


def moved_bytes(weights: Mapping[str, int], denoiser: str, offload: Offload) -> tuple[int, int]:
    """Bytes of weights that go to the GPU: once an image, and at every step.

    Args:
        weights: bytes by component.
        denoiser: its name.
        offload: of the placement.
    """
    if offload == "none":
        return 0, 0
    each_step = weights[denoiser] if offload == "sequential" else 0
    return sum(weights.values()) - each_step, each_step


def _one(folder: Path, found: tuple[Part, ...], kinds: Any) -> Part:
    there = [part for part in found if part.kind in kinds]
    if len(there) != 1:
        raise InterpError(
            f"{folder}: one component of {', '.join(kinds)} is needed, {len(there)} found among "
            f"{', '.join(f'{p.name} ({p.kind})' for p in found) or 'none'} that model_index.json names"
        )
    return there[0]


def _costs(folder: Path, found: tuple[Part, ...], dtype: torch.dtype, size: int | None) -> _Costs:
    denoiser, vae = _one(folder, found, DENOISERS), _one(folder, found, DECODERS)
    configs = {part.name: _config(folder / part.name) for part in found}
    pipeline = files.read_index(folder)["_class_name"]
    side = _side(json.loads(configs[denoiser.name]), json.loads(configs[vae.name]), denoiser.kind, size)
    read = {
        part.name: _tokens(folder, part, pipeline, json.loads(configs[part.name]))
        for part in found
        if part not in (denoiser, vae)
    }
    texts = [cost(p.kind, configs[p.name], dtype, 1, 0, read[p.name]) for p in found if p.name in read]
    encode = Cost(sum(c.flops for c in texts), max((c.live_bytes for c in texts), default=0))
    rows = _rows(denoiser.kind, json.loads(configs[denoiser.name]))
    context = _context(denoiser.kind, pipeline, list(read.values()))
    upcast = pipeline.startswith("StableDiffusionXL") and json.loads(configs[vae.name]).get("force_upcast", True)
    fine = torch.float32 if upcast and dtype == torch.float16 else dtype
    return _Costs(
        encode=encode,
        step=cost(denoiser.kind, configs[denoiser.name], dtype, rows, side, context),
        decode=cost(vae.kind, configs[vae.name], fine, 1, side),
    )


def _side(denoiser: Mapping[str, Any], vae: Mapping[str, Any], kind: str, size: int | None) -> int:
    """Side of the latents."""
    scale = 2 ** (len(vae["block_out_channels"]) - 1)
    flux = kind == "FluxTransformer2DModel"
    if size is None:
        return 128 if flux else denoiser["sample_size"]
    unit = scale * (2 if flux else denoiser.get("patch_size") or 1)
    if size <= 0 or size % unit:
        raise InterpError(f"images of {size} pixels: this model's are a multiple of {unit} wide")
    return size // scale


def _rows(kind: str, config: Mapping[str, Any]) -> int:
    """Two where the pipeline guides by a negative row; some denoisers take the guidance as a number instead."""
    return 1 if kind == "FluxTransformer2DModel" or config.get("time_cond_proj_dim") else 2


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

    given = inspect.signature(getattr(diffusers, pipeline, object).__call__).parameters
    if "max_sequence_length" not in given:
        raise InterpError(f"how many tokens T5 reads in a {pipeline} is not known: it has no max_sequence_length")
    return given["max_sequence_length"].default


def _context(kind: str, pipeline: str, read: list[int]) -> int:
    """Tokens of text that the denoiser sees."""
    if kind == "SD3Transformer2DModel":  # CLIP's, then T5's, which are zeros where T5 is not there
        return CLIP_TOKENS + _t5_tokens(pipeline)
    return max(read, default=CLIP_TOKENS)


@cache
def throughput(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a square matrix product on this device, run for about `PROBE` seconds, once a process."""
    side = 4096 if device.startswith("cuda") else 1024
    a = torch.ones(side, side, device=device, dtype=dtype)
    settle = _settle(device)
    torch.mm(a, a)
    settle()
    start, times = time.perf_counter(), 0
    while time.perf_counter() - start < PROBE:
        torch.mm(a, a)
        settle()
        times += 1
    return times * 2 * side**3 / (time.perf_counter() - start)


def _settle(device: str) -> Callable[[], Any]:
    """What waits until the device has computed."""
    if device.startswith("cuda"):
        return torch.cuda.synchronize
    return torch.mps.synchronize if device == "mps" else lambda: None
