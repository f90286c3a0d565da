"""What a session works with: models and benchmarks by name, shipped SAEs, and which split serves what.

Neurons remember their model and benchmark by digest; what is in memory is found again by it. Neurons are selected on
the detection split, strength is tuned on the train split, effects are measured on the test split.
"""

import weakref
from functools import lru_cache
from pathlib import Path
from typing import Any

from interp import benchmarks, bounds, enhancer, loading, published_files, sae, store
from interp import neurons as neuron
from interp.benchmarks import Benchmark
from interp.enhancer import EnhancerRef
from interp.errors import InterpError
from interp.models.base import Adapter
from interp.models.folder import HUB_ID
from interp.types import Neurons, Site, SiteKind

DETECTION, TRAIN, TEST = "detection", "train", "test"
HELD_OUT = "cross_domain"
"""Split of the nouns outside the benchmark."""
SHIPPED = Path(__file__).parents[1] / "saes"
"""Trained SAEs of a checkout, by model; enhancers below `enhancers`."""
CULTURE_LAYER = "culture_layer"
"""The enhancer to use; those beside it are its controls."""
SHIPPED_MODEL = "pocket"
"""The only model that is loaded because somebody's neurons name it: it comes with the package."""
_loaded: "weakref.WeakValueDictionary[str, Adapter]" = weakref.WeakValueDictionary()
"""The models of this session by `Adapter.identity`."""


def load(
    name: str,
    device: str | None = None,
    dtype: str | None = None,
    offload: str | None = None,
    size: int | None = None,
) -> Adapter:
    """Load a model; it proves itself, and its certificate stays with it.

    Args:
        name: `pocket`, a diffusers folder, a hub id, `pea-diffusion:<folder>` or `show-o2:<folder>`.
        device: `cpu`, `cuda`, …; None for what is there.
        dtype: `float32`, `float16` or `bfloat16`; None for what suits model and device.
        offload: `none`, `model` or `sequential`; None for what fits.
        size: side of the pictures in pixels; None for the model's.

    Raises:
        InterpError: nothing of that name, a broken or missing part, no memory for it, or a check failed.
    """
    bounds.texts("model", [name])
    store.check_name(Path(name))
    if size is not None:
        bounds.whole("size", size, 1, 2**15)
    model = loading.load(name, device, dtype, offload, size)
    _loaded[model.identity] = model
    return model


@lru_cache(maxsize=8)
def _benchmark(source: str, state: tuple[Any, ...]) -> Benchmark:
    """Kept as long as the card and the table are as they were."""
    return benchmarks.load(source)


def _state(source: Path) -> tuple[Any, ...]:
    """What tells that a benchmark's folder was changed, or is another one since the working folder is."""
    if not source.is_dir():
        return ()
    files = sorted([source / benchmarks.CARD, *source.glob("samples.*")])
    return (str(source.resolve()), *((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.is_file()))


def benchmark(source: str | Path = "pocket") -> Benchmark:
    """Load a benchmark: `pocket`, or a folder in CultureBench format."""
    store.check_name(Path(source))
    return _benchmark(str(source), _state(Path(source)))


def model_of(neurons: Neurons, model: Adapter | None) -> Adapter:
    """The model of neurons: the one given, or the one of this session that they were found on.

    A file of neurons does not decide which weights are loaded: beside the model that ships, nothing is.

    Raises:
        InterpError: the one given has other text encoders; none is given and theirs is not loaded, or it is in several
            ways.
    """
    found = model or _of_session(neurons)
    sae.check_model(neurons.sae, found.encoder_digest)
    return found


def _of_session(neurons: Neurons) -> Adapter:
    there = [m for m in _loaded.values() if m.model_digest == neurons.model_digest]
    if len(there) == 1:
        return there[0]
    named = str(neurons.settings.get("model", ""))
    if there:
        ways = ", ".join(sorted(str(getattr(m, "placement", m.name)) for m in there))
        raise InterpError(
            f"the model of these neurons is loaded in several ways ({ways}); pass the one to use as model="
        )
    if named == SHIPPED_MODEL:
        found = load(SHIPPED_MODEL)
        if found.model_digest == neurons.model_digest:
            return found
    raise InterpError(
        f"the model of these neurons, {named or 'not named'} (digest {neurons.model_digest[:12] or 'none'}), is not "
        "loaded, and a file does not decide what is: load it and pass it as model= (--model at the command line)"
    )


def bench_of(neurons: Neurons, bench: Benchmark | None) -> Benchmark:
    if bench is None and "benchmark" not in neurons.settings:
        raise InterpError("these neurons do not say which benchmark they were found on; pass it as bench=")
    found = bench or benchmark(str(neurons.settings["benchmark"]))
    if found.digest != neurons.benchmark_digest:
        raise InterpError(
            f"these neurons were found on another benchmark ({neurons.benchmark_digest[:12]}) than {found.name} "
            f"({found.digest[:12]}); pass the one they were found on"
        )
    return found


def refuse_test(split: str) -> None:
    if split == TEST:
        raise InterpError("selection may not see the test split; use 'detection' (or 'train')")


def arm_cache(model: Adapter) -> Path:
    folder = store.cache_dir() / "answers" / model.model_digest[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_sae(
    source: str | Path,
    layer: int | None = None,
    site: SiteKind = "resid",
    encoder: str = "text_encoder",
    revision: str | None = None,
) -> sae.LoadedSae:
    """Load an SAE: its folder; or, with a layer, of a folder of several, a shipped model, or a published repository.

    Args:
        source: a folder, a shipped model's name such as `pocket`, or a hub id. Published ones are checked against their
            checksums and golden vectors.
        layer: 0-based; needed where there are several.
        site: `z` or `resid`.
        encoder: which text encoder.
        revision: of a hub id; the newest if None.

    Raises:
        InterpError: there is none, or a published one does not fit its checksums or golden vectors.
    """
    folder, shipped = Path(source), SHIPPED / str(source)
    store.check_name(folder)
    if layer is not None:
        bounds.whole("layer", layer, 0)
    known = folder.exists() or shipped.exists()
    if _published(folder) or (not known and HUB_ID.fullmatch(str(source))):
        return published_files.load_sae(source, layer, site, encoder, revision)
    if (folder / sae.CFG).is_file() and layer is None:
        return sae.load(source)
    root = folder if folder.is_dir() else shipped
    if layer is None:
        several = sorted(p.parent for p in root.glob(f"*/{sae.CFG}") if p.parent.name.startswith("layer_"))
        if len(several) != 1:
            there = ", ".join(p.name for p in several) or "none"
            raise InterpError(f"{source}: asked for an SAE without layer=; there: {there}")
        return sae.load(several[0])
    return sae.load(root / sae.folder_name(Site(layer, site, encoder)))


def _published(folder: Path) -> bool:
    return (folder / published_files.SUMS).is_file()


def load_neurons(source: str | Path, revision: str | None = None) -> Neurons:
    """Load neurons: a folder that `interp neurons` or `neurons.save` wrote, or a published repository.

    Args:
        source: a folder or a hub id. Published ones are checked, and bring their SAE.
        revision: of a hub id; the newest if None.

    Raises:
        InterpError: there are none, they are damaged, or published ones do not fit their checksums.
    """
    folder = Path(source)
    store.check_name(folder)
    if folder.is_dir() and not _published(folder):
        return neuron.load(folder)
    return published_files.load_neurons(source, revision)


def load_enhancer(source: str | Path, revision: str | None = None) -> EnhancerRef:
    """Load an enhancer, for `interp.Enhance`: its folder, a shipped model's name, or a published repository.

    Args:
        source: a folder, a shipped model's name such as `pocket`, or a hub id. Published ones are checked against their
            checksums and golden vectors.
        revision: of a hub id; the newest if None.

    Raises:
        InterpError: there is none, or a published one does not fit its checksums or golden vectors.
    """
    folder = Path(source)
    store.check_name(folder)
    if folder.is_dir() and not _published(folder):
        return enhancer.read(folder)
    shipped = {} if folder.exists() else shipped_enhancers(str(source))
    return shipped[CULTURE_LAYER] if CULTURE_LAYER in shipped else published_files.load_enhancer(source, revision)


def shipped_enhancers(model: str) -> dict[str, EnhancerRef]:
    """Enhancers that ship for a model, by name: `culture_layer` and its controls; none for most."""
    found = sorted((SHIPPED / Path(model).name / "enhancers").glob(f"*/{enhancer.CONFIG}"))
    return {config.parent.name: enhancer.read(config.parent) for config in found}
