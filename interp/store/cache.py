"""The user's cache: folders that are filled once, and checked and if need be filled again at every use."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import platformdirs

from interp.errors import InterpError, InterpWarning
from interp.store.digests import SUMS, changed, read_sums, sha256_file
from interp.store.folders import atomic_folder, sweep
from interp.store.runs import locked
from interp.store.writing import write_sums


def cache_dir() -> Path:
    """The user's cache folder, made if missing: INTERP_CACHE if set, else where the platform keeps caches."""
    folder = Path(os.environ.get("INTERP_CACHE") or platformdirs.user_cache_dir("interp", appauthor=False))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached_folder(path: Path, fill: Callable[[Path], None]) -> Path:
    """A folder of the cache, filled on first use and checked at every other.

    Processes that come together wait for the one that fills it. Its files are held against the sums that were taken
    when it was filled: if one has changed since, a warning says so, and the folder is filled again.

    Args:
        path: where it is.
        fill: writes its files into an empty folder.

    Raises:
        InterpError: a file has changed, and somebody put files beside it that filling again would remove.
    """
    if path.is_dir() and not _damaged(path):
        return path
    with locked(cache_dir() / "locks" / path.name, wait=True):
        damaged = _damaged(path) if path.is_dir() else []
        if path.is_dir() and not damaged:
            return path
        if damaged:
            message = f"{path}: {damaged[0]} is not as it was written; the folder is made again"
            warnings.warn(message, InterpWarning, stacklevel=2)
        sweep(path.parent, path.name)
        with atomic_folder(path, "replace" if damaged else "keep") as part:
            fill(part)
            write_sums(part)
    return path


def _damaged(path: Path) -> list[str]:
    """Files of a cached folder that are not as they were written; what somebody put beside them is not among them."""
    names = changed(path)
    if names in ([], [SUMS]):
        return names
    listed = read_sums(path / SUMS, "remove the folder, and it is made again")
    damaged, known = [n for n in names if n in listed], set(listed.values())
    # a file of ours whose name is damaged in the list is no stranger
    others = [n for n in names if n not in listed and sha256_file(path / n) not in known]
    if damaged and others:
        raise InterpError(
            f"{path}: {damaged[0]} is not as it was written, and {others[0]} is not of interp; move that away, and the "
            "folder is made again"
        )
    return damaged
