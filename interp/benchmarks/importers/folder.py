"""A folder of pictures with `captions.csv` or `captions.jsonl`: a user's own data."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interp.benchmarks.importers import tabular
from interp.benchmarks.importers.captions import Given, Wording
from interp.benchmarks.importers.drafts import Draft, Log, Options
from interp.benchmarks.importers.tabular import Row
from interp.bounds import shown
from interp.errors import InterpError

SOURCE = "a folder of pictures and captions"
LICENCE = None
COLUMNS = ("image", "culture", "language", "category", "culture_style", "noun_only")
SPANS = ("modifier_span", "noun_span", "noun_only_span")
NOTES = (
    "region",
    "source_url",
    "image_licence",
    "image_author",
    "annotator",
    "review",
    "annotator_en",
    "review_en",
)


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of the captions' file; `image` is a path inside the folder.

    Raises:
        InterpError: if there is no file of captions, or two.
    """
    files = [p for kind in ("csv", "jsonl") if (p := path / f"captions.{kind}").is_file()]
    if len(files) != 1:
        raise InterpError(f"{path}: one file captions.csv or captions.jsonl is needed; found {len(files)}")
    for row in tabular.rows(files, COLUMNS, options, log):
        if draft := draft_of(row, _inside(path, row)):
            yield draft


def _inside(path: Path, row: Row) -> Path | None:
    at = path / str(row.cells.get("image", ""))
    # os.path, as Path.is_file raises for a name that is too long
    if os.path.isfile(at) and at.resolve().is_relative_to(path.resolve()):
        return at
    row.bad("image", f"there is no such file in the folder (found {shown(row.cells.get('image'))})")
    return None


def draft_of(row: Row, picture: bytes | Path | None) -> Draft | None:
    """The draft of a row with these columns; None, and noted, if something is wrong with it."""
    found = row.texts(COLUMNS[1:])
    if found is None or picture is None:
        return None
    language = found["language"]
    captions = {language: _given(row, "")}
    if language != "en":
        english = row.texts(("culture_style_en", "noun_only_en"))
        captions["en"] = _given(row, "_en") if english else None
    given: dict[str, Wording] = {lang: wording for lang, wording in captions.items() if wording is not None}
    if len(given) < len(captions):
        return None
    return Draft(
        file=row.file,
        row=row.number,
        id=str(row.cells.get("id") or f"row-{row.number:05}"),
        place=found["culture"],
        category=found["category"],
        captions=given,
        picture=picture,
        notes={name: row.cells[name] for name in NOTES if name in row.cells},
    )


def _given(row: Row, suffix: str) -> Given | None:
    """Both captions of one language, with the spans if the row has them."""
    cells = row.cells
    there = [span for span in SPANS if span + suffix in cells]
    spans: dict[str, Any] = {}
    for name in there:
        value = cells[name + suffix]
        try:
            spans[name] = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            row.bad(name + suffix, f"is no span such as [0, 5] (found {shown(value)})")
            return None
    if there and len(there) < len(SPANS):
        missing = next(s for s in SPANS if s not in there)
        row.bad(missing + suffix, "is missing; give all three spans of a language, or none")
        return None
    noun = cells.get("noun" + suffix)
    if noun is not None and not isinstance(noun, str):
        row.bad("noun" + suffix, f"is no text (found {shown(noun)})")
        return None
    return Given(cells["culture_style" + suffix], cells["noun_only" + suffix], noun, spans or None)
