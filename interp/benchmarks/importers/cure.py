"""CuRe (Rege et al. 2025): 300 cultural artifacts of 64 regions.

Its pictures are downloaded with the script of its repository.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from interp.benchmarks.importers.captions import Name, tidy
from interp.benchmarks.importers.image_store import SUFFIXES
from interp.benchmarks.importers.source import Draft, Source

LICENCE = "MIT (the lists); the pictures are Wikimedia Commons', each under its own licence"
COLUMNS = ("Category", "Region", "Item")


def read(source: Source) -> Iterator[Draft]:
    """Rows of `art.csv`, `food.csv` and so on, one for each picture that is there."""
    for row in source.rows(source.files("*.csv", "lists"), COLUMNS):
        if texts := row.texts(COLUMNS):
            kind = Path(row.file).stem
            draft = Draft(
                row,
                id=f"cure-{kind}-{row.number:03}",
                place=texts["Region"],
                category=tidy(texts["Item"]).casefold(),
                captions={"en": Name(texts["Item"])},
                notes={"annotator_en": f"CuRe, {tidy(texts['Category'].replace('_', ' '))}"},
            )
            images = _images(kind, row.cells, source.options.images)
            yield from (replace(draft, id=f"{draft.id}-{n}", image=image) for n, image in enumerate(images, 1))
            if not images:
                yield draft


def _images(kind: str, cells: Mapping[str, Any], folder: Path | None) -> list[Path]:
    """The pictures where the published script puts them: food/Dumpling/Banku, after their category on Wikimedia."""
    if folder is None:
        return []
    names = str(cells.get("Wikimedia_Category") or "").replace("\\", "").split(";")
    named = [folder / kind / cells["Category"] / name.replace(" ", "_") for name in names if name]
    # os.path, as Path.is_dir raises for a name that is too long; a list may not lead out of the folder of pictures
    inside = [f for f in named if os.path.isdir(f) and f.resolve().is_relative_to(folder.resolve())]
    return [p for category in inside for p in sorted(category.iterdir()) if p.suffix.lower() in SUFFIXES]
