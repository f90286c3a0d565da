"""Golden vectors: inputs and what came out of them when a part was published, which find code or a machine that reads
the same file otherwise.
"""

from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from interp import tensors
from interp.errors import InterpError
from interp.hub.manifest import GOLDEN, Part
from interp.interventions import enhancer
from interp.interventions.enhancer import EnhancerRef
from interp.latents import sae

SEED, INPUTS, CANDIDATES = 0, 8, 256
"""Of the golden inputs: those that are kept, of those that are drawn."""
TOLERANCE = 1e-4
"""Largest difference to a golden vector, as a share of its largest value: sums in another order stay below 1e-5."""


@torch.no_grad()
def golden_sae(value: sae.LoadedSae) -> dict[str, Tensor]:
    """Inputs, their Top-K codes and what is decoded from them.

    The inputs are b_dec + s·n: b_dec is about the median of the features, s its root mean square (1 where b_dec is 0),
    n normal. Of those drawn, the ones are kept whose k-th code stands farthest above the next, so that rounding does
    not decide which latents fire.
    """
    scale = float(value.b_dec.square().mean().sqrt()) or 1.0
    noise = torch.randn(CANDIDATES, value.ref.d_in, generator=torch.Generator().manual_seed(SEED))
    x = value.b_dec + scale * noise
    codes = value.encode(x, "relu").sort(dim=-1, descending=True).values
    following = codes[:, value.k] if value.k < value.ref.d_sae else 0.0
    margin = (codes[:, value.k - 1] - following) / codes[:, 0].clamp(min=1e-12)
    inputs = x[margin.topk(INPUTS).indices].contiguous()
    return {"inputs": inputs} | _through_sae(value, inputs)


def _through_sae(value: sae.LoadedSae, inputs: Float[Tensor, "token d_in"]) -> dict[str, Tensor]:
    codes = value.encode(inputs)
    return {"codes": codes.float(), "outputs": value.decode(codes).float()}


@torch.no_grad()
def golden_enhancer(ref: EnhancerRef) -> dict[str, Tensor]:
    """Normal inputs h and h̃."""
    inputs = torch.randn(INPUTS, ref.d_model, generator=torch.Generator().manual_seed(SEED))
    return {"inputs": inputs} | _through_enhancer(ref, inputs)


def _through_enhancer(ref: EnhancerRef, inputs: Float[Tensor, "token d_model"]) -> dict[str, Tensor]:
    return {"outputs": enhancer.resolve(ref)(inputs).float()}


@torch.no_grad()
def check_golden(folder: Path, part: Part) -> None:
    """Refuse a part that does not do what it did when it was published.

    Args:
        folder: the root.
        part: an SAE or an enhancer of it.

    Raises:
        InterpError: naming the file.
    """
    path = folder / part.folder / GOLDEN
    stored = tensors.read(path, "publish it again")
    wanted = {"sae": {"inputs", "codes", "outputs"}, "enhancer": {"inputs", "outputs"}}[part.kind]
    if set(stored) != wanted or stored["inputs"].ndim != 2:
        raise InterpError(f"{path}: does not hold {', '.join(sorted(wanted))}; publish it again")
    inputs = stored["inputs"]
    if part.kind == "sae":
        value = sae.load(folder / part.folder)
        width, through = value.ref.d_in, partial(_through_sae, value)
    else:
        ref = enhancer.read(folder / part.folder)
        width, through = ref.d_model, partial(_through_enhancer, ref)
    if inputs.shape[1] != width or not inputs.is_floating_point():
        raise InterpError(f"{path}: inputs {inputs.shape[1]} wide, {width} are read; publish it again")
    for name, values in through(inputs).items():
        compare(path, name, stored[name], values, part.kind)


def compare(path: Path, name: str, stored: Tensor, values: Tensor, what: str) -> None:
    """Refuse what is farther from the golden vectors than `TOLERANCE`.

    Args:
        path: of the golden vectors.
        name: of the vectors in it.
        stored: the vectors when they were published.
        values: the vectors now.
        what: gave them, for the error.

    Raises:
        InterpError: naming the file.
    """
    if stored.shape != values.shape:
        raise InterpError(f"{path}: {name} of shape {list(stored.shape)}, found {list(values.shape)}; publish it again")
    allowed, far = TOLERANCE * float(stored.abs().max()), float((values - stored).abs().max())
    if not far <= allowed:
        raise InterpError(
            f"{path}: the {name} ({what}) differ by up to {far:.3g} from those that were published, {allowed:.3g} is "
            "allowed; load it anew, or publish it again from its source"
        )
