"""Figures 7 and 16: which latents answer to a culture, and where the ranking was cut; the dictionary's density."""

import textwrap
from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.errors import InterpError
from interp.report.results import Density, cut, ranking
from interp.report.style import BLUE, GREY, HAIR, INK, MUTED, VERMILION, WIDTH, canvas, styled, tint
from interp.types import Neurons

NAMED = 3
"""How many of a culture's strongest latents are named in the plot."""
FIRST = 6
"""Cultures shown when none are asked for, as in the paper."""
TAIL = 40
"""Ranks shown of a curve of sorted scores."""


def _chosen(neurons: Neurons, cultures: Sequence[str] | None) -> list[str]:
    """The cultures asked for; the first six when none are.

    Raises:
        InterpError: one of them has no neurons.
    """
    asked = list(cultures) if cultures is not None else list(neurons.cultures)[:FIRST]
    unknown = [c for c in asked if c not in neurons.cultures]
    if unknown or not asked:
        raise InterpError(f"no neurons for {unknown or 'an empty list'}; known cultures: {', '.join(neurons.cultures)}")
    return asked


def _panels(count: int, height: float, sharex: bool) -> tuple[Figure, list[Axes]]:
    rows = ceil(count / 3)
    figure = canvas(WIDTH, height * rows + 0.5)
    axes = figure.subplots(rows, 3, sharex=sharex, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


@styled
def wfs(neurons: Neurons, cultures: Sequence[str] | None = None) -> Figure:
    """Weighted frequency score of every latent, a panel a culture: up with the modifier, down from the noun alone."""
    names = _chosen(neurons, cultures)
    figure, axes = _panels(len(names), 1.25, sharex=True)
    for at, name in zip(axes, names, strict=True):
        _stems(at, neurons, name)
    for at in axes[-3:]:
        at.set_xlabel("latent")
        at.tick_params(labelbottom=True)
    figure.supylabel(_fitting("WFS (above: culture-style prompts, below: noun-only)", len(names)), fontsize=9)
    return figure


def _stems(at: Axes, neurons: Neurons, culture: str) -> None:
    row = neurons.cultures.index(culture)
    up, down = neurons.wfs[row], neurons.wfs_noun[row]
    kept = np.array(neurons.sets[culture].indices if culture in neurons.sets else (), dtype=int)
    rest = np.setdiff1d(np.flatnonzero((up > 0) | (down > 0)), kept)
    at.vlines(rest, -down[rest], up[rest], color=GREY, linewidth=0.6, rasterized=True)
    at.vlines(kept, -down[kept], up[kept], color=BLUE, linewidth=1.2)
    at.plot(kept, up[kept], linestyle="none", marker="o", markersize=3, color=BLUE)
    at.axhline(0, color=MUTED, linewidth=0.6)
    _name(at, kept, up)
    top, bottom = float(up.max(initial=0.0)) or 1.0, float(down.max(initial=0.0))
    at.set_ylim(-max(1.1 * bottom, 0.12 * top), 1.3 * top)
    at.set_xlim(-0.02 * len(up), 1.02 * len(up))
    at.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    at.set_title(f"{culture} ({len(kept)})", fontsize=9)


def _name(at: Axes, kept: np.ndarray, height: np.ndarray) -> None:
    """Write the numbers of the strongest latents over their stems, leaving out those that would overlap."""
    taken: list[int] = []
    for latent in kept[np.argsort(-height[kept])][:NAMED].tolist():
        if all(abs(latent - other) > 0.16 * len(height) for other in taken):
            taken.append(latent)
            side = "right" if latent > 0.9 * len(height) else "left" if latent < 0.1 * len(height) else "center"
            at.annotate(str(latent), (latent, height[latent]), xytext=(0, 3), textcoords="offset points",
                        ha=side, fontsize=7.5, color=INK)  # fmt: skip


@styled
def elbow(neurons: Neurons, cultures: Sequence[str] | None = None) -> Figure:
    """The sorted scores, a panel a culture, and the cut; hollow before it: taken out by the noun-side filter."""
    names = _chosen(neurons, cultures)
    figure, axes = _panels(len(names), 1.2, sharex=True)
    for at, name in zip(axes, names, strict=True):
        _ranked(at, neurons, name)
    for at in axes[-3:]:
        at.set_xlabel("rank")
        at.tick_params(labelbottom=True)
    figure.supylabel(_fitting(_score_name(neurons), len(names)), fontsize=9)
    return figure


def _fitting(label: str, panels: int) -> str:
    """A label beside so many panels in rows of three, on as many lines as their height asks for."""
    return textwrap.fill(label, 16 * -(-panels // 3))


def _score_name(neurons: Neurons) -> str:
    difference = dict(neurons.settings.get("rule", {})).get("contrast") == "difference"
    return "WFS, culture-style less noun-only" if difference else "WFS on culture-style prompts"


def _ranked(at: Axes, neurons: Neurons, culture: str) -> None:
    order, score = ranking(neurons, culture)
    k, rank = cut(neurons, culture), np.arange(1, len(order) + 1)
    kept = np.isin(order, neurons.sets[culture].indices if culture in neurons.sets else ())
    dropped = ~kept & (rank <= k)
    at.plot(rank[:TAIL], score[:TAIL], color=GREY, linewidth=1.0, zorder=1)
    at.plot(rank[kept], score[kept], linestyle="none", marker="o", markersize=3.5, color=BLUE)
    at.plot(rank[dropped], score[dropped], linestyle="none", marker="o", markersize=3.5, mfc="white", mec=BLUE)
    at.axvline(k + 0.5, color=VERMILION, linestyle="--", linewidth=1.0)
    at.set_xlim(0, TAIL + 1)
    at.set_ylim(0, 1.1 * (float(score.max(initial=0.0)) or 1.0))
    filtered = f", {int(dropped.sum())} filtered" if dropped.any() else ""
    at.set_title(f"{culture}: K = {k}{filtered}", fontsize=9)


RAISED = str.maketrans("-0123456789.−", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹·⁻")
"""Exponents, without a formula's dollar signs."""


@styled
def density(histogram: Density, dead_fraction: float) -> Figure:
    """How many latents of the dictionary fire how often."""
    figure = canvas(height=2.3)
    at = figure.subplots()
    at.stairs(histogram.counts, histogram.edges, fill=True, color=tint(BLUE))
    at.set_xlabel("share of tokens on which a latent fires")
    at.xaxis.set_major_formatter(lambda value, _: "10" + f"{value:g}".translate(RAISED))
    at.set_ylabel("latents")
    at.set_title(f"Firing rate of the latents that fire; {100 * dead_fraction:.1f} % never do")
    at.grid(axis="y", color=HAIR)
    return figure
