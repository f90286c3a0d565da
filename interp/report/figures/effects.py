"""Figures 4, 11 and 13 and the pictures of Tables 1, 2, 3 and 5: what an intervention did, with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from interp.report.results import Ablate, Enhanced, Estimate, Gap, Sweep, Wake
from interp.report.style import (
    BLUE,
    GREEN,
    HAIR,
    INK,
    MUTED,
    ORANGE,
    WIDTH,
    canvas,
    colour,
    headed,
    marker,
    styled,
    tint,
)
from interp.report.text import interval

_NAMES = {"with_modifier": "with modifier", "noun_only": "noun only"}
CULTURE_VQA = "CultureVQA (%)"
LEGEND = 44
"""Letters on a line of the legend above the panel by culture."""


@styled
def gap(value: Gap) -> Figure:
    """CultureVQA with and without the culture-style modifier, overall and by culture."""
    arms = {"with_modifier": value.with_modifier, "noun_only": value.noun_only}
    return _arms_figure(arms, value.per_culture, {}, "The culture gap")


@styled
def ablate(value: Ablate) -> Figure:
    """CultureVQA of culture-style prompts: untouched, masked, and with matched random sets masked."""
    arms = {"baseline": value.baseline, "masked": value.masked, "random": value.random}
    return _arms_figure(arms, value.per_culture, value.set_shift, "Masking, culture-style prompts")


@styled
def wake(value: Wake) -> Figure:
    """CultureVQA of noun-only prompts: untouched, woken, and driven by matched random sets."""
    arms = {"baseline": value.baseline, "woken": value.woken, "random": value.random}
    return _arms_figure(arms, value.per_culture, value.set_shift, "Waking, noun-only prompts")


@styled
def enhance(value: Enhanced) -> Figure:
    """CultureVQA of noun-only prompts: untouched, under the trained enhancer, and under its controls."""
    return _arms_figure(value.arms, value.per_culture, {}, "The trained enhancer, noun-only prompts")


@styled
def arms(
    values: Mapping[str, Estimate],
    per_culture: Mapping[str, Mapping[str, Estimate]],
    shifts: Mapping[str, Sequence[float]],
    title: str,
) -> Figure:
    """Any arms beside each other, overall, by culture, and by the shift of the conditioning."""
    return _arms_figure(values, per_culture, shifts, title)


def _arms_figure(
    values: Mapping[str, Estimate],
    per_culture: Mapping[str, Mapping[str, Estimate]],
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
    figure: FigureBase, values: Mapping[str, Estimate], shifts: Mapping[str, Sequence[float]], title: str, rest: float
) -> None:
    """The arms, and below them the shifts or so much empty height, so that bars stay bars whatever stands beside."""
    at, below = figure.subplots(2, 1, height_ratios=[max(len(values), 2), rest])
    if shifts:
        _shift_strip(below, shifts)
    else:
        below.set_axis_off()
    _bars(at, values)
    at.set_title(title)


def _bars(at: Axes, values: Mapping[str, Estimate]) -> None:
    """One horizontal bar an arm, with its interval; the numbers stand in the tick labels, where nothing covers them."""
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
    """Shift of the conditioning: one dot a set, so that the reader sees whether the control moved it as much."""
    for y, (arm, values) in enumerate(shifts.items()):
        at.plot(values, np.full(len(values), y), linestyle="none", marker=marker(arm), color=colour(arm), alpha=0.7)
    at.set_yticks(range(len(shifts)), list(shifts))
    at.set_ylim(len(shifts) - 0.4, -0.6)
    at.set_xlim(left=0)
    at.set_xlabel("shift of the conditioning, one mark a set")
    at.tick_params(axis="y", length=0)


def _by_culture(
    at: Axes, values: Mapping[str, Estimate], per_culture: Mapping[str, Mapping[str, Estimate]], cultures: list[str]
) -> None:
    y = {culture: i for i, culture in enumerate(cultures)}
    for i in y.values():
        at.axhline(i, color=HAIR, linewidth=0.6, zorder=0)
    for arm in values:
        found = {y[c]: e for c, e in per_culture.get(arm, {}).items()}
        for position, estimate in found.items():
            at.plot(estimate.ci, (position, position), color=colour(arm), linewidth=1.2, alpha=0.6)
        style = {"linestyle": "none", "marker": marker(arm), "color": colour(arm), "markersize": 4.5}
        at.plot([e.estimate for e in found.values()], list(found), label=_NAMES.get(arm, arm), **style)
    at.set_yticks(range(len(cultures)), cultures)
    at.set_ylim(len(cultures) - 0.4, -0.6)
    at.set_xlim(-3, 103)
    at.set_xlabel(CULTURE_VQA)
    at.tick_params(axis="y", length=0)
    longest = max((len(_NAMES.get(arm, arm)) for arm in values), default=1)
    columns = max(1, min(len(values), LEGEND // (longest + 3)))
    headed(at, "By culture", columns, handle=1.0, left=-0.005 if columns == len(values) else -0.45)


@styled
def sweep(value: Sweep) -> Figure:
    """CultureVQA and noun fidelity of noun-only prompts over strengths (Figure 11)."""
    figure = canvas(height=3.0)
    at = figure.subplots()
    low, high = np.array(value.ci).T
    at.fill_between(value.strength, low, high, color=BLUE, alpha=0.2, linewidth=0)
    at.plot(value.strength, value.culture_vqa, color=BLUE, marker="o", label="CultureVQA, own set (band: 95 %)")
    at.plot(value.strength, value.noun_fidelity, color=GREEN, marker="D", linestyle="--", label="noun recognised")
    if value.random is not None:
        at.plot(value.strength, value.random, color=ORANGE, marker="^", linestyle=":", label="CultureVQA, random sets")
    if value.chosen is not None:
        at.axvline(value.chosen, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        at.annotate(f"chosen: {value.chosen:g}", (value.chosen, 0.0), xycoords=("data", "axes fraction"),
                    xytext=(4, 4), textcoords="offset points", va="bottom", fontsize=8.5)  # fmt: skip
    at.set_ylim(-3, 103)
    at.set_xlabel(f"strength{f' ({value.intervention})' if value.intervention else ''}")
    at.set_ylabel("share of pictures (%)")
    headed(at, f"Strength sweep, {value.split} split", 3)
    at.grid(axis="y", color=HAIR)
    return figure


@styled
def steer(values: Mapping[str, Estimate], mean: Estimate | None = None, goal: float | None = None) -> Figure:
    """How often a neutral English prompt, steered by a culture's set, is judged as that culture (Figure 13)."""
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
