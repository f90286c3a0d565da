"""Which family of models a name or a folder belongs to."""

from typing import Unpack

from interp.models import alt_diffusion, download, files, flux, one_encoder, pea_diffusion, pocket, sd3, sdxl
from interp.models.adapter import Adapter
from interp.models.diffusers_adapter import Request
from interp.models.records import Options
from interp.models.show_o2 import model as show_o2

FAMILIES = {kind: family for family in (alt_diffusion, sdxl, sd3, flux) for kind in family.PIPELINES}
"""Pipeline class named by a folder's index → the family's module; any other pipeline goes to `one_encoder`."""
PREFIXES = {"pea-diffusion": pea_diffusion, "show-o2": show_o2}
"""What is not a diffusers folder is named by `<prefix>:<folder>`."""


def load(name: str, **options: Unpack[Options]) -> Adapter:
    """Load a model by name, folder or hub id.

    Args:
        name: `pocket`; a folder in diffusers' layout; `org/name` on the hub; `pea-diffusion:<folder>`,
            `show-o2:<folder>`.
        options: device, dtype, offload, size.

    Raises:
        InterpError: nothing of that name can be loaded.
    """
    if name == "pocket":
        return pocket.load(**options)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in PREFIXES:
        return PREFIXES[prefix].load(name, rest, **options)
    folder = download.resolve(name)
    family = FAMILIES.get(files.read_index(folder)["_class_name"], one_encoder)
    return family.load(Request(name, folder, **options))
