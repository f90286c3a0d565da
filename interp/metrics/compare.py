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
from interp.metrics import image_folder
from interp.metrics.evaluate import averaged
from interp.types import Comparison, Interval, Measured, Sample


def pictures(
    systems: Mapping[str, Path], bench: Benchmark, split: str = "test", rows: int = 8
) -> tuple[list[Sample], dict[str, list[Picture]]]:
    """Samples of different cultures and the image that each system, and the benchmark, has of them (Figure 8).

    Raises:
        InterpError: the systems have no sample in common.
    """
    files = {name: image_folder.find(path, {s.id for s in bench.rows}) for name, path in systems.items()}
    common = [s for s in bench.samples(split) if all(s.id in paths for paths in files.values())]
    if not common:
        raise InterpError("the systems have no sample in common; draw the same samples")
    by_culture: dict[str, Sample] = {}
    for sample in common:
        if sample.category not in {s.category for s in by_culture.values()}:
            by_culture.setdefault(sample.culture, sample)
    samples = list(by_culture.values())[:rows]
    shown = {name: [np.asarray(read(paths[s.id][0])) for s in samples] for name, paths in files.items()}
    return samples, shown | {"reference": [np.asarray(bench.image(s)) for s in samples]}


def compare(systems: Sequence[Measured], reference: str | None = None, seed: int = 0) -> Comparison:
    """Put systems side by side on the images that all of them have.

    Args:
        systems: measured on one split of one benchmark by the same metrics.
        reference: the system that the others are held against; the first if None.
        seed: of the permutations.

    Raises:
        InterpError: fewer than two systems, two of one name, other benchmarks, splits or metrics, or no common image.
    """
    names = [s.system for s in systems]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InterpError(f"systems asked: {', '.join(names) or 'none'}; give at least two, each with its own name")
    for other in systems[1:]:
        _refuse_others(systems[0], other)
    against = reference or names[0]
    if against not in names:
        raise InterpError(f"no system {against!r} to compare with; given: {', '.join(names)}")
    common = set.intersection(*({*zip(s.samples, s.seeds, strict=True)} for s in systems))
    if not common:
        raise InterpError("the systems have no sample in common; measure them on the same samples")
    cut = {s.system: _cut(s, common) for s in systems}
    base = cut.pop(against)
    difference: dict[str, dict[str, Interval]] = {}
    p: dict[str, dict[str, float]] = {}
    for name, scores in base.scores.items():
        others = {n: s.scores[name] for n, s in cut.items()}
        difference[name] = {
            n: stats.paired_difference(values, scores, base.clusters, base.cultures) for n, values in others.items()
        }
        raw = [_p(values, scores, base.clusters, seed) for values in others.values()]
        p[name] = dict(zip(others, stats.holm(raw).tolist(), strict=True))
    return Comparison((base, *cut.values()), against, difference, p)


def _p(a: np.ndarray, b: np.ndarray, clusters: Sequence[str], seed: int) -> float:
    """Two-sided sign-flip p; NaN where no image is scored in both."""
    return np.nan if np.isnan(a - b).all() else stats.paired_permutation_p(a, b, clusters, seed=seed)


def _refuse_others(first: Measured, other: Measured) -> None:
    keys = ("split", "benchmark_digest", "digests")
    if different := [k for k in keys if first.settings.get(k) != other.settings.get(k)]:
        raise InterpError(
            f"{first.system} and {other.system} were measured with another {', '.join(different)}; "
            "measure both on the same split of the same benchmark by the same metrics"
        )


def _cut(measured: Measured, common: set[tuple[str, int]]) -> Measured:
    """The same measurement on some of its images, in one order for all systems."""
    place = {pair: i for i, pair in enumerate(zip(measured.samples, measured.seeds, strict=True))}
    at = [place[pair] for pair in sorted(common)]

    def some(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[i] for i in at)

    return averaged(
        replace(
            measured,
            measures={n: m for n, m in measured.measures.items() if n in measured.scores},
            samples=some(measured.samples),
            seeds=some(measured.seeds),
            cultures=some(measured.cultures),
            clusters=some(measured.clusters),
            scores={n: v[at] for n, v in measured.scores.items()},
            answers={n: some(v) for n, v in measured.answers.items()},
        )
    )
