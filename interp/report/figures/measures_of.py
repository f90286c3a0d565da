"""Table 2 and Figures 3 and 8 as pictures: several measures side by side, each on its own axis."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.benchmarks.census import Census
from interp.report.results import Estimate, MeasureRow
from interp.report.style import BLUE, CYCLE, GREY, HAIR, INK, ORANGE, WIDTH, canvas, headed, styled, tint
from interp.types import Comparison, Interval, Measured

ACROSS = 3
"""Panels in a row."""
ARROW = {"higher": "higher is better", "lower": "lower is better"}


@styled
def measures(values: Sequence[MeasureRow]) -> Figure:
    """Every measure of every arm, with its interval."""
    panels = {v.label: (v.unit, v.direction, v.arms, None) for v in values}
    return _panels(panels)


@styled
def comparison(value: Comparison) -> Figure:
    """Every measure of every system; hollow where it does not differ from the reference (adjusted p ≥ 0.05)."""
    panels = {}
    for name, info in value.systems[0].measures.items():
        arms = {s.system: Estimate.of(s.overall[name]) for s in value.systems}
        sure = {s for s, p in value.p[name].items() if p < 0.05} | {value.reference}
        panels[name] = (info.unit, info.direction, arms, sure)
    return _panels(panels, value.reference)


Panel = tuple[str, str, Mapping[str, Estimate], set[str] | None]
"""Unit, direction, estimate of each row, and which rows are filled; all if None."""


def _panels(panels: Mapping[str, Panel], reference: str | None = None) -> Figure:
    rows = math.ceil(len(panels) / ACROSS)
    lines = max(len(arms) for _, _, arms, _ in panels.values())
    figure = canvas(WIDTH, rows * (0.75 + 0.24 * lines))
    axes = figure.subplots(rows, min(ACROSS, len(panels)), squeeze=False, sharey=True)
    for at, (title, panel) in zip(axes.flat, panels.items(), strict=False):
        _panel(at, title, panel, reference)
    for at in axes.flat[len(panels) :]:
        at.set_axis_off()
    return figure


def _panel(at: Axes, title: str, panel: Panel, reference: str | None) -> None:
    unit, direction, arms, sure = panel
    for y, (arm, value) in enumerate(arms.items()):
        at.axhline(y, color=HAIR, linewidth=0.6, zorder=0)
        shade = GREY if arm == reference else ORANGE if arm.startswith("random") else BLUE
        at.plot(value.ci, (y, y), color=shade, linewidth=1.4)
        filled = sure is None or arm in sure
        at.plot(value.estimate, y, "o", color=shade, markerfacecolor=shade if filled else "white")
    if reference is not None and not math.isnan(arms[reference].estimate):
        at.axvline(arms[reference].estimate, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    at.set_yticks(range(len(arms)), list(arms))
    at.set_ylim(len(arms) - 0.5, -0.5)
    at.set_title(title, fontsize=8.5)
    at.set_xlabel(f"{unit}, {ARROW[direction]}", fontsize=8)
    at.tick_params(axis="y", length=0)
    if unit == "percent":
        at.set_xlim(-4, 104)


@styled
def measured(value: Measured) -> Figure:
    """Every measure by culture, the whole above."""
    names = list(value.measures)
    cultures = list(dict.fromkeys(value.cultures))
    across = min(ACROSS, len(names))
    rows = math.ceil(len(names) / across)
    figure = canvas(WIDTH, rows * (0.9 + 0.19 * (len(cultures) + 1)))
    axes = figure.subplots(rows, across, squeeze=False, sharey=True)
    for at, name in zip(axes.flat, names, strict=False):
        _by_culture(at, name, value, cultures)
    for at in axes.flat[len(names) :]:
        at.set_axis_off()
    return figure


def _by_culture(at: Axes, name: str, value: Measured, cultures: Sequence[str]) -> None:
    info = value.measures[name]
    found: dict[str, Interval] = {"all": value.overall[name], **{c: value.per_culture[name][c] for c in cultures}}
    for y, (row, one) in enumerate(found.items()):
        at.axhline(y, color=HAIR, linewidth=0.6, zorder=0)
        shade = INK if row == "all" else BLUE
        at.plot((one.low, one.high), (y, y), color=shade, linewidth=1.4)
        at.plot(one.estimate, y, "o", color=shade)
    at.set_yticks(range(len(found)), list(found))
    at.set_ylim(len(found) - 0.5, -0.5)
    at.set_title(name, fontsize=8.5)
    at.set_xlabel(f"{info.unit}, {ARROW[info.direction]}", fontsize=8)
    at.tick_params(axis="y", length=0)
    if info.unit == "percent":
        at.set_xlim(-4, 104)


@styled
def census(value: Census) -> Figure:
    """Samples of each culture by split (Figure 3)."""
    figure = canvas(WIDTH, 1.0 + 0.22 * len(value.counts))
    at = figure.subplots()
    left = np.zeros(len(value.counts))
    for split, shade in zip(value.splits, CYCLE, strict=False):
        n = np.array([row.get(split, 0) for row in value.counts.values()])
        at.barh(range(len(n)), n, left=left, height=0.68, color=tint(shade, 0.8), label=f"{split} {n.sum():,}")
        left += n
    at.set_yticks(range(len(left)), [f"{c}  {int(n):,}" for c, n in zip(value.counts, left, strict=True)])
    at.set_ylim(len(left) - 0.4, -0.6)
    at.set_xlabel("samples")
    at.tick_params(axis="y", length=0)
    at.grid(axis="x", color=HAIR)
    headed(at, f"{value.name}: {int(left.sum()):,} samples", 4)
    return figure
