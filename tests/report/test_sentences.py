from dataclasses import replace
from math import nan

import pytest
from report_values import NOTHING

from interp.report import sentences
from interp.report.results import Results
from interp.report.text import interval, number, points, probability
from interp.types import Effect, Interval, Sweep


def test_numbers_are_written_one_way():
    assert interval(Interval(41.234, 37.96, 44.3, 3)) == "41.2 [38.0, 44.3]"
    assert points(Interval(-2.04, -4.0, -0.04, 3)) == "−2.0\u00a0points [−4.0, 0.0]"
    assert points(Interval(2.0, 1.0, 3.0, 3)).startswith("+2.0")
    assert (number(-0.01), number(nan), number(None), interval(NOTHING)) == ("0.0", "–", "–", "–")
    assert (probability(0.0476), probability(1e-9)) == ("p\u00a0=\u00a00.048", "p\u00a0<\u00a00.001")


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        ([0.0, 40.0, 90.0], "rises from 0.0 % at 0 to 90.0 % at 2, where the sweep ends"),
        ([0.0, 90.0, 90.0], "to 90.0 % at 1, and stays there"),
        ([0.0, 90.0, 70.0], "to 90.0 % at 1, and falls from there, to 70.0 %"),
        ([50.0, 40.0, 30.0], "No strength raises CultureVQA above the 50.0 % at 0"),
        ([5.0, 5.0, 5.0], "No strength raises CultureVQA above the 5.0 % at 0"),
        ([nan, nan, nan], "No picture of the sweep could be scored."),
    ],
)
def test_the_sweep_is_told_by_its_shape(results: Results, rates: list[float], sentence: str):
    shown = tuple(Interval(r, r, r, 9) for r in rates)
    swept = Sweep((0.0, 1.0, 2.0), shown, (Interval(80.0, 80.0, 80.0, 9),) * 3, "steer", "train")
    assert sentence in sentences.sweep(replace(results, sweep=swept))


def moved(effect: Effect, low: float, high: float) -> Effect:
    """An effect whose arms all differ from the baseline by as much."""
    change = Interval((low + high) / 2, low, high, 9)
    return replace(effect, difference=dict.fromkeys(effect.difference, change))


def test_sentences_follow_the_intervals(results: Results):
    def with_difference(low: float, high: float) -> str:
        return sentences.ablate(replace(results, ablate=moved(results.ablate, low, high)))

    assert "does not measurably change CultureVQA" in with_difference(-1.0, 2.0)
    assert "sets do not measurably change it" in with_difference(-1.0, 2.0)
    assert "raises CultureVQA" in with_difference(1.0, 2.0)
    assert "sets raise it" in with_difference(1.0, 2.0)
    assert "lowers CultureVQA" in with_difference(-2.0, -1.0)
    assert "sets lower it" in with_difference(-2.0, -1.0)
    woken = sentences.wake(replace(results, wake=moved(results.wake, 1.0, 2.0)))
    assert "(steer, strength 4) raises CultureVQA of noun-only prompts" in woken


def test_a_gap_is_told_where_the_intervals_do_not_touch(results: Results):
    assert "The intervals do not touch." in sentences.gap(results)
    same = {**results.ablate.accuracy, "baseline": results.wake.accuracy["baseline"]}
    touching = replace(results, ablate=replace(results.ablate, accuracy=same))
    assert "no gap is shown" in sentences.gap(touching)


def test_targets_are_counted(results: Results):
    assert sentences.targets(results) == "1 of 2 targets met. Missed: waking."
    assert sentences.targets(replace(results, targets=())) == "No targets were set for this model."
    assert sentences.targets(replace(results, targets=results.targets[:1])) == "1 of 1 target met."


def test_the_split_is_told_as_a_whole_or_a_sample(results: Results):
    assert sentences.sizes(results) == "a sample of 1,500 of the 1,800 samples of the test split"
    assert sentences.sizes(replace(results, split_size=1500)) == "the whole test split (1,500 samples)"


def test_what_was_not_measured_is_told(results: Results):
    less = replace(results, judge=None, variants=results.variants[1:], measures=())
    assert "no record of the judge" in sentences.judge(less)
    assert sentences.variants(less) == "The paper's literal choice was not measured."
    assert sentences.measures(less) == "The pictures were measured by nothing but the judge."
    assert sentences.enhance(less) == "No enhancer was trained for this model."
    unscored = replace(results, steer=dict.fromkeys(results.steer, NOTHING), noun_fidelity={"woken": NOTHING})
    assert sentences.steer(unscored) == "No steered picture could be scored."
    assert sentences.noun_fidelity(unscored) == "No picture could be scored for its noun."
    assert sentences.unscored(results).startswith("12 answers could not be scored")
