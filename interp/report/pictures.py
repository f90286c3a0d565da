"""Pictures inside a page: PNG bytes as a data address, so that nothing is loaded."""

import base64
from io import BytesIO

from PIL import Image

from interp.report.grids import Picture


def inline(png: bytes) -> str:
    """A data address of PNG bytes."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def inline_png(picture: Picture, most: int = 256) -> str:
    """A data address of a picture, at its own size or shrunk to at most so many pixels a side."""
    buffer, image = BytesIO(), Image.fromarray(picture)
    if max(image.size) > most:
        image.thumbnail((most, most), Image.Resampling.LANCZOS)
    image.save(buffer, format="PNG", optimize=True)
    return inline(buffer.getvalue())
