"""The paper's tables and figures, made anew: each as files of its own, and one page that holds them all."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from interp.escapes import guarded
from interp.grids import Grid
from interp.report import figures, layout
from interp.report.paper.numbers import SLIPS
from interp.report.style import Plot
from interp.report.tables import Table, captioned
from interp.report.tables import record as record_table
from interp.store import Manifest, atomic_write_text

PAGE = "exhibits.html"


@dataclass(frozen=True)
class Exhibit:
    """One table or figure."""

    title: str
    text: str
    """What it shows and what came of it."""
    tables: tuple[Table, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """By the end of its file's name, '' for the one that is the exhibit."""
    grids: Mapping[str, Grid] = field(default_factory=dict)
    """Of images; each becomes a figure, too."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The numbers, as JSON can hold them."""
    names: tuple[str, ...] = ()
    """`table1`, `fig6`, …: several where the paper shows the same of its other model."""

    @property
    def heading(self) -> str:
        """`Table 1 and Table 5`."""
        return " and ".join(written(name) for name in self.names)

    @property
    def note(self) -> str:
        """The slips of the paper that bear on this."""
        return " ".join(SLIPS[name] for name in self.names if name in SLIPS)


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
    shown = []
    for exhibit in exhibits:
        plots = {end: Plot.of(figure) for end, figure in exhibit.figures.items()}
        grids = {end: Plot.of(figures.grid(grid, native=True)) for end, grid in exhibit.grids.items()}
        for name in exhibit.names:
            _write_files(exhibit, plots | grids, manifest, out, name)
        shown.append((exhibit, list(plots.values())))
    template = layout.environment(captioned=captioned).get_template("exhibits.html.j2")
    page = template.render(
        css=layout.style_sheet(layout.prompts(grid for exhibit in exhibits for grid in exhibit.grids.values())),
        shown=shown,
        model=manifest.config.get("model", ""),
        bench=manifest.config.get("benchmark", ""),
        manifest=record_table(manifest.model_dump(mode="json", exclude={"certificate"})),
    )
    atomic_write_text(out / PAGE, page)
    return out / PAGE


def _write_files(exhibit: Exhibit, plots: Mapping[str, Plot], manifest: Manifest, out: Path, name: str) -> None:
    for end, plot in plots.items():
        plot.write(out, f"{name}-{end}" if end else name)
    for number, table in enumerate(exhibit.tables, start=1):
        end = f"-{number}" if len(exhibit.tables) > 1 else ""
        atomic_write_text(out / f"{name}{end}.csv", as_csv(table))
    record = {"exhibit": name, "title": exhibit.title, "note": exhibit.note, "numbers": exhibit.data}
    record["manifest"] = manifest.model_dump(mode="json")
    atomic_write_text(out / f"{name}.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def as_csv(table: Table) -> str:
    """A table as CSV with a heading; `interp.escapes.unguarded` gives its cells back as they were."""
    out = StringIO(newline="")
    # with the usual line end \r\n, so that cells holding either of the two are quoted
    csv.writer(out).writerows([guarded(cell) for cell in row] for row in (table.head, *table.rows))
    return out.getvalue()
