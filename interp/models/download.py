"""The folder of a model by its name: a local one, or what is needed of a repository of the hub, whole or refused."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from interp.errors import InterpError
from interp.models import files
from interp.models.files import HUB_ID, INDEX, PICKLED, SAFE
from interp.store import one_line

UNUSED = {"safety_checker"}
"""Components that no adapter loads, not worth a download."""
SHA256 = re.compile(r"[0-9a-f]{64}")


def resolve(name: str) -> Path:
    """The folder of a model: a local one, or the files that are needed of a repository of the hub, from its cache.

    Args:
        name: a folder with a model_index.json, or a hub id, `org/name`.

    Raises:
        InterpError: no such folder or repository, no access to it, or a downloaded file is damaged.
    """
    folder = Path(name)
    if (folder / INDEX).is_file():
        return folder
    if folder.exists() or HUB_ID.fullmatch(name) is None:
        raise InterpError(f"{name}: neither a folder with a {INDEX} nor a hub id like org/name; give one of the two")
    return _verified(name, _fetch(name))


def _fetch(name: str) -> Path:
    """The snapshot in the hub's cache, fetched, or as it is there when the hub cannot be asked."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    published: list[str] = []
    try:
        published = HfApi().list_repo_files(name)
        if INDEX not in published:
            raise InterpError(f"{name}: no {INDEX} on the hub, so not in diffusers' layout; give a repository that has")
        index = files.read_index(Path(snapshot_download(name, allow_patterns=[INDEX])))
        return Path(snapshot_download(name, allow_patterns=_needed(published, index)))
    except GatedRepoError as error:
        page = f"https://huggingface.co/{name}"
        raise InterpError(
            f"{name}: gated on the hub; accept its licence at {page} and log in with `hf auth login`, or give a folder"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InterpError(
            f"{name}: no such folder, and the hub has no such model, or shows it only to others; mind the spelling, "
            "log in with `hf auth login` if it is private, or give a folder"
        ) from error
    except (OfflineModeIsEnabled, HTTPError, LocalEntryNotFoundError) as error:
        if published:
            raise InterpError(f"{name}: the download broke off ({one_line(error)}); load again to go on") from error
        with suppress(LocalEntryNotFoundError):
            return Path(snapshot_download(name, allow_patterns=[INDEX], local_files_only=True))
        why = f"{type(error).__name__}: {one_line(error)}"
        raise InterpError(
            f"{name}: no such folder, not in the hub's cache, and the hub cannot be asked ({why}); connect, unset "
            "HF_HUB_OFFLINE, or give a folder"
        ) from error


def _needed(published: Sequence[str], index: Mapping[str, Any]) -> list[str]:
    """The files to fetch: of each component its texts and its weights, pickled ones only where no others are."""
    names = [INDEX]
    for component in index.keys() - UNUSED:
        inside = [f for f in published if f.startswith(f"{component}/") and f.count("/") == 1]
        weights = SAFE if any(SAFE.fullmatch(Path(f).name) for f in inside) else PICKLED
        names += [f for f in inside if f.endswith((".json", ".txt", ".model")) or weights.fullmatch(Path(f).name)]
    return names


def _verified(name: str, folder: Path) -> Path:
    """The folder, once each of its files that the hub names by a SHA-256 was found to have it."""
    there = [p.relative_to(folder).as_posix() for p in folder.rglob("*")]
    for path in (folder / f for f in _needed(there, files.read_index(folder))):
        # only the first link is named by the digest: it may lead on to a store that several repositories share
        blob = Path(os.readlink(path)).name if path.is_symlink() else ""
        if SHA256.fullmatch(blob) and path.is_file() and (digest := files.sha256(path)) != blob:
            raise InterpError(
                f"{name}: {path.relative_to(folder)} is damaged: its SHA-256 is {digest}, the hub's is {blob}; remove "
                f"{path.resolve()} and load again"
            )
    return folder
