"""CuRe: 300 cultural artifacts of 64 regions; pictures are downloaded with the script of its repository."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from interp.importers import tabular
from interp.importers.captions import Name, tidy
from interp.importers.drafts import Draft, Log, Options
from interp.importers.pictures import SUFFIXES

SOURCE = "CuRe (Rege et al. 2025)"
LICENCE = "MIT (the lists); the pictures are Wikimedia Commons', each under its own licence"
COLUMNS = ("Category", "Region", "Item")


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of `art.csv`, `food.csv` and so on, one for each picture that is there."""
    for file in tabular.files(path, "*.csv", "lists"):
        for number, row in enumerate(tabular.read(file, COLUMNS, options.columns), 1):
            log.read += 1
            if found := tabular.texts(row, COLUMNS, file.name, number, log):
                draft = Draft(
                    file=file.name,
                    row=number,
                    id=f"cure-{file.stem}-{number:03}",
                    place=found["Region"],
                    category=tidy(found["Item"]).casefold(),
                    captions={"en": Name(found["Item"])},
                    notes={"annotator_en": f"CuRe, {tidy(found['Category'].replace('_', ' '))}"},
                )
                shown = _shown(file.stem, row, options.images)
                yield from (replace(draft, id=f"{draft.id}-{n}", picture=p) for n, p in enumerate(shown, 1))
                if not shown:
                    yield draft


def _shown(kind: str, row: dict[str, Any], images: Path | None) -> list[Path]:
    """The pictures where the published script puts them: food/Dumpling/Banku, after their category on Wikimedia."""
    if images is None:
        return []
    names = str(row.get("Wikimedia_Category") or "").replace("\\", "").split(";")
    at = [images / kind / row["Category"] / name.replace(" ", "_") for name in names if name]
    return [p for folder in at if folder.is_dir() for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
