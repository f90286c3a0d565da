"""Rows of a benchmark on disk: `samples.parquet`, `samples.jsonl` or `samples.csv`, all with the same content.

Not for judging the rows: what is read here is raw, `schema.py` checks it.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from interp.benchmarks.schema import Row
from interp.bounds import printable, shown
from interp.errors import InterpError
from interp.escapes import guarded, unguarded

STEM = "samples"
_NUMBERS = {"drawing": pa.int64()}
_BEYOND = "(cells beyond the header)"
UNREADABLE = (OSError, ValueError, OverflowError, RecursionError, csv.Error, pa.ArrowException)
"""What csv, json and pyarrow raise for files that are damaged, or hold what Python cannot."""
LARGEST_CELL = 2**27
"""Characters of a CSV cell; Python alone takes 131,072."""


def _is_json(field: str) -> bool:
    """Whether a cell of the CSV table holds JSON: spans as [start, end], and numbers."""
    return field in _NUMBERS or "_span" in field


def _dump(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [row.model_dump(mode="json", exclude_none=True) for row in rows]


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The fields that some row has, in the schema's order."""
    used = set().union(*rows)
    return [f for f in Row.model_fields if f in used]


def refuse_twice(names: Sequence[str]) -> None:
    """Raise ValueError if a column is named twice, as only the last of them would be read."""
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"a column is named twice: {shown(twice)}")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError if a name comes twice, as only the last of them would be read."""
    refuse_twice([name for name, _ in pairs])
    return dict(pairs)


def _read_parquet(path: Path) -> list[Any]:
    # ParquetFile, because read_table takes a `key=value` folder in the path for a column
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        refuse_twice(file.schema_arrow.names)
        return file.read().to_pylist()


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    values = _dump(rows)
    types = {f: pa.list_(pa.int64()) if "_span" in f else _NUMBERS.get(f, pa.string()) for f in _columns(values)}
    pq.write_table(pa.Table.from_pylist(values, schema=pa.schema(types)), path, write_page_checksum=True)


def _read_jsonl(path: Path) -> list[Any]:
    # not splitlines: a caption may hold U+2028
    return [_parse(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _parse(text: str) -> Any:
    """The JSON value, or the text as it stands, so that the schema reports it with its row."""
    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return text


def _write_jsonl(path: Path, rows: Sequence[Row]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in _dump(rows)]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _read_csv(path: Path) -> list[Any]:
    csv.field_size_limit(LARGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey=_BEYOND, strict=True)
        refuse_twice(reader.fieldnames or [])
        return [{f: _value(f, cell) for f, cell in row.items() if cell} for row in reader]


def _value(field: str, cell: Any) -> Any:
    """What a cell of the CSV table holds; those beyond the header are a list."""
    if _is_json(field):
        return _parse(cell)
    return unguarded(cell) if isinstance(cell, str) else cell


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    values, text = _dump(rows), io.StringIO(newline="")
    # with the usual line end \r\n, so that cells holding either of the two are quoted
    writer = csv.DictWriter(text, _columns(values))
    writer.writeheader()
    writer.writerows({f: json.dumps(v) if _is_json(f) else guarded(v) for f, v in row.items()} for row in values)
    path.write_bytes(text.getvalue().encode())


_READERS: dict[str, Callable[[Path], list[Any]]] = {
    "parquet": _read_parquet,
    "jsonl": _read_jsonl,
    "csv": _read_csv,
}
_WRITERS: dict[str, Callable[[Path, Sequence[Row]], None]] = {
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
KINDS = tuple(_READERS)


def find(folder: Path) -> Path:
    """The one table of a folder.

    Raises:
        InterpError: if there is none, or more than one.
    """
    found = [p for kind in KINDS if (p := folder / f"{STEM}.{kind}").is_file()]
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise InterpError(f"one table is needed, {STEM}.{'|'.join(KINDS)}; found {names}")
    return found[0]


def read(path: Path) -> list[Any]:
    """The rows of a table, unchecked, without their empty fields.

    Raises:
        InterpError: if the file is not a table of the kind its name says.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise OSError("it is no file")
        rows = _READERS[kind_of(path)](path)
    except UNREADABLE as error:
        raise InterpError(f"{path.name}: cannot be read as a table: {printable(str(error), 300)}") from error
    return [{f: v for f, v in row.items() if v is not None} if isinstance(row, dict) else row for row in rows]


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write a table of the kind its name says."""
    _WRITERS[kind_of(path)](path, rows)


def kind_of(path: Path) -> str:
    """`parquet`, `jsonl` or `csv`, by the file's name.

    Raises:
        InterpError: for any other name.
    """
    kind = path.suffix.removeprefix(".")
    if kind not in KINDS:
        raise InterpError(f"{path.name}: unknown kind of table; known: {', '.join(KINDS)}")
    return kind
