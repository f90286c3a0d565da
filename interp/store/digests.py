"""SHA-256 of bytes, files, arrays, records and whole folders."""

import hashlib
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from interp.errors import InterpError

SUMS = "SHA256SUMS"
"""In the format of `sha256sum`: digest, two spaces, path inside the folder."""
_LINE = re.compile(r"([0-9a-f]{64})  (\S(?:.*\S)?)")


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tensors(tensors: Mapping[str, np.ndarray | bytes]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    sha = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        kind = "bytes" if isinstance(value, bytes) else f"{value.dtype.str}{list(value.shape)}"
        data = value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()
        sha.update(json.dumps([name, kind, len(data)]).encode() + data)
    return sha.hexdigest()


def sha256_record(record: Any) -> str:
    """SHA-256 over the content of a JSON value, whatever its layout in the file."""
    return sha256_bytes(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())


def folder_sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder by its path inside, its own `SHA256SUMS` left out."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p != folder / SUMS)
    # hashing releases the interpreter's lock
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(lambda name: sha256_file(folder / name), names), strict=True))


def read_sums(path: Path, todo: str) -> dict[str, str]:
    """Digest by path, as `sha256sum` writes it; a path may not lead out of the folder.

    Raises:
        InterpError: a line is none of checksums.
    """
    sums: dict[str, str] = {}
    # not splitlines: it also cuts at characters that a name or a damaged line may hold
    for line in path.read_text(encoding="utf-8", errors="replace").removesuffix("\n").split("\n"):
        match = _LINE.fullmatch(line)
        if match is None or _leads_out(match[2]) or match[2] in sums:
            raise InterpError(f"{path}: {line[:80]!r} is no line of checksums; {todo}")
        sums[match[2]] = match[1]
    return sums


def _leads_out(name: str) -> bool:
    return name.startswith("/") or bool({"..", "."} & {*PurePosixPath(name).parts, *name.split("/")})


def changed(folder: Path) -> list[str]:
    """Files of a folder that are not what its `SHA256SUMS` says, are missing, or are not listed; empty if all are."""
    if not (folder / SUMS).is_file():
        return [SUMS]
    try:
        listed = read_sums(folder / SUMS, "")
    except InterpError:
        return [SUMS]
    present = folder_sums(folder)
    return sorted(name for name in listed.keys() | present.keys() if listed.get(name) != present.get(name))
