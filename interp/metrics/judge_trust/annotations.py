"""Answers of people to the questions that a judge is asked: the file format is in docs/annotations.md."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from interp.benchmarks.checks import Finding, findings_of, refuse
from interp.benchmarks.names import check_id, check_plain
from interp.benchmarks.rows import read_table
from interp.bounds import shown
from interp.types import UNRECOGNISABLE, Sample

Task = Literal["culture", "four_image"]


@dataclass(frozen=True)
class Question:
    """Four images of four cultures: which is of the target?"""

    id: str
    """Follows from seed and images and does not give the answer away."""
    target: str
    """The culture asked for."""
    samples: tuple[Sample, ...]
    """In the order shown."""
    answer: int
    """Position of the right image, counted from 1 as people answer."""

    @property
    def right(self) -> Sample:
        """The sample of the target."""
        return self.samples[self.answer - 1]


class Annotation(BaseModel):
    """One answer of one person."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    item: Annotated[str, AfterValidator(check_id)]
    """Id of a sample, or of a question."""
    annotator: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(check_plain)]
    answer: Annotated[str, Field(min_length=1)]
    """A label or Unrecognisable; in the four-image task the position chosen, 1 to 4."""
    task: Task = "culture"
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Time taken."""


def read_annotations(
    path: Path, samples: Sequence[Sample], labels: Collection[str], questions: Sequence[Question] = ()
) -> tuple[Annotation, ...]:
    """Read an annotation file (docs/annotations.md).

    Args:
        path: CSV, JSONL or parquet.
        samples: the items of the task `culture`.
        labels: the answers to it, Unrecognisable among them or not.
        questions: the items of the task `four_image`.

    Raises:
        InterpError: for any row in disorder; lists file, row and field of the first 20 and the count.
    """
    items = {"culture": {s.id for s in samples}, "four_image": {q.id for q in questions}}
    known = {"culture": [*dict.fromkeys([*labels, UNRECOGNISABLE])], "four_image": ["1", "2", "3", "4"]}
    annotations: list[Annotation] = []
    findings: list[Finding] = []
    first: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(read_table(path), 1):
        try:
            one = Annotation.model_validate(row)
        except ValidationError as error:
            findings += findings_of(error, path.name, number)
            continue
        if one.item not in items[one.task]:
            unknown = f"unknown {shown(one.item)} of the task {one.task}"
            findings.append(Finding(path.name, number, "item", unknown))
        if one.answer not in known[one.task]:
            unknown = f"unknown {shown(one.answer)}; known: {', '.join(known[one.task])}"
            findings.append(Finding(path.name, number, "answer", unknown))
        if (before := first.setdefault((one.task, one.item, one.annotator), number)) != number:
            findings.append(Finding(path.name, number, "item", f"{one.annotator} answered it in row {before}"))
        annotations.append(one)
    if not annotations and not findings:
        findings.append(Finding(path.name, None, "", "holds no rows"))
    refuse(findings, f"annotations {path}")
    return tuple(annotations)
