"""CultureVQA: the question, the answers, and what the judge's own errors do to them."""

import itertools
from collections import Counter

import numpy as np
import pytest

from interp import InterpError
from interp.metrics import culture_vqa, run
from interp.metrics.base import Metric
from interp.metrics.culture_vqa import CultureVqa
from interp.metrics.judges.base import Verdicts, hits, question, rotated
from interp.types import UNRECOGNISABLE

LABELS = ("Arab", "China", "France", UNRECOGNISABLE)


class Judge:
    """Says what the first pixel says; 9 is no answer."""

    name, digest, labels = "pixel", "1", LABELS

    def __call__(self, pictures, items):
        return Verdicts(tuple("" if p[0, 0, 0] == 9 else LABELS[p[0, 0, 0]] for p in pictures))


def _picture(label):
    return np.full((4, 4, 3), label, dtype=np.uint8)


def test_options_turn_by_the_item_and_every_label_stands_everywhere():
    orders = [rotated(LABELS, f"item {n}") for n in range(400)]
    assert rotated(LABELS, "item 7") == orders[7]
    assert all(sorted(o) == sorted(LABELS) for o in orders)
    for place in range(4):
        counts = Counter(o[place] for o in orders)
        assert min(counts.values()) > 60 and len(counts) == 4


def test_the_question_has_a_letter_for_each_option():
    asked = question([f"Culture {n}" for n in range(40)] + [UNRECOGNISABLE])
    letters = [
        line.split(". ")[0] for line in asked.splitlines() if ". Culture" in line or line.endswith(UNRECOGNISABLE)
    ]
    assert len(set(letters)) == 41 and all(len(letter) == 1 for letter in letters)
    with pytest.raises(InterpError, match="53 options"):
        question([str(n) for n in range(52)] + [UNRECOGNISABLE])
    with pytest.raises(InterpError, match="lack 'Unrecognisable'"):
        question(["Arab"])


def test_scores_are_hits_and_no_answer_is_unscored(small_bench):
    metric = CultureVqa(Judge())
    assert isinstance(metric, Metric)
    samples = [s for s in small_bench.samples("test") if s.culture in LABELS][:6]
    right = LABELS.index(samples[0].culture)
    pictures = [_picture(right), _picture((right + 1) % 4), _picture(9)]
    found = metric.measure(pictures, [samples[0]] * 3)
    assert found.values[0] == 100 and found.values[1] == 0 and np.isnan(found.values[2])
    assert found.answers == (LABELS[right], LABELS[(right + 1) % 4], "")
    assert np.array_equal(hits(["a", "", "b"], ["a", "a", "a"]), [100, np.nan, 0], equal_nan=True)


class Slow(Judge):
    """The same judge, one answer at a time and the last picture first."""

    def answers(self, pictures, items):
        for at in reversed(range(len(pictures))):
            yield at, self([pictures[at]], [items[at]])


def test_answers_come_in_the_parts_in_which_the_judge_gives_them(small_bench):
    samples = [s for s in small_bench.samples("test") if s.culture in LABELS][:5]
    pictures = [_picture(n) for n in (0, 1, 9, 2, 3)]
    whole = CultureVqa(Judge()).measure(pictures, samples)
    for judge, sizes in ((Judge(), [5]), (Slow(), [1] * 5)):
        metric = CultureVqa(judge)
        assert isinstance(metric, run.Paid) and run.is_paid(metric) == (sizes != [5])
        parts = list(metric.each(pictures, samples))
        assert [len(rows) for rows, _ in parts] == sizes
        found = {at: (v, a) for rows, s in parts for at, v, a in zip(rows, s.values, s.answers, strict=True)}
        assert np.array_equal([found[at][0] for at in range(5)], whole.values, equal_nan=True)
        assert tuple(found[at][1] for at in range(5)) == whole.answers
        assert list(metric.each([], [])) == []


def test_confusion_counts_by_a_loop():
    rng = np.random.default_rng(0)
    truths, answers = rng.choice(LABELS[:3], 200), rng.choice([*LABELS, ""], 200)
    found = culture_vqa.confusion(truths.tolist(), answers.tolist(), LABELS)
    for a, b in itertools.product(range(4), range(4)):
        assert found[a, b] == sum(t == LABELS[a] and s == LABELS[b] for t, s in zip(truths, answers, strict=True))
    with pytest.raises(InterpError, match="'Mars' is no label"):
        culture_vqa.confusion(["Mars"], ["Arab"], LABELS)


def test_the_mixture_gives_the_answers():
    rng = np.random.default_rng(3)
    rates = rng.dirichlet(np.ones(4) * 0.5, (5, 4)) * 0.4 + np.eye(4) * 0.6
    counts = rng.multinomial(300, [0.4, 0.3, 0.2, 0.1], 5).astype(float)
    for share, row, count in zip(culture_vqa.mixture(counts, rates), rates, counts, strict=True):
        assert sum(share) == pytest.approx(1)
        assert [sum(share[c] * row[c, a] for c in range(4)) for a in range(4)] == pytest.approx((count / 300).tolist())


def test_the_correction_takes_the_judges_errors_out():
    """By simulation: the truth lies in the interval about as often as it says, and the plain share is biased."""
    rng = np.random.default_rng(5)
    rates = np.array([[0.7, 0.2, 0.05, 0.05], [0.1, 0.8, 0.05, 0.05], [0.1, 0.1, 0.75, 0.05], [0.05, 0.1, 0.05, 0.8]])
    shown = {"Arab": [0.6, 0.0, 0.0, 0.4], "China": [0.1, 0.3, 0.0, 0.6], "France": [0.0, 0.0, 0.9, 0.1]}
    real = np.mean([100 * shown[c][n] for n, c in enumerate(shown)])
    inside, estimates, plain = 0, [], []
    for _ in range(60):
        judge = np.stack([rng.multinomial(150, row) for row in rates]).astype(float)
        truths, answers = [], []
        for culture, share in shown.items():
            truths += [culture] * 100
            answers += rng.choice(LABELS, 100, p=np.array(share) @ rates).tolist()
        found = culture_vqa.corrected(truths, answers, LABELS, judge).overall
        inside += found.low <= real <= found.high
        estimates.append(found.estimate)
        plain.append(np.nanmean(hits(answers, truths)))
    assert abs(np.mean(estimates) - real) < 1.5
    assert abs(np.mean(plain) - real) > 3
    assert 53 <= inside <= 60


def test_a_perfect_judge_needs_no_correction_and_the_unscored_are_counted():
    truths = ["Arab"] * 40 + ["China"] * 40
    answers = ["Arab"] * 30 + ["China"] * 8 + [""] * 2 + ["China"] * 40
    judge = np.diag([10_000.0] * 4)
    found = culture_vqa.corrected(truths, answers, LABELS, judge)
    assert found.per_culture["Arab"].estimate == pytest.approx(100 * 30 / 38, abs=0.1)
    assert found.per_culture["China"].estimate == pytest.approx(100, abs=0.1)
    assert (found.overall.n, found.overall.unscored) == (78, 2)
    assert np.isnan(culture_vqa.corrected(["Arab"], [""], LABELS, judge).overall.estimate)


def test_a_judge_that_knows_nothing_cannot_be_corrected():
    with pytest.raises(InterpError, match="hardly tells"):
        culture_vqa.corrected(["Arab"], ["Arab"], LABELS, np.full((4, 4), 25.0))
