"""How far a judge can be trusted, on real images and beside people (C.1 and Table 4 of the paper).

Three measures: the four-image task, where one image of four is of the culture asked for; the 16-way task of CultureVQA;
and agreement with people, as κ. All of it comes from images whose culture is known and, for people, from an annotation
file (docs/annotations.md); no image model is needed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from interp import stats
from interp.benchmarks.images import Picture, digest
from interp.errors import InterpError
from interp.grouping import group
from interp.metrics.culture_vqa import confusion
from interp.metrics.judge_trust.agreement import Agreement, People, agreement, clusters
from interp.metrics.judge_trust.annotations import Annotation, Question
from interp.metrics.judge_trust.four_image import choose
from interp.metrics.judges.base import Judge, OneByOne, Verdicts, hear, hits
from interp.metrics.run import recorded
from interp.store import Journal, cache_dir, sha256_bytes
from interp.types import Interval, Sample

DRAWS = 2000
BATCH = 32


@dataclass(frozen=True)
class FourImage:
    """The four-image task; accuracies in percent, chance is 25."""

    questions: int
    judge: Interval
    per_culture: Mapping[str, Interval]
    people: Interval | None = None
    """Mean over annotators of each question, over the questions that somebody answered."""
    annotators: Mapping[str, Interval] | None = None
    gap: Interval | None = None
    """Judge − people on the questions that both answered, percentage points."""


@dataclass(frozen=True)
class SixteenWay:
    """The judge's own task: one label for one image; accuracies in percent."""

    judge: Interval
    per_culture: Mapping[str, Interval]
    labels: tuple[str, ...]
    """Rows and columns of `confusion`."""
    confusion: Float[np.ndarray, "culture answer"]
    """Images by their culture and the judge's answer; those without an answer are in no cell."""
    people: Interval | None = None
    annotators: Mapping[str, Interval] | None = None


@dataclass(frozen=True)
class Reliability:
    """What is known of a judge."""

    judge: str
    four_image: FourImage
    sixteen_way: SixteenWay
    agreement: Agreement | None
    """None without annotations of the 16-way task."""
    seed: int

    def __str__(self) -> str:
        lines = [f"{self.judge} on {self.four_image.questions} real pictures, percent"]
        for name, task in (("four-image", self.four_image), ("16-way", self.sixteen_way)):
            lines.append(f"{name + ' task':>18}  {task.judge}")
            lines += [f"{'people':>18}  {task.people}"] if task.people else []
            culture, lowest = min(task.per_culture.items(), key=lambda item: item[1].estimate)
            lines.append(f"{'lowest':>18}  {lowest} ({culture})")
        if self.four_image.gap:
            lines.append(f"{'judge − people':>18}  {self.four_image.gap} (four-image)")
        if self.agreement:
            kappas = {"Cohen's κ, majority": self.agreement.majority, "Fleiss' κ, people": self.agreement.fleiss}
            lines += [f"{n:>18}  {i.estimate:.3f} [{i.low:.3f}, {i.high:.3f}] n={i.n}" for n, i in kappas.items()]
        return "\n".join(lines)


def ask(judge: Judge, samples: Sequence[Sample], image: Callable[[Sample], Picture]) -> Verdicts:
    """The judge's answers for the images of samples, in their order.

    Those of a judge that is paid for are kept in the user's cache as each comes, and are not asked for again.

    Raises:
        InterpError: a sample's culture is none of the judge's labels, or it gives no probability for some label.
    """
    if unknown := sorted({s.culture for s in samples} - set(judge.labels)):
        raise InterpError(f"the judge does not know {unknown[0]!r}; its labels: {', '.join(judge.labels)}")
    journal = _journal(judge)
    answers: list[tuple[str, list[float] | None]] = []
    for start in range(0, len(samples), BATCH):
        items = [s.id for s in samples[start : start + BATCH]]
        images = [image(s) for s in samples[start : start + BATCH]]
        keys = [sha256_bytes(f"{digest(i)}/{item}".encode()) for i, item in zip(images, items, strict=True)]
        heard = partial(_heard, judge, images, items)
        answers += [(name, chances) for name, chances in recorded(journal, keys, heard, lambda answer: bool(answer[0]))]
    return Verdicts(tuple(n for n, _ in answers), culture_probability=_joined(judge, [c for _, c in answers]))


def _journal(judge: Judge) -> Journal | None:
    """Where the answers of a judge that is paid for are kept; None for others, and where nothing says what it is."""
    judge_digest = getattr(judge, "digest", None)
    if not judge_digest or not isinstance(judge, OneByOne):
        return None
    return Journal(cache_dir() / "judges" / f"{judge_digest[:16]}.jsonl", {"judge": judge_digest})


def _heard(
    judge: Judge, images: Sequence[Picture], items: Sequence[str], asked: Sequence[int]
) -> Iterator[dict[int, tuple[str, list[float] | None]]]:
    """Label and probabilities of the images at some positions, as they come."""
    for rows, verdicts in hear(judge, [images[at] for at in asked], [items[at] for at in asked]):
        chances = [None] * len(rows) if verdicts.culture_probability is None else verdicts.culture_probability.tolist()
        answers = zip(verdicts.culture, chances, strict=True)
        yield {asked[row]: answer for row, answer in zip(rows, answers, strict=True)}


def _joined(judge: Judge, chances: Sequence[list[float] | None]) -> Float[np.ndarray, "sample culture"] | None:
    """Probabilities of all images, NaN where a judge that answers one by one gave none; None if it never did."""
    if all(row is None for row in chances):
        return None
    lacking = [np.nan] * len(judge.labels) if isinstance(judge, OneByOne) else None
    rows = [by_label for row in chances if (by_label := lacking if row is None else row) is not None]
    joined = np.array(rows, dtype=float)
    if joined.shape != (len(chances), len(judge.labels)):
        raise InterpError(
            f"probabilities of shape {joined.shape} for {len(chances)} pictures, {len(judge.labels)} labels"
        )
    return joined


def _accuracy(values: Float[np.ndarray, "sample"], samples: Sequence[Sample], seed: int) -> Interval:
    return stats.interval(values, clusters(samples), [s.culture for s in samples], draws=DRAWS, seed=seed)


def _per_culture(values: Float[np.ndarray, "sample"], samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
    places = group(range(len(samples)), lambda n: samples[n].culture)
    return {c: _accuracy(values[at], [samples[n] for n in at], seed) for c, at in places.items()}


def _mean(right: Float[np.ndarray, "item annotator"]) -> Float[np.ndarray, "item"]:
    """Mean over the annotators who answered; NaN where nobody did."""
    count = (~np.isnan(right)).sum(1)
    return np.where(count == 0, np.nan, np.nansum(right, 1) / np.maximum(count, 1))


def reliability(
    judge: Judge,
    samples: Sequence[Sample],
    image: Callable[[Sample], Picture],
    questions: Sequence[Question],
    annotations: Sequence[Annotation] = (),
    seed: int = 0,
) -> Reliability:
    """Everything that is known of a judge from real images and from people.

    Args:
        judge: sees every image once.
        samples: real images whose culture is known.
        image: of a sample.
        questions: the four-image task on these samples, the one that people answered.
        annotations: of people, as `read_annotations` gives them.
        seed: of the bootstraps.

    Raises:
        InterpError: a sample's culture is none of the judge's labels.
    """
    verdicts = ask(judge, samples, image)
    choosers = People.of(annotations, "four_image", [q.id for q in questions])
    namers = People.of(annotations, "culture", [s.id for s in samples])
    return Reliability(
        judge.name,
        _four_image(questions, choose(questions, samples, verdicts, judge.labels), choosers, seed),
        _sixteen_way(samples, verdicts, tuple(judge.labels), namers, seed),
        agreement(verdicts.culture, samples, annotations, seed)
        if any(a.task == "culture" for a in annotations)
        else None,
        seed,
    )


def _four_image(
    questions: Sequence[Question], right: Float[np.ndarray, "question"], people: People | None, seed: int
) -> FourImage:
    shown = [q.right for q in questions]
    task = FourImage(len(questions), _accuracy(right, shown, seed), _per_culture(right, shown, seed))
    if people is None:
        return task
    by_people = people.hits([str(q.answer) for q in questions])
    asked = np.flatnonzero(~np.isnan(by_people).all(1)).tolist()
    gap = _accuracy((right - _mean(by_people))[asked], [shown[n] for n in asked], seed)
    return replace(task, gap=gap, **_of_people(people, by_people, shown, seed))


def _sixteen_way(
    samples: Sequence[Sample], verdicts: Verdicts, labels: tuple[str, ...], people: People | None, seed: int
) -> SixteenWay:
    truths = [s.culture for s in samples]
    right, counts = hits(verdicts.culture, truths), confusion(truths, verdicts.culture, labels)
    task = SixteenWay(_accuracy(right, samples, seed), _per_culture(right, samples, seed), labels, counts)
    return task if people is None else replace(task, **_of_people(people, people.hits(truths), samples, seed))


def _of_people(
    people: People, right: Float[np.ndarray, "item annotator"], shown: Sequence[Sample], seed: int
) -> dict[str, Any]:
    """The mean of the annotators, and each of them, over what they answered."""

    def over(values: Float[np.ndarray, "item"]) -> Interval:
        answered = np.flatnonzero(~np.isnan(values)).tolist()
        return _accuracy(values[answered], [shown[n] for n in answered], seed)

    return {
        "people": over(_mean(right)),
        "annotators": {name: over(right[:, n]) for n, name in enumerate(people.names)},
    }
