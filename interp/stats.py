"""Paired effects, their intervals and tests, and the control sets that they are held against.

Samples of one cluster (a category of a culture) are not independent, so whole clusters are resampled or flipped.
A value that could not be scored is NaN: it is counted and in no estimate. Every draw comes from a seed.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats
from statsmodels.stats.multitest import multipletests

from interp.errors import InterpError
from interp.types import Interval

Labels = Collection[Hashable]
"""One label per sample: of its cluster, or of its stratum."""
Alternative = Literal["two-sided", "greater", "less"]
POOL = 20
"""Candidates for each place of a matched control set."""
RETRIES = 200
"""Draws after which a control set may repeat an earlier one."""


@dataclass(frozen=True)
class Curve:
    """A mean over pairs at every layer."""

    mean: Float[np.ndarray, "layer"]
    ci: Float[np.ndarray, "layer 2"]
    """95 % bootstrap interval."""
    n: int
    """Pairs that were scored."""
    unscored: int
    """Pairs with NaN at some layer; they are in no mean."""


@dataclass(frozen=True)
class _Draws:
    """A mean of clustered samples and its bootstrap distribution."""

    estimate: Float[np.ndarray, "column"]
    means: Float[np.ndarray, "draw column"]
    clusters: int
    strata: int


def _codes(labels: Labels) -> Int[np.ndarray, "sample"]:
    """Labels as numbers 0, 1, … in the order of their first appearance."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], dtype=np.int64)


def _check_lengths(**arrays: Collection[object] | None) -> None:
    lengths = {name: len(array) for name, array in arrays.items() if array is not None}
    if len(set(lengths.values())) > 1:
        raise InterpError(f"paired samples need one value each; found {lengths}")


def _nest(clusters: Labels, strata: Labels | None) -> tuple[np.ndarray, np.ndarray]:
    """Cluster codes nested in strata, and the stratum of every cluster.

    Strata of a single cluster show no spread of their own; they are collapsed into one (Wolter 2007, §2.5).
    """
    of_sample = _codes(strata) if strata is not None else np.zeros(len(clusters), dtype=np.int64)
    codes = _codes(list(zip(of_sample.tolist(), clusters, strict=True)))
    stratum = np.zeros(codes.max() + 1, dtype=np.int64)
    stratum[codes] = of_sample
    alone = np.bincount(stratum)[stratum] == 1
    return codes, np.where(alone, -1, stratum)


def _bootstrap(
    values: Float[np.ndarray, "sample column"], clusters: Labels, strata: Labels | None, draws: int, seed: int
) -> _Draws:
    """Resample whole clusters within strata, whose shares N_h/N stay as they are.

    mean = Σ_h N_h/N · Σ_c w_c S_c / Σ_c w_c n_c over the clusters c of stratum h, with multinomial weights w.
    """
    codes, stratum = _nest(clusters, strata)
    sums = np.zeros((len(stratum), values.shape[1]))
    np.add.at(sums, codes, values)
    sizes = np.bincount(codes)
    rng = np.random.default_rng(seed)
    means = np.zeros((draws, values.shape[1]))
    for label in np.unique(stratum):
        members = np.flatnonzero(stratum == label)
        weights = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
        share = sizes[members].sum() / sizes.sum()
        means += share * (weights @ sums[members]) / (weights @ sizes[members])[:, None]
    return _Draws(sums.sum(0) / sizes.sum(), means, len(stratum), len(np.unique(stratum)))


def _limits(drawn: _Draws, level: float) -> Float[np.ndarray, "column 2"]:
    """The expanded percentile interval (Hesterberg 2015, §5.3): as wide as a t interval when clusters are few.

    Resampling G clusters in H strata understates the variance by (G − H)/G and the percentile interval uses normal
    quantiles, so the tails are cut at Φ(t_{G−H} · √(G/(G−H))) instead.
    """
    free = drawn.clusters - drawn.strata
    if free < 1:
        return np.full((len(drawn.estimate), 2), np.nan)
    tail = stats.norm.cdf(stats.t.ppf((1 - level) / 2, free) * np.sqrt(drawn.clusters / free))
    return np.quantile(drawn.means, [tail, 1 - tail], axis=0).T


def _keep(labels: Labels, mask: Bool[np.ndarray, "sample"]) -> list[Hashable]:
    return [label for label, kept in zip(labels, mask, strict=True) if kept]


def interval(
    values: Float[np.ndarray, "sample"],
    clusters: Labels,
    strata: Labels | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of the scored values, with a bootstrap interval over clusters.

    Args:
        values: NaN where unscored.
        clusters: cluster of each sample; equal labels in two strata are two clusters.
        strata: stratum of each sample, such as its culture; clusters are resampled within strata.
        level: nominal coverage.
        draws: bootstrap draws.
        seed: of the draws.

    Returns:
        Limits are NaN where fewer than two clusters are scored. A handful of clusters cannot show its own tails:
        simulated coverage is 95 % from 24 clusters, 93 % with 8, 86 % with 4. Where all scored values are equal, the
        limits equal the estimate.
    """
    _check_lengths(values=values, clusters=clusters, strata=strata)
    scored = ~np.isnan(values)
    n, unscored = int(scored.sum()), int((~scored).sum())
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0, unscored)
    within = None if strata is None else _keep(strata, scored)
    drawn = _bootstrap(values[scored, None], _keep(clusters, scored), within, draws, seed)
    low, high = _limits(drawn, level)[0].tolist()
    if np.ptp(values[scored]) == 0 and not np.isnan(low):  # else the last bit of a sum puts them beside the estimate
        low = high = float(drawn.estimate[0])
    return Interval(float(drawn.estimate[0]), low, high, n, unscored)


def paired_difference(
    treatment: Float[np.ndarray, "sample"],
    baseline: Float[np.ndarray, "sample"],
    clusters: Labels,
    strata: Labels | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of treatment − baseline over the samples scored in both, with a bootstrap interval over clusters.

    Raises:
        InterpError: if the two differ in length.
    """
    _check_lengths(treatment=treatment, baseline=baseline, clusters=clusters, strata=strata)
    return interval(treatment - baseline, clusters, strata, level, draws, seed)


def _at_least(
    null: Float[np.ndarray, "draw"], seen: float, alternative: Alternative, scale: float = 1.0
) -> Bool[np.ndarray, "draw"]:
    """Which values are at least as extreme as the one seen; those that differ by rounding count as equal."""
    slack = 1e-9 * max(scale, abs(seen))
    if alternative == "two-sided":
        return np.abs(null) >= abs(seen) - slack
    return null >= seen - slack if alternative == "greater" else null <= seen + slack


def control_p(
    treatment_effect: float,
    random_effects: Sequence[float] | Float[np.ndarray, "set"],
    alternative: Alternative = "two-sided",
) -> float:
    """Monte-Carlo p that the treatment is one more random set: (1 + #{random at least as extreme}) / (1 + n_sets).

    Two-sided, extreme is far from the mean of all sets, the treatment's among them: were it left out, the random sets
    would be closer to the centre than the treatment by construction, and p too small. With n sets p is at least
    1/(n + 1): 19 sets are needed for 0.05.

    Raises:
        InterpError: for no random set, or an effect that is not a number.
    """
    random = np.asarray(random_effects, dtype=float)
    if random.size == 0 or not np.isfinite(random).all() or not np.isfinite(treatment_effect):
        raise InterpError(
            f"control_p needs numbers and at least one random set; found {treatment_effect} against {random.tolist()}"
        )
    centre = np.append(random, treatment_effect).mean() if alternative == "two-sided" else 0.0
    extreme = _at_least(random - centre, treatment_effect - centre, alternative, float(np.abs(random).max()))
    return float((1 + extreme.sum()) / (1 + len(random)))


def paired_permutation_p(
    treatment: Float[np.ndarray, "sample"],
    control: Float[np.ndarray, "sample"],
    clusters: Labels,
    alternative: Alternative = "two-sided",
    flips: int = 10_000,
    seed: int = 0,
) -> float:
    """Sign-flip p that treatment and control do the same, for random sets that are spread over the prompts.

    The differences of a cluster change sign together. A baseline that both share cancels. Samples measured under one
    random set share that set's quirks: to speak of random sets at large, give the set's id as the cluster.

    Args:
        treatment: per sample, NaN where unscored.
        control: the same sample under its random set, NaN where unscored.
        clusters: of each sample; with few, p is at least about 2 / 2^clusters.
        alternative: `greater` if the treatment is expected above the control.
        flips: random sign patterns.
        seed: of the flips.

    Raises:
        InterpError: for different lengths, or if no sample is scored in both.
    """
    _check_lengths(treatment=treatment, control=control, clusters=clusters)
    difference = treatment - control
    scored = ~np.isnan(difference)
    if not scored.any():
        raise InterpError(f"no sample of {len(difference)} is scored in both arms; check the judge's answers")
    sums = np.bincount(_codes(_keep(clusters, scored)), weights=difference[scored])
    rng = np.random.default_rng(seed)
    blocks = [min(1000, flips - start) for start in range(0, flips, 1000)]
    null = np.concatenate([(2.0 * rng.integers(0, 2, (size, len(sums))) - 1.0) @ sums for size in blocks])
    extreme = _at_least(null, float(sums.sum()), alternative, float(np.abs(sums).sum()))
    return float((1 + extreme.sum()) / (1 + flips))


def holm(p_values: Sequence[float] | Float[np.ndarray, "test"]) -> Float[np.ndarray, "test"]:
    """Holm-adjusted p-values; NaN is no test and stays NaN."""
    adjusted = np.array(p_values, dtype=float)
    tested = ~np.isnan(adjusted)
    if tested.any():
        adjusted[tested] = multipletests(adjusted[tested], method="holm")[1]
    return adjusted


def bootstrap_mean_curves(
    values: Float[np.ndarray, "pair layer"], draws: int = 2000, seed: int = 0, clusters: Labels | None = None
) -> Curve:
    """The mean of every layer over pairs, with 95 % bootstrap intervals; all layers share the draws.

    Args:
        values: a pair with NaN at some layer is left out and counted.
        draws: bootstrap draws.
        seed: of the draws.
        clusters: of each pair; by default every pair is its own.

    Raises:
        InterpError: if no pair is complete.
    """
    drawn, scored = _curve_draws(values, clusters, draws, seed)
    return Curve(drawn.estimate, _limits(drawn, 0.95), int(scored.sum()), int((~scored).sum()))


def _curve_draws(
    values: Float[np.ndarray, "pair layer"], clusters: Labels | None, draws: int, seed: int
) -> tuple[_Draws, Bool[np.ndarray, "pair"]]:
    labels: Labels = range(len(values)) if clusters is None else clusters
    _check_lengths(values=values, clusters=labels)
    scored = np.logical_not(np.isnan(values).any(axis=1))
    if not scored.any():
        raise InterpError(f"none of {len(values)} pairs has a value at every layer; check the spans of the benchmark")
    return _bootstrap(values[scored], _keep(labels, scored), None, draws, seed), scored


def neighbour_test(
    values: Float[np.ndarray, "pair layer"], draws: int = 10_000, seed: int = 0, clusters: Labels | None = None
) -> Float[np.ndarray, "layer"]:
    """Holm-adjusted one-sided bootstrap p that a layer's mean exceeds the mean of its two neighbours; NaN at the ends.

    p = (1 + #{draws with v(l) − (v(l−1) + v(l+1))/2 ≤ 0}) / (1 + draws), on the means over pairs.
    """
    p = np.full(values.shape[1], np.nan)
    if values.shape[1] > 2:
        drawn, _ = _curve_draws(values[:, 1:-1] - (values[:, :-2] + values[:, 2:]) / 2, clusters, draws, seed)
        p[1:-1] = (1 + (drawn.means <= 0).sum(0)) / (1 + draws)
    return holm(p)


def _standard_ranks(values: Float[np.ndarray, "latent"]) -> Float[np.ndarray, "latent"]:
    """Ranks with mean 0 and variance 1; of a logarithm they are the same."""
    ranks = stats.rankdata(values)
    return (ranks - ranks.mean()) / (ranks.std() or 1.0)


def match_controls(
    target_indices: Sequence[int],
    frequency: Float[np.ndarray, "d_sae"],
    magnitude: Float[np.ndarray, "d_sae"],
    n_sets: int,
    seed: int,
    exclude: Collection[int] = (),
) -> list[tuple[int, ...]]:
    """Random control sets of the target's size, matched latent by latent on firing rate and magnitude.

    The j-th latent of a set is drawn from the 20 latents nearest to the j-th target (Euclidean distance of standardised
    ranks of firing rate and magnitude) that the set does not hold yet. Latents that never fire are no controls. Sets
    differ from one another as long as others can be found.

    Args:
        target_indices: the latents to match.
        frequency: share of prompts in which a latent fires, in [0, 1].
        magnitude: mean code of a latent where it fires.
        n_sets: how many sets.
        seed: of the draws.
        exclude: latents besides the targets that no set may hold, such as other cultures'.

    Raises:
        InterpError: if fewer latents are left than a set needs, or a latent that may be needed has no number.
    """
    targets = np.asarray(target_indices, dtype=np.int64)
    candidates = _candidates(target_indices, frequency > 0, exclude)
    used = np.concatenate([targets, candidates])
    if not np.isfinite(np.stack([frequency[used], magnitude[used]])).all():
        raise InterpError("firing rate and magnitude of targets and candidates must be numbers; found NaN or infinity")
    place = np.stack([_standard_ranks(frequency[used]), _standard_ranks(magnitude[used])], axis=1)
    distance = np.linalg.norm(place[: len(targets), None] - place[None, len(targets) :], axis=2)
    nearest = candidates[np.argsort(distance, axis=1, kind="stable")]
    rng = np.random.default_rng(seed)
    return _distinct(lambda: _matched_set(nearest, rng), n_sets)


def _candidates(
    targets: Sequence[int], possible: Bool[np.ndarray, "d_sae"], exclude: Collection[int]
) -> Int[np.ndarray, "candidate"]:
    """Latents that a control set may hold."""
    if not targets or not set(targets) <= set(range(len(possible))):
        raise InterpError(f"targets must be latents 0 to {len(possible) - 1}, at least one; found {list(targets)}")
    candidates = np.setdiff1d(np.flatnonzero(possible), [*targets, *exclude])
    if len(candidates) < len(targets):
        raise InterpError(
            f"control sets of {len(targets)} latents need as many to draw from; of {len(possible)} only "
            f"{len(candidates)} may be drawn (firing, no targets, not excluded); exclude fewer or use fewer neurons"
        )
    return candidates


def _distinct(draw: Callable[[], tuple[int, ...]], n_sets: int) -> list[tuple[int, ...]]:
    """Draw sets that differ from one another; repeats are allowed once `RETRIES` draws in a row found no other."""
    sets: list[tuple[int, ...]] = []
    seen: set[frozenset[int]] = set()
    for _ in range(n_sets):
        latents = draw()
        for _ in range(RETRIES):
            if frozenset(latents) not in seen:
                break
            latents = draw()
        seen.add(frozenset(latents))
        sets.append(latents)
    return sets


def _matched_set(nearest: Int[np.ndarray, "target candidate"], rng: np.random.Generator) -> tuple[int, ...]:
    """One control per target, drawn in random order so that no target is favoured."""
    controls = np.full(len(nearest), -1)
    for j in rng.permutation(len(nearest)):
        free = nearest[j][~np.isin(nearest[j], controls)]
        controls[j] = rng.choice(free[:POOL])
    return tuple(controls.tolist())
