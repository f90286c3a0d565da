"""SAEs, neurons and enhancers by name: a folder, what ships with a model, or a published repository."""

from pathlib import Path

from interp import bounds, store
from interp.errors import InterpError
from interp.hub import published
from interp.interventions import enhancer
from interp.interventions.enhancer import CULTURE_LAYER, EnhancerRef
from interp.latents import neurons, sae
from interp.models.files import HUB_ID
from interp.store import digests
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
    known = folder.exists() or shipped.exists()
    if _published(folder) or (not known and HUB_ID.fullmatch(str(source))):
        return published.load_sae(source, layer, site, encoder, revision)
    if (folder / sae.CFG).is_file() and layer is None:
        return sae.load(source)
    root = folder if folder.is_dir() else shipped
    if layer is None:
        several = sorted(p.parent for p in root.glob(f"*/{sae.CFG}") if p.parent.name.startswith("layer_"))
        if len(several) != 1:
            there = ", ".join(p.name for p in several) or "none"
            raise InterpError(f"{source}: asked for an SAE without layer=; there: {there}")
        return sae.load(several[0])
    return sae.load(root / sae.folder_name(Site(layer, site, encoder)))


def _published(folder: Path) -> bool:
    return (folder / digests.SUMS).is_file()


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
    if folder.is_dir() and not _published(folder):
        return neurons.load(folder)
    return published.load_neurons(source, revision)


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
    if folder.is_dir() and not _published(folder):
        return enhancer.read(folder)
    shipped = {} if folder.exists() else shipped_enhancers(str(source))
    return shipped[CULTURE_LAYER] if CULTURE_LAYER in shipped else published.load_enhancer(source, revision)


def shipped_enhancers(model: str) -> dict[str, EnhancerRef]:
    """Enhancers that ship for a model, by name: `culture_layer` and its controls; none for most."""
    found = sorted((SHIPPED / Path(model).name / "enhancers").glob(f"*/{enhancer.CONFIG}"))
    return {config.parent.name: enhancer.read(config.parent) for config in found}
