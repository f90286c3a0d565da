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
"""The files of a repository beside its weights that say how to read images and captions."""


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


def pop_part(state: dict[str, Tensor], prefix: str, names: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """The part of a state behind a prefix, moved out of it.

    The prefix is taken off the names, and whole pieces of a name are replaced as `names` says, in its order.
    """
    part: dict[str, Tensor] = {}
    for key in [k for k in state if k.startswith(prefix)]:
        name = key.removeprefix(prefix)
        for old, new in (names or {}).items():
            name = re.sub(rf"(?:^|(?<=\.)){re.escape(old)}", new, name)
        part[name] = state.pop(key)
    return part


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

    def fill(folder: Path) -> None:
        safe = source.suffix == ".safetensors"
        weights = tensors.read(source, "fetch the model again") if safe else files.unpickle(source)
        state = {k: v for k, v in weights.items() if unread.fullmatch(k) is None}
        made = parts(state)
        if state:
            raise InterpError(
                f"{source}: holds {len(state)} weights not known, such as {min(state)}; give the published file"
            )
        for name, part in made.items():
            _write(folder, name, part)

    return store.cached_folder(store.cache_dir() / "converted" / key, fill)


def _write(folder: Path, name: str, part: Part) -> None:
    state = {k: v.clone(memory_format=torch.contiguous_format) for k, v in part.state.items()}
    if part.config is None:
        tensors.write(folder / f"{name}.safetensors", state)
        return
    (folder / name).mkdir(parents=True)
    (folder / name / "config.json").write_text(json.dumps(part.config))
    tensors.write(folder / name / "model.safetensors", state)


def stack(path: Path, widths: Sequence[int], places: Sequence[int], between: nn.Module, bias: bool) -> nn.Sequential:
    """Linear layers from a file of weights, with `between` at the other places of the sequence.

    `widths` are of their inputs and outputs, in a row.

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
