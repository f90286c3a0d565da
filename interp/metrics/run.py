"""Run metrics over images: in batches, kept by the image's digest, resumed where a run stopped."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from tqdm.auto import tqdm

from interp.benchmarks.images import Picture, digest
from interp.errors import InterpError
from interp.grouping import group
from interp.metrics.base import Metric, Scores
from interp.store import Journal, sha256_bytes
from interp.types import Sample

CHUNK = 64
"""Images in memory at once; more where the images of one sample must stay together."""
Score = tuple[float, str]
"""A value, and the answer of a judge or ''."""


@runtime_checkable
class Paid(Metric, Protocol):
    """A metric that may be paid for by the image, and then is kept by the image."""

    @property
    def paid(self) -> bool:
        """Whether it is."""
        ...

    def each(self, images: Sequence[Picture], samples: Sequence[Sample]) -> Iterator[tuple[Sequence[int], Scores]]:
        """Scores as they come, with the positions of their images."""
        ...


def is_paid(metric: Metric) -> TypeGuard[Paid]:
    """Whether a metric is paid for by the image."""
    return isinstance(metric, Paid) and metric.paid


def measure(
    metrics: Sequence[Metric],
    images: Sequence[Picture],
    samples: Sequence[Sample],
    cache: Path | None = None,
    progress: bool = True,
) -> dict[str, Scores]:
    """Score every image by every metric.

    Args:
        metrics: each with a name of its own.
        images: read as they are needed, so a sequence that opens files is no burden.
        samples: the sample that each image was made for; several images may share one.
        cache: file of finished scores; a later call with the same images takes them from there. What is paid for is
            kept as it comes, other scores by the chunk. What could not be scored is not kept, so it is tried again.
        progress: show a bar.

    Returns:
        Scores by the metric's name, in the order of the images.

    Raises:
        InterpError: not one sample per image, two metrics of one name, or no metric.
    """
    names = [m.name for m in metrics]
    if not names or len(set(names)) < len(names):
        raise InterpError(f"metrics asked: {', '.join(names) or 'none'}; give at least one, and each once")
    if len(images) != len(samples):
        raise InterpError(f"{len(images)} pictures but {len(samples)} samples; give one sample per picture")
    journal = Journal(cache) if cache else None
    scores: dict[str, list[Score]] = {m.name: [(np.nan, "")] * len(samples) for m in metrics}
    with tqdm(total=len(samples), desc="measure", unit="image", disable=not progress) as bar:
        for rows in _chunks([s.id for s in samples]):
            part, of = [images[i] for i in rows], [samples[i] for i in rows]
            for metric in metrics:
                for i, score in zip(rows, _chunk(metric, part, of, journal), strict=True):
                    scores[metric.name][i] = score
            bar.update(len(rows))
    return {name: _joined(pairs) for name, pairs in scores.items()}


def _joined(pairs: Sequence[Score]) -> Scores:
    answers = tuple(answer for _, answer in pairs)
    return Scores(np.array([value for value, _ in pairs], dtype=float), answers if any(answers) else ())


def recorded(
    journal: Journal | None,
    keys: Sequence[str],
    ask: Callable[[Sequence[int]], Iterable[Mapping[int, Any]]],
    is_answer: Callable[[Any], bool],
) -> list[Any]:
    """One value per key: from a journal, else asked for and recorded as it comes, so that nothing is paid for twice.

    Args:
        journal: None to keep nothing.
        keys: all that decides each value; equal keys are asked for once.
        ask: from the positions of the keys that are missing to their values by position, in the parts in which they
            come; a part is on disk before the next is asked for.
        is_answer: whether a value is one; what is none is not kept, so that the next run asks again.
    """
    values = {key: value for key in keys if journal is not None and (value := journal.done(key)) is not None}
    missing = list({key: at for at, key in enumerate(keys) if key not in values}.values())
    for part in ask(missing):
        new = {keys[at]: value for at, value in part.items()}
        values |= new
        if journal is not None:
            journal.record_all({key: value for key, value in new.items() if is_answer(value)})
    return [values[key] for key in keys]


def _chunks(ids: Sequence[str]) -> Iterator[list[int]]:
    """Positions in chunks that never divide a sample."""
    chunk: list[int] = []
    for same in group(range(len(ids)), lambda i: ids[i]).values():
        if chunk and len(chunk) + len(same) > CHUNK:
            yield chunk
            chunk = []
        chunk += same
    if chunk:
        yield chunk


def _chunk(
    metric: Metric, images: Sequence[Picture], samples: Sequence[Sample], journal: Journal | None
) -> list[Score]:
    """Scores of one chunk; those in the journal are not computed again."""
    if not metric.digest:  # nothing says when its scores change
        journal = None
    # without a journal a key has only to be unique
    keys = [str(i) for i in range(len(samples))] if journal is None else _keys(metric, images, samples)
    fresh = partial(_fresh, metric, images, samples)
    return [(value, answer) for value, answer in recorded(journal, keys, fresh, lambda score: not np.isnan(score[0]))]


def _fresh(
    metric: Metric, images: Sequence[Picture], samples: Sequence[Sample], missing: Sequence[int]
) -> Iterator[Mapping[int, Score]]:
    """Score the images at some positions: one by one where each is paid for, else in one part."""
    if is_paid(metric):
        for rows, scores in metric.each([images[i] for i in missing], [samples[i] for i in missing]):
            yield _by_position([missing[at] for at in rows], scores)
    elif missing:
        # what a score depends on is measured with it
        at = list(range(len(samples))) if metric.grouped else list(missing)
        size = len(at) if metric.grouped else metric.batch
        out: dict[int, Score] = {}
        for start in range(0, len(at), size):
            rows = at[start : start + size]
            out |= _by_position(rows, metric.measure([images[i] for i in rows], [samples[i] for i in rows]))
        yield {i: out[i] for i in missing}


def _by_position(rows: Sequence[int], scores: Scores) -> dict[int, Score]:
    answers = scores.answers or ("",) * len(rows)
    return {i: (float(v), a) for i, v, a in zip(rows, scores.values, answers, strict=True)}


def _keys(metric: Metric, images: Sequence[Picture], samples: Sequence[Sample]) -> list[str]:
    """A name for each score: all that it depends on."""
    digests = [digest(image) for image in images]
    beside = [""] * len(samples)
    if metric.grouped:
        together = group(range(len(samples)), lambda i: samples[i].id)
        beside = ["/".join(sorted(digests[i] for i in together[s.id])) for s in samples]
    parts = zip(digests, samples, beside, strict=True)
    name = f"{metric.name}/{metric.digest}"
    return [sha256_bytes(f"{name}/{image}/{metric.key(s)}/{others}".encode()) for image, s, others in parts]
