"""What the judge and the tower of the pocket world share: residual stages, and images of its one size."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp.benchmarks import pocket
from interp.benchmarks.images import Picture
from interp.errors import InterpError

BATCH = 256


class Stage(nn.Module):
    """Halve the side, then one residual block."""

    def __init__(self, before: int, after: int, activation: Callable[[], nn.Module], bias: bool) -> None:
        super().__init__()

        def convolution(width: int, stride: int) -> tuple[nn.Module, nn.Module]:
            return nn.Conv2d(width, after, 3, stride, 1, bias=bias), nn.BatchNorm2d(after)

        self.down = nn.Sequential(*convolution(before, 2), activation())
        self.block = nn.Sequential(*convolution(after, 1), activation(), *convolution(after, 1))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return self.activation(x + self.block(x))


def pooled(states: Float[Tensor, "sample d h w"]) -> Float[Tensor, "sample two_d"]:
    """Mean and maximum of each channel."""
    return torch.cat([states.mean((2, 3)), states.amax((2, 3))], 1)


def batches(images: Sequence[Picture], who: str) -> tuple[Tensor, ...]:
    """The pixels in 0..255, [sample 3 h w], `BATCH` images at a time.

    Raises:
        InterpError: images of another size than those that `who` was trained on.
    """
    side = pocket.SIDE
    if other := {image.shape for image in images} - {(side, side, 3)}:
        raise InterpError(f"{who} knows pictures of {side}×{side} pixels alone; found {other.pop()}")
    return torch.from_numpy(np.array(images, np.uint8).reshape(-1, side, side, 3)).permute(0, 3, 1, 2).split(BATCH)


def scaled(pixels: Tensor, device: torch.device) -> Float[Tensor, "sample 3 h w"]:
    """Pixels in 0..255 as the networks take them: in [-1, 1], on their device."""
    return pixels.to(device).float() / 127.5 - 1
