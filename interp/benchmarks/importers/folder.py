"""A folder of pictures with `captions.csv` or `captions.jsonl`: a user's own data."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from interp.benchmarks.importers.captions import CaptionPair, Wording
from interp.benchmarks.importers.source import Draft, Source, SourceRow
from interp.bounds import shown
from interp.errors import InterpError

LICENCE = None
COLUMNS = ("image", "culture", "language", "category", "culture_style", "noun_only")
SPANS = ("modifier_span", "noun_span", "noun_only_span")
NOTES = (
    "region", "source_url", "image_licence", "image_author", "annotator", "review", "annotator_en", "review_en",
)  # fmt: skip


def read(source: Source) -> Iterator[Draft]:
    """Rows of the captions' file; `image` is a path inside the folder.

    Raises:
        InterpError: if there is no file of captions, or two.
    """
    path = source.path
    files = [p for kind in ("csv", "jsonl") if (p := path / f"captions.{kind}").is_file()]
    if len(files) != 1:
        raise InterpError(f"{path}: one file captions.csv or captions.jsonl is needed; found {len(files)}")
    for row in source.rows(files, COLUMNS):
        if draft := draft_of(row, _inside(path, row)):
            yield draft


def _inside(folder: Path, row: SourceRow) -> Path | None:
    path = folder / str(row.cells.get("image", ""))
    # os.path, as Path.is_file raises for a name that is too long
    if os.path.isfile(path) and path.resolve().is_relative_to(folder.resolve()):
        return path
    row.bad("image", f"there is no such file in the folder (found {shown(row.cells.get('image'))})")
    return None


def draft_of(row: SourceRow, image: bytes | Path | None) -> Draft | None:
    """The draft of a row with these columns; None, and noted, if something is wrong with it."""
    texts = row.texts(COLUMNS[1:])
    if texts is None or image is None:
        return None
    captions: dict[str, Wording | None] = {texts["language"]: _pair(row, "")}
    if texts["language"] != "en":
        captions["en"] = _pair(row, "_en") if row.texts(("culture_style_en", "noun_only_en")) else None
    sound = {language: wording for language, wording in captions.items() if wording is not None}
    if len(sound) < len(captions):
        return None
    return Draft(
        row,
        id=str(row.cells.get("id") or f"row-{row.number:05}"),
        place=texts["culture"],
        category=texts["category"],
        captions=sound,
        image=image,
        notes={name: row.cells[name] for name in NOTES if name in row.cells},
    )


def _pair(row: SourceRow, suffix: str) -> CaptionPair | None:
    """Both captions of one language, with the spans if the row has them."""
    cells = {name.removesuffix(suffix): value for name, value in row.cells.items() if name.endswith(suffix)}
    spans = {name: cells[name] for name in SPANS if name in cells}
    for name, value in spans.items():
        try:
            spans[name] = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            row.bad(name + suffix, f"is no span such as [0, 5] (found {shown(value)})")
            return None
    if spans and len(spans) < len(SPANS):
        missing = next(s for s in SPANS if s not in spans)
        row.bad(missing + suffix, "is missing; give all three spans of a language, or none")
        return None
    noun = cells.get("noun")
    if noun is not None and not isinstance(noun, str):
        row.bad("noun" + suffix, f"is no text (found {shown(noun)})")
        return None
    return CaptionPair(cells["culture_style"], cells["noun_only"], noun, spans or None)
