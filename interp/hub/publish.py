"""Publish SAEs, neurons and enhancers to a model hub: one folder with everything another needs to load and check them.

The folder is written and read back, by this toolkit and by sae_lens, before anything is uploaded. The same value gives
the same bytes, so that what a dry run wrote is what is uploaded later. `interp.hub.load` reads it.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from interp import store, tensors
from interp.errors import InterpError
from interp.hub import golden
from interp.hub.card import card
from interp.hub.load import load_enhancer, load_neurons, moved
from interp.hub.manifest import CARD, GOLDEN, NEURONS, Kind, Part, Published
from interp.hub.verify import read_root, verify
from interp.interventions import enhancer
from interp.interventions.enhancer import EnhancerRef
from interp.latents import neurons, sae
from interp.latents.sae import LoadedSae
from interp.models.files import HUB_ID
from interp.store import MANIFEST, SUMS
from interp.types import Neurons, SaeRef

LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
NO_LICENCE = ("none", "noassertion", "unknown", "unlicensed", "proprietary")
LOCAL_PATH = re.compile(r"(?<![\w./])(?:~|[A-Za-z]:)?[/\\](?![/\\])[\w.+-]+[/\\]")
"""An absolute path of two names or more; not the slashes of an address or of org/name."""
JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
TOKEN = re.compile(r"hf_\w+")
MEASURED = ("explained_variance", "l0", "dead_fraction", "tokens")
"""Figures of an SAE that its card shows."""


@dataclass(frozen=True)
class Publication:
    """What was published, or would be."""

    repo: str
    """`org/name`."""
    kind: Kind
    files: Mapping[str, str]
    """SHA-256 of every file, by its path in the repository."""
    folder: Path | None
    """Where it was written on this machine; None where it was uploaded only."""
    url: str | None
    """Its page; None in a dry run."""
    revision: str | None
    """Commit on the hub, to load exactly this; None in a dry run."""


def publish(
    value: LoadedSae | Sequence[LoadedSae] | Neurons | EnhancerRef,
    repo: str,
    licence: str,
    dry_run: bool = False,
    folder: Path | None = None,
    private: bool = False,
    model_name: str | None = None,
    api: Any | None = None,
) -> Publication:
    """Write, check and upload SAEs, neurons (with their SAE) or an enhancer.

    A repository holds one publication: pass all layers together.

    Args:
        value: what to publish.
        repo: `org/name`; made if it does not exist.
        licence: SPDX identifier, such as `Apache-2.0`.
        dry_run: write the folder and upload nothing.
        folder: keep the folder here; if None, `published/<name>` in a dry run and nowhere else.
        private: make the repository private.
        model_name: what the card calls the model; None for what the SAE's files say.
        api: in place of `huggingface_hub.HfApi()`.

    Raises:
        InterpError: something is missing, changed, or names a path of this machine; the folder does not read back as
            what was given; the place to write holds other things; or the hub refuses.
    """
    if HUB_ID.fullmatch(repo) is None:
        raise InterpError(f"asked to publish to {repo!r}; give a name like org/name")
    if LICENCE.fullmatch(licence) is None or licence.lower() in NO_LICENCE:
        raise InterpError(f"licence {licence!r} is no SPDX identifier; give one such as Apache-2.0, MIT or CC-BY-4.0")
    target = folder or (Path("published") / repo.split("/")[1] if dry_run else None)
    if target is not None:
        _check_target(target)
    with tempfile.TemporaryDirectory(prefix="interp-publish-") as place:
        root = Path(place) / "folder"
        root.mkdir()
        value = _named(value, model_name) if isinstance(value, Neurons) else value
        _write(value, root, repo, licence, model_name)
        manifest = verify(root)
        files = {**store.folder_sums(root), SUMS: store.sha256_file(root / SUMS)}
        _check_written(value, root, manifest)
        url, revision = (None, None) if dry_run else _upload(root, repo, manifest.kind, private, api)
        if target is not None:
            _check_target(target)
            with store.atomic_folder(target, "replace") as kept:
                shutil.copytree(root, kept, dirs_exist_ok=True)
    return Publication(repo, manifest.kind, files, target, url, revision)


def _check_target(target: Path) -> None:
    """Only an empty folder or an earlier publication is replaced, every file of it as it was published."""
    store.check_out(target)
    if not target.is_dir() or not (present := store.strangers(target, ())):
        return
    try:
        read_root(target)
        other = store.changed(target)
    except InterpError:  # checksums without a manifest of ours are no proof: many data sets come with them
        other = present
    if other:
        raise InterpError(
            f"{target}: {other[0]} is not of an earlier publication, or was changed since; nothing was replaced: name "
            "another folder, or remove it yourself"
        )


# ------------------------------------------------------------------------------------------------------------- writing


def _write(value: Any, root: Path, repo: str, licence: str, model_name: str | None) -> None:
    """The parts with their golden vectors, then the manifest, the card and the checksums."""
    if isinstance(value, Neurons):
        parts = _write_neurons(value, root, model_name)
    elif isinstance(value, EnhancerRef):
        parts = [_write_enhancer(value, root)]
    else:
        parts = _write_saes([value] if isinstance(value, LoadedSae) else list(value), root, model_name)
    saes = [part.folder for part in parts if part.kind == "sae"]
    if saes and not model_name:
        model_name = store.read_json(root / saes[0] / sae.CFG, "")["metadata"]["model_name"] or None
    manifest = Published(
        kind=parts[0].kind, repo=repo, licence=licence, model=model_name, versions=store.versions(),
        parts=tuple(parts), files=store.folder_sums(root),
        golden={"seed": golden.SEED, "inputs": golden.INPUTS, "tolerance": golden.TOLERANCE},
    )  # fmt: skip
    store.atomic_write_json(root / MANIFEST, manifest.model_dump(mode="json"))
    store.atomic_write_text(root / CARD, card(manifest))
    store.write_sums(root)
    _refuse_local_paths(root)


def _part(kind: Kind, folder: Path, ref: SaeRef | EnhancerRef, run: Mapping[str, Any], details: dict[str, Any]) -> Part:
    return Part(
        folder=folder.name, kind=kind, site=ref.site, encoder_digest=ref.encoder_digest, digest=ref.digest,
        benchmark_digest=run.get("benchmark_digest"), made=run.get("started"), details=details,
    )  # fmt: skip


def _write_saes(saes: Sequence[LoadedSae], root: Path, model_name: str | None) -> list[Part]:
    if len({one.ref.encoder_digest for one in saes}) != 1:
        raise InterpError(f"asked to publish {len(saes)} SAEs; give at least one, all of one model")
    if len({one.ref.site for one in saes}) != len(saes):
        raise InterpError(f"asked to publish several SAEs of one site ({', '.join(str(s.ref.site) for s in saes)})")
    return [_write_sae(one, root, model_name) for one in sorted(saes, key=lambda s: sae.folder_name(s.ref.site))]


def _write_sae(value: LoadedSae, root: Path, model_name: str | None) -> Part:
    """The SAE's own files, its model's name without a path, and golden vectors."""
    stored, source, todo = sae.resolve(value.ref), sae.find(value.ref), "train it again"
    if sae.digest(value) != value.ref.digest:
        raise InterpError(f"the weights of this SAE are not those at {value.ref.path}; save it first")
    folder = root / sae.folder_name(value.ref.site)
    folder.mkdir()
    shutil.copyfile(source / sae.WEIGHTS, folder / sae.WEIGHTS)
    cfg, record = store.read_json(source / sae.CFG, todo), store.read_sealed(source / MANIFEST, todo)
    metadata = cfg.get("metadata", {})
    name = model_name or plain_name(metadata.get("model_name")) or ""
    cfg["metadata"] = metadata | {"model_name": name}
    store.atomic_write_json(folder / sae.CFG, cfg)
    store.write_sealed(folder / MANIFEST, record | {"cfg": store.sha256_record(cfg)})
    tensors.write(folder / GOLDEN, golden.golden_sae(stored))
    return _part("sae", folder, value.ref, record.get("run") or {}, _sae_details(value, record))


def _sae_details(value: LoadedSae, record: Mapping[str, Any]) -> dict[str, Any]:
    measured = record.get("measured", {})
    if missing := [name for name in MEASURED if name not in measured]:
        raise InterpError(
            f"{value.ref.path}: its manifest has no measured {', '.join(missing)}; save it with sae.measure's figures"
        )
    return {
        "d_in": value.ref.d_in, "d_sae": value.ref.d_sae, "k": value.k, "weights": record.get("weights"),
        "trained_tokens": record.get("trained_tokens"), "settings": (record.get("run") or {}).get("config"),
        "measured": {name: measured[name] for name in MEASURED},
    }  # fmt: skip


def _write_neurons(value: Neurons, root: Path, model_name: str | None) -> list[Part]:
    """The neurons and their SAE, without which nobody could use them."""
    beside = _write_sae(sae.resolve(value.sae), root, model_name)
    neurons.save(moved(value, beside.folder), root / NEURONS)
    details = {
        "sae": beside.folder, "split": value.split, "rule": value.settings.get("rule"),
        "cultures": [
            {"culture": culture, "language": language, "latents": len(value[culture].indices)}
            for culture, language in zip(value.cultures, value.languages, strict=True)
        ],
    }  # fmt: skip
    run = {"benchmark_digest": value.benchmark_digest}
    return [_part("neurons", root / NEURONS, value.sae, run, details), beside]


def _write_enhancer(ref: EnhancerRef, root: Path) -> Part:
    """Weights, configuration and, where it was trained, how."""
    enhancer.resolve(ref)
    folder, source = root / sae.folder_name(ref.site), Path(ref.path)
    folder.mkdir()
    names = [n for n in (enhancer.WEIGHTS, enhancer.CONFIG, MANIFEST, "losses.json") if (source / n).is_file()]
    for name in names:
        shutil.copyfile(source / name, folder / name)
    tensors.write(folder / GOLDEN, golden.golden_enhancer(ref))
    run = store.read_sealed(folder / MANIFEST, "train it again") if MANIFEST in names else {}
    details = {"d_model": ref.d_model, "width": ref.width, "settings": run.get("config", {}).get("settings")}
    return _part("enhancer", folder, ref, run, details)


def plain_name(name: str | None) -> str | None:
    """A model's name; of a path, the last part."""
    return re.sub(r"(^|:)[/~].*/", r"\1", name.rstrip("/")) if name else None


def _named(value: Neurons, model_name: str | None) -> Neurons:
    """The neurons with names of model and benchmark that mean something elsewhere."""
    names = {key: plain_name(str(value.settings[key])) for key in ("model", "benchmark") if key in value.settings}
    names |= {"model": model_name} if model_name else {}
    return replace(value, settings={**value.settings, **names})


# ---------------------------------------------------------------------------------------------- before anything is sent


def _refuse_local_paths(root: Path) -> None:
    """No file may say where it lay on this machine."""
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        for text in _texts(path):
            if match := LOCAL_PATH.search(text):
                name = path.relative_to(root)
                raise InterpError(f"{name} names a path of this machine, {text[match.start() :][:80]!r}; take it out")


def _texts(path: Path) -> Iterator[str]:
    """What a file says in words."""
    if path.suffix == ".json":
        yield from map(json.loads, JSON_STRING.findall(path.read_text(encoding="utf-8")))
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            yield from (file.metadata() or {}).values()


def _check_written(value: Any, root: Path, manifest: Published) -> None:
    """The folder, read back, is what was given; SAEs read by sae_lens as well."""
    if isinstance(value, Neurons):
        _check_same_neurons(value, load_neurons(root))
    for part in manifest.parts:
        if part.kind == "sae":
            _check_in_sae_lens(root / part.folder)
    if isinstance(value, EnhancerRef) and load_enhancer(root).digest != value.digest:
        raise InterpError(f"the enhancer written from {value.path} does not read back as it was; train it again")


def _check_same_neurons(value: Neurons, read_back: Neurons) -> None:
    before, after = vars(moved(value, "")), vars(moved(read_back, ""))
    for name, one in before.items():
        other = after[name]
        same = np.array_equal(one, other, equal_nan=True) if isinstance(one, np.ndarray) else one == other
        if not same:
            raise InterpError(f"the {name} of these neurons do not read back as they are; save and load them first")


@torch.no_grad()
def _check_in_sae_lens(folder: Path) -> None:
    """sae_lens, reading the folder itself, gives the golden vectors."""
    theirs = type(sae.as_sae_lens(sae.load(folder), "")).load_from_disk(folder)
    path, vectors = folder / GOLDEN, tensors.read(folder / GOLDEN, "publish it again")
    golden.compare(path, "codes", vectors["codes"], theirs.encode(vectors["inputs"]), "read by sae_lens")
    golden.compare(path, "outputs", vectors["outputs"], theirs(vectors["inputs"]), "read by sae_lens")


def _upload(root: Path, repo: str, kind: Kind, private: bool, api: Any | None) -> tuple[str, str | None]:
    """Page and commit. The hub's words are passed on in one line and without the token."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    client: Any = api or HfApi()
    try:
        url = client.create_repo(repo, private=private, exist_ok=True, repo_type="model")
        public = private and not client.repo_info(repo, repo_type="model").private
        message = f"Publish {kind} with interp"
        commit = None if public else client.upload_folder(repo_id=repo, folder_path=root, commit_message=message)
    except (HTTPError, OSError, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        why = f"{type(error).__name__}{f' {status}' if status else ''}: {TOKEN.sub('hf_…', store.one_line(error))}"
        # without its cause, whose request carries the token
        raise InterpError(
            f"{repo}: the hub did not take it ({why}); log in with `hf auth login` with a token that may write to it, "
            "or look at the folder with dry_run=True"
        ) from None
    if public:
        raise InterpError(f"{repo} exists and is public, asked for private; nothing was uploaded. Name another")
    return str(url), getattr(commit, "oid", None)
