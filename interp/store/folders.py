"""Folders that appear whole, are replaced in one step, and never take what is not ours."""

import ctypes
import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interp.errors import InterpError
from interp.store.reading import read_sealed
from interp.store.writing import LONGEST, cut, hold, partial

_PARTIAL = re.compile(r"\..*\.[0-9a-f]{12}\.(partial|aside)", re.DOTALL)
_YOUNG = 2.0
"""Seconds in which an empty partial may not yet be locked by who made it."""
_EXCHANGE = 2
"""RENAME_EXCHANGE of renameat2(2)."""
_HERE = -100
"""AT_FDCWD."""


@dataclass(frozen=True)
class Owned:
    """How a folder shows that the toolkit wrote it, and may therefore replace it."""

    what: str
    """In words, such as `neurons`."""
    marker: str
    """A sealed JSON file in it."""
    kind: str
    """What the marker's `kind` says."""
    files: tuple[str, ...]
    """All the files that such a folder may hold."""

    def stranger(self, folder: Path) -> str | None:
        """The first thing in a folder that we did not write; None if there is none."""
        if other := strangers(folder, self.files):
            return other[0]
        present = strangers(folder, ())
        try:
            ours = not present or read_sealed(folder / self.marker, "").get("kind") == self.kind
        except InterpError:
            ours = False
        return None if ours else present[0]


def strangers(folder: Path, known: Iterable[str]) -> list[str]:
    """Paths inside a folder that are not among those known, and not what a killed process of ours left."""
    left = [p for p in folder.iterdir() if orphan(p)]
    inside = (p for p in folder.rglob("*") if not any(p.is_relative_to(o) for o in left))
    return sorted({p.relative_to(folder).as_posix() for p in inside} - {*known})


def check_name(path: Path) -> None:
    """Refuse a path that no file can have: a name over 255 bytes, a NUL, half a surrogate pair.

    Raises:
        InterpError: naming the part.
    """
    for part in path.parts:
        try:
            size = len(os.fsencode(part))
        except UnicodeEncodeError:
            raise InterpError(f"{str(path)!a}: holds half of a surrogate pair, which no file name can") from None
        if "\0" in part:
            raise InterpError(f"{str(path)!r}: holds a NUL, which no file name can")
        if size > LONGEST:
            raise InterpError(f"{part[:40]}…: a name of {size} bytes; names have at most {LONGEST}, give a shorter one")


def check_out(path: Path) -> None:
    """Refuse, before anything is computed, a folder that could not be written.

    Raises:
        InterpError: the name is too long, a file stands there or above it, or the place is read-only.
    """
    check_name(path)
    there = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
    if not there.is_dir():
        raise InterpError(f"{path}: {there} is no folder; name another")
    probe = partial(there / "probe")
    try:
        # permissions alone do not tell: a file system may be read-only, or take no folders at all
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise InterpError(f"{path}: {there} cannot be written ({error.strerror}); name another folder") from error


def check_new(path: Path) -> None:
    """Refuse a place that is taken or could not be written, before anything is computed for it.

    Raises:
        InterpError: as `check_out`, or something is there.
    """
    if os.path.lexists(path):
        raise InterpError(f"{path} exists; remove it or name another")
    check_out(path)


def check_replaceable(path: Path, owned: Owned) -> None:
    """Refuse to replace what we did not write.

    Raises:
        InterpError: as `check_out`, or the folder holds something else than `owned` says.
    """
    check_out(path)
    if path.is_dir() and path.resolve() == Path.cwd():
        raise InterpError(f"{path}: is the working folder, which cannot be replaced; name another")
    if path.is_dir() and (stranger := owned.stranger(path)):
        raise InterpError(
            f"{path} holds {stranger}, which is not a part of earlier {owned.what}; nothing was replaced: name another "
            "folder, or remove it yourself"
        )


# ---------------------------------------------------------------------------------------------------------- orphans


def orphan(path: Path) -> bool:
    """Whether this is what a killed process of ours left: a partial that no process holds."""
    if _PARTIAL.fullmatch(path.name) is None or path.is_symlink() or not (path.is_dir() or path.is_file()):
        return False
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return not _just_made(path)
    except OSError:  # held, or the file system has no locks: then nothing is taken for an orphan
        return False
    finally:
        os.close(handle)


def _just_made(path: Path) -> bool:
    empty = not any(path.iterdir()) if path.is_dir() else path.stat().st_size == 0
    return empty and time.time() - path.stat().st_mtime < _YOUNG


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes of ours left right in a folder; if `name` is given, only what was to become it."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        meant = path.name.rsplit(".", 2)[0].removeprefix(".")
        if (name is None or meant == cut(name)) and path.name.endswith(".partial") and orphan(path):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------- whole or not at all


@contextmanager
def atomic_folder(
    path: Path, existing: Literal["refuse", "replace", "keep"] = "refuse", owned: Owned | None = None
) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block ends well and is removed when it raises.

    Args:
        path: where it will be.
        existing: what to do with a folder at `path`: refuse it at once, replace it at the end in one step, or, if it is
            there at the end, keep it and drop the new one (two processes that fill one cache).
        owned: needed to replace: only what it knows is.

    Raises:
        InterpError: if `path` exists and is to be refused, or holds something that we did not write.
    """
    path = path.resolve() if path.is_symlink() else path.absolute()
    _recover(path)
    if existing == "refuse":
        check_new(path)
    if existing == "replace" and owned is not None:
        check_replaceable(path, owned)
    check_out(path)
    sweep(path.parent, path.name)
    place = partial(path)
    place.mkdir(parents=True)
    handle = os.open(place, os.O_RDONLY)
    try:
        hold(handle)
        yield place
        for file in (p for p in place.rglob("*") if p.is_file()):
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
        if existing == "replace" and owned is not None:
            check_replaceable(path, owned)  # again: the block may have taken hours
        _settle(place, path, existing)
    finally:
        os.close(handle)
        shutil.rmtree(place, ignore_errors=True)


def _settle(place: Path, path: Path, existing: str) -> None:
    """Put a filled folder in its place; an old one changes places with it, and goes as the partial."""
    if path.is_dir() and existing == "replace":
        if not _exchanged(place, path):
            _replaced_in_two_steps(place, path)
        return
    try:
        place.rename(path)
    except OSError:
        if existing != "keep" or not path.is_dir():
            raise


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; False where the system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _replaced_in_two_steps(place: Path, path: Path) -> None:
    """Where folders cannot change names: the old one aside, then the new one in; `_recover` mends a kill between."""
    aside = partial(path).with_suffix(".aside")
    path.rename(aside)
    place.rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def _recover(path: Path) -> None:
    """Put back an old folder whose replacement was killed between its two steps; drop it if that was done."""
    if not path.parent.is_dir():
        return
    for aside in path.parent.iterdir():
        if aside.name.startswith(f".{cut(path.name)}.") and _PARTIAL.fullmatch(aside.name) and aside.suffix == ".aside":
            if path.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.rename(path)
