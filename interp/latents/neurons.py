"""Culture-sensitive latents: how often and how strongly a latent fires for a culture, and not for the bare noun.

Section 4.3 and Appendix C.4 of the paper. Which tokens are counted (the modifier's, the noun's, all real ones) is up to
the caller.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator
from torch import Tensor

from interp import store, tensors
from interp.benchmarks.benchmark import Benchmark
from interp.errors import InterpError
from interp.latents.sae import check_ref
from interp.latents.scores import WfsAccumulator
from interp.latents.selection import Rule, select
from interp.types import Codes, Neurons, NeuronSet, SaeRef

_RECORD, _ARRAYS = "neurons.json", "neurons.safetensors"
_TABLES = ("wfs", "wfs_noun", "frequency", "magnitude", "baseline")
"""The arrays of `Neurons`, all [culture, d_sae]."""
OWNED = store.Owned("neurons", _RECORD, "neurons", (_RECORD, _ARRAYS, store.MANIFEST))
_log = logging.getLogger(__name__)


def build(
    culture_style: Mapping[str, WfsAccumulator],
    noun_only: Mapping[str, WfsAccumulator],
    sae: SaeRef,
    *,
    languages: Sequence[str],
    split: str,
    benchmark_digest: str,
    model_digest: str = "",
    rule: Rule | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Neurons:
    """Neurons from the counts on both kinds of prompts, by culture, in the order of `culture_style`.

    `settings` are recorded beside the rule (codes, tokens counted), as plain JSON values.

    Raises:
        InterpError: cultures, languages or widths do not fit together.
    """
    cultures, rule = tuple(culture_style), rule or Rule()
    _check_fit(culture_style, noun_only, sae, languages)
    tables = {
        "wfs": _table(culture_style[culture].wfs for culture in cultures),
        "wfs_noun": _table(noun_only[culture].wfs for culture in cultures),
        "frequency": _table(culture_style[culture].frequency for culture in cultures),
        "magnitude": _table(culture_style[culture].magnitude for culture in cultures),
        "baseline": _table(noun_only[culture].mean for culture in cultures),
    }
    selections = dict(zip(cultures, select(tables["wfs"], tables["wfs_noun"], rule), strict=True))
    sets = {}
    for row, (culture, selection) in enumerate(selections.items()):
        if not selection.indices:
            _log.warning("no latent of %s passes the noun-side filter (K = %d); raise tau or k", culture, selection.k)
        magnitude, baseline = (
            tuple(tables[n][row, list(selection.indices)].tolist()) for n in ("magnitude", "baseline")
        )
        sets[culture] = NeuronSet(culture, selection.indices, magnitude, baseline, sae)
    record = {
        "rule": asdict(rule),
        "k": {culture: selection.k for culture, selection in selections.items()},
        "dropped": {culture: list(selection.dropped) for culture, selection in selections.items()},
    }
    return Neurons(
        sets=sets, **tables, cultures=cultures, languages=tuple(languages), sae=sae, split=split,
        benchmark_digest=benchmark_digest, model_digest=model_digest, settings=record | dict(settings or {}),
    )  # fmt: skip


def _table(rows: Iterable[Float[Tensor, " d_sae"]]) -> Float[np.ndarray, "culture d_sae"]:
    return torch.stack(list(rows)).float().numpy()


def _check_fit(
    culture_style: Mapping[str, WfsAccumulator],
    noun_only: Mapping[str, WfsAccumulator],
    sae: SaeRef,
    languages: Sequence[str],
) -> None:
    if set(culture_style) != set(noun_only) or not culture_style:
        raise InterpError(
            f"counted cultures {sorted(culture_style)} but nouns of {sorted(noun_only)}; both need the same, not none"
        )
    if len(languages) != len(culture_style):
        raise InterpError(f"got {len(languages)} languages for {len(culture_style)} cultures; give one per culture")
    widths = {len(counts.wfs) for counts in [*culture_style.values(), *noun_only.values()]}
    if widths != {sae.d_sae}:
        raise InterpError(f"counted codes of {sorted(widths)} latents, the SAE has {sae.d_sae}; use one SAE")


def check_bench(neurons: Neurons, bench: Benchmark) -> None:
    """Refuse another benchmark than the one that neurons were found on.

    Raises:
        InterpError: names both.
    """
    if bench.digest != neurons.benchmark_digest:
        raise InterpError(
            f"these neurons were found on another benchmark ({neurons.benchmark_digest[:12]}) than {bench.name} "
            f"({bench.digest[:12]}); pass the one they were found on"
        )


def to_table(neurons: Neurons) -> pd.DataFrame:
    """One row per culture and latent, by rank: scores, magnitude, baseline, how many other cultures share it."""
    shared = Counter(latent for neuron_set in neurons.sets.values() for latent in neuron_set.indices)
    rows = []
    for i, culture in enumerate(neurons.cultures):
        neuron_set = neurons[culture]
        latents = zip(neuron_set.indices, neuron_set.magnitude, neuron_set.baseline, strict=True)
        for rank, (latent, magnitude, baseline) in enumerate(latents):
            scores = (float(table[i, latent]) for table in (neurons.wfs, neurons.wfs_noun, neurons.frequency))
            where = (culture, neurons.languages[i], rank, latent)
            rows.append((*where, *scores, magnitude, baseline, shared[latent] - 1))
    columns = ["culture", "language", "rank", "latent", *_TABLES, "shared_with"]
    return pd.DataFrame(rows, columns=columns)


def save(neurons: Neurons, path: str | Path, manifest: store.Manifest | None = None) -> Path:
    """Write a folder with neurons.json and neurons.safetensors (the tables), whole or not at all; an old one goes.

    The manifest of the run that found them stands beside them.

    Raises:
        InterpError: the folder holds something else than earlier neurons.
    """
    record = {name: value for name, value in vars(neurons).items() if name not in _TABLES}
    record |= {
        "sae": asdict(neurons.sae),
        "sets": {name: asdict(neuron_set) for name, neuron_set in neurons.sets.items()},
    }
    with store.atomic_folder(Path(path), "replace", OWNED) as folder:
        tensors.write(folder / _ARRAYS, {name: torch.from_numpy(getattr(neurons, name)) for name in _TABLES})
        digest = store.sha256_file(folder / _ARRAYS)
        store.write_sealed(folder / _RECORD, {"kind": OWNED.kind, "tables": digest, **record})
        if manifest is not None:
            store.write_manifest(folder, manifest)
    return Path(path)


def load(path: str | Path) -> Neurons:
    """Read what `save` wrote; the SAE itself is found when needed, by `sae.resolve`.

    Raises:
        InterpError: there are no neurons at this path, or they are damaged.
    """
    folder, todo = Path(path), "restore it or find the neurons again"
    arrays = folder / _ARRAYS
    if not (folder / _RECORD).is_file() or not arrays.is_file():
        raise InterpError(f"no neurons at {folder}: {_RECORD} or {_ARRAYS} is missing; make them with find_neurons")
    sealed = store.read_sealed(folder / _RECORD, todo)
    record = store.checked(_Record, sealed, str(folder / _RECORD), todo)
    if store.sha256_file(arrays) != record.tables:
        raise InterpError(f"{arrays}: not the one that {_RECORD} was written with; {todo}")
    shapes = {name: (len(record.cultures), record.sae.d_sae) for name in _TABLES}
    stored = tensors.expect(tensors.read(arrays, todo), shapes, arrays, todo)
    tables: dict[str, Any] = {name: tensor.numpy() for name, tensor in stored.items()}
    if any(t.dtype != np.float32 or t.min(initial=0) < 0 for t in tables.values()) or tables["frequency"].max() > 1:
        raise InterpError(f"{arrays}: holds a negative number, a frequency above 1, or no float32; {todo}")
    return Neurons(**{name: value for name, value in record if name not in ("kind", "tables")}, **tables)


class _Record(BaseModel):
    """neurons.json."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    kind: Literal["neurons"]
    tables: str
    """SHA-256 of neurons.safetensors."""
    sets: dict[str, NeuronSet]
    cultures: tuple[str, ...]
    languages: tuple[str, ...]
    sae: SaeRef
    split: str
    benchmark_digest: str
    model_digest: str
    settings: dict[str, Any]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.languages) != len(self.cultures) or len(set(self.cultures)) < len(self.cultures):
            raise ValueError(f"{len(self.cultures)} cultures, {len(self.languages)} languages; one of each is needed")
        if set(self.sets) != set(self.cultures):
            raise ValueError("the sets are not those of the cultures")
        for culture, neuron_set in self.sets.items():
            check_set(neuron_set)
            if neuron_set.sae != self.sae or neuron_set.label != culture:
                raise ValueError(f"the set of {culture!r} is labelled {neuron_set.label!r}, or is of another SAE")
        TypeAdapter(Recorded).validate_python(self.settings)
        return self


class Recorded(BaseModel):
    """What `Neurons.settings` holds, as far as it is read again."""

    model_config = ConfigDict(extra="allow", frozen=True)

    rule: Rule | None = None
    k: dict[str, int] = {}
    """Ranks before the cut, by culture."""
    codes: Codes = "topk"
    model: str = ""
    """Name of the model that they were found on."""
    benchmark: str = ""


def check_set(neuron_set: NeuronSet) -> None:
    """Refuse a set that its SAE cannot have.

    Raises:
        InterpError: an index outside the SAE, lists of other lengths, numbers that are not finite.
    """
    check_ref(neuron_set.sae)
    lengths = {len(neuron_set.indices), len(neuron_set.magnitude), len(neuron_set.baseline)}
    if len(lengths) != 1 or len(set(neuron_set.indices)) < len(neuron_set.indices):
        raise InterpError(
            f"set {neuron_set.label!r}: {sorted(lengths)} indices, magnitudes and means; give one of each"
        )
    if bad := [i for i in neuron_set.indices if not 0 <= i < neuron_set.sae.d_sae]:
        raise InterpError(f"set {neuron_set.label!r}: latent {bad[0]} of an SAE of {neuron_set.sae.d_sae}")
    if not all(map(math.isfinite, (*neuron_set.magnitude, *neuron_set.baseline))):
        raise InterpError(f"set {neuron_set.label!r}: a magnitude or mean is no finite number")
