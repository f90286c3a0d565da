"""Train Top-K SAEs, several at once, from features in memory; resumes where it stopped."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from interp import bounds, store, tensors
from interp.errors import InterpError
from interp.latents import sae as saes
from interp.latents.sae import CHUNK, NAMES, LoadedSae, Weights, folder_name, mean
from interp.types import SaeRef, Site

if TYPE_CHECKING:
    from sae_lens import TopKTrainingSAE

Activations = Mapping[Site, Float[Tensor, "token d_in"]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SaeSettings:
    """How to train; defaults as in the paper where it says something."""

    steps: int = 2000
    """Optimiser steps."""
    batch: int = 1024
    """Tokens a step."""
    d_sae: int | None = None
    """Number of latents; None for 4 × d_in."""
    k: int = 32
    """Latents that may fire on a token."""
    lr: float = 4e-4
    """AdamW's learning rate, constant, no warm-up."""
    weight_decay: float = 0.01
    """AdamW's, decoupled; torch's default, the paper gives none."""
    aux_coefficient: float = 1 / 32
    """α: weight of the auxiliary loss, in which dead latents predict what the living leave over."""
    dead_steps: int = 200
    """A latent is dead after so many steps without firing (a threshold of 10 M tokens would never be reached here)."""
    normalise: Literal["none", "standard"] = "standard"
    """`standard`: train on (x − mean)·s with s such that the mean squared norm is d_in, then fold both into the
    weights: text-encoder states share a large common component, and their scale differs by layer."""
    held_out: float = 0.05
    """Share of the groups (prompts) kept out of training, for the figures in the manifest."""
    seed: int = 0
    """Of the initial weights, the order of the tokens and the held-out groups."""

    def __post_init__(self):
        for name in ("steps", "batch", "k", "dead_steps"):
            bounds.whole(f"an SAE with {name}", getattr(self, name), 1)
        if self.d_sae is not None:
            bounds.whole("an SAE with d_sae", self.d_sae, 1)
        bounds.positive("an SAE with lr", self.lr)
        bounds.seed(self.seed, "an SAE with seed")
        for name in ("weight_decay", "aux_coefficient", "held_out"):
            bounds.finite(f"an SAE with {name}", getattr(self, name))
        if min(self.weight_decay, self.aux_coefficient) < 0:
            raise InterpError("asked for an SAE with a negative weight_decay or aux_coefficient; give 0 or more")
        if self.normalise not in ("none", "standard"):
            raise InterpError(f"asked for an SAE with normalise={self.normalise!r}; known: none, standard")
        if not 0 < self.held_out < 1:
            raise InterpError(f"asked for held_out={self.held_out}; it must be between 0 and 1, exclusive")

    def width(self, d_in: int) -> int:
        """Number of latents.

        Raises:
            InterpError: k is above it.
        """
        width = self.d_sae or 4 * d_in
        if self.k > width:
            raise InterpError(f"asked for k={self.k} of {width} latents; give a smaller k or a larger d_sae")
        return width


# ----------------------------------------------------------------------------------------------------------- training


class _Trainer:
    """One SAE in training: sae_lens' model and losses, torch's AdamW.

    The loop is ours because `sae_lens.SAETrainer` (6.54) builds Adam itself, clips gradients to norm 1, counts dead
    latents in a window tied to its logging, and keeps its state in a pickle; `MultiSAETrainer` is made of it.
    """

    def __init__(self, x: Float[Tensor, "token d_in"], settings: SaeSettings, device: str | torch.device):
        self.settings = settings
        self.mean, self.factor = _normaliser(x, settings.normalise)
        self.sae = _new_sae(x.shape[1], settings).to(device)
        sample = x[torch.linspace(0, len(x) - 1, min(len(x), CHUNK)).long()]
        self.sae.b_dec.data = _geometric_median(self.normalised(sample))
        self.optimiser = torch.optim.AdamW(self.sae.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        self.silent = torch.zeros(self.sae.cfg.d_sae, dtype=torch.int64, device=device)

    def normalised(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_in"]:
        device = self.sae.device
        return (x.to(device, torch.float32) - self.mean.to(device)) * self.factor

    @property
    def dead(self) -> Bool[Tensor, " d_sae"]:
        """Latents that have not fired for `dead_steps` steps."""
        return self.silent >= self.settings.dead_steps

    def step(self, x: Float[Tensor, "token d_in"], step: int) -> dict[str, Tensor]:
        """One optimiser step; returns the losses."""
        from sae_lens.saes.sae import TrainStepInput

        out = self.sae.training_forward_pass(TrainStepInput(
            sae_in=self.normalised(x), coefficients={}, dead_neuron_mask=self.dead, n_training_steps=step,
            is_logging_step=False,
        ))  # fmt: skip
        self.optimiser.zero_grad()
        out.loss.backward()
        self.optimiser.step()
        fired = (out.feature_acts > 0).any(0)
        self.silent = torch.where(fired, 0, self.silent + 1)
        losses = {"mse": out.losses["mse_loss"], "aux": out.losses["auxiliary_reconstruction_loss"]}
        return {name: loss.detach() for name, loss in losses.items()}

    def state(self) -> dict[str, Tensor]:
        """All that a resumed run needs."""
        adam = self.optimiser.state_dict()["state"]
        moments = {f"adam.{i}.{name}": value for i, values in adam.items() for name, value in values.items()}
        weights = {f"sae.{name}": value for name, value in self.sae.state_dict().items()}
        return weights | moments | {"silent": self.silent}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        self.sae.load_state_dict({name[4:]: t for name, t in state.items() if name.startswith("sae.")})
        adam: dict[int, dict[str, Tensor]] = {}
        for name in (name for name in state if name.startswith("adam.")):
            _, i, moment = name.split(".")
            adam.setdefault(int(i), {})[moment] = state[name]
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": adam})
        self.silent = state["silent"].to(self.silent.device)

    @torch.no_grad()
    def folded(self, path: Path, site: Site, encoder_digest: str) -> LoadedSae:
        """The SAE on raw features, decoder rows of norm 1; codes and reconstructions as in training, in raw units.

        With x' = (x − mean)·s and row norms n of W_dec: W_enc ← W_enc·n, b_enc ← b_enc·n/s, W_dec ← W_dec/n,
        b_dec ← b_dec/s + mean, codes ← codes/s.
        """
        w_enc, b_enc, w_dec, b_dec = (getattr(self.sae, name).detach().cpu() for name in NAMES)
        norm = w_dec.norm(dim=-1).clamp(min=1e-8)
        ref = SaeRef(str(path), "", site, encoder_digest, self.sae.cfg.d_in, self.sae.cfg.d_sae, self.settings.k)
        sae = LoadedSae(
            W_enc=w_enc * norm, b_enc=b_enc * norm / self.factor, W_dec=w_dec / norm[:, None],
            b_dec=b_dec / self.factor + self.mean, k=self.settings.k, rescale=False, ref=ref,
        )  # fmt: skip
        return replace(sae, ref=replace(ref, digest=saes.digest(sae)))


def _new_sae(d_in: int, settings: SaeSettings) -> "TopKTrainingSAE":
    """Unit-norm decoder rows, encoder its transpose (Gao et al. 2024, appendix A.1), the same for the same seed."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig

    cfg = TopKTrainingSAEConfig(
        d_in=d_in, d_sae=settings.width(d_in), k=settings.k, aux_loss_coefficient=settings.aux_coefficient,
        rescale_acts_by_decoder_norm=True, decoder_init_norm=1.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return TopKTrainingSAE(cfg)


def _normaliser(x: Float[Tensor, "token d_in"], how: str) -> tuple[Float[Tensor, " d_in"], float]:
    """Mean and factor s of `standard`, or 0 and 1."""
    if how == "none":
        return torch.zeros(x.shape[1]), 1.0
    center = mean(x)
    spread = sum(float((chunk.cpu().double() - center).pow(2).sum()) for chunk in x.split(CHUNK)) / len(x)
    if spread == 0:
        raise InterpError("all features are the same, there is nothing to learn; check what was captured")
    return center.float(), math.sqrt(x.shape[1] / spread)


def _geometric_median(x: Float[Tensor, "token d_in"], steps: int = 50) -> Float[Tensor, " d_in"]:
    """The point with the least sum of distances to all tokens, by Weiszfeld's iteration."""
    point = x.mean(0)
    for _ in range(steps):
        weight = 1 / (x - point).norm(dim=1, keepdim=True).clamp(min=1e-6)
        point = (x * weight).sum(0) / weight.sum()
    return point


def train(
    activations: Activations,
    settings: SaeSettings,
    folder: str | Path,
    *,
    encoder_digest: str,
    model_name: str = "",
    groups: Int[Tensor, " token"] | None = None,
    device: str | torch.device = "cpu",
    weights: Weights = "float32",
    checkpoint_seconds: float = 60.0,
    benchmark_digest: str | None = None,
    progress: bool = True,
) -> dict[Site, LoadedSae]:
    """Train one SAE a site, all from one pass over the batches, and store each at `folder/layer_NN`.

    An interrupted run, started again with the same arguments, goes on from `folder/checkpoints/` and ends with the
    same weights as one that was not interrupted: the batch of a step depends on the seed and the step alone.

    `groups` says which prompt each token is from, so that held-out tokens come from held-out prompts; without it the
    split is by token. With float16 `weights` the distance to float32 is in the manifest.

    Raises:
        InterpError: features are missing, differ in number, or are not finite; a place to store holds something else;
            a checkpoint is damaged.
    """
    for site in activations:
        store.check_replaceable(Path(folder) / folder_name(site), saes.OWNED)
    count = _check_activations(activations, groups)
    run = store.new_manifest(
        "interp.train_sae", config=asdict(settings), device=str(device), benchmark_digest=benchmark_digest,
        encoder_digest=encoder_digest, seeds={"sae": settings.seed},
    )  # fmt: skip
    rows, held_rows = _split(torch.arange(count) if groups is None else groups, settings)
    trainers = {site: _Trainer(x[rows], settings, device) for site, x in activations.items()}
    checkpoint = Path(folder) / "checkpoints" / f"{_fingerprint(activations, groups, settings)}.safetensors"
    done = _fit(trainers, activations, rows, settings, checkpoint, checkpoint_seconds, progress)
    made = {}
    for site, trainer in trainers.items():
        sae = trainer.folded(Path(folder) / folder_name(site), site, encoder_digest)
        record = {"trained_tokens": len(rows), "log": done["log"][str(site)]}
        made[site] = _store(sae, activations[site][held_rows], record, run, done["seconds"], model_name, weights)
    checkpoint.unlink(missing_ok=True)
    with suppress(OSError):  # another run may have a checkpoint there
        checkpoint.parent.rmdir()
    return made


def _store(
    sae: LoadedSae,
    held_out: Float[Tensor, "token d_in"],
    record: Mapping[str, Any],
    run: store.Manifest,
    seconds: float,
    model_name: str,
    weights: Weights,
) -> LoadedSae:
    """Round if asked, measure what will be stored, store it; its wall time counts all parts of an interrupted run."""
    stored = sae if weights == "float32" else sae.rounded()
    finished = run.model_copy(update={"sae_digest": sae.ref.digest, "wall_seconds": round(seconds, 1)})
    manifest = {"measured": saes.measure(stored, held_out), **record, "run": finished.model_dump(mode="json")}
    if weights == "float16":
        manifest |= {"float32": saes.measure(sae, held_out), "parity": saes.parity(sae, stored, held_out)}
    saes.save(stored, manifest, model_name=model_name, weights=weights)
    return stored


def _check_activations(activations: Activations, groups: Tensor | None) -> int:
    """Number of tokens."""
    lengths = {str(site): len(x) for site, x in activations.items()}
    if groups is not None:
        lengths["groups"] = len(groups)
    if not activations or len(set(lengths.values())) != 1:
        raise InterpError(f"asked to train on {lengths} tokens; give at least one site, and the same tokens at each")
    for site, x in activations.items():
        if not all(bool(chunk.isfinite().all()) for chunk in x.split(CHUNK)):
            raise InterpError(f"the features at {site} are not all finite; capture them in float32")
    return next(iter(lengths.values()))


def _split(groups: Int[Tensor, " token"], settings: SaeSettings) -> tuple[Int[Tensor, " train"], Int[Tensor, " held"]]:
    """Rows to train on and rows of the held-out groups."""
    names, member = groups.cpu().unique(return_inverse=True)
    count = max(1, round(settings.held_out * len(names)))
    if count >= len(names):
        raise InterpError(f"asked to hold out {count} of {len(names)} prompts; capture more prompts")
    held = torch.zeros(len(names), dtype=torch.bool)
    held[_order(len(names), settings.seed, -1)[:count]] = True
    return (~held[member]).nonzero()[:, 0], held[member].nonzero()[:, 0]


@lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> Int[Tensor, " n"]:
    """A permutation that depends on nothing else."""
    return torch.randperm(n, generator=torch.Generator().manual_seed((seed << 32) + epoch + 1))


def _batch_rows(step: int, rows: Int[Tensor, " train"], settings: SaeSettings) -> Int[Tensor, " batch"]:
    """Rows of a step's batch: epochs of a new order each, an incomplete last batch left out."""
    epoch, slot = divmod(step, max(1, len(rows) // settings.batch))
    order = _order(len(rows), settings.seed, epoch)
    return rows[order[slot * settings.batch : (slot + 1) * settings.batch]]


def _fit(
    trainers: Mapping[Site, _Trainer],
    activations: Activations,
    rows: Int[Tensor, " train"],
    settings: SaeSettings,
    checkpoint: Path,
    checkpoint_seconds: float,
    progress: bool,
) -> dict[str, Any]:
    """Do the steps that are left; returns `step`, `seconds` and the `log` of each site."""
    done = _resume(trainers, checkpoint)
    steps = range(done["step"], settings.steps)
    written, begun = time.monotonic(), time.monotonic() - done["seconds"]
    for step in tqdm(steps, "SAE", settings.steps, initial=steps.start, disable=not progress):
        batch = _batch_rows(step, rows, settings)
        for site, trainer in trainers.items():
            losses = trainer.step(activations[site][batch], step)
            if step % max(1, settings.steps // 100) == 0 or step == settings.steps - 1:
                row = {"step": step, **{name: float(loss) for name, loss in losses.items()}}
                done["log"][str(site)].append(row | {"dead": int(trainer.dead.sum())})
        done |= {"step": step + 1, "seconds": time.monotonic() - begun}
        if time.monotonic() - written >= checkpoint_seconds:
            _write_checkpoint(trainers, done, checkpoint)
            written = time.monotonic()
    return done


def _write_checkpoint(trainers: Mapping[Site, _Trainer], done: Mapping[str, Any], checkpoint: Path) -> None:
    state = {f"{site}/{name}": t for site, trainer in trainers.items() for name, t in trainer.state().items()}
    tensors.write_state(checkpoint, state, done)


def _resume(trainers: Mapping[Site, _Trainer], checkpoint: Path) -> dict[str, Any]:
    """What is done so far; the trainers are brought to it."""
    if not checkpoint.is_file():
        return {"step": 0, "seconds": 0.0, "log": {str(site): [] for site in trainers}}
    state, done = tensors.read_state(checkpoint, "remove it to begin again")
    for site, trainer in trainers.items():
        prefix = f"{site}/"
        trainer.load_state({name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)})
    _log.info("going on from step %d of %s", done["step"], checkpoint)
    return done


def _fingerprint(activations: Activations, groups: Tensor | None, settings: SaeSettings) -> str:
    """Name of a run: its settings, sites, groups and features."""
    sample = {str(site): x.float().cpu().numpy() for site, x in activations.items()}
    if groups is not None:
        sample["groups"] = groups.cpu().numpy()
    shapes = {str(site): list(x.shape) for site, x in activations.items()}
    text = json.dumps({"settings": asdict(settings), "shapes": shapes}, sort_keys=True) + store.sha256_tensors(sample)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
