"""Load what was published, verified."""

from dataclasses import replace
from pathlib import Path

from interp.errors import InterpError
from interp.hub.fetch import find
from interp.hub.manifest import NEURONS, Kind, Part
from interp.hub.verify import read_root
from interp.interventions import enhancer
from interp.interventions.enhancer import EnhancerRef
from interp.latents import neurons, sae
from interp.types import Neurons, Site, SiteKind


def load_sae(
    source: str | Path,
    layer: int | None = None,
    site: SiteKind = "resid",
    encoder: str = "text_encoder",
    revision: str | None = None,
) -> sae.LoadedSae:
    """A published SAE, verified.

    Args:
        source: a published folder, or `org/name` on the hub.
        layer: may be left out where there is one SAE only.
        site: `resid` or `z`.
        encoder: which text encoder.
        revision: of the repository on the hub.

    Raises:
        InterpError: there is none, or `verify` refuses it.
    """
    root = find(source, layer, revision)
    parts = [p for p in read_root(root)[1].parts if p.kind == "sae"]
    if layer is not None:
        parts = [p for p in parts if p.site.site() == Site(layer, site, encoder)]
    if len(parts) != 1:
        asked = "an SAE without layer=" if layer is None else f"the SAE at {Site(layer, site, encoder)}"
        there = ", ".join(str(p.site.site()) for p in read_root(root)[1].parts if p.kind == "sae") or "none"
        raise InterpError(f"{source}: asked for {asked}; published there: {there}")
    return sae.load(root / parts[0].folder)


def load_neurons(source: str | Path, revision: str | None = None) -> Neurons:
    """Published neurons with the SAE that was published beside them, verified.

    Raises:
        InterpError: there are none, or `verify` refuses them.
    """
    root = find(source, None, revision)
    _only(root, "neurons", source)
    value = neurons.load(root / NEURONS)
    return moved(value, str(root / value.sae.path))


def moved(value: Neurons, path: str) -> Neurons:
    """The same neurons with their SAE at another path."""
    sets = {name: replace(chosen, sae=replace(chosen.sae, path=path)) for name, chosen in value.sets.items()}
    return replace(value, sets=sets, sae=replace(value.sae, path=path))


def load_enhancer(source: str | Path, revision: str | None = None) -> EnhancerRef:
    """A published enhancer, verified; for `interp.Enhance`.

    Raises:
        InterpError: there is none, or `verify` refuses it.
    """
    root = find(source, None, revision)
    return enhancer.read(root / _only(root, "enhancer", source).folder)


def _only(root: Path, kind: Kind, source: str | Path) -> Part:
    manifest = read_root(root)[1]
    parts = [part for part in manifest.parts if part.kind == kind]
    if len(parts) != 1:
        raise InterpError(f"{source}: asked for one of kind {kind!r}, but what was published there is {manifest.kind}")
    return parts[0]
