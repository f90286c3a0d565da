"""Pictures on disk: read, write, and tell the same and nearly the same ones apart."""

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is opened as a picture. Pillow knows more, and hands some of them to other programs, as PostScript."""
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for a file that is no sound picture."""
_PNG, _STEP = 8, 1 << 20
"""Bytes before the first chunk of a PNG, and those that are inflated at once."""


def read(path: Path) -> Image.Image:
    """A picture as RGB. The checksums of a PNG are verified, which Pillow leaves out for the pixels.

    Raises:
        InterpError: the file is missing or is no sound picture.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            rgb = image.convert("RGB")
            if image.format == "PNG":
                _verify(path.read_bytes(), image.width, image.height)
            return rgb
    except UNREADABLE as error:
        raise InterpError(f"{path} is no sound picture: {error}; put it there again") from error


def _verify(data: bytes, width: int, height: int) -> None:
    """Raise ValueError or zlib.error unless every chunk of a PNG, and its pixels as a whole, have their checksums."""
    at, kind, stream = _PNG, b"", zlib.decompressobj()
    left = (8 * width + 2) * height + _STEP  # of what the pixels may be at most, so that a bomb is not inflated
    while kind != b"IEND":
        if len(data) < at + 12:
            raise ValueError("it is cut off")
        length, kind = struct.unpack_from(">I4s", data, at)
        body, end = data[at + 8 : at + 8 + length], at + 8 + length
        if zlib.crc32(kind + body).to_bytes(4, "big") != data[end : end + 4]:
            raise ValueError(f"its part {kind!r} at byte {at} is damaged")
        if kind == b"IDAT":
            left -= _inflated(stream, body, left)
        at = end + 4
    if not stream.eof:
        raise ValueError("its pixels are cut off")


def _inflated(stream: Any, body: bytes, most: int) -> int:
    """How many bytes a part of the pixels has."""
    size = 0
    while body and not stream.eof:
        size += len(stream.decompress(body, _STEP))
        body = stream.unconsumed_tail
        if size > most:
            raise ValueError("it holds more than its pixels")
    return size


def check_inside(path: Path, folder: Path) -> None:
    """Refuse to write where a name or a link leads out of a folder.

    Raises:
        InterpError: with the place that it leads to.
    """
    root, real = os.path.realpath(folder), os.path.realpath(path)
    if real == root or os.path.commonpath([root, real]) != root:
        raise InterpError(f"{path} would be written to {real}, outside {folder}; rename it, or remove the link there")


def write(path: Path, picture: Picture, folder: Path | None = None) -> None:
    """A picture as PNG, whole or not at all.

    Args:
        path: of the file.
        picture: its pixels.
        folder: in which it has to stay, links followed; the one that holds it if None.

    Raises:
        InterpError: it would lie outside the folder.
    """
    check_inside(path, path.parent if folder is None else folder)
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


def near_pairs(looks: Sequence[Looks]) -> list[tuple[int, int]]:
    """Positions of every two pictures that look the same, the earlier first.

    Their hashes differ in at most `NEAR` bits, and their colours by at most `SHADE` levels in the mean: the hash is of
    grey values, and two flags may differ in nothing but colour.
    """
    codes = np.array([one.bits for one in looks], dtype=np.uint64)
    pairs = []
    for i in range(len(codes) - 1):
        near = np.flatnonzero(np.bitwise_count(codes[i + 1 :] ^ codes[i]) <= NEAR) + i + 1
        pairs += [(i, j) for j in near.tolist() if np.abs(looks[i].colours - looks[j].colours).mean() <= SHADE]
    return pairs
