"""Tensors in safetensors files: written whole or not at all, read with one error for whatever is wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from interp import store
from interp.errors import InterpError

_DIGEST, _RECORD = "sha256", "record"


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, from whatever device they are on."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    store.atomic_write_bytes(path, save(plain, metadata=dict(metadata) if metadata else None))


def read(path: Path, todo: str) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU; `todo` says what helps if it is broken.

    Raises:
        InterpError: it is missing, damaged or cut short.
    """
    return _read(path, todo)[0]


def read_shipped(path: Path, todo: str = "reinstall the package") -> dict[str, Tensor]:
    """The tensors of a file whose weights are stored in half precision, in float32.

    Raises:
        InterpError: it is missing or damaged.
    """
    return {name: t.float() if t.is_floating_point() else t for name, t in read(path, todo).items()}


def _read(path: Path, todo: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise InterpError(f"{path}: no such file; {todo}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
        return load_file(path), metadata
    # what safetensors and torch raise for headers that do not fit their file
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise InterpError(f"{path}: damaged or cut short ({store.one_line(error)}); {todo}") from error


def expect(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path, todo: str
) -> dict[str, Tensor]:
    """The tensors, if they have these names and shapes and hold finite numbers alone.

    Raises:
        InterpError: one is missing, left over, of another shape, or not finite.
    """
    present = {name: tuple(value.shape) for name, value in tensors.items()}
    if present != dict(shapes):
        wrong = sorted(n for n in present.keys() | shapes.keys() if present.get(n) != shapes.get(n))
        raise InterpError(f"{path}: {', '.join(wrong[:3])} missing, left over or of another shape; {todo}")
    if bad := [n for n, t in tensors.items() if not (t.is_floating_point() and bool(torch.isfinite(t).all()))]:
        raise InterpError(f"{path}: {bad[0]} holds what are no finite numbers; {todo}")
    return dict(tensors)


def write_state(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """A checkpoint as one file: tensors, a JSON record, and the digest of both."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(record)
    write(path, plain, {_RECORD: text, _DIGEST: _digest(plain, text)})


def read_state(path: Path, todo: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_state` wrote.

    Raises:
        InterpError: it is missing or damaged.
    """
    tensors, metadata = _read(path, todo)
    text = metadata.get(_RECORD, "")
    if metadata.get(_DIGEST) != _digest(tensors, text):
        raise InterpError(f"{path}: damaged, its content is not that of its digest; {todo}")
    return tensors, store.parse_json(text, str(path), todo)


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    arrays = {f"t.{name}": value.contiguous().view(-1).view(torch.uint8).numpy() for name, value in tensors.items()}
    kinds = json.dumps([[name, str(value.dtype), list(value.shape)] for name, value in sorted(tensors.items())])
    return store.sha256_tensors({**arrays, "text": text.encode(), "kinds": kinds.encode()})
