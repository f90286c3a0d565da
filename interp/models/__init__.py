"""One adapter per family behind one interface; `pocket` is one of them."""

import hashlib
from pathlib import Path

from interp import store
from interp.errors import InterpError
from interp.models import alt_diffusion, pocket
from interp.models.base import Adapter


def load(name: str) -> Adapter:
    """Load a model by name or folder.

    Args:
        name: `pocket`, or a local folder in AltDiffusion's layout.

    Raises:
        InterpError: nothing of that name can be loaded.
    """
    if name == "pocket":
        return pocket.load(name)
    folder = Path(name)
    if not (folder / "model_index.json").is_file():
        raise InterpError(f"unknown model {name!r}: known are 'pocket' and folders with a model_index.json")
    return alt_diffusion.load(name, folder, folder_digest(folder), folder_digest(folder / "text_encoder"), {})


def folder_digest(folder: Path) -> str:
    """SHA-256 over the weight files of a diffusers folder, by name."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".bin"))
    parts = [p.relative_to(folder).as_posix().encode() + store.sha256_file(p).encode() for p in files]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
