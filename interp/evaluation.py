"""Measure the pictures of any system beside a benchmark, and put several systems side by side (Table 2, Figure 8)."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from interp import stats
from interp.benchmarks import Benchmark
from interp.errors import InterpError
from interp.metrics import culture_vqa, folder, registry
from interp.metrics.base import Metric, Picture, Scores
from interp.metrics.culture_vqa import CultureVqa
from interp.metrics.judges.base import Priced
from interp.metrics.measured import measure as run
from interp.pictures import read
from interp.types import UNRECOGNISABLE, Comparison, Interval, Measure, Measured, Sample

REFERENCE = "reference"
"""Asked for as pictures: the benchmark's own."""
Images = str | Path | Mapping[str, Sequence[Picture]]
MEAN = "culture_vqa:mean"
CORRECTED = " corrected"


@dataclass(frozen=True)
class _Shelf:
    """Pictures with the sample and the number of each."""

    pictures: Sequence[Picture]
    samples: list[Sample]
    seeds: tuple[int, ...]
    missing: int


def measure(
    images: Images,
    bench: Benchmark,
    metrics: Sequence[str | Metric] | None = None,
    split: str = "test",
    system: str | None = None,
    cache: Path | None = None,
    real: Measured | None = None,
    progress: bool = True,
    device: str | None = None,
) -> Measured:
    """Measure a folder of pictures; none of our models is needed.

    Args:
        images: a folder (`<sample>.png` or `<sample>-<number>.png`), pictures by sample id, or "reference" for the
            benchmark's own pictures.
        bench: the benchmark that they were made for.
        metrics: names as in `interp.metrics.registry`, or metrics; None for those that ship for the benchmark.
        split: its samples are looked for.
        system: name in tables; the folder's if None.
        cache: file of finished scores, to resume from.
        real: the benchmark's own pictures measured by the same judges: their errors, to be taken out.
        progress: show a bar.
        device: where judges and metrics compute; None for what is there.

    Returns:
        With intervals over concept × culture clusters within cultures. Of several judges their mean is given, too; a
        judge whose errors on real pictures are known also with the accuracy corrected for them.

    Raises:
        InterpError: a picture that is no sample's, an unknown metric, or as a metric raises.
    """
    if real is not None and not isinstance(real, Measured):
        raise InterpError(f"real= is a {type(real).__name__}; give what measuring the reference pictures gave")
    chosen = [_knowing(metric, real) for metric in registry.metrics(metrics, bench, device)]
    shelf = _shelf(images, bench, split)
    name = system or (
        str(images) if images == REFERENCE else Path(images).name if isinstance(images, str | Path) else ""
    )
    if progress:
        for metric in chosen:
            _announce(metric, shelf.pictures)
    found = run(chosen, shelf.pictures, shelf.samples, cache, progress)
    if progress:
        _tell_unscored(chosen)
    return _summary(name or "pictures", bench, chosen, shelf, found, split)


def _knowing(metric: Metric, real: Measured | None) -> Metric:
    """A judge with the errors that it made on real pictures; every other metric as it is.

    Raises:
        InterpError: the real pictures were measured by another state of the judge.
    """
    if real is None or not isinstance(metric, CultureVqa) or metric.name not in real.confusion:
        return metric
    if real.settings["digests"][metric.name] != metric.digest:
        raise InterpError(f"{metric.name} has changed since the real pictures were measured; measure them again")
    at = [real.labels.index(label) for label in metric.judge.labels]
    return replace(metric, errors=real.confusion[metric.name][np.ix_(at, at)])


def _shelf(images: Images, bench: Benchmark, split: str) -> _Shelf:
    samples = {s.id: s for s in bench.samples(split)}
    if images == REFERENCE:
        own = list(samples.values())
        return _Shelf(folder.Pictures([bench.folder / s.image for s in own]), own, (0,) * len(own), 0)
    if isinstance(images, str | Path):
        every = {s.id for s in bench.rows}
        files = {name: p for name, p in folder.find(Path(images), every).items() if name in samples}
        if not files:
            raise InterpError(f"{images} holds no picture of the {split} split; name the split that they were made for")
        names = [n for n in samples for _ in files.get(n, ())]
        pictures: Sequence[Picture] = folder.Pictures([p for n in samples for p in files.get(n, ())])
    else:
        if unknown := sorted(images.keys() - samples.keys()):
            raise InterpError(f"pictures of {unknown[0]!r}, which is no sample of the {split} split")
        names = [n for n in samples for _ in images.get(n, ())]
        pictures = [p for n in samples for p in images.get(n, ())]
    own = [samples[n] for n in names]
    missing = len(samples) - len(set(names))
    return _Shelf(pictures, own, _numbers(names), missing)


def _announce(metric: Metric, pictures: Sequence[Picture]) -> None:
    """Say what a judge behind a server will about cost, before anything is sent."""
    judge = getattr(metric, "judge", None)
    if isinstance(judge, Priced):
        tqdm.write(f"{metric.name}: {judge.estimate(pictures)}", file=sys.stderr)


def _tell_unscored(metrics: Sequence[Metric]) -> None:
    """Say why pictures are without an answer."""
    for metric in metrics:
        judge = getattr(metric, "judge", None)
        if isinstance(judge, Priced) and judge.unscored:
            reasons = ", ".join(f"{reason} {count}" for reason, count in judge.unscored.most_common())
            tqdm.write(f"{metric.name}, unscored: {reasons}", file=sys.stderr)


def _numbers(names: Sequence[str]) -> tuple[int, ...]:
    """Position of each picture among those of its sample."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        out.append(seen.get(name, 0))
        seen[name] = out[-1] + 1
    return tuple(out)


def _summary(
    system: str, bench: Benchmark, metrics: Sequence[Metric], shelf: _Shelf, found: Mapping[str, Scores], split: str
) -> Measured:
    scores = {name: s.values for name, s in found.items()}
    measures = {m.name: Measure(m.unit, m.direction) for m in metrics}
    judges = [m for m in metrics if isinstance(m, CultureVqa)]
    if len(judges) > 1:
        scores[MEAN] = np.mean([scores[j.name] for j in judges], axis=0)
        measures[MEAN] = Measure("percent", "higher")
    # a judge may know cultures that the benchmark has no pictures of
    named = (*bench.cultures, *(label for j in judges for label in j.judge.labels if label != UNRECOGNISABLE))
    labels = (*dict.fromkeys(named), UNRECOGNISABLE)
    cultures = tuple(s.culture for s in shelf.samples)
    answers = {j.name: found[j.name].answers or ("",) * len(cultures) for j in judges}
    bare = Measured(
        system=system,
        benchmark=bench.name,
        measures=measures,
        samples=tuple(s.id for s in shelf.samples),
        seeds=shelf.seeds,
        cultures=cultures,
        clusters=tuple(f"{s.culture}/{s.category}" for s in shelf.samples),
        scores=scores,
        answers=answers,
        overall={},
        per_culture={},
        labels=labels,
        confusion={name: culture_vqa.confusion(cultures, said, labels) for name, said in answers.items()},
        missing=shelf.missing,
        settings={"split": split, "benchmark_digest": bench.digest, "digests": {m.name: m.digest for m in metrics}},
    )
    return _without_errors(_averaged(bare), judges)


def _averaged(found: Measured) -> Measured:
    """With the intervals that follow from its scores."""
    own, clusters = np.array(found.cultures), np.array(found.clusters)
    overall = {n: stats.interval(v, found.clusters, found.cultures) for n, v in found.scores.items()}
    per_culture = {
        name: {c: stats.interval(v[own == c], clusters[own == c].tolist()) for c in dict.fromkeys(found.cultures)}
        for name, v in found.scores.items()
    }
    return replace(found, overall=overall, per_culture=per_culture)


def _without_errors(found: Measured, judges: Sequence[CultureVqa]) -> Measured:
    """With the accuracy corrected for the errors of judges whose errors are known."""
    overall, per_culture, measures = dict(found.overall), dict(found.per_culture), dict(found.measures)
    for judge in judges:
        if judge.errors is not None:
            given = (found.cultures, found.answers[judge.name], judge.judge.labels, judge.errors, found.clusters)
            better = culture_vqa.corrected(*given)
            name = judge.name + CORRECTED
            overall[name], per_culture[name] = better.overall, better.per_culture
            measures[name] = Measure("percent", "higher")
    return replace(found, overall=overall, per_culture=per_culture, measures=measures)


def pictures(
    systems: Mapping[str, Path], bench: Benchmark, split: str = "test", rows: int = 8
) -> tuple[list[Sample], dict[str, list[Picture]]]:
    """Samples of different cultures and the picture that each system, and the benchmark, has of them (Figure 8).

    Raises:
        InterpError: the systems have no sample in common.
    """
    files = {name: folder.find(path, {s.id for s in bench.rows}) for name, path in systems.items()}
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
