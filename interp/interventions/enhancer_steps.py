"""One step of training a layer enhancer (Eq. 11–13): prompts, reference images, one pass of the frozen denoiser."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp import bounds
from interp.activations import capture
from interp.benchmarks.benchmark import Benchmark
from interp.errors import InterpError
from interp.grouping import group
from interp.interventions.denoising import NoiseSchedule, predict, schedule_of
from interp.interventions.enhancer import EnhancerNet
from interp.metrics.lpips import LpipsNet, load_net
from interp.models.adapter import Adapter
from interp.models.diffusers_adapter import DiffusersAdapter
from interp.types import Sample, Site

Loss = Literal["pixel", "latent", "noise", "perceptual"]
LOSSES: tuple[str, ...] = get_args(Loss)


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


@dataclass(frozen=True)
class Objective:
    """What an enhancer is trained by; nothing of it learns."""

    model: DiffusersAdapter
    bench: Benchmark
    site: Site
    settings: EnhancerSettings
    pairs: tuple[tuple[Sample, Sample], ...]
    """Samples with prompts, and those whose images they are trained towards."""
    schedule: NoiseSchedule
    side: int
    """Of the images, in pixels."""
    vae: Any
    """The autoencoder, in float32 where it must not run in float16."""
    mixed: torch.dtype | None
    """The half precision that parts in float32 compute in; None where they keep their own."""
    lpips: LpipsNet | None
    """For the perceptual loss."""
    latents: dict[str, Tensor] = field(default_factory=dict)
    """Of the reference images needed so far."""

    @property
    def known(self) -> dict[str, Any]:
        """What decides the result, in plain values."""
        return {
            "settings": asdict(self.settings),
            "site": str(self.site),
            "model": self.model.identity,
            "benchmark": self.bench.digest,
        }


def objective(model: Adapter, bench: Benchmark, site: Site, settings: EnhancerSettings) -> Objective:
    """What an enhancer at a site is trained by.

    Raises:
        InterpError: the family has no UNet, its parts are moved to the device in turn, its sampler is not known, or
            the benchmark has no train split.
    """
    model, samples = _supported(model), bench.samples("train")
    half = None
    if settings.mixed and model.device.type == "cuda" and model.denoiser.dtype == torch.float32:
        half = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return Objective(
        model=model,
        bench=bench,
        site=site,
        settings=settings,
        pairs=tuple(zip(samples, references(samples, settings), strict=True)),
        schedule=schedule_of(model),
        side=model.size or model.own_size,
        vae=_in_safe_precision(model.pipeline.vae, model.device),
        mixed=half,
        lpips=load_net(device=model.device) if settings.loss == "perceptual" else None,
    )


def references(samples: Sequence[Sample], settings: EnhancerSettings) -> list[Sample]:
    """The sample whose image each prompt is trained towards."""
    if settings.references == "own":
        return list(samples)
    by_culture = group(samples, lambda s: s.culture)
    cultures = sorted(by_culture)
    if len(cultures) < 2:
        raise InterpError(f"shuffled references need several cultures; the train split has {', '.join(cultures)}")
    rng = np.random.default_rng(settings.seed)
    shuffled = []
    for sample in samples:
        others = [culture for culture in cultures if culture != sample.culture]
        candidates = by_culture[others[rng.integers(len(others))]]
        shuffled.append(candidates[rng.integers(len(candidates))])
    return shuffled


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


def _in_safe_precision(vae: Any, device: torch.device) -> Any:
    """The autoencoder; one that must not run in float16, as its configuration says, is copied to float32."""
    if vae.dtype != torch.float16 or not vae.config.get("force_upcast"):
        return vae
    from accelerate.utils.modeling import get_state_dict_offloaded_model

    offloaded = any(p.device.type == "meta" for p in vae.parameters())
    copied = type(vae).from_config(vae.config)
    copied.load_state_dict(get_state_dict_offloaded_model(vae) if offloaded else vae.state_dict())
    return copied.float().to(device).eval().requires_grad_(False)


@dataclass
class State:
    """What a training run changes."""

    net: EnhancerNet
    optimiser: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    """Finds a factor on the loss where gradients pass through float16, which would vanish or overflow without."""
    losses: list[float] = field(default_factory=list)
    """Of every step so far."""
    seconds: float = 0.0
    """What earlier processes took."""
    begun: float = field(default_factory=time.time)
    """When this process began."""

    @property
    def spent(self) -> float:
        """Seconds of all processes up to now."""
        return self.seconds + time.time() - self.begun


def begin(by: Objective) -> State:
    """The state before the first step."""
    encoder = by.model.encoder(by.site.encoder)
    net = EnhancerNet(encoder.spec.d_model, by.settings.width, by.settings.seed).to(by.model.device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=by.settings.rate, weight_decay=by.settings.weight_decay)
    passed = {by.mixed, by.model.denoiser.dtype, encoder.module.dtype}
    return State(net, optimiser, torch.amp.GradScaler(by.model.device.type, enabled=torch.float16 in passed))


def step(by: Objective, state: State, number: int) -> float:
    """One step and its loss; the state changes. Everything random follows from the seed and the step's number."""
    rng = torch.Generator().manual_seed(by.settings.seed * 1_000_003 + number)
    batch = [by.pairs[i] for i in torch.randint(len(by.pairs), (by.settings.batch,), generator=rng).tolist()]
    t = torch.randint(len(by.schedule.alphas), (by.settings.batch,), generator=rng)
    clean = torch.cat([clean_latents(by, reference) for _, reference in batch])
    noise = torch.randn(clean.shape, generator=rng).to(clean)
    loss = batch_loss(by, state.net, batch, clean, noise, t.to(clean.device))
    state.optimiser.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()
    state.scaler.step(state.optimiser)
    state.scaler.update()
    if state.scaler.get_scale() < 1:
        raise InterpError(
            f"step {number}: gradients through float16 are not finite at any scale of the loss; load the model in "
            "bfloat16 or float32"
        )
    return float(loss.detach())


def batch_loss(
    by: Objective,
    net: EnhancerNet,
    batch: Sequence[tuple[Sample, Sample]],
    clean: Float[Tensor, "sample channel h w"],
    noise: Float[Tensor, "sample channel h w"],
    t: Int[Tensor, "sample"],
) -> Float[Tensor, ""]:
    """The loss of noun-only prompts under the enhancer against reference images, whose latents are `clean`."""
    with torch.autocast(clean.device.type, dtype=by.mixed, enabled=by.mixed is not None):
        tokens = capture.tokenise(by.model, [sample.native.noun_only.text for sample, _ in batch])
        conditioning = capture.condition(by.model, tokens, {by.site: lambda h, _: net(h)}, gradient=True)
        noisy = by.schedule.noised(clean, noise, t)
        predicted = predict(by.model, noisy, t, conditioning, by.side)
        if by.settings.loss == "noise":
            return _mse(predicted, by.schedule.target(clean, noise, t))
        denoised = by.schedule.clean(predicted, noisy, t)
        if by.settings.loss == "latent":
            return _mse(denoised, clean)
    # apart: the autoencoder overflows in float16
    drawn = _decoded(by, denoised)
    images = torch.cat([pixels(by, reference) for _, reference in batch])
    return _mse(drawn, images) if by.lpips is None else by.lpips(drawn.float(), images).mean()


def pixels(by: Objective, sample: Sample) -> Float[Tensor, "1 3 h w"]:
    """The reference image in [−1, 1], cut to a square of the model's size."""
    image = by.bench.image(sample)
    if image.size != (by.side, by.side):
        from PIL import Image, ImageOps

        image = ImageOps.fit(image, (by.side, by.side), Image.Resampling.LANCZOS)
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    return (values.float() / 127.5 - 1).to(by.model.device)


@torch.no_grad()
def clean_latents(by: Objective, sample: Sample) -> Float[Tensor, "1 channel h w"]:
    """Latents x₀ of the reference image: the mode, so that nothing is random."""
    if sample.image not in by.latents:
        mode = by.vae.encode(pixels(by, sample).to(by.vae.dtype)).latent_dist.mode()
        by.latents[sample.image] = (mode.float() - _shift(by.vae)) * by.vae.config.scaling_factor
    return by.latents[sample.image]


def _decoded(by: Objective, latents: Tensor) -> Float[Tensor, "sample 3 h w"]:
    half = torch.bfloat16
    latents = (latents / by.vae.config.scaling_factor + _shift(by.vae)).to(by.vae.dtype)
    with torch.autocast(latents.device.type, dtype=half, enabled=by.mixed is half):
        return by.vae.decode(latents, return_dict=False)[0].float()


def _shift(vae: Any) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0


def _mse(a: Tensor, b: Tensor) -> Float[Tensor, ""]:
    return torch.nn.functional.mse_loss(a.float(), b.float())
