"""Scores against a plain loop, streaming against one batch, the choice on constructed cases, round trips."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interp.errors import InterpError
from interp.latents import curves, neurons, scores
from interp.latents.scores import WfsAccumulator
from interp.latents.selection import Rule, elbow, select
from interp.types import Neurons, SaeRef, Site

REF = SaeRef("saes/tiny/layer_03", "d" * 64, Site(3), "m" * 64, d_in=4, d_sae=6, k=2)
CODES = arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 5)),
    elements=st.one_of(st.just(0.0), st.floats(0.0, 100.0, width=32)),
)
SPEED = settings(max_examples=40, deadline=None)


def loop_scores(codes: np.ndarray, eps: float, beta: float) -> tuple[list[float], list[float], list[float]]:
    """Eq. 4, 5 and 6, symbol by symbol."""
    n, width = codes.shape
    f, mu = [], []
    for m in range(width):
        count, total = 0, 0.0
        for i in range(n):
            if codes[i, m] > eps:
                count += 1
                total += float(codes[i, m])
        f.append(count / n)
        mu.append(total / (count + beta))
    return f, mu, [a * b for a, b in zip(f, mu, strict=True)]


@SPEED
@given(CODES, st.floats(0.0, 10.0), st.floats(1e-9, 1.0))
def test_scores_equal_a_plain_loop(codes: np.ndarray, eps: float, beta: float):
    z = torch.from_numpy(codes)
    eps = float(np.float32(eps))
    f, mu, wfs = loop_scores(codes, eps, beta)
    np.testing.assert_allclose(scores.frequency(z, eps), f, rtol=1e-6)
    np.testing.assert_allclose(scores.magnitude(z, eps, beta), mu, rtol=1e-6)
    np.testing.assert_allclose(scores.weighted_frequency(z, eps, beta), wfs, rtol=1e-6)


def test_a_code_equal_to_eps_does_not_fire():
    assert scores.frequency(torch.tensor([[0.0, 0.5, 0.6]]), eps=0.5).tolist() == [0, 0, 1]


@SPEED
@given(CODES, st.lists(st.integers(0, 9), max_size=3))
def test_batches_give_what_one_batch_gives(codes: np.ndarray, cuts: list[int]):
    whole, parts = WfsAccumulator(codes.shape[1]), WfsAccumulator(codes.shape[1])
    whole.update(torch.from_numpy(codes))
    for part in np.split(codes, sorted(min(cut, len(codes)) for cut in cuts)):
        parts.update(torch.from_numpy(part))
    for name in ("frequency", "magnitude", "wfs", "mean"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)
    np.testing.assert_allclose(whole.mean, codes.mean(0, dtype=np.float64), rtol=1e-9)


def test_the_baseline_counts_codes_below_eps():
    counts = WfsAccumulator(1, eps=1.0)
    counts.update(torch.tensor([[0.5], [1.5]]))
    assert counts.mean.item() == 1.0
    assert counts.magnitude.item() == pytest.approx(1.5)


def test_accumulator_refuses_other_widths_and_no_tokens():
    with pytest.raises(InterpError, match="3 latents after codes of 2"):
        WfsAccumulator(2).update(torch.zeros(1, 3))
    with pytest.raises(InterpError, match="no tokens"):
        _ = WfsAccumulator(2).wfs


@pytest.mark.parametrize(
    ("curve", "k"),
    [
        ([10.0, 9.0, 8.0, 1.0, 0.9, 0.8, 0.7], 3),
        ([10.0, 0.3, 0.2, 0.1], 1),
        ([10.0, 9.9, 9.8, 0.0], 4),  # concave
        ([4.0, 3.0, 2.0, 1.0], 4),  # straight
        ([2.0, 2.0, 2.0, 2.0], 4),  # flat
        ([2.0, 1.0], 2),
        ([], 0),
    ],
)
def test_elbow_is_where_the_drop_ends(curve: list[float], k: int):
    assert elbow(np.array(curve)) == k


@SPEED
@given(st.lists(st.floats(0.01, 100.0), min_size=3, max_size=30), st.floats(0.1, 10.0), st.floats(0.0, 10.0))
def test_elbow_ignores_the_scale_and_matches_a_loop(values: list[float], factor: float, shift: float):
    curve = np.array(sorted(set(np.round(values, 2)), reverse=True))
    k = elbow(curve)
    assert elbow(curve * 2.0) == k
    if k < len(curve):
        slope = (curve[-1] - curve[0]) / (len(curve) - 1)
        below = [curve[0] + slope * i - curve[i] for i in range(len(curve))]
        assert below[k] >= max(below) - 1e-6 * (curve[0] - curve[-1])


CULT = np.array([[9.0, 8.0, 7.0, 0.5, 0.4, 0.0], [0.1, 0.1, 5.0, 6.0, 0.1, 0.0]])
NOUN = np.array([[8.0, 1.0, 0.0, 0.0, 0.4, 3.0], [0.1, 0.0, 2.6, 0.0, 0.0, 0.0]])


def test_the_papers_rule_ranks_cuts_then_filters():
    italy, japan = select(CULT, NOUN)
    assert (italy.k, italy.indices, italy.dropped) == (3, (1, 2), (0,))
    assert (japan.k, japan.indices, japan.dropped) == (2, (3,), (2,))


def test_a_fixed_k_counts_ranks_before_the_filter():
    assert [pick.indices for pick in select(CULT, NOUN, Rule(k=2))] == [(1,), (3,)]
    assert [pick.indices for pick in select(CULT, NOUN, Rule(k=2, tau=None))] == [(0, 1), (3, 2)]


def test_filter_before_fills_the_k_ranks():
    picks = select(CULT, NOUN, Rule(k=2, filter="before"))
    assert [pick.indices for pick in picks] == [(1, 2), (3, 1)]
    assert [pick.dropped for pick in picks] == [(), ()]


def test_difference_ranks_what_the_noun_leaves():
    picks = select(CULT, NOUN, Rule(k=2, contrast="difference", tau=None))
    assert [pick.indices for pick in picks] == [(1, 2), (3, 2)]
    picks = select(CULT, NOUN, Rule(k=3, contrast="difference"))
    assert [(pick.indices, pick.dropped) for pick in picks] == [((1, 2), (0,)), ((3, 1), (2,))]


def test_tau_is_an_upper_bound_of_the_ratio():
    cult, noun = np.array([[4.0, 2.0]]), np.array([[2.0, 1.1]])
    assert select(cult, noun, Rule(k=2, tau=0.5))[0].indices == (0,)


def test_silent_latents_are_never_chosen():
    pick = select(np.array([[1.0, 0.0, 0.0]]), np.zeros((1, 3)), Rule(k=3))[0]
    assert (pick.indices, pick.k) == ((0,), 1)


def test_the_elbow_looks_at_max_k_ranks():
    cult = np.array([[10.0, 9.0, 5.0, 4.9, 4.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]])
    assert select(cult, cult * 0)[0].k == 5
    assert select(cult, cult * 0, Rule(max_k=5))[0].k == 2


@pytest.mark.parametrize("bad", [{"k": 0}, {"tau": 0.0}, {"tau": math.nan}, {"max_k": 0}])
def test_a_rule_without_sense_is_refused(bad: dict[str, float]):
    with pytest.raises(InterpError):
        Rule(**bad)  # pyright: ignore[reportArgumentType]


def counts(codes: list[list[float]]) -> WfsAccumulator:
    made = WfsAccumulator(6)
    made.update(torch.tensor(codes))
    return made


CULT_CODES = {
    "Italy": [[3.0, 2, 0, 0, 0, 0], [3.0, 0, 1, 0, 0, 0]],
    "Japan": [[3.0, 0, 0, 5, 0, 0], [0.0, 2, 0, 5, 0, 0]],
}
NOUN_CODES = {"Japan": [[3.0, 0, 0, 0.5, 0, 0]], "Italy": [[3.0, 0.25, 0, 0, 0, 0], [3.0, 0, 0, 0, 0, 0]]}


@pytest.fixture
def made() -> Neurons:
    cult = {culture: counts(codes) for culture, codes in CULT_CODES.items()}
    noun = {culture: counts(codes) for culture, codes in NOUN_CODES.items()}
    return neurons.build(
        cult, noun, REF, languages=["it", "ja"], split="neuron-detection", benchmark_digest="b" * 64,
        rule=Rule(k=3), settings={"codes": "topk"},
    )  # fmt: skip


def test_build_puts_scores_magnitudes_and_baselines_where_they_belong(made: Neurons):
    assert made["Italy"].indices == (1, 2)
    assert made["Japan"].indices == (3, 1)
    assert made["Italy"].magnitude == pytest.approx((2.0, 1.0), rel=1e-5)
    assert made["Italy"].baseline == pytest.approx((0.125, 0.0))
    assert made["Japan"].baseline == pytest.approx((0.5, 0.0))
    np.testing.assert_allclose(made.frequency, [[1, 0.5, 0.5, 0, 0, 0], [0.5, 0.5, 0, 1, 0, 0]])
    np.testing.assert_allclose(made.wfs[1], [1.5, 1.0, 0, 5, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(made.wfs_noun[1], [3, 0, 0, 0.5, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(made.baseline, [[3, 0.125, 0, 0, 0, 0], [3, 0, 0, 0.5, 0, 0]])
    assert made.settings["k"] == {"Italy": 3, "Japan": 3}
    assert made.settings["dropped"] == {"Italy": [0], "Japan": [0]}
    assert made.settings["codes"] == "topk"


def test_build_refuses_what_does_not_fit():
    one = {"Italy": counts(CULT_CODES["Italy"])}
    common: dict[str, Any] = {"split": "neuron-detection", "benchmark_digest": ""}
    with pytest.raises(InterpError, match="both need the same"):
        neurons.build(one, {"Japan": one["Italy"]}, REF, languages=["it"], **common)
    with pytest.raises(InterpError, match="2 languages for 1"):
        neurons.build(one, one, REF, languages=["it", "ja"], **common)
    with pytest.raises(InterpError, match=r"\[6\] latents, the SAE has 7"):
        neurons.build(one, one, SaeRef("", "", Site(0), "", 4, 7, 2), languages=["it"], **common)


def test_overlap_is_the_jaccard_index(made: Neurons):
    np.testing.assert_allclose(curves.overlap(made).values, [[1, 1 / 3], [1 / 3, 1]])


def test_two_empty_sets_have_no_overlap():
    nothing = {"Italy": counts([[0.0] * 6]), "Japan": counts([[0.0] * 6])}
    made = neurons.build(nothing, nothing, REF, languages=["it", "ja"], split="", benchmark_digest="")
    assert np.isnan(curves.overlap(made).values).all()
    assert neurons.to_table(made).empty


def test_table_has_one_row_a_latent(made: Neurons):
    table = neurons.to_table(made)
    assert table[["culture", "language", "rank", "latent", "shared_with"]].values.tolist() == [
        ["Italy", "it", 0, 1, 1], ["Italy", "it", 1, 2, 0], ["Japan", "ja", 0, 3, 0], ["Japan", "ja", 1, 1, 1],
    ]  # fmt: skip
    assert table["wfs"].tolist() == [made.wfs[0, 1], made.wfs[0, 2], made.wfs[1, 3], made.wfs[1, 1]]
    assert table["wfs_noun"].tolist() == pytest.approx([0.125, 0, 0.5, 0], rel=1e-5)
    assert table["magnitude"].tolist() == [*made["Italy"].magnitude, *made["Japan"].magnitude]


def test_save_then_load_is_exact(made: Neurons, tmp_path):
    before = dict(vars(made))
    neurons.save(made, tmp_path / "neurons")
    again = neurons.load(tmp_path / "neurons")
    assert vars(made) == before
    for name, value in vars(made).items():
        if isinstance(value, np.ndarray):
            assert getattr(again, name).dtype == value.dtype
            np.testing.assert_array_equal(getattr(again, name), value)
        else:
            assert getattr(again, name) == value


def test_save_replaces_and_load_names_what_is_missing(made: Neurons, tmp_path):
    neurons.save(made, tmp_path / "n")
    neurons.save(made, tmp_path / "n")
    assert neurons.load(tmp_path / "n").sae == REF
    with pytest.raises(InterpError, match="no neurons at"):
        neurons.load(tmp_path)
