"""Which device, dtype and offload a model folder gets, said aloud, and what it will take, before anything is loaded.

Parameters are counted in the headers of the weight files. Operations and memory come from one pass through modules
without weights (torch's meta device); a short matrix product says how fast this device is. `benchmarks/full_size.py`
measures what the constants below are fitted on.

Not for batches: an estimate is of one image, and activations grow with the images made together.
"""

import inspect
import json
import math
import os
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from interp.errors import InterpError

Offload = Literal["none", "model", "sequential"]

LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
"""Components of published folders that interp never loads."""
FILES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
"""Weight files that are loaded, first come first; each may be cut into shards with an index. Variants are not."""
COUNTERS = ("BOOL", "I8", "I16", "I32", "I64")
"""Stored types that are no parameters but positions and counters."""
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
OFFLOADS = ("none", "model", "sequential")
CLIP_TOKENS = 77
"""Of a prompt, in every published CLIP."""

RESERVE = 0.1
"""Share of the free memory that is left free."""
TOGETHER = 8
"""Images whose decoding at once must fit, or the VAE decodes one after another."""
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
            f"{p.name}: {p.kind}, {p.parameters / 1e6:,.1f} M parameters, {_size(p.file_bytes)} on disk"
            for p in self.parts
        ]
        return [
            *out,
            f"memory: {_size(self.weights_bytes)} of weights, about {_size(self.activation_bytes)} beside them "
            "for one image",
            f"a prompt: {self.encode_flops / 1e9:,.1f} GFLOP",
            f"a step: {self.step_flops / 1e9:,.1f} GFLOP, about {_span(self.seconds_per_step)}",
            f"an image: about {_span(self.seconds_per_image)}",
        ]


@dataclass(frozen=True)
class Placement:
    """Where a model goes."""

    device: str
    """`cpu`, `cuda:0`, `mps`."""
    dtype: torch.dtype
    offload: Offload
    """Weights stay on the device; whole parts, or single layers, move to it while they compute."""
    vae_slicing: bool
    """Whether the VAE decodes a batch one picture after another."""
    weights_bytes: int = field(default=0, compare=False)
    """What `choose` counted; 0 if not said."""
    free_bytes: int = field(default=0, compare=False)
    """What `choose` found free on the device; 0 if not said."""

    def __str__(self) -> str:
        moved = {
            "none": "",
            "model": ", whole parts moved to the GPU one at a time",
            "sequential": ", single layers moved to the GPU one at a time",
        }[self.offload]
        sizes = f" ({_size(self.weights_bytes)} of weights, {_size(self.free_bytes)} free)" if self.free_bytes else ""
        slices = ", VAE in slices" if self.vae_slicing else ""
        return f"{self.device} in {_name(self.dtype)}{moved}{sizes}{slices}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 0.1 * 2**30 else f"{count / 2**20:,.1f} MiB"


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
        files = _weights(folder / name)
        if files:
            count = _stored(files) if files[0].suffix == ".safetensors" else _built(folder / name, kind)
            found.append(Part(name, kind, count, sum(file.stat().st_size for file in files)))
    return tuple(found)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InterpError(
            f"{path} is missing; name a folder in diffusers' layout, with every component's configuration"
        )
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise InterpError(f"{path}: {error}; download it again") from error
    if not isinstance(value, dict):
        raise InterpError(f"{path}: an object was expected, found {type(value).__name__}; download it again")
    return value


def _components(folder: Path) -> dict[str, str]:
    """Class names of the components that are there, by their name."""
    index = _json(folder / "model_index.json").items()
    named = {name: entry[1] for name, entry in index if isinstance(entry, list) and len(entry) == 2}
    return {n: kind for n, kind in named.items() if kind is not None and n not in LEFT_OUT and (folder / n).is_dir()}


def _weights(folder: Path) -> list[Path]:
    """The weight files of a component; none for a tokenizer or a scheduler."""
    for name in FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            shards = sorted(folder / shard for shard in set(_json(index).get("weight_map", {}).values()))
            missing = [shard.name for shard in shards if not shard.is_file()]
            if missing or not shards:
                raise InterpError(f"{index} names {', '.join(missing) or 'nothing'}, not there; download it again")
            return shards
    if (folder / "config.json").is_file():
        others = sorted(p.name for p in folder.iterdir() if p.suffix in (".safetensors", ".bin"))
        raise InterpError(
            f"{folder} has a configuration, but no weights; found {', '.join(others) or 'none'}, "
            f"and read are {', '.join(FILES)}: download them, without a variant"
        )
    return []


def _stored(files: list[Path]) -> int:
    """Numbers in safetensors files, from their headers."""
    from safetensors import SafetensorError, safe_open

    count = 0
    for path in files:
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
    return json.dumps(_json(folder / "config.json"))


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
    rate = EFFICIENCY * throughput(str(_device(placement.device, None)), placement.dtype)
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
    pipeline = str(_json(folder / "model_index.json").get("_class_name"))
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
    length, limit = _json(path).get("model_max_length"), config["max_position_embeddings"]
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


# ----------------------------------------------------------------------------------------------------------- the choice


def choose(
    weights: Mapping[str, int],
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    offload: str | None = None,
    preferred: torch.dtype = torch.float16,
    activation_bytes: int = 0,
    free: Mapping[str, int] | None = None,
) -> Placement:
    """A placement that fits; what is named is kept.

    Nothing named: the GPU if there is one, in `preferred`; there all weights if they fit with the activations and
    `RESERVE`, else whole parts in turn if the largest fits, else single layers in turn. On the CPU float32, or
    bfloat16 where that does not fit. A named dtype or offload is refused only where the weights alone do not fit.

    Args:
        weights: parameters by component.
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: a name in `DTYPES`, or that dtype.
        offload: a name in `OFFLOADS`.
        preferred: the family's dtype on a GPU.
        activation_bytes: peak beside the weights.
        free: bytes by `cpu` and `cuda`, in place of what this machine says; without `cuda` there is no GPU.

    Raises:
        InterpError: a device that is not there, a dtype or an offload that is not known, an offload without a GPU;
            weights that do not fit.
    """
    where, kept = _device(device, free), _dtype(dtype)
    if offload is not None and offload not in OFFLOADS:
        raise InterpError(f"offload {offload!r} is not known; known are {', '.join(OFFLOADS)}")
    if where.type == "cuda":
        named = cast(Offload | None, offload)
        return _on_gpu(weights, where, kept or preferred, named, activation_bytes, free)
    if offload not in (None, "none"):
        raise InterpError(f"offload {offload!r} on {where}: there is no GPU memory to spare there; leave it out")
    free_bytes, total = _free("cpu", free), sum(weights.values())
    usual = (preferred,) if where.type == "mps" else (torch.float32, torch.bfloat16)
    for option in (kept,) if kept else usual:
        size = total * option.itemsize
        if size <= free_bytes if kept else size + activation_bytes <= (1 - RESERVE) * free_bytes:
            slicing = size + TOGETHER * activation_bytes > (1 - RESERVE) * free_bytes
            return Placement(str(where), option, "none", slicing, size, free_bytes)
    raise _too_large(where, total * (kept or usual[-1]).itemsize, kept or usual[-1], activation_bytes, {"": free_bytes})


def _on_gpu(
    weights: Mapping[str, int],
    where: torch.device,
    dtype: torch.dtype,
    named: Offload | None,
    activations: int,
    free: Mapping[str, int] | None,
) -> Placement:
    gpu, main = _free(str(where), free), _free("cpu", free)
    total = sum(weights.values()) * dtype.itemsize
    largest = max(weights.values(), default=0) * dtype.itemsize
    held: dict[Offload, int] = {"none": total, "model": largest, "sequential": 0}
    for option in (named,) if named else held:
        if option != "none" and total > (1 - RESERVE) * main:
            continue
        if held[option] <= gpu if named else held[option] + activations <= (1 - RESERVE) * gpu:
            tight = total + TOGETHER * activations > (1 - RESERVE) * gpu
            return Placement(str(where), dtype, option, tight, total, gpu)
    raise _too_large(where, total, dtype, activations, {f" on {where}": gpu, " in main memory": main})


def _too_large(
    where: torch.device, size: int, dtype: torch.dtype, activations: int, free: Mapping[str, int]
) -> InterpError:
    there = " and ".join(f"{_size(count)}{place}" for place, count in free.items())
    return InterpError(
        f"{where} in {_name(dtype)}: {_size(size)} of weights and about {_size(activations)} beside them are needed, "
        f"{there} free; free memory, make smaller images, or name another device, dtype or offload"
    )


def _dtype(named: str | torch.dtype | None) -> torch.dtype | None:
    if named is None or named in DTYPES.values():
        return cast(torch.dtype | None, named)
    if named not in DTYPES:
        raise InterpError(f"dtype {str(named)!r} is not known; known are {', '.join(DTYPES)}")
    return DTYPES[cast(str, named)]


def _device(named: str | None, free: Mapping[str, int] | None) -> torch.device:
    """The device that is meant, with its index where it is a GPU."""
    count = torch.cuda.device_count() if free is None else int("cuda" in free)
    if named is None:
        return torch.device("cuda", _current(free)) if count else torch.device("cpu")
    kind, _, index = named.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdecimal())):
        raise InterpError(f"device {named!r} is not known; known are cpu, cuda, cuda:<number> and mps")
    if kind == "cuda":
        number = int(index) if index else _current(free) if count else 0
        if number >= count:
            raise InterpError(f"device {named!r}: torch sees {count} GPUs; name one below {count}, or cpu")
        return torch.device("cuda", number)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InterpError("device 'mps': torch sees none here; name cpu, or leave the device out")
    return torch.device(kind)


def _current(free: Mapping[str, int] | None) -> int:
    return torch.cuda.current_device() if free is None else 0


def _free(device: str, free: Mapping[str, int] | None) -> int:
    """Bytes free on a device: what was given, else what the driver or the kernel says."""
    kind = device.partition(":")[0]
    if free is not None and kind in free:
        return free[kind]
    if kind == "cuda":
        return torch.cuda.mem_get_info(torch.device(device))[0]
    return _main_memory()


def _main_memory(path: Path = Path("/proc/meminfo")) -> int:
    """Main memory available; all of it where the system does not say what is in use."""
    if not path.is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def apply(pipeline: Any, placement: Placement) -> None:
    """Put a pipeline that was loaded in the placement's dtype where it goes.

    Args:
        pipeline: of diffusers, on the CPU.
        placement: as chosen.
    """
    if placement.offload == "model":
        pipeline.enable_model_cpu_offload(device=placement.device)
    elif placement.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=placement.device)
    else:
        pipeline.to(placement.device)
    if placement.vae_slicing:
        pipeline.vae.enable_slicing()
