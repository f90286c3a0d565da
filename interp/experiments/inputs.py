"""Models and benchmarks by name, and those that neurons remember by digest: what is in memory is found again by it."""

from pathlib import Path
from typing import Any

from interp import bounds, store
from interp.activations import certificate
from interp.benchmarks import reading
from interp.benchmarks.benchmark import CARD, Benchmark
from interp.errors import InterpError
from interp.latents import sae
from interp.latents.neurons import check_bench
from interp.models.adapter import Adapter
from interp.session import session
from interp.types import Neurons

SHIPPED_MODEL = "pocket"
"""The only model that is loaded because somebody's neurons name it: it comes with the package."""


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
    model = certificate.load(name, device, dtype, offload, size)
    session.models[model.identity] = model
    return model


@session.remembers(8)
def _benchmark(source: str, state: tuple[Any, ...]) -> Benchmark:
    """Kept as long as the card and the table are as they were."""
    return reading.load(source)


def _state(source: Path) -> tuple[Any, ...]:
    """What tells that a benchmark's folder was changed, or is another one since the working folder is."""
    if not source.is_dir():
        return ()
    files = sorted([source / CARD, *source.glob("samples.*")])
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
    model = model or _of_session(neurons)
    sae.check_model(neurons.sae, model.encoder_digest)
    return model


def _of_session(neurons: Neurons) -> Adapter:
    there = [m for m in session.models.values() if m.model_digest == neurons.model_digest]
    if len(there) == 1:
        return there[0]
    named = str(neurons.settings.get("model", ""))
    if there:
        ways = ", ".join(sorted(str(getattr(m, "placement", m.name)) for m in there))
        raise InterpError(
            f"the model of these neurons is loaded in several ways ({ways}); pass the one to use as model="
        )
    if named == SHIPPED_MODEL:
        shipped = load(SHIPPED_MODEL)
        if shipped.model_digest == neurons.model_digest:
            return shipped
    raise InterpError(
        f"the model of these neurons, {named or 'not named'} (digest {neurons.model_digest[:12] or 'none'}), is not "
        "loaded, and a file does not decide what is: load it and pass it as model= (--model at the command line)"
    )


def bench_of(neurons: Neurons, bench: Benchmark | None) -> Benchmark:
    """The benchmark of neurons: the one given, or the one they name.

    Raises:
        InterpError: they name none and none is given, or it is another than theirs.
    """
    if bench is None and "benchmark" not in neurons.settings:
        raise InterpError("these neurons do not say which benchmark they were found on; pass it as bench=")
    bench = bench or benchmark(str(neurons.settings["benchmark"]))
    check_bench(neurons, bench)
    return bench


def answers_cache(model: Adapter) -> Path:
    """Where answers about a model's images are kept."""
    folder = store.cache_dir() / "answers" / model.model_digest[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder
