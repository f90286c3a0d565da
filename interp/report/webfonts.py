"""The shipped fonts of prompts, cut down to a page's letters, so that every script shows on every machine."""

import base64
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from io import BytesIO

from fontTools import subset
from fontTools.ttLib import TTFont


def css(texts: Iterable[tuple[str, str]]) -> str:
    """CSS that carries the fonts of the languages that have one.

    Args:
        texts: language and what is to be written in it; a language may come more than once.
    """
    letters: dict[str, set[str]] = defaultdict(set)
    for language, text in texts:
        letters[language] |= set(text)
    return "".join(_face(language, "".join(sorted(letters[language]))) for language in sorted(letters))


@lru_cache(maxsize=64)
def _face(language: str, text: str) -> str:
    font = files("interp.report").joinpath("fonts", f"{language}.woff")
    if not font.is_file():
        return ""
    data = base64.b64encode(_cut(font.read_bytes(), text)).decode()
    return (
        f'@font-face {{ font-family: "shipped {language}"; src: url(data:font/woff;base64,{data}) format("woff"); }}\n'
        f'.prompt:lang({language}) {{ font-family: "shipped {language}", system-ui, sans-serif; }}\n'
    )


def _cut(font: bytes, text: str) -> bytes:
    """A font with the letters of a text alone."""
    options = subset.Options(flavor="woff", hinting=False, notdef_outline=True)
    cutter = subset.Subsetter(options)
    cutter.populate(text=text)
    opened, out = TTFont(BytesIO(font), recalcTimestamp=False), BytesIO()
    cutter.subset(opened)
    subset.save_font(opened, out, options)
    return out.getvalue()
