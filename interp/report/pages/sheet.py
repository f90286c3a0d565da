"""A small page of its own: a value's table and its figures, for results that are no whole report."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from interp.grids import Grid
from interp.report import layout
from interp.report.inline import inline_plot
from interp.report.style import render
from interp.report.tables import captioned, html
from interp.store import atomic_write_text

PAGE = Markup(
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><style>{css}</style></head>'
    "<body><main><section><h1>{title}</h1>{table}{figures}</section></main></body></html>\n"
)


def write_sheet(path: Path, title: str, value: object, figures: Sequence[Figure], grids: Sequence[Grid] = ()) -> Path:
    """Write a self-contained page with the table of a value and its figures.

    Args:
        path: of the page.
        title: its heading.
        value: one that shows itself, such as a `Comparison`.
        figures: below the table.
        grids: of images, below the figures, their prompts in their own scripts.
    """
    plot = Markup('<figure><img class="plot" src="{}" alt=""></figure>')
    shown = [plot.format(inline_plot(render(figure, "png"))) for figure in figures] + [captioned(g) for g in grids]
    css, table = layout.style_sheet(layout.prompts(grids)), Markup(html(value))
    atomic_write_text(path, str(PAGE.format(title=title, css=css, table=table, figures=Markup("").join(shown))))
    return path
