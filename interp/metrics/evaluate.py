"""Measure the pictures of any system beside a benchmark, and put several systems side by side (Table 2, Figure 8)."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from interp import stats
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics import culture_vqa, image_folder, registry
from interp.metrics.base import Metric, Scores
from interp.metrics.culture_vqa import CultureVqa
from interp.metrics.judges.base import Priced
from interp.metrics.run import measure as run
from interp.types import UNRECOGNISABLE, Measure, Measured, Sample

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
        return _Shelf(image_folder.Pictures([bench.folder / s.image for s in own]), own, (0,) * len(own), 0)
    if isinstance(images, str | Path):
        every = {s.id for s in bench.rows}
        files = {name: p for name, p in image_folder.find(Path(images), every).items() if name in samples}
        if not files:
            raise InterpError(f"{images} holds no picture of the {split} split; name the split that they were made for")
        names = [n for n in samples for _ in files.get(n, ())]
        pictures: Sequence[Picture] = image_folder.Pictures([p for n in samples for p in files.get(n, ())])
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
