"""Rows of tables on disk: parquet, JSONL and CSV; JSON and the arrow files of `save_to_disk` are only read.

Not for judging the rows: what is read here is raw, `schema.py` checks it.
"""

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from interp.benchmarks.schema import Row
from interp.bounds import printable, shown
from interp.errors import InterpError
from interp.escapes import guarded, unguarded

STEM = "samples"
BEYOND = "(cells beyond the header)"
"""The key of such cells in a row of a CSV."""
_INTEGERS = ("drawing",)
_UNREADABLE = (OSError, ValueError, OverflowError, RecursionError, csv.Error, pa.ArrowException)
"""What csv, json and pyarrow raise for files that are damaged, or hold what Python cannot."""
_LARGEST_CELL = 2**27
"""Characters of a CSV cell; Python alone takes 131,072."""
_BATCH = 64
"""Rows of a parquet or arrow file in memory at once; each may hold a picture."""

_Chunk = tuple[Collection[str], Iterable[Any]]
"""The columns, and some of the rows."""


def _refuse_twice(names: Sequence[str]) -> None:
    """Raise ValueError if a column is named twice, as only the last of them would be read."""
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"a column is named twice: {shown(twice)}")


def _parquet(path: Path) -> Iterator[_Chunk]:
    # ParquetFile, because read_table takes a `key=value` folder in the path for a column
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        _refuse_twice(file.schema_arrow.names)
        yield file.schema_arrow.names, []
        for batch in file.iter_batches(_BATCH):
            yield batch.schema.names, batch.to_pylist()


def _arrow(path: Path) -> Iterator[_Chunk]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        _refuse_twice(stream.schema.names)
        yield stream.schema.names, []
        for batch in stream:
            for start in range(0, batch.num_rows, _BATCH):
                yield batch.schema.names, batch.slice(start, _BATCH).to_pylist()


def _csv(path: Path) -> Iterator[_Chunk]:
    csv.field_size_limit(_LARGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey=BEYOND, strict=True)
        header = reader.fieldnames or []
        _refuse_twice(header)
        yield header, reader


def _json(path: Path) -> Iterator[_Chunk]:
    rows = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
    if not isinstance(rows, list):
        raise ValueError("it is not a list of records")
    yield _columns(rows), rows


def _jsonl(path: Path) -> Iterator[_Chunk]:
    # not splitlines: a caption may hold U+2028
    rows = [_parse(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    yield _columns(rows), rows


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_twice([name for name, _ in pairs])
    return dict(pairs)


def _parse(text: str) -> Any:
    """The JSON value, or the text as it stands, so that its row can be named."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return text


def _columns(rows: Iterable[Any]) -> set[str]:
    return set().union(*(row for row in rows if isinstance(row, dict)))


_READERS = {"parquet": _parquet, "jsonl": _jsonl, "csv": _csv, "json": _json, "arrow": _arrow}
KINDS = ("parquet", "jsonl", "csv")
"""Of a benchmark's table."""


def stream(
    path: Path, check: Callable[[Collection[str]], None] = lambda names: None, kinds: Collection[str] = tuple(_READERS)
) -> Iterator[Any]:
    """The rows of a table, one by one, unchecked; one that is no record, too.

    Args:
        path: of the table.
        check: is given the names of the columns, and may raise.
        kinds: that may be read.

    Raises:
        InterpError: if the file is not a table of the kind its name says.
    """
    kind = kind_of(path, kinds)
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise OSError("it is no file")
        for names, rows in _READERS[kind](path):
            check(names)
            yield from rows
    except InterpError:
        raise
    except _UNREADABLE as error:
        raise InterpError(f"{path}: cannot be read as a table: {printable(str(error), 300)}") from error


def read_table(path: Path) -> list[Any]:
    """The rows of a benchmark's table, unchecked, without their empty fields.

    Raises:
        InterpError: if the file is not a table of the kind its name says.
    """
    rows = stream(path, kinds=KINDS)
    if kind_of(path) == "csv":
        return [{f: _cell(f, cell) for f, cell in row.items() if cell} for row in rows]
    return [{f: v for f, v in row.items() if v is not None} if isinstance(row, dict) else row for row in rows]


def _holds_json(field: str) -> bool:
    """Whether a cell of the CSV table holds JSON: spans as [start, end], and numbers."""
    return field in _INTEGERS or "_span" in field


def _cell(field: str, cell: Any) -> Any:
    """What a cell of the CSV table holds; those beyond the header are a list."""
    if _holds_json(field):
        return _parse(cell)
    return unguarded(cell) if isinstance(cell, str) else cell


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write a table of the kind its name says."""
    records = [row.model_dump(mode="json", exclude_none=True) for row in rows]
    used = _columns(records)
    _WRITERS[kind_of(path)](path, records, [f for f in Row.model_fields if f in used])


def _write_parquet(path: Path, records: list[dict[str, Any]], columns: Sequence[str]) -> None:
    types = {
        f: pa.list_(pa.int64()) if "_span" in f else pa.int64() if f in _INTEGERS else pa.string() for f in columns
    }
    pq.write_table(pa.Table.from_pylist(records, schema=pa.schema(types)), path, write_page_checksum=True)


def _write_jsonl(path: Path, records: list[dict[str, Any]], columns: Sequence[str]) -> None:
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _write_csv(path: Path, records: list[dict[str, Any]], columns: Sequence[str]) -> None:
    text = io.StringIO(newline="")
    # with the usual line end \r\n, so that cells holding either of the two are quoted
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows({f: json.dumps(v) if _holds_json(f) else guarded(v) for f, v in row.items()} for row in records)
    path.write_bytes(text.getvalue().encode())


_WRITERS = {"parquet": _write_parquet, "jsonl": _write_jsonl, "csv": _write_csv}


def find_table(folder: Path) -> Path:
    """The one table of a folder.

    Raises:
        InterpError: if there is none, or more than one.
    """
    tables = [p for kind in KINDS if (p := folder / f"{STEM}.{kind}").is_file()]
    if len(tables) != 1:
        names = ", ".join(p.name for p in tables) or "none"
        raise InterpError(f"one table is needed, {STEM}.{'|'.join(KINDS)}; found {names}")
    return tables[0]


def kind_of(path: Path, kinds: Collection[str] = KINDS) -> str:
    """The kind of a table, by the file's name.

    Raises:
        InterpError: if it is none of `kinds`.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in kinds:
        raise InterpError(f"{path.name}: unknown kind of table; known: {', '.join(kinds)}")
    return kind
