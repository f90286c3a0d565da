"""One adapter per family behind one interface; `pocket` is one of them."""

from typing import Any

from interp.errors import InterpError
from interp.models import alt_diffusion, flux, folder, pea_diffusion, pocket, sd3, sdxl, show_o2_model, single
from interp.models.base import Adapter
from interp.models.pipeline import Request

FAMILIES = {kind: family for family in (alt_diffusion, sdxl, sd3, flux) for kind in family.PIPELINES}
"""Pipeline class named by a folder's index → the family's module; any other pipeline goes to `single`."""
PREFIXES = {"pea-diffusion": pea_diffusion, "show-o2": show_o2_model}
"""What is not a diffusers folder is named by `<prefix>:<folder>`."""


def load(name: str, **options: Any) -> Adapter:
    """Load a model by name, folder or hub id.

    Args:
        name: `pocket`; a folder in diffusers' layout; `org/name` on the hub; `pea-diffusion:<folder>`,
            `show-o2:<folder>`.
        options: device, dtype, offload, size; see `Request`.

    Raises:
        InterpError: nothing of that name can be loaded.
    """
    if name == "pocket":
        return pocket.load(**options)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in PREFIXES:
        return PREFIXES[prefix].load(name, rest, **options)
    place = folder.resolve(name)
    request = Request(name, place, **options)
    return FAMILIES.get(folder.read_index(place)["_class_name"], single).load(request)


__all__ = ["FAMILIES", "PREFIXES", "InterpError", "load"]
