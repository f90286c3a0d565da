"""A Hugging Face data set saved with `save_to_disk`: its arrow files, read without the package `datasets`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from interp.benchmarks.importers.folder import COLUMNS as COLUMNS
from interp.benchmarks.importers.folder import draft_of
from interp.benchmarks.importers.source import Draft, Source
from interp.errors import InterpError

LICENCE = None


def read(source: Source) -> Iterator[Draft]:
    """Rows of the arrow files; the columns are those of `folder`, under whatever names the option columns gives.

    Raises:
        InterpError: if the folder holds no saved data set, or not the part that is asked for.
    """
    path, wanted = source.path, source.options.part
    parts = sorted(p.parent for p in path.rglob("state.json"))
    names = {p.name if p != path else "" for p in parts}
    if not parts:
        raise InterpError(f"{path}: no data set saved with save_to_disk; it would have a file state.json")
    if wanted is not None and wanted not in names:
        raise InterpError(f"{path}: no part {wanted!r}; it has {', '.join(sorted(names)) or 'one only'}")
    for part in parts:
        if wanted in (None, part.name):
            kind = part.name if part != path else "row"
            for row in source.rows(sorted(part.glob("*.arrow")), COLUMNS, below=path):
                name = f"{kind}-{Path(row.file).stem[5:10]}-{row.number:05}"
                if draft := draft_of(replace(row, cells={"id": name, **row.cells}), row.image()):
                    yield draft
