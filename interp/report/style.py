"""One look for every figure: colour-blind safe, legible at column width, the same file on every machine."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, Final, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from interp.report.inline import in_palette, inline_plot
from interp.store import atomic_write_bytes

P = ParamSpec("P")
NOTEBOOK_DPI: Final = 90
WIDTH: Final = 7.2
"""Width of a figure in inches: the text column of a page."""
INK, MUTED, HAIR = "#222222", "#5F5F5F", "#D4D4D4"
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, GREY = "#56B4E9", "#D55E00", "#7F7F7F"
CYCLE: Final = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE)
"""Okabe and Ito's colours, in the order used for curves."""
TREATMENT: Final = BLUE
_ARMS: Final = {"baseline": GREY, "noun only": GREY, "noun_only": GREY, "with_modifier": GREEN, "enhanced": PURPLE}
_MARKERS: Final = {"baseline": "s", "noun only": "s", "noun_only": "s", "enhanced": "P"}
_CONTROLS: Final = {"random": "^", "moved to": "v", "trained at": "D", "shuffled": "X"}
"""How the names of controls begin → their marker."""

STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": HAIR,
    "grid.linewidth": 0.6,
    "text.color": INK,
    # a benchmark's label may hold a dollar sign
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "savefig.facecolor": "white",
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}


class Drawing(Figure):
    """A figure that shows itself in a notebook without a global backend."""

    def _repr_png_(self) -> bytes:
        return in_palette(render(self, "png", NOTEBOOK_DPI))

    def _ipython_display_(self) -> None:
        # goes before the formatter that pyplot registers for figures, which would draw it larger and in all colours
        from IPython.display import display

        data = b64encode(self._repr_png_()).decode("ascii")
        display({"image/png": data, "text/plain": repr(self)}, raw=True)


def colour(arm: str) -> str:
    """The colour of an arm: grey for the baseline, orange for a control, blue for a treatment."""
    return ORANGE if arm.startswith(tuple(_CONTROLS)) else _ARMS.get(arm, TREATMENT)


def tint(name: str, strength: float = 0.85) -> tuple[float, float, float]:
    """A colour thinned with white, without letting what lies behind shine through."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(name))
    return red, green, blue


def marker(arm: str) -> str:
    """The marker of an arm, so that arms can be told apart without colour."""
    control = next((mark for start, mark in _CONTROLS.items() if arm.startswith(start)), "o")
    return _MARKERS.get(arm, control)


def headed(at: Axes, title: str, columns: int = 0, handle: float = 1.9, left: float = -0.005) -> None:
    """A title and, if anything is labelled, a legend of so many columns between the title and the axes.

    Args:
        at: the axes.
        title: theirs.
        columns: of the legend; 0 for none.
        handle: length of its marks, in letters.
        left: where it begins, in widths of the axes.
    """
    handles, labels = at.get_legend_handles_labels()
    rows = -(-len(handles) // columns) if columns else 0
    at.set_title(title, pad=6 + 13 * rows)
    if rows:
        at.legend(
            handles, labels, ncols=columns, loc="lower left", bbox_to_anchor=(left, 1.0), borderaxespad=0.2,
            borderpad=0.1, labelspacing=0.25, handlelength=handle, columnspacing=0.7 * handle, handletextpad=0.5,
        )  # fmt: skip


def styled(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw with the style, whatever the caller's settings are."""

    @wraps(function)
    def draw(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            return function(*args, **kwargs)

    return draw


def canvas(width: float = WIDTH, height: float = 3.0) -> Drawing:
    """An empty figure, without any global state of pyplot."""
    drawing = Drawing(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawing)
    return drawing


def render(figure: Figure, kind: str, dpi: int = 200) -> bytes:
    """The bytes of a figure as `png` or `pdf` (vectors), without a date: equal figures are equal files."""
    metadata = {"Software": None} if kind == "png" else {"CreationDate": None, "Producer": None, "Creator": None}
    buffer = BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=kind, metadata=metadata, dpi=dpi)
    return buffer.getvalue()


@dataclass(frozen=True)
class Plot:
    """A drawn figure, ready to be written and to stand in a page."""

    png: bytes
    pdf: bytes
    width: float
    """In inches."""

    @classmethod
    def of(cls, figure: Figure) -> "Plot":
        """Both files' bytes of a figure."""
        return cls(render(figure, "png"), render(figure, "pdf"), figure.get_figwidth())

    @property
    def address(self) -> str:
        """The plot itself as the address of an image."""
        return inline_plot(self.png)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write `name`.png and `name`.pdf into a folder, which is made when missing."""
        png, pdf = folder / f"{name}.png", folder / f"{name}.pdf"
        atomic_write_bytes(png, self.png)
        atomic_write_bytes(pdf, self.pdf)
        return png, pdf


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write `name`.png and `name`.pdf into a folder, which is made when missing."""
    return Plot.of(figure).write(folder, name)
