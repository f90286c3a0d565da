"""Write files whole or not at all."""

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.errors import InterpError
from interp.store.digests import SUMS, folder_sums, sha256_record
from interp.store.reading import SEAL

LONGEST = 255
"""Bytes of a name, on nearly every file system."""


def partial(path: Path) -> Path:
    """A name beside `path` that no other process uses. Unlike a file of `tempfile` it gets the user's umask."""
    return path.with_name(f".{cut(path.name)}.{secrets.token_hex(6)}.partial")


def cut(name: str) -> str:
    """As much of a name as fits into that of its partial."""
    return os.fsdecode(os.fsencode(name)[: LONGEST - len(".") - len(".0123456789ab.partial")])


def hold(handle: int) -> bool:
    """Lock an open file or folder for this process; False where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = partial(path)
    try:
        with place.open("xb") as file:
            hold(file.fileno())  # so that nobody takes it for an orphan
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            place.replace(path)
    finally:
        place.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all."""
    atomic_write_bytes(path, text.encode())


def _json_text(value: Any, what: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    except ValueError as error:
        raise InterpError(f"{what}: {error}; JSON has no NaN, write null (None)") from error


def atomic_write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        InterpError: for NaN and infinity, which JSON has not; write null.
    """
    atomic_write_text(path, _json_text(value, str(path)))


def write_sealed(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record with the digest of its content, which `read_sealed` checks; whole or not at all.

    Raises:
        InterpError: for NaN and infinity.
    """
    # through text, so that the digest is of what will be read (tuples become lists)
    plain = json.loads(_json_text(record, str(path)))
    content = {key: value for key, value in plain.items() if key != SEAL}
    atomic_write_json(path, {**content, SEAL: sha256_record(content)})


def write_sums(folder: Path) -> dict[str, str]:
    """Write `SHA256SUMS` of a folder as `sha256sum` does, which `read_sums` and `changed` read; gives what it says."""
    sums = folder_sums(folder)
    atomic_write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums
