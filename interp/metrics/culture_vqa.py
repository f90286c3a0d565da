"""CultureVQA (section 3 of the paper): how often a judge names the culture that an image was made for.

The judge chooses among the cultures and Unrecognisable from the image alone. Its own errors are known from images
whose culture is known: `confusion` counts them, `corrected` takes them out.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.grouping import group
from interp.metrics.base import Direction, Scores
from interp.metrics.judges.base import Judge, OneByOne, Verdicts, hear, hits
from interp.types import Interval, Sample

PRIOR = 0.5
"""Images added to every row of a confusion matrix, spread over the answers: what was not seen may still happen."""
DRAWS = 400
WORST = 50.0
"""Condition number of a confusion matrix from which on nothing can be corrected: it hardly tells the labels apart."""


@dataclass(frozen=True)
class CultureVqa:
    """100 where the judge names the sample's culture, 0 where it names another label; NaN where it gives no answer."""

    judge: Judge
    errors: Float[np.ndarray, "culture answer"] | None = None
    """The judge's answers on images whose culture is known, by its labels; None if that was not measured."""
    unit: str = "percent"
    direction: Direction = "higher"
    batch: int = 32
    grouped: bool = False

    @property
    def name(self) -> str:
        """`culture_vqa:` and the judge's name."""
        return f"culture_vqa:{self.judge.name}"

    @property
    def digest(self) -> str:
        """Of the judge; empty where it has none, and then nothing is kept."""
        return getattr(self.judge, "digest", None) or ""

    def key(self, sample: Sample) -> str:
        """The sample, whose name turns the options, and its culture."""
        return f"{sample.id}/{sample.culture}"

    @property
    def paid(self) -> bool:
        """Whether the judge answers one by one, as one behind a server does."""
        return isinstance(self.judge, OneByOne)

    def each(self, images: Sequence[Picture], samples: Sequence[Sample]) -> Iterator[tuple[Sequence[int], Scores]]:
        """Ask the judge; its answers as they come, with the positions of their images."""
        for rows, verdicts in hear(self.judge, images, [s.id for s in samples]):
            yield rows, _scores(verdicts, [samples[at] for at in rows])

    def measure(self, images: Sequence[Picture], samples: Sequence[Sample]) -> Scores:
        """Ask the judge."""
        return _scores(self.judge(images, [s.id for s in samples]), samples)


def _scores(verdicts: Verdicts, samples: Sequence[Sample]) -> Scores:
    return Scores(hits(verdicts.culture, [s.culture for s in samples]), tuple(verdicts.culture))


def confusion(
    truths: Sequence[str], answers: Sequence[str], labels: Sequence[str]
) -> Float[np.ndarray, "culture answer"]:
    """How often each label was given to each truth; '' counts nowhere.

    Raises:
        InterpError: a truth or an answer is none of the labels.
    """
    at = {label: n for n, label in enumerate(labels)}
    if unknown := sorted(({*truths} | {*answers}) - {*at, ""}):
        raise InterpError(f"{unknown[0]!r} is no label; known: {', '.join(labels)}")
    counts = np.zeros((len(labels), len(labels)))
    cells = [(at[truth], at[answer]) for truth, answer in zip(truths, answers, strict=True) if answer]
    np.add.at(counts, tuple(np.array(cells, dtype=int).reshape(-1, 2).T), 1)
    return counts


@dataclass(frozen=True)
class Corrected:
    """Accuracies without the judge's own errors."""

    overall: Interval
    """Mean over samples, percent."""
    per_culture: dict[str, Interval]


def corrected(
    truths: Sequence[str],
    answers: Sequence[str],
    labels: Sequence[str],
    judge: Float[np.ndarray, "culture answer"],
    clusters: Sequence[str] | None = None,
    seed: int = 0,
) -> Corrected:
    """The share of images that show their culture, given how the judge errs.

    The answers to one culture's images are a mixture q = πᵀC of the rows of the judge's confusion matrix C, so
    π = C⁻ᵀq, and the corrected accuracy is its entry for that culture (the matrix method; Rogan and Gladen 1978 for two
    labels). It is unbiased, where the likeliest mixture is drawn away from 0 and 100; of the numbers that are shown
    what lies outside 0 to 100 is cut. Intervals bootstrap clusters of samples and redraw C.

    Args:
        truths: the culture that each image was made for.
        answers: '' unscored.
        labels: of rows and columns of `judge`.
        judge: counts on images whose culture is known; a label without any is taken as always recognised.
        clusters: samples that are not independent; each its own if None.
        seed: of the bootstrap.

    Raises:
        InterpError: a truth or an answer is none of the labels, or the judge hardly tells the labels apart.
    """
    confusion(truths, answers, labels)
    if (number := float(np.linalg.cond(_rates(judge)))) > WORST:
        raise InterpError(
            f"this judge's confusion matrix has the condition number {number:.0f}; above {WORST:.0f} it hardly tells "
            "the labels apart, and nothing can be corrected: report the plain accuracy"
        )
    rng = np.random.default_rng(seed)
    groups = range(len(answers)) if clusters is None else clusters
    per_culture, shares, weights = {}, [], []
    for culture, places in group(range(len(truths)), lambda i: truths[i]).items():
        scored = [i for i in places if answers[i]]
        counts = _by_cluster([answers[i] for i in scored], [groups[i] for i in scored], labels)
        share = _share(counts, judge, list(labels).index(culture), rng)
        per_culture[culture] = _interval(share, len(scored), len(places) - len(scored))
        if scored:
            shares.append(share)
            weights.append(len(scored))
    mean = np.average(shares, axis=0, weights=weights) if shares else np.full(1, np.nan)
    return Corrected(_interval(mean, sum(weights), len(answers) - sum(weights)), per_culture)


def _by_cluster(
    answers: Sequence[str], clusters: Sequence[Hashable], labels: Sequence[str]
) -> Float[np.ndarray, "cluster answer"]:
    """Answers to one culture's images, counted by cluster."""
    rows = {name: n for n, name in enumerate(dict.fromkeys(clusters))}
    columns = {label: n for n, label in enumerate(labels)}
    counts = np.zeros((len(rows), len(columns)))
    np.add.at(counts, ([rows[c] for c in clusters], [columns[a] for a in answers]), 1)
    return counts


def _share(
    counts: Float[np.ndarray, "cluster answer"], judge: Float[np.ndarray, "culture answer"], at: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "draw"]:  # fmt: skip
    """Corrected share of one culture, in percent: the estimate, then its bootstrap distribution."""
    if not len(counts):
        return np.full(1, np.nan)
    resampled = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=DRAWS) @ counts
    rates = [_rates(judge), *(_redrawn(judge, rng) for _ in range(DRAWS))]
    return 100 * mixture(np.concatenate([counts.sum(0)[None], resampled]), np.stack(rates))[:, at]


def _rates(judge: Float[np.ndarray, "culture answer"]) -> Float[np.ndarray, "culture answer"]:
    """Counts as conditional probabilities; a label that was never shown is always recognised."""
    known = judge.sum(1, keepdims=True)
    smoothed = (judge + PRIOR / judge.shape[1]) / (known + PRIOR)
    sure = np.eye(len(judge)) * (1 - PRIOR) + PRIOR / judge.shape[1]
    return np.where(known > 0, smoothed, sure / sure.sum(1, keepdims=True))


def _redrawn(
    judge: Float[np.ndarray, "culture answer"], rng: np.random.Generator
) -> Float[np.ndarray, "culture answer"]:
    """The confusion matrix as another sample of real images might have shown it."""
    rates = _rates(judge)
    drawn = [rng.multinomial(int(n), p) if n else row for n, p, row in zip(judge.sum(1), rates, judge, strict=True)]
    return _rates(np.array(drawn, dtype=float))


def mixture(
    counts: Float[np.ndarray, "draw answer"], rates: Float[np.ndarray, "draw culture answer"]
) -> Float[np.ndarray, "draw culture"]:
    """The mixture of the rows of `rates` that gives `counts`, for every draw; entries may be negative."""
    observed = counts / counts.sum(1, keepdims=True)
    # the pseudo-inverse, for a redrawn matrix may be singular
    return (np.linalg.pinv(rates.transpose(0, 2, 1)) @ observed[..., None])[..., 0]


def _interval(shares: Float[np.ndarray, "draw"], n: int, unscored: int) -> Interval:
    if np.isnan(shares[0]):
        return Interval(np.nan, np.nan, np.nan, n, unscored)
    low, high = np.clip(np.quantile(shares[1:], (0.025, 0.975)), 0, 100)
    return Interval(float(np.clip(shares[0], 0, 100)), float(low), float(high), n, unscored)
