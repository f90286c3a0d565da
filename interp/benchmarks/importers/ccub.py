"""CCUB (Liu et al. 2023): pictures named by their URL, with captions by people of the culture, in English."""

from collections.abc import Iterator
from pathlib import Path

from interp.benchmarks.importers.captions import Sentence, tidy
from interp.benchmarks.importers.source import Draft, Source

LICENCE = "not stated; verify each picture's licence before use"
COLUMNS = ("country_code", "category_code", "url", "caption")


def read(source: Source) -> Iterator[Draft]:
    """Rows of a CSV, or of the CSVs of a folder, one for each country.

    The concept is the caption, as the nine categories of the source are subjects (FOOD, ARCH).
    """
    for row in source.rows(source.files("*.csv", "sheets"), COLUMNS):
        if texts := row.texts(COLUMNS):
            yield Draft(
                row,
                id=f"ccub-{Path(row.file).stem}-{row.number:04}",
                place=texts["country_code"],
                category=tidy(texts["caption"]).casefold(),
                captions={"en": Sentence(texts["caption"])},
                url=texts["url"],
                notes={"annotator_en": f"CCUB, {texts['category_code']}", "review_en": "by people of the culture"},
            )
