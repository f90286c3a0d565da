"""CulturalVQA (Nayak et al. 2024): pictures with questions.

The public files lack country and answer; these have to be given.
"""

from collections.abc import Iterator

from interp.benchmarks.importers.captions import Name, tidy
from interp.benchmarks.importers.source import Draft, Source, read_cells
from interp.errors import InterpError

LICENCE = "not stated"
COLUMNS = ("u_id", "image", "question")
ANNOTATIONS = ("u_id", "country", "answer")


def read(source: Source) -> Iterator[Draft]:
    """Rows of the hub's parquet files; the answer is the noun.

    Raises:
        InterpError: if there are no annotations.
    """
    if source.options.annotations is None:
        raise InterpError(
            "source cultural_vqa: the public files have no country and no answer; give a CSV with the columns "
            f"{', '.join(ANNOTATIONS)} with the option annotations"
        )
    answers = read_cells(source.options.annotations, ANNOTATIONS)
    known = {row["u_id"]: row for row in answers if all(isinstance(row.get(c), str) for c in ANNOTATIONS)}
    for row in source.rows(source.files("*.parquet", "hub files"), COLUMNS):
        if complete := row.with_image(("u_id",)):
            name, image = complete[0]["u_id"], complete[1]
            if name not in known:
                source.log.leave("no country and answer in the annotations", name)
                continue
            answer = tidy(known[name]["answer"])
            yield Draft(
                row,
                id=f"cultural-vqa-{name}",
                place=known[name]["country"],
                category=answer.casefold(),
                captions={"en": Name(answer)},
                image=image,
                notes={"annotator_en": "CulturalVQA, an answer"},
            )
