"""The four-image task (C.1 of the paper): which of four real images is of the culture asked for? Chance is 25 %."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from interp.benchmarks.splits import check_seed
from interp.errors import InterpError
from interp.grouping import group
from interp.metrics.judge_trust.annotations import Question
from interp.metrics.judges.base import Verdicts
from interp.store import atomic_write_text
from interp.types import Sample

CHOICES = 4
"""Images of a question."""


def four_image_task(samples: Sequence[Sample], seed: int) -> tuple[Question, ...]:
    """One question per sample, which is its right image; the other three are of three other cultures.

    The right image stands at each position equally often (to one question), within a culture and overall; cultures
    and images are used as wrong ones about equally often. Which categories meet in a question is left to chance.

    Args:
        samples: of one split of a benchmark.
        seed: the same seed asks the same questions, in whatever order the samples come.

    Raises:
        InterpError: if there are fewer than four cultures, or the seed is none.
    """
    check_seed(seed)
    by_culture = {c: sorted(m, key=lambda s: _rank(seed, s.id)) for c, m in group(samples, lambda s: s.culture).items()}
    if len(by_culture) < CHOICES:
        raise InterpError(
            f"the four-image task needs samples of four cultures; found {', '.join(by_culture) or 'none'}"
        )
    at = {s.id: n % CHOICES for n, s in enumerate(s for c in sorted(by_culture) for s in by_culture[c])}
    used: Counter[str] = Counter()
    questions: list[Question] = []
    # in rounds, so that no culture comes last and has lent fewer images than the others
    rounds = [(n, culture, sample) for culture, row in by_culture.items() for n, sample in enumerate(row)]
    for _, culture, right in sorted(rounds, key=lambda entry: entry[:2]):
        key = _rank(seed, "wrong", right.id)
        others = sorted(by_culture.keys() - {culture}, key=lambda c: (used[c], _rank(seed, key, c)))[: CHOICES - 1]
        others.sort(key=lambda c: _rank(seed, key, "place", c))
        shown = [by_culture[c][used[c] % len(by_culture[c])] for c in others]
        used.update(others)
        shown.insert(at[right.id], right)
        name = _rank(seed, culture, *(s.id for s in shown))[:12]
        questions.append(Question(name, culture, tuple(shown), at[right.id] + 1))
    return tuple(sorted(questions, key=lambda q: q.id))


def _rank(seed: int, *key: str) -> str:
    return hashlib.sha256("\0".join([str(seed), *key]).encode()).hexdigest()


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    """The questions as JSONL, without their answers: id, target, and the paths of the four images in order.

    A path may tell its culture: show people the pictures, not the paths.

    Raises:
        InterpError: a file is there that holds something else.
    """
    rows = ({"item": q.id, "target": q.target, "images": [s.image for s in q.samples]} for q in questions)
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    if path.exists() and not (path.is_file() and path.read_bytes() == text.encode()):
        raise InterpError(f"{path} exists and holds other things than these questions; name another file")
    atomic_write_text(path, text)


def choose(
    questions: Sequence[Question], samples: Sequence[Sample], verdicts: Verdicts, labels: Sequence[str]
) -> Float[np.ndarray, "question"]:
    """Chance in percent that the judge's choice is right, by question; NaN where an image has no answer.

    It chooses the image with the largest probability of the target or, if it gives none, an image that it answered
    with the target (any, if there is no such). Of equals it takes each with the same chance: 100/ties.

    The verdicts of the judge, with its labels, are about the samples, in their order.
    """
    row = {s.id: n for n, s in enumerate(samples)}
    probability = verdicts.culture_probability
    if probability is None:
        answers = np.array(verdicts.culture)[:, None]
        probability = np.where(answers == "", np.nan, answers == np.array(labels)[None])
    chances = np.full(len(questions), np.nan)
    for n, question in enumerate(questions):
        seen = probability[[row[s.id] for s in question.samples], labels.index(question.target)]
        if not np.isnan(seen).any():
            best = seen == seen.max()
            chances[n] = 100.0 * best[question.answer - 1] / best.sum()
    return chances
