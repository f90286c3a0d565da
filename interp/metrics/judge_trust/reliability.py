"""How far a judge can be trusted, on real pictures and beside people (C.1 and Table 4 of the paper).

Three answers: the four-image task, where one picture of four is of the culture asked for; the 16-way task of
CultureVQA; and agreement with people, as κ. All of it comes from pictures whose culture is known and, for people, from
an annotation file (docs/annotations.md); no picture model is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp import stats
from interp.benchmarks.images import Picture, digest
from interp.errors import InterpError
from interp.grouping import group
from interp.metrics.culture_vqa import confusion
from interp.metrics.judge_trust.agreement import Agreement, People, agreement, clusters
from interp.metrics.judge_trust.annotations import Annotation, Question
from interp.metrics.judge_trust.four_image import choose, four_image_task, write_questions
from interp.metrics.judges.base import Judge, OneByOne, Verdicts, hear, hits
from interp.store import Journal, cache_dir, sha256_bytes
from interp.types import Interval, Sample

__all__ = [
    "Agreement", "FourImage", "Reliability", "SixteenWay", "agreement", "ask", "choose", "four_image_task",
    "reliability", "write_questions",
]  # fmt: skip

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
    """The judge's own task: one label for one picture; accuracies in percent."""

    judge: Interval
    per_culture: Mapping[str, Interval]
    labels: tuple[str, ...]
    """Rows and columns of `confusion`."""
    confusion: Float[np.ndarray, "culture answer"]
    """Pictures by their culture and the judge's answer; those without an answer are in no cell."""
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
            low = min(task.per_culture.items(), key=lambda found: found[1].estimate)
            lines.append(f"{'lowest':>18}  {low[1]} ({low[0]})")
        if self.four_image.gap:
            lines.append(f"{'judge − people':>18}  {self.four_image.gap} (four-image)")
        if self.agreement:
            found = {"Cohen's κ, majority": self.agreement.majority, "Fleiss' κ, people": self.agreement.fleiss}
            lines += [f"{n:>18}  {i.estimate:.3f} [{i.low:.3f}, {i.high:.3f}] n={i.n}" for n, i in found.items()]
        return "\n".join(lines)


def ask(judge: Judge, samples: Sequence[Sample], picture: Callable[[Sample], Picture]) -> Verdicts:
    """The judge's answers for the pictures of samples, in their order.

    Those of a judge that is paid for are kept in the user's cache as each comes, and are not asked for again.

    Raises:
        InterpError: a sample's culture is none of the judge's labels, or it gives no probability for some label.
    """
    if unknown := sorted({s.culture for s in samples} - set(judge.labels)):
        raise InterpError(f"the judge does not know {unknown[0]!r}; its labels: {', '.join(judge.labels)}")
    kept = _journal(judge)
    said: list[str] = []
    probability: list[np.ndarray | None] = []
    for start in range(0, len(samples), BATCH):
        part = samples[start : start + BATCH]
        for answer, chances in _answers(judge, [picture(s) for s in part], [s.id for s in part], kept):
            said.append(answer)
            probability.append(chances)
    return Verdicts(tuple(said), culture_probability=_joined(judge, probability))


def _joined(judge: Judge, probability: Sequence[np.ndarray | None]) -> Float[np.ndarray, "sample culture"] | None:
    """Probabilities of all pictures, NaN where a judge that answers one by one gave none; None if it never did."""
    if all(row is None for row in probability):
        return None
    lacking = np.full(len(judge.labels), np.nan) if isinstance(judge, OneByOne) else None
    rows = [given for row in probability if (given := lacking if row is None else row) is not None]
    joined = np.stack(rows)
    if joined.shape != (len(probability), len(judge.labels)):
        pictures = len(probability)
        raise InterpError(f"probabilities of shape {joined.shape} for {pictures} pictures, {len(judge.labels)} labels")
    return joined


def _journal(judge: Judge) -> Journal | None:
    """Where the answers of a judge that is paid for are kept; None for others, and where nothing says what it is."""
    known = getattr(judge, "digest", None)
    if not known or not isinstance(judge, OneByOne):
        return None
    return Journal(cache_dir() / "judges" / f"{known[:16]}.jsonl", {"judge": known})


def _answers(
    judge: Judge, pictures: Sequence[Picture], items: Sequence[str], kept: Journal | None
) -> list[tuple[str, np.ndarray | None]]:
    """Answer and probabilities of each picture; those in the journal are not asked for again."""
    names = [sha256_bytes(f"{digest(p)}/{i}".encode()) for p, i in zip(pictures, items, strict=True)]
    found = {n: value for n in names if kept is not None and (value := kept.done(n)) is not None}
    missing = list({name: at for at, name in enumerate(names) if name not in found}.values())
    for rows, verdicts in hear(judge, [pictures[at] for at in missing], [items[at] for at in missing]):
        chances = verdicts.culture_probability
        for row, at in enumerate(rows):
            value = [verdicts.culture[row], None if chances is None else chances[row].tolist()]
            found[names[missing[at]]] = value
            if kept is not None and value[0]:
                kept.record(names[missing[at]], value)
    given = [found[name] for name in names]
    return [(said, None if chances is None else np.array(chances, dtype=float)) for said, chances in given]


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
    picture: Callable[[Sample], Picture],
    questions: Sequence[Question],
    annotations: Sequence[Annotation] = (),
    seed: int = 0,
) -> Reliability:
    """Everything that is known of a judge from real pictures and from people.

    Args:
        judge: sees every picture once.
        samples: real pictures whose culture is known.
        picture: of a sample.
        questions: the four-image task on these samples, the one that people answered.
        annotations: of people, as `read_annotations` gives them.
        seed: of the bootstraps.

    Raises:
        InterpError: a sample's culture is none of the judge's labels.
    """
    verdicts = ask(judge, samples, picture)
    people = any(a.task == "culture" for a in annotations)
    return Reliability(
        judge.name,
        _four_image(judge, samples, verdicts, questions, annotations, seed),
        _sixteen_way(judge, samples, verdicts, annotations, seed),
        agreement(verdicts.culture, samples, annotations, seed) if people else None,
        seed,
    )


def _four_image(
    judge: Judge,
    samples: Sequence[Sample],
    verdicts: Verdicts,
    questions: Sequence[Question],
    annotations: Sequence[Annotation],
    seed: int,
) -> FourImage:
    chosen, shown = choose(questions, samples, verdicts, judge.labels), [q.right for q in questions]
    overall, per_culture = _accuracy(chosen, shown, seed), _per_culture(chosen, shown, seed)
    people = People.of(annotations, "four_image", [q.id for q in questions])
    if people is None:
        return FourImage(len(questions), overall, per_culture)
    right = people.hits([str(q.answer) for q in questions])
    mean, annotators = _people_accuracy(people, right, shown, seed)
    asked = np.flatnonzero(~np.isnan(right).all(1)).tolist()
    some = [shown[n] for n in asked]
    strata = [s.culture for s in some]
    gap = stats.paired_difference(chosen[asked], _mean(right)[asked], clusters(some), strata, draws=DRAWS, seed=seed)
    return FourImage(len(questions), overall, per_culture, mean, annotators, gap)


def _sixteen_way(
    judge: Judge, samples: Sequence[Sample], verdicts: Verdicts, annotations: Sequence[Annotation], seed: int
) -> SixteenWay:
    truths = [s.culture for s in samples]
    right = hits(verdicts.culture, truths)
    counts = confusion(truths, verdicts.culture, judge.labels)
    overall, per_culture = _accuracy(right, samples, seed), _per_culture(right, samples, seed)
    people = People.of(annotations, "culture", [s.id for s in samples])
    if people is None:
        return SixteenWay(overall, per_culture, tuple(judge.labels), counts)
    mean, annotators = _people_accuracy(people, people.hits(truths), samples, seed)
    return SixteenWay(overall, per_culture, tuple(judge.labels), counts, mean, annotators)


def _people_accuracy(
    people: People, right: Float[np.ndarray, "item annotator"], shown: Sequence[Sample], seed: int
) -> tuple[Interval, dict[str, Interval]]:
    """The mean of the annotators, and each of them, over what they answered."""

    def over(values: Float[np.ndarray, "item"]) -> Interval:
        asked = np.flatnonzero(~np.isnan(values)).tolist()
        return _accuracy(values[asked], [shown[n] for n in asked], seed)

    return over(_mean(right)), {name: over(right[:, n]) for n, name in enumerate(people.names)}
