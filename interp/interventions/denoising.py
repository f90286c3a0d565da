"""One step of a UNet's denoiser, as training through it needs."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InterpError
from interp.models.diffusers_adapter import DiffusersAdapter
from interp.models.records import Conditioning


@dataclass(frozen=True)
class NoiseSchedule:
    """x_t = √ᾱ_t x₀ + √(1−ᾱ_t) ε."""

    alphas: Float[Tensor, "time"]
    """ᾱ_t."""
    kind: str
    """What the denoiser predicts: `epsilon`, `v_prediction` or `sample`."""

    def noised(self, clean: Tensor, noise: Tensor, t: Int[Tensor, "sample"]) -> Tensor:
        """x_t."""
        signal, spread = self._weights(t, clean)
        return signal * clean + spread * noise

    def clean(self, predicted: Tensor, noisy: Tensor, t: Int[Tensor, "sample"]) -> Tensor:
        """x̂₀ from what was predicted."""
        signal, spread = self._weights(t, noisy)
        if self.kind == "epsilon":
            return (noisy - spread * predicted) / signal
        return predicted if self.kind == "sample" else signal * noisy - spread * predicted

    def target(self, clean: Tensor, noise: Tensor, t: Int[Tensor, "sample"]) -> Tensor:
        """What the denoiser should have predicted."""
        signal, spread = self._weights(t, clean)
        return {"epsilon": noise, "sample": clean, "v_prediction": signal * noise - spread * clean}[self.kind]

    def _weights(self, t: Int[Tensor, "sample"], like: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.alphas.to(like.device)[t].to(like.dtype).reshape(-1, 1, 1, 1)
        return alpha.sqrt(), (1 - alpha).sqrt()


def schedule_of(model: DiffusersAdapter) -> NoiseSchedule:
    """The schedule of a model's sampler.

    Raises:
        InterpError: it is of a kind that has none in this form.
    """
    scheduler = model.pipeline.scheduler
    kind = scheduler.config.prediction_type
    if not hasattr(scheduler, "alphas_cumprod") or kind not in ("epsilon", "v_prediction", "sample"):
        raise InterpError(
            f"{model.name}: the sampler {type(scheduler).__name__} with {kind!r} gives no noise schedule that is known "
            "here; use one of diffusers' with alphas_cumprod"
        )
    return NoiseSchedule(scheduler.alphas_cumprod, kind)


def predict(
    model: DiffusersAdapter, noisy: Tensor, t: Int[Tensor, "sample"], conditioning: Conditioning, side: int
) -> Tensor:
    """What the denoiser says of noisy latents under a conditioning, without guidance."""
    unet = model.denoiser
    extra: dict[str, Any] = {}
    if unet.config.addition_embed_type == "text_time":
        sizes = torch.tensor([[side, side, 0, 0, side, side]] * len(noisy), device=noisy.device, dtype=unet.dtype)
        assert conditioning.pooled is not None
        extra["added_cond_kwargs"] = {"text_embeds": conditioning.pooled.to(unet.dtype), "time_ids": sizes}
    return unet(noisy.to(unet.dtype), t, conditioning.embeds.to(unet.dtype), **extra, return_dict=False)[0].float()
