"""The CultureBench format: what a row and `benchmark.json` must hold, and how problems are named.

Not for reading tables (`tables.py`) or asking for samples (`benchmarks.py`).
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from interp.errors import InterpError
from interp.types import UNRECOGNISABLE

SPLITS = ("train", "test", "detection", "cross_domain")
SHOWN = 20
"""Problems listed in one error; the rest are counted."""


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("holds half of a surrogate pair, which no file can store")
    if not unicodedata.is_normalized("NFC", text):
        raise ValueError("is not in Unicode form NFC; normalise the text and count its spans again")
    return text


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or "\\" in path or ":" in path or ".." in parts or not parts:
        raise ValueError("must be a path inside the folder, such as images/0001.png")
    return path


Text = Annotated[StrictStr, AfterValidator(_text)]
ImagePath = Annotated[Text, AfterValidator(_inside)]
CharSpan = tuple[StrictInt, StrictInt]
SplitName = Literal["train", "test", "detection", "cross_domain"]

_DIRECTION = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Marks of writing direction; the text itself says its direction."""

_CAPTION_OF = {
    "modifier_span": "culture_style",
    "noun_span": "culture_style",
    "noun_only_span": "noun_only",
    "neutral_modifier_span": "neutral_style",
    "neutral_noun_span": "neutral_style",
}
_MODIFIER_OF = {"noun_span": "modifier_span", "neutral_noun_span": "neutral_modifier_span"}
_SPANS = tuple(f + suffix for suffix in ("", "_en") for f in _CAPTION_OF)


class SplitRule(BaseModel):
    """How the rows were split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Text
    """In words."""
    shares: dict[SplitName, Annotated[StrictInt, Field(gt=0)]]
    """Parts of the whole, such as 7, 2 and 1."""
    seed: StrictInt


class Card(BaseModel):
    """`benchmark.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    version: Text
    licence: Text
    """Of the benchmark as a whole."""
    image_licence: Text | None = None
    """Of every picture whose row names none."""
    labels: Annotated[tuple[Text, ...], Field(min_length=2)]
    """The cultures, in the order a judge is offered them."""
    parents: dict[Text, Text] = {}
    """Sub-region → the culture that it belongs to; both are labels."""
    languages: dict[Text, Text | None]
    """Language of captions → the culture it stands for; None if it stands for none, as English does."""
    split: SplitRule
    digests: dict[Text, Text] = {}
    """SHA-256 of `samples` (the rows) and `images` (the pixels)."""

    @model_validator(mode="after")
    def _consistent(self) -> "Card":
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: a culture is listed twice")
        if UNRECOGNISABLE in self.labels:
            raise ValueError(f"labels: {UNRECOGNISABLE!r} is the judge's answer for no culture; leave it out")
        if unknown := sorted({c for c in self.languages.values() if c is not None} - set(self.labels)):
            raise ValueError(f"languages: {', '.join(unknown)} not among the labels")
        if unknown := sorted((self.parents.keys() | {*self.parents.values()}) - set(self.labels)):
            raise ValueError(f"parents: {', '.join(unknown)} not among the labels")
        if nested := sorted(self.parents.keys() & {*self.parents.values()}):
            raise ValueError(f"parents: {', '.join(nested)} has a parent and is one; one level is allowed")
        return self

    def root(self, label: str) -> str:
        """The culture that a label belongs to: itself, if it is no sub-region."""
        return self.parents.get(label, label)


class Row(BaseModel):
    """One sample of a benchmark as it lies in the table; checked against a `Card` given as context."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    id: Text
    image: ImagePath
    """Path of the picture, relative to the folder."""
    culture: Text
    language: Text
    """ISO 639-1 code of the native captions."""
    category: Text
    """The concept; with the culture it is the pair that no two splits may share."""
    split: SplitName
    culture_style: Text
    noun_only: Text
    neutral_style: Text | None = None
    """The noun with a modifier that names no culture."""
    modifier_span: CharSpan
    """[start, end) in characters of `culture_style`."""
    noun_span: CharSpan
    noun_only_span: CharSpan
    neutral_modifier_span: CharSpan | None = None
    neutral_noun_span: CharSpan | None = None
    culture_style_en: Text
    noun_only_en: Text
    neutral_style_en: Text | None = None
    modifier_span_en: CharSpan
    noun_span_en: CharSpan
    noun_only_span_en: CharSpan
    neutral_modifier_span_en: CharSpan | None = None
    neutral_noun_span_en: CharSpan | None = None
    region: Text | None = None
    """Country or region, where it is finer than the culture."""
    source_url: Text | None = None
    image_licence: Text | None = None
    image_author: Text | None = None
    annotator: Text | None = None
    """Person or model that wrote the native culture-style caption, and the noun-only one if that says nothing else."""
    review: Text | None = None
    """Review status of the same."""
    annotator_en: Text | None = None
    review_en: Text | None = None
    annotator_noun_only: Text | None = None
    """Of the native noun-only caption, where another wrote it: in the paper a person, after a model's first one."""
    review_noun_only: Text | None = None
    annotator_noun_only_en: Text | None = None
    review_noun_only_en: Text | None = None
    drawing: StrictInt | None = None
    """Of a composed picture: which drawing of the noun."""
    key: Text | None = None
    """Of a composed picture: names the composition."""

    @field_validator("culture")
    @classmethod
    def _culture_known(cls, culture: str, info: Any) -> str:
        if isinstance(info.context, Card) and culture not in info.context.labels:
            raise ValueError(f"unknown culture; known: {', '.join(info.context.labels)}")
        return culture

    @field_validator("language")
    @classmethod
    def _language_known(cls, language: str, info: Any) -> str:
        if isinstance(info.context, Card) and language not in info.context.languages:
            raise ValueError(f"unknown language; known: {', '.join(info.context.languages)}")
        return language

    @field_validator(*_SPANS)
    @classmethod
    def _span_fits(cls, span: CharSpan | None, info: Any) -> CharSpan | None:
        name = str(info.field_name)
        base, suffix = (name.removesuffix("_en"), "_en") if name.endswith("_en") else (name, "")
        caption_field = _CAPTION_OF[base] + suffix
        if caption_field not in info.data:  # the caption's own problem is reported
            return span
        _check_span(span, info.data[caption_field], caption_field)
        modifier = info.data.get(_MODIFIER_OF.get(base, "") + suffix)
        if span and modifier and span[0] < modifier[1] and modifier[0] < span[1]:
            raise ValueError(f"overlaps the modifier's span {list(modifier)}")
        return span


def _check_span(span: CharSpan | None, caption: str | None, caption_field: str) -> None:
    """Raise ValueError unless the span cuts whole characters, not only spaces, out of the caption."""
    if caption is None or span is None:
        if caption is not None or span is not None:
            raise ValueError(f"and {caption_field} must be given together")
        return
    start, end = span
    if not 0 <= start < end <= len(caption):
        raise ValueError(f"is empty or outside {caption_field}, which has {len(caption)} characters")
    if not caption[start:end].strip():
        raise ValueError(f"holds only spaces of {caption_field}")
    # a mark belongs to the letter before it: Thai vowels, Arabic vowel signs
    if any(unicodedata.category(c).startswith("M") for c in (caption[start], caption[end : end + 1] or " ")):
        raise ValueError(f"separates a letter of {caption_field} from its vowel sign or accent")


@dataclass(frozen=True)
class Finding:
    """One problem of a benchmark."""

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
    """The rows that are sound and what was found in all of them."""

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
    ids: dict[str, int] = {}
    for number, value in enumerate(values, 1):
        try:
            row = Row.model_validate(value, context=card)
        except ValidationError as error:
            findings += _findings(error, file, number)
        else:
            rows[number] = row
            odd = _warnings(row, card) if warn else ()
            findings += (Finding(file, number, field, message, "warning") for field, message in odd)
        name = value.get("id") if isinstance(value, dict) else None
        if isinstance(name, str) and (first := ids.setdefault(name, number)) != number:
            findings.append(Finding(file, number, "id", f"{name!r} is already the id of row {first}"))
    if not rows and not findings:
        findings.append(Finding(file, None, "", "holds no rows"))
    return Checked(tuple(rows.values()), tuple(rows), tuple(findings))


def _findings(error: ValidationError, file: str, row: int | None) -> Iterator[Finding]:
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        found = "" if problem["type"] == "missing" or isinstance(problem["input"], dict) else repr(problem["input"])
        message += f" (found {found[:57] + '…' if len(found) > 60 else found})" if found else ""
        yield Finding(file, row, ".".join(str(p) for p in problem["loc"]), message)


def _warnings(row: Row, card: Card | None) -> Iterator[tuple[str, str]]:
    """(field, message) of what is odd in a sound row."""
    for suffix in ("", "_en"):
        plain = getattr(row, "noun_only" + suffix)
        for style, span in (("culture_style", "modifier_span"), ("neutral_style", "neutral_modifier_span")):
            text, cut = getattr(row, style + suffix), getattr(row, span + suffix)
            if text and _letters(text[: cut[0]] + text[cut[1] :]) != _letters(plain):
                yield style + suffix, f"without its modifier it is not the noun-only caption {plain!r} (found {text!r})"
    for field in ("culture_style", "noun_only", "culture_style_en", "noun_only_en"):
        if marks := sorted({f"U+{ord(c):04X}" for c in getattr(row, field) if c in _DIRECTION}):
            yield field, f"holds invisible marks of direction ({', '.join(marks)}), which count in spans; remove them"
    if row.image_licence is None and (card is None or card.image_licence is None):
        yield "image_licence", "is missing: nothing says on what terms the picture may be used"
    culture = card.languages[row.language] if card else row.culture
    if card and culture is not None and row.culture != culture and row.culture in card.languages.values():
        yield "language", f"{row.language!r} stands for {culture}, but the row's culture is {row.culture}"


def _letters(text: str) -> str:
    """The text without spaces and punctuation, which a modifier brings or takes along."""
    text = unicodedata.normalize("NFC", text)
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c)[0] != "P")


def read_card(path: Path) -> tuple[Card | None, list[Finding]]:
    """`benchmark.json`, and what is wrong with it if it is None."""
    try:
        return Card.model_validate_json(path.read_text(encoding="utf-8")), []
    except ValidationError as error:
        return None, list(_findings(error, path.name, None))
    except (OSError, UnicodeDecodeError) as error:
        return None, [Finding(path.name, None, "", f"cannot be read: {error}")]


def digest_rows(rows: Iterable[Row]) -> str:
    """SHA-256 over the rows in their order, whatever the kind of table."""
    sha = hashlib.sha256()
    for row in rows:
        fields = row.model_dump(mode="json", exclude_none=True)
        sha.update(json.dumps(fields, ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return sha.hexdigest()
