"""CulturalFrames (Nayak et al. 2025): English prompts on ten countries and what four models drew for them."""

from collections.abc import Iterator

from interp.benchmarks.importers.captions import Sentence, tidy
from interp.benchmarks.importers.source import Draft, Source

LICENCE = "not stated"
COLUMNS = ("id", "prompt", "image", "country", "model")


def read(source: Source) -> Iterator[Draft]:
    """Rows of the hub's parquet files. The pictures are drawn by models: their author is the model."""
    for row in source.rows(source.files("*.parquet", "hub files"), COLUMNS):
        if complete := row.with_image(("id", "prompt", "country", "model")):
            texts, image = complete
            yield Draft(
                row,
                id=f"cultural-frames-{texts['id']}-{texts['model']}",
                place=texts["country"],
                category=tidy(texts["prompt"]).casefold(),
                captions={"en": Sentence(texts["prompt"])},
                image=image,
                author=texts["model"],
                notes={"annotator_en": "CulturalFrames"},
            )
