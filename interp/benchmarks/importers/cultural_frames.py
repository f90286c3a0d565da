"""CulturalFrames: English prompts on ten countries and the pictures that four models drew for them."""

from collections.abc import Iterator
from pathlib import Path

from interp.benchmarks.importers import tabular
from interp.benchmarks.importers.captions import Sentence, tidy
from interp.benchmarks.importers.drafts import Draft, Log, Options

SOURCE = "CulturalFrames (Nayak et al. 2025)"
LICENCE = "not stated"
COLUMNS = ("id", "prompt", "image", "country", "model")


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of the hub's parquet files. The pictures are models' drawings: their author is the model."""
    for row in tabular.rows(tabular.files(path, "*.parquet", "hub files"), COLUMNS, options, log):
        if pictured := row.pictured(("id", "prompt", "country", "model")):
            found, data = pictured
            yield Draft(
                file=row.file,
                row=row.number,
                id=f"cultural-frames-{found['id']}-{found['model']}",
                place=found["country"],
                category=tidy(found["prompt"]).casefold(),
                captions={"en": Sentence(found["prompt"])},
                picture=data,
                author=found["model"],
                notes={"annotator_en": "CulturalFrames"},
            )
