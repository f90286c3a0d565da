"""Results as figures, tables and one self-contained page. Never imports torch.

`Results` is the results file, `figure(value)` and `html(value)` show a value of `interp.types` in a notebook, and
`write_report` writes the page.
"""

from interp.grids import Grid, GridRow
from interp.report.figures import figure
from interp.report.pages.study import write_report
from interp.report.results import Results
from interp.report.style import save
from interp.report.tables import html

__all__ = ["Grid", "GridRow", "Results", "figure", "html", "save", "write_report"]
