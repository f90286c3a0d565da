"""Pictures on disk: read, write, and tell the same and nearly the same ones apart."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import fft

from interp.errors import InterpError
from interp.store import atomic_write_bytes

Picture = UInt8[np.ndarray, "_ _ rgb"]
"""One picture, height × width × RGB; sizes are not bound, so that pictures of one call may differ."""
SIDE, BITS = 32, 8
"""Of the perceptual hash: pixels a side that are transformed, and frequencies a side that are kept."""
NEAR = 4
"""Bits of 64 in which two hashes of one picture may differ after rescaling or recompression."""
SHADE = 10.0
"""Mean difference, in levels of 255, that the same reworking may leave in the colours."""
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for a file that is no sound picture."""


def read(path: Path) -> Image.Image:
    """A picture as RGB.

    Raises:
        InterpError: the file is missing or is no sound picture.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except _UNREADABLE as error:
        raise InterpError(f"{path} is no sound picture: {error}; put it there again") from error


def write(path: Path, picture: Picture) -> None:
    """A picture as PNG, whole or not at all."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    atomic_write_bytes(path, buffer.getvalue())


def digest(picture: Picture) -> str:
    """SHA-256 over size and RGB values: the same for whatever file holds the picture."""
    height, width, _ = picture.shape
    return hashlib.sha256(f"{width}x{height}\0".encode() + np.ascontiguousarray(picture).tobytes()).hexdigest()


@dataclass(frozen=True)
class Looks:
    """What a picture looks like from afar."""

    bits: int
    """Perceptual hash, 64 bits."""
    colours: Float[np.ndarray, "eight eight rgb"]
    """The picture at 8×8 pixels, 0 to 255."""


def looks(image: Image.Image) -> Looks:
    """What rescaling, recompression and slight changes of colour leave nearly as it is.

    The bits say which of the lowest 8×8 frequencies of the cosine transform of the 32×32 grey picture are above their
    median (pHash; Zauner 2010).
    """
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE)), dtype=float)
    low = np.asarray(fft.dctn(grey, type=2))[:BITS, :BITS].ravel()
    bits = int("".join("1" if bit else "0" for bit in low > np.median(low)), 2)
    return Looks(bits, np.asarray(image.resize((BITS, BITS), Image.Resampling.BOX), dtype=float))


def near_pairs(seen: Sequence[Looks]) -> list[tuple[int, int]]:
    """Positions of every two pictures that look the same, the earlier first.

    Their hashes differ in at most `NEAR` bits, and their colours by at most `SHADE` levels in the mean: the hash is of
    grey values, and two flags may differ in nothing but colour.
    """
    codes = np.array([s.bits for s in seen], dtype=np.uint64)
    found = []
    for i in range(len(codes) - 1):
        near = np.flatnonzero(np.bitwise_count(codes[i + 1 :] ^ codes[i]) <= NEAR) + i + 1
        found += [(i, j) for j in near.tolist() if np.abs(seen[i].colours - seen[j].colours).mean() <= SHADE]
    return found
