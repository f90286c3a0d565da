"""Values as JSON: a record with its type's name, arrays as lists with their type, so that decode(encode(x)) == x.

What JSON should not hold lies in files beside it, named by their digests: images as PNG, tensors as safetensors.
Neurons, SAEs and enhancers inside a value are folders of their own.
"""

import dataclasses
import io
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from interp import store, tensors, types
from interp.benchmarks import images
from interp.errors import InterpError
from interp.experiments.run import Steered
from interp.grids import Grid, GridRow, Shots
from interp.interventions.edits import KINDS as INTERVENTIONS
from interp.interventions.edits import Plan
from interp.interventions.enhancer import EnhancerRef
from interp.latents.sae import LoadedSae
from interp.models.records import Conditioning
from interp.types import Arm, Effect, Interval, LayerScores, Measured, Neurons, Sweep

KINDS: dict[str, type] = {
    k.__name__: k
    for k in (
        LayerScores, Effect, Arm, Interval, Sweep, types.Site, types.Measure, Measured, types.Comparison,
        types.Matrix, types.Density, types.SaeFigures, types.Variant, types.MeasureRow, types.JudgeErrors,
        Steered, Grid, GridRow, Shots, Conditioning, types.NeuronSet, types.SaeRef,
    )
}  # fmt: skip
"""Records that are kept as JSON."""
FOLDERS = (Neurons, LoadedSae, EnhancerRef)
"""What has files of its own."""
IMAGES, TENSORS, PARTS = "images", "tensors", "parts"
"""Folders beside the record."""


class Encoder:
    """Encodes one value; what goes to files beside its record is collected, and nothing is written."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """Content of the files by their name, which is that of the content: none of an earlier value is overwritten."""
        self.parts: dict[str, Any] = {}
        """What is a folder itself, one of `FOLDERS`, by its name."""
        self._tensors: dict[str, Tensor] = {}

    def encode(self, value: Any) -> dict[str, Any]:
        """Plain data of a value.

        Raises:
            InterpError: a value of a type that is not kept so.
        """
        record = self._encode(value)
        if not isinstance(record, dict) or record.get("type") == "float":
            raise InterpError(f"a {type(value).__name__} by itself is not kept; known: {', '.join(KINDS)}")
        if self._tensors:
            data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in self._tensors.items()})
            record = {"type": "with_tensors", "file": self._file(TENSORS, "safetensors", data), "value": record}
        return record

    def _encode(self, value: Any) -> Any:
        if isinstance(value, (Plan, *INTERVENTIONS.values())):
            return {"type": "plan", "json": Plan.of(value).to_json(), "single": not isinstance(value, Plan)}
        if isinstance(value, FOLDERS):
            which = f"{len(self.parts):03d}" if isinstance(value, Neurons) else _digest(value)
            name = f"{PARTS}/{type(value).__name__.lower()}-{which}"
            self.parts[name] = value
            return {"type": "folder", "name": name}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            name = type(value).__name__
            if name not in KINDS:
                raise InterpError(f"values of type {name} are not kept as JSON; known: {', '.join(KINDS)}")
            return {"type": name} | {f.name: self._encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, Tensor):
            name = str(len(self._tensors))
            self._tensors[name] = value.detach().cpu()
            return {"type": "tensor", "name": name}
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, Mapping):
            return {"type": "map", "items": [[self._encode(k), self._encode(v)] for k, v in value.items()]}
        if isinstance(value, tuple | list):
            return {"type": type(value).__name__, "items": [self._encode(v) for v in value]}
        if not isinstance(value, str | int | float | bool | None):
            raise InterpError(f"values of type {type(value).__name__} are not kept as JSON; known: {', '.join(KINDS)}")
        return _finite(value)

    def _array(self, array: np.ndarray) -> dict[str, Any]:
        if array.dtype == np.uint8 and array.ndim >= 3 and array.shape[-1] == 3 and array.size:
            files = [self._image(image) for image in array.reshape(-1, *array.shape[-3:])]
            return {"type": "images", "shape": list(array.shape[:-3]), "files": files}
        values = [_finite(v) for v in array.ravel().tolist()]
        return {"type": "array", "dtype": array.dtype.str, "shape": list(array.shape), "values": values}

    def _image(self, image: np.ndarray) -> list[str]:
        data = io.BytesIO()
        Image.fromarray(image).save(data, format="PNG")
        return self._file(IMAGES, "png", data.getvalue())

    def _file(self, folder: str, kind: str, data: bytes) -> list[str]:
        """Name and digest."""
        digest = store.sha256_bytes(data)
        name = f"{folder}/{digest[:16]}.{kind}"
        self.files[name] = data
        return [name, digest]


def _digest(value: LoadedSae | EnhancerRef) -> str:
    return (value.ref.digest if isinstance(value, LoadedSae) else value.digest)[:16]


def _finite(value: Any) -> Any:
    """JSON has no NaN: it is written as a value of its own, so that the text 'nan' stays a text."""
    return {"type": "float", "value": str(value)} if isinstance(value, float) and not np.isfinite(value) else value


def named_files(record: Any) -> dict[str, str]:
    """The files that a record names, with their digests; of parts that are folders, the name alone with none."""
    if isinstance(record, list):
        return {name: digest for entry in record for name, digest in named_files(entry).items()}
    if not isinstance(record, dict):
        return {}
    named = {name: digest for entry in record.values() for name, digest in named_files(entry).items()}
    of_kind = {
        "images": record.get("files"),
        "with_tensors": [record.get("file")],
        "folder": [[record.get("name"), ""]],
    }
    pairs = of_kind.get(str(record.get("type"))) or []
    return named | {p[0]: p[1] for p in pairs if isinstance(p, list) and len(p) == 2 and isinstance(p[0], str)}


class Decoder:
    """Reads what an `Encoder` wrote.

    Args:
        folder: of the files beside the record.
        read: reads a folder inside it.
    """

    def __init__(self, folder: Path, read: Callable[[Path], Any]) -> None:
        self.folder, self.read = folder, read
        self._tensors: dict[str, Tensor] = {}
        self._parts = {
            "array": _array,
            "map": self._map,
            "float": _float,
            "list": lambda value: [self.decode(v) for v in _items(value)],
            "tuple": lambda value: tuple(self.decode(v) for v in _items(value)),
            "plan": self._plan,
            "folder": self._folder,
            "images": self._images,
            "tensor": self._tensor,
            "with_tensors": self._with_tensors,
        }

    def decode(self, value: Any) -> Any:
        """The value of plain data.

        Raises:
            InterpError: an `Encoder` did not make it, or a file beside it is damaged.
        """
        if not isinstance(value, dict):
            if isinstance(value, list):
                raise InterpError("a list without its type")
            return value
        kind = str(value.get("type"))
        if kind in self._parts:
            return self._parts[kind](value)
        if kind not in KINDS:
            raise InterpError(f"a value of unknown type {kind[:40]!r}; known: {', '.join(KINDS)}")
        fields = {k: self.decode(v) for k, v in value.items() if k != "type"}
        made = store.checked(KINDS[kind], fields, f"a value of type {kind}", "it does not fit")
        if problem := _misfit(made):
            raise InterpError(f"a value of type {kind}: {problem}")
        return made

    def _map(self, value: dict[str, Any]) -> dict[Any, Any]:
        items = _items(value)
        if not all(isinstance(item, list) and len(item) == 2 for item in items):
            raise InterpError("a map whose items are no pairs")
        pairs = [(self.decode(k), self.decode(v)) for k, v in items]
        try:
            return dict(pairs)
        except TypeError:
            raise InterpError("a map with a key that can be none") from None

    def _plan(self, value: dict[str, Any]) -> Any:
        plan = Plan.from_json(str(value.get("json")))
        if value.get("single") and len(plan.steps) != 1:
            raise InterpError(f"one intervention, of which there are {len(plan.steps)}")
        return plan.steps[0] if value.get("single") else plan

    def _folder(self, value: dict[str, Any]) -> Any:
        path = self.folder / str(value.get("name"))
        images.check_inside(path, self.folder)
        part = self.read(path)
        if not isinstance(part, FOLDERS):
            raise InterpError(f"{value.get('name')} holds a {type(part).__name__}, no SAE, enhancer or neurons")
        return part

    def _file(self, name: object, digest: object) -> Path:
        path = self.folder / str(name)
        images.check_inside(path, self.folder)
        if not path.is_file() or store.sha256_file(path) != digest:
            raise InterpError(f"{name} is missing or has changed")
        return path

    def _images(self, value: dict[str, Any]) -> np.ndarray:
        files = value.get("files")
        if not isinstance(files, list) or not files or not all(isinstance(f, list) and len(f) == 2 for f in files):
            raise InterpError("images without their files")
        read = [np.asarray(images.read(self._file(*file))) for file in files]
        shape = value.get("shape")
        if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
            raise InterpError("images without their shape")
        if math.prod(shape) != len(read) or len({image.shape for image in read}) > 1:
            raise InterpError(f"{len(read)} images that do not fit an array of shape {shape}")
        return np.stack(read).reshape(*shape, *read[0].shape)

    def _with_tensors(self, value: dict[str, Any]) -> Any:
        file = value.get("file")
        if not isinstance(file, list) or len(file) != 2:
            raise InterpError("tensors without their file")
        self._tensors = tensors.read(self._file(*file), "save it again")
        return self.decode(value.get("value"))

    def _tensor(self, value: dict[str, Any]) -> torch.Tensor:
        if value.get("name") not in self._tensors:
            raise InterpError(f"a tensor {str(value.get('name'))[:40]!r} that is in no file")
        return self._tensors[str(value["name"])]


_DTYPE = re.compile(r"[<>=|]?([fiu][1248]|b1|U\d+)")


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
    elif isinstance(value, Sweep):
        lengths = {len(value.strengths), len(value.culture_vqa), len(value.noun_fidelity)}
    elif isinstance(value, Measured):
        parts = (value.seeds, value.cultures, value.clusters, *value.scores.values(), *value.answers.values())
        lengths = {len(value.samples), *map(len, parts)}
    return f"lists of {sorted(lengths)} entries, where all have as many" if len(lengths) > 1 else None


def _items(value: dict[str, Any]) -> list[Any]:
    items = value.get("items")
    if not isinstance(items, list):
        raise InterpError(f"a {value['type']} without its items")
    return items


def _float(value: dict[str, Any]) -> float:
    if value.get("value") not in ("nan", "inf", "-inf"):
        raise InterpError(f"a number {str(value.get('value'))[:40]!r}; known: nan, inf, -inf")
    return float(value["value"])


def _array(value: dict[str, Any]) -> np.ndarray:
    """An array of numbers or texts, no larger than the values that are there."""
    values, shape, dtype = value.get("values"), value.get("shape"), str(value.get("dtype"))
    if not isinstance(values, list) or not isinstance(shape, list) or not all(type(n) is int for n in shape):
        raise InterpError("an array without its values and shape")
    if _DTYPE.fullmatch(dtype) is None:
        raise InterpError(f"an array of {dtype[:40]!r}; known are numbers, truth values and texts")
    if min(shape, default=1) < 0 or math.prod(shape) != len(values):
        raise InterpError(f"an array of shape {shape} with {len(values)} values")
    plain = [_float(v) if isinstance(v, dict) else v for v in values]
    texts = [len(v) for v in plain if isinstance(v, str)]
    # numpy gives every text the room of the longest
    if texts and max(texts) * len(texts) > 16 * (sum(texts) + 1024):
        raise InterpError(f"an array of texts of which one has {max(texts):,} characters, far more than the others")
    try:
        return np.array(plain, dtype=str if "U" in dtype else dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise InterpError(f"an array of {dtype} that holds other things ({store.one_line(error)})") from error
