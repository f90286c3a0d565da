"""Save and read the values that functions return: `interp.save(value, folder)`, `interp.read(folder)`.

A value is a sealed `value.json` beside its manifest; neurons, SAEs and enhancers have files of their own.
"""

import shutil
from pathlib import Path
from typing import Any

from interp import store
from interp.benchmarks.benchmark import Benchmark
from interp.errors import InterpError
from interp.experiments.codec import Decoder, Encoder, named_files
from interp.interventions import enhancer
from interp.interventions.enhancer import EnhancerRef
from interp.latents import neurons as neuron_files
from interp.latents import sae
from interp.latents.sae import LoadedSae
from interp.models.adapter import Adapter
from interp.types import Neurons

FILE = "value.json"
TODO = "restore it or run the stage again"


def save(value: Any, folder: str | Path, manifest: store.Manifest | None = None) -> Path:
    """Keep a value in a folder, for `read`.

    Args:
        value: layer scores, an effect, a sweep, steered images, a grid, a comparison, images, a conditioning, a plan,
            neurons, an SAE, an enhancer, or any of these in tuples, lists and mappings.
        folder: made if missing; an earlier value of the same kind is replaced.
        manifest: of the run that made the value; a new one if None. SAEs and enhancers keep their own.

    Raises:
        InterpError: not a kind of value that is kept, or the folder holds something else.
    """
    folder = Path(folder)
    if isinstance(value, Neurons):
        return neuron_files.save(value, folder, manifest)
    if isinstance(value, LoadedSae | EnhancerRef):
        owned = sae.OWNED if isinstance(value, LoadedSae) else enhancer.OWNED
        source = Path(value.ref.path if isinstance(value, LoadedSae) else value.path)
        return _copy(source, folder, owned)
    begun = manifest or store.new_manifest(f"interp.save({type(value).__name__})", stage=type(value).__name__.lower())
    store.check_run_folder(folder, begun.stage)
    write_value(folder, value)
    store.write_manifest(folder, begun.finished())
    return folder


def read(folder: str | Path) -> Any:
    """What `save`, or a command line, wrote into a folder.

    Raises:
        InterpError: there is none, it is damaged, or its run has not ended.
    """
    folder = Path(folder)
    store.check_name(folder)
    if (folder / sae.CFG).is_file() and (folder / sae.WEIGHTS).is_file():
        return sae.load(folder)
    if (folder / enhancer.WEIGHTS).is_file():
        return enhancer.read(folder)
    if (folder / neuron_files.OWNED.marker).is_file():
        return neuron_files.load(folder)
    if store.read_manifest(folder).wall_seconds is None:
        raise InterpError(f"{folder}: its run has not ended, so its value may be an earlier one's; run the stage again")
    path = folder / FILE
    record = store.read_sealed(path, TODO)
    try:
        return Decoder(folder, read).decode(record)
    except RecursionError:
        raise InterpError(f"{path}: nested too deeply; {TODO}") from None
    except InterpError as error:
        raise InterpError(f"{path}: {error}; {TODO}") from error


def write_value(folder: Path, value: Any) -> None:
    """`value.json` of a run's folder, sealed, and the files that it names; the manifest is the run's own.

    Those that an earlier value named go once the new one is whole, if they are still as they were written.

    Raises:
        InterpError: not a kind of value that is kept; nothing was written.
    """
    encoder = Encoder()
    record = encoder.encode(value)
    earlier = _named(folder)
    for name, data in encoder.files.items():
        store.atomic_write_bytes(folder / name, data)
    for name, part in encoder.parts.items():
        save(part, folder / name)
    store.write_sealed(folder / FILE, record)
    for name in earlier.keys() - encoder.files.keys() - encoder.parts.keys():
        if (folder / name).resolve().is_relative_to(folder.resolve()):
            _remove(folder / name, earlier[name])


def _named(folder: Path) -> dict[str, str]:
    """What the value in a folder names; nothing where there is none, or none that is sound."""
    try:
        return named_files(store.read_sealed(folder / FILE, TODO))
    except InterpError:
        return {}


def _remove(path: Path, digest: str) -> None:
    """Remove what an earlier value wrote, unless somebody has changed it since."""
    owners = (sae.OWNED, enhancer.OWNED, neuron_files.OWNED)
    if path.is_file() and store.sha256_file(path) == digest:
        path.unlink()
    elif path.is_dir() and any(owned.stranger(path) is None for owned in owners):
        shutil.rmtree(path)


def _copy(source: Path, folder: Path, owned: store.Owned) -> Path:
    """The files of an SAE or an enhancer, whole or not at all."""
    with store.atomic_folder(folder, "replace", owned) as place:
        for name in owned.files:
            if (source / name).is_file():
                shutil.copyfile(source / name, place / name)
    return folder


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
