"""A Hugging Face data set saved with `save_to_disk`: its arrow files, read without the package `datasets`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from interp.benchmarks.importers import tabular
from interp.benchmarks.importers.drafts import Draft, Log, Options
from interp.benchmarks.importers.folder import COLUMNS, draft_of
from interp.errors import InterpError

SOURCE = "a data set saved with save_to_disk"
LICENCE = None


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of the arrow files; the columns are those of `folder`, under whatever names the option columns gives.

    Raises:
        InterpError: if the folder holds no saved data set, or not the part that is asked for.
    """
    parts = sorted(p.parent for p in path.rglob("state.json"))
    names = {p.name if p != path else "" for p in parts}
    if not parts:
        raise InterpError(f"{path}: no data set saved with save_to_disk; it would have a file state.json")
    if options.part is not None and options.part not in names:
        raise InterpError(f"{path}: no part {options.part!r}; it has {', '.join(sorted(names)) or 'one only'}")
    for part in parts:
        if options.part in (None, part.name):
            kind = part.name if part != path else "row"
            for row in tabular.rows(sorted(part.glob("*.arrow")), COLUMNS, options, log, below=path):
                name = f"{kind}-{Path(row.file).stem[5:10]}-{row.number:05}"
                if draft := draft_of(replace(row, cells={"id": name, **row.cells}), row.picture()):
                    yield draft
