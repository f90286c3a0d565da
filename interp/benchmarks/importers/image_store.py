"""Pictures of imported rows: found in a user's folder, read, and written as PNG."""

import io
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from interp.benchmarks import images
from interp.errors import InterpError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def images_by_name(folder: Path) -> dict[str, Path]:
    """The pictures below a folder, by file name without its suffix; the first of a name in the order of paths."""
    paths = [p for p in sorted(folder.rglob("*"), reverse=True) if p.suffix.lower() in SUFFIXES]
    return {p.stem: p for p in paths}


class ImageStore:
    """A folder that keeps the pictures of rows until the benchmark is written: one file for each different picture."""

    def __init__(self, folder: Path, side: int | None) -> None:
        """An empty store.

        Args:
            folder: an empty folder.
            side: longest side of a picture in pixels; None to keep their sizes.
        """
        self._folder = folder
        self._side = side
        self._names: dict[Path, str] = {}
        self._looks: dict[str, images.Looks] = {}

    def put(self, source: bytes | Path) -> str:
        """Keep a picture, as RGB in PNG, turned upright and, where it is transparent, laid on white.

        Returns:
            Its path in the benchmark.

        Raises:
            InterpError: if it is no sound picture.
        """
        if isinstance(source, Path) and source in self._names:
            return self._names[source]
        image = _rgb(source)
        if self._side is not None:
            image.thumbnail((self._side, self._side), Image.Resampling.LANCZOS)
        name = f"images/{images.digest(np.asarray(image))[:16]}.png"
        if name not in self._looks:
            self._looks[name] = images.looks(image)
            (self._folder / name).parent.mkdir(exist_ok=True)
            image.save(self._folder / name)
        if isinstance(source, Path):
            self._names[source] = name
        return name

    def alike(self) -> list[tuple[str, str]]:
        """Every two pictures that look the same."""
        names = list(self._looks)
        return [(names[i], names[j]) for i, j in images.near_pairs(list(self._looks.values()))]

    def move(self, row: Mapping[str, Any], path: Path) -> None:
        """Move the picture of a row to its place in the benchmark."""
        shutil.move(self._folder / row["image"], path)


def _rgb(source: bytes | Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's notes on odd but readable files
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file, formats=images.FORMATS) as opened:
                image = ImageOps.exif_transpose(opened)
                if not image.has_transparency_data:
                    return image.convert("RGB")
                above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
    except images.UNREADABLE as error:
        raise InterpError(f"is no sound picture: {error}; put it there again") from error
