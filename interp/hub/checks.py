"""What is checked of a written folder before anything is uploaded."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from interp.errors import InterpError
from interp.hub import golden as files
from interp.hub import published
from interp.hub.manifest import GOLDEN, Published
from interp.interventions.enhancer import EnhancerRef
from interp.latents import sae
from interp.types import Neurons

PATH = re.compile(r"(?<![\w./])(?:~|[A-Za-z]:)?[/\\](?![/\\])[\w.+-]+[/\\]")
"""An absolute path of two names or more; not the slashes of an address or of org/name."""


def refuse_paths(root: Path) -> None:
    """No file may say where it lay on this machine."""
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        for text in _texts(path):
            if match := PATH.search(text):
                name = path.relative_to(root)
                raise InterpError(f"{name} names a path of this machine, {text[match.start() :][:80]!r}; take it out")


def _texts(path: Path) -> Iterator[str]:
    """What a file says in words."""
    if path.suffix == ".json":
        yield from _strings(json.loads(path.read_bytes()))
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            yield from (file.metadata() or {}).values()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(item)


def check_written(value: Any, root: Path, manifest: Published) -> None:
    """The folder, read back, is what was given; SAEs read by sae_lens as well."""
    if isinstance(value, Neurons):
        _same_neurons(value, published.load_neurons(root))
    for part in (p for p in manifest.parts if p.kind == "sae"):
        _same_in_sae_lens(root / part.folder)
    if isinstance(value, EnhancerRef) and published.load_enhancer(root).digest != value.digest:
        raise InterpError(f"the enhancer written from {value.path} does not read back as it was; train it again")


def _same_neurons(given: Neurons, found: Neurons) -> None:
    plain, back = (vars(published.moved(value, "")) for value in (given, found))
    for name, one in plain.items():
        same = np.array_equal(one, back[name], equal_nan=True) if isinstance(one, np.ndarray) else one == back[name]
        if not same:
            raise InterpError(f"the {name} of these neurons do not read back as they are; save and load them first")


@torch.no_grad()
def _same_in_sae_lens(folder: Path) -> None:
    """sae_lens, reading the folder itself, gives the golden vectors."""
    theirs = type(sae.as_sae_lens(sae.load(folder), "")).load_from_disk(folder)
    golden = load_file(folder / GOLDEN)
    files.compare(folder / GOLDEN, "codes", golden["codes"], theirs.encode(golden["inputs"]), "read by sae_lens")
    files.compare(folder / GOLDEN, "outputs", golden["outputs"], theirs(golden["inputs"]), "read by sae_lens")
