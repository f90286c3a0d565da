"""CLIPScore: how well an image fits a caption, as the cosine of their embeddings in a tower."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp import store
from interp.benchmarks.images import Picture
from interp.metrics import base
from interp.metrics.base import Caption, Direction, Scores
from interp.metrics.towers import Tower
from interp.types import Sample


@dataclass(frozen=True)
class ClipScore:
    """cos(image, caption), raw, as the paper's 0.21 to 0.29 are.

    Hessel et al. 2021 (CLIPScore, arXiv 2104.08718) report 2.5 · max(cos, 0); that is not done here.
    """

    tower: Tower
    caption: Caption = "noun_only"
    """Which caption of a sample; in the language that the tower reads."""
    batch: int = 32
    """Images at once."""
    unit: str = "cosine"
    direction: Direction = "higher"
    grouped: bool = False

    @property
    def name(self) -> str:
        """`clipscore:<tower>`, with the caption if it is not the one that the systems are given."""
        return f"clipscore:{self.tower.name}" + f":{self.caption}" * (self.caption != "noun_only")

    @property
    def digest(self) -> str:
        """Over the tower's digest and the caption's kind."""
        return store.sha256_bytes(f"cosine {self.caption} {self.tower.digest}".encode())

    def key(self, sample: Sample) -> str:
        """The caption."""
        return base.caption(sample, self.caption, self.tower.languages)

    def measure(self, images: Sequence[Picture], samples: Sequence[Sample]) -> Scores:
        """The cosine of each image with its sample's caption; a caption that several share is embedded once."""
        if not images:
            return Scores(np.empty(0))
        captions = [self.key(s) for s in samples]
        different = list(dict.fromkeys(captions))
        texts = self.tower.texts(different)[[different.index(c) for c in captions]]
        return Scores((self.tower.images(images) * texts).sum(-1).double().numpy())
