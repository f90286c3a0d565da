"""Run folders and what goes into them: whole files or none, digests, manifests, and a journal to resume from.

Not for what the files mean: each stage knows its own.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import platformdirs
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, JsonValue, ValidationError

from interp.errors import InterpError

MANIFEST = "manifest.json"
DISTRIBUTIONS = {"interp": "culture-interp"} | {
    name: name for name in ("torch", "nnsight", "sae-lens", "transformers", "diffusers", "numpy")
}
PACKAGE = Path(__file__).parent


class ManifestError(InterpError):
    """A folder whose manifest is missing or cannot be read."""


def _finite(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse NaN and infinity, which would be read back as null."""
    json.dumps(value, allow_nan=False)
    return value


Settings = Annotated[dict[str, JsonValue], AfterValidator(_finite)]


class Manifest(BaseModel):
    """Where a run's files come from."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    command: str
    """What was run, as it can be typed again."""
    config: Settings = {}
    """Every setting, defaults included."""
    seeds: dict[str, int | list[int]] = {}
    """Seeds by what they seed."""
    versions: dict[str, str]
    """Versions of Python and of the packages that numbers depend on."""
    commit: str | None
    """Commit of the project's repository; None outside one."""
    dirty: bool | None
    """Whether the checkout differed from the commit, `reports/` aside; None outside a repository."""
    model_digest: str | None = None
    """SHA-256 over all weights of the model."""
    encoder_digest: str | None = None
    """SHA-256 over its text encoders' weights."""
    benchmark_digest: str | None = None
    sae_digest: str | None = None
    device: str = ""
    """What computed, such as `cpu` or the name of the GPU."""
    started: AwareDatetime
    """UTC."""
    wall_seconds: float | None = None
    """From start to end; None in a run that has not ended."""
    certificate: Settings | None = None
    """What the model's adapter proved of itself when it was loaded."""

    def finished(self) -> "Manifest":
        """The same manifest with the wall time up to now."""
        seconds = (datetime.now(UTC) - self.started).total_seconds()
        return self.model_copy(update={"wall_seconds": round(seconds, 3)})


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on, without importing them."""
    found = {"python": platform.python_version()}
    for name, distribution in DISTRIBUTIONS.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints in a folder; None where there is no git or git says no."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def git_state(folder: Path = PACKAGE) -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout that tracks `folder`; (None, None) if none does.

    A package installed into another project's environment is not tracked by that project, so its commit is not taken.
    """
    if not _git(folder, "ls-files", "."):
        return None, None
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--", ":/", ":(top,exclude)reports")
    return (commit.strip() if commit else None), (None if changes is None else bool(changes))


def new_manifest(command: str, **fields: Any) -> Manifest:
    """A manifest that starts now, with versions and commit filled in.

    Args:
        command: what was run, as it can be typed again.
        fields: other fields of `Manifest`.
    """
    commit, dirty = git_state()
    return Manifest(
        command=command, versions=versions(), commit=commit, dirty=dirty, started=datetime.now(UTC), **fields
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `folder/manifest.json`."""
    atomic_write_text(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.json`.

    Raises:
        ManifestError: if it is missing or is no manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ManifestError(f"{folder}: no {MANIFEST}, so nothing says where its files come from; run the stage again")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ManifestError(f"{path}: {where}: {first['msg']}; run the stage again") from error


def cache_dir() -> Path:
    """The user's cache folder, made if missing: INTERP_CACHE if set, else where the platform keeps caches."""
    folder = Path(os.environ.get("INTERP_CACHE") or platformdirs.user_cache_dir("interp", appauthor=False))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _partial(path: Path) -> Path:
    """A name beside `path` that no other process uses. Unlike a file of `tempfile` it gets the user's umask."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        partial.write_bytes(data)
        _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all."""
    atomic_write_bytes(path, text.encode())


def atomic_write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        InterpError: for NaN and infinity, which JSON has not; write null.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    except ValueError as error:
        raise InterpError(f"{path}: {error}; JSON has no NaN, write null (None)") from error
    atomic_write_text(path, text + "\n")


@contextmanager
def atomic_folder(path: Path, existing: Literal["refuse", "replace", "keep"] = "refuse") -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block ends well and is removed when it raises.

    Args:
        path: where it will be.
        existing: what to do with a folder at `path`: refuse it at once, replace it at the end, or, if it is there at
            the end, keep it and drop the new one (two processes that fill one cache).

    Raises:
        InterpError: if `path` exists and is to be refused.
    """
    if existing == "refuse" and path.exists():
        raise InterpError(f"{path} exists; remove it or name another folder")
    partial = _partial(path)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        _settle(partial, path, existing)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _settle(partial: Path, path: Path, existing: str) -> None:
    """Rename a filled folder to its place; an old one goes aside first, for none can be renamed onto files."""
    if path.exists() and existing == "replace":
        aside = _partial(path)
        path.rename(aside)
        partial.rename(path)
        shutil.rmtree(aside)
        return
    try:
        partial.rename(path)
    except OSError:
        if existing != "keep" or not path.is_dir():
            raise


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


class Journal:
    """The finished units of a long stage, one JSON line each, so that a run that was killed goes on from there."""

    def __init__(self, path: Path, settings: Mapping[str, Any] | None = None) -> None:
        """Open or begin a journal.

        Args:
            path: the file.
            settings: what the units depend on, kept in its first line.

        Raises:
            InterpError: if the file was begun with other settings, or is damaged before its last line.
        """
        self.path = path
        given = json.loads(json.dumps(settings or {}))
        self._units: dict[str, Any] = {}
        lines = self._whole_lines() if path.is_file() else []
        if not lines:
            atomic_write_text(path, json.dumps({"settings": given}) + "\n")
            return
        self._refuse_others(self._parse(lines, 0, {"settings"})["settings"], given)
        for number in range(1, len(lines)):
            unit = self._parse(lines, number, {"key", "value"})
            self._units[unit["key"]] = unit["value"]

    def _whole_lines(self) -> list[bytes]:
        """The complete lines. A torn last one is cut off, so that the next does not run into it."""
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            atomic_write_bytes(self.path, whole)
        return whole.splitlines()

    def _parse(self, lines: list[bytes], number: int, fields: set[str]) -> dict[str, Any]:
        try:
            entry = json.loads(lines[number])
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or entry.keys() != fields:
            raise InterpError(f"{self.path}, line {number + 1}: not a journal's line; remove the file to start again")
        return entry

    def _refuse_others(self, found: dict[str, Any], given: dict[str, Any]) -> None:
        other = sorted(k for k in found.keys() | given.keys() if found.get(k) != given.get(k))
        if other:
            was = ", ".join(f"{k} was {found.get(k)!r}, is {given.get(k)!r}" for k in other)
            raise InterpError(f"{self.path} was begun with other settings ({was}); name another folder or remove it")

    def __contains__(self, key: str) -> bool:
        return key in self._units

    def __len__(self) -> int:
        return len(self._units)

    def done(self, key: str) -> Any | None:
        """The value recorded for a unit; None if it is not done."""
        return self._units.get(key)

    def record(self, key: str, value: Any) -> None:
        """Add a finished unit; it is on disk when this returns. NaN comes back as NaN.

        Raises:
            KeyError: if the unit is recorded already.
        """
        self.record_all({key: value})

    def record_all(self, units: Mapping[str, Any]) -> None:
        """Add several finished units with one write to the disk.

        Raises:
            KeyError: if one of them is recorded already; none is added.
        """
        if again := [key for key in units if key in self._units]:
            raise KeyError(f"{self.path}: unit {again[0]!r} is recorded already")
        lines = [json.dumps({"key": key, "value": value}, ensure_ascii=False) + "\n" for key, value in units.items()]
        with self.path.open("ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
        self._units.update(units)
