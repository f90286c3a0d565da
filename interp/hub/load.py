"""SAEs, neurons and enhancers by name: a folder, what ships with a model, or what was published, verified."""

from dataclasses import replace
from pathlib import Path

from interp import bounds, store
from interp.errors import InterpError
from interp.hub.manifest import ROOT, Kind, Published
from interp.hub.verify import files_of, parts_at, read_root, verify
from interp.interventions import enhancer
from interp.interventions.enhancer import CULTURE_LAYER, EnhancerRef
from interp.latents import neurons, sae
from interp.models.files import HUB_ID
from interp.types import Neurons, Site, SiteKind

SHIPPED = Path(__file__).parents[2] / "saes"
"""Trained SAEs of a checkout, by model; enhancers below `enhancers`."""


def load_sae(
    source: str | Path,
    layer: int | None = None,
    site: SiteKind = "resid",
    encoder: str = "text_encoder",
    revision: str | None = None,
) -> sae.LoadedSae:
    """Load an SAE: its folder; or, with a layer, of a folder of several, a shipped model, or a published repository.

    Args:
        source: a folder, a shipped model's name such as `pocket`, or a hub id. Published ones are checked against their
            checksums and golden vectors.
        layer: 0-based; needed where there are several.
        site: `z` or `resid`.
        encoder: which text encoder.
        revision: of a hub id; the newest if None.

    Raises:
        InterpError: there is none, or a published one does not fit its checksums or golden vectors.
    """
    folder, shipped = Path(source), SHIPPED / str(source)
    store.check_name(folder)
    if layer is not None:
        bounds.whole("layer", layer, 0)
    wanted = None if layer is None else Site(layer, site, encoder)
    known = folder.exists() or shipped.exists()
    if _is_published(folder) or (not known and HUB_ID.fullmatch(str(source))):
        return sae.load(_published_sae(source, wanted, revision))
    root = folder if folder.is_dir() else shipped
    if wanted is not None:
        return sae.load(root / sae.folder_name(wanted))
    if (folder / sae.CFG).is_file():
        return sae.load(source)
    several = sorted(p.parent for p in root.glob(f"layer_*/{sae.CFG}"))
    if len(several) != 1:
        names = ", ".join(p.name for p in several) or "none"
        raise InterpError(f"{source}: asked for an SAE without layer=; there: {names}")
    return sae.load(several[0])


def load_neurons(source: str | Path, revision: str | None = None) -> Neurons:
    """Load neurons: a folder that `interp neurons` or `neurons.save` wrote, or a published repository.

    Args:
        source: a folder or a hub id. Published ones are checked, and bring their SAE.
        revision: of a hub id; the newest if None.

    Raises:
        InterpError: there are none, they are damaged, or published ones do not fit their checksums.
    """
    folder = Path(source)
    store.check_name(folder)
    if folder.is_dir() and not _is_published(folder):
        return neurons.load(folder)
    folder = _published_part(source, "neurons", revision)
    value = neurons.load(folder)
    return moved(value, str(folder.parent / value.sae.path))


def load_enhancer(source: str | Path, revision: str | None = None) -> EnhancerRef:
    """Load an enhancer, for `interp.Enhance`: its folder, a shipped model's name, or a published repository.

    Args:
        source: a folder, a shipped model's name such as `pocket`, or a hub id. Published ones are checked against their
            checksums and golden vectors.
        revision: of a hub id; the newest if None.

    Raises:
        InterpError: there is none, or a published one does not fit its checksums or golden vectors.
    """
    folder = Path(source)
    store.check_name(folder)
    if folder.is_dir() and not _is_published(folder):
        return enhancer.read(folder)
    shipped = {} if folder.exists() else shipped_enhancers(str(source))
    return shipped.get(CULTURE_LAYER) or enhancer.read(_published_part(source, "enhancer", revision))


def shipped_enhancers(model: str) -> dict[str, EnhancerRef]:
    """Enhancers that ship for a model, by name: `culture_layer` and its controls; none for most."""
    configs = sorted((SHIPPED / Path(model).name / "enhancers").glob(f"*/{enhancer.CONFIG}"))
    return {config.parent.name: enhancer.read(config.parent) for config in configs}


def moved(value: Neurons, path: str) -> Neurons:
    """The same neurons with their SAE at another path."""
    sets = {culture: replace(latents, sae=replace(latents.sae, path=path)) for culture, latents in value.sets.items()}
    return replace(value, sets=sets, sae=replace(value.sae, path=path))


def _is_published(folder: Path) -> bool:
    return (folder / store.SUMS).is_file()


def _published_sae(source: str | Path, site: Site | None, revision: str | None) -> Path:
    root, manifest = _published(source, None if site is None else site.layer, revision)
    saes = {part.site: root / part.folder for part in manifest.parts if part.kind == "sae"}
    fitting = [folder for there, folder in saes.items() if site in (None, there)]
    if len(fitting) != 1:
        wanted = "an SAE without layer=" if site is None else f"the SAE at {site}"
        sites = ", ".join(map(str, saes)) or "none"
        raise InterpError(f"{source}: asked for {wanted}; published there: {sites}")
    return fitting[0]


def _published_part(source: str | Path, kind: Kind, revision: str | None) -> Path:
    """The folder of the one part of a kind."""
    root, manifest = _published(source, None, revision)
    folders = [root / part.folder for part in manifest.parts if part.kind == kind]
    if len(folders) != 1:
        raise InterpError(f"{source}: asked for one of kind {kind!r}, but what was published there is {manifest.kind}")
    return folders[0]


def _published(source: str | Path, layer: int | None, revision: str | None) -> tuple[Path, Published]:
    """A published folder, verified: the local one if there is one of that name, else the hub's."""
    root = Path(source) if Path(source).is_dir() else fetch(str(source), layer, revision)
    return root, verify(root, layer)


def fetch(repo: str, layer: int | None = None, revision: str | None = None) -> Path:
    """A published repository in the hub's cache, not yet verified; only the files of one layer if one is named.

    Args:
        repo: `org/name`.
        layer: all layers if None.
        revision: a commit, tag or branch; the main branch if None.

    Raises:
        InterpError: no such repository or no access to it, the hub cannot be asked, or it was not published whole.
    """
    if HUB_ID.fullmatch(repo) is None:
        raise InterpError(f"{repo}: neither a folder nor a hub id like org/name; give one of the two")
    root = _download(repo, [*ROOT], revision)
    sums, manifest = read_root(root)
    # the snapshot is named by its commit: a newer one that comes between the two calls is not mixed in
    return _download(repo, [*ROOT, *files_of(parts_at(manifest, layer, repo), sums)], root.name)


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
        why = f"{type(error).__name__}: {store.one_line(error)}"
        raise InterpError(
            f"{repo}: no such folder, and the hub gave no files ({why}); connect, mind the revision, or give a folder"
        ) from error
