"""Figures: a function for each, and `figure(value)`, which picks the one that fits a value."""

from functools import singledispatch

from matplotlib.figure import Figure

from interp.benchmarks.census import Census
from interp.errors import InterpError
from interp.grids import Grid
from interp.report.figures.comparisons import census, comparison, measured, measures
from interp.report.figures.effects import arms, effect, gap, steer, sweep
from interp.report.figures.grid import grid
from interp.report.figures.latents import density, elbow, wfs
from interp.report.figures.layer_scores import layers
from interp.report.figures.matrices import confusion, off_target, overlap
from interp.types import Comparison, Effect, LayerScores, Measured, Neurons, Sweep

__all__ = [
    "arms", "census", "comparison", "confusion", "density", "effect", "elbow", "figure", "gap", "grid", "layers",
    "measured", "measures", "off_target", "overlap", "steer", "sweep", "wfs",
]  # fmt: skip


@singledispatch
def figure(value: object) -> Figure:
    """The figure that fits a value: LayerScores, Neurons, Effect, Sweep, Grid, Census, Measured or Comparison.

    Raises:
        InterpError: there is none for a value of this type.
    """
    known = ", ".join(kind.__name__ for kind in figure.registry if kind is not object)
    raise InterpError(f"no figure for a {type(value).__name__}; there is one for {known}")


@figure.register
def _(value: Grid) -> Figure:
    return grid(value, native=True)


figure.register(LayerScores, layers)
figure.register(Neurons, wfs)
figure.register(Effect, effect)
figure.register(Sweep, sweep)
figure.register(Census, census)
figure.register(Comparison, comparison)
figure.register(Measured, measured)
