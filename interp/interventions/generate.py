"""Plan + prompts + seeds → conditioning → images.

The plan acts while the prompt is encoded; the diffusion pipeline then runs untouched. All arms of an experiment share
seeds, and a seed alone decides the initial noise.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from interp import bounds
from interp.activations import capture
from interp.errors import InterpError
from interp.interventions.edits import Intervention, Plan, row_edits
from interp.models.adapter import Adapter
from interp.models.records import Conditioned, Verbatim, concatenate

Images = UInt8[np.ndarray, "prompt height width rgb"]


def encode(
    model: Adapter,
    prompts: Sequence[str],
    plan: Plan | Intervention | Sequence[Plan | Intervention | None] | None = None,
    progress: bool = False,
) -> Conditioned:
    """Encode prompts under one plan, or one plan per prompt; the negative branch is never edited.

    A prompt that comes again under the same plan is encoded once. A model without a text encoder of its own takes the
    prompts as they are.

    Raises:
        InterpError: as many plans as prompts are needed; an SAE is another model's; a plan for a model that cannot be
            edited.
    """
    bounds.texts("prompt", prompts)
    several = isinstance(plan, Sequence) and not isinstance(plan, Plan)
    plans = [Plan.of(item) for item in plan] if several else [Plan.of(plan)] * len(prompts)  # type: ignore
    if len(plans) != len(prompts):
        raise InterpError(f"{len(prompts)} prompts but {len(plans)} plans; give one plan, or one per prompt")
    if not model.encoders:
        if any(plans):
            raise InterpError(f"{model.name} is a baseline only: it has no text encoder that a plan could edit")
        return Verbatim(tuple(prompts))
    if not several:
        return capture.encode(model, prompts, Plan.of(plan).edits(model.encoder_digest), progress)  # type: ignore
    if not prompts:
        raise InterpError("no prompts to encode")
    pairs = list(zip(prompts, plans, strict=True))
    different = list(dict.fromkeys(pairs))
    parts = []
    for rows in capture.batches(len(different), capture.rows_at_once(model), "encode", progress):
        batch, its_plans = zip(*different[rows.start : rows.stop], strict=True)
        parts.append(capture.encode(model, batch, row_edits(its_plans, model.encoder_digest)))
    place = {pair: row for row, pair in enumerate(different)}
    return concatenate(parts).rows([place[pair] for pair in pairs])


def draw(
    model: Adapter,
    conditioning: Conditioned,
    seeds: Sequence[int],
    steps: int | None = None,
    guidance: float | None = None,
    label: str = "images",
    progress: bool = False,
) -> Images:
    """Images of a conditioning, in batches.

    Raises:
        InterpError: not one seed per prompt, a seed below 0 or above 2⁶³ − 1, no step, or no number for guidance.
    """
    if len(seeds) != len(conditioning):
        raise InterpError(f"{len(conditioning)} prompts but {len(seeds)} seeds; give one seed per prompt")
    for seed in seeds:
        bounds.whole("seed", seed, 0, 2**63 - 1)
    if steps is not None:
        bounds.whole("steps", steps, 1)
    if guidance is not None:
        bounds.finite("guidance", guidance)
    parts = [
        model.images(conditioning.rows(rows), [seeds[i] for i in rows], steps, guidance)
        for rows in capture.batches(len(seeds), model.images_at_once, label, progress)
    ]
    return np.concatenate(parts)


def generate(
    model: Adapter,
    prompts: Sequence[str],
    plan: Plan | Intervention | Sequence[Plan | Intervention | None] | None = None,
    seeds: Sequence[int] = (0,),
    steps: int | None = None,
    guidance: float | None = None,
    progress: bool = True,
) -> UInt8[np.ndarray, "prompt seed height width rgb"]:
    """Every prompt with every seed.

    Raises:
        InterpError: no prompts or no seeds, or as `encode`.
    """
    if isinstance(prompts, str):
        raise InterpError(f"prompts must be a list of strings, got the string {prompts!r}; write [{prompts!r}]")
    if not len(seeds):
        raise InterpError("no seeds; give at least one, for example seeds=range(4)")
    conditioning = encode(model, prompts, plan, progress=progress)
    repeated = conditioning.rows([i for i in range(len(prompts)) for _ in seeds])
    images = draw(model, repeated, list(seeds) * len(prompts), steps, guidance, progress=progress)
    return images.reshape(len(prompts), len(seeds), *images.shape[1:])


@contextmanager
def edited(model: Adapter, plan: Plan | Intervention, encoder: str = "text_encoder") -> Iterator[Any]:
    """The plan as an nnsight edit: a copy of the wrapped encoder whose every trace applies it to real tokens.

    Example:
        with interp.edited(model, plan) as encoder, encoder.trace(**inputs): ...
    """
    edits = Plan.of(plan).edits(model.encoder_digest)
    for site in edits:
        model.check_layer(site.layer, site.encoder)
    with torch.no_grad():
        yield capture.edited_envoy(model, edits, encoder)
