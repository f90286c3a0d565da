"""Agreement of a judge with people, and of people among themselves, as κ (Table 4 of the paper)."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.errors import InterpError
from interp.metrics.judge_trust.annotations import Annotation, Task
from interp.metrics.judge_trust.kappa import cohen, fleiss, ratings_each
from interp.metrics.judges.base import hits
from interp.types import Interval, Sample


@dataclass(frozen=True)
class Agreement:
    """κ between the labels that images got: 1 agreement, 0 chance. `unscored` counts images left out."""

    majority: Interval
    """Cohen's κ of the judge and the label that most annotators gave; an image with a tie has none."""
    annotators: Mapping[str, Interval]
    """Cohen's κ of the judge and each annotator."""
    fleiss: Interval
    """Among annotators, over the images with the commonest number of ratings; NaN if that is one."""
    ratings: int
    """That number."""


@dataclass(frozen=True)
class People:
    """What people said of items: item × annotator."""

    names: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    """By item, then annotator; '' where that annotator did not answer."""

    @staticmethod
    def of(annotations: Sequence[Annotation], task: Task, items: Sequence[str]) -> "People | None":
        """None if nobody answered the task."""
        by_place = {(a.item, a.annotator): a.answer for a in annotations if a.task == task}
        names = tuple(sorted({name for _, name in by_place}))
        rows = tuple(tuple(by_place.get((item, name), "") for name in names) for item in items)
        return People(names, rows) if names else None

    def hits(self, truths: Sequence[str]) -> Float[np.ndarray, "item annotator"]:
        """100 right, 0 wrong, NaN not answered."""
        return np.stack([hits(row, [t] * len(row)) for row, t in zip(self.answers, truths, strict=True)])


def agreement(
    answers: Sequence[str], samples: Sequence[Sample], annotations: Sequence[Annotation], seed: int = 0
) -> Agreement:
    """κ of a judge and people, and of people among themselves.

    Args:
        answers: the judge's label of each sample; '' for none.
        samples: those judged.
        annotations: of the task `culture` and these samples; others are passed over.
        seed: of the bootstraps.

    Raises:
        InterpError: nobody answered the task `culture`.
    """
    people = People.of(annotations, "culture", [s.id for s in samples])
    if people is None:
        raise InterpError("no annotation of the task 'culture': there is nothing to agree with")

    def between(other: Sequence[str], asked: Sequence[int]) -> Interval:
        together = clusters(samples[n] for n in asked)
        return cohen([answers[n] for n in asked], [other[n] for n in asked], together, seed)

    rated = [n for n, row in enumerate(people.answers) if any(row)]
    columns = dict(zip(people.names, zip(*people.answers, strict=True), strict=True))
    ratings = [people.answers[n] for n in rated]
    return Agreement(
        between([_majority(row) for row in people.answers], rated),
        {name: between(column, [n for n in rated if column[n]]) for name, column in columns.items()},
        fleiss(ratings, clusters(samples[n] for n in rated), seed),
        ratings_each(ratings),
    )


def _majority(row: Sequence[str]) -> str:
    """The label given most often; '' for a tie or no answer."""
    best = Counter(filter(None, row)).most_common(2)
    return best[0][0] if len(best) == 1 or (best and best[0][1] > best[1][1]) else ""


def clusters(samples: Iterable[Sample]) -> list[Hashable]:
    """Images of one concept of one culture are not independent."""
    return [(s.culture, s.category) for s in samples]
