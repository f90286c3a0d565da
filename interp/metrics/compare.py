"""Several systems on the same samples, each paired with one of them (Table 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from interp import stats
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.images import Picture, read
from interp.errors import InterpError
from interp.metrics import culture_vqa, image_folder
from interp.metrics.evaluate import _averaged
from interp.types import Comparison, Interval, Measured, Sample


def pictures(
    systems: Mapping[str, Path], bench: Benchmark, split: str = "test", rows: int = 8
) -> tuple[list[Sample], dict[str, list[Picture]]]:
    """Samples of different cultures and the picture that each system, and the benchmark, has of them (Figure 8).

    Raises:
        InterpError: the systems have no sample in common.
    """
    files = {name: image_folder.find(path, {s.id for s in bench.rows}) for name, path in systems.items()}
    common = [s for s in bench.samples(split) if all(s.id in found for found in files.values())]
    if not common:
        raise InterpError("the systems have no sample in common; draw the same samples")
    chosen: dict[str, Sample] = {}
    for sample in common:
        if sample.category not in {s.category for s in chosen.values()}:
            chosen.setdefault(sample.culture, sample)
    some = list(chosen.values())[:rows]
    shown = {name: [np.asarray(read(found[s.id][0])) for s in some] for name, found in files.items()}
    return some, shown | {"reference": [np.asarray(bench.image(s)) for s in some]}


def compare(systems: Sequence[Measured], reference: str | None = None, seed: int = 0) -> Comparison:
    """Put systems side by side on the pictures that all of them have.

    Args:
        systems: measured on one split of one benchmark by the same metrics.
        reference: the system that the others are held against; the first if None.
        seed: of the permutations.

    Raises:
        InterpError: fewer than two systems, two of one name, other benchmarks, splits or metrics, or no common picture.
    """
    names = [s.system for s in systems]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InterpError(f"systems asked: {', '.join(names) or 'none'}; give at least two, each with its own name")
    first = systems[0]
    for other in systems[1:]:
        _refuse_others(first, other)
    chosen = reference or names[0]
    if chosen not in names:
        raise InterpError(f"no system {chosen!r} to compare with; given: {', '.join(names)}")
    common = set.intersection(*({*zip(s.samples, s.seeds, strict=True)} for s in systems))
    if not common:
        raise InterpError("the systems have no sample in common; measure them on the same samples")
    cut = {s.system: _cut(s, common) for s in systems}
    base = cut.pop(chosen)
    difference: dict[str, dict[str, Interval]] = {}
    p: dict[str, dict[str, float]] = {}
    for name, scores in base.scores.items():
        pairs = {n: (s.scores[name], scores) for n, s in cut.items()}
        difference[name] = {
            n: stats.paired_difference(a, b, base.clusters, base.cultures) for n, (a, b) in pairs.items()
        }
        raw = [_p(a, b, base.clusters, seed) for a, b in pairs.values()]
        p[name] = dict(zip(pairs, stats.holm(raw).tolist(), strict=True))
    return Comparison((base, *cut.values()), chosen, difference, p)


def _p(a: np.ndarray, b: np.ndarray, clusters: Sequence[str], seed: int) -> float:
    """Two-sided sign-flip p; NaN where no picture is scored in both."""
    if not (~np.isnan(a - b)).any():
        return np.nan
    return stats.paired_permutation_p(a, b, clusters, seed=seed)


def _refuse_others(first: Measured, other: Measured) -> None:
    kept = ("split", "benchmark_digest", "digests")
    said: list[tuple[str, Any, Any]] = [(k, first.settings.get(k), other.settings.get(k)) for k in kept]
    if different := [k for k, a, b in said if a != b]:
        raise InterpError(
            f"{first.system} and {other.system} were measured with another {', '.join(different)}; "
            "measure both on the same split of the same benchmark by the same metrics"
        )


def _cut(found: Measured, common: set[tuple[str, int]]) -> Measured:
    """The same measurement on some of its pictures, in one order for all systems."""
    place = {pair: i for i, pair in enumerate(zip(found.samples, found.seeds, strict=True))}
    at = [place[pair] for pair in sorted(common)]

    def some(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[i] for i in at)

    answers = {n: some(v) for n, v in found.answers.items()}
    cultures = some(found.cultures)
    return _averaged(
        replace(
            found,
            measures={n: m for n, m in found.measures.items() if n in found.scores},
            samples=some(found.samples),
            seeds=some(found.seeds),
            cultures=cultures,
            clusters=some(found.clusters),
            scores={n: v[at] for n, v in found.scores.items()},
            answers=answers,
            confusion={n: culture_vqa.confusion(cultures, v, found.labels) for n, v in answers.items()},
        )
    )
