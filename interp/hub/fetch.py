"""Where a published folder is found: on this machine, or fetched from the model hub."""

from pathlib import Path

from interp.errors import InterpError
from interp.hub.manifest import ROOT
from interp.hub.verify import belonging, chosen, read_root, verify
from interp.models.files import HUB_ID


def fetch(repo: str, layer: int | None = None, revision: str | None = None) -> Path:
    """A repository of the hub in the hub's cache, verified; only the files of one layer if one is named.

    Args:
        repo: `org/name`.
        layer: all layers if None.
        revision: a commit, tag or branch; the main branch if None.

    Raises:
        InterpError: no such repository or no access to it, the hub cannot be asked, or `verify` refuses it.
    """
    if HUB_ID.fullmatch(repo) is None:
        raise InterpError(f"{repo}: neither a folder nor a hub id like org/name; give one of the two")
    root = _download(repo, list(ROOT), revision)
    sums, manifest = read_root(root)
    wanted = [*ROOT, *belonging(sums, chosen(manifest, layer, repo))]
    # the snapshot is named by its commit: a newer one that comes between the two calls is not mixed in
    folder = _download(repo, wanted, root.name)
    verify(folder, layer)
    return folder


def _download(repo: str, names: list[str], revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return Path(huggingface_hub.snapshot_download(repo, allow_patterns=names, revision=revision))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InterpError(
            f"{repo}: no such folder, and the hub has no such repository, or shows it only to others; mind the "
            "spelling, log in with `hf auth login` if it is private or gated, or give a folder"
        ) from error
    except (OfflineModeIsEnabled, HTTPError, LocalEntryNotFoundError) as error:
        why = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        raise InterpError(
            f"{repo}: no such folder, and the hub gave no files ({why}); connect, mind the revision, or give a folder"
        ) from error


def find(source: str | Path, layer: int | None = None, revision: str | None = None) -> Path:
    """A published folder, verified: a local one if there is one of that name, else fetched from the hub."""
    if not Path(source).is_dir():
        return fetch(str(source), layer, revision)
    verify(source, layer)
    return Path(source)
