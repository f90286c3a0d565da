"""Load a model and let it prove itself: a certificate of measured checks that every run keeps.

Each check compares two numbers that must agree, or must differ, on short multilingual prompts; a check that fails stops
with its name and the two numbers. Differences are relative to the largest value compared, if that is above 1.

What may differ follows from the precision, whose unit in the last place is 0.001 in float16 and 0.008 in bfloat16:
- rows of attention: each entry is rounded by half a unit of itself, so a row's sum is off by half a unit at most;
- one product (A·V): one more rounding, of the result;
- states after L layers: the roundings of the layers add up like a random walk, with √L. In XLM-R, CLIP and T5 of 3, 12
  and 24 layers two ways to compute the same differ by 0.4 to 2.0 units for every √layer, in both half precisions.
An edit has to move the conditioning by more than a unit, and than two ways to compute the same were seen to differ.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.activations import capture
from interp.errors import InterpError
from interp.models import families
from interp.models.adapter import Adapter
from interp.models.diffusers_adapter import DiffusersAdapter
from interp.models.encoders import TextEncoder
from interp.models.records import Conditioning, States, Tokens
from interp.types import Site

PROMPTS = ("a house", "ein Haus im deutschen Stil", "中国风格的房子")
TOLERANCE = 1e-4
"""Largest relative difference allowed in float32, whatever its eps and the depth say."""
ROWS, PRODUCT, STATES = 1.0, 2.0, 4.0
"""The same in half precision, in units of its last place; of states for every √layer. Twice the most that can be (rows)
or more than was ever seen (products 0.4, states 2.0)."""
LEVELS = 2
"""Of 255: what a pixel may differ on an accelerator, whose kernels need not add in one order; on the CPU nothing."""
PIXELS = 256
"""Side of the images of the checks, in models whose own are larger."""


def load(
    name: str,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    offload: str | None = None,
    size: int | None = None,
    certify: bool = True,
) -> Adapter:
    """Load a model and check it.

    Args:
        name: `pocket`, a folder, a hub id, `pea-diffusion:<folder>` or `show-o2:<folder>`.
        device: `cpu`, `cuda`, …; None for what is there.
        dtype: `float32`, `float16`, `bfloat16`; None for what suits model and device.
        offload: `none`, `model` (whole parts move to the accelerator in turn) or `sequential` (layer by layer); None
            for what fits.
        size: side of the images in pixels; None for the model's.
        certify: run the checks; the result is `model.certificate`.

    Raises:
        InterpError: nothing of that name, a broken or missing part, no memory for it, or a check failed.
    """
    model = families.load(name, device=device, dtype=dtype, offload=offload, size=size)
    if certify:
        model.certificate = certificate(model)
    return model


def certificate(model: Adapter) -> dict[str, float]:
    """The largest difference each check saw; `…padding_is_seen` is a finding, not a check.

    Raises:
        InterpError: a check failed; names it and the two numbers.
    """
    out: dict[str, float] = {}
    for name, encoder in model.encoders.items():
        out |= {f"{name}.{check}": value for check, value in _of_encoder(model, encoder).items()}
    return out | _of_model(model)


# ------------------------------------------------------------------------------------------------------------- encoders


def _of_encoder(model: Adapter, encoder: TextEncoder) -> dict[str, float]:
    name, spec, dtype = encoder.spec.name, encoder.spec, _coarsest(encoder)
    states = _allowed(dtype, STATES, spec.layers)
    tokens = encoder.tokenise(PROMPTS)
    layer, real = spec.reach // 2, tokens.mask.bool()
    z, edge, resid = (Site(layer, kind, name) for kind in ("z", "edge", "resid"))
    read = capture.forward(model, tokens, reads=[resid, z, edge], attention=[layer], encoder=name)
    assert read.states is not None
    plain = _last(encoder(tokens))
    pattern, values = read.edges[layer]
    by_head = values.unflatten(-1, (pattern.shape[1], -1))
    recomputed = torch.einsum("phqk,pkhd->pqhd", pattern.float(), by_head.float()).flatten(2)
    rows = read.attention[layer].sum(-1)[real]
    single = torch.cat([_last(encoder(encoder.tokenise([prompt]))) for prompt in PROMPTS])
    sdpa, unpadded = _last(_in_sdpa(encoder, tokens)), _unpadded(encoder, tokens)
    rounded, product = _allowed(dtype, ROWS), _allowed(dtype, PRODUCT)
    out = {
        "rows_sum_to_one": _agree("attention rows sum to 1", rows, torch.ones(len(rows)), rounded),
        "attention_times_values": _agree("A·V equals the module's output", recomputed, read.features[z], product),
        "trace_is_identity": _agree("a trace without edits changes nothing", _last(read.states), plain, 0.0),
        "batch_equals_single": _agree("a batch equals its single rows", single, plain, states),
        "eager_equals_sdpa": _agree("eager and sdpa attention agree", sdpa, plain, states),
    }
    noise = max(_allowed(dtype, 1.0), out["batch_equals_single"], out["eager_equals_sdpa"])
    if encoder.masked or spec.causal:
        out["padded_equals_unpadded"] = _agree("padded equals unpadded", unpadded, plain[real], states)
    else:
        out["padding_is_seen"] = _apart(unpadded, plain[real])
    return out | _edits(model, encoder, noise)


def _edits(model: Adapter, encoder: TextEncoder, noise: float) -> dict[str, float]:
    """Edits at the first and the last layer offered move the conditioning; a layer that is not offered does not."""
    spec, texts = encoder.spec, capture.tokenise(model, PROMPTS)
    plain = _flat(capture.condition(model, texts))
    out = {}
    for kind in ("z", "resid"):
        edited = [
            _flat(capture.condition(model, texts, {Site(layer, kind, spec.name): _rolled})) for layer in (0, spec.reach)
        ]
        moved = min(_apart(conditioning, plain) for conditioning in edited)
        if not moved > noise:
            raise InterpError(
                f"check failed: an edit of {kind} at layers 0 and {spec.reach} moves; found a difference of "
                f"{moved:.3g}, expected more than {noise:.3g}"
            )
        out[f"edit_moves_{kind}"] = moved
    if spec.reach + 1 < spec.layers:
        layers: Any = encoder.module.get_submodule(encoder.path)
        # before the library's own hook, which keeps the hidden states
        handle = layers[spec.reach + 1].register_forward_hook(_roll_output, prepend=True)
        try:
            rolled = _flat(capture.condition(model, texts))
        finally:
            handle.remove()
        out["beyond_reach"] = _agree(f"layer {spec.reach + 1} never affects the image", rolled, plain, 0.0)
    return out


def _rolled(features: Tensor, special: Tensor) -> Tensor:
    """An edit that no normalisation undoes."""
    return features.roll(1, -1)


def _roll_output(module: Any, inputs: Any, output: Any) -> Any:
    return (output[0].roll(1, -1), *output[1:]) if isinstance(output, tuple) else output.roll(1, -1)


def _flat(conditioning: Conditioning) -> Tensor:
    parts = (conditioning.embeds, conditioning.pooled)
    return torch.cat([part.float().flatten(1) for part in parts if part is not None], 1)


def _last(states: States) -> Tensor:
    """The last states of an encoder, whatever its class calls them."""
    return states.output.last_hidden_state


def _in_sdpa(encoder: TextEncoder, tokens: Tokens) -> States:
    module: Any = encoder.module
    module.set_attn_implementation("sdpa")
    try:
        return encoder(tokens)
    finally:
        module.set_attn_implementation("eager")


def _unpadded(encoder: TextEncoder, tokens: Tokens) -> Tensor:
    """The states of real tokens, each prompt alone and without padding."""
    rows = []
    for ids, mask in zip(tokens.ids, tokens.mask, strict=True):
        length = int(mask.sum())
        alone = Tokens(ids[None, :length], mask[None, :length], tokens.special[:1, :length], tokens.offsets[:1])
        rows.append(_last(encoder(alone))[0])
    return torch.cat(rows)


# --------------------------------------------------------------------------------------------------- the whole pipeline


def _of_model(model: Adapter) -> dict[str, float]:
    """Against the library's own way from prompts to conditioning and to images, where there is one."""
    if not isinstance(model, DiffusersAdapter):
        return {}
    reference = model.reference(PROMPTS)
    if not reference:
        return {}
    ours = capture.encode(model, PROMPTS)
    allowed = max(_allowed(_coarsest(e), STATES, e.spec.layers) for e in model.encoders.values())
    differences = []
    for field, theirs in reference.items():
        tensor = getattr(ours, field)
        expanded = None if tensor is None else tensor.expand(theirs.shape)
        differences.append(_agree(f"{field} equal the pipeline's encode_prompt", expanded, theirs, allowed))
    # from the pipeline's own conditioning, for the last bit of it may move a pixel by one level
    theirs = replace(ours, **{field: value[: len(getattr(ours, field))] for field, value in reference.items()})
    seeds, side = range(len(PROMPTS)), min(model.size or model.own_size, PIXELS)
    drawn = model.images(theirs, seeds, steps=1, size=side)
    library = model.draw({"prompt": list(PROMPTS)}, seeds, steps=1, size=side)
    pixels = float(np.abs(drawn.astype(int) - library.astype(int)).max())
    levels = 0.0 if model.device.type == "cpu" else float(LEVELS)
    return {
        "conditioning_equals_library": max(differences),
        "image_equals_library": _within("pictures under the empty plan equal the pipeline's own", pixels, levels),
    }


# ---------------------------------------------------------------------------------------------------------- comparisons


def _coarsest(encoder: TextEncoder) -> torch.dtype:
    """The precision that rounds most: T5 keeps some weights in float32 among those in float16."""
    dtypes = {p.dtype for p in encoder.module.parameters() if p.is_floating_point()}
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def _allowed(dtype: torch.dtype, units: float, layers: int = 1) -> float:
    """The largest relative difference that a precision explains."""
    return max(TOLERANCE, units * torch.finfo(dtype).eps * math.sqrt(layers))


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest value if that is above 1."""
    # to main memory before float64, which some devices lack
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    if a.shape != b.shape:
        return float("inf")
    return float((a - b).abs().max() / max(1.0, float(b.abs().max())))


def _agree(check: str, measured: Tensor | None, expected: Tensor, allowed: float) -> float:
    return _within(check, float("inf") if measured is None else _apart(measured, expected), allowed)


def _within(check: str, difference: float, allowed: float) -> float:
    if not difference <= allowed:
        raise InterpError(f"check failed: {check}; found a difference of {difference:.3g}, allowed {allowed:.3g}")
    return difference
