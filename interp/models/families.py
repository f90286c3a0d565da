"""Which family of models a name or a folder belongs to."""

from typing import Any

from interp.models import alt_diffusion, files, flux, one_encoder, pea_diffusion, pocket, sd3, sdxl
from interp.models.adapter import Adapter
from interp.models.diffusers_adapter import Request
from interp.models.show_o2 import model

FAMILIES = {kind: family for family in (alt_diffusion, sdxl, sd3, flux) for kind in family.PIPELINES}
"""Pipeline class named by a folder's index → the family's module; any other pipeline goes to `single`."""
PREFIXES = {"pea-diffusion": pea_diffusion, "show-o2": model}
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
    place = files.resolve(name)
    request = Request(name, place, **options)
    return FAMILIES.get(files.read_index(place)["_class_name"], one_encoder).load(request)
