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

from interp.errors import InterpError
from interp.schema import Row

STEM = "samples"
_NUMBERS = {"drawing": pa.int64()}
_BEYOND = "(cells beyond the header)"


def _is_json(field: str) -> bool:
    """Whether a cell of the CSV table holds JSON: spans as [start, end], and numbers."""
    return field in _NUMBERS or "_span" in field


def _dump(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [row.model_dump(mode="json", exclude_none=True) for row in rows]


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The fields that some row has, in the schema's order."""
    used = set().union(*rows)
    return [f for f in Row.model_fields if f in used]


def _read_parquet(path: Path) -> list[Any]:
    # ParquetFile, because read_table takes a `key=value` folder in the path for a column
    return pq.ParquetFile(path).read().to_pylist()


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    values = _dump(rows)
    types = {f: pa.list_(pa.int64()) if "_span" in f else _NUMBERS.get(f, pa.string()) for f in _columns(values)}
    pq.write_table(pa.Table.from_pylist(values, schema=pa.schema(types)), path)


def _read_jsonl(path: Path) -> list[Any]:
    # not splitlines: a caption may hold U+2028
    return [_parse(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _parse(text: str) -> Any:
    """The JSON value, or the text as it stands, so that the schema reports it with its row."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _write_jsonl(path: Path, rows: Sequence[Row]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in _dump(rows)]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _read_csv(path: Path) -> list[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey=_BEYOND, strict=True)
        header = reader.fieldnames or []
        if len(set(header)) < len(header):
            raise ValueError("a column is named twice")
        return [{f: _parse(cell) if _is_json(f) else cell for f, cell in row.items() if cell} for row in reader]


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    values, text = _dump(rows), io.StringIO(newline="")
    # with the usual line end \r\n, so that cells holding either of the two are quoted
    writer = csv.DictWriter(text, _columns(values))
    writer.writeheader()
    writer.writerows({f: json.dumps(v) if _is_json(f) else v for f, v in row.items()} for row in values)
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
        rows = _READERS[kind_of(path)](path)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise InterpError(f"{path.name}: cannot be read as a table: {error}") from error
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
