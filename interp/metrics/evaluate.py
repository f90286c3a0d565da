"""Measure the images of any system beside a benchmark."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
"""Asked for as images: the benchmark's own."""
Images = str | Path | Mapping[str, Sequence[Picture]]
MEAN = "culture_vqa:mean"
CORRECTED = " corrected"


@dataclass(frozen=True)
class _Shelf:
    """Images with the sample of each, and the samples without any."""

    images: Sequence[Picture]
    samples: list[Sample]
    missing: int

    @property
    def seeds(self) -> tuple[int, ...]:
        """Position of each image among those of its sample."""
        seen: Counter[str] = Counter()
        positions = []
        for sample in self.samples:
            positions.append(seen[sample.id])
            seen[sample.id] += 1
        return tuple(positions)


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
    """Measure a folder of images; none of our models is needed.

    Args:
        images: a folder (`<sample>.png` or `<sample>-<number>.png`), images by sample id, or "reference" for the
            benchmark's own images.
        bench: the benchmark that they were made for.
        metrics: names as in `interp.metrics.registry`, or metrics; None for those that ship for the benchmark.
        split: its samples are looked for.
        system: name in tables; the folder's if None.
        cache: file of finished scores, to resume from.
        real: the benchmark's own images measured by the same judges: their errors, to be taken out.
        progress: show a bar.
        device: where judges and metrics compute; None for what is there.

    Returns:
        With intervals over concept × culture clusters within cultures. Of several judges their mean is given, too; a
        judge whose errors on real images are known also with the accuracy corrected for them.

    Raises:
        InterpError: an image that is no sample's, an unknown metric, or as a metric raises.
    """
    if real is not None and not isinstance(real, Measured):
        raise InterpError(f"real= is a {type(real).__name__}; give what measuring the reference pictures gave")
    made = [_knowing(metric, real) for metric in registry.metrics(metrics, bench, device)]
    shelf = _shelf(images, bench, split)
    name = system or (Path(images).name if isinstance(images, str | Path) else "") or "pictures"
    judges = {m.name: m.judge for m in made if isinstance(m, CultureVqa) and isinstance(m.judge, Priced)}
    if progress:
        for metric, judge in judges.items():
            tqdm.write(f"{metric}: {judge.estimate(shelf.images)}", file=sys.stderr)
    scores = run(made, shelf.images, shelf.samples, cache, progress)
    if progress:
        for metric, judge in judges.items():
            if judge.unscored:
                reasons = ", ".join(f"{reason} {count}" for reason, count in judge.unscored.most_common())
                tqdm.write(f"{metric}, unscored: {reasons}", file=sys.stderr)
    return _summary(name, bench, made, shelf, scores, split)


def _knowing(metric: Metric, real: Measured | None) -> Metric:
    """A judge with the errors that it made on real images; every other metric as it is."""
    if real is None or not isinstance(metric, CultureVqa) or metric.name not in real.confusion:
        return metric
    if real.settings["digests"][metric.name] != metric.digest:
        raise InterpError(f"{metric.name} has changed since the real pictures were measured; measure them again")
    at = [real.labels.index(label) for label in metric.judge.labels]
    return replace(metric, errors=real.confusion[metric.name][np.ix_(at, at)])


def _shelf(images: Images, bench: Benchmark, split: str) -> _Shelf:
    samples = {s.id: s for s in bench.samples(split)}
    if images == REFERENCE:
        paths = [bench.folder / s.image for s in samples.values()]
        return _Shelf(image_folder.Pictures(paths), list(samples.values()), 0)
    by_sample: Mapping[str, Sequence[Any]]
    if isinstance(images, str | Path):
        files = image_folder.find(Path(images), {s.id for s in bench.rows})
        by_sample = {name: p for name, p in files.items() if name in samples}
        if not by_sample:
            raise InterpError(f"{images} holds no picture of the {split} split; name the split that they were made for")
    else:
        by_sample = images
        if unknown := sorted(images.keys() - samples.keys()):
            raise InterpError(f"pictures of {unknown[0]!r}, which is no sample of the {split} split")
    items: list[Any] = [image for name in samples for image in by_sample.get(name, ())]
    shown = [sample for name, sample in samples.items() for _ in by_sample.get(name, ())]
    pixels = image_folder.Pictures(items) if isinstance(images, str | Path) else items
    return _Shelf(pixels, shown, len(samples) - len({s.id for s in shown}))


def _summary(
    system: str, bench: Benchmark, metrics: Sequence[Metric], shelf: _Shelf, scored: Mapping[str, Scores], split: str
) -> Measured:
    scores = {name: s.values for name, s in scored.items()}
    measures = {m.name: Measure(m.unit, m.direction) for m in metrics}
    judges = [m for m in metrics if isinstance(m, CultureVqa)]
    if len(judges) > 1:
        scores[MEAN] = np.mean([scores[j.name] for j in judges], axis=0)
        measures[MEAN] = Measure("percent", "higher")
    # a judge may know cultures that the benchmark has no images of
    known = (*bench.cultures, *(label for j in judges for label in j.judge.labels if label != UNRECOGNISABLE))
    labels = (*dict.fromkeys(known), UNRECOGNISABLE)
    cultures = tuple(s.culture for s in shelf.samples)
    answers = {j.name: scored[j.name].answers or ("",) * len(cultures) for j in judges}
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
        confusion={},
        missing=shelf.missing,
        settings={"split": split, "benchmark_digest": bench.digest, "digests": {m.name: m.digest for m in metrics}},
    )
    return _without_errors(averaged(bare), judges)


def averaged(measured: Measured) -> Measured:
    """With the intervals and the confusion matrices that follow from its scores and answers."""
    cultures, clusters = np.array(measured.cultures), np.array(measured.clusters)
    overall = {n: stats.interval(v, measured.clusters, measured.cultures) for n, v in measured.scores.items()}
    rows = {c: cultures == c for c in dict.fromkeys(measured.cultures)}
    per_culture = {
        name: {c: stats.interval(values[at], clusters[at].tolist()) for c, at in rows.items()}
        for name, values in measured.scores.items()
    }
    confusion = {n: culture_vqa.confusion(measured.cultures, a, measured.labels) for n, a in measured.answers.items()}
    return replace(measured, overall=overall, per_culture=per_culture, confusion=confusion)


def _without_errors(measured: Measured, judges: Sequence[CultureVqa]) -> Measured:
    """With the accuracy corrected for the errors of judges whose errors are known."""
    overall, per_culture, measures = dict(measured.overall), dict(measured.per_culture), dict(measured.measures)
    for metric in judges:
        if metric.errors is not None:
            answers, labels = measured.answers[metric.name], metric.judge.labels
            better = culture_vqa.corrected(measured.cultures, answers, labels, metric.errors, measured.clusters)
            name = metric.name + CORRECTED
            overall[name], per_culture[name] = better.overall, better.per_culture
            measures[name] = Measure("percent", "higher")
    return replace(measured, overall=overall, per_culture=per_culture, measures=measures)
