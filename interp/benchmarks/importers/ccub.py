"""CCUB: pictures named by their URL, with captions by people of the culture, in English."""

from collections.abc import Iterator
from pathlib import Path

from interp.benchmarks.importers import tabular
from interp.benchmarks.importers.captions import Sentence, tidy
from interp.benchmarks.importers.drafts import Draft, Log, Options

SOURCE = "CCUB (Liu et al. 2023)"
LICENCE = "not stated; verify each picture's licence before use"
COLUMNS = ("country_code", "category_code", "url", "caption")


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of a CSV, or of the CSVs of a folder, one for each country.

    The concept is the caption, as the nine categories of the source are subjects (FOOD, ARCH).
    """
    for row in tabular.rows(tabular.files(path, "*.csv", "sheets"), COLUMNS, options, log):
        if found := row.texts(COLUMNS):
            yield Draft(
                file=row.file,
                row=row.number,
                id=f"ccub-{Path(row.file).stem}-{row.number:04}",
                place=found["country_code"],
                category=tidy(found["caption"]).casefold(),
                captions={"en": Sentence(found["caption"])},
                url=found["url"],
                notes={"annotator_en": f"CCUB, {found['category_code']}", "review_en": "by people of the culture"},
            )
