"""Rows of the files that data sets are published in: CSV, JSON, parquet, and the arrow files of `save_to_disk`."""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from interp.benchmarks.importers.drafts import Log, Options
from interp.benchmarks.rows import LARGEST_CELL, UNREADABLE, once, refuse_twice
from interp.bounds import printable, shown
from interp.errors import InterpError

_BEYOND = "(cells beyond the header)"
BATCH = 64
"""Rows of a parquet file in memory at once; each may hold a picture."""


def files(path: Path, pattern: str, what: str) -> list[Path]:
    """A file, or the files of a folder that match a pattern.

    Raises:
        InterpError: if there is none.
    """
    found = [path] if path.is_file() else sorted(p for p in path.rglob(pattern) if os.path.isfile(p))
    if not found:
        raise InterpError(f"{path}: no {what} ({pattern}); name the file, or the folder it is in")
    return found


def read(path: Path, needed: Sequence[str], columns: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a file, with empty cells left out.

    Args:
        path: .csv, .json (one list), .jsonl, .parquet or .arrow.
        needed: columns that have to be there, in our names.
        columns: our name of a column → the file's.

    Raises:
        InterpError: if the file cannot be read or a column is missing.
    """
    ours = {theirs: name for name, theirs in (columns or {}).items()}
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InterpError(f"{path}: unknown kind of file; known: {', '.join(_READERS)}")
    try:
        for header, rows in reader(path):
            _require(path, needed, header, columns or {})
            for row in rows:
                if not isinstance(row, dict):
                    raise ValueError(f"a row is no record: {shown(row)}")
                yield {ours.get(str(c), str(c)): v for c, v in row.items() if v is not None and v != ""}
    except InterpError:
        raise
    except UNREADABLE as error:
        raise InterpError(f"{path}: cannot be read: {printable(str(error), 300)}") from error


def _require(path: Path, needed: Sequence[str], header: Iterable[str], columns: Mapping[str, str]) -> None:
    there = set(header)
    known = printable(", ".join(sorted(there)), 500) or "none"
    if missing := [columns.get(c, c) for c in needed if columns.get(c, c) not in there]:
        raise InterpError(
            f"{path}: column {', '.join(missing)} is missing; it has {known}; where a "
            "column has another name, say so with the option columns"
        )


Table = tuple[Iterable[str], Iterable[Any]]


def _csv(path: Path) -> Iterator[Table]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        csv.field_size_limit(LARGEST_CELL)
        reader = csv.DictReader(file, restkey=_BEYOND, strict=True)
        header = reader.fieldnames or []
        refuse_twice(header)
        yield header, map(_inside, reader)


def _inside(row: dict[Any, Any]) -> dict[str, Any]:
    if _BEYOND in row:
        raise ValueError(f"a row has more cells than the header: {shown(list(row.values()), 80)}")
    return row


def _json(path: Path) -> Iterator[Table]:
    rows = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    if not isinstance(rows, list):
        raise ValueError("it is not a list of records")
    yield _named(rows), rows


def _jsonl(path: Path) -> Iterator[Table]:
    # not splitlines: a caption may hold U+2028
    rows = [
        json.loads(line, object_pairs_hook=once)
        for line in path.read_text(encoding="utf-8").split("\n")
        if line.strip()
    ]
    yield _named(rows), rows


def _named(rows: list[Any]) -> set[str]:
    return set().union(*(row for row in rows if isinstance(row, dict)))


def _parquet(path: Path) -> Iterator[Table]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        refuse_twice(file.schema_arrow.names)
        yield file.schema_arrow.names, []
        for batch in file.iter_batches(BATCH):
            yield batch.schema.names, batch.to_pylist()


def _arrow(path: Path) -> Iterator[Table]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        refuse_twice(stream.schema.names)
        yield stream.schema.names, []
        for batch in stream:
            for start in range(0, batch.num_rows, BATCH):
                yield batch.schema.names, batch.slice(start, BATCH).to_pylist()


_READERS = {".csv": _csv, ".json": _json, ".jsonl": _jsonl, ".parquet": _parquet, ".arrow": _arrow}


@dataclass(frozen=True)
class Row:
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
        found: dict[str, str] = {}
        for column in needed:
            value = self.cells.get(column)
            if isinstance(value, str) and value.strip():
                found[column] = value
            else:
                self.bad(column, "is missing" if value is None else f"is no text (found {shown(value)})")
        return found if len(found) == len(needed) else None

    def picture(self) -> bytes | None:
        """The bytes of a hub picture, {"bytes": …, "path": …}; None, and noted, if there are none."""
        value = self.cells.get("image")
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes) and data:
            return data
        self.bad("image", "holds no bytes of a picture; save the data set with its pictures in it")
        return None

    def pictured(self, needed: Sequence[str]) -> tuple[dict[str, str], bytes] | None:
        """Both; None, and all of it noted, if one is not there."""
        found, data = self.texts(needed), self.picture()
        return (found, data) if found and data else None


def rows(
    paths: Iterable[Path], needed: Sequence[str], options: Options, log: Log, below: Path | None = None
) -> Iterator[Row]:
    """The rows of a source's files, counted in the log.

    Args:
        paths: in order.
        needed: columns that have to be there, in our names.
        options: names the columns.
        log: of the import.
        below: files are named by their path from here; by their name alone if None.
    """
    for path in paths:
        file = path.name if below is None else str(path.relative_to(below))
        for number, cells in enumerate(read(path, needed, options.columns), 1):
            log.read += 1
            yield Row(file, number, cells, log)
