"""A table of samples as a whole: what is wrong with it, and what only looks odd."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from interp.benchmarks.names import DIRECTION_MARKS, SHOWN, same_name
from interp.benchmarks.schema import Card, Row
from interp.bounds import printable, shown
from interp.errors import InterpError


@dataclass(frozen=True)
class Finding:
    """One problem of a table."""

    file: str
    row: int | None
    """Counted from 1; None if the problem is not one row's."""
    field: str
    message: str
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = [self.file, f"row {self.row}" if self.row else "", f"field {self.field}" if self.field else ""]
        return f"{', '.join(w for w in where if w)}: {self.message}"


@dataclass(frozen=True)
class Checked:
    """The rows that are sound, and what is wrong or odd in all of them."""

    rows: tuple[Row, ...]
    numbers: tuple[int, ...]
    """Of `rows`, counted from 1 in the table."""
    findings: tuple[Finding, ...]


def refuse(findings: Iterable[Finding], what: str) -> None:
    """Raise one error that lists the findings of level `error`, the first 20 and the count.

    Args:
        findings: of any level; warnings are passed over.
        what: what was asked, such as "benchmark food".

    Raises:
        InterpError: if there is an error among them.
    """
    errors = [str(f) for f in findings if f.level == "error"]
    if len(errors) == 1:
        raise InterpError(f"{what}: {errors[0]}")
    if errors:
        more = [f"and {len(errors) - SHOWN} more"] if len(errors) > SHOWN else []
        raise InterpError("\n  ".join([f"{what}: {len(errors)} problems", *errors[:SHOWN], *more]))


def check_rows(values: Iterable[Any], card: Card | None, file: str, warn: bool = False) -> Checked:
    """Check every row by itself and that no id comes twice.

    Args:
        values: rows as read from a table.
        card: gives the cultures and languages; without it those are not checked.
        file: named in the findings.
        warn: look for what is odd in sound rows, too.
    """
    rows: dict[int, Row] = {}
    findings: list[Finding] = []
    ids: dict[str, tuple[str, int]] = {}
    for number, value in enumerate(values, 1):
        try:
            row = Row.model_validate(value, context=card)
        except ValidationError as error:
            findings += findings_of(error, file, number)
        else:
            rows[number] = row
            odd = _warnings(row, card) if warn else ()
            findings += (Finding(file, number, field, message, "warning") for field, message in odd)
        name = value.get("id") if isinstance(value, dict) else None
        if isinstance(name, str) and (first := ids.setdefault(same_name(name), (name, number))) != (name, number):
            findings.append(Finding(file, number, "id", _twice(name, *first)))
    if not rows and not findings:
        findings.append(Finding(file, None, "", "holds no rows"))
    return Checked(tuple(rows.values()), tuple(rows), tuple(findings))


def _twice(name: str, first: str, number: int) -> str:
    if name == first:
        return f"{shown(name)} is already the id of row {number}"
    alike = f"{shown(name)} differs from {shown(first)} of row {number} only in case or Unicode form"
    return f"{alike}, and some file systems take them for one name; rename one of them"


def findings_of(error: ValidationError, file: str, row: int | None) -> Iterator[Finding]:
    """What pydantic found wrong with a record, each in one line that can be printed, however large its content."""
    for problem in error.errors():
        message = printable(problem["msg"].removeprefix("Value error, "), 1000)
        missing = problem["type"] == "missing" or isinstance(problem["input"], dict)
        message += "" if missing else f" (found {shown(problem['input'])})"
        yield Finding(file, row, ".".join(printable(str(p)) for p in problem["loc"]), message)


def _warnings(row: Row, card: Card | None) -> Iterator[tuple[str, str]]:
    """(field, message) of what is odd in a sound row."""
    for suffix in ("", "_en"):
        plain = getattr(row, "noun_only" + suffix)
        for style, span in (("culture_style", "modifier_span"), ("neutral_style", "neutral_modifier_span")):
            text, cut = getattr(row, style + suffix), getattr(row, span + suffix)
            if text and _comparable(text[: cut[0]] + text[cut[1] :]) != _comparable(plain):
                yield style + suffix, f"without its modifier it is not the noun-only caption {plain!r} (found {text!r})"
    for field in ("culture_style", "noun_only", "culture_style_en", "noun_only_en"):
        if marks := sorted({f"U+{ord(c):04X}" for c in getattr(row, field) if c in DIRECTION_MARKS}):
            yield field, f"holds invisible marks of direction ({', '.join(marks)}), which count in spans; remove them"
    if row.image_licence is None and (card is None or card.image_licence is None):
        yield "image_licence", "is missing: nothing says on what terms the picture may be used"
    culture = card.languages[row.language] if card else row.culture
    if card and culture is not None and row.culture != culture and row.culture in card.languages.values():
        yield "language", f"{row.language!r} stands for {culture}, but the row's culture is {row.culture}"


def _comparable(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    return "".join(text[i] for i in letters(text))


def letters(text: str) -> list[int]:
    """Positions of the characters that are neither space nor punctuation, which a modifier brings or takes along."""
    return [i for i, c in enumerate(text) if not c.isspace() and unicodedata.category(c)[0] != "P"]


def read_card(path: Path) -> tuple[Card | None, list[Finding]]:
    """`benchmark.json`, and what is wrong with it if it is None."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise OSError("it is no file")
        return Card.model_validate_json(path.read_text(encoding="utf-8")), []
    except ValidationError as error:
        return None, list(findings_of(error, path.name, None))
    except (OSError, UnicodeDecodeError) as error:
        return None, [Finding(path.name, None, "", f"cannot be read: {error}")]


def card_of(fields: Mapping[str, Any], what: str) -> Card:
    """A card of these fields.

    Args:
        fields: of `Card`.
        what: what is made, for the error.

    Raises:
        InterpError: they are no card; each problem is named.
    """
    try:
        return Card.model_validate(dict(fields))
    except ValidationError as error:
        refuse(findings_of(error, "its card", None), what)
        raise
