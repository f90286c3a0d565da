"""Train a layer enhancer (section 5.2, Eq. 10–13): noun-only prompts against the benchmark's images.

Only the enhancer learns; text encoder, denoiser and autoencoder are frozen. A step takes a noun-only prompt and its
sample's reference image x*, adds noise to the image's latents at a random time t, lets the denoiser undo it in one
step under the enhanced prompt, and compares. Everything random in a step follows from the seed and its number, so a
run that was killed goes on to the same result. Strength and layer are never chosen on the test split.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from interp import store, tensors
from interp.benchmarks.benchmark import Benchmark
from interp.errors import InterpError
from interp.escapes import code
from interp.interventions import enhancer
from interp.interventions.enhancer import CARD, CULTURE_LAYER, CURVE, EnhancerRef
from interp.interventions.enhancer_steps import EnhancerSettings, Objective, State, begin, objective, step
from interp.models.adapter import Adapter
from interp.types import Site, SiteKind

SCALING = ("scale", "_growth_tracker")
"""What `GradScaler` changes on the way."""
STATE = "training.safetensors"
STAGE = "enhancer"
RANDOM_LAYER, SHUFFLED = "random_layer", "shuffled"
"""The controls that are trained beside the enhancer at the culture layer."""


def train_enhancer(
    model: Adapter,
    bench: Benchmark,
    layer: int | None = None,
    site: SiteKind = "resid",
    encoder: str = "text_encoder",
    settings: EnhancerSettings | None = None,
    folder: Path | None = None,
    progress: bool = True,
) -> EnhancerRef:
    """Train an enhancer at one layer, or go on where a run stopped.

    Args:
        model: of a family with a UNet.
        bench: noun-only prompts and images of its train split are used, nothing else.
        layer: the culture layer; the recipe's if None.
        site: `resid` or `z`.
        encoder: which text encoder.
        settings: the paper's if None.
        folder: result, log and checkpoints; below the cache if None.
        progress: show a bar with the loss.

    Returns:
        For `interp.Enhance`.

    Raises:
        InterpError: the family's denoiser is not supported, a layer that does not reach the image, a site that cannot
            be edited, no train split, or the folder holds a run with other settings.
    """
    by = objective(model, bench, _site(model, layer, site, encoder), settings or EnhancerSettings())
    name = store.sha256_bytes(repr(sorted(by.known.items())).encode())[:12]
    folder = folder or store.cache_dir() / "enhancers" / name
    _check_folder(folder)
    with store.locked(folder):
        if (folder / enhancer.CONFIG).is_file():
            _refuse_others(by, folder, store.read_manifest(folder).config)
            (folder / STATE).unlink(missing_ok=True)
            return enhancer.read(folder)
        state = begin(by)
        _resume(by, state, folder)
        _train(by, state, folder, progress)
        return _finish(by, state, folder)


def _site(model: Adapter, layer: int | None, kind: SiteKind, encoder: str) -> Site:
    if layer is None and "layer" not in model.recipe:
        raise InterpError(f"{model.name} has no recipe that names a layer; give layer=, such as find_layers(...).peak")
    site = Site(int(model.recipe["layer"]) if layer is None else layer, kind, encoder)
    model.check_layer(site.layer, encoder)
    if kind not in ("resid", "z"):
        raise InterpError(f"site {kind!r} cannot be edited; an enhancer sits on resid or z")
    return site


def train_enhancers(
    model: Adapter,
    bench: Benchmark,
    layer: int,
    site: SiteKind = "resid",
    encoder: str = "text_encoder",
    settings: EnhancerSettings | None = None,
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, EnhancerRef]:
    """An enhancer at the culture layer and its two controls (Table 3), or go on where a run stopped.

    Returns:
        `culture_layer`; `random_layer`: the same training at another layer, random by the seed; `shuffled`: at the
        culture layer, towards images of other cultures.

    Raises:
        InterpError: as `train_enhancer`; the encoder has one layer only.
    """
    settings = settings or EnhancerSettings()
    runs = {
        CULTURE_LAYER: (layer, settings),
        RANDOM_LAYER: (another_layer(layer, model.spec(encoder).reach, settings.seed), settings),
        SHUFFLED: (layer, replace(settings, references="shuffled")),
    }
    return {
        name: train_enhancer(model, bench, at, site, encoder, its, folder / name if folder else None, progress)
        for name, (at, its) in runs.items()
    }


def another_layer(layer: int, reach: int, seed: int) -> int:
    """A random layer of those that reach the image, other than this one.

    Raises:
        InterpError: there is no other.
    """
    others = [other for other in range(reach + 1) if other != layer]
    if not others:
        raise InterpError(f"layer {layer} is the only one that reaches the image; there is no other for a control")
    return random.Random(seed).choice(others)


def _train(by: Objective, state: State, folder: Path, progress: bool) -> None:
    """Do the steps that are left, with checkpoints."""
    model, settings = by.model, by.settings
    for part in (model.denoiser, model.pipeline.vae, *(e.module for e in model.encoders.values())):
        part.requires_grad_(False)
    if settings.gradient_checkpointing:
        model.denoiser.enable_gradient_checkpointing()
    steps = range(len(state.losses), settings.steps)
    bar = tqdm(steps, f"enhancer {by.site}", settings.steps, initial=steps.start, disable=not progress)
    for number in bar:
        loss = step(by, state, number)
        state.losses.append(loss)
        if not np.isfinite(loss):
            raise InterpError(f"step {number}: the loss is {loss}; lower the rate ({settings.rate:g}) and begin again")
        if number % 20 == 0:
            bar.set_postfix(loss=f"{np.mean(state.losses[-100:]):.4f}")
        if (number + 1) % settings.checkpoint == 0:
            record = {"known": by.known, "losses": state.losses, "seconds": state.spent}
            # one file, so that a kill leaves the old one or the new one
            tensors.write_state(folder / STATE, packed(state), record)
    if settings.gradient_checkpointing:
        model.denoiser.disable_gradient_checkpointing()


# -------------------------------------------------------------------------------------------------------------- files


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a training of ours, of which a checkpoint or a result is proof."""
    store.check_out(folder)
    if not folder.is_dir():
        return
    ours = (folder / STATE).is_file() or (folder / enhancer.CONFIG).is_file()
    if other := store.strangers(folder, (STATE, *enhancer.OWNED.files) if ours else ()):
        raise InterpError(f"{folder} holds {other[0]}, which is no part of an enhancer; name another folder")
    if (folder / enhancer.CONFIG).is_file():
        enhancer.read(folder)


def _refuse_others(by: Objective, folder: Path, recorded: Mapping[str, Any]) -> None:
    if other := [name for name, value in by.known.items() if recorded.get(name) != value]:
        raise InterpError(f"{folder} holds a run with another {', '.join(other)}; name another folder")


def packed(state: State) -> dict[str, Tensor]:
    """Module, moments and the factor on the loss, if there is one, as the tensors of a checkpoint."""
    stored = {f"net.{name}": value for name, value in state.net.state_dict().items()}
    for n, moments in state.optimiser.state_dict()["state"].items():
        stored |= {f"{name}.{n}": value.clone() for name, value in moments.items()}
    scaling = state.scaler.state_dict()
    return stored | {f"scaler.{name}": torch.tensor(scaling[name]) for name in SCALING if name in scaling}


def unpack(state: State, stored: Mapping[str, Tensor]) -> None:
    """Go on from what `packed` gave."""
    state.net.load_state_dict({n.removeprefix("net."): value for n, value in stored.items() if n.startswith("net.")})
    # none where every step so far was left out, because its gradients were not finite in float16
    started = [n for n in range(len(list(state.net.parameters()))) if f"step.{n}" in stored]
    moments = {n: {name: stored[f"{name}.{n}"] for name in ("step", "exp_avg", "exp_avg_sq")} for n in started}
    state.optimiser.load_state_dict(state.optimiser.state_dict() | {"state": moments})
    if state.scaler.is_enabled():
        scaling = {name: stored[f"scaler.{name}"].item() for name in SCALING}
        state.scaler.load_state_dict(state.scaler.state_dict() | scaling)


def _resume(by: Objective, state: State, folder: Path) -> None:
    """Bring the state to a checkpoint, if there is one."""
    if (folder / STATE).is_file():
        stored, record = tensors.read_state(folder / STATE, "remove it to train again")
        _refuse_others(by, folder, record["known"])
        unpack(state, stored)
        state.seconds, state.losses = float(record["seconds"]), list(record["losses"])


def _finish(by: Objective, state: State, folder: Path) -> EnhancerRef:
    """Weights, configuration, manifest and card; the checkpoint goes."""
    model, losses = by.model, state.losses
    manifest = store.new_manifest(
        "interp.train_enhancer",
        stage=STAGE,
        config=by.known,
        seeds={"training": by.settings.seed},
        model_digest=model.model_digest,
        encoder_digest=model.encoder_digest,
        benchmark_digest=by.bench.digest,
        device=str(model.device),
        wall_seconds=round(state.spent, 1),
    )
    store.write_manifest(folder, manifest)
    store.atomic_write_text(folder / CARD, card(manifest, by.settings, model.name, by.bench.name, losses))
    curve = [float(np.mean(part)) for part in np.array_split(losses, min(50, len(losses)))]
    store.write_sealed(folder / CURVE, {"mean_by_part": curve, "steps": len(losses)})
    ref = enhancer.write(folder, state.net, by.site, model.encoder_digest)
    (folder / STATE).unlink(missing_ok=True)
    return ref


def card(manifest: store.Manifest, settings: EnhancerSettings, model: str, bench: str, losses: Sequence[float]) -> str:
    """README.md of an enhancer: what it is, what it learnt from, how to use it."""
    shuffled = settings.references == "shuffled"
    towards = "pictures of other cultures (a control)" if shuffled else "each prompt's own reference picture"
    last = losses[-max(1, len(losses) // 10) :]
    site = code(manifest.config["site"])
    return f"""# Layer enhancer

h̃ = h + g(W₂ σ(W₁ h)) at {site} of {code(model)}, bottleneck {settings.width}; everything else is
untouched.

Trained on the noun-only prompts of the train split of {code(bench)} towards {towards}: {settings.steps:,} steps of
{settings.batch}, AdamW at {settings.rate:g}, loss {code(settings.loss)}, seed {settings.seed}. Mean loss of the
last tenth: {np.mean(last):.4g}. It fits models with this text encoder alone (digest
{(manifest.encoder_digest or "")[:12]}).

    step = interp.Enhance("<this folder>")
    interp.enhance(model, bench, step)  # measured on the test split

Meant for research on what a text encoder knows. It moves pictures towards those of its train split, stereotypes
included, and says nothing about cultures that are not in it. `manifest.json` says how it was made.
"""
