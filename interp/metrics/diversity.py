"""Diversity: how far the images that different seeds give for one sample are from each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.grouping import group
from interp.metrics.base import Direction, Scores
from interp.metrics.lpips import load_net, packs
from interp.types import Sample


class Diversity:
    """Mean LPIPS distance of an image to the other images of its sample; NaN where there is no other.

    The mean over the n images of a sample is the mean over its n(n−1)/2 pairs.
    """

    unit = "distance"
    direction: Direction = "higher"
    grouped = True
    batch = 256

    def __init__(self, net: str = "alex", weights: Path | None = None, device: str | torch.device = "cpu") -> None:
        """Load a network, as `lpips.load_net`."""
        self.name = f"diversity-{net}"
        self.net = load_net(net, weights, device)
        self.digest = self.net.digest

    def key(self, sample: Sample) -> str:
        """Nothing: the other images of the sample are all it is compared with."""
        return ""

    def measure(self, images: Sequence[Picture], samples: Sequence[Sample]) -> Scores:
        """Mean distances to the other images of the same sample; all of a sample have to be in one call.

        Raises:
            InterpError: if the images of a sample differ in size, or are too small for the network.
        """
        groups = group(range(len(samples)), lambda i: samples[i].id)
        for name, places in groups.items():
            if len(sizes := {images[i].shape[:2] for i in places}) > 1:
                listed = ", ".join(f"{width}×{height}" for height, width in sorted(sizes))
                raise InterpError(
                    f"{self.name} of {name}: its pictures differ in size ({listed}); make them of one size"
                )
        values = np.full(len(samples), np.nan)
        for pack in packs([places for places in groups.values() if len(places) > 1], images):
            rows = self.net.embed_images([images[i] for places in pack for i in places])
            for places, part in zip(pack, rows.split([len(places) for places in pack]), strict=True):
                values[places] = (_distances(part).sum(1) / (len(places) - 1)).cpu().numpy()
        return Scores(values)


def _distances(rows: Float[Tensor, "sample feature"]) -> Float[Tensor, "sample sample"]:
    """Squared Euclidean distances by differences, which lose no digits where rows are alike, as a product would."""
    return torch.stack([(rows - row).square().sum(1) for row in rows])
