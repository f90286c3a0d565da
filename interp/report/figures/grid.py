"""Figures 8, 10 and 13: the same prompt and seed in every column, the baseline beside the arms."""

import unicodedata
from functools import cache
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.ft2font import FT2Font

from interp.grids import Grid, GridRow
from interp.report.style import MUTED, WIDTH, canvas, styled

_LABEL, _TOP, _BOTTOM, _GAP = 1.6, 0.36, 0.22, 0.04
"""Inches: the captions at the left, the column names, the notice, and the space between pictures."""
_LETTERS = 23
"""Latin letters that fit a line of a caption."""
_SHIPPED = "DejaVu Sans"
_NOTICE = "Captions in other scripts are given by what they say; the page shows them as written."


@cache
def _characters(path: str) -> frozenset[int]:
    return frozenset(FT2Font(path).get_charmap())


def _usable(entry: FontEntry) -> bool:
    """A regular font; not the one that matplotlib ships to draw a box for every character there is."""
    return entry.style == "normal" and entry.weight == 400 and not entry.name.startswith("Last Resort")


@cache
def font_for(text: str) -> str | None:
    """An installed font that has every letter of a text, Noto before others, or None."""
    needed = {ord(c) for c in text if unicodedata.category(c)[0] in "LM"}
    for entry in sorted(fontManager.ttflist, key=lambda f: (not f.name.startswith("Noto Sans"), f.name)):
        if _usable(entry) and needed <= _characters(entry.fname):
            return entry.name
    return None


def is_latin(text: str) -> bool:
    """Whether every letter of a text is a Latin one, so that the shipped font draws it."""
    return all(unicodedata.name(c, "").startswith("LATIN") for c in text if c.isalpha())


def _caption(row: GridRow, native: bool) -> tuple[str, list[str]]:
    """What to write beside a row, and the fonts to write it with."""
    code = f"\n[{row.language}]" if row.language != "und" else ""
    if is_latin(row.prompt):
        return row.prompt + code, [_SHIPPED]
    font = font_for(row.prompt) if native else None
    if font is not None:
        return row.prompt + code, [font, _SHIPPED]
    return ((row.note if is_latin(row.note) else "") + code).strip(), [_SHIPPED]


@styled
def grid(value: Grid, native: bool = False, interpolation: Literal["nearest", "lanczos"] = "nearest") -> Figure:
    """Pictures with captions.

    Args:
        value: the pictures.
        native: write captions in their own script where an installed font has it; else, and wherever no font has it,
            the row's note stands in its place and a line below says so.
        interpolation: how small pictures are enlarged.
    """
    panels = value.panels()
    beside = len(panels) if len(panels) > 1 and len(panels[0].columns) == len(value.columns) else 1
    columns, rows = max(len(panels[0].columns), 1), max(len(panels[0].rows), 1)
    side = min((WIDTH / beside - _LABEL) / columns, 1.15)
    part = (_LABEL + side * columns, _TOP + side * rows)
    figure = canvas(part[0] * beside, part[1] * (len(panels) // beside) + _BOTTOM)
    figure.set_layout_engine("none")
    for i, panel in enumerate(panels):
        left = part[0] * (i % beside) + _LABEL
        top = figure.get_figheight() - part[1] * (i // beside) - _TOP
        _panel(figure, panel, (left, top, side), native, interpolation)
    if any(row.prompt not in _caption(row, native)[0] for row in value.rows):
        figure.text(0.08 / figure.get_figwidth(), 0.06 / figure.get_figheight(), _NOTICE, fontsize=7, color=MUTED)
    return figure


def _panel(figure: Figure, panel: Grid, corner: tuple[float, float, float], native: bool, interpolation: str) -> None:
    """Draw one part, its first picture at (left, top), each picture `side` inches wide."""
    left, top, side = corner
    width, height = figure.get_size_inches()
    for y, row in enumerate(panel.rows):
        bottom = top - side * (y + 1)
        text, fonts = _caption(row, native)
        figure.text((left - 0.1) / width, (bottom + side / 2) / height, wrapped(text, _LETTERS), ha="right",
                    va="center", fontsize=8, family=fonts)  # fmt: skip
        for x, picture in enumerate(row.pictures):
            place = ((left + side * x) / width, (bottom + _GAP) / height)
            at = figure.add_axes((*place, (side - _GAP) / width, (side - _GAP) / height))
            at.imshow(picture, interpolation=interpolation)
            at.set_axis_off()
            if y == 0:
                at.set_title(wrapped(panel.columns[x], int(13 * side)), fontsize=8.5, loc="center", weight=400, pad=4)


def _columns_of(text: str) -> int:
    """How wide a text is, in Latin letters: Chinese, Japanese and Korean ones take nearly two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text if unicodedata.category(c) != "Mn")


def wrapped(text: str, width: int) -> str:
    """Break long lines between words, and before a word that alone is too long for a line not at all."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            if line and _columns_of(f"{line} {word}") > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}".strip()
        lines.append(line)
    return "\n".join(lines)
