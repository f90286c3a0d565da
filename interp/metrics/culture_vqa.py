"""CultureVQA (section 3 of the paper): how often a judge names the culture that a picture was made for.

The judge chooses among the cultures and Unrecognisable from the picture alone. Its own errors are known from pictures
whose culture is known: `confusion` counts them, `corrected` takes them out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics.base import Direction, Scores
from interp.metrics.judges.base import Judge, OneByOne, hear, hits
from interp.types import Interval, Sample

PRIOR = 0.5
"""Pictures added to every row of a confusion matrix, spread over the answers: what was not seen may still happen."""
DRAWS = 400
WORST = 50.0
"""Condition number of a confusion matrix from which on nothing can be corrected: it hardly tells the labels apart."""


@dataclass(frozen=True)
class CultureVqa:
    """100 where the judge names the sample's culture, 0 where it names another label; NaN where it gives no answer."""

    judge: Judge
    errors: Float[np.ndarray, "culture answer"] | None = None
    """The judge's answers on pictures whose culture is known, by its labels; None if that was not measured."""
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

    def each(self, pictures: Sequence[Picture], samples: Sequence[Sample]) -> Iterator[tuple[Sequence[int], Scores]]:
        """Ask the judge; its answers as they come, with the positions of their pictures."""
        for rows, verdicts in hear(self.judge, pictures, [s.id for s in samples]):
            truths = [samples[at].culture for at in rows]
            yield rows, Scores(hits(verdicts.culture, truths), verdicts.culture)

    def measure(self, pictures: Sequence[Picture], samples: Sequence[Sample]) -> Scores:
        """Ask the judge."""
        said = self.judge(pictures, [s.id for s in samples]).culture
        return Scores(hits(said, [s.culture for s in samples]), tuple(said))


def confusion(
    truths: Sequence[str], answers: Sequence[str], labels: Sequence[str]
) -> Float[np.ndarray, "culture answer"]:
    """How often each label was given to each truth.

    Args:
        truths: what each picture shows.
        answers: what the judge said; '' counts nowhere.
        labels: rows and columns.

    Raises:
        InterpError: a truth or an answer is none of the labels.
    """
    at = {label: n for n, label in enumerate(labels)}
    if unknown := sorted(({*truths} | {*answers}) - {*at, ""}):
        raise InterpError(f"{unknown[0]!r} is no label; known: {', '.join(labels)}")
    out = np.zeros((len(labels), len(labels)))
    for truth, answer in zip(truths, answers, strict=True):
        if answer:
            out[at[truth], at[answer]] += 1
    return out


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
    """The share of pictures that show their culture, given how the judge errs.

    The answers to one culture's pictures are a mixture q = πᵀC of the rows of the judge's confusion matrix C, so
    π = C⁻ᵀq, and the corrected accuracy is its entry for that culture (the matrix method; Rogan and Gladen 1978 for two
    labels). It is unbiased, where the likeliest mixture is drawn away from 0 and 100; of the numbers that are shown
    what lies outside 0 to 100 is cut. Intervals bootstrap clusters of samples and redraw C.

    Args:
        truths: the culture that each picture was made for.
        answers: '' unscored.
        labels: of rows and columns of `judge`.
        judge: counts on pictures whose culture is known; a label without any is taken as always recognised.
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
    said, own = np.array(answers), np.array(truths)
    groups = np.array(list(clusters) if clusters is not None else [str(i) for i in range(len(said))])
    per_culture, draws, weights = {}, [], []
    for culture in dict.fromkeys(truths):
        here = (own == culture) & (said != "")
        unscored = int(((own == culture) & (said == "")).sum())
        at = list(labels).index(culture)
        counts = _by_cluster(said[here], groups[here], labels)
        shares, redrawn = _shares(counts, judge, at, rng)
        n = int(here.sum())
        per_culture[culture] = _interval(shares, redrawn, n, unscored)
        if n:
            draws.append(np.append(redrawn, shares))
            weights.append(n)
    if not draws:
        return Corrected(Interval(np.nan, np.nan, np.nan, 0, len(said)), per_culture)
    means = np.average(draws, axis=0, weights=weights)
    return Corrected(_interval(means[-1], means[:-1], sum(weights), int((said == "").sum())), per_culture)


def _by_cluster(said: np.ndarray, groups: np.ndarray, labels: Sequence[str]) -> Float[np.ndarray, "cluster answer"]:
    """Answers of one culture's pictures, counted by cluster."""
    names = list(dict.fromkeys(groups.tolist()))
    counts = np.zeros((len(names), len(labels)))
    for answer, group in zip(said.tolist(), groups.tolist(), strict=True):
        counts[names.index(group), list(labels).index(answer)] += 1
    return counts


def _shares(
    counts: Float[np.ndarray, "cluster answer"], judge: Float[np.ndarray, "culture answer"], at: int,
    rng: np.random.Generator,
) -> tuple[float, Float[np.ndarray, "draw"]]:  # fmt: skip
    """Corrected share of one culture, and its bootstrap distribution."""
    if not len(counts):
        return np.nan, np.full(DRAWS, np.nan)
    some = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=DRAWS) @ counts
    rows = np.stack([_redrawn(judge, rng) for _ in range(DRAWS)])
    all_counts = np.concatenate([counts.sum(0)[None], some])
    all_rows = np.concatenate([_rates(judge)[None], rows])
    shares = 100 * mixture(all_counts, all_rows)[:, at]
    return float(shares[0]), shares[1:]


def _rates(judge: Float[np.ndarray, "culture answer"]) -> Float[np.ndarray, "culture answer"]:
    """Counts as conditional probabilities; a label that was never shown is always recognised."""
    known = judge.sum(1, keepdims=True)
    smoothed = (judge + PRIOR / judge.shape[1]) / (known + PRIOR)
    sure = np.eye(len(judge)) * (1 - PRIOR) + PRIOR / judge.shape[1]
    return np.where(known > 0, smoothed, sure / sure.sum(1, keepdims=True))


def _redrawn(
    judge: Float[np.ndarray, "culture answer"], rng: np.random.Generator
) -> Float[np.ndarray, "culture answer"]:
    """The confusion matrix as another sample of real pictures might have shown it."""
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


def _interval(estimate: float, draws: Float[np.ndarray, "draw"], n: int, unscored: int) -> Interval:
    if np.isnan(estimate):
        return Interval(np.nan, np.nan, np.nan, n, unscored)
    low, high = np.clip(np.quantile(draws, (0.025, 0.975)), 0, 100)
    return Interval(float(np.clip(estimate, 0, 100)), float(low), float(high), n, unscored)
