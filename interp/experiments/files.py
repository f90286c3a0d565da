"""Save and load the values that stages hand on: one JSON file with its type's name, beside a manifest.

Arrays are kept as lists with their type, so that load(save(x)) == x. SAEs and neurons have files of their own.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from interp import store, types
from interp.benchmarks.benchmark import Benchmark
from interp.errors import InterpError
from interp.models.adapter import Adapter
from interp.types import Arm, Comparison, Effect, Interval, LayerScores, Measure, Measured, Neurons, Sweep

KINDS: dict[str, type] = {
    k.__name__: k for k in (LayerScores, Effect, Arm, Interval, Sweep, types.Site, Measure, Measured, Comparison)
}
FILE = "value.json"


def save(value: Any, folder: Path, manifest: store.Manifest) -> Path:
    """Write `folder/value.json` and `folder/manifest.json`.

    Raises:
        InterpError: not a kind of value that is kept so, or the folder holds something else than an earlier run of the
            same stage.
    """
    store.check_run_folder(folder, manifest.stage)
    write_json(folder / FILE, value)
    store.write_manifest(folder, manifest.finished())
    return folder


def load(folder: Path) -> Any:
    """Read what `save` wrote; a folder without a manifest is refused.

    Raises:
        InterpError: there is none, or it is damaged.
    """
    if store.read_manifest(folder).wall_seconds is None:
        raise InterpError(f"{folder}: its run has not ended, so its value may be an earlier one's; run the stage again")
    path, todo = folder / FILE, "restore it or run the stage again"
    record = store.read_sealed(path, todo)
    try:
        return _decode(record)
    except RecursionError:
        raise InterpError(f"{path}: nested too deeply; {todo}") from None
    except InterpError as error:
        raise InterpError(f"{path}: {error}; {todo}") from error


def write_json(path: Path, value: Any) -> None:
    """One value as JSON, sealed, whole or not at all."""
    store.write_sealed(path, _encode(value))


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        if name not in KINDS:
            raise InterpError(f"values of type {name} are not kept as JSON; known: {', '.join(KINDS)}")
        return {"type": name} | {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return {"type": "array", "dtype": value.dtype.str, "shape": list(value.shape), "values": _plain(value)}
    if isinstance(value, Mapping):
        return {"type": "map", "items": [[_encode(k), _encode(v)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        return {"type": type(value).__name__, "items": [_encode(v) for v in value]}
    return _finite(value)


def _plain(array: np.ndarray) -> list[Any]:
    """An array's values in a row."""
    return [_finite(v) for v in array.ravel().tolist()]


def _finite(value: Any) -> Any:
    """JSON has no NaN: it is written as a value of its own, so that the text 'nan' stays a text."""
    return {"type": "float", "value": str(value)} if isinstance(value, float) and not np.isfinite(value) else value


def _decode(value: Any) -> Any:
    """The value of plain data that `_encode` made.

    Raises:
        InterpError: it did not.
    """
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise InterpError("a list without its type")
        return value
    kind = str(value.get("type"))
    if kind in _PARTS:
        return _PARTS[kind](value)
    if kind not in KINDS:
        raise InterpError(f"a value of unknown type {kind[:40]!r}; known: {', '.join(KINDS)}")
    fields = {k: _decode(v) for k, v in value.items() if k != "type"}
    made = store.checked(KINDS[kind], fields, f"a value of type {kind}", "it does not fit")
    if problem := _misfit(made):
        raise InterpError(f"a value of type {kind}: {problem}")
    return made


def _misfit(value: Any) -> str | None:
    """What does not fit together in a record; None if nothing."""
    if isinstance(value, Interval):
        sound = value.n >= 0 and value.unscored >= 0 and not value.low > value.high
        return None if sound else f"bounds {value.low} and {value.high}, of {value.n} samples"
    lengths: set[int] = set()
    if isinstance(value, LayerScores):
        curves = (value.delta_ca, value.ci, value.neighbour_p, *value.variants.values(), *value.causal.values())
        lengths = {len(curve) for curve in curves}
        if not 0 <= value.peak < len(value.delta_ca) or value.ci.shape[1:] != (2,):
            return f"a peak at {value.peak} of {len(value.delta_ca)} layers, or bounds that are no pairs"
    elif isinstance(value, Arm):
        lengths = {len(value.culture_hit), len(value.noun_hit), *map(len, value.scores.values())}
    elif isinstance(value, Effect):
        lengths = {len(value.cultures), len(value.sample_ids), *(len(a.culture_hit) for a in value.arms.values())}
    elif isinstance(value, Measured):
        parts = (value.seeds, value.cultures, value.clusters, *value.scores.values(), *value.answers.values())
        lengths = {len(value.samples), *map(len, parts)}
    return f"lists of {sorted(lengths)} entries, where all have as many" if len(lengths) > 1 else None


def _items(value: dict[str, Any]) -> list[Any]:
    found = value.get("items")
    if not isinstance(found, list):
        raise InterpError(f"a {value['type']} without its items")
    return found


def _decode_map(value: dict[str, Any]) -> dict[Any, Any]:
    items = _items(value)
    if not all(isinstance(item, list) and len(item) == 2 for item in items):
        raise InterpError("a map whose items are no pairs")
    pairs = [(_decode(k), _decode(v)) for k, v in items]
    try:
        return dict(pairs)
    except TypeError:
        raise InterpError("a map with a key that can be none") from None


def _decode_float(value: dict[str, Any]) -> float:
    if value.get("value") not in ("nan", "inf", "-inf"):
        raise InterpError(f"a number {str(value.get('value'))[:40]!r}; known: nan, inf, -inf")
    return float(value["value"])


def _decode_array(value: dict[str, Any]) -> np.ndarray:
    """An array of numbers or texts, no larger than the values that are there."""
    values, shape, dtype = value.get("values"), value.get("shape"), str(value.get("dtype"))
    if not isinstance(values, list) or not isinstance(shape, list) or not all(type(n) is int for n in shape):
        raise InterpError("an array without its values and shape")
    if _DTYPE.fullmatch(dtype) is None:
        raise InterpError(f"an array of {dtype[:40]!r}; known are numbers, truth values and texts")
    if min(shape, default=1) < 0 or math.prod(shape) != len(values):
        raise InterpError(f"an array of shape {shape} with {len(values)} values")
    plain = [_decode(v) for v in values]
    texts = [len(v) for v in plain if isinstance(v, str)]
    # numpy gives every text the room of the longest
    if texts and max(texts) * len(texts) > 16 * (sum(texts) + 1024):
        raise InterpError(f"an array of texts of which one has {max(texts):,} characters, far more than the others")
    try:
        return np.array(plain, dtype=str if "U" in dtype else dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise InterpError(f"an array of {dtype} that holds other things ({store.one_line(error)})") from error


_DTYPE = re.compile(r"[<>=|]?([fiu][1248]|b1|U\d+)")
_PARTS = {
    "array": _decode_array,
    "map": _decode_map,
    "float": _decode_float,
    "list": lambda value: [_decode(v) for v in _items(value)],
    "tuple": lambda value: tuple(_decode(v) for v in _items(value)),
}
"""What is no record, by the type that its object names."""


def manifest(
    command: str,
    stage: str = "",
    model: Adapter | None = None,
    bench: Benchmark | None = None,
    neurons: Neurons | None = None,
    **fields: Any,
) -> store.Manifest:
    """The manifest of a stage that begins now, with the digests of what goes in.

    Args:
        command: as it can be typed again.
        stage: whose folder it is.
        model: that computes.
        bench: the benchmark.
        neurons: whose SAE and benchmark are named, too.
        fields: others of `store.Manifest`.
    """
    known: dict[str, Any] = dict(fields)
    if neurons is not None:
        known |= {"benchmark_digest": neurons.benchmark_digest, "sae_digest": neurons.sae.digest}
        known |= {"encoder_digest": neurons.sae.encoder_digest}
    if bench is not None:
        known["benchmark_digest"] = bench.digest
    if model is not None:
        known |= {"model_digest": model.model_digest, "encoder_digest": model.encoder_digest}
        known |= {"device": str(model.device), "certificate": dict(model.certificate)}
    return store.new_manifest(command, stage=stage, **known)
