"""Culture-sensitive latents: how often and how strongly a latent fires for a culture, and not for the bare noun.

Section 4.3 and Appendix C.4 of the paper. Codes come in batches, only three sums a latent are kept, so memory does not
grow with the number of prompts. Which tokens to count (the modifier's, the noun's, all real ones) is up to the caller.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes
from torch import Tensor

from interp import store
from interp.benchmarks.benchmark import Benchmark
from interp.errors import InterpError
from interp.latents.sae import check_ref
from interp.latents.scores import Rule, Selection, WfsAccumulator, select
from interp.types import Codes, Neurons, NeuronSet, SaeRef

_RECORD, _ARRAYS = "neurons.json", "neurons.safetensors"
_TABLES = ("wfs", "wfs_noun", "frequency", "magnitude", "baseline")
OWNED = store.Owned("neurons", _RECORD, "neurons", (_RECORD, _ARRAYS, store.MANIFEST))
_log = logging.getLogger(__name__)


def build(
    cult: Mapping[str, WfsAccumulator],
    noun: Mapping[str, WfsAccumulator],
    sae: SaeRef,
    *,
    languages: Sequence[str],
    split: str,
    benchmark_digest: str,
    model_digest: str = "",
    rule: Rule | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Neurons:
    """Neurons from the counts of both kinds of prompts.

    Args:
        cult: counts on culture-style prompts, by culture; their order is the order of the cultures.
        noun: counts on noun-only prompts, of the same cultures.
        sae: the SAE that made the codes.
        languages: language of each culture.
        split: the split the prompts are from.
        benchmark_digest: of the benchmark the prompts are from.
        model_digest: of all weights of the model that the codes are from.
        rule: how to choose; None for the paper's.
        settings: more to record beside the rule (codes, tokens counted); plain JSON values.

    Raises:
        InterpError: cultures, languages or widths do not fit together.
    """
    cultures, chosen = tuple(cult), rule or Rule()
    _check_fit(cult, noun, sae, languages)
    tables = {
        "wfs": _table([cult[c].wfs for c in cultures]),
        "wfs_noun": _table([noun[c].wfs for c in cultures]),
        "frequency": _table([cult[c].frequency for c in cultures]),
        "magnitude": _table([cult[c].magnitude for c in cultures]),
        "baseline": _table([noun[c].mean for c in cultures]),
    }
    chosen_sets = select(tables["wfs"], tables["wfs_noun"], chosen)
    rows = zip(cultures, chosen_sets, tables["magnitude"], tables["baseline"], strict=True)
    sets = {culture: _neuron_set(culture, pick, mu, mean, sae) for culture, pick, mu, mean in rows}
    record = _record(chosen, dict(zip(cultures, chosen_sets, strict=True))) | dict(settings or {})
    return Neurons(
        sets=sets, **tables, cultures=cultures, languages=tuple(languages), sae=sae, split=split,
        benchmark_digest=benchmark_digest, model_digest=model_digest, settings=record,
    )  # fmt: skip


def _check_fit(
    cult: Mapping[str, WfsAccumulator], noun: Mapping[str, WfsAccumulator], sae: SaeRef, languages: Sequence[str]
) -> None:
    if set(cult) != set(noun) or not cult:
        raise InterpError(f"counted cultures {sorted(cult)} but nouns of {sorted(noun)}; both need the same, not none")
    if len(languages) != len(cult):
        raise InterpError(f"got {len(languages)} languages for {len(cult)} cultures; give one a culture")
    widths = {len(counts.wfs) for counts in [*cult.values(), *noun.values()]}
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


def _table(rows: Sequence[Float[Tensor, " d_sae"]]) -> Float[np.ndarray, "culture d_sae"]:
    return torch.stack(list(rows)).float().numpy()


def _neuron_set(
    label: str, pick: Selection, mu: Float[np.ndarray, " d_sae"], mean: Float[np.ndarray, " d_sae"], sae: SaeRef
) -> NeuronSet:
    if not pick.indices:
        _log.warning("no latent of %s passes the noun-side filter (K = %d); raise tau or k", label, pick.k)
    chosen = list(pick.indices)
    return NeuronSet(label, pick.indices, tuple(mu[chosen].tolist()), tuple(mean[chosen].tolist()), sae)


def _record(rule: Rule, picks: Mapping[str, Selection]) -> dict[str, Any]:
    """What `Neurons.settings` says about the choice, in plain JSON values."""
    dropped = {culture: list(pick.dropped) for culture, pick in picks.items()}
    return {"rule": asdict(rule), "k": {culture: pick.k for culture, pick in picks.items()}, "dropped": dropped}


def overlap(neurons: Neurons) -> Float[np.ndarray, "culture culture"]:
    """Jaccard index of the sets of each two cultures, |A ∩ B| / |A ∪ B|; NaN where both are empty."""
    sets = [set(neurons[culture].indices) for culture in neurons.cultures]
    return np.array([[_jaccard(a, b) for b in sets] for a in sets])


def _jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b) if a | b else float("nan")


def to_table(neurons: Neurons) -> pd.DataFrame:
    """One row a culture and latent, by rank: scores, magnitude, baseline, and how many other cultures share it."""
    rows = [row for i, culture in enumerate(neurons.cultures) for row in _rows(neurons, i, culture)]
    columns = ["culture", "language", "rank", "latent", "wfs", "wfs_noun", "frequency", "magnitude", "baseline"]
    return pd.DataFrame(rows, columns=[*columns, "shared_with"])


def _rows(neurons: Neurons, i: int, culture: str) -> list[tuple[Any, ...]]:
    chosen = neurons[culture]
    others = [set(neurons[other].indices) for other in neurons.cultures if other != culture]
    scores = (neurons.wfs[i], neurons.wfs_noun[i], neurons.frequency[i])
    return [
        (culture, neurons.languages[i], rank, latent, *(float(score[latent]) for score in scores), mu, mean,
         sum(latent in other for other in others))
        for rank, (latent, mu, mean) in enumerate(zip(chosen.indices, chosen.magnitude, chosen.baseline, strict=True))
    ]  # fmt: skip


def save(neurons: Neurons, path: str | Path, manifest: store.Manifest | None = None) -> Path:
    """Write a folder with neurons.json and neurons.safetensors (the tables), whole or not at all; an old one goes.

    Args:
        neurons: from `find_neurons`.
        path: the folder.
        manifest: of the run that found them, written beside them.

    Raises:
        InterpError: the folder holds something else than earlier neurons.
    """
    record = {name: value for name, value in vars(neurons).items() if name not in _TABLES}
    record |= {"sae": asdict(neurons.sae), "sets": {name: asdict(chosen) for name, chosen in neurons.sets.items()}}
    tables = to_bytes({name: np.ascontiguousarray(getattr(neurons, name)) for name in _TABLES})
    with store.atomic_folder(Path(path), "replace", OWNED) as folder:
        store.atomic_write_bytes(folder / _ARRAYS, tables)
        store.write_sealed(folder / _RECORD, {"kind": OWNED.kind, "tables": store.sha256_bytes(tables), **record})
        if manifest is not None:
            store.write_manifest(folder, manifest)
    return Path(path)


def load(path: str | Path) -> Neurons:
    """Read what `save` wrote; the SAE itself is found when needed, by `sae.resolve`.

    Raises:
        InterpError: there are no neurons at this path, or they are damaged.
    """
    folder, todo = Path(path), "restore it or find the neurons again"
    if not (folder / _RECORD).is_file() or not (folder / _ARRAYS).is_file():
        raise InterpError(f"no neurons at {folder}: {_RECORD} or {_ARRAYS} is missing; make them with find_neurons")
    where = str(folder / _RECORD)
    record = store.checked(_Record, store.read_sealed(folder / _RECORD, todo), where, todo)
    data = store.read_bytes(folder / _ARRAYS, todo)
    if store.sha256_bytes(data) != record.tables:
        raise InterpError(f"{folder / _ARRAYS}: not the one that {_RECORD} was written with; {todo}")
    fields: dict[str, Any] = {n: getattr(record, n) for n in _Record.model_fields if n not in ("kind", "tables")}
    fields |= _read_tables(data, record, folder / _ARRAYS, todo)
    return Neurons(**fields)


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
        for culture, chosen in self.sets.items():
            check_set(chosen)
            if chosen.sae != self.sae or chosen.label != culture:
                raise ValueError(f"the set of {culture!r} is labelled {chosen.label!r}, or is of another SAE")
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


def check_set(chosen: NeuronSet) -> None:
    """Refuse a set that its SAE cannot have.

    Raises:
        InterpError: an index outside the SAE, lists of other lengths, numbers that are not finite.
    """
    check_ref(chosen.sae)
    lengths = {len(chosen.indices), len(chosen.magnitude), len(chosen.baseline)}
    if len(lengths) != 1 or len(set(chosen.indices)) < len(chosen.indices):
        raise InterpError(f"set {chosen.label!r}: {sorted(lengths)} indices, magnitudes and means; give one of each")
    if bad := [i for i in chosen.indices if not 0 <= i < chosen.sae.d_sae]:
        raise InterpError(f"set {chosen.label!r}: latent {bad[0]} of an SAE of {chosen.sae.d_sae}")
    if not all(map(math.isfinite, (*chosen.magnitude, *chosen.baseline))):
        raise InterpError(f"set {chosen.label!r}: a magnitude or mean is no finite number")


def _read_tables(data: bytes, record: _Record, path: Path, todo: str) -> dict[str, np.ndarray]:
    try:
        tables = from_bytes(data)
    except (SafetensorError, ValueError, TypeError, LookupError) as error:
        raise InterpError(f"{path}: damaged ({store.one_line(error)}); {todo}") from error
    shape = (len(record.cultures), record.sae.d_sae)
    if tables.keys() != {*_TABLES} or any(t.shape != shape or t.dtype != np.float32 for t in tables.values()):
        raise InterpError(f"{path}: does not hold {', '.join(_TABLES)} of {shape[0]} × {shape[1]} numbers; {todo}")
    if bad := [name for name, table in tables.items() if not np.isfinite(table).all()]:
        raise InterpError(f"{path}: {bad[0]} holds what are no finite numbers; {todo}")
    if any(table.min(initial=0) < 0 for table in tables.values()) or tables["frequency"].max(initial=0) > 1:
        raise InterpError(f"{path}: holds a negative number, or a frequency above 1; {todo}")
    return tables
