"""MosAIG: models' pictures of a person of one country before a landmark of another, with captions in five languages."""

from collections.abc import Iterator
from pathlib import Path

from interp.benchmarks.importers import tabular
from interp.benchmarks.importers.captions import Sentence, tidy
from interp.benchmarks.importers.drafts import Draft, Log, Options

SOURCE = "MosAIG (Bhalerao et al. 2025)"
LICENCE = "MIT (the repository)"
COLUMNS = ("image", "caption", "country")


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of the hub's parquet files; the culture is the person's, and only English captions are taken.

    The names of its columns are not verified: name them with the option columns.
    """
    for row in tabular.rows(tabular.files(path, "*.parquet", "hub files"), COLUMNS, options, log):
        if str(row.cells.get("language", "English")) not in ("English", "en"):
            log.leave("its caption is not in English", str(row.cells["language"]))
        elif pictured := row.pictured(COLUMNS[1:]):
            found, data = pictured
            yield Draft(
                file=row.file,
                row=row.number,
                id=f"mosaig-{Path(row.file).stem}-{row.number:05}",
                place=found["country"],
                category=tidy(found["caption"]).casefold(),
                captions={"en": Sentence(found["caption"])},
                picture=data,
                notes={"annotator_en": "MosAIG"},
            )
