"""A folder of pictures with `captions.csv` or `captions.jsonl`: a user's own data."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from interp.errors import InterpError
from interp.importers import tabular
from interp.importers.captions import Given, Wording
from interp.importers.drafts import Draft, Log, Options

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
    for number, row in enumerate(tabular.read(files[0], COLUMNS, options.columns), 1):
        log.read += 1
        if draft := draft_of(row, files[0].name, number, _inside(path, row, files[0].name, number, log), log):
            yield draft


def _inside(path: Path, row: Mapping[str, Any], file: str, number: int, log: Log) -> Path | None:
    at = path / str(row.get("image", ""))
    if at.is_file() and at.resolve().is_relative_to(path.resolve()):
        return at
    log.bad(file, number, "image", f"there is no such file in the folder (found {row.get('image')!r})")
    return None


def draft_of(row: Mapping[str, Any], file: str, number: int, picture: bytes | Path | None, log: Log) -> Draft | None:
    """The draft of a row with these columns; None, and noted, if something is wrong with it."""
    found = tabular.texts(row, COLUMNS[1:], file, number, log)
    if found is None or picture is None:
        return None
    language = found["language"]
    captions = {language: _given(row, "", file, number, log)}
    if language != "en":
        english = tabular.texts(row, ("culture_style_en", "noun_only_en"), file, number, log)
        captions["en"] = _given(row, "_en", file, number, log) if english else None
    given: dict[str, Wording] = {lang: wording for lang, wording in captions.items() if wording is not None}
    if len(given) < len(captions):
        return None
    return Draft(
        file=file,
        row=number,
        id=str(row.get("id") or f"row-{number:05}"),
        place=found["culture"],
        category=found["category"],
        captions=given,
        picture=picture,
        notes={name: row[name] for name in NOTES if name in row},
    )


def _given(row: Mapping[str, Any], suffix: str, file: str, number: int, log: Log) -> Given | None:
    """Both captions of one language, with the spans if the row has them."""
    there = [span for span in SPANS if span + suffix in row]
    spans: dict[str, Any] = {}
    for name in there:
        value = row[name + suffix]
        try:
            spans[name] = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            log.bad(file, number, name + suffix, f"is no span such as [0, 5] (found {value!r:.60})")
            return None
    if there and len(there) < len(SPANS):
        missing = next(s for s in SPANS if s not in there)
        log.bad(file, number, missing + suffix, "is missing; give all three spans of a language, or none")
        return None
    noun = row.get("noun" + suffix)
    if noun is not None and not isinstance(noun, str):
        log.bad(file, number, "noun" + suffix, f"is no text (found {noun!r:.60})")
        return None
    return Given(row["culture_style" + suffix], row["noun_only" + suffix], noun, spans or None)
