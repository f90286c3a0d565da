"""A fixed part of the campaign of flipped bits; `make torture` runs all of it (INTERP_TORTURE=1)."""

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from campaign import FULL
from torture.flips import Case, Tally, flip

from interp import store, tensors
from interp.benchmarks import images, reading
from interp.experiments import files
from interp.hub import load, publish
from interp.interventions import enhancer
from interp.interventions.enhancer import EnhancerNet
from interp.latents import neurons, sae
from interp.report.results import read_results
from interp.session import session
from interp.store import Journal
from interp.types import Arm, Effect, Interval, Site

FLIPS = 400 if FULL else 16
"""Of every file."""
TALLIES: dict[str, Tally] = {}
"""Of this run, by kind of file; written to the file that INTERP_TORTURE names, if it names one."""
SITE = Site(1)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def _written_down():
    yield
    out = os.environ.get("INTERP_TORTURE", "")
    if out.endswith(".json"):
        kinds = ("flips", "refused", "equal", "silent", "tracebacks")
        total = {kind: sum(getattr(t, kind) for t in TALLIES.values()) for kind in kinds}
        Path(out).write_text(
            json.dumps({"total": total, "files": {n: asdict(t) for n, t in TALLIES.items()}}, indent=1)
        )


def equal(a, b) -> bool:
    """Whether two values are the same, arrays and NaN included."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(equal(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__)
    return a == b or (isinstance(a, float) and isinstance(b, float) and np.isnan(a) and np.isnan(b))


def case(name, path, read):
    """A case whose value must come back as it is read now."""
    wanted = read()
    return Case(name, path, read, lambda found: equal(wanted, found))


@pytest.fixture(scope="module")
def written(tmp_path_factory, tiny_sae, tiny_neurons, small_bench):
    """Every kind of file that is written, as cases by name."""
    root = tmp_path_factory.mktemp("files")
    found: dict[str, Case] = {}

    def add(name, path, read):
        found[name] = case(name, path, read)

    neurons.save(tiny_neurons, root / "neurons")
    for name in ("neurons.json", "neurons.safetensors"):
        add(name, root / "neurons" / name, lambda: neurons.load(root / "neurons"))
    layer = shutil.copytree(tiny_sae.ref.path, root / "layer_01")
    for name in (sae.CFG, sae.WEIGHTS, sae.MANIFEST):
        add(f"SAE {name}", layer / name, lambda: sae.load(layer))
    torch.manual_seed(0)
    (root / "enhancer").mkdir()
    enhancer.write(root / "enhancer", EnhancerNet(8, 4), SITE, "0" * 64)
    for name in (enhancer.CONFIG, enhancer.WEIGHTS):
        add(f"enhancer {name}", root / "enhancer" / name, lambda: _net(root / "enhancer"))
    checkpoint = root / "checkpoint.safetensors"
    tensors.write_state(checkpoint, {"a": torch.randn(7, 3), "n": torch.arange(4)}, {"step": 3, "losses": [0.5, 0.25]})
    add("checkpoint", checkpoint, lambda: tensors.read_state(checkpoint, "begin again"))
    manifest = store.new_manifest("interp x", stage="x", config={"strength": 1.5}, seeds={"a": [1, 2]})
    files.save(_effect(), root / "value", manifest)
    add("value.json", root / "value" / "value.json", lambda: files.read(root / "value"))
    add("manifest.json", root / "value" / "manifest.json", lambda: store.read_manifest(root / "value"))
    shutil.copy(ROOT / "reports" / "pocket" / "results.json", root / "results.json")
    add("results.json", root / "results.json", lambda: read_results(root / "results.json"))
    publish.publish(tiny_neurons, "org/name", "MIT", True, root / "published", model_name="tiny")
    for name in ("SHA256SUMS", "manifest.json", "README.md", "neurons/neurons.json", "layer_01/golden.safetensors"):
        add(f"published {name}", root / "published" / name, lambda: load.load_neurons(root / "published"))
    bench = shutil.copytree(small_bench.folder, root / "bench")
    for name in ("benchmark.json", "samples.parquet"):
        add(name, bench / name, lambda: _rows(bench))
    kept = root / "kept"
    store.cached_folder(kept, lambda part: store.atomic_write_bytes(part / "weights.bin", bytes(range(256))))
    for name in ("weights.bin", "SHA256SUMS"):
        add(f"cache {name}", kept / name, lambda: store.changed(kept) or ["nothing"])
    return found


def _net(folder):
    session.clear()  # else what is in memory would be given again
    ref = enhancer.read(folder)
    return replace(ref, path=""), enhancer.resolve(ref).state_dict()


def _rows(folder):
    bench = reading.load(folder)
    return bench.card.model_dump(), bench.rows, bench.digest


def _effect():
    draw = np.random.default_rng(0)
    arms = {n: Arm(n, draw.choice([0.0, 100.0, np.nan], 6), np.full(6, 100.0), ("Italy", "") * 3) for n in ("a", "b")}
    mean = {n: Interval(50.0, 25.5, 74.5, 6, 1) for n in arms}
    return Effect("masked", arms, mean, mean, {"b": mean["a"]}, 0.25, {"a": {"Italy": mean["a"]}}, ("Italy",) * 6,
                  tuple(map(str, range(6))), "0" * 64, {"clusters": ["Italy/house"] * 6, "strength": 1e-3})  # fmt: skip


NAMES = (
    "neurons.json", "neurons.safetensors", "SAE cfg.json", "SAE sae_weights.safetensors", "SAE manifest.json",
    "enhancer cfg.json", "enhancer enhancer.safetensors", "checkpoint", "value.json", "manifest.json", "results.json",
    "published SHA256SUMS", "published manifest.json", "published README.md", "published neurons/neurons.json",
    "published layer_01/golden.safetensors", "benchmark.json", "samples.parquet",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_flip_is_silent_or_a_traceback(written, name):
    # what takes long to read is flipped less often outside the campaign
    slow = name in ("benchmark.json", "samples.parquet") or "published" in name
    count = FLIPS // 4 if slow and not FULL else FLIPS
    tally = TALLIES[name] = flip(written[name], count, seed=sum(map(ord, name)))
    assert tally.flips == min(count, 8 * written[name].path.stat().st_size)
    assert (tally.silent, tally.tracebacks) == (0, 0), tally
    assert tally.listed == 0 or name in ("benchmark.json", "samples.parquet"), tally
    assert tally.refused + tally.equal == tally.flips


@pytest.mark.parametrize("name", ["cache weights.bin", "cache SHA256SUMS"])
def test_every_flip_in_the_cache_is_found(written, name):
    """What was unpacked or converted is held against its sums at every use."""
    found = written[name]
    tally = TALLIES[name] = flip(Case(name, found.path, found.read, lambda d: d != ["nothing"]), 8 * FLIPS, seed=1)
    assert tally.silent == tally.tracebacks == 0, tally


def test_a_journal_is_never_read_as_another(tmp_path):
    path, settings = tmp_path / "j", {"seed": 1}
    units = {f"unit {n}": {"hit": [100.0, float("nan")], "answer": "Türkei", "n": n} for n in range(6)}
    Journal(path, settings).record_all(units)

    def read():
        found = Journal(path, settings)
        return {key: found.done(key) for key in units if key in found}, len(found)

    def same(found):
        return found[1] == len(found[0]) and all(equal(units[key], value) for key, value in found[0].items())

    tally = TALLIES["journal"] = flip(Case("journal", path, read, same), 8 * FLIPS, seed=2)
    assert tally.silent == tally.tracebacks == 0, tally


def test_a_picture_is_never_read_as_another(tmp_path):
    path = tmp_path / "a.png"
    images.write(path, np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8))
    found = case("picture", path, lambda: np.asarray(images.read(path)))
    tally = TALLIES["picture"] = flip(found, 8 * FLIPS, seed=3)
    assert tally.silent == tally.tracebacks == 0, tally


def test_the_campaign_would_see_a_silent_flip(tmp_path):
    """The same file without its seal: many flips load as another value."""
    import json

    path = tmp_path / "plain.json"
    path.write_text(json.dumps({"strength": 1.5, "cultures": ["Italy", "Japan"], "latents": list(range(50))}))
    found = case("plain", path, lambda: store.read_json(path, "write it again"))
    tally = flip(found, 400, seed=4)
    assert tally.silent > 100 and tally.first
