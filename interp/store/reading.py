"""Read JSON that others may have written or damaged: one error in one line for whatever is wrong with it.

What the toolkit writes for itself is sealed: the record holds the SHA-256 of its own content, so that a flipped bit is
found and never read as another value.
"""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from interp.errors import InterpError
from interp.store.digests import sha256_record

SEAL = "content_sha256"
"""The key of a sealed record."""
LARGEST = 2**29
"""Bytes of a JSON file that are read; more is refused."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
T = TypeVar("T")


def parse_json(data: bytes | str, what: str, todo: str) -> Any:
    """The value of a JSON text, of which bytes are UTF-8; `what` it is and `todo` are for the error.

    Raises:
        InterpError: it is not JSON or not UTF-8, is nested too deeply, or holds half of a surrogate pair.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise InterpError(f"{what}: nested too deeply; {todo}") from None
    except ValueError as error:
        raise InterpError(f"{what}: not JSON ({one_line(error)}); {todo}") from error
    return value


def one_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def read_json(path: Path, todo: str) -> dict[str, Any]:
    """The object in a JSON file; `todo` says what helps if it is broken.

    Raises:
        InterpError: it is missing, cannot be read, is larger than `LARGEST`, or holds no JSON object.
    """
    value = parse_json(read_bytes(path, todo, LARGEST), str(path), todo)
    if not isinstance(value, dict):
        raise InterpError(f"{path}: holds a {type(value).__name__}, not an object; {todo}")
    return value


def read_bytes(path: Path, todo: str, largest: int | None = None) -> bytes:
    """The bytes of a file.

    Raises:
        InterpError: it is missing, larger than `largest`, or cannot be read.
    """
    if not path.is_file():
        raise InterpError(f"{path}: no such file; {todo}")
    try:
        if largest is not None and path.stat().st_size > largest:
            raise InterpError(f"{path}: {path.stat().st_size:,} bytes, more than the {largest:,} that are read; {todo}")
        return path.read_bytes()
    except OSError as error:
        raise InterpError(f"{path}: cannot be read ({error.strerror or error}); {todo}") from error


def read_sealed(path: Path, todo: str) -> dict[str, Any]:
    """The content of a sealed JSON file, without its digest.

    Raises:
        InterpError: as `read_json`, it has no digest, or its content is another.
    """
    record = read_json(path, todo)
    content = {key: value for key, value in record.items() if key != SEAL}
    if SEAL not in record:
        raise InterpError(f"{path}: no {SEAL}, so it was not written by this version of interp or is damaged; {todo}")
    if record[SEAL] != sha256_record(content):
        raise InterpError(f"{path}: damaged or changed by hand, its content is not that of its {SEAL}; {todo}")
    return content


_adapter = lru_cache(maxsize=64)(TypeAdapter)
"""Made once a record: that takes longer than to check one, and a value file holds hundreds."""


def checked(kind: type[T], value: Any, what: str, todo: str) -> T:
    """A value read from JSON as a record, by pydantic: types, names, and what the record itself refuses.

    Args:
        kind: a dataclass or a pydantic model.
        value: as read.
        what: it is, for the error.
        todo: what helps if it does not fit.

    Raises:
        InterpError: it does not fit; names the field.
    """
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or kind.__name__
        raise InterpError(f"{what}: {where}: {first['msg'].removeprefix('Value error, ')}; {todo}") from error
    except RecursionError:
        raise InterpError(f"{what}: nested too deeply; {todo}") from None
