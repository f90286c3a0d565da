"""MosAIG (Bhalerao et al. 2025): a person of one country before a landmark of another, drawn by models.

Its captions are in five languages.
"""

from collections.abc import Iterator
from pathlib import Path

from interp.benchmarks.importers.captions import Sentence, tidy
from interp.benchmarks.importers.source import Draft, Source

LICENCE = "MIT (the repository)"
COLUMNS = ("image", "caption", "country")


def read(source: Source) -> Iterator[Draft]:
    """Rows of the hub's parquet files; the culture is the person's, and only English captions are taken.

    The names of its columns are not verified: name them with the option columns.
    """
    for row in source.rows(source.files("*.parquet", "hub files"), COLUMNS):
        if str(row.cells.get("language", "English")) not in ("English", "en"):
            source.log.leave("its caption is not in English", str(row.cells["language"]))
        elif complete := row.with_image(COLUMNS[1:]):
            texts, image = complete
            yield Draft(
                row,
                id=f"mosaig-{Path(row.file).stem}-{row.number:05}",
                place=texts["country"],
                category=tidy(texts["caption"]).casefold(),
                captions={"en": Sentence(texts["caption"])},
                image=image,
                notes={"annotator_en": "MosAIG"},
            )
