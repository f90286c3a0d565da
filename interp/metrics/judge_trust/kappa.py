"""Agreement beyond chance, with intervals: Cohen's and Fleiss' κ, computed by statsmodels."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Int
from scipy.stats import norm
from scipy.stats import t as student
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from interp.types import Interval

DRAWS = 2000


def cohen(
    one: Sequence[str],
    other: Sequence[str],
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """Cohen's κ = (p_o − p_e)/(1 − p_e) of two raters of the same items (Cohen 1960), bootstrapped over items.

    Args:
        one: labels; '' where there is none, and then the item is unscored.
        other: the same of the other rater.
        clusters: items that are not independent are resampled together; each its own if None.
        seed: of the bootstrap.
    """
    kept = [n for n, pair in enumerate(zip(one, other, strict=True)) if all(pair)]
    names = sorted({r[n] for r in (one, other) for n in kept})
    at, size = {name: code for code, name in enumerate(names)}, len(names)
    cells = np.array([at[one[n]] * size + at[other[n]] for n in kept], dtype=np.int64)

    def kappa(weights: Int[np.ndarray, "item"]) -> float:
        table = np.bincount(cells, weights, size * size).reshape(size, size)
        if table.sum(1) @ table.sum(0) == table.sum() ** 2:
            return np.nan  # p_e is 1: both gave one label alone
        return float(np.asarray(cohens_kappa(table, return_results=False)))

    return _bootstrapped(kappa, kept, range(len(one)) if clusters is None else clusters, seed, draws)


def fleiss(
    ratings: Sequence[Sequence[str]],
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """Fleiss' κ among raters (Fleiss 1971), bootstrapped over items.

    κ needs as many ratings of every item: items with another number than the commonest (of equals the largest) are
    unscored. NaN if that number is one.

    Args:
        ratings: by item, the labels that it got; '' is none.
        clusters: as `cohen`, like seed and draws.
    """
    by_item = [Counter(filter(None, row)) for row in ratings]
    number = ratings_each(ratings)
    kept = [n for n, counts in enumerate(by_item) if counts.total() == number > 1]
    names = sorted({label for n in kept for label in by_item[n]})
    counts = np.array([[by_item[n][name] for name in names] for n in kept], dtype=np.int64).reshape(
        len(kept), len(names)
    )

    def kappa(weights: Int[np.ndarray, "item"]) -> float:
        table = np.repeat(counts, weights, axis=0)
        return float(fleiss_kappa(table)) if np.count_nonzero(table.sum(0)) > 1 else np.nan

    return _bootstrapped(kappa, kept, range(len(ratings)) if clusters is None else clusters, seed, draws)


def ratings_each(ratings: Sequence[Sequence[str]]) -> int:
    """The commonest number of ratings of an item, of equals the largest; 0 without any."""
    sizes = Counter(sum(map(bool, row)) for row in ratings)
    return max(sizes, key=lambda size: (sizes[size], size), default=0)


def _bootstrapped(
    kappa: Callable[[Int[np.ndarray, "item"]], float],
    kept: Sequence[int],
    clusters: Sequence[Hashable],
    seed: int,
    draws: int,
) -> Interval:
    """κ of the kept items, with an expanded percentile interval over clusters of them, as `stats.interval` has it.

    κ is undefined in a resample that holds one label alone; such a resample counts as −1 for the lower limit and as 1
    for the upper one.
    """
    n, unscored = len(kept), len(clusters) - len(kept)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0, unscored)
    codes = {label: code for code, label in enumerate(dict.fromkeys(clusters[i] for i in kept))}
    of, size = np.array([codes[clusters[i]] for i in kept]), len(codes)
    estimate = kappa(np.ones(n, dtype=np.int64))
    if size < 2 or np.isnan(estimate):
        return Interval(estimate, np.nan, np.nan, n, unscored)
    weights = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=draws)
    drawn = np.array([kappa(row[of]) for row in weights])
    tail = norm.cdf(student.ppf(0.025, size - 1) * np.sqrt(size / (size - 1)))
    low, high = (np.quantile(np.nan_to_num(drawn, nan=worst), q) for worst, q in ((-1.0, tail), (1.0, 1 - tail)))
    return Interval(estimate, float(low), float(high), n, unscored)
