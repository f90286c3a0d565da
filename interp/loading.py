"""Load a model and let it prove itself: a certificate of measured checks that every run keeps.

The prompts of the checks are short and multilingual; each check compares two numbers that must agree, or must differ.
"""

import torch
from torch import Tensor

from interp import capture, models
from interp.errors import InterpError
from interp.models.base import Adapter
from interp.types import Site

PROMPTS = ("a house", "ein Haus im deutschen Stil", "中国风格的房子")
TOLERANCE = 1e-4
"""Largest difference allowed between a padded batch and its single rows, and between A·V and the module's output."""


def load(name: str, certify: bool = True) -> Adapter:
    """Load `pocket` or a model folder.

    Args:
        name: what to load.
        certify: run the checks; the result is `model.certificate`.

    Raises:
        InterpError: nothing of that name, or a check failed.
    """
    model = models.load(name)
    if certify:
        model.certificate = certificate(model)
    return model


def certificate(model: Adapter) -> dict[str, float]:
    """The largest difference each check saw.

    Raises:
        InterpError: a check failed; names it and the two numbers.
    """
    out: dict[str, float] = {}
    for encoder, spec in model.encoders.items():
        layer = spec.reach // 2
        out |= {f"{encoder}.{k}": v for k, v in _checks(model, encoder, layer).items()}
    return out


def _checks(model: Adapter, encoder: str, layer: int) -> dict[str, float]:
    tokens = model.tokenise(PROMPTS, encoder)
    site = Site(layer, "resid", encoder)
    z, edge = Site(layer, "z", encoder), Site(layer, "edge", encoder)
    plain = capture.forward(model, tokens, encoder=encoder)
    read = capture.forward(model, tokens, reads=[site, z, edge], attention=[layer], encoder=encoder)
    moved = capture.forward(model, tokens, edits={site: lambda f, _: f + f.std()}, encoder=encoder)
    assert plain.conditioning and read.conditioning and moved.conditioning
    base = plain.conditioning.embeds
    pattern, values = read.edges[layer]
    heads = pattern.shape[1]
    recomputed = torch.einsum("phqk,pkhd->pqhd", pattern, values.unflatten(-1, (heads, -1))).flatten(2)
    single = torch.cat([_embeds(model, [p], encoder) for p in PROMPTS])
    real = tokens.mask.bool()
    return {
        "rows_sum_to_one": _within("attention rows sum to 1", read.attention[layer].sum(-1)[real] - 1, TOLERANCE),
        "attention_times_values": _within("A·V equals the module's output", recomputed - read.features[z], TOLERANCE),
        "trace_is_identity": _within("a trace without edits changes nothing", read.conditioning.embeds - base, 0.0),
        "batch_equals_single": _within("a batch equals its single rows", single - base, TOLERANCE),
        "edit_moves": _above("an edit changes the embeddings", moved.conditioning.embeds - base, TOLERANCE),
    }


def _embeds(model: Adapter, prompts: list[str], encoder: str) -> Tensor:
    out = capture.forward(model, model.tokenise(prompts, encoder), encoder=encoder).conditioning
    assert out is not None
    return out.embeds


def _within(check: str, difference: Tensor, tolerance: float) -> float:
    largest = float(difference.abs().max())
    if not largest <= tolerance:
        raise InterpError(f"check failed: {check}; found a difference of {largest:.3g}, allowed {tolerance:.3g}")
    return largest


def _above(check: str, difference: Tensor, least: float) -> float:
    largest = float(difference.abs().max())
    if not largest > least:
        raise InterpError(f"check failed: {check}; found a difference of {largest:.3g}, expected more than {least:.3g}")
    return largest
