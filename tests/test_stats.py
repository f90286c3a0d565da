"""Intervals against scipy and closed forms, coverage and type-I error by simulation, controls by their properties."""

import gc
import inspect
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from interp import stats
from interp.errors import InterpError
from interp.stats import Alternative

NAN = float("nan")


def clustered(rng: np.random.Generator, sizes: np.ndarray, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Values around 0 with a shared offset a cluster, and their clusters."""
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    return spread * rng.standard_normal(len(sizes))[clusters] + rng.standard_normal(len(clusters)), clusters


class TestInterval:
    def test_agrees_with_scipys_bootstrap(self):
        values = np.random.default_rng(1).exponential(size=40)
        ours = stats.interval(values, range(40), draws=40_000)
        tail = scipy.stats.norm.cdf(scipy.stats.t.ppf(0.025, 39) * np.sqrt(40 / 39))
        theirs = scipy.stats.bootstrap(
            (values,), np.mean, confidence_level=1 - 2 * tail, n_resamples=40_000, method="percentile", rng=2
        ).confidence_interval
        assert ours.estimate == pytest.approx(values.mean())
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03 * (theirs.high - theirs.low))

    @pytest.mark.parametrize("n_clusters", [12, 200])
    def test_equal_clusters_give_the_t_interval_of_their_means(self, n_clusters: int):
        rng = np.random.default_rng(3)
        values, clusters = clustered(rng, np.full(n_clusters, 5), spread=2)
        means = values.reshape(n_clusters, 5).mean(1)
        low, high = scipy.stats.t.interval(0.95, n_clusters - 1, means.mean(), scipy.stats.sem(means))
        found = stats.interval(values, clusters, draws=40_000)
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.06 * (high - low))

    def test_strata_take_out_the_spread_between_them(self):
        rng = np.random.default_rng(4)
        strata = np.repeat(np.arange(4), 100)
        values = 50.0 * strata + rng.standard_normal(400)
        found = stats.interval(values, range(400), strata, draws=20_000)
        within = sum(0.25**2 * values[strata == s].var(ddof=1) / 100 for s in range(4)) ** 0.5
        assert found.high - found.low == pytest.approx(2 * 1.966 * within, rel=0.05)
        assert stats.interval(values, range(400)).high - found.low > 5

    def test_unequal_clusters_are_weighted_by_their_samples(self):
        assert stats.interval(np.array([0.0, 0.0, 0.0, 100.0]), ["a", "a", "a", "b"]).estimate == 25

    def test_equal_labels_in_two_strata_are_two_clusters(self):
        values = np.random.default_rng(0).standard_normal(40)
        strata = ["x"] * 20 + ["y"] * 20
        shared = stats.interval(values, [i % 20 for i in range(40)], strata)
        assert shared == stats.interval(values, range(40), strata)

    def test_unscored_samples_are_counted_and_in_no_estimate(self):
        rng = np.random.default_rng(5)
        values, clusters = clustered(rng, np.full(20, 4), 1)
        holes = values.copy()
        holes[[0, 1, 2, 3, 50]] = NAN
        kept = ~np.isnan(holes)
        found = stats.interval(holes, clusters)
        assert (found.n, found.unscored) == (75, 5)
        clean = stats.interval(values[kept], clusters[kept])
        assert (found.estimate, found.low, found.high) == (clean.estimate, clean.low, clean.high)

    def test_nothing_scored(self):
        found = stats.interval(np.full(3, NAN), ["a", "b", "c"])
        assert (found.n, found.unscored) == (0, 3)
        assert np.isnan([found.estimate, found.low, found.high]).all()

    def test_one_cluster_has_an_estimate_and_no_interval(self):
        found = stats.interval(np.array([1.0, 3.0]), ["a", "a"])
        assert found.estimate == 2
        assert np.isnan([found.low, found.high]).all()

    def test_strata_of_one_cluster_still_show_their_spread(self):
        found = stats.interval(np.array([0.0, 10.0, 20.0, 30.0] * 5), range(20), range(20))
        assert found.high - found.low == pytest.approx(
            np.subtract(*scipy.stats.t.interval(0.95, 19, 0, np.std([0, 10, 20, 30] * 5, ddof=1) / 20**0.5)[::-1]),
            rel=0.1,
        )

    def test_the_seed_decides(self):
        values = np.random.default_rng(6).standard_normal(30)
        first = stats.interval(values, range(30), seed=1)
        assert first == stats.interval(values, range(30), seed=1)
        assert first.low != stats.interval(values, range(30), seed=2).low

    def test_a_higher_level_is_wider(self):
        values = np.random.default_rng(6).standard_normal(30)
        narrow, wide = (stats.interval(values, range(30), level=level) for level in (0.8, 0.99))
        assert wide.low < narrow.low < narrow.high < wide.high

    def test_lengths_must_agree(self):
        with pytest.raises(InterpError, match=r"'values': 3, 'clusters': 2"):
            stats.interval(np.zeros(3), ["a", "b"])

    @pytest.mark.parametrize(
        ("n_strata", "per_stratum", "least"), [(1, 24, 0.93), (5, 8, 0.93), (1, 8, 0.90), (15, 2, 0.90)]
    )
    def test_coverage(self, n_strata: int, per_stratum: int, least: float):
        rng = np.random.default_rng(7)
        hit = naive = 0
        for seed in range(1000):
            values, clusters = clustered(rng, rng.integers(3, 8, n_strata * per_stratum), spread=1.5)
            strata = clusters % n_strata
            truth = 10.0 * strata.mean()
            found = stats.interval(values + 10.0 * strata, clusters, strata, draws=800, seed=seed)
            hit += found.low <= truth <= found.high
            if seed < 200:
                single = stats.interval(values + 10.0 * strata, range(len(values)), strata, draws=400, seed=seed)
                naive += single.low <= truth <= single.high
        assert least <= hit / 1000 <= 0.97
        assert naive / 200 < 0.85

    def test_coverage_of_a_rate(self):
        rng = np.random.default_rng(8)
        hit = 0
        for seed in range(1000):
            rate = np.repeat(rng.beta(2, 2, 24), 5)
            values = 100.0 * (rng.random(120) < rate)
            found = stats.interval(values, np.repeat(np.arange(24), 5), draws=400, seed=seed)
            hit += found.low <= 50 <= found.high
        assert 0.93 <= hit / 1000 <= 0.97


class TestPairedDifference:
    def test_pairing_removes_what_the_arms_share(self):
        rng = np.random.default_rng(1)
        shared = 30 * rng.standard_normal(200)
        treatment, baseline = shared + rng.standard_normal(200) + 5, shared
        found = stats.paired_difference(treatment, baseline, range(200))
        assert found.estimate == pytest.approx((treatment - baseline).mean())
        assert found.high - found.low < 0.5
        assert found.low < 5 < found.high

    def test_a_pair_needs_both(self):
        found = stats.paired_difference(np.array([1.0, NAN, 3.0, 4.0]), np.array([0.0, 0.0, NAN, 2.0]), "abcd")
        assert (found.estimate, found.n, found.unscored) == (1.5, 2, 2)

    def test_lengths_must_agree(self):
        unchecked = inspect.unwrap(stats.paired_difference)  # as a user calls it: the shapes are checked in tests alone
        with pytest.raises(InterpError, match="'treatment': 3, 'baseline': 2"):
            unchecked(np.zeros(3), np.zeros(2), "abc")


class TestControlP:
    @pytest.mark.parametrize(
        ("effect", "alternative", "expected"),
        [(-40.0, "two-sided", 1 / 5), (-40.0, "less", 1 / 5), (-40.0, "greater", 1.0), (0.0, "greater", 4 / 5)],
    )
    def test_by_hand(self, effect: float, alternative: Alternative, expected: float):
        assert stats.control_p(effect, [-1.0, 0.0, 1.0, 2.0], alternative) == pytest.approx(expected)

    def test_equal_effects_are_no_evidence(self):
        assert stats.control_p(0.1 + 0.2, [0.3] * 9) == 1

    @pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
    @pytest.mark.parametrize("n_sets", [5, 19])
    def test_type_one_error_is_exact(self, alternative: Alternative, n_sets: int):
        effects = np.random.default_rng(2).standard_exponential((6000, n_sets + 1))
        p = np.array([stats.control_p(float(e[0]), e[1:], alternative) for e in effects])
        for level in np.arange(1, n_sets + 1) / (n_sets + 1):
            assert (p <= level + 1e-9).mean() == pytest.approx(level, abs=4 * (level * (1 - level) / 6000) ** 0.5)

    @pytest.mark.parametrize(("effect", "random"), [(1.0, []), (NAN, [1.0]), (1.0, [NAN, 2.0])])
    def test_what_is_no_number_is_refused(self, effect: float, random: list[float]):
        with pytest.raises(InterpError, match="control_p needs"):
            stats.control_p(effect, random)


class TestPairedPermutation:
    @pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
    def test_against_all_flips(self, alternative: Alternative):
        sums = np.array([1.0, 2.0, 4.0, -1.0])
        null = np.array(list(itertools.product([1, -1], repeat=4))) @ sums
        extreme = {"two-sided": abs(null) >= 6, "greater": null >= 6, "less": null <= 6}[alternative]
        treatment = np.array([1.0, 1.0, 1.0, 4.0, 1.0, -2.0])
        p = stats.paired_permutation_p(treatment, np.zeros(6), "abbcdd", alternative, flips=40_000)
        assert p == pytest.approx(extreme.mean(), abs=0.01)

    def test_type_one_error(self):
        rng = np.random.default_rng(3)
        p, naive = np.empty(1500), np.empty(400)
        for i in range(1500):
            values, clusters = clustered(rng, rng.integers(2, 9, 15), spread=1)
            control = rng.standard_normal(len(values))
            p[i] = stats.paired_permutation_p(values + control, control, clusters, flips=199, seed=i)
            if i < 400:
                naive[i] = stats.paired_permutation_p(values, 0 * values, range(len(values)), flips=199, seed=i)
        for level in (0.05, 0.2, 0.5):
            assert (p <= level).mean() == pytest.approx(level, abs=4 * (level * (1 - level) / 1500) ** 0.5)
        assert (naive <= 0.05).mean() > 0.15

    def test_an_effect_is_found(self):
        rng = np.random.default_rng(4)
        values, clusters = clustered(rng, np.full(30, 5), spread=0.5)
        assert stats.paired_permutation_p(values + 1, 0 * values, clusters) == pytest.approx(1 / 10_001)
        assert stats.paired_permutation_p(values + 1, 0 * values, clusters, "less") > 0.99

    def test_unscored_pairs_are_left_out(self):
        rng = np.random.default_rng(5)
        treatment, control = rng.standard_normal((2, 40))
        whole = stats.paired_permutation_p(treatment, control, range(40))
        padded = [np.append(a, [NAN, 9.0]) for a in (treatment, control)]
        padded[1][-1] = NAN
        assert stats.paired_permutation_p(*padded, [*range(40), "x", "y"]) == whole

    def test_flips_that_fill_no_block(self):
        assert stats.paired_permutation_p(np.ones(30), np.zeros(30), range(30), flips=1500) == pytest.approx(1 / 1501)

    def test_nothing_scored_is_refused(self):
        with pytest.raises(InterpError, match="no sample of 2"):
            stats.paired_permutation_p(np.array([1.0, NAN]), np.array([NAN, 1.0]), "ab")


def holm_by_hand(p: list[float]) -> list[float]:
    adjusted, running = list(p), 0.0
    tests = sorted((value, i) for i, value in enumerate(p) if value == value)
    for rank, (value, i) in enumerate(tests):
        running = max(running, min(1.0, (len(tests) - rank) * value))
        adjusted[i] = running
    return adjusted


@pytest.fixture(scope="class")
def frozen_heap() -> Iterator[None]:
    """statsmodels collects garbage in every call, which is slow unless what is there already is set aside."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen_heap")
class TestHolm:
    def test_by_hand(self):
        np.testing.assert_allclose(stats.holm([0.01, NAN, 0.04, 0.03]), [0.03, NAN, 0.06, 0.06])

    @given(st.lists(st.one_of(st.floats(0, 1), st.just(NAN)), max_size=12))
    def test_against_a_loop(self, p: list[float]):
        np.testing.assert_allclose(stats.holm(p), holm_by_hand(p))

    def test_the_argument_is_left_alone(self):
        p = np.array([0.01, 0.02])
        stats.holm(p)
        assert p.tolist() == [0.01, 0.02]


class TestCurves:
    def test_every_layer_is_an_interval(self):
        rng = np.random.default_rng(1)
        values, clusters = rng.standard_normal((60, 4)), np.arange(60) // 3
        curve = stats.bootstrap_mean_curves(values, seed=3, clusters=clusters)
        for layer in range(4):
            alone = stats.interval(values[:, layer], clusters, seed=3)
            assert curve.mean[layer] == pytest.approx(alone.estimate)
            np.testing.assert_allclose(curve.ci[layer], [alone.low, alone.high])

    def test_every_pair_is_its_own_cluster_unless_told(self):
        values = np.random.default_rng(2).standard_normal((30, 2))
        ours = stats.bootstrap_mean_curves(values).ci
        np.testing.assert_array_equal(ours, stats.bootstrap_mean_curves(values, clusters=range(30)).ci)

    def test_incomplete_pairs_are_counted(self):
        values = np.random.default_rng(2).standard_normal((30, 3))
        holes = np.vstack([values, [[1.0, NAN, 1.0]]])
        found, whole = stats.bootstrap_mean_curves(holes), stats.bootstrap_mean_curves(values)
        assert (found.n, found.unscored) == (30, 1)
        np.testing.assert_array_equal(found.ci, whole.ci)

    def test_no_complete_pair_is_refused(self):
        with pytest.raises(InterpError, match="none of 2 pairs"):
            stats.bootstrap_mean_curves(np.array([[NAN, 1.0], [1.0, NAN]]))


@pytest.mark.usefixtures("frozen_heap")
class TestNeighbours:
    def test_a_peak_and_nothing_else(self):
        rng = np.random.default_rng(1)
        values = rng.standard_normal((200, 6)) + np.array([5.0, 0, 0, 1, 0, 0])
        p = stats.neighbour_test(values)
        assert np.isnan(p[[0, -1]]).all()
        assert p[3] == pytest.approx(4 / 10_001)
        assert (p[[1, 2, 4]] > 0.5).all()

    def test_against_a_loop(self):
        rng = np.random.default_rng(2)
        values = rng.standard_normal((25, 3)) + np.array([0, 0.3, 0])
        picks = rng.integers(0, 25, (20_000, 25))
        means = values[picks].mean(1)
        expected = (means[:, 1] <= (means[:, 0] + means[:, 2]) / 2).mean()
        assert stats.neighbour_test(values, draws=20_000)[1] == pytest.approx(expected, abs=0.01)

    def test_type_one_error(self):
        rng = np.random.default_rng(3)
        found = 0
        for seed in range(600):
            values = 2 * rng.standard_normal((60, 1)) + rng.standard_normal((60, 6))
            found += bool((stats.neighbour_test(values, draws=800, seed=seed)[1:-1] <= 0.05).any())
        assert 0.01 < found / 600 < 0.08

    def test_two_layers_have_no_neighbours(self):
        assert np.isnan(stats.neighbour_test(np.zeros((3, 2)))).all()


def latents(seed: int, d_sae: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Firing rates with a heavy tail, a fifth of them zero, and magnitudes."""
    rng = np.random.default_rng(seed)
    frequency = np.exp(-4 * rng.random(d_sae)) * (rng.random(d_sae) > 0.2)
    return frequency, np.where(frequency > 0, rng.lognormal(size=d_sae), 0.0)


class TestControls:
    @settings(max_examples=25)
    @given(st.integers(0, 1000), st.integers(1, 12))
    def test_what_every_set_must_be(self, seed: int, size: int):
        frequency, magnitude = latents(seed)
        order = np.random.default_rng(seed).permutation(np.flatnonzero(frequency)).tolist()
        targets, exclude = order[:size], set(order[size : size + 40])
        sets = stats.match_controls(targets, frequency, magnitude, 20, seed, exclude)
        assert all(frequency[list(s)].min() > 0 for s in sets)
        assert sets == stats.match_controls(targets, frequency, magnitude, 20, seed, exclude)
        assert sets != stats.match_controls(targets, frequency, magnitude, 20, seed + 1, exclude)
        assert len({frozenset(s) for s in sets}) == 20
        for controls in sets:
            assert len(set(controls)) == size
            assert not set(controls) & (set(targets) | exclude)

    def test_matched_sets_are_like_their_targets_and_uniform_ones_are_not(self):
        frequency, magnitude = latents(0, 1500)
        targets = np.argsort(-frequency * magnitude)[:8].tolist()
        matched = np.array(stats.match_controls(targets, frequency, magnitude, 50, 0))
        rng, others = np.random.default_rng(0), np.setdiff1d(np.arange(1500), targets)
        uniform = np.array([rng.choice(others, 8, replace=False) for _ in range(50)])
        for quantity in (frequency, magnitude):
            rank = scipy.stats.rankdata(quantity) / 1500
            off = [np.abs(rank[sets] - rank[targets]).mean() for sets in (matched, uniform)]
            assert off[0] < 0.07
            assert off[1] > 0.25

    def test_a_latent_is_drawn_evenly_from_its_twenty_nearest(self):
        frequency, magnitude = latents(1)
        live = np.flatnonzero(frequency)
        target = int(live[10])
        place = [(r - r.mean()) / r.std() for r in (scipy.stats.rankdata(q[live]) for q in (frequency, magnitude))]
        distance = [np.hypot(place[0][i] - place[0][10], place[1][i] - place[1][10]) for i in range(len(live))]
        nearest = {int(live[i]) for i in np.argsort(distance)[1:21]}
        drawn = Counter(stats.match_controls([target], frequency, magnitude, 1, seed)[0][0] for seed in range(2000))
        assert set(drawn) == nearest
        assert scipy.stats.chisquare(list(drawn.values())).pvalue > 0.001

    def test_sets_repeat_only_when_none_other_is_left(self):
        frequency, magnitude = np.full(6, 0.5), np.arange(6.0)
        sets = stats.match_controls([0, 1], frequency, magnitude, 9, seed=0)
        assert len({frozenset(s) for s in sets}) == 6
        assert len(sets) == 9

    def test_too_few_latents_are_refused(self):
        frequency, magnitude = np.array([0.5, 0.5, 0.5, 0.0]), np.ones(4)
        with pytest.raises(InterpError, match="of 4 only 1 may be drawn"):
            stats.match_controls([0, 1], frequency, magnitude, 1, seed=0)

    @pytest.mark.parametrize("targets", [[], [4], [-1]])
    def test_targets_must_be_latents(self, targets: list[int]):
        with pytest.raises(InterpError, match="latents 0 to 3"):
            stats.match_controls(targets, np.ones(4), np.ones(4), 1, seed=0)

    def test_nan_is_refused(self):
        with pytest.raises(InterpError, match="must be numbers"):
            stats.match_controls([0], np.ones(4), np.array([1.0, NAN, 1.0, 1.0]), 1, seed=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.interval(np.zeros((2, 2)), ["a", "b"]),
        lambda: stats.neighbour_test(np.zeros(4)),
        lambda: stats.holm(np.zeros((2, 2))),
    ],
)
def test_axes_are_checked_in_tests(call: Any):
    with pytest.raises(Exception, match="annotation"):
        call()
