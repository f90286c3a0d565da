"""CulturalVQA: pictures with questions. The public files lack country and answer; these have to be given."""

from collections.abc import Iterator
from pathlib import Path

from interp.benchmarks.importers import tabular
from interp.benchmarks.importers.captions import Name, tidy
from interp.benchmarks.importers.drafts import Draft, Log, Options
from interp.errors import InterpError

SOURCE = "CulturalVQA (Nayak et al. 2024)"
LICENCE = "not stated"
COLUMNS = ("u_id", "image", "question")
ANNOTATIONS = ("u_id", "country", "answer")


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of the hub's parquet files; the answer is the noun.

    Raises:
        InterpError: if there are no annotations.
    """
    if options.annotations is None:
        raise InterpError(
            "source cultural_vqa: the public files have no country and no answer; give a CSV with the columns "
            f"{', '.join(ANNOTATIONS)} with the option annotations"
        )
    answers = tabular.read(options.annotations, ANNOTATIONS)
    known = {row["u_id"]: row for row in answers if all(isinstance(row.get(c), str) for c in ANNOTATIONS)}
    for row in tabular.rows(tabular.files(path, "*.parquet", "hub files"), COLUMNS, options, log):
        if pictured := row.pictured(("u_id",)):
            found, data = pictured
            more = known.get(found["u_id"], {})
            if not more:
                log.leave("no country and answer in the annotations", found["u_id"])
                continue
            answer = tidy(more["answer"])
            yield Draft(
                file=row.file,
                row=row.number,
                id=f"cultural-vqa-{found['u_id']}",
                place=more["country"],
                category=answer.casefold(),
                captions={"en": Name(answer)},
                picture=data,
                notes={"annotator_en": "CulturalVQA, an answer"},
            )
