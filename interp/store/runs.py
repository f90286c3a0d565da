"""A run's own folder: refused before anything is computed, held while it runs, and never somebody else's."""

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from interp.errors import InterpError, InterpWarning
from interp.store.folders import check_out, orphan, sweep
from interp.store.manifests import MANIFEST, Manifest, read_manifest, write_manifest

_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""Folders that this thread holds, so that a run inside a run does not wait for itself."""


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a folder, made if missing, against other runs; a killed one lets go. Orphans of earlier runs are removed.

    Raises:
        InterpError: another run holds it, unless this one is to `wait` for its end.
    """
    place = folder.resolve()
    if place in _HELD.get():
        yield
        return
    check_out(folder)
    handle = _locked_handle(folder, wait)
    before = _HELD.set(_HELD.get() | {place})
    try:
        sweep(folder)
        yield
    finally:
        _HELD.reset(before)
        os.close(handle)


def _locked_handle(folder: Path, wait: bool) -> int:
    """The open folder, locked; again where another run removed it between the two."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            raise InterpError(
                f"{folder}: another run is writing there; wait until it has ended, or name another folder"
            ) from None
        except OSError as error:
            warnings.warn(
                f"{folder}: its file system has no locks ({error.strerror}); see that no other run writes there",
                InterpWarning,
                stacklevel=4,
            )
        if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
            return handle
        os.close(handle)


def check_run_folder(out: Path, stage: str) -> None:
    """Refuse a folder that a run of a stage may not write into.

    It may be missing, empty, or an earlier run's of the same stage, whose manifest says so.

    Raises:
        InterpError: the place cannot be written, or holds other things.
    """
    check_out(out)
    if not out.is_dir():
        return
    names = sorted(p.name for p in out.iterdir() if not orphan(p))
    if names and MANIFEST not in names:
        raise InterpError(
            f"{out} holds {names[0]} and no {MANIFEST} of ours; nothing was written: name a new folder or an empty one"
        )
    if names and (other := read_manifest(out).stage) != stage:
        raise InterpError(
            f"{out} holds the results of {other or 'another stage'}, not of {stage}; nothing was written: name another "
            "folder"
        )


@contextmanager
def run_folder(out: Path, begun: Manifest) -> Iterator[Path]:
    """The folder of a run, held against others; its manifest lies there from the start, and says the time at the end.

    A run that fails before it wrote anything leaves no folder behind.

    Args:
        out: made if missing.
        begun: the run's manifest, with its stage.

    Raises:
        InterpError: as `check_run_folder`, or another run writes there.
    """
    check_run_folder(out, begun.stage)
    made = [p for p in (out, *out.parents) if not p.exists()]
    with locked(out):
        check_run_folder(out, begun.stage)
        empty = not any(out.iterdir())
        try:
            write_manifest(out, begun)
            yield out
        except BaseException:
            if empty and {p.name for p in out.iterdir()} <= {MANIFEST}:
                (out / MANIFEST).unlink(missing_ok=True)
                with suppress(OSError):  # another run has put something there
                    for folder in made:
                        folder.rmdir()
            raise
        write_manifest(out, begun.finished())
