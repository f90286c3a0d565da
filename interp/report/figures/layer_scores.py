"""Figure 6: attention contrast and causal effect of every layer, one above the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from interp.report.style import CYCLE, GREY, HAIR, INK, MUTED, canvas, headed, styled
from interp.types import Interval, LayerScores

ALPHA = 0.05
"""Level of the neighbour test."""
_DASHES = ("-", "--", ":", "-.")
_MARKS = ("o", "s", "^", "D", "v", "P")


@styled
def layers(scores: LayerScores) -> Figure:
    """ΔCA with its interval and neighbour test on top; below, what an interchange at one layer does."""
    parts = [(3.0, _contrast)]
    parts += [(1.7, _variants)] if scores.variants else []
    parts += [(2.8, _causal)] if scores.causal else []
    parts += [(2.4, _causal_images)] if scores.causal_images else []
    ratios = [height for height, _ in parts]
    figure = canvas(height=0.72 * sum(ratios) + 0.25 * len(parts) + 0.4)
    axes = figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for at, (_, draw) in zip(axes, parts, strict=True):
        draw(at, scores)
        at.axvline(scores.peak, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes[-1].set_xlabel("layer of the text encoder (from 0)")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=24, min_n_ticks=2))
    axes[-1].set_xlim(-0.4, len(scores.delta_ca) - 0.6)
    return figure


def _contrast(at: Axes, scores: LayerScores) -> None:
    """ΔCA, its band, a triangle over each layer that exceeds its neighbours, and the peak's name."""
    x = np.arange(len(scores.delta_ca))
    at.axhline(0, color=HAIR, linewidth=0.8, zorder=0)
    at.fill_between(x, scores.ci[:, 0], scores.ci[:, 1], color=CYCLE[0], alpha=0.2, linewidth=0, label="95 % interval")
    at.plot(x, scores.delta_ca, color=CYCLE[0], marker="o", label="ΔCA")
    passed = np.flatnonzero(np.nan_to_num(scores.neighbour_p, nan=1.0) <= ALPHA)
    span = float(np.nanmax(scores.ci) - min(0.0, float(np.nanmin(scores.ci)))) or 1.0
    if passed.size:
        over = scores.ci[passed, 1] + 0.07 * span
        at.plot(passed, over, linestyle="none", marker="v", color=INK, label=f"exceeds its neighbours (p ≤ {ALPHA})")
    at.set_ylim(top=float(np.nanmax(scores.ci)) + 0.22 * span)
    near_end = scores.peak > 0.8 * len(x)
    at.annotate(
        f"peak: layer {scores.peak}",
        (scores.peak, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if near_end else 4, 0),
        textcoords="offset points",
        ha="right" if near_end else "left",
        va="top",
    )
    at.set_ylabel("ΔCA")
    headed(at, f"Attention contrast, {scores.direction.replace('→', ' → ')}", 3)


def _variants(at: Axes, scores: LayerScores) -> None:
    """The other baselines, each as a share of its own largest value: they differ in unit, not in question."""
    at.axhline(0, color=HAIR, linewidth=0.8, zorder=0)
    for i, (name, curve) in enumerate(scores.variants.items()):
        scale = float(np.nanmax(np.abs(curve))) or 1.0
        style: dict[str, Any] = {"color": MUTED if i == 0 else GREY, "linestyle": _DASHES[i % 4], "linewidth": 1.2}
        at.plot(curve / scale, marker=_MARKS[i % 6], markersize=3, label=name, **style)
    at.set_ylabel("share of\nlargest")
    headed(at, "The same with other baselines", 4)


def _causal(at: Axes, scores: LayerScores) -> None:
    for i, (arm, curve) in enumerate(scores.causal.items()):
        at.plot(curve, label=arm, **_arm(i))
    at.axhline(0, color=HAIR, linewidth=0.8, zorder=0)
    low, high = _limits(list(scores.causal.values()))
    at.set_ylim(min(-0.05, low - 0.05), max(1.05, high + 0.05))
    at.set_ylabel("share of culture\nshift removed")
    headed(at, "Causal scan on the encoder: interchange at one layer", 4)


def _causal_images(at: Axes, scores: LayerScores) -> None:
    arms = list(scores.causal)
    for extra, (arm, by_layer) in enumerate(scores.causal_images.items()):
        index = arms.index(arm) if arm in arms else len(arms) + extra
        offset = 0.09 * (extra - (len(scores.causal_images) - 1) / 2)
        _points(at, by_layer, offset, index, arm)
    at.set_ylim(-4, 104)
    at.set_ylabel("CultureVQA (%)")
    named_above = set(scores.causal_images) <= set(arms)
    headed(at, "Causal scan on pictures: culture left after the interchange", 0 if named_above else 4)


def _points(at: Axes, by_layer: Mapping[int, Interval], offset: float, index: int, arm: str) -> None:
    x = np.array(sorted(by_layer))
    values = [by_layer[int(layer)] for layer in x]
    y = np.array([v.estimate for v in values])
    whiskers = np.array([[v.estimate - v.low for v in values], [v.high - v.estimate for v in values]]).clip(min=0)
    style: dict[str, Any] = {**_arm(index), "linewidth": 0.8}
    at.errorbar(x + offset, y, yerr=whiskers, elinewidth=1.2, capsize=2, label=arm, **style)


def _arm(index: int) -> dict[str, Any]:
    """Colour, dash and marker of an arm, the same in both causal panels."""
    return {"color": CYCLE[index % 6], "linestyle": _DASHES[index // 2 % 4], "marker": _MARKS[index % 6]}


def _limits(curves: Sequence[Float[np.ndarray, " layer"]]) -> tuple[float, float]:
    return float(np.nanmin(np.concatenate(curves))), float(np.nanmax(np.concatenate(curves)))
