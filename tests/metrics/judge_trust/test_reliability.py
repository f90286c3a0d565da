"""Reliability of judges: the four-image task, κ against loops and published examples, annotation files."""

import itertools
import json
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest

from interp import stats
from interp.benchmarks import pocket
from interp.errors import InterpError
from interp.metrics.judge_trust import agreement, four_image, reliability
from interp.metrics.judge_trust.annotations import Annotation, read_annotations
from interp.metrics.judge_trust.kappa import cohen, fleiss, ratings_each
from interp.metrics.judges.base import Judge, Verdicts
from interp.metrics.judges.pocket import load_judge
from interp.types import UNRECOGNISABLE, Prompt, PromptPair, Sample

CULTURES = tuple("ABCDEF")
LABELS = (*CULTURES, UNRECOGNISABLE)


def sample(culture, number):
    prompt = Prompt("x", "en")
    pair = PromptPair(f"s{culture}{number}", culture, f"c{number // 2}", prompt, prompt)
    return Sample(pair.id, f"images/{pair.id}.png", culture, "en", pair.category, "test", pair, pair)


def many(per_culture=8, cultures=CULTURES):
    return [sample(culture, number) for culture in cultures for number in range(per_culture)]


def picture(shown):
    """One pixel that says culture and number."""
    return np.array([[[CULTURES.index(shown.culture), int(shown.id[2:]), 0]]], dtype=np.uint8)


@dataclass
class Simulated:
    """Looks at the pixel and answers by a rule: culture index, number → label or probabilities."""

    rule: object
    gives: str = "answers"
    name: str = "simulated"
    labels: tuple = LABELS
    asked: list = field(default_factory=list)

    def __call__(self, pictures, items):
        self.asked += items
        said = [self.rule(*(int(v) for v in p[0, 0, :2])) for p in pictures]
        if self.gives == "answers":
            return Verdicts(tuple(said))
        probability = np.array(said, dtype=float).reshape(len(said), len(self.labels))
        return Verdicts(tuple(self.labels[row.argmax()] for row in probability), culture_probability=probability)


def right(culture, number):
    return CULTURES[culture]


def probabilities(of):
    return Simulated(lambda culture, number: of(culture, number), "probabilities")


def whole(judge, samples=None, annotations=(), seed=0):
    samples = many() if samples is None else samples
    return reliability.reliability(
        judge, samples, picture, four_image.four_image_task(samples, seed), annotations, seed
    )


# The four-image task


def test_every_sample_is_the_right_picture_of_one_question():
    samples = many()
    questions = four_image.four_image_task(samples, 0)
    assert sorted(q.right.id for q in questions) == sorted(s.id for s in samples)
    for q in questions:
        assert len({s.culture for s in q.samples}) == len(q.samples) == 4
        assert [s.culture for s in q.samples].index(q.target) == q.answer - 1
        assert q.target not in q.id and q.right.id not in q.id
    assert len({q.id for q in questions}) == len(questions)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("per_culture", [4, 7])
def test_positions_and_wrong_pictures_are_balanced(seed, per_culture):
    questions = four_image.four_image_task(many(per_culture), seed)
    overall = Counter(q.answer for q in questions)
    assert max(overall.values()) - min(overall[n] for n in (1, 2, 3, 4)) <= 1
    for culture in CULTURES:
        own = Counter(q.answer for q in questions if q.target == culture)
        assert max(own.values()) - min(own[n] for n in (1, 2, 3, 4)) <= 1
    wrong = Counter(s.culture for q in questions for s in q.samples if s.culture != q.target)
    assert max(wrong.values()) - min(wrong.values()) <= 2
    used = Counter(s.id for q in questions for s in q.samples if s.culture != q.target)
    for culture in CULTURES:
        own = [used[s.id] for s in many(per_culture) if s.culture == culture]
        assert max(own) - min(own) <= 1
    places = Counter(n for q in questions for n, s in enumerate(q.samples, 1) if s.culture == "A" != q.target)
    assert set(places) == {1, 2, 3, 4}


def test_questions_follow_from_seed_and_samples_alone():
    samples = many()
    first = four_image.four_image_task(samples, 0)
    assert four_image.four_image_task(samples[::-1], 0) == first
    other = four_image.four_image_task(samples, 1)
    assert not {q.id for q in other} & {q.id for q in first}
    assert [q.id for q in first] == sorted(q.id for q in first), "in an order that says nothing of the answers"

    def places(questions):
        return {q.right.id: q.answer for q in questions}

    def beside(questions):
        return {q.right.id: {s.culture for s in q.samples} for q in questions}

    for of in (places, beside):
        assert sum(of(first)[s.id] != of(other)[s.id] for s in samples) > len(samples) / 4


def test_three_cultures_are_too_few():
    with pytest.raises(InterpError, match="needs samples of four cultures; found A, B, C"):
        four_image.four_image_task(many(cultures=CULTURES[:3]), 0)


KNOWS_NOTHING = {
    "one label": Simulated(lambda culture, number: "A"),
    "unrecognisable": Simulated(lambda culture, number: UNRECOGNISABLE),
    "flat": probabilities(lambda culture, number: [1 / 7] * 7),
    "prior": probabilities(lambda culture, number: [0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02]),
}


@pytest.mark.parametrize("name", KNOWS_NOTHING)
def test_a_judge_that_knows_nothing_is_at_chance(name):
    found = whole(KNOWS_NOTHING[name]).four_image.judge
    assert (found.estimate, found.low, found.high) == pytest.approx((25, 25, 25))


@pytest.mark.parametrize("gives", ["answers", "probabilities"])
def test_a_judge_that_guesses_is_near_chance(gives):
    rng = np.random.default_rng(0)
    rule = {
        "answers": lambda culture, number: LABELS[rng.integers(7)],
        "probabilities": lambda culture, number: rng.dirichlet(np.ones(7)),
    }[gives]
    found = whole(Simulated(rule, gives), many(150))
    assert found.four_image.judge.estimate == pytest.approx(25, abs=5)
    assert found.four_image.judge.low < 25 < found.four_image.judge.high
    assert found.sixteen_way.judge.estimate == pytest.approx(100 / 7, abs=4)


@pytest.mark.parametrize("judge", [Simulated(right), probabilities(lambda c, n: 0.1 + 0.4 * (np.arange(7) == c))])
def test_a_perfect_judge_is_always_right(judge):
    found = whole(judge)
    for part in (found.four_image, found.sixteen_way):
        assert (part.judge.estimate, part.judge.low, part.judge.n) == pytest.approx((100, 100, 48))
        assert {c: i.estimate for c, i in part.per_culture.items()} == dict.fromkeys(CULTURES, 100)
    assert found.agreement is None and found.four_image.people is None


def test_the_judge_sees_each_picture_once():
    judge = Simulated(right)
    assert isinstance(judge, Judge)
    whole(judge)
    assert judge.asked == [s.id for s in many()]


def by_hand(question, said):
    """Share of the equal choices that are right."""
    chosen = [n for n, s in enumerate(question.samples, 1) if said[s.id] == question.target] or [1, 2, 3, 4]
    return 100 * (question.answer in chosen) / len(chosen)


def test_ties_are_shared_and_probabilities_can_say_more_than_answers():
    samples = many()
    rng = np.random.default_rng(1)
    given = {s.id: rng.permutation(7) / 21 for s in samples}
    questions = four_image.four_image_task(samples, 0)
    said = {name: LABELS[p.argmax()] for name, p in given.items()}
    verdicts = Verdicts(tuple(said[s.id] for s in samples))
    found = four_image.choose(questions, samples, verdicts, LABELS)
    np.testing.assert_allclose(found, [by_hand(q, said) for q in questions])
    assert len(set(found.round())) > 3

    full = Verdicts(verdicts.culture, culture_probability=np.stack([given[s.id] for s in samples]))
    for chance, question in zip(four_image.choose(questions, samples, full, LABELS), questions, strict=True):
        target = LABELS.index(question.target)
        rates = [given[s.id][target] for s in question.samples]
        best = [n for n, rate in enumerate(rates, 1) if rate == max(rates)]
        assert chance == pytest.approx(100 * (question.answer in best) / len(best))


@pytest.mark.parametrize("gives", ["answers", "probabilities"])
def test_no_answer_is_unscored_and_counted(gives):
    def rule(culture, number):
        silent = (culture, number) == (2, 3)
        if gives == "answers":
            return "" if silent else CULTURES[culture]
        return np.full(7, np.nan) if silent else np.eye(7)[culture]

    samples = many()
    questions = four_image.four_image_task(samples, 0)
    found = whole(Simulated(rule, gives))
    touched = sum("sC3" in {s.id for s in q.samples} for q in questions)
    assert touched >= 3
    assert (found.four_image.judge.unscored, found.four_image.judge.estimate) == (touched, 100)
    if gives == "answers":
        assert (found.sixteen_way.judge.unscored, found.sixteen_way.judge.estimate) == (1, 100)
        assert found.sixteen_way.confusion.sum() == 47


def test_the_confusion_matrix_counts_answers():
    found = whole(Simulated(lambda culture, number: LABELS[(culture + number % 2) % 7])).sixteen_way
    expected = np.zeros((7, 7))
    for culture, number in itertools.product(range(6), range(8)):
        expected[culture, (culture + number % 2) % 7] += 1
    np.testing.assert_array_equal(found.confusion, expected)
    assert found.labels == LABELS
    assert found.judge.estimate == found.per_culture["C"].estimate == 50


def test_a_culture_that_the_judge_does_not_know_is_refused():
    with pytest.raises(InterpError, match="does not know 'F'; its labels: A, B, C, D, E, Unrec"):
        whole(Simulated(right, labels=(*CULTURES[:5], UNRECOGNISABLE)))


class Short(Simulated):
    def __call__(self, pictures, items):
        return Verdicts(("A",) * len(pictures), culture_probability=np.full((len(pictures), 6), 1 / 6))


class Tired(Simulated):
    """Gives probabilities for its first pictures only."""

    def __call__(self, pictures, items):
        self.asked += items
        probability = np.full((len(pictures), 7), 1 / 7) if len(self.asked) == len(items) else None
        return Verdicts(("A",) * len(pictures), culture_probability=probability)


@pytest.mark.parametrize(("kind", "shape"), [(Short, r"\(48, 6\)"), (Tired, r"\(32, 7\)")])
def test_probabilities_of_another_shape_are_refused(kind, shape):
    with pytest.raises(InterpError, match=f"shape {shape} for 48 pictures, 7 labels"):
        whole(kind(right))


def test_the_pocket_judge_on_real_pictures():
    rows = {f"s{r['culture']}{r['category']}": r for r in pocket.samples() if r["split"] == "test"}
    rows = {name: row for name, row in rows.items() if row["category"] in ("ant", "cat", "bed", "key", "bus", "sun")}
    samples = [
        replace(sample("A", 0), id=name, culture=r["culture"], category=r["category"]) for name, r in rows.items()
    ]
    questions = four_image.four_image_task(samples, 0)
    found = reliability.reliability(load_judge(), samples, lambda shown: pocket.picture(rows[shown.id]), questions)
    assert found.judge == "pocket"
    assert found.four_image.judge.n == len(samples) == found.sixteen_way.judge.n > 12
    assert found.four_image.judge.estimate > 90 and found.sixteen_way.judge.estimate > 90
    assert np.trace(found.sixteen_way.confusion) == pytest.approx(found.sixteen_way.judge.estimate * len(samples) / 100)


# κ

WIKIPEDIA = """0 0 0 0 14
0 2 6 4 2
0 0 3 5 6
0 3 9 2 0
2 2 8 1 1
7 7 0 0 0
3 2 6 3 0
2 5 3 2 2
6 5 2 1 0
0 2 2 3 7"""


def unrolled(table):
    return [[str(label) for label, count in enumerate(row) for _ in range(count)] for row in table]


def test_fleiss_of_a_worked_example():
    table = [[int(v) for v in line.split()] for line in WIKIPEDIA.splitlines()]
    found = fleiss(unrolled(table))
    assert found.estimate == pytest.approx(0.210, abs=5e-4)
    assert (found.n, found.unscored) == (10, 0)


def test_cohen_of_a_worked_example():
    pairs = ["yy"] * 20 + ["yn"] * 5 + ["ny"] * 10 + ["nn"] * 15
    assert cohen([p[0] for p in pairs], [p[1] for p in pairs]).estimate == pytest.approx(0.4)


def cohen_loop(one, other):
    n = len(one)
    observed = sum(a == b for a, b in zip(one, other, strict=True)) / n
    expected = sum(one.count(label) * other.count(label) for label in {*one, *other}) / n**2
    return (observed - expected) / (1 - expected)


def fleiss_loop(rows):
    pairs = [a == b for row in rows for a, b in itertools.permutations(row, 2)]
    everything = [label for row in rows for label in row]
    expected = sum((everything.count(label) / len(everything)) ** 2 for label in set(everything))
    return (np.mean(pairs) - expected) / (1 - expected)


@pytest.mark.parametrize("seed", range(8))
def test_kappa_agrees_with_a_loop(seed):
    rng = np.random.default_rng(seed)
    n, raters = int(rng.integers(5, 40)), int(rng.integers(2, 6))
    truth = rng.integers(0, 5, n)
    rows = [[str(t if rng.random() < 0.6 else rng.integers(5)) for _ in range(raters)] for t in truth]
    assert fleiss(rows, draws=2).estimate == pytest.approx(fleiss_loop(rows))
    one, other = [row[0] for row in rows], [row[1] for row in rows]
    assert cohen(one, other, draws=2).estimate == pytest.approx(cohen_loop(one, other))


def raters_with_errors(rng, n, errors, labels):
    """Ratings of n items, right or else any of the wrong labels, by raters with these shares of errors."""
    truth = rng.integers(0, labels, n)
    return [[str(t if rng.random() >= e else (t + rng.integers(1, labels)) % labels) for e in errors] for t in truth]


def analytic(one, other, labels):
    """κ of two such raters: p_o = (1−e)(1−f) + e·f/(k−1), p_e = 1/k."""
    observed = (1 - one) * (1 - other) + one * other / (labels - 1)
    return (observed - 1 / labels) / (1 - 1 / labels)


def test_raters_with_known_errors_have_the_analytic_kappa():
    rows = raters_with_errors(np.random.default_rng(0), 20_000, [0.1, 0.3, 0.3], 6)
    for one, other, errors in ((0, 1, (0.1, 0.3)), (1, 2, (0.3, 0.3))):
        found = cohen([r[one] for r in rows], [r[other] for r in rows], draws=2)
        assert found.estimate == pytest.approx(analytic(*errors, 6), abs=0.012)
    alike = fleiss([r[1:] for r in rows], draws=2)
    assert alike.estimate == pytest.approx(analytic(0.3, 0.3, 6), abs=0.012)


@pytest.mark.parametrize("measure", ["cohen", "fleiss"])
def test_intervals_cover_the_analytic_kappa(measure):
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(200):
        rows = raters_with_errors(rng, 60, [0.25, 0.25, 0.25], 4)
        if measure == "cohen":
            found = cohen([r[0] for r in rows], [r[1] for r in rows], seed=int(rng.integers(1e9)), draws=160)
        else:
            found = fleiss(rows, seed=int(rng.integers(1e9)), draws=160)
        covered.append(found.low <= analytic(0.25, 0.25, 4) <= found.high)
    assert 0.91 <= np.mean(covered) <= 0.985, np.mean(covered)


def test_items_of_a_cluster_are_resampled_together():
    rows = raters_with_errors(np.random.default_rng(2), 60, [0.2, 0.3], 4)
    one, other = [r[0] for r in rows], [r[1] for r in rows]
    single = cohen(one, other)
    copies = cohen(one * 4, other * 4, [*range(60)] * 4)
    assert copies.estimate == pytest.approx(single.estimate)
    assert (copies.low, copies.high) == pytest.approx((single.low, single.high))
    naive = cohen(one * 4, other * 4)
    assert naive.high - naive.low < 0.6 * (single.high - single.low)
    raters = fleiss(rows)
    again = fleiss(rows * 4, [*range(60)] * 4)
    assert (again.estimate, again.low, again.high) == pytest.approx((raters.estimate, raters.low, raters.high))


def test_what_is_missing_is_unscored():
    one, other = [*"aabbab", "", "a"], [*"aabbba", "a", ""]
    found = cohen(one, other)
    assert (found.n, found.unscored) == (6, 2)
    assert found.estimate == pytest.approx(cohen_loop(one[:6], other[:6]))
    rows = [*(["a", "b", "a"], ["b", "b", ""], ["a", "a", ""], ["b", "", ""], ["a", "b", ""])]
    found = fleiss(rows)
    assert (found.n, found.unscored, ratings_each(rows)) == (3, 2, 2)
    assert found.estimate == pytest.approx(fleiss_loop([["b", "b"], ["a", "a"], ["a", "b"]]))


def test_of_equally_common_numbers_of_ratings_the_larger_counts():
    rows = [["a", "a"], ["b", ""], ["a", "b"], ["", "a"]]
    assert ratings_each(rows) == ratings_each(rows[::-1]) == 2
    assert (ratings_each([]), fleiss(rows).n, fleiss(rows).unscored) == (0, 2, 2)


PAIRS = ["aa", "aa", "bb", "ba"]


@pytest.mark.parametrize(
    "measure",
    [lambda at: cohen([p[0] for p in PAIRS], [p[1] for p in PAIRS], at), lambda at: fleiss([[*p] for p in PAIRS], at)],
)
def test_one_cluster_gives_no_interval(measure):
    found = measure(["same"] * 4)
    assert found.n == 4 and found.estimate == measure([*range(4)]).estimate
    assert np.isnan([found.low, found.high]).all() and not np.isnan(measure([*range(4)]).low)


def test_undefined_kappa_is_nan():
    for found in (cohen(["a"] * 9, ["a"] * 9), fleiss([["a", "a"]] * 9), fleiss([["a"], ["b"]])):
        assert np.isnan([found.estimate, found.low, found.high]).all()
    assert np.isnan(cohen([], []).estimate)
    rare = cohen([*"aaab"], [*"aaab"])
    assert (rare.estimate, rare.low, rare.high) == (1, -1, 1)


# Agreement of a judge with people


def annotated(answers, samples, task="culture"):
    """Annotations from annotator → answer of each sample, '' for none."""
    return tuple(
        Annotation(item=s.id, annotator=name, answer=answer, task=task)
        for name, given in answers.items()
        for s, answer in zip(samples, given, strict=True)
        if answer
    )


def test_agreement_with_the_majority_and_with_each():
    samples = many()
    rng = np.random.default_rng(3)
    given = {
        name: [s.culture if rng.random() > error else LABELS[rng.integers(7)] for s in samples]
        for name, error in (("p1", 0.1), ("p2", 0.3), ("p3", 0.5))
    }
    given["p3"][:5] = [""] * 5
    said = [s.culture if rng.random() > 0.2 else LABELS[rng.integers(7)] for s in samples]
    found = agreement.agreement(said, samples, annotated(given, samples))
    for name, answers in given.items():
        kept = [n for n, a in enumerate(answers) if a]
        assert found.annotators[name].estimate == pytest.approx(
            cohen_loop([said[n] for n in kept], [answers[n] for n in kept])
        )
        assert (found.annotators[name].n, found.annotators[name].unscored) == (len(kept), 0)
    rows = [[given[p][n] for p in given if given[p][n]] for n in range(48)]
    modes = [pd.Series(row).mode().tolist() for row in rows]
    kept = [n for n, mode in enumerate(modes) if len(mode) == 1]
    assert 0 < found.majority.unscored == 48 - len(kept)
    assert found.majority.estimate == pytest.approx(cohen_loop([said[n] for n in kept], [modes[n][0] for n in kept]))
    assert (found.ratings, found.fleiss.n, found.fleiss.unscored) == (3, 43, 5)
    assert found.fleiss.estimate == pytest.approx(fleiss_loop(rows[5:]))


def test_pictures_that_nobody_rated_were_not_asked():
    samples = many()
    people = annotated({"p1": [s.culture for s in samples[:20]]}, samples[:20])
    found = agreement.agreement(["", *(s.culture for s in samples[1:])], samples, people)
    assert (found.majority.n, found.majority.unscored, found.majority.estimate) == (19, 1, 1)
    assert np.isnan(found.fleiss.estimate) and found.ratings == 1
    with pytest.raises(InterpError, match="no annotation of the task 'culture'"):
        agreement.agreement([s.culture for s in samples], samples, ())


def test_people_beside_the_judge_on_the_four_image_task():
    samples = many()
    questions = four_image.four_image_task(samples, 0)
    asked = questions[:40]
    answers = {
        "p1": [q.answer if n % 4 else q.answer % 4 + 1 for n, q in enumerate(asked)],
        "p2": [q.answer if n < 36 else "" for n, q in enumerate(asked)],
    }
    people = tuple(
        Annotation(item=q.id, annotator=name, answer=str(a), task="four_image")
        for name, given in answers.items()
        for q, a in zip(asked, given, strict=True)
        if a
    )
    found = whole(Simulated(right), samples, people).four_image
    assert {name: (i.estimate, i.n) for name, i in found.annotators.items()} == {"p1": (75, 40), "p2": (100, 36)}
    expected = np.mean([50 * (n % 4 > 0) + 50 if n < 36 else 100 * (n % 4 > 0) for n in range(40)])
    assert (found.people.estimate, found.people.n, found.people.unscored) == (pytest.approx(expected), 40, 0)
    assert found.gap.estimate == pytest.approx(100 - expected)
    assert found.judge.n == 48
    both = whole(Simulated(right), samples, (*people, *annotated({"p9": ["A"] * 48}, samples)))
    assert both.sixteen_way.people.estimate == pytest.approx(100 / 6)
    assert both.sixteen_way.annotators["p9"].n == 48 and both.agreement.ratings == 1
    assert both.sixteen_way.annotators.keys() == {"p9"} and both.four_image.annotators.keys() == {"p1", "p2"}


def test_intervals_resample_concepts_within_cultures_by_the_seed():
    """Every interval of the record, from values that are found by hand; clusters are (culture, concept)."""
    samples = many()
    questions = four_image.four_image_task(samples, 0)
    rng = np.random.default_rng(4)
    said = {s.id: s.culture if rng.random() < 0.6 else "A" for s in samples}
    labels = {name: [LABELS[rng.integers(7)] if rng.random() < 0.3 else s.culture for s in samples] for name in "pq"}
    places = {name: [str(q.answer) if rng.random() < 0.6 else "1" for q in questions] for name in "pq"}
    people = (
        *annotated(labels, samples),
        *annotated(places, [replace(q.right, id=q.id) for q in questions], "four_image"),
    )
    judge = Simulated(lambda culture, number: said[f"s{CULTURES[culture]}{number}"])
    found = reliability.reliability(judge, samples, picture, questions, people, seed=7)

    def clusters(shown):
        return [(s.culture, s.category) for s in shown]

    def expected(values, shown, seed=7):
        values, strata = np.array(values, dtype=float), [s.culture for s in shown]
        return stats.interval(values, clusters(shown), strata, draws=2000, seed=seed)

    def by_culture(values, shown):
        rows = {c: [n for n, s in enumerate(shown) if s.culture == c] for c in CULTURES}
        return {c: expected([values[n] for n in at], [shown[n] for n in at]) for c, at in rows.items()}

    def right_of(given, truths):
        return [100 * (a == t) for a, t in zip(given, truths, strict=True)]

    shown, chosen = [q.right for q in questions], [by_hand(q, said) for q in questions]
    truths = [s.culture for s in samples]
    own = right_of([said[s.id] for s in samples], truths)
    assert found.four_image.judge == expected(chosen, shown) != expected(chosen, shown, seed=0)
    assert found.sixteen_way.judge == expected(own, samples) != expected(own, samples, seed=0)
    assert found.four_image.per_culture == by_culture(chosen, shown)
    assert found.sixteen_way.per_culture == by_culture(own, samples)
    assert len({i.estimate for i in found.sixteen_way.per_culture.values()}) > 1
    for name in "pq":
        assert found.sixteen_way.annotators[name] == expected(right_of(labels[name], truths), samples)
        placed = right_of(places[name], [str(q.answer) for q in questions])
        assert found.four_image.annotators[name] == expected(placed, shown)
        agreed = cohen([said[s.id] for s in samples], labels[name], clusters(samples), 7)
        assert found.agreement.annotators[name] == agreed
    mean = np.mean([right_of(places[name], [str(q.answer) for q in questions]) for name in "pq"], axis=0)
    assert found.four_image.people == expected(mean, shown)
    strata = [s.culture for s in shown]
    gap = stats.paired_difference(np.array(chosen), mean, clusters(shown), strata, draws=2000, seed=7)
    assert found.four_image.gap == gap
    assert found.agreement.fleiss == fleiss([*zip(*labels.values(), strict=True)], clusters(samples), 7)
    same = [a if a == b else "" for a, b in zip(*labels.values(), strict=True)]
    assert found.agreement.majority == cohen([said[s.id] for s in samples], same, clusters(samples), 7)
    assert (found.seed, found.judge) == (7, "simulated")

    told = str(found).splitlines()
    assert told[0] == "simulated on 48 real pictures, percent"
    low = min(found.four_image.per_culture.values(), key=lambda i: i.estimate)
    assert str(found.four_image.judge) in told[1] and str(found.four_image.people) in told[2]
    assert str(low) in told[3]
    assert str(found.sixteen_way.judge) in told[4] and str(found.four_image.gap) in told[7]
    assert f"{found.agreement.majority.estimate:.3f}" in told[8] and f"{found.agreement.fleiss.low:.3f}" in told[9]


# Annotation files

GOOD = [
    {"item": "sA0", "annotator": "p1", "answer": "A"},
    {"item": "sA0", "annotator": "p2", "answer": UNRECOGNISABLE, "seconds": 2.5},
    {"item": "sB1", "annotator": "p1", "answer": "C", "task": "culture"},
]


def read(path, rows, questions=()):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    else:
        pd.DataFrame(rows).to_csv(path, index=False)
    return read_annotations(path, many(), CULTURES, questions)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_annotations_come_back_as_written(tmp_path, name):
    question = four_image.four_image_task(many(), 0)[0]
    chosen = {"item": question.id, "annotator": "7", "answer": 3 if name == "a.jsonl" else "3", "task": "four_image"}
    found = read(tmp_path / name, [*GOOD, chosen], [question])
    assert [a.answer for a in found] == ["A", UNRECOGNISABLE, "C", "3"]
    assert [a.task for a in found] == ["culture"] * 3 + ["four_image"]
    assert [a.seconds for a in found] == [None, 2.5, None, None]
    assert [a.annotator for a in found] == ["p1", "p2", "p1", "7"]


BROKEN = [
    ({"item": "sA99"}, "item", r"unknown 'sA99' of the task culture"),
    ({"item": None}, "item", "Field required"),
    ({"annotator": None}, "annotator", "Field required"),
    ({"answer": "Japan"}, "answer", r"unknown 'Japan'; known: A, B, C, D, E, F, Unrecognisable"),
    ({"answer": "3"}, "answer", "unknown '3'"),
    ({"task": "five_image"}, "task", r"'culture' or 'four_image' \(found 'five_image'\)"),
    ({"seconds": -1}, "seconds", "greater than or equal to 0"),
    ({"seconds": "fast"}, "seconds", r"valid number.*\(found 'fast'\)"),
    ({"note": "hm"}, "note", "Extra inputs are not permitted"),
    ({"item": "sA0"}, "item", "p1 answered it in row 1"),
    ({"task": "four_image", "answer": "2"}, "item", r"unknown 'sB1' of the task four_image"),
]


@pytest.mark.parametrize("change", [
    {"item": "../x"}, {"item": "\ud800"}, {"item": "x" * 10**6}, {"annotator": "a\x1b[2J"}, {"annotator": "\u202ex"},
    {"answer": "\ud800\n"}, {"seconds": float("nan")}, {"a\nb\ud800": 1}, {"answer": json.loads("[" * 900 + "]" * 900)},
])  # fmt: skip
def test_whatever_an_answer_holds_is_told_in_lines(tmp_path, change):
    with pytest.raises(InterpError, match="row 3") as caught:
        read(tmp_path / "a.jsonl", [*GOOD[:2], GOOD[2] | change])
    lines = str(caught.value).split("\n")
    assert all(line.isprintable() and len(line) < 1000 for line in lines)


@pytest.mark.parametrize("seed", [-1, 10**30])
def test_questions_need_a_seed(seed):
    with pytest.raises(InterpError, match=r"seed=.*: give a whole number from 0"):
        four_image.four_image_task(many(), seed)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize(("change", "at", "message"), BROKEN)
def test_a_broken_row_is_named(tmp_path, name, change, at, message):
    row = {k: v for k, v in (GOOD[2] | change).items() if v is not None}
    with pytest.raises(InterpError, match=rf"annotations .*: {name}, row 3, field {at}: .*{message}"):
        read(tmp_path / name, [*GOOD[:2], row])


def test_a_position_outside_the_question_is_named(tmp_path):
    question = four_image.four_image_task(many(), 0)[0]
    row = {"item": question.id, "annotator": "p", "answer": "0", "task": "four_image"}
    with pytest.raises(InterpError, match="field answer: unknown '0'; known: 1, 2, 3, 4"):
        read(tmp_path / "a.csv", [row], [question])


def test_the_first_twenty_problems_are_listed_and_all_counted(tmp_path):
    rows = [{"item": f"no{n}", "annotator": "p", "answer": "A"} for n in range(33)]
    with pytest.raises(InterpError) as caught:
        read(tmp_path / "a.csv", rows)
    assert str(caught.value).count("unknown") == 20
    assert "33 problems" in str(caught.value) and "and 13 more" in str(caught.value)


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.csv", "item,annotator,answer\n", "holds no rows"),
    ("a.txt", "", "unknown kind of table"),
    ("a.jsonl", "[1]\n", "row 1: Input should be a valid dictionary"),
    ("a.csv", "item,annotator,answer\nsA0,p1,A,extra\n", "row 1, field .cells beyond the header.: Extra"),
])  # fmt: skip
def test_a_file_that_is_none_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InterpError, match=message):
        read_annotations(tmp_path / name, many(), CULTURES)
    with pytest.raises(InterpError, match="cannot be read"):
        read_annotations(tmp_path / "missing.csv", many(), CULTURES)


def test_written_questions_hold_the_pictures_in_order_and_no_answer(tmp_path):
    questions = four_image.four_image_task(many(), 0)
    four_image.write_questions(tmp_path / "q.jsonl", questions)
    rows = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert [(r["item"], r["target"]) for r in rows] == [(q.id, q.target) for q in questions]
    assert [r["images"] for r in rows] == [[s.image for s in q.samples] for q in questions]
    assert {*rows[0]} == {"item", "target", "images"}
