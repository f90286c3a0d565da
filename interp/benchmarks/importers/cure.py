"""CuRe: 300 cultural artifacts of 64 regions; pictures are downloaded with the script of its repository."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from interp.benchmarks.importers import tabular
from interp.benchmarks.importers.captions import Name, tidy
from interp.benchmarks.importers.drafts import Draft, Log, Options
from interp.benchmarks.importers.shelf import SUFFIXES

SOURCE = "CuRe (Rege et al. 2025)"
LICENCE = "MIT (the lists); the pictures are Wikimedia Commons', each under its own licence"
COLUMNS = ("Category", "Region", "Item")


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of `art.csv`, `food.csv` and so on, one for each picture that is there."""
    for row in tabular.rows(tabular.files(path, "*.csv", "lists"), COLUMNS, options, log):
        if found := row.texts(COLUMNS):
            kind = Path(row.file).stem
            draft = Draft(
                file=row.file,
                row=row.number,
                id=f"cure-{kind}-{row.number:03}",
                place=found["Region"],
                category=tidy(found["Item"]).casefold(),
                captions={"en": Name(found["Item"])},
                notes={"annotator_en": f"CuRe, {tidy(found['Category'].replace('_', ' '))}"},
            )
            shown = _shown(kind, row.cells, options.images)
            yield from (replace(draft, id=f"{draft.id}-{n}", picture=p) for n, p in enumerate(shown, 1))
            if not shown:
                yield draft


def _shown(kind: str, row: Mapping[str, Any], images: Path | None) -> list[Path]:
    """The pictures where the published script puts them: food/Dumpling/Banku, after their category on Wikimedia."""
    if images is None:
        return []
    names = str(row.get("Wikimedia_Category") or "").replace("\\", "").split(";")
    at = [images / kind / row["Category"] / name.replace(" ", "_") for name in names if name]
    # os.path, as Path.is_dir raises for a name that is too long; a list may not lead out of the folder of pictures
    there = [f for f in at if os.path.isdir(f) and f.resolve().is_relative_to(images.resolve())]
    return [p for folder in there for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
