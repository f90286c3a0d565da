"""pocket-clip: how well an image of the pocket world fits a caption, by the cosine of two small towers.

Its image tower shares no weight with the pocket judge, and its text tower none with the text encoder of the pocket
model, so that a measure does not share its eyes with another, nor with what it measures. It reads captions in the 16
languages of the pocket world. Trained by tools/pocket/train_clip.py on the train split; says nothing about images of
the real world, and is no CLIP model.
"""

import hashlib
import itertools
import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp import tensors
from interp.benchmarks import pocket
from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics.pocket_vision import Stage, batches, pooled, scaled
from interp.models.placement import resolve_device
from interp.session import session
from interp.store import sha256_file

FOLDER = pocket.ASSETS / "clip"
WEIGHTS, CARD = "clip.safetensors", "clip.json"
D_TOWER = 128
"""Width of both towers' vectors."""
WIDTHS = (16, 32, 64, 96)
"""Channels of the image tower, from the stem on; each stage halves the side."""
ORDERS = (1, 2, 3, 4)
"""Lengths of the character n-grams of a caption."""
BUCKETS = 2560
"""Rows of the table of n-grams."""
HASHES = 2
"""Rows that an n-gram is the sum of: two n-grams seldom share both (Svenstrup et al. 2017, hash embeddings)."""


def grams(text: str) -> list[int]:
    """The table rows of a caption's character n-grams, which cross spaces, since not every script has them."""
    plain = "^" + " ".join(unicodedata.normalize("NFKC", text).casefold().split()) + "$"
    different = {plain[i : i + n] for n in ORDERS for i in range(len(plain) - n + 1)}
    return [row for gram in sorted(different) for row in _rows(gram)]


@lru_cache(1 << 16)
def _rows(gram: str) -> tuple[int, ...]:
    words = hashlib.blake2b(gram.encode(), digest_size=4 * HASHES).digest()
    return tuple(int.from_bytes(words[i : i + 4], "little") % BUCKETS for i in range(0, len(words), 4))


class PictureTower(nn.Module):
    """A small residual network on images in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(3, WIDTHS[0], 5, 2, 2, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.SiLU()
        stages = [Stage(a, b, nn.SiLU, bias=False) for a, b in itertools.pairwise(WIDTHS)]
        self.layers = nn.Sequential(*stem, *stages)
        self.out = nn.Linear(2 * WIDTHS[-1], D_TOWER)

    def forward(self, x: Float[Tensor, "sample 3 h w"]) -> Float[Tensor, "sample d_tower"]:
        """Vectors of length one."""
        return nn.functional.normalize(self.out(pooled(self.layers(x))), dim=-1)


class TextTower(nn.Module):
    """The mean of the n-grams' vectors, then one residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(BUCKETS, D_TOWER, mode="mean")
        nn.init.normal_(self.table.weight, std=0.005)
        self.norm = nn.LayerNorm(D_TOWER)
        self.block = nn.Sequential(nn.Linear(D_TOWER, D_TOWER), nn.GELU(), nn.Linear(D_TOWER, D_TOWER))

    def forward(self, rows: Int[Tensor, "gram"], starts: Int[Tensor, "sample"]) -> Float[Tensor, "sample d_tower"]:
        """Vectors of length one, of captions whose n-grams lie behind one another."""
        x = self.norm(self.table(rows, starts))
        return nn.functional.normalize(x + self.block(x), dim=-1)


class PocketClipNet(nn.Module):
    """Both towers and the temperature that they learn with."""

    def __init__(self) -> None:
        super().__init__()
        self.picture, self.text = PictureTower(), TextTower()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.log_scale.device

    def see(self, pixels: Tensor) -> Float[Tensor, "sample d_tower"]:
        """Vectors of images [sample 3 h w] in 0..255."""
        return self.picture(scaled(pixels, self.device))

    def read(self, texts: Sequence[str]) -> Float[Tensor, "sample d_tower"]:
        """Vectors of captions."""
        bags = [grams(t) for t in texts]
        starts = list(itertools.accumulate((len(b) for b in bags), initial=0))[: len(bags)]
        rows = torch.tensor(list(itertools.chain.from_iterable(bags)), dtype=torch.long, device=self.device)
        return self.text(rows, torch.tensor(starts, dtype=torch.long, device=self.device))


@dataclass(frozen=True)
class PocketClip:
    """Images and captions of the pocket world as vectors whose cosine says how well they fit."""

    net: PocketClipNet
    digest: str
    """Of its weights."""
    name: str = "pocket-clip"
    languages: Literal["native"] = "native"
    """It reads the captions' own languages, English among them."""

    @staticmethod
    def card(folder: Path = FOLDER) -> dict[str, Any]:
        """What was measured when it was made, on composites of the test split, and what it does not say."""
        return json.loads((folder / CARD).read_text())

    @torch.no_grad()
    def images(self, images: Sequence[Picture]) -> Float[Tensor, "sample d_tower"]:
        """Unit vectors of images, on the CPU.

        Raises:
            InterpError: images of another size than those it was trained on.
        """
        return torch.cat([self.net.see(part) for part in batches(images, "pocket-clip")]).cpu()

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "sample d_tower"]:
        """Unit vectors of captions, on the CPU. One in unknown letters has a vector too, which means nothing.

        Raises:
            InterpError: an empty caption.
        """
        if empty := [i for i, t in enumerate(texts) if not t.strip()]:
            raise InterpError(f"caption {empty[0]} of {len(texts)} is empty; pocket-clip needs the text of a caption")
        return self.net.read(texts).cpu()


def load_pocket_clip(folder: Path = FOLDER, device: str | torch.device | None = "cpu") -> PocketClip:
    """The shipped towers in float32, one copy per device.

    Raises:
        InterpError: the device is not there.
    """
    return _loaded(folder, resolve_device(device))


@session.remembers(4)
def _loaded(folder: Path, device: torch.device) -> PocketClip:
    net = PocketClipNet().eval().requires_grad_(False)
    net.load_state_dict(tensors.read_shipped(folder / WEIGHTS))
    return PocketClip(net.to(device), sha256_file(folder / WEIGHTS))
