"""Pictures of imported rows: found in a user's folder, read, and written as PNG."""

import io
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from interp import store
from interp.benchmarks import images
from interp.errors import InterpError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def among(folder: Path) -> dict[str, Path]:
    """The pictures below a folder, by file name without its suffix; the first of a name in the order of paths."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(path.stem, path)
    return found


def name_of(url: str) -> str:
    """How the picture at a URL is called in a user's folder: the SHA-256 of the URL."""
    return store.sha256_bytes(url.encode())


class Shelf:
    """A folder that keeps the pictures of rows until the benchmark is written: one file for each different picture."""

    def __init__(self, folder: Path, side: int | None) -> None:
        """An empty shelf.

        Args:
            folder: an empty folder.
            side: longest side of a picture in pixels; None to keep their sizes.
        """
        self._folder = folder
        self._side = side
        self._known: dict[Path, str] = {}
        self._looks: dict[str, images.Looks] = {}

    def put(self, picture: bytes | Path) -> str:
        """Keep a picture, as RGB in PNG, turned upright and, where it is transparent, laid on white.

        Returns:
            Its path in the benchmark.

        Raises:
            InterpError: if it is no sound picture.
        """
        if isinstance(picture, Path) and picture in self._known:
            return self._known[picture]
        image = _rgb(picture)
        if self._side is not None:
            image.thumbnail((self._side, self._side), Image.Resampling.LANCZOS)
        name = f"images/{images.digest(np.asarray(image))[:16]}.png"
        if name not in self._looks:
            self._looks[name] = images.looks(image)
            (self._folder / name).parent.mkdir(exist_ok=True)
            image.save(self._folder / name)
        if isinstance(picture, Path):
            self._known[picture] = name
        return name

    def alike(self) -> list[tuple[str, str]]:
        """Every two pictures that look the same."""
        names = list(self._looks)
        return [(names[i], names[j]) for i, j in images.near_pairs(list(self._looks.values()))]

    def give(self, row: Mapping[str, Any], to: Path) -> None:
        """Move the picture of a row to its place in the benchmark."""
        shutil.move(self._folder / row["image"], to)


def _rgb(picture: bytes | Path) -> Image.Image:
    try:
        return _upright(io.BytesIO(picture) if isinstance(picture, bytes) else picture)
    except images.UNREADABLE as error:
        raise InterpError(f"is no sound picture: {error}; put it there again") from error


def _upright(source: io.BytesIO | Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's notes on odd but readable files
        with Image.open(source, formats=images.FORMATS) as file:
            image = ImageOps.exif_transpose(file)
            if not image.has_transparency_data:
                return image.convert("RGB")
            above = image.convert("RGBA")
    ground = Image.new("RGBA", above.size, "white")
    return Image.alpha_composite(ground, above).convert("RGB")
