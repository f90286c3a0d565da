"""The paper's tables and figures, made anew: each as files of its own, and one page that holds them all."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from interp.escapes import guarded
from interp.grids import Grid
from interp.report import figures, layout
from interp.report.inline import inline_plot
from interp.report.style import render
from interp.report.tables import Table, gallery
from interp.report.tables import record as record_table
from interp.report.webfonts import faces
from interp.store import Manifest, atomic_write_bytes, atomic_write_text

PAGE = "exhibits.html"
KINDS = ("png", "pdf")


@dataclass(frozen=True)
class Exhibit:
    """One table or figure."""

    names: tuple[str, ...]
    """`table1`, `fig6`, …: several where the paper shows the same of its other model."""
    title: str
    text: str
    """What it shows and what came of it."""
    tables: tuple[Table, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """By the end of its file's name, '' for the one that is the exhibit."""
    grids: Mapping[str, Grid] = field(default_factory=dict)
    """Of pictures; each becomes a figure, too."""
    note: str = ""
    """A slip of the paper, if it bears on this."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The numbers, as JSON can hold them."""

    @property
    def heading(self) -> str:
        """`Table 1 and Table 5`."""
        return " and ".join(written(name) for name in self.names)


def written(name: str) -> str:
    """`table1` as the paper writes it."""
    return name.replace("table", "Table ").replace("fig", "Figure ")


def write_exhibits(exhibits: Sequence[Exhibit], manifest: Manifest, out: Path) -> Path:
    """Write tables as CSV, figures as PNG and PDF, numbers as JSON, and the page that holds all exhibits.

    Args:
        exhibits: in the order of the page.
        manifest: of the run; it stands in every JSON file.
        out: folder; made when missing.

    Returns:
        The path of the page.
    """
    plots = []
    for exhibit in exhibits:
        drawn = {**exhibit.figures, **{name: figures.grid(grid, native=True) for name, grid in exhibit.grids.items()}}
        rendered = {end: {kind: render(figure, kind) for kind in KINDS} for end, figure in drawn.items()}
        for name in exhibit.names:
            _write_files(exhibit, rendered, manifest, out / name)
        plots.append([rendered[end]["png"] for end in exhibit.figures])
    atomic_write_text(out / PAGE, _page(exhibits, plots, manifest))
    return out / PAGE


def _write_files(exhibit: Exhibit, rendered: Mapping[str, Mapping[str, bytes]], manifest: Manifest, stem: Path) -> None:
    for end, by_kind in rendered.items():
        for kind, data in by_kind.items():
            atomic_write_bytes(stem.with_name(f"{stem.name}{'-' * bool(end)}{end}.{kind}"), data)
    for number, table in enumerate(exhibit.tables, start=1):
        end = f"-{number}" if len(exhibit.tables) > 1 else ""
        atomic_write_text(stem.with_name(f"{stem.name}{end}.csv"), as_csv(table))
    said = {"exhibit": stem.name, "title": exhibit.title, "note": exhibit.note, "numbers": exhibit.data}
    record = said | {"manifest": manifest.model_dump(mode="json")}
    atomic_write_text(stem.with_name(f"{stem.name}.json"), json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def as_csv(table: Table) -> str:
    """A table as CSV with a heading; `interp.tables.unguarded` gives its cells back as they were."""
    out = StringIO(newline="")
    # with the usual line end \r\n, so that cells holding either of the two are quoted
    csv.writer(out).writerows([guarded(cell) for cell in row] for row in (table.head, *table.rows))
    return out.getvalue()


def _page(exhibits: Sequence[Exhibit], plots: Sequence[Sequence[bytes]], manifest: Manifest) -> str:
    template = layout.environment().get_template("exhibits.html.j2")
    grids = {f"{e.names[0]}-{name}": grid for e in exhibits for name, grid in e.grids.items()}
    shown = [
        {
            "exhibit": e,
            "plots": [inline_plot(png) for png in drawn],
            "widths": [f"{figure.get_figwidth():.2f}" for figure in e.figures.values()],
            "galleries": [{"title": grid.title, "html": gallery(grid)} for grid in e.grids.values()],
        }
        for e, drawn in zip(exhibits, plots, strict=True)
    ]
    record = manifest.model_dump(mode="json", exclude={"certificate"})
    return template.render(
        css=Markup(layout.read(layout.PAGE_CSS) + faces(grids)),
        shown=shown,
        model=manifest.config.get("model", ""),
        bench=manifest.config.get("benchmark", ""),
        manifest=record_table(record),
    )
