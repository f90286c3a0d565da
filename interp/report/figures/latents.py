"""Figures 7 and 16: which latents answer to a culture, and where the ranking was cut; the SAE's density."""

import textwrap
from collections.abc import Callable, Sequence
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.errors import InterpError
from interp.latents.curves import cut, recorded_ranking
from interp.report.style import BLUE, GREY, HAIR, INK, MUTED, VERMILION, WIDTH, canvas, styled, tint
from interp.types import Density, Neurons

NAMED = 3
"""How many of a culture's strongest latents are named in the plot."""
FIRST = 6
"""Cultures shown when none are asked for, as in the paper."""
TAIL = 40
"""Ranks shown of a curve of sorted scores."""


@styled
def wfs(neurons: Neurons, cultures: Sequence[str] | None = None) -> Figure:
    """Weighted frequency score of every latent, a panel per culture: up with the modifier, down from the noun alone.

    Raises:
        InterpError: a culture has no neurons.
    """
    label = "WFS (above: culture-style prompts, below: noun-only)"
    return _panels(neurons, cultures, 1.25, _stems, "latent", label)


def _panels(
    neurons: Neurons,
    cultures: Sequence[str] | None,
    height: float,
    draw: Callable[[Axes, Neurons, str], None],
    across: str,
    up: str,
) -> Figure:
    """A panel per culture, three in a row; the first six cultures when none are asked for."""
    shown = list(neurons.cultures[:FIRST] if cultures is None else cultures)
    unknown = [c for c in shown if c not in neurons.cultures]
    if unknown or not shown:
        raise InterpError(f"no neurons for {unknown or 'an empty list'}; known cultures: {', '.join(neurons.cultures)}")
    rows = ceil(len(shown) / 3)
    figure = canvas(WIDTH, height * rows + 0.5)
    axes = figure.subplots(rows, 3, sharex=True, squeeze=False).ravel().tolist()
    for spare in axes[len(shown) :]:
        spare.set_axis_off()
    for at, culture in zip(axes, shown, strict=False):
        draw(at, neurons, culture)
    for at in axes[: len(shown)][-3:]:
        at.set_xlabel(across)
        at.tick_params(labelbottom=True)
    # on as many lines as the height asks for
    figure.supylabel(textwrap.fill(up, 16 * rows), fontsize=9)
    return figure


def _stems(at: Axes, neurons: Neurons, culture: str) -> None:
    row = neurons.cultures.index(culture)
    up, down = neurons.wfs[row], neurons.wfs_noun[row]
    kept = _kept(neurons, culture)
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


def _kept(neurons: Neurons, culture: str) -> np.ndarray:
    return np.array(neurons.sets[culture].indices if culture in neurons.sets else (), dtype=int)


def _name(at: Axes, kept: np.ndarray, height: np.ndarray) -> None:
    """Write the numbers of the strongest latents over their stems, leaving out those that would overlap."""
    named: list[int] = []
    for latent in kept[np.argsort(-height[kept])][:NAMED].tolist():
        if all(abs(latent - other) > 0.16 * len(height) for other in named):
            named.append(latent)
            side = "right" if latent > 0.9 * len(height) else "left" if latent < 0.1 * len(height) else "center"
            at.annotate(str(latent), (latent, height[latent]), xytext=(0, 3), textcoords="offset points",
                        ha=side, fontsize=7.5, color=INK)  # fmt: skip


@styled
def elbow(neurons: Neurons, cultures: Sequence[str] | None = None) -> Figure:
    """The sorted scores, a panel per culture, and the cut; hollow before it: taken out by the noun-side filter.

    Raises:
        InterpError: a culture has no neurons.
    """
    difference = dict(neurons.settings.get("rule", {})).get("contrast") == "difference"
    label = "WFS, culture-style less noun-only" if difference else "WFS on culture-style prompts"
    return _panels(neurons, cultures, 1.2, _ranked, "rank", label)


def _ranked(at: Axes, neurons: Neurons, culture: str) -> None:
    ranked, k = recorded_ranking(neurons, culture), cut(neurons, culture)
    order, score = ranked.latents, ranked.scores
    rank = np.arange(1, len(order) + 1)
    kept = np.isin(order, _kept(neurons, culture))
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
    """How many latents of the SAE fire how often."""
    figure = canvas(height=2.3)
    at = figure.subplots()
    at.stairs(histogram.counts, histogram.edges, fill=True, color=tint(BLUE))
    at.set_xlabel("share of tokens on which a latent fires")
    at.xaxis.set_major_formatter(lambda value, _: "10" + f"{value:g}".translate(RAISED))
    at.set_ylabel("latents")
    at.set_title(f"Firing rate of the latents that fire; {100 * dead_fraction:.1f} % never do")
    at.grid(axis="y", color=HAIR)
    return figure
