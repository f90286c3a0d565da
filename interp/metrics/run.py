"""Run metrics over pictures: in batches, kept by the picture's digest, resumed where a run stopped."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from tqdm.auto import tqdm

from interp.benchmarks.images import Picture, digest
from interp.errors import InterpError
from interp.metrics.base import Metric, Scores
from interp.store import Journal, sha256_bytes
from interp.types import Sample

CHUNK = 64
"""Pictures in memory at once; more where the pictures of one sample must stay together."""


@runtime_checkable
class Paid(Metric, Protocol):
    """A metric that may be paid for by the picture, and then is kept by the picture."""

    @property
    def paid(self) -> bool:
        """Whether it is."""
        ...

    def each(self, pictures: Sequence[Picture], samples: Sequence[Sample]) -> Iterator[tuple[Sequence[int], Scores]]:
        """Scores as they come, with the positions of their pictures."""
        ...


def is_paid(metric: Metric) -> TypeGuard[Paid]:
    """Whether a metric is paid for by the picture."""
    return isinstance(metric, Paid) and metric.paid


def measure(
    metrics: Sequence[Metric],
    pictures: Sequence[Picture],
    samples: Sequence[Sample],
    cache: Path | None = None,
    progress: bool = True,
) -> dict[str, Scores]:
    """Score every picture by every metric.

    Args:
        metrics: each with a name of its own.
        pictures: read as they are needed, so a sequence that opens files is no burden.
        samples: the sample that each picture was made for; several pictures may share one.
        cache: file of finished scores; a later call with the same pictures takes them from there. What is paid for is
            kept as it comes, other scores by the chunk. What could not be scored is not kept, so it is tried again.
        progress: show a bar.

    Returns:
        Scores by the metric's name, in the order of the pictures.

    Raises:
        InterpError: not one sample a picture, two metrics of one name, or no metric.
    """
    names = [m.name for m in metrics]
    if not names or len(set(names)) < len(names):
        raise InterpError(f"metrics asked: {', '.join(names) or 'none'}; give at least one, and each once")
    if len(pictures) != len(samples):
        raise InterpError(f"{len(pictures)} pictures but {len(samples)} samples; give one sample a picture")
    journal = Journal(cache) if cache else None
    values = {m.name: np.full(len(samples), np.nan) for m in metrics}
    answers = {m.name: [""] * len(samples) for m in metrics}
    judges = set()
    with tqdm(total=len(samples), desc="measure", unit="picture", disable=not progress) as bar:
        for rows in _chunks([s.id for s in samples]):
            part = [pictures[i] for i in rows]
            own = [samples[i] for i in rows]
            for metric in metrics:
                found = _chunk(metric, part, own, journal)
                for at, i in enumerate(rows):
                    values[metric.name][i] = found.values[at]
                    if found.answers:
                        judges.add(metric.name)
                        answers[metric.name][i] = found.answers[at]
            bar.update(len(rows))
    return {n: Scores(values[n], tuple(answers[n]) if n in judges else ()) for n in names}


def _chunks(ids: Sequence[str]) -> Iterator[list[int]]:
    """Positions in chunks that never divide a sample."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(ids):
        groups.setdefault(name, []).append(i)
    chunk: list[int] = []
    for group in groups.values():
        if chunk and len(chunk) + len(group) > CHUNK:
            yield chunk
            chunk = []
        chunk += group
    if chunk:
        yield chunk


def _chunk(metric: Metric, pictures: Sequence[Picture], samples: Sequence[Sample], journal: Journal | None) -> Scores:
    """Scores of one chunk; those in the journal are not computed again."""
    if not metric.digest:  # nothing says when its scores change
        journal = None
    names = [str(i) for i in range(len(samples))]
    found: dict[str, Any] = {}
    if journal is not None:
        names = _keys(metric, pictures, samples)
        found = {name: value for name in names if (value := journal.done(name)) is not None}
    # two equal pictures of one sample have one name, and are scored once
    missing = list({name: i for i, name in enumerate(names) if name not in found}.values())
    for part in _fresh(metric, pictures, samples, missing):
        new = {names[i]: value for i, value in part.items()}
        found |= new
        if journal is not None:
            journal.record_all({name: list(value) for name, value in new.items() if not np.isnan(value[0])})
    scores = [found[name] for name in names]
    asked = any(answer for _, answer in scores)
    return Scores(np.array([value for value, _ in scores], dtype=float), tuple(a for _, a in scores) if asked else ())


def _fresh(
    metric: Metric, pictures: Sequence[Picture], samples: Sequence[Sample], missing: Sequence[int]
) -> Iterator[Mapping[int, tuple[float, str]]]:
    """Score the pictures at some positions: one by one where each is paid for, else in one part."""
    if is_paid(metric):
        for rows, scores in metric.each([pictures[i] for i in missing], [samples[i] for i in missing]):
            yield _by_position([missing[at] for at in rows], scores)
    elif missing:
        # what a score depends on is measured with it
        at = list(range(len(samples))) if metric.grouped else list(missing)
        size = len(at) if metric.grouped else metric.batch
        out: dict[int, tuple[float, str]] = {}
        for start in range(0, len(at), size):
            rows = at[start : start + size]
            out |= _by_position(rows, metric.measure([pictures[i] for i in rows], [samples[i] for i in rows]))
        yield {i: out[i] for i in missing}


def _by_position(rows: Sequence[int], scores: Scores) -> dict[int, tuple[float, str]]:
    given = scores.answers or ("",) * len(rows)
    return {i: (float(v), a) for i, v, a in zip(rows, scores.values, given, strict=True)}


def _keys(metric: Metric, pictures: Sequence[Picture], samples: Sequence[Sample]) -> list[str]:
    """A name for each score: all that it depends on."""
    digests = [digest(p) for p in pictures]
    beside = [""] * len(samples)
    if metric.grouped:
        together: dict[str, list[str]] = {}
        for name, of in zip([s.id for s in samples], digests, strict=True):
            together.setdefault(name, []).append(of)
        beside = ["/".join(sorted(together[s.id])) for s in samples]
    own = f"{metric.name}/{metric.digest}"
    parts = zip(digests, samples, beside, strict=True)
    return [sha256_bytes(f"{own}/{of}/{metric.key(s)}/{b}".encode()) for of, s, b in parts]
