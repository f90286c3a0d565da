"""Several measures side by side, each on its own axis (Table 2, Figure 8), and a benchmark's samples (Figure 3)."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.benchmarks.census import Census
from interp.report.style import BLUE, CYCLE, GREY, HAIR, INK, ORANGE, WIDTH, canvas, headed, styled, tint
from interp.types import Comparison, Interval, Measure, Measured, MeasureRow

ACROSS = 3
"""Panels in a row."""
ALPHA = 0.05
BETTER = {"higher": "higher is better", "lower": "lower is better"}


@dataclass(frozen=True)
class Panel:
    """One measure: a row per arm, system or culture."""

    measure: Measure | MeasureRow
    rows: Mapping[str, Interval]
    hollow: Collection[str] = ()
    """Rows that do not differ from the reference."""


@styled
def measures(values: Sequence[MeasureRow]) -> Figure:
    """Every measure of every arm, with its interval."""
    return _panels({row.label: Panel(row, row.arms) for row in values})


@styled
def comparison(value: Comparison) -> Figure:
    """Every measure of every system; hollow where it does not differ from the reference (adjusted p ≥ 0.05)."""
    panels = {}
    for name, info in value.systems[0].measures.items():
        systems = {s.system: s.overall[name] for s in value.systems}
        sure = {s for s, p in value.p[name].items() if p < ALPHA} | {value.reference}
        panels[name] = Panel(info, systems, systems.keys() - sure)
    return _panels(panels, value.reference)


@styled
def measured(value: Measured) -> Figure:
    """Every measure by culture, the whole above."""
    cultures = list(dict.fromkeys(value.cultures))
    panels = {}
    for name, info in value.measures.items():
        rows = {"all": value.overall[name], **{c: value.per_culture[name][c] for c in cultures}}
        panels[name] = Panel(info, rows)
    return _panels(panels, height=(0.9, 0.19))


def _panels(
    panels: Mapping[str, Panel], reference: str | None = None, height: tuple[float, float] = (0.75, 0.24)
) -> Figure:
    """The panels in rows, each as high as `height`: of its frame, and of a row in it, in inches."""
    lines, (frame, line) = math.ceil(len(panels) / ACROSS), height
    figure = canvas(WIDTH, lines * (frame + line * max(len(panel.rows) for panel in panels.values())))
    axes = figure.subplots(lines, min(ACROSS, len(panels)), squeeze=False, sharey=True)
    for at, (title, panel) in zip(axes.flat, panels.items(), strict=False):
        _panel(at, title, panel, reference)
    for at in axes.flat[len(panels) :]:
        at.set_axis_off()
    return figure


def _panel(at: Axes, title: str, panel: Panel, reference: str | None) -> None:
    for y, (row, value) in enumerate(panel.rows.items()):
        at.axhline(y, color=HAIR, linewidth=0.6, zorder=0)
        shade = INK if row == "all" else GREY if row == reference else ORANGE if row.startswith("random") else BLUE
        at.plot(value.ci, (y, y), color=shade, linewidth=1.4)
        at.plot(value.estimate, y, "o", color=shade, markerfacecolor="white" if row in panel.hollow else shade)
    if reference is not None and not math.isnan(panel.rows[reference].estimate):
        at.axvline(panel.rows[reference].estimate, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    at.set_yticks(range(len(panel.rows)), list(panel.rows))
    at.set_ylim(len(panel.rows) - 0.5, -0.5)
    at.set_title(title, fontsize=8.5)
    at.set_xlabel(f"{panel.measure.unit}, {BETTER[panel.measure.direction]}", fontsize=8)
    at.tick_params(axis="y", length=0)
    if panel.measure.unit == "percent":
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
