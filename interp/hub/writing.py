"""Write a published folder: the parts with their golden vectors, then the manifest, the card and the checksums."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save

from interp import store
from interp.errors import InterpError
from interp.hub import golden, published
from interp.hub.card import card
from interp.hub.checks import refuse_paths
from interp.hub.manifest import CARD, GOLDEN, NEURONS, Kind, Part, Published, Where
from interp.interventions import enhancer
from interp.interventions.enhancer import EnhancerRef
from interp.latents import neurons, sae
from interp.latents.sae import LoadedSae
from interp.models.files import read_json
from interp.store import MANIFEST
from interp.store.digests import SUMS
from interp.types import Neurons, Site


def write(value: Any, root: Path, repo: str, licence: str, model_name: str | None) -> None:
    """All files of the folder."""
    if isinstance(value, Neurons):
        kind, parts, names = "neurons", *_write_neurons(value, root, model_name)
    elif isinstance(value, EnhancerRef):
        kind, parts, names = "enhancer", [_write_enhancer(value, root)], [model_name]
    else:
        saes = [value] if isinstance(value, LoadedSae) else list(value)
        kind, parts, names = "sae", *_write_saes(saes, root, model_name)
    manifest = Published(
        kind=kind, repo=repo, licence=licence, model=names[0], versions=store.versions(), parts=tuple(parts),
        golden={"seed": golden.SEED, "inputs": golden.INPUTS, "tolerance": golden.TOLERANCE},
        files=store.folder_sums(root),
    )  # fmt: skip
    store.atomic_write_json(root / MANIFEST, manifest.model_dump(mode="json"))
    store.atomic_write_text(root / CARD, card(manifest))
    store.atomic_write_text(root / SUMS, store.sums_text(store.folder_sums(root)))
    refuse_paths(root)


def _write_saes(saes: Sequence[LoadedSae], root: Path, model_name: str | None) -> tuple[list[Part], list[str | None]]:
    if len({one.ref.encoder_digest for one in saes}) != 1:
        raise InterpError(f"asked to publish {len(saes)} SAEs; give at least one, all of one model")
    if len({one.ref.site for one in saes}) != len(saes):
        raise InterpError(f"asked to publish several SAEs of one site ({', '.join(str(s.ref.site) for s in saes)})")
    written = [_write_sae(one, root, model_name) for one in sorted(saes, key=lambda s: sae.folder_name(s.ref.site))]
    return [part for part, _ in written], [name for _, name in written]


def _write_sae(value: LoadedSae, root: Path, model_name: str | None) -> tuple[Part, str | None]:
    """The SAE's own files, its model's name without a path, and golden vectors."""
    stored, source = sae.resolve(value.ref), sae.find(value.ref)
    if sae.digest(value) != value.ref.digest:
        raise InterpError(f"the weights of this SAE are not those at {value.ref.path}; save it first")
    part = root / sae.folder_name(value.ref.site)
    part.mkdir()
    shutil.copyfile(source / sae.WEIGHTS, part / sae.WEIGHTS)
    cfg, record = read_json(source / sae.CFG, "train it again"), store.read_sealed(source / MANIFEST, "train it again")
    name = model_name or _plain(cfg.get("metadata", {}).get("model_name"))
    cfg["metadata"] = cfg.get("metadata", {}) | {"model_name": name or ""}
    store.atomic_write_json(part / sae.CFG, cfg)
    store.write_sealed(part / MANIFEST, record | {"cfg": store.sha256_record(cfg)})
    store.atomic_write_bytes(part / GOLDEN, save(golden.golden_sae(stored)))
    return _part("sae", part, value.ref, value.ref.site, record.get("run") or {}, _sae_details(value, record)), name


def _sae_details(value: LoadedSae, record: Mapping[str, Any]) -> dict[str, Any]:
    measured = record.get("measured", {})
    wanted = ("explained_variance", "l0", "dead_fraction", "tokens")
    if missing := [name for name in wanted if name not in measured]:
        raise InterpError(
            f"{value.ref.path}: its manifest has no measured {', '.join(missing)}; save it with sae.measure's figures"
        )
    return {
        "d_in": value.ref.d_in, "d_sae": value.ref.d_sae, "k": value.k, "weights": record.get("weights"),
        "trained_tokens": record.get("trained_tokens"), "settings": (record.get("run") or {}).get("config"),
        "measured": {name: measured[name] for name in wanted},
    }  # fmt: skip


def _plain(name: str | None) -> str | None:
    """A model's name; of a path, the last part."""
    return re.sub(r"(^|:)[/~].*/", r"\1", name.rstrip("/")) if name else None


def _part(kind: Kind, folder: Path, ref: Any, site: Site, run: Mapping[str, Any], details: dict[str, Any]) -> Part:
    return Part(
        folder=folder.name, kind=kind, site=Where(layer=site.layer, kind=site.kind, encoder=site.encoder),
        encoder_digest=ref.encoder_digest, digest=ref.digest, benchmark_digest=run.get("benchmark_digest"),
        made=run.get("started"), details=details,
    )  # fmt: skip


def _write_neurons(value: Neurons, root: Path, model_name: str | None) -> tuple[list[Part], list[str | None]]:
    """The neurons and their SAE, without which nobody could use them."""
    beside, names = _write_saes([sae.resolve(value.sae)], root, model_name)
    neurons.save(published.moved(value, beside[0].folder), root / NEURONS)
    details = {
        "sae": beside[0].folder, "split": value.split, "rule": value.settings.get("rule"),
        "cultures": [
            {"culture": culture, "language": language, "latents": len(value[culture].indices)}
            for culture, language in zip(value.cultures, value.languages, strict=True)
        ],
    }  # fmt: skip
    run = {"benchmark_digest": value.benchmark_digest}
    return [_part("neurons", root / NEURONS, value.sae, value.sae.site, run, details), *beside], names


def named(value: Neurons, model_name: str | None) -> Neurons:
    """The neurons with names of model and benchmark that mean something elsewhere."""
    names = {key: _plain(str(value.settings[key])) for key in ("model", "benchmark") if key in value.settings}
    names |= {"model": model_name} if model_name else {}
    return replace(value, settings={**value.settings, **names})


def _write_enhancer(ref: EnhancerRef, root: Path) -> Part:
    """Weights, configuration and, where it was trained, how."""
    enhancer.resolve(ref)
    part, source = root / sae.folder_name(ref.site), Path(ref.path)
    part.mkdir()
    names = [n for n in (enhancer.WEIGHTS, enhancer.CONFIG, MANIFEST, "losses.json") if (source / n).is_file()]
    for name in names:
        shutil.copyfile(source / name, part / name)
    store.atomic_write_bytes(part / GOLDEN, save(golden.golden_enhancer(ref)))
    run = store.read_sealed(part / MANIFEST, "train it again") if MANIFEST in names else {}
    details = {"d_model": ref.d_model, "width": ref.width, "settings": run.get("config", {}).get("settings")}
    return _part("enhancer", part, ref, ref.site, run, details)
