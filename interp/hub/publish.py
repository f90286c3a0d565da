"""Publish SAEs, neurons and enhancers to a model hub: one folder with everything another needs to load and check them.

The folder is written and read back, by this toolkit and by sae_lens, before anything is uploaded. The same value gives
the same bytes, so that what a dry run wrote is what is uploaded later. Reading them is `published_files`.
"""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp import store
from interp.errors import InterpError
from interp.hub.card import card
from interp.hub.checks import check_written
from interp.hub.manifest import Kind
from interp.hub.upload import upload
from interp.hub.verify import read_root, verify
from interp.hub.writing import named, write
from interp.interventions.enhancer import EnhancerRef
from interp.latents.sae import LoadedSae
from interp.models.files import HUB_ID
from interp.store.digests import SUMS
from interp.types import Neurons

__all__ = ["Publication", "card", "publish"]

LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
NO_LICENCE = ("none", "noassertion", "unknown", "unlicensed", "proprietary")


@dataclass(frozen=True)
class Publication:
    """What was published, or would be."""

    repo: str
    """`org/name`."""
    kind: Kind
    files: Mapping[str, str]
    """SHA-256 of every file, by its path in the repository."""
    folder: Path | None
    """Where it was written on this machine; None where it was uploaded only."""
    url: str | None
    """Its page; None in a dry run."""
    revision: str | None
    """Commit on the hub, to load exactly this; None in a dry run."""


def publish(
    value: LoadedSae | Sequence[LoadedSae] | Neurons | EnhancerRef,
    repo: str,
    licence: str,
    dry_run: bool = False,
    folder: Path | None = None,
    private: bool = False,
    model_name: str | None = None,
    api: Any | None = None,
) -> Publication:
    """Write, check and upload SAEs, neurons (with their SAE) or an enhancer.

    A repository holds one publication: pass all layers together.

    Args:
        value: what to publish.
        repo: `org/name`; made if it does not exist.
        licence: SPDX identifier, such as `Apache-2.0`.
        dry_run: write the folder and upload nothing.
        folder: keep the folder here; if None, `published/<name>` in a dry run and nowhere else.
        private: make the repository private.
        model_name: what the card calls the model; None for what the SAE's files say.
        api: in place of `huggingface_hub.HfApi()`.

    Raises:
        InterpError: something is missing, changed, or names a path of this machine; the folder does not read back as
            what was given; the place to write holds other things; or the hub refuses.
    """
    _check_request(repo, licence)
    target = folder or (Path("published") / repo.split("/")[1] if dry_run else None)
    if target is not None:
        _check_target(target)
    with tempfile.TemporaryDirectory(prefix="interp-publish-") as place:
        root = Path(place) / "folder"
        root.mkdir()
        value = named(value, model_name) if isinstance(value, Neurons) else value
        write(value, root, repo, licence, model_name)
        manifest = verify(root)
        listed = {**store.folder_sums(root), SUMS: store.sha256_file(root / SUMS)}
        check_written(value, root, manifest)
        url, revision = (None, None) if dry_run else upload(root, repo, manifest.kind, private, api)
        if target is not None:
            _check_target(target)
            with store.atomic_folder(target, "replace") as kept:
                shutil.copytree(root, kept, dirs_exist_ok=True)
    return Publication(repo, manifest.kind, listed, target, url, revision)


def _check_request(repo: str, licence: str) -> None:
    if HUB_ID.fullmatch(repo) is None:
        raise InterpError(f"asked to publish to {repo!r}; give a name like org/name")
    if LICENCE.fullmatch(licence) is None or licence.lower() in NO_LICENCE:
        raise InterpError(f"licence {licence!r} is no SPDX identifier; give one such as Apache-2.0, MIT or CC-BY-4.0")


def _is_publication(folder: Path) -> bool:
    """Whether a folder holds a manifest of ours; sums alone are everybody's."""
    try:
        read_root(folder)
    except InterpError:
        return False
    return True


def _check_target(target: Path) -> None:
    """Only an empty folder or an earlier publication is replaced, every file of it as it was published."""
    store.check_out(target)
    if not target.is_dir() or not (there := store.strangers(target, ())):
        return
    if other := store.changed(target) if _is_publication(target) else there:
        raise InterpError(
            f"{target}: {other[0]} is not of an earlier publication, or was changed since; nothing was replaced: name "
            "another folder, or remove it yourself"
        )
