"""Culture against culture: overlap of sets, off-target effects, the judge's confusions."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from interp.report.style import INK, canvas, styled
from interp.types import Matrix


@styled
def overlap(value: Matrix) -> Figure:
    """Jaccard index of every two cultures' sets of latents."""
    figure = _heat(value, "Blues", Normalize(0, 1), "{:.2f}", "Jaccard index")
    return _titled(figure, "Shared latents of two cultures", "", "")


@styled
def off_target(value: Matrix) -> Figure:
    """Change of the row culture's accuracy when the column culture's neurons are masked."""
    bound = max(float(np.nanmax(np.abs(value.values), initial=0.0)), 1.0)
    figure = _heat(value, "PuOr", TwoSlopeNorm(0, -bound, bound), "{:.0f}", "change in CultureVQA (points)")
    return _titled(figure, "What masking one culture does to the others", "culture masked", "culture measured")


@styled
def confusion(value: Matrix) -> Figure:
    """The judge's answers by true culture, in percent of the row's pictures."""
    counts = value.values.astype(float)
    total = counts.sum(axis=1, keepdims=True)
    shares = 100 * np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    percent = Matrix(value.rows, value.columns, shares)
    figure = _heat(percent, "Blues", Normalize(0, 100), "{:.0f}", "share of the row (%)")
    return _titled(figure, "The judge on held-out real pictures", "judge's answer", "true culture")


def _heat(value: Matrix, colours: str, norm: Normalize, form: str, label: str) -> Figure:
    """A coloured table with its numbers; a zero is left blank, a missing value is grey."""
    values = value.values
    figure = canvas(1.9 + 0.33 * values.shape[1], 1.5 + 0.26 * values.shape[0])
    at = figure.subplots()
    at.set_facecolor("#EFEFEF")
    image = at.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="auto")
    _numbers(at, values, image.cmap(norm(np.nan_to_num(values))), form)
    at.set_xticks(range(len(value.columns)), value.columns, rotation=45, ha="right", rotation_mode="anchor")
    at.set_yticks(range(len(value.rows)), value.rows)
    at.tick_params(length=0)
    at.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=at, shrink=0.75, pad=0.02, label=label)
    bar.outline.set_visible(False)
    return figure


def _numbers(at: Axes, values: np.ndarray, shades: np.ndarray, form: str) -> None:
    for (row, column), number in np.ndenumerate(values):
        text = "" if np.isnan(number) else form.format(number)
        if text.strip("-0."):
            dark = shades[row, column, :3] @ (0.299, 0.587, 0.114) < 0.5
            ink = "white" if dark else INK
            at.text(column, row, text.replace("-", "−"), ha="center", va="center", fontsize=7, color=ink)


def _titled(figure: Figure, title: str, across: str, down: str) -> Figure:
    at = figure.axes[0]
    at.set_title(title)
    at.set_xlabel(across)
    at.set_ylabel(down)
    return figure
