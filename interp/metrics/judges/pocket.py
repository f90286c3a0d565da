"""The pocket judge: which culture, and which noun, an image of the pocket world shows.

It sees pixels alone, never the prompt. Trained by tools/pocket/train.py on real composites; says nothing about images
of the real world.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp import tensors
from interp.benchmarks import pocket
from interp.benchmarks.images import Picture
from interp.metrics.judges.base import Verdicts
from interp.metrics.pocket_vision import Stage, batches, pooled, scaled
from interp.models.placement import resolve_device
from interp.session import session
from interp.store import sha256_file
from interp.types import UNRECOGNISABLE

WIDTHS = (24, 48, 96, 192)


class JudgeNet(nn.Module):
    """A small residual network with two heads."""

    def __init__(self, cultures: int, nouns: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTHS[0], 5, 2, 2), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU())
        self.stages = nn.Sequential(*[Stage(a, b, nn.ReLU, bias=True) for a, b in itertools.pairwise(WIDTHS)])
        self.culture = nn.Linear(2 * WIDTHS[-1], cultures)
        self.noun = nn.Linear(2 * WIDTHS[-1], nouns)

    def forward(self, x: Float[Tensor, "sample 3 h w"]) -> tuple[Tensor, Tensor]:
        """Logits of (culture, noun) of images in [-1, 1]."""
        states = pooled(self.stages(self.stem(x)))
        return self.culture(states), self.noun(states)


@dataclass(frozen=True)
class PocketJudge:
    """Judges images of the pocket world."""

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
    def __call__(self, images: Sequence[Picture], items: Sequence[str] = ()) -> Verdicts:
        """Answer for every image; it is asked no question, so there is nothing to rotate.

        Raises:
            InterpError: images of another size than those it was trained on.
        """
        logits = [self.net(scaled(part, self.device)) for part in batches(images, "the pocket judge")]
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
    """The shipped judge in float32, one copy per device.

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
