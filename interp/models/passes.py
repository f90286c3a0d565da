"""One forward pass of a component without its weights, on torch's meta device: what it computes and what it holds."""

import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from interp.errors import InterpError

Maker = Callable[..., Tensor]
"""Makes an input of a shape, in the dtype and on the device of the weights."""


@dataclass(frozen=True)
class Cost:
    """What one forward pass takes."""

    flops: int
    """Floating point operations of matrix products and convolutions; a multiplication and an addition are two."""
    live_bytes: int
    """The most that its tensors hold at once beside the weights, and a convolution's copies of its input and weights,
    which it lays out anew."""


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
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _LiveBytes(module) as live, _FusedAttention() as attention, counter:
        run(module, rows, side, tokens)
    return Cost(int(counter.get_total_flops()) + attention.flops, live.peak)


def build(kind: str, config: str) -> nn.Module:
    """A component of a class in `KNOWN` on the meta device, text encoders in eager attention, as interp loads them.

    Raises:
        InterpError: a class that is not known.
    """
    if kind not in KNOWN:
        raise InterpError(f"nothing is known of the class {kind!r}; known are {', '.join(KNOWN)}")
    named, settings = class_of(kind), json.loads(config)
    with torch.device("meta"):
        if kind not in ENCODERS:
            return named.from_config(settings).eval()
        module = named(named.config_class.from_dict(settings)).eval()
    module.set_attn_implementation("eager")
    return module


def class_of(kind: str) -> Any:
    """The class in `KNOWN` of that name."""
    if kind == "RobertaSeriesModelWithTransformation":
        from diffusers.pipelines.deprecated.alt_diffusion import modeling_roberta_series as library
    elif kind in ENCODERS:
        import transformers as library
    else:
        import diffusers as library
    return getattr(library, kind)


def run(module: nn.Module, rows: int = 1, side: int = 0, tokens: int = 0) -> Any:
    """A module of a class in `KNOWN` on made-up inputs; arguments as of `cost`."""
    kind, weight = type(module).__name__, next(module.parameters())

    def filled(*shape: int) -> Tensor:
        return torch.full(shape, 0.5, dtype=weight.dtype, device=weight.device)

    if kind in ENCODERS:
        return module(input_ids=torch.full((rows, tokens), 2, device=weight.device))
    if kind in DECODERS:
        latents = filled(rows, module.config.latent_channels, side, side)  # type: ignore[union-attr]
        return cast(Any, module).decode(latents)
    return module(timestep=filled(rows), **DENOISERS[kind](module.config, filled, rows, side, tokens))


# ------------------------------------------------------------------------------------------- the inputs of a denoiser


def _unet(config: Any, filled: Maker, rows: int, side: int, tokens: int) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "sample": filled(rows, config.in_channels, side, side),
        "encoder_hidden_states": filled(rows, tokens, config.cross_attention_dim),
    }
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        inputs["added_cond_kwargs"] = {"text_embeds": filled(rows, pooled), "time_ids": filled(rows, 6)}
    if config.time_cond_proj_dim is not None:
        inputs["timestep_cond"] = filled(rows, config.time_cond_proj_dim)
    return inputs


def _sd3(config: Any, filled: Maker, rows: int, side: int, tokens: int) -> dict[str, Any]:
    return {
        "hidden_states": filled(rows, config.in_channels, side, side),
        "encoder_hidden_states": filled(rows, tokens, config.joint_attention_dim),
        "pooled_projections": filled(rows, config.pooled_projection_dim),
    }


def _flux(config: Any, filled: Maker, rows: int, side: int, tokens: int) -> dict[str, Any]:
    patches = (side // 2) ** 2
    return {
        "hidden_states": filled(rows, patches, config.in_channels),
        "encoder_hidden_states": filled(rows, tokens, config.joint_attention_dim),
        "pooled_projections": filled(rows, config.pooled_projection_dim),
        "img_ids": filled(patches, 3),
        "txt_ids": filled(tokens, 3),
        "guidance": filled(rows) if config.guidance_embeds else None,
    }


def _pixart(config: Any, filled: Maker, rows: int, side: int, tokens: int) -> dict[str, Any]:
    extra = config.use_additional_conditions
    sized = config.sample_size == 128 if extra is None else extra
    return {
        "hidden_states": filled(rows, config.in_channels, side, side),
        "encoder_hidden_states": filled(rows, tokens, config.caption_channels),
        "encoder_attention_mask": filled(rows, tokens),
        "added_cond_kwargs": {
            "resolution": filled(rows, 2) if sized else None,
            "aspect_ratio": filled(rows, 1) if sized else None,
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


# ------------------------------------------------------------------------------------------------------------ counting


class _LiveBytes(TorchDispatchMode):
    """Bytes of the tensors that are alive, now and at most, a module's own weights aside."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        if func is torch.ops.aten.convolution.default:
            self.peak = max(self.peak, self.now + args[0].nbytes + args[1].nbytes)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        """Once for all views that share it, until it dies."""
        key, size = storage._cdata, storage.nbytes()
        if key not in self.seen:
            self.seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


class _FusedAttention(TorchFunctionMode):
    """Fused attention, which the meta device would spell out: its operations count, no score matrix is ever held."""

    flops = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self._attend if func is F.scaled_dot_product_attention else func)(*args, **(kwargs or {}))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        width = value.shape[-1]
        self.flops += 2 * query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + width)
        return query.new_empty(*query.shape[:-1], width)
