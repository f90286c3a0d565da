"""Grids of images as values: the same prompts and seeds in every row, one arm per column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from interp.errors import InterpError
from interp.types import RECORD, direction
from interp.views import Shown

MOST_COLUMNS, MOST_ROWS = 9, 8
"""What stands on one line, and in one column, before a grid is folded."""

Picture = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class GridRow:
    """One prompt and its images, one per column."""

    __pydantic_config__ = RECORD

    prompt: str
    """The prompt as the model read it, in its own script."""
    language: str
    """ISO 639-1 code of the prompt; `und` where it is not known."""
    note: str
    """What the prompt says, in Latin letters: shown where its script cannot be drawn, and beside it on the page."""
    pictures: list[Picture]

    @property
    def direction(self) -> str:
        """`rtl` or `ltr`, as HTML names it."""
        return direction(self.language)


@dataclass(frozen=True)
class Grid(Shown):
    """Images side by side."""

    __pydantic_config__ = RECORD

    title: str
    """One sentence: what the reader sees."""
    columns: list[str]
    """Names of the arms."""
    rows: list[GridRow]

    def __post_init__(self):
        for row in self.rows:
            if len(row.pictures) != len(self.columns):
                raise InterpError(
                    f"grid {self.title!r}: the row of {row.note!r} has {len(row.pictures)} pictures for "
                    f"{len(self.columns)} columns; give one per column"
                )

    def panels(self) -> "list[Grid]":
        """Parts that fit a page: many rows of few images as two halves, many columns as lines of at most nine."""
        if len(self.columns) > MOST_COLUMNS:
            lines = -(-len(self.columns) // MOST_COLUMNS)
            return [self._columns(part) for part in _parts(len(self.columns), lines)]
        if len(self.rows) > MOST_ROWS and len(self.columns) <= 3:
            return [Grid(self.title, self.columns, self.rows[part]) for part in _parts(len(self.rows), 2)]
        return [self]

    def _columns(self, part: slice) -> "Grid":
        rows = [replace(row, pictures=row.pictures[part]) for row in self.rows]
        return Grid(self.title, self.columns[part], rows)

    @classmethod
    def of(
        cls,
        title: str,
        arms: Mapping[str, Sequence[Any]],
        prompts: Sequence[str],
        languages: Sequence[str],
        notes: Sequence[str],
    ) -> "Grid":
        """A grid from the images of each arm (arrays or PIL images), all in the order of the prompts.

        Raises:
            InterpError: an arm, the languages or the notes have another length than the prompts.
        """
        lengths = {name: len(values) for name, values in {**arms, "languages": languages, "notes": notes}.items()}
        if any(length != len(prompts) for length in lengths.values()):
            raise InterpError(f"grid {title!r}: {len(prompts)} prompts but {lengths}; give one of each per prompt")
        columns = [[np.asarray(p, dtype=np.uint8)[..., :3] for p in pictures] for pictures in arms.values()]
        rows = [
            GridRow(prompts[i], languages[i], notes[i], [column[i] for column in columns]) for i in range(len(prompts))
        ]
        return cls(title, list(arms), rows)


def _parts(length: int, count: int) -> list[slice]:
    """So many slices of about the same length, in order."""
    size = -(-length // count)
    return [slice(start, start + size) for start in range(0, length, size)]


@dataclass(frozen=True)
class Shots:
    """Images of the same prompts and seeds, as they are and with one latent edited."""

    __pydantic_config__ = RECORD

    culture: str
    """Whose prompts they are."""
    strength: float
    """What the latent was set up to, in multiples of its usual magnitude μ."""
    off: Grid
    """Two columns, culture-style prompts: as they are, and with the latent masked."""
    up: Grid
    """Two columns, noun-only prompts: as they are, and with the latent added."""
