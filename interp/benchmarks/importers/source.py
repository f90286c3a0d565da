"""The rows of a source's files, and the drafts of samples that importers make of them."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interp.benchmarks.importers.captions import Wording
from interp.benchmarks.importers.log import Log
from interp.benchmarks.importers.options import Options
from interp.benchmarks.rows import BEYOND, stream
from interp.bounds import printable, shown
from interp.errors import InterpError


@dataclass(frozen=True)
class SourceRow:
    """One row of a source; what is wrong with it is noted in the log."""

    file: str
    """As errors name it."""
    number: int
    """Counted from 1 in the file, without a header."""
    cells: Mapping[str, Any]
    """By our names of the columns; empty ones are left out."""
    log: Log

    def bad(self, column: str, message: str) -> None:
        """Note an error."""
        self.log.bad(self.file, self.number, column, message)

    def texts(self, needed: Sequence[str]) -> dict[str, str] | None:
        """The text of the columns that have to hold one; None, and noted, if one does not."""
        texts: dict[str, str] = {}
        for column in needed:
            value = self.cells.get(column)
            if isinstance(value, str) and value.strip():
                texts[column] = value
            else:
                self.bad(column, "is missing" if value is None else f"is no text (found {shown(value)})")
        return texts if len(texts) == len(needed) else None

    def image(self) -> bytes | None:
        """The bytes of a hub picture, {"bytes": …, "path": …}; None, and noted, if there are none."""
        value = self.cells.get("image")
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes) and data:
            return data
        self.bad("image", "holds no bytes of a picture; save the data set with its pictures in it")
        return None

    def with_image(self, needed: Sequence[str]) -> tuple[dict[str, str], bytes] | None:
        """`texts` and `image`; None, and all of it noted, if one is not there."""
        texts, data = self.texts(needed), self.image()
        return (texts, data) if texts and data else None


@dataclass(frozen=True)
class Draft:
    """A sample as its source has it."""

    row: SourceRow
    id: str
    place: str
    """Country, code, region or culture, in the source's words."""
    category: str
    """The concept."""
    captions: Mapping[str, Wording]
    """By language; English has to be there."""
    image: bytes | Path | None = None
    """None: to be looked for among the user's pictures."""
    url: str | None = None
    """Where the picture is from."""
    licence: str | None = None
    """Of the picture."""
    author: str | None = None
    """Of the picture."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the row: region, annotator, review and the same in English; those above, if unchecked."""


@dataclass(frozen=True)
class Source:
    """What an importer reads."""

    path: Path
    """The file or folder, as downloaded by the user."""
    options: Options
    log: Log

    def files(self, pattern: str, what: str) -> list[Path]:
        """The file, or the files of the folder that match a pattern.

        Raises:
            InterpError: if there is none.
        """
        path = self.path
        # os.path, as Path.is_file raises for what it may not look at
        matching = [path] if path.is_file() else sorted(p for p in path.rglob(pattern) if os.path.isfile(p))
        if not matching:
            raise InterpError(f"{path}: no {what} ({pattern}); name the file, or the folder it is in")
        return matching

    def rows(self, paths: Iterable[Path], needed: Sequence[str], below: Path | None = None) -> Iterator[SourceRow]:
        """The rows of files, counted in the log.

        Args:
            paths: in order.
            needed: columns that have to be there, in our names.
            below: files are named by their path from here; by their name alone if None.
        """
        for path in paths:
            file = path.name if below is None else str(path.relative_to(below))
            for number, cells in enumerate(read_cells(path, needed, self.options.columns), 1):
                self.log.read += 1
                yield SourceRow(file, number, cells, self.log)


def read_cells(path: Path, needed: Sequence[str], columns: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a file, with empty cells left out.

    Args:
        path: .csv, .json (one list), .jsonl, .parquet or .arrow.
        needed: columns that have to be there, in our names.
        columns: our name of a column → the file's.

    Raises:
        InterpError: if the file cannot be read or a column is missing.
    """
    theirs = dict(columns or {})
    ours = {name: our for our, name in theirs.items()}

    def require(names: Collection[str]) -> None:
        if missing := [theirs.get(c, c) for c in needed if theirs.get(c, c) not in names]:
            raise InterpError(
                f"{path}: column {', '.join(missing)} is missing; it has "
                f"{printable(', '.join(sorted(names)), 500) or 'none'}; where a column has another name, say so with "
                "the option columns"
            )

    for number, row in enumerate(stream(path, require), 1):
        if not isinstance(row, dict):
            raise InterpError(f"{path}: cannot be read: row {number} is no record: {shown(row)}")
        if BEYOND in row:
            raise InterpError(f"{path}: cannot be read: row {number} has more cells than the header: {shown(row, 80)}")
        yield {ours.get(str(c), str(c)): value for c, value in row.items() if value is not None and value != ""}
