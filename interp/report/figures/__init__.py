"""Figures: a function for each, and `figure(value)`, which picks the one that fits a value."""

from functools import singledispatch

from matplotlib.figure import Figure

from interp.benchmarks.census import Census
from interp.errors import InterpError
from interp.grids import Grid
from interp.report.figures.effects import ablate, arms, enhance, gap, steer, sweep, wake
from interp.report.figures.grid import grid
from interp.report.figures.latents import density, elbow, wfs
from interp.report.figures.layer_scores import layers
from interp.report.figures.matrices import confusion, off_target, overlap
from interp.report.figures.measures_of import census, comparison, measured, measures
from interp.report.results import Ablate, DoseResponse, Enhanced, Estimate, Gap, Sweep, Wake
from interp.types import Comparison, Effect, LayerScores, Measured, Neurons

__all__ = [
    "ablate", "arms", "census", "comparison", "confusion", "density", "elbow", "enhance", "figure", "gap", "grid",
    "layers", "measured", "measures", "off_target", "overlap", "steer", "sweep", "wake", "wfs",
]  # fmt: skip


@singledispatch
def figure(value: object) -> Figure:
    """The figure that fits a value: LayerScores, Neurons, Effect, a sweep, Grid, or a part of the results.

    Raises:
        InterpError: there is none for a value of this type.
    """
    if isinstance(value, DoseResponse):
        return sweep(Sweep.of(value))
    known = ", ".join(kind.__name__ for kind in figure.registry if kind is not object)
    raise InterpError(f"no figure for a {type(value).__name__}; there is one for {known}")


@figure.register
def _(value: Effect) -> Figure:
    overall = {arm: Estimate.of(interval) for arm, interval in value.accuracy.items()}
    by_culture = {arm: {c: Estimate.of(i) for c, i in at.items()} for arm, at in value.per_culture.items()}
    return arms(overall, by_culture, value.set_shift, value.name)


@figure.register
def _(value: Grid) -> Figure:
    return grid(value, native=True)


figure.register(LayerScores, layers)
figure.register(Neurons, wfs)
figure.register(Gap, gap)
figure.register(Ablate, ablate)
figure.register(Wake, wake)
figure.register(Enhanced, enhance)
figure.register(Sweep, sweep)
figure.register(Census, census)
figure.register(Comparison, comparison)
figure.register(Measured, measured)
