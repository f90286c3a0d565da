"""Train a layer enhancer (section 5.2, Eq. 10–13): noun-only prompts against the benchmark's pictures.

Only the enhancer learns; text encoder, denoiser and autoencoder are frozen. A step takes a noun-only prompt and its
sample's reference picture x*, adds noise to the picture's latents at a random time t, lets the denoiser undo it in one
step under the enhanced prompt, and compares. Everything random in a step follows from the seed and its number, so a
run that was killed goes on to the same result. Strength and layer are never chosen on the test split.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from interp import bounds, store, tensors
from interp.activations import capture
from interp.benchmarks.benchmark import Benchmark
from interp.errors import InterpError
from interp.escapes import code
from interp.grouping import group
from interp.interventions import enhancer
from interp.interventions.denoising import predict, schedule_of
from interp.interventions.enhancer import CULTURE_LAYER, EnhancerNet, EnhancerRef
from interp.metrics.lpips import LpipsNet, load_net
from interp.models.adapter import Adapter
from interp.models.diffusers_adapter import DiffusersAdapter
from interp.types import Sample, Site, SiteKind

Loss = Literal["pixel", "latent", "noise", "perceptual"]
LOSSES = ("pixel", "latent", "noise", "perceptual")
SCALING = ("scale", "_growth_tracker")
"""What `GradScaler` changes on the way."""
STATE = "training.safetensors"
CARD = "README.md"
STAGE = "enhancer"
_OURS = (STATE, CARD, "losses.json", store.MANIFEST, enhancer.CONFIG, enhancer.WEIGHTS)
RANDOM_LAYER, SHUFFLED = "random_layer", "shuffled"
"""The controls that are trained beside the enhancer at the culture layer."""


@dataclass(frozen=True)
class EnhancerSettings:
    """How to train; the defaults are the paper's where it says (appendix: AdamW, 5e-5, batch 1, 2,000 steps)."""

    width: int = 256
    """Of the bottleneck; the paper says “small matrices”."""
    loss: Loss = "pixel"
    """`pixel`: x̂₀ is decoded and compared by mean squared error (Eq. 12); `latent`: the same before decoding; `noise`:
    the denoiser's own target; `perceptual`: LPIPS of the decoded picture."""
    steps: int = 2000
    batch: int = 1
    rate: float = 5e-5
    """Of AdamW, constant."""
    weight_decay: float = 0.01
    references: Literal["own", "shuffled"] = "own"
    """`shuffled`: every prompt is paired with the picture of another culture, a control."""
    seed: int = 0
    checkpoint: int = 250
    """Steps between checkpoints."""
    mixed: bool = True
    """Half precision in frozen parts that are stored in float32, where the device has it (CUDA)."""
    gradient_checkpointing: bool = False
    """Recompute the denoiser's activations in the backward pass, for memory."""

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InterpError(f"loss {self.loss!r}; known: {', '.join(LOSSES)}")
        if self.references not in ("own", "shuffled"):
            raise InterpError(f"references {self.references!r}; known: own, shuffled")
        for name in ("width", "steps", "batch", "checkpoint"):
            bounds.whole(name, getattr(self, name), 1)
        bounds.positive("rate", self.rate)
        bounds.finite("weight_decay", self.weight_decay)
        if self.weight_decay < 0:
            raise InterpError(f"weight_decay={self.weight_decay}; give 0 or more")
        bounds.seed(self.seed)


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
        bench: noun-only prompts and pictures of its train split are used, nothing else.
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
    chosen = settings or EnhancerSettings()
    at = Site(int(model.recipe["layer"]) if layer is None and "layer" in model.recipe else layer or 0, site, encoder)
    if layer is None and "layer" not in model.recipe:
        raise InterpError(f"{model.name} has no recipe that names a layer; give layer=, such as find_layers(...).peak")
    model.check_layer(at.layer, at.encoder)
    if site not in ("resid", "z"):
        raise InterpError(f"site {site!r} cannot be edited; an enhancer sits on resid or z")
    samples = bench.samples("train")
    known = {"settings": asdict(chosen), "site": str(at), "model": model.identity, "benchmark": bench.digest}
    name = store.sha256_bytes(repr(sorted(known.items())).encode())[:12]
    folder = folder or store.cache_dir() / "enhancers" / name
    _check_folder(folder)
    with store.locked(folder):
        return _Run(model, bench, samples, at, chosen, folder, known).go(progress)


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
        `culture_layer`; `random_layer`: the same training at another layer, drawn by the seed; `shuffled`: at the
        culture layer, towards pictures of other cultures.

    Raises:
        InterpError: as `train_enhancer`; the encoder has one layer only.
    """
    own = settings or EnhancerSettings()
    runs = {
        CULTURE_LAYER: (layer, own),
        RANDOM_LAYER: (another_layer(layer, model.spec(encoder).reach, own.seed), own),
        SHUFFLED: (layer, replace(own, references="shuffled")),
    }
    return {
        name: train_enhancer(model, bench, at, site, encoder, how, folder / name if folder else None, progress)
        for name, (at, how) in runs.items()
    }


def another_layer(chosen: int, reach: int, seed: int) -> int:
    """A layer drawn from those that reach the image, other than the chosen one.

    Raises:
        InterpError: there is no other.
    """
    others = [layer for layer in range(reach + 1) if layer != chosen]
    if not others:
        raise InterpError(f"layer {chosen} is the only one that reaches the image; there is no other for a control")
    return random.Random(seed).choice(others)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a training of ours, of which a checkpoint or a result is proof."""
    store.check_out(folder)
    if not folder.is_dir():
        return
    ours = (folder / STATE).is_file() or (folder / enhancer.CONFIG).is_file()
    if other := store.strangers(folder, _OURS if ours else ()):
        raise InterpError(f"{folder} holds {other[0]}, which is no part of an enhancer; name another folder")
    if (folder / enhancer.CONFIG).is_file():
        enhancer.read(folder)


class _Run:
    """One training run."""

    def __init__(
        self,
        model: Adapter,
        bench: Benchmark,
        samples: Sequence[Sample],
        site: Site,
        settings: EnhancerSettings,
        folder: Path,
        known: dict[str, Any],
    ) -> None:
        self.model, self.bench, self.samples = _supported(model), bench, samples
        self.site, self.settings, self.folder, self.known = site, settings, folder, known
        self.diffusion = schedule_of(self.model)
        self.shown = _references(samples, settings)
        self.lpips: LpipsNet | None = load_net(device=self.model.device) if settings.loss == "perceptual" else None
        self.side = self.model.size or self.model.own_size
        width = model.spec(site.encoder).d_model
        self.net = EnhancerNet(width, settings.width, settings.seed).to(self.model.device)
        parameters = self.net.parameters()
        self.optimiser = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=settings.weight_decay)
        self.vae, self.mixed = _steady(self.model.pipeline.vae, self.model.device), _mixed(self.model, settings)
        passed = {self.mixed, self.model.denoiser.dtype, self.model.encoder(site.encoder).module.dtype}
        # gradients that pass through float16 would vanish or overflow without a factor that is found on the way
        self.scaler = torch.amp.GradScaler(self.model.device.type, enabled=torch.float16 in passed)
        self._latents: dict[str, Tensor] = {}
        self.begun, self.seconds = time.time(), 0.0
        """When this process began, and what earlier ones took."""

    def go(self, progress: bool) -> EnhancerRef:
        """Train to the end and write the result."""
        if (self.folder / enhancer.CONFIG).is_file():
            self._refuse_others(store.read_manifest(self.folder).config)
            (self.folder / STATE).unlink(missing_ok=True)
            return enhancer.read(self.folder)
        losses = self._resume()
        frozen = [self.model.denoiser, self.model.pipeline.vae]
        for part in (*frozen, *(e.module for e in self.model.encoders.values())):
            part.requires_grad_(False)
        if self.settings.gradient_checkpointing:
            self.model.denoiser.enable_gradient_checkpointing()
        steps = range(len(losses), self.settings.steps)
        bar = tqdm(steps, desc=f"enhancer {self.site}", initial=len(losses), total=self.settings.steps,
                   disable=not progress)  # fmt: skip
        for step in bar:
            loss = self.step(step)
            losses.append(loss)
            if not np.isfinite(loss):
                raise InterpError(
                    f"step {step}: the loss is {loss}; lower the rate ({self.settings.rate:g}) and begin again"
                )
            if step % 20 == 0:
                bar.set_postfix(loss=f"{np.mean(losses[-100:]):.4f}")
            if (step + 1) % self.settings.checkpoint == 0:
                self._keep(losses)
        if self.settings.gradient_checkpointing:
            self.model.denoiser.disable_gradient_checkpointing()
        return self._finish(losses, self.seconds + time.time() - self.begun)

    def step(self, number: int) -> float:
        """One step; everything random follows from the seed and its number."""
        draw = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + number)
        at = torch.randint(len(self.samples), (self.settings.batch,), generator=draw).tolist()
        t = torch.randint(len(self.diffusion.alphas), (self.settings.batch,), generator=draw)
        clean = torch.cat([self._clean(self.shown[i]) for i in at])
        noise = torch.randn(clean.shape, generator=draw).to(clean)
        loss = self._loss([self.samples[i] for i in at], [self.shown[i] for i in at], clean, noise, t.to(clean.device))
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.scaler.get_scale() < 1:
            raise InterpError(
                f"step {number}: gradients through float16 are not finite at any scale of the loss; load the model in "
                "bfloat16 or float32"
            )
        return float(loss.detach())

    def scaling(self) -> dict[str, Tensor]:
        """What a run that goes on needs to know of the loss's factor; nothing where none is used."""
        state = self.scaler.state_dict()
        return {f"scaler.{name}": torch.tensor(state[name]) for name in SCALING if name in state}

    def restore_scaling(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `scaling` gave, found among a checkpoint's tensors."""
        if self.scaler.is_enabled():
            kept = {name: state[f"scaler.{name}"].item() for name in SCALING}
            self.scaler.load_state_dict(self.scaler.state_dict() | kept)

    def _loss(
        self, prompts: list[Sample], shown: list[Sample], clean: Tensor, noise: Tensor, t: Int[Tensor, "sample"]
    ) -> Float[Tensor, ""]:
        with torch.autocast(clean.device.type, dtype=self.mixed, enabled=self.mixed is not None):
            tokens = capture.tokenise(self.model, [s.native.noun_only.text for s in prompts])
            given = capture.condition(self.model, tokens, {self.site: lambda h, _: self.net(h)}, gradient=True)
            noisy = self.diffusion.noised(clean, noise, t)
            predicted = predict(self.model, noisy, t, given, self.side)
            if self.settings.loss == "noise":
                return _mse(predicted, self.diffusion.target(clean, noise, t))
            found = self.diffusion.clean(predicted, noisy, t)
            if self.settings.loss == "latent":
                return _mse(found, clean)
        # apart: the autoencoder overflows in float16
        drawn = self._decode(found)
        wanted = torch.cat([self._pixels(s) for s in shown])
        if self.lpips is not None:
            return self.lpips(drawn.float(), wanted).mean()
        return _mse(drawn, wanted)

    def _pixels(self, sample: Sample) -> Float[Tensor, "1 3 h w"]:
        """The reference picture in [−1, 1], cut to a square of the model's size."""
        image = self.bench.image(sample)
        if image.size != (self.side, self.side):
            from PIL import Image, ImageOps

            image = ImageOps.fit(image, (self.side, self.side), Image.Resampling.LANCZOS)
        values = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        return (values.float() / 127.5 - 1).to(self.model.device)

    @torch.no_grad()
    def _clean(self, sample: Sample) -> Float[Tensor, "1 channel h w"]:
        """Latents x₀ of the reference picture: the mode, so that nothing is drawn."""
        if sample.image not in self._latents:
            found = self.vae.encode(self._pixels(sample).to(self.vae.dtype)).latent_dist.mode()
            self._latents[sample.image] = (found.float() - _shift(self.vae)) * self.vae.config.scaling_factor
        return self._latents[sample.image]

    def _decode(self, latents: Tensor) -> Float[Tensor, "sample 3 h w"]:
        vae, half = self.vae, torch.bfloat16
        given = (latents / vae.config.scaling_factor + _shift(vae)).to(vae.dtype)
        with torch.autocast(given.device.type, dtype=half, enabled=self.mixed is half):
            return vae.decode(given, return_dict=False)[0].float()

    # --------------------------------------------------------------------------------------------------------- files

    def _refuse_others(self, found: dict[str, Any]) -> None:
        other = [k for k in self.known if found.get(k) != self.known[k]]
        if other:
            raise InterpError(f"{self.folder} holds a run with another {', '.join(other)}; name another folder")

    def _resume(self) -> list[float]:
        """Losses so far; module and optimiser as they were."""
        if not (self.folder / STATE).is_file():
            return []
        state, record = tensors.read_state(self.folder / STATE, "remove it to train again")
        self._refuse_others(record["known"])
        self.net.load_state_dict({k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")})
        moments = {
            n: {k: state[f"{k}.{n}"] for k in ("step", "exp_avg", "exp_avg_sq")}
            for n in range(len(list(self.net.parameters())))
        }
        packed = self.optimiser.state_dict() | {"state": moments}
        self.optimiser.load_state_dict(packed)
        self.restore_scaling(state)
        self.seconds = float(record["seconds"])
        return list(record["losses"])

    def _keep(self, losses: list[float]) -> None:
        """Checkpoint: one file, so that a kill leaves the old one or the new one."""
        state = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        for n, moments in self.optimiser.state_dict()["state"].items():
            state |= {f"{k}.{n}": v.clone() for k, v in moments.items()}
        seconds = self.seconds + time.time() - self.begun
        record = {"known": self.known, "losses": losses, "seconds": seconds}
        tensors.write_state(self.folder / STATE, state | self.scaling(), record)

    def _finish(self, losses: list[float], seconds: float) -> EnhancerRef:
        """Weights, configuration, manifest and card; the checkpoints go."""
        started = store.new_manifest(
            "interp.train_enhancer",
            stage=STAGE,
            config=self.known,
            seeds={"training": self.settings.seed},
            model_digest=self.model.model_digest,
            encoder_digest=self.model.encoder_digest,
            benchmark_digest=self.bench.digest,
            device=str(self.model.device),
        )
        manifest = started.model_copy(update={"wall_seconds": round(seconds, 1)})
        store.write_manifest(self.folder, manifest)
        store.atomic_write_text(
            self.folder / CARD, card(manifest, self.settings, self.model.name, self.bench.name, losses)
        )
        curve = [float(np.mean(part)) for part in np.array_split(losses, min(50, len(losses)))]
        store.write_sealed(self.folder / "losses.json", {"mean_by_part": curve, "steps": len(losses)})
        ref = enhancer.write(self.folder, self.net, self.site, self.model.encoder_digest)
        (self.folder / STATE).unlink(missing_ok=True)
        return ref


def card(manifest: store.Manifest, how: EnhancerSettings, model: str, bench: str, losses: Sequence[float]) -> str:
    """README.md of an enhancer: what it is, what it learnt from, how to use it."""
    shuffled = how.references == "shuffled"
    towards = "pictures of other cultures (a control)" if shuffled else "each prompt's own reference picture"
    last = losses[-max(1, len(losses) // 10) :]
    return f"""# Layer enhancer

h̃ = h + g(W₂ σ(W₁ h)) at {code(manifest.config["site"])} of {code(model)}, bottleneck {how.width}; everything else is
untouched.

Trained on the noun-only prompts of the train split of {code(bench)} towards {towards}: {how.steps:,} steps of
{how.batch}, AdamW at {how.rate:g}, loss {code(how.loss)}, seed {how.seed}. Mean loss of the
last tenth: {np.mean(last):.4g}. It fits models with this text encoder alone (digest
{(manifest.encoder_digest or "")[:12]}).

    step = interp.Enhance("<this folder>")
    interp.enhance(model, bench, step)  # measured on the test split

Meant for research on what a text encoder knows. It moves pictures towards those of its train split, stereotypes
included, and says nothing about cultures that are not in it. `manifest.json` says how it was made.
"""


def _supported(model: Adapter) -> DiffusersAdapter:
    if not isinstance(model, DiffusersAdapter) or getattr(model.pipeline, "unet", None) is None:
        raise InterpError(
            f"{model.name}: enhancers are trained through a UNet in one step; this family has none. Known: "
            "AltDiffusion, PEA-Diffusion, SDXL and other pipelines with a UNet"
        )
    if model.placement.offload == "model":
        # a part that has left the device is not there for the backward pass, which needs it last
        raise InterpError(
            f"{model.name}: asked to train through parts that are moved to the device in turn (offload 'model'), but "
            "the backward pass needs all; load it with offload 'sequential' or 'none'"
        )
    return model


def _references(samples: Sequence[Sample], settings: EnhancerSettings) -> list[Sample]:
    """The sample whose picture each prompt is trained towards."""
    if settings.references == "own":
        return list(samples)
    cultures = sorted({s.culture for s in samples})
    if len(cultures) < 2:
        raise InterpError(f"shuffled references need several cultures; the train split has {', '.join(cultures)}")
    draw = np.random.default_rng(settings.seed)
    by_culture = group(samples, lambda s: s.culture)
    others = {c: [o for o in cultures if o != c] for c in cultures}
    out = []
    for sample in samples:
        culture = others[sample.culture][draw.integers(len(others[sample.culture]))]
        out.append(by_culture[culture][draw.integers(len(by_culture[culture]))])
    return out


def _mixed(model: DiffusersAdapter, settings: EnhancerSettings) -> torch.dtype | None:
    """The half precision that frozen parts in float32 compute in; None where they keep their own."""
    if not settings.mixed or model.device.type != "cuda" or model.denoiser.dtype != torch.float32:
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _steady(vae: Any, device: torch.device) -> Any:
    """The autoencoder; one that must not run in float16, as its configuration says, is copied to float32."""
    if vae.dtype != torch.float16 or not vae.config.get("force_upcast"):
        return vae
    from accelerate.utils.modeling import get_state_dict_offloaded_model

    offloaded = any(p.device.type == "meta" for p in vae.parameters())
    made = type(vae).from_config(vae.config)
    made.load_state_dict(get_state_dict_offloaded_model(vae) if offloaded else vae.state_dict())
    return made.float().to(device).eval().requires_grad_(False)


def _shift(vae: Any) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0


def _mse(a: Tensor, b: Tensor) -> Float[Tensor, ""]:
    return torch.nn.functional.mse_loss(a.float(), b.float())
