"""Model folders in diffusers' layout, read safely and strictly: nothing is unpickled into code, nothing is left out.

A folder holds `model_index.json` and a subfolder for each component. Not for putting components together: each adapter
knows its own pipeline.
"""

import json
import os
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
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
UNUSED = {"safety_checker"}
"""Components that no adapter loads, not worth a download."""
REDIRECTS = ("quantization_config", "transformers_weights")
"""Settings of a config.json that make the libraries load other weights than the files of `weights`, or change them."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SHA256 = re.compile(r"[0-9a-f]{64}")
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


def resolve(name: str) -> Path:
    """The folder of a model: a local one, or the files that are needed of a repository of the hub, from its cache.

    Args:
        name: a folder with a model_index.json, or a hub id, `org/name`.

    Raises:
        InterpError: no such folder or repository, no access to it, or a downloaded file is damaged.
    """
    folder = Path(name)
    if (folder / INDEX).is_file():
        return folder
    if folder.exists() or HUB_ID.fullmatch(name) is None:
        raise InterpError(f"{name}: neither a folder with a {INDEX} nor a hub id like org/name; give one of the two")
    return _verified(name, _fetch(name))


def _fetch(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    files: list[str] = []
    try:
        files = HfApi().list_repo_files(name)
        if INDEX not in files:
            raise InterpError(f"{name}: no {INDEX} on the hub, so not in diffusers' layout; give a repository that has")
        index = read_index(Path(snapshot_download(name, allow_patterns=[INDEX])))
        return Path(snapshot_download(name, allow_patterns=_needed(files, index)))
    except GatedRepoError as error:
        page = f"https://huggingface.co/{name}"
        raise InterpError(
            f"{name}: gated on the hub; accept its licence at {page} and log in with `hf auth login`, or give a folder"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InterpError(
            f"{name}: no such folder, and the hub has no such model, or shows it only to others; mind the spelling, "
            "log in with `hf auth login` if it is private, or give a folder"
        ) from error
    except (OfflineModeIsEnabled, HTTPError, LocalEntryNotFoundError) as error:
        if files:
            raise InterpError(f"{name}: the download broke off ({_line(error)}); load again to go on") from error
        return _cached(name, error)


def _cached(name: str, reason: Exception) -> Path:
    """What the hub's cache holds of a model when the hub cannot be asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[INDEX], local_files_only=True))
    except LocalEntryNotFoundError:
        why = f"{type(reason).__name__}: {_line(reason)}"
        raise InterpError(
            f"{name}: no such folder, not in the hub's cache, and the hub cannot be asked ({why}); connect, unset "
            "HF_HUB_OFFLINE, or give a folder"
        ) from reason


def _needed(files: Sequence[str], index: Mapping[str, Any]) -> list[str]:
    """The files to fetch: of each component its texts and its weights, pickled ones only where no others are."""
    names = [INDEX]
    for component in index.keys() - UNUSED:
        inside = [f for f in files if f.startswith(f"{component}/") and f.count("/") == 1]
        weigh = SAFE if any(SAFE.fullmatch(Path(f).name) for f in inside) else PICKLED
        names += [f for f in inside if f.endswith((".json", ".txt", ".model")) or weigh.fullmatch(Path(f).name)]
    return names


def _verified(name: str, folder: Path) -> Path:
    """The folder, once each of its files that the hub names by a SHA-256 was found to have it."""
    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*")]
    for path in (folder / f for f in _needed(files, read_index(folder))):
        # only the first link is named by the digest: it may lead on to a store that several repositories share
        blob = Path(os.readlink(path)).name if path.is_symlink() else ""
        if SHA256.fullmatch(blob) and path.is_file() and (found := _sha256(path)) != blob:
            raise InterpError(
                f"{name}: {path.relative_to(folder)} is damaged: its SHA-256 is {found}, the hub's is {blob}; remove "
                f"{path.resolve()} and load again"
            )
    return folder


def read_json(path: Path, todo: str = "fetch the model again") -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: of the file.
        todo: what helps if it is broken.

    Raises:
        InterpError: it is missing, or holds no JSON object.
    """
    if not path.is_file():
        raise InterpError(f"{path}: no such file; {todo}, or give a folder that has it")
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
        found = ", ".join(sorted(p.name for p in place.glob("*"))) or "nothing"
        raise InterpError(f"{place}: no {WEIGHTS[0]} or other weights, but {found}; give a folder with its weights")
    if not name.endswith(".index.json"):
        return {place / name: None}
    return _shards(place / name)


def _shards(index: Path) -> dict[Path, set[str] | None]:
    entries = read_json(index).get("weight_map")
    if not isinstance(entries, dict) or not entries:
        raise InterpError(f"{index}: no weight_map, so nothing says where the weights are; fetch the model again")
    pattern = SAFE if ".safetensors" in index.name else PICKLED
    shards: dict[Path, set[str] | None] = {}
    for shard in sorted(set(map(str, entries.values()))):
        if pattern.fullmatch(shard) is None or not (index.parent / shard).is_file():
            raise InterpError(f"{index}: names {shard}, which is no weight file beside it; fetch the model again")
        shards[index.parent / shard] = {k for k, v in entries.items() if v == shard}
    return shards


def weights(folder: Path, component: str) -> list[Path]:
    """The weight files that are loaded for a component: safetensors, else pickled ones; shards as their index says.

    Raises:
        InterpError: there are none, or a shard is missing.
    """
    return list(_layout(folder, component))


def _complete(path: Path, held: Iterable[str], listed: set[str] | None) -> None:
    """Refuse a shard that lacks what the index lists, which the libraries would not see, or holds more."""
    if listed is not None and (other := sorted(listed ^ set(held))):
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
    digest = store.sha256_bytes(json.dumps([[p.name, _sha256(p)] for p in [*layout, *texts]]).encode())
    target = store.cache_dir() / "converted" / digest

    def fill(part: Path) -> None:
        _convert(layout, part)
        for path in texts:
            (part / path.name).write_bytes(path.read_bytes())

    return store.cached_folder(target, fill)


def _convert(layout: Mapping[Path, set[str] | None], target: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for path, listed in layout.items():
        held = unpickle(path)
        _complete(path, held, listed)
        tensors |= held
    diffusers = next(iter(layout)).name.startswith("diffusion_")
    name = "diffusion_pytorch_model.safetensors" if diffusers else "model.safetensors"
    write(target / name, _separate(tensors))


def unpickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled file by name, read without running code.

    Raises:
        InterpError: it is damaged, holds anything but tensors, or would run code.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:  # its text advises to load without weights_only, so it is not shown
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        what = f"unpickling it would call {unsafe[1]}" if unsafe else "it is damaged, or holds more than tensors"
        raise InterpError(f"{path}: refused, for {what}; get the model as safetensors") from error
    except DAMAGED as error:
        why = f"{type(error).__name__}: {_line(error)}"
        raise InterpError(f"{path}: damaged, or no file of weights ({why}); fetch the model again") from error
    if not isinstance(held, dict):
        raise InterpError(f"{path}: holds a {type(held).__name__}, not tensors by name; get the model as safetensors")
    other = [f"{k} ({type(v).__name__})" for k, v in held.items() if not (type(k) is str and isinstance(v, Tensor))]
    if other:
        raise InterpError(f"{path}: holds other things than tensors: {_few(other)}; get the model as safetensors")
    return dict(held)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with none sharing memory, which safetensors cannot say."""
    seen: set[int] = set()
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        out[name] = (tensor.detach().clone() if memory in seen else tensor.detach()).contiguous()
        seen.add(memory)
    return out


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
    _same_class(kind, folder / component, also)
    place = prepared(folder, component)
    for path, listed in _layout(place.parent, place.name).items():
        _complete(path, _names(path), listed)
    module, info = _build(kind, place, dtype, options)
    missing = [k for k in info["missing_keys"] if not k.startswith(unread)]
    shapes = [f"{k}: {list(found)} for {list(wanted)}" for k, found, wanted in info["mismatched_keys"]]
    found = {"missing": missing, "of another shape": shapes, "not known": info["unexpected_keys"]}
    if faults := [f"{len(v)} {k} ({_few(sorted(v))})" for k, v in found.items() if v]:
        raise InterpError(
            f"{component}: the weights in {folder / component} do not fit {kind.__name__}: {'; '.join(faults)}; give "
            "files that belong to its config.json"
        )
    return module.requires_grad_(False)


def _same_class(kind: type[Any], place: Path, also: tuple[str, ...]) -> None:
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


def _names(path: Path) -> set[str]:
    """The names of the tensors in a safetensors file that is as long as its header says."""
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except SafetensorError as error:
        raise InterpError(f"{path}: damaged or cut short ({_line(error)}); fetch the model again") from error


def _build(
    kind: type[Any], place: Path, dtype: torch.dtype, options: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """The module and what the library says did not fit."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import PreTrainedModel

    if issubclass(kind, PreTrainedModel):
        settings: dict[str, Any] = {"dtype": dtype}
    else:
        settings = {"torch_dtype": dtype}
    settings |= {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    make: Any = kind.from_pretrained
    try:
        return make(place, **settings, **options)
    except (StrictDataclassError, OSError, RuntimeError, ValueError) as error:
        raise InterpError(f"{place}: {kind.__name__} cannot be built from its files: {_line(error)}") from error


def load_tokenizer(folder: Path, component: str) -> "transformers.PreTrainedTokenizerBase":
    """Load a tokenizer that says which letters each token stands for.

    Raises:
        InterpError: there is none, it lacks its vocabulary, or it says not.
    """
    from transformers import AutoTokenizer

    place = folder / component
    if not place.is_dir():
        raise InterpError(f"{place}: no such folder; give a model with a {component}")
    tokenizer = _made(lambda: AutoTokenizer.from_pretrained(place, trust_remote_code=False), place)
    if not tokenizer.is_fast:
        raise InterpError(
            f"{place}: {type(tokenizer).__name__} cannot say which letters a token stands for; save it as a fast "
            "tokenizer, with a tokenizer.json"
        )
    _has_vocabulary(tokenizer, place)
    return tokenizer


def _has_vocabulary(tokenizer: "transformers.PreTrainedTokenizerBase", place: Path) -> None:
    """Refuse a tokenizer without its files: transformers makes one that knows no words, and says nothing."""
    names = dict(tokenizer.vocab_files_names)
    either = [names.pop("tokenizer_file", "tokenizer.json")], list(names.values())
    if not any(files and all((place / f).is_file() for f in files) for files in either):
        wanted = " or ".join(" and ".join(files) for files in either if files)
        raise InterpError(f"{place}: {type(tokenizer).__name__} needs {wanted}; fetch the model again")


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
    return _made(lambda: kind.from_pretrained(place), place)


def _made(make: Callable[[], Any], place: Path) -> Any:
    try:
        return make()
    except (ImportError, OSError, ValueError) as error:
        raise InterpError(f"{place}: cannot be loaded: {_line(error)}") from error


def digest(folder: Path, components: Sequence[str]) -> str:
    """SHA-256 over the names and bytes of the components' weights, as far as they are loaded, and configurations.

    Raises:
        InterpError: a component has no weights or no config.json.
    """
    parts: list[list[str]] = []
    for component in sorted(components):
        config = folder / component / "config.json"
        read_json(config)
        parts += [[f"{component}/{p.name}", _sha256(p)] for p in [*weights(folder, component), config]]
    return store.sha256_bytes(json.dumps(parts).encode())


def _sha256(path: Path) -> str:
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


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")
