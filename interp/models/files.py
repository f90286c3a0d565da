"""Model folders in diffusers' layout, read safely and strictly: nothing is unpickled into code, nothing is left out.

A folder holds `model_index.json` and a subfolder for each component. Not for putting components together: that is
`diffusers_adapter.assemble`.
"""

import json
import os
import pickle
import re
import shutil
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from interp import store
from interp.errors import InterpError
from interp.tensors import write

if TYPE_CHECKING:
    import transformers

INDEX = "model_index.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.bin.index.json",
    "diffusion_pytorch_model.bin",
)
"""Where weights are looked for, in the order of transformers and of diffusers. No name of a variant is among them."""
SAFE = re.compile(r"(diffusion_pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors")
PICKLED = re.compile(r"(diffusion_)?pytorch_model(-\d{5}-of-\d{5})?\.bin")
REDIRECTS = ("quantization_config", "transformers_weights")
"""Settings of a config.json that make the libraries load other weights than the files of `weights`, or change them."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
DAMAGED = (
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
)
"""What `torch.load` raises, beside UnpicklingError, on files with bytes changed or cut off."""


def read_json(path: Path, todo: str = "fetch the model again, or give a folder that has it") -> dict[str, Any]:
    """The object in a JSON file of a model.

    Raises:
        InterpError: it is missing, or holds no JSON object; ends with `todo`.
    """
    return store.read_json(path, todo)


def read_index(folder: Path) -> dict[str, Any]:
    """The model's `model_index.json`: the pipeline's class, and library and class of each component.

    Raises:
        InterpError: it is missing, no JSON object, or names no `_class_name`.
    """
    index = read_json(folder / INDEX)
    if not isinstance(index.get("_class_name"), str):
        raise InterpError(f"{folder / INDEX}: names no pipeline in _class_name; is it a model in diffusers' layout?")
    return index


def _layout(folder: Path, component: str) -> dict[Path, set[str] | None]:
    """The weight files of a component, and what a shard's index says is in it."""
    place = folder / component
    name = next((n for n in WEIGHTS if (place / n).is_file()), None)
    if name is None:
        other = ", ".join(sorted(p.name for p in place.glob("*"))) or "nothing"
        raise InterpError(f"{place}: no {WEIGHTS[0]} or other weights, but {other}; give a folder with its weights")
    if not name.endswith(".index.json"):
        return {place / name: None}
    index = place / name
    entries = read_json(index).get("weight_map")
    if not isinstance(entries, dict) or not entries:
        raise InterpError(f"{index}: no weight_map, so nothing says where the weights are; fetch the model again")
    pattern = SAFE if ".safetensors" in index.name else PICKLED
    shards = sorted(set(map(str, entries.values())))
    for shard in shards:
        if pattern.fullmatch(shard) is None or not (place / shard).is_file():
            raise InterpError(f"{index}: names {shard}, which is no weight file beside it; fetch the model again")
    return {place / shard: {name for name, file in entries.items() if file == shard} for shard in shards}


def weights(folder: Path, component: str) -> list[Path]:
    """The weight files that are loaded for a component: safetensors, else pickled ones; shards as their index says.

    Raises:
        InterpError: there are none, or a shard is missing.
    """
    return list(_layout(folder, component))


def _check_shard(path: Path, names: Iterable[str], listed: set[str] | None) -> None:
    """Refuse a shard that lacks what the index lists, which the libraries would not see, or holds more."""
    if listed is not None and (other := sorted(listed ^ set(names))):
        raise InterpError(f"{path}: does not hold what its index lists: {_few(other)}; fetch the model again")


def prepared(folder: Path, component: str) -> Path:
    """The folder to load a component from: its own, or if its weights are pickled a copy in the cache, as safetensors.

    Raises:
        InterpError: no weights, or pickled ones that are damaged, hold anything but tensors, or would run code.
    """
    layout = _layout(folder, component)
    if all(p.suffix == ".safetensors" for p in layout):
        return folder / component
    texts = sorted((folder / component).glob("*.json"))
    digest = store.sha256_bytes(json.dumps([[p.name, sha256(p)] for p in [*layout, *texts]]).encode())
    prefix = "diffusion_pytorch_" if next(iter(layout)).name.startswith("diffusion_") else ""

    def fill(part: Path) -> None:
        tensors: dict[str, Tensor] = {}
        for path, listed in layout.items():
            shard = unpickle(path)
            _check_shard(path, shard, listed)
            tensors |= shard
        write(part / f"{prefix}model.safetensors", _unshared(tensors))
        for path in texts:
            shutil.copyfile(path, part / path.name)

    return store.cached_folder(store.cache_dir() / "converted" / digest, fill)


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with none sharing memory, which safetensors cannot say."""
    owners = {tensor.untyped_storage().data_ptr(): name for name, tensor in reversed(tensors.items())}
    return {
        name: tensor.detach() if owners[tensor.untyped_storage().data_ptr()] == name else tensor.detach().clone()
        for name, tensor in tensors.items()
    }


def unpickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled file by name, read without running code.

    Raises:
        InterpError: it is damaged, holds anything but tensors, or would run code.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:  # its text advises to load without weights_only, so it is not shown
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        what = f"unpickling it would call {unsafe[1]}" if unsafe else "it is damaged, or holds more than tensors"
        raise InterpError(f"{path}: refused, for {what}; get the model as safetensors") from error
    except DAMAGED as error:
        why = f"{type(error).__name__}: {store.one_line(error)}"
        raise InterpError(f"{path}: damaged, or no file of weights ({why}); fetch the model again") from error
    if not isinstance(tensors, dict):
        raise InterpError(
            f"{path}: holds a {type(tensors).__name__}, not tensors by name; get the model as safetensors"
        )
    other = [f"{k} ({type(v).__name__})" for k, v in tensors.items() if not (type(k) is str and isinstance(v, Tensor))]
    if other:
        raise InterpError(f"{path}: holds other things than tensors: {_few(other)}; get the model as safetensors")
    return dict(tensors)


def header(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Stored type and shape of each tensor of a safetensors file.

    Raises:
        InterpError: the file is damaged, or not as long as its header says.
    """
    try:
        with safe_open(path, framework="pt") as file:
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (view.get_dtype(), view.get_shape()) for name, view in views.items()}
    except SafetensorError as error:
        raise InterpError(f"{path}: damaged or cut short ({store.one_line(error)}); fetch the model again") from error


def load_module(
    kind: type[Any],
    folder: Path,
    component: str,
    dtype: torch.dtype = torch.float32,
    also: tuple[str, ...] = (),
    unread: tuple[str, ...] = (),
    **options: Any,
) -> nn.Module:
    """Load a component whole, in eval mode and without gradients.

    Args:
        kind: its class, of transformers or diffusers.
        folder: the model's.
        component: name of its subfolder.
        dtype: of its parameters.
        also: names of other classes that its config.json may give, if their files hold what `kind` needs.
        unread: parameters of a transformers class that may be missing because nothing reads them, by their first
            letters; they are left random.
        options: passed to `from_pretrained`.

    Raises:
        InterpError: files missing or damaged, another class, or parameters missing, left over or of another shape.
    """
    from huggingface_hub.errors import StrictDataclassError

    _check_class(kind, folder / component, also)
    place = prepared(folder, component)
    for path, listed in _layout(place.parent, place.name).items():
        _check_shard(path, header(path), listed)
    strict = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        module, info = kind.from_pretrained(place, dtype=dtype, **strict, **options)
    except (StrictDataclassError, OSError, RuntimeError, ValueError) as error:
        raise InterpError(
            f"{place}: {kind.__name__} cannot be built from its files: {store.one_line(error)}"
        ) from error
    missing = [k for k in info["missing_keys"] if not k.startswith(unread)]
    shapes = [f"{name}: {list(stored)} for {list(wanted)}" for name, stored, wanted in info["mismatched_keys"]]
    unfit = {"missing": missing, "of another shape": shapes, "not known": info["unexpected_keys"]}
    if faults := [f"{len(names)} {what} ({_few(sorted(names))})" for what, names in unfit.items() if names]:
        raise InterpError(
            f"{component}: the weights in {folder / component} do not fit {kind.__name__}: {'; '.join(faults)}; give "
            "files that belong to its config.json"
        )
    return module.requires_grad_(False)


def _check_class(kind: type[Any], place: Path, also: tuple[str, ...]) -> None:
    config = read_json(place / "config.json")
    named = config.get("architectures") or [config.get("_class_name")]
    wanted = (kind.__name__, *also)
    if not any(name in wanted for name in named):
        raise InterpError(
            f"{place.name}: wrong architecture: its config.json names {named[0]}, to load is {' or '.join(wanted)}; "
            "give a model of that family"
        )
    redirects = [k for k in REDIRECTS if config.get(k) is not None]
    redirects += [p.name for p in place.glob("adapter_config.json")]
    if redirects:
        raise InterpError(f"{place}: {_few(redirects)} changes its weights while loading; give plain weights")


def load_tokenizer(folder: Path, component: str) -> "transformers.PreTrainedTokenizerBase":
    """Load a tokenizer that says which letters each token stands for.

    Raises:
        InterpError: there is none, it lacks its vocabulary, or it says not.
    """
    from transformers import AutoTokenizer

    place = folder / component
    if not place.is_dir():
        raise InterpError(f"{place}: no such folder; give a model with a {component}")
    tokenizer = _made(place, AutoTokenizer, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise InterpError(
            f"{place}: {type(tokenizer).__name__} cannot say which letters a token stands for; save it as a fast "
            "tokenizer, with a tokenizer.json"
        )
    # without its files transformers makes a tokenizer that knows no words, and says nothing
    names = dict(tokenizer.vocab_files_names)
    either = [names.pop("tokenizer_file", "tokenizer.json")], [*names.values()]
    if not any(files and all((place / f).is_file() for f in files) for files in either):
        wanted = " or ".join(" and ".join(files) for files in either if files)
        raise InterpError(f"{place}: {type(tokenizer).__name__} needs {wanted}; fetch the model again")
    return tokenizer


def load_scheduler(folder: Path, component: str = "scheduler") -> Any:
    """Load the scheduler that scheduler_config.json names.

    Raises:
        InterpError: the file is missing, or names no scheduler of diffusers.
    """
    import diffusers

    place = folder / component
    name = read_json(place / "scheduler_config.json").get("_class_name")
    kind = getattr(diffusers, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise InterpError(f"{place}: no scheduler {name!r} in diffusers {diffusers.__version__}; give one it has")
    return _made(place, kind)


def _made(place: Path, kind: Any, **options: Any) -> Any:
    try:
        return kind.from_pretrained(place, **options)
    except (ImportError, OSError, ValueError) as error:
        raise InterpError(f"{place}: cannot be loaded: {store.one_line(error)}") from error


def digest(folder: Path, components: Sequence[str]) -> str:
    """SHA-256 over the names and bytes of the components' weights, as far as they are loaded, and configurations.

    Raises:
        InterpError: a component has no weights or no config.json.
    """
    parts: list[list[str]] = []
    for component in sorted(components):
        config = folder / component / "config.json"
        read_json(config)
        parts += [[f"{component}/{p.name}", sha256(p)] for p in [*weights(folder, component), config]]
    return store.sha256_bytes(json.dumps(parts).encode())


def sha256(path: Path) -> str:
    """SHA-256 of a file, remembered in the cache for as long as its size and time of change stay."""
    memory = store.cache_dir() / "digests.json"
    path = path.resolve()
    stat = path.stat()
    known = _remembered(memory).get(str(path))
    if isinstance(known, list) and known[:2] == [stat.st_size, stat.st_mtime_ns]:
        return known[2]
    value = store.sha256_file(path)
    there = {k: v for k, v in _remembered(memory).items() if os.path.exists(k)}
    store.write_sealed(memory, there | {str(path): [stat.st_size, stat.st_mtime_ns, value]})
    return value


def _remembered(memory: Path) -> dict[str, Any]:
    """What was remembered; nothing where that is missing or damaged, for it is only a memory."""
    try:
        return store.read_sealed(memory, "")
    except InterpError:
        return {}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
