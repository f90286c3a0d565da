"""How far a judge can be trusted, on real pictures and beside people (C.1 and Table 4 of the paper).

Three answers: the four-image task, where one picture of four is of the culture asked for; the 16-way task of
CultureVQA; and agreement with people, as κ. All of it comes from pictures whose culture is known and, for people, from
an annotation file (docs/annotations.md); no picture model is needed.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from interp import stats
from interp.errors import InterpError
from interp.metrics.annotations import Annotation, Question, Task
from interp.metrics.base import Picture
from interp.metrics.culture_vqa import confusion
from interp.metrics.judges.base import Judge, Verdicts, hits
from interp.metrics.kappa import cohen, fleiss, ratings_each
from interp.splits import group
from interp.store import atomic_write_text
from interp.types import Interval, Sample

CHOICES = 4
"""Pictures of a question."""
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
class Agreement:
    """κ between the labels that pictures got: 1 agreement, 0 chance. `unscored` counts pictures left out."""

    majority: Interval
    """Cohen's κ of the judge and the label that most annotators gave; a picture with a tie has none."""
    annotators: Mapping[str, Interval]
    """Cohen's κ of the judge and each annotator."""
    fleiss: Interval
    """Among annotators, over the pictures with the commonest number of ratings; NaN if that is one."""
    ratings: int
    """That number."""


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


def four_image_task(samples: Sequence[Sample], seed: int) -> tuple[Question, ...]:
    """One question a sample, which is its right picture; the other three are of three other cultures.

    The right picture stands at each position equally often (to one question), within a culture and overall; cultures
    and pictures are used as wrong ones about equally often. Which categories meet in a question is left to chance.

    Args:
        samples: of one split of a benchmark.
        seed: the same seed asks the same questions, in whatever order the samples come.

    Raises:
        InterpError: if there are fewer than four cultures.
    """
    by_culture = {c: sorted(m, key=lambda s: _rank(seed, s.id)) for c, m in group(samples, lambda s: s.culture).items()}
    if len(by_culture) < CHOICES:
        raise InterpError(
            f"the four-image task needs samples of four cultures; found {', '.join(by_culture) or 'none'}"
        )
    at = {s.id: n % CHOICES for n, s in enumerate(s for c in sorted(by_culture) for s in by_culture[c])}
    used: Counter[str] = Counter()
    questions: list[Question] = []
    # in rounds, so that no culture comes last and has lent fewer pictures than the others
    for _, culture, sample in sorted(((n, c, s) for c, m in by_culture.items() for n, s in enumerate(m)), key=_place):
        key = _rank(seed, "wrong", sample.id)
        others = sorted(by_culture.keys() - {culture}, key=lambda c: (used[c], _rank(seed, key, c)))[: CHOICES - 1]
        others.sort(key=lambda c: _rank(seed, key, "place", c))
        wrong = [by_culture[c][used[c] % len(by_culture[c])] for c in others]
        used.update(others)
        questions.append(_question(seed, sample, wrong, at[sample.id]))
    return tuple(sorted(questions, key=lambda q: q.id))


def _place(entry: tuple[int, str, Sample]) -> tuple[int, str]:
    return entry[:2]


def _question(seed: int, right: Sample, wrong: Sequence[Sample], at: int) -> Question:
    shown = (*wrong[:at], right, *wrong[at:])
    return Question(_rank(seed, right.culture, *(s.id for s in shown))[:12], right.culture, shown, at + 1)


def _rank(seed: int, *key: str) -> str:
    return hashlib.sha256("\0".join([str(seed), *key]).encode()).hexdigest()


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    """The questions as JSONL, without their answers: id, target, and the paths of the four pictures in order.

    A path may tell its culture: show people the pictures, not the paths.
    """
    rows = ({"item": q.id, "target": q.target, "images": [s.image for s in q.samples]} for q in questions)
    atomic_write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))


def ask(judge: Judge, samples: Sequence[Sample], picture: Callable[[Sample], Picture]) -> Verdicts:
    """The judge's answers for the pictures of samples, in their order.

    Raises:
        InterpError: a sample's culture is none of the judge's labels, or it gives no probability for some label.
    """
    if unknown := sorted({s.culture for s in samples} - set(judge.labels)):
        raise InterpError(f"the judge does not know {unknown[0]!r}; its labels: {', '.join(judge.labels)}")
    said: list[str] = []
    probability: list[np.ndarray] = []
    for start in range(0, len(samples), BATCH):
        part = samples[start : start + BATCH]
        verdicts = judge([picture(s) for s in part], [s.id for s in part])
        said += verdicts.culture
        if verdicts.culture_probability is not None:
            probability.append(verdicts.culture_probability)
    if not probability:
        return Verdicts(tuple(said))
    joined = np.concatenate(probability)
    if joined.shape != (len(said), len(judge.labels)):
        raise InterpError(f"probabilities of shape {joined.shape} for {len(said)} pictures, {len(judge.labels)} labels")
    return Verdicts(tuple(said), culture_probability=joined)


def choose(
    questions: Sequence[Question], samples: Sequence[Sample], verdicts: Verdicts, labels: Sequence[str]
) -> Float[np.ndarray, "question"]:
    """Chance in percent that the judge's choice is right, by question; NaN where a picture has no answer.

    It chooses the picture with the largest probability of the target or, if it gives none, a picture that it answered
    with the target (any, if there is no such). Of equals it takes each with the same chance: 100/ties.

    Args:
        questions: of these samples.
        samples: those that the verdicts are about, in order.
        verdicts: of the judge.
        labels: the judge's.
    """
    row = {s.id: n for n, s in enumerate(samples)}
    probability = verdicts.culture_probability
    if probability is None:
        said = np.array(verdicts.culture)[:, None]
        probability = np.where(said == "", np.nan, said == np.array(labels)[None])
    chances = np.full(len(questions), np.nan)
    for n, question in enumerate(questions):
        seen = probability[[row[s.id] for s in question.samples], labels.index(question.target)]
        if not np.isnan(seen).any():
            best = seen == seen.max()
            chances[n] = 100.0 * best[question.answer - 1] / best.sum()
    return chances


def _clusters(samples: Iterable[Sample]) -> list[Hashable]:
    """Pictures of one concept of one culture are not independent."""
    return [(s.culture, s.category) for s in samples]


def _accuracy(values: Float[np.ndarray, "sample"], samples: Sequence[Sample], seed: int) -> Interval:
    return stats.interval(values, _clusters(samples), [s.culture for s in samples], draws=DRAWS, seed=seed)


def _per_culture(values: Float[np.ndarray, "sample"], samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
    places = group(range(len(samples)), lambda n: samples[n].culture)
    return {c: _accuracy(values[at], [samples[n] for n in at], seed) for c, at in places.items()}


@dataclass(frozen=True)
class _People:
    """What people said of items: item × annotator."""

    names: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    """By item, then annotator; '' where that annotator did not answer."""

    @staticmethod
    def of(annotations: Sequence[Annotation], task: Task, items: Sequence[str]) -> "_People | None":
        """None if nobody answered the task."""
        said = {(a.item, a.annotator): a.answer for a in annotations if a.task == task}
        names = tuple(sorted({name for _, name in said}))
        rows = tuple(tuple(said.get((item, name), "") for name in names) for item in items)
        return _People(names, rows) if names else None

    def hits(self, truths: Sequence[str]) -> Float[np.ndarray, "item annotator"]:
        """100 right, 0 wrong, NaN not answered."""
        return np.stack([hits(row, [t] * len(row)) for row, t in zip(self.answers, truths, strict=True)])


def _mean(right: Float[np.ndarray, "item annotator"]) -> Float[np.ndarray, "item"]:
    """Mean over the annotators who answered; NaN where nobody did."""
    count = (~np.isnan(right)).sum(1)
    return np.where(count == 0, np.nan, np.nansum(right, 1) / np.maximum(count, 1))


def agreement(
    said: Sequence[str], samples: Sequence[Sample], annotations: Sequence[Annotation], seed: int = 0
) -> Agreement:
    """κ of a judge and people, and of people among themselves.

    Args:
        said: the judge's label of each sample; '' for none.
        samples: those judged.
        annotations: of the task `culture`, some of these samples; others are passed over.
        seed: of the bootstraps.

    Raises:
        InterpError: nobody answered the task `culture`.
    """
    people = _People.of(annotations, "culture", [s.id for s in samples])
    if people is None:
        raise InterpError("no annotation of the task 'culture': there is nothing to agree with")

    def between(other: Sequence[str], asked: Sequence[int]) -> Interval:
        clusters = _clusters(samples[n] for n in asked)
        return cohen([said[n] for n in asked], [other[n] for n in asked], clusters, seed)

    rated = [n for n, row in enumerate(people.answers) if any(row)]
    columns = dict(zip(people.names, zip(*people.answers, strict=True), strict=True))
    ratings = [people.answers[n] for n in rated]
    return Agreement(
        between([_majority(row) for row in people.answers], rated),
        {name: between(column, [n for n in rated if column[n]]) for name, column in columns.items()},
        fleiss(ratings, _clusters(samples[n] for n in rated), seed),
        ratings_each(ratings),
    )


def _majority(row: Sequence[str]) -> str:
    """The label given most often; '' for a tie or no answer."""
    best = Counter(filter(None, row)).most_common(2)
    return best[0][0] if len(best) == 1 or (best and best[0][1] > best[1][1]) else ""


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
    people = _People.of(annotations, "four_image", [q.id for q in questions])
    if people is None:
        return FourImage(len(questions), overall, per_culture)
    right = people.hits([str(q.answer) for q in questions])
    mean, annotators = _people_accuracy(people, right, shown, seed)
    asked = np.flatnonzero(~np.isnan(right).all(1)).tolist()
    some = [shown[n] for n in asked]
    strata = [s.culture for s in some]
    gap = stats.paired_difference(chosen[asked], _mean(right)[asked], _clusters(some), strata, draws=DRAWS, seed=seed)
    return FourImage(len(questions), overall, per_culture, mean, annotators, gap)


def _sixteen_way(
    judge: Judge, samples: Sequence[Sample], verdicts: Verdicts, annotations: Sequence[Annotation], seed: int
) -> SixteenWay:
    truths = [s.culture for s in samples]
    right = hits(verdicts.culture, truths)
    counts = confusion(truths, verdicts.culture, judge.labels)
    overall, per_culture = _accuracy(right, samples, seed), _per_culture(right, samples, seed)
    people = _People.of(annotations, "culture", [s.id for s in samples])
    if people is None:
        return SixteenWay(overall, per_culture, tuple(judge.labels), counts)
    mean, annotators = _people_accuracy(people, people.hits(truths), samples, seed)
    return SixteenWay(overall, per_culture, tuple(judge.labels), counts, mean, annotators)


def _people_accuracy(
    people: _People, right: Float[np.ndarray, "item annotator"], shown: Sequence[Sample], seed: int
) -> tuple[Interval, dict[str, Interval]]:
    """The mean of the annotators, and each of them, over what they answered."""

    def over(values: Float[np.ndarray, "item"]) -> Interval:
        asked = np.flatnonzero(~np.isnan(values)).tolist()
        return _accuracy(values[asked], [shown[n] for n in asked], seed)

    return over(_mean(right)), {name: over(right[:, n]) for n, name in enumerate(people.names)}
