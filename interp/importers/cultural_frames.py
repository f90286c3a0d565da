"""CulturalFrames: English prompts on ten countries and the pictures that four models drew for them."""

from collections.abc import Iterator
from pathlib import Path

from interp.importers import tabular
from interp.importers.captions import Sentence, tidy
from interp.importers.drafts import Draft, Log, Options

SOURCE = "CulturalFrames (Nayak et al. 2025)"
LICENCE = "not stated"
COLUMNS = ("id", "prompt", "image", "country", "model")


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of the hub's parquet files. The pictures are models' drawings: their author is the model."""
    for file in tabular.files(path, "*.parquet", "hub files"):
        for number, row in enumerate(tabular.read(file, COLUMNS, options.columns), 1):
            log.read += 1
            found = tabular.texts(row, ("id", "prompt", "country", "model"), file.name, number, log)
            data = tabular.picture(row, file.name, number, log)
            if found and data:
                yield Draft(
                    file=file.name,
                    row=number,
                    id=f"cultural-frames-{found['id']}-{found['model']}",
                    place=found["country"],
                    category=tidy(found["prompt"]).casefold(),
                    captions={"en": Sentence(found["prompt"])},
                    picture=data,
                    author=found["model"],
                    notes={"annotator_en": "CulturalFrames"},
                )
