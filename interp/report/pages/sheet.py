"""A small page of its own: a value's table and its figures, for results that are no whole report."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from interp.grids import Grid
from interp.report import layout
from interp.report.inline import inline_plot
from interp.report.style import render
from interp.report.tables import gallery, html
from interp.report.webfonts import faces
from interp.store import atomic_write_text

PAGE = Markup(
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><style>{css}</style></head>'
    "<body><main><section><h1>{title}</h1>{table}{pictures}</section></main></body></html>\n"
)


def write_sheet(path: Path, title: str, value: object, figures: Sequence[Figure], grids: Sequence[Grid] = ()) -> Path:
    """Write a self-contained page with the table of a value and its figures.

    Args:
        path: of the page.
        title: its heading.
        value: one that shows itself, such as a `Comparison`.
        figures: below the table.
        grids: of pictures, below the figures, their prompts in their own scripts.
    """
    css = layout.read(layout.PAGE_CSS)
    css += faces({str(n): grid for n, grid in enumerate(grids)})
    plot = Markup('<figure><img class="plot" src="{}" alt=""></figure>')
    shown = [plot.format(inline_plot(render(f, "png"))) for f in figures]
    shown += [
        Markup('<figure class="grid">{}<figcaption>{}</figcaption></figure>').format(gallery(g), g.title) for g in grids
    ]
    parts = {"table": Markup(html(value)), "pictures": Markup("").join(shown)}
    atomic_write_text(path, str(PAGE.format(title=escape(title), css=Markup(css), **parts)))
    return path
