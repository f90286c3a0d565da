"""Figures 4, 11 and 13, and Tables 1, 2, 3 and 5 as figures: what an intervention did, with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from interp.report.style import (
    BLUE,
    GREEN,
    HAIR,
    INK,
    MUTED,
    WIDTH,
    canvas,
    colour,
    headed,
    marker,
    styled,
    tint,
)
from interp.report.text import interval
from interp.types import Effect, Interval, Sweep

_NAMES = {"with_modifier": "with modifier", "noun_only": "noun only"}
CULTURE_VQA = "CultureVQA (%)"
LEGEND = 44
"""Letters on a line of the legend above the panel by culture."""


@styled
def gap(values: Mapping[str, Interval], per_culture: Mapping[str, Mapping[str, Interval]]) -> Figure:
    """CultureVQA with and without the culture-style modifier, overall and by culture."""
    return _arms_figure(values, per_culture, {}, "The culture gap")


@styled
def effect(value: Effect, title: str | None = None) -> Figure:
    """CultureVQA of every arm, overall, by culture, and by the shift of the conditioning."""
    named = {"treatment": next((arm for arm in value.accuracy if arm not in ("baseline", "random")), "treatment")}
    shifts = {named.get(arm, arm): moved for arm, moved in value.set_shift.items()}
    return _arms_figure(value.accuracy, value.per_culture, shifts, title or value.name)


@styled
def arms(values: Mapping[str, Interval], per_culture: Mapping[str, Mapping[str, Interval]], title: str) -> Figure:
    """Any arms beside each other, overall and by culture."""
    return _arms_figure(values, per_culture, {}, title)


def _arms_figure(
    values: Mapping[str, Interval],
    per_culture: Mapping[str, Mapping[str, Interval]],
    shifts: Mapping[str, Sequence[float]],
    title: str,
) -> Figure:
    cultures = list(dict.fromkeys(c for arm in values for c in per_culture.get(arm, {})))
    height = max(2.2 + 0.5 * len(values), 1.0 + 0.2 * len(cultures)) if cultures else 0.9 + 0.45 * len(values)
    figure = canvas(WIDTH, height + (0.2 if shifts else 0.0))
    left, right = figure, None
    if cultures:
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.25, 1.0])[0]
    rest = 0.45 * len(shifts) + 0.2 if shifts else max(height / 0.75 - len(values) - 1.2, 0.01)
    _overall(left, values, shifts, title, rest)
    if right is not None:
        _by_culture(right.subplots(), values, per_culture, cultures)
    return figure


def _overall(
    figure: FigureBase, values: Mapping[str, Interval], shifts: Mapping[str, Sequence[float]], title: str, rest: float
) -> None:
    """The arms, and below them the shifts or so much empty height, so that bars stay bars whatever stands beside."""
    at, below = figure.subplots(2, 1, height_ratios=[max(len(values), 2), rest])
    if shifts:
        _shift_strip(below, shifts)
    else:
        below.set_axis_off()
    _bars(at, values)
    at.set_title(title)


def _bars(at: Axes, values: Mapping[str, Interval]) -> None:
    """A horizontal bar per arm, with its interval; the numbers are in the tick labels, where nothing covers them."""
    for y, (arm, value) in enumerate(values.items()):
        at.barh(y, np.nan_to_num(value.estimate), height=0.6, color=tint(colour(arm)))
        at.plot(value.ci, (y, y), color=INK, linewidth=1.3, solid_capstyle="butt", marker="|", markersize=6)
    at.set_yticks(range(len(values)), [f"{_NAMES.get(arm, arm)}\n{interval(v)}" for arm, v in values.items()])
    at.set_ylim(len(values) - 0.5, -0.5)
    at.set_xlim(0, 100)
    at.set_xlabel(CULTURE_VQA)
    at.grid(axis="x", color=HAIR)
    at.tick_params(axis="y", length=0)


def _shift_strip(at: Axes, shifts: Mapping[str, Sequence[float]]) -> None:
    """Shift of the conditioning: one dot per set, so that the reader sees whether the control moved it as much."""
    for y, (arm, values) in enumerate(shifts.items()):
        at.plot(values, np.full(len(values), y), linestyle="none", marker=marker(arm), color=colour(arm), alpha=0.7)
    at.set_yticks(range(len(shifts)), list(shifts))
    at.set_ylim(len(shifts) - 0.4, -0.6)
    at.set_xlim(left=0)
    at.set_xlabel("shift of the conditioning, one mark per set")
    at.tick_params(axis="y", length=0)


def _by_culture(
    at: Axes, values: Mapping[str, Interval], per_culture: Mapping[str, Mapping[str, Interval]], cultures: list[str]
) -> None:
    y = {culture: i for i, culture in enumerate(cultures)}
    for i in y.values():
        at.axhline(i, color=HAIR, linewidth=0.6, zorder=0)
    for arm in values:
        at_height = {y[culture]: value for culture, value in per_culture.get(arm, {}).items()}
        for height, value in at_height.items():
            at.plot(value.ci, (height, height), color=colour(arm), linewidth=1.2, alpha=0.6)
        style = {"linestyle": "none", "marker": marker(arm), "color": colour(arm), "markersize": 4.5}
        at.plot([v.estimate for v in at_height.values()], list(at_height), label=_NAMES.get(arm, arm), **style)
    at.set_yticks(range(len(cultures)), cultures)
    at.set_ylim(len(cultures) - 0.4, -0.6)
    at.set_xlim(-3, 103)
    at.set_xlabel(CULTURE_VQA)
    at.tick_params(axis="y", length=0)
    longest = max((len(_NAMES.get(arm, arm)) for arm in values), default=1)
    columns = max(1, min(len(values), LEGEND // (longest + 3)))
    headed(at, "By culture", columns, handle=1.0, left=-0.005 if columns == len(values) else -0.45)


@styled
def sweep(value: Sweep, usual: float | None = None, how: str | None = None) -> Figure:
    """CultureVQA and noun fidelity of noun-only prompts over strengths (Figure 11).

    Args:
        value: the sweep.
        usual: strength to mark.
        how: the intervention in words; its name if None.
    """
    figure = canvas(height=3.0)
    at = figure.subplots()
    low, high = np.array([i.ci for i in value.culture_vqa]).T
    shown, nouns = ([i.estimate for i in curve] for curve in (value.culture_vqa, value.noun_fidelity))
    at.fill_between(value.strengths, low, high, color=BLUE, alpha=0.2, linewidth=0)
    at.plot(value.strengths, shown, color=BLUE, marker="o", label="CultureVQA, own set (band: 95 %)")
    at.plot(value.strengths, nouns, color=GREEN, marker="D", linestyle="--", label="noun recognised")
    if usual is not None:
        at.axvline(usual, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        at.annotate(f"chosen: {usual:g}", (usual, 0.0), xycoords=("data", "axes fraction"),
                    xytext=(4, 4), textcoords="offset points", va="bottom", fontsize=8.5)  # fmt: skip
    at.set_ylim(-3, 103)
    at.set_xlabel(f"strength ({how or value.intervention})")
    at.set_ylabel("share of pictures (%)")
    headed(at, f"Strength sweep, {value.split} split", 3)
    at.grid(axis="y", color=HAIR)
    return figure


@styled
def steer(values: Mapping[str, Interval], mean: Interval | None = None, goal: float | None = None) -> Figure:
    """How often a neutral English prompt, steered by a culture's neurons, is judged as that culture (Figure 13)."""
    figure = canvas(height=0.9 + 0.21 * len(values))
    at = figure.subplots()
    for y, value in enumerate(values.values()):
        at.barh(y, np.nan_to_num(value.estimate), height=0.62, color=tint(BLUE))
        at.plot(value.ci, (y, y), color=INK, linewidth=1.2, marker="|", markersize=5)
    at.set_yticks(range(len(values)), [f"{culture}  {interval(v)}" for culture, v in values.items()])
    at.set_ylim(len(values) - 0.4, -0.6)
    for x, name, style in ((goal, "target", ":"), (mean.estimate if mean else None, "mean", "--")):
        if x is not None:
            at.axvline(x, color=INK, linewidth=1.0, linestyle=style, label=f"{name} {x:.1f}".replace(".0", ""))
    at.set_xlim(0, 100)
    at.set_xlabel("judged as the culture steered to (%)")
    headed(at, "Steering a neutral English prompt", 2)
    at.tick_params(axis="y", length=0)
    at.grid(axis="x", color=HAIR)
    at.spines["left"].set_color(MUTED)
    return figure
