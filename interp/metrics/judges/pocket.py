"""The pocket judge: which culture, and which noun, a picture of the pocket world shows.

It sees pixels alone, never the prompt. Trained by tools/pocket/train.py on real composites; says nothing about
pictures of the real world.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp import tensors
from interp.benchmarks import pocket
from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics.judges.base import Verdicts
from interp.models.placement import resolve_device
from interp.session import session
from interp.store import sha256_file
from interp.types import UNRECOGNISABLE

BATCH = 256
WIDTHS = (24, 48, 96, 192)


class JudgeNet(nn.Module):
    """A small residual network with two heads."""

    def __init__(self, cultures: int, nouns: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTHS[0], 5, 2, 2), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU())
        self.stages = nn.Sequential(*[_Stage(a, b) for a, b in itertools.pairwise(WIDTHS)])
        self.culture = nn.Linear(2 * WIDTHS[-1], cultures)
        self.noun = nn.Linear(2 * WIDTHS[-1], nouns)

    def forward(self, x: Float[Tensor, "sample 3 h w"]) -> tuple[Tensor, Tensor]:
        """Logits of (culture, noun) of pictures in [-1, 1]."""
        states = self.stages(self.stem(x))
        pooled = torch.cat([states.mean((2, 3)), states.amax((2, 3))], 1)
        return self.culture(pooled), self.noun(pooled)


class _Stage(nn.Module):
    """Halve the side, then one residual block."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(after, after, 3, 1, 1),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1),
            nn.BatchNorm2d(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return torch.relu(x + self.block(x))


@dataclass(frozen=True)
class PocketJudge:
    """Judge pictures of the pocket world."""

    net: JudgeNet
    temperature: tuple[float, float]
    """Of the culture and the noun logits, fitted on the detection split."""
    digest: str = ""
    """Of its weights."""
    name: str = "pocket"

    @property
    def labels(self) -> tuple[str, ...]:
        """The sixteen answers."""
        return (*pocket.cultures(), UNRECOGNISABLE)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.net.culture.weight.device

    @staticmethod
    def card(folder: Path = pocket.ASSETS / "judge") -> dict[str, Any]:
        """What was measured when the judge was made: accuracies and the confusion matrix on held-out composites."""
        return json.loads((folder / "judge.json").read_text())

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture], items: Sequence[str] = ()) -> Verdicts:
        """Answer for every picture; it is asked no question, so there is nothing to rotate.

        Raises:
            InterpError: pictures of another size than those it was trained on.
        """
        side = pocket.SIDE
        if other := {p.shape for p in pictures} - {(side, side, 3)}:
            raise InterpError(f"the pocket judge knows pictures of {side}×{side} pixels alone; found {other.pop()}")
        batches = torch.from_numpy(np.stack(pictures)).split(BATCH)
        logits = [self.net(b.to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1) for b in batches]
        culture, noun = (
            (torch.cat([row[i] for row in logits]) / self.temperature[i]).softmax(-1).cpu().numpy() for i in (0, 1)
        )
        return Verdicts(
            tuple(self.labels[i] for i in culture.argmax(-1)),
            tuple(pocket.nouns()[i] for i in noun.argmax(-1)),
            culture,
            noun,
        )


def load_judge(folder: Path = pocket.ASSETS / "judge", device: str | torch.device | None = "cpu") -> PocketJudge:
    """The shipped judge in float32, one copy a device.

    Args:
        folder: holds its weights and card.
        device: where it computes; None for what is there.

    Raises:
        InterpError: the device is not there.
    """
    return _loaded(folder, resolve_device(device))


@session.remembers(4)
def _loaded(folder: Path, device: torch.device) -> PocketJudge:
    net = JudgeNet(len(pocket.cultures()) + 1, len(pocket.nouns())).eval()
    net.load_state_dict(tensors.read_shipped(folder / "judge.safetensors"))
    culture, noun = PocketJudge.card(folder)["temperature"]
    return PocketJudge(net.to(device), (culture, noun), sha256_file(folder / "judge.safetensors"))
