"""Reading published weights into transformers' classes: fetched once, converted once, checked strictly."""

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from interp import store, tensors
from interp.errors import InterpError
from interp.models import files

FORMAT = 1
"""Of what `converted` writes; another number makes it anew."""
TEXTS = ("*.json", "*.txt", "*.model")
"""The files of a repository beside its weights that say how to read pictures and captions."""


def fetched(name: str, texts: Sequence[str], weights: Sequence[str]) -> Path:
    """The folder of a model: a local one, or the files that are needed of a repository of the hub, from its cache.

    Args:
        name: a folder, or a hub id, `org/name`.
        texts: patterns of files to fetch.
        weights: patterns of weights; of the hub's the first that there is.

    Raises:
        InterpError: no folder, and not to be had from the hub.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    folder = Path(name).resolve()
    if folder.is_dir():
        return folder
    if files.HUB_ID.fullmatch(name) is None:
        raise InterpError(f"{name}: neither a folder nor a hub id like org/name; give one of the two")
    for pattern in weights:
        try:
            place = Path(snapshot_download(name, allow_patterns=[*texts, pattern]))
        except (HFValidationError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            raise InterpError(f"{name}: no such folder, and the hub does not give it ({why}); give a folder") from error
        if any(place.glob(pattern)):
            return place
    raise InterpError(f"{name}: has no {' and no '.join(weights)} on the hub; give another model")


def texts_of(folder: Path) -> list[Path]:
    """The files beside the weights, by name."""
    return sorted({p for pattern in TEXTS for p in folder.glob(pattern)})


def files_digest(paths: Sequence[Path], dtype: torch.dtype, *more: str) -> str:
    """SHA-256 over names and bytes of files, the number format, and more."""
    parts = [[p.name, store.sha256_file(p)] for p in paths]
    return store.sha256_bytes(json.dumps([*parts, str(dtype), *more]).encode())


def taken(state: dict[str, Tensor], prefix: str, names: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """The part of a state behind a prefix, moved out of it.

    Args:
        state: loses that part.
        prefix: taken off the names.
        names: whole pieces of a name → what is put in their place, in this order.
    """
    found: dict[str, Tensor] = {}
    for key in [k for k in state if k.startswith(prefix)]:
        own = key.removeprefix(prefix)
        for old, new in (names or {}).items():
            own = re.sub(rf"(?:^|(?<=\.)){re.escape(old)}", new, own)
        found[own] = state.pop(key)
    return found


@dataclass(frozen=True)
class Part:
    """A part of a file of weights."""

    state: Mapping[str, Tensor]
    """Under transformers' names, or a sequence's."""
    config: Mapping[str, Any] | None = None
    """Its config.json; None of plain layers, which have none."""


def converted(
    source: Path, parts: Callable[[dict[str, Tensor]], Mapping[str, Part]], unread: re.Pattern[str], settings: str
) -> Path:
    """A folder in the cache with the parts of a file of weights, each as it is loaded; made once.

    Args:
        source: the file; nothing in it is run.
        parts: takes them out of its weights.
        unread: weights that are passed over.
        settings: what the parts depend on beside the file.

    Raises:
        InterpError: the file is damaged, or weights are left over.
    """
    key = store.sha256_bytes(json.dumps([FORMAT, source.name, store.sha256_file(source), settings]).encode())
    place = store.cache_dir() / "converted" / key

    def fill(folder: Path) -> None:
        state = {k: v for k, v in _tensors(source).items() if unread.fullmatch(k) is None}
        found = parts(state)
        if state:
            raise InterpError(
                f"{source}: holds {len(state)} weights not known, such as {min(state)}; give the published file"
            )
        for name, part in found.items():
            _write(folder, name, part)

    return store.cached_folder(place, fill)


def _write(folder: Path, name: str, part: Part) -> None:
    own = {k: v.clone(memory_format=torch.contiguous_format) for k, v in part.state.items()}
    if part.config is None:
        tensors.write(folder / f"{name}.safetensors", own)
        return
    (folder / name).mkdir(parents=True)
    (folder / name / "config.json").write_text(json.dumps(part.config))
    tensors.write(folder / name / "model.safetensors", own)


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return files.unpickle(path)
    return tensors.read(path, "fetch the model again")


def stack(path: Path, widths: Sequence[int], places: Sequence[int], between: nn.Module, bias: bool) -> nn.Sequential:
    """Linear layers from a file of weights.

    Args:
        path: the file.
        widths: of their inputs and outputs, in a row.
        places: of the layers in the sequence.
        between: what stands at the other places.
        bias: whether the layers have one.

    Raises:
        InterpError: weights missing, left over or of another shape.
    """
    sizes = itertools.pairwise(widths)
    layers = {n: nn.Linear(a, b, bias=bias) for n, (a, b) in zip(places, sizes, strict=True)}
    made = nn.Sequential(*[layers.get(n, between) for n in range(places[-1] + 1)])
    try:
        made.load_state_dict(tensors.read(path, "remove its folder, and it is made again"))
    except RuntimeError as error:
        raise InterpError(f"{path}: {' '.join(str(error).split())}; give the published file") from error
    return made.eval().requires_grad_(False)
