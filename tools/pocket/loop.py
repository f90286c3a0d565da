"""A training loop that survives a kill: checkpoints, EMA, a log of the loss curve, a step or a time budget."""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn


class Loop:
    """Run `step(i) → loss` to a number of steps, resuming from the folder's checkpoint if there is one."""

    def __init__(
        self,
        folder: Path,
        modules: dict[str, nn.Module],
        *,
        lr: float,
        steps: int,
        warmup: int = 200,
        ema: float = 0.0,
        weight_decay: float = 0.01,
        final: float = 0.05,
        minutes: float | None = None,
        checkpoint_seconds: float = 120,
    ) -> None:
        """Args: lr peak; steps in all; final, the share of lr at the end of the cosine; ema decay (0 for none);
        minutes, a time budget that ends the cosine and the training earlier than steps would."""
        self.folder, self.modules = folder, modules
        self.lr, self.steps, self.warmup, self.decay, self.final = lr, steps, warmup, ema, final
        self.checkpoint_seconds, self.minutes = checkpoint_seconds, minutes
        folder.mkdir(parents=True, exist_ok=True)
        self.parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99))
        self.ema = [p.detach().clone() for p in self.parameters] if ema else []
        self.done, self.seconds = 0, 0.0
        self.path = folder / "checkpoint.pt"
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            for name, module in modules.items():
                module.load_state_dict(state["modules"][name])
            self.optimiser.load_state_dict(state["optimiser"])
            self.done, self.seconds = state["done"], state["seconds"]
            for mine, saved in zip(self.ema, state["ema"], strict=True):
                mine.copy_(saved)

    def share(self, i: int) -> float:
        """How much of the training is behind, by steps or by the clock."""
        by_clock = self.seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(i / self.steps, by_clock))

    def rate(self, i: int) -> float:
        """Warm-up, then a cosine to `final` of the peak."""
        share = self.share(i)
        return min(1.0, (i + 1) / self.warmup) * (self.final + (1 - self.final) * (1 + math.cos(math.pi * share)) / 2)

    def run(self, step: Callable[[int], Tensor], every: int = 50) -> None:
        """Train to the last step."""
        start = saved = time.monotonic()
        before, losses = self.seconds, []
        while self.share(self.done) < 1:
            for group in self.optimiser.param_groups:
                group["lr"] = self.lr * self.rate(self.done)
            loss = step(self.done)
            loss.backward()
            norm = float(nn.utils.clip_grad_norm_(self.parameters, 1.0))
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            decay = min(self.decay, (1 + self.done) / (10 + self.done))
            if self.ema:
                torch._foreach_lerp_(self.ema, [p.detach() for p in self.parameters], 1 - decay)
            self.done += 1
            losses.append(loss.item())
            self.seconds = before + time.monotonic() - start
            if self.done % every == 0:
                line = {
                    "step": self.done,
                    "loss": sum(losses) / len(losses),
                    "grad_norm": norm,
                    "seconds": round(self.seconds, 1),
                }
                with (self.folder / "log.jsonl").open("a") as log:
                    log.write(json.dumps(line) + "\n")
                losses = []
            if time.monotonic() - saved > self.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
        self.save()

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "modules": {k: m.state_dict() for k, m in self.modules.items()},
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema,
            "done": self.done,
            "seconds": self.seconds,
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.path)

    def use_ema(self) -> None:
        """Put the averaged weights into the modules."""
        for p, average in zip(self.parameters, self.ema, strict=True):
            p.data.copy_(average)
