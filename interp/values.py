"""Save and load the values that stages hand on: one JSON file with its type's name, beside a manifest.

Arrays are kept as lists with their type, so that load(save(x)) == x. SAEs and neurons have files of their own.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from interp import store, types
from interp.benchmarks import Benchmark
from interp.errors import InterpError
from interp.experiment import Sweep
from interp.models.base import Adapter
from interp.types import Arm, Comparison, Effect, Interval, LayerScores, Measure, Measured, Neurons

KINDS: dict[str, type] = {
    k.__name__: k for k in (LayerScores, Effect, Arm, Interval, Sweep, types.Site, Measure, Measured, Comparison)
}
FILE = "value.json"


def save(value: Any, folder: Path, manifest: store.Manifest) -> Path:
    """Write `folder/value.json` and `folder/manifest.json`.

    Raises:
        InterpError: not a kind of value that is kept so.
    """
    write_json(folder / FILE, value)
    write_manifest(folder, manifest)
    return folder


def load(folder: Path) -> Any:
    """Read what `save` wrote; a folder without a manifest is refused."""
    store.read_manifest(folder)
    return _decode(json.loads((folder / FILE).read_text(encoding="utf-8")))


def write_json(path: Path, value: Any) -> None:
    """One value as JSON, whole or not at all."""
    store.atomic_write_json(path, _encode(value))


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        if name not in KINDS:
            raise InterpError(f"values of type {name} are not kept as JSON; known: {', '.join(KINDS)}")
        return {"type": name} | {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return {"type": "array", "dtype": value.dtype.str, "values": _finite(value.tolist())}
    if isinstance(value, Mapping):
        return {"type": "map", "items": [[_encode(k), _encode(v)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        return {"type": type(value).__name__, "items": [_encode(v) for v in value]}
    return _finite(value)


def _finite(value: Any) -> Any:
    """JSON has no NaN: it is written as the string 'nan'."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(v) for v in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return _number(value)
    kind = value["type"]
    if kind == "array":
        return np.array(_number(value["values"]), dtype=value["dtype"])
    if kind == "map":
        return {_decode(k): _decode(v) for k, v in value["items"]}
    if kind in ("tuple", "list"):
        items = [_decode(v) for v in value["items"]]
        return tuple(items) if kind == "tuple" else items
    if kind not in KINDS:
        raise InterpError(f"a value of unknown type {kind!r}; known: {', '.join(KINDS)}")
    return KINDS[kind](**{k: _decode(v) for k, v in value.items() if k != "type"})


def manifest(command: str, model: Adapter, bench: Benchmark) -> store.Manifest:
    """The manifest of a stage on a model and a benchmark."""
    return store.new_manifest(
        command,
        model_digest=model.model_digest,
        benchmark_digest=bench.digest,
        device=str(model.device),
        certificate=dict(model.certificate),
    )


def manifest_of(command: str, neurons: Neurons) -> store.Manifest:
    """The manifest of a stage on neurons."""
    return store.new_manifest(
        command,
        model_digest=neurons.sae.model_digest,
        benchmark_digest=neurons.benchmark_digest,
        sae_digest=neurons.sae.digest,
    )


def write_manifest(folder: Path, found: store.Manifest) -> None:
    """Write a manifest with its wall time."""
    store.write_manifest(folder, found.finished())
