"""Images inside a page: their bytes as data addresses, so that nothing is loaded."""

import base64
from io import BytesIO

from PIL import Image

from interp.grids import Picture

COLOURS = 256
"""Of a plot inside a page: flat shades and the edges of letters; a third of the bytes of all colours."""
QUALITY = 95
"""Of an image inside a page: at 64 pixels a side no difference is seen, and it takes a third of the bytes."""


def in_palette(png: bytes) -> bytes:
    """The PNG of a plot in a palette of its own, without a date."""
    buffer = BytesIO()
    with Image.open(BytesIO(png)) as plot:
        flat = plot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    flat.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def inline_plot(png: bytes) -> str:
    """The data address of a plot."""
    return _address(in_palette(png), "png")


def inline_picture(picture: Picture, most: int = 256, quality: int = QUALITY) -> str:
    """The data address of an image, at its own size or shrunk to at most so many pixels a side."""
    buffer, image = BytesIO(), Image.fromarray(picture)
    if max(image.size) > most:
        image.thumbnail((most, most), Image.Resampling.LANCZOS)
    image.save(buffer, format="WEBP", quality=quality, method=6)
    return _address(buffer.getvalue(), "webp")


def _address(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
