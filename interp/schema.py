"""The CultureBench format: what a row and `benchmark.json` must hold, and how problems are named.

Not for reading tables (`tables.py`) or asking for samples (`benchmarks.py`).
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
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

from interp.bounds import printable, shown
from interp.errors import InterpError
from interp.types import UNRECOGNISABLE

SPLITS = ("train", "test", "detection", "cross_domain")
SHOWN = 20
"""Problems listed in one error; the rest are counted."""
LONGEST = 200
"""Bytes of an id or a label in UTF-8: file systems take 255, and more is put around them."""
_LONGEST_PART, _LONGEST_PATH = 240, 1000
_FORBIDDEN = frozenset('/\\:*?"<>|')
"""What some file system does not take in a name."""
_DEVICES = frozenset(["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789¹²³")])
"""Names that Windows keeps for itself, with any suffix."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_JOINERS = "\u200c\u200d"
"""Invisible, but part of how Persian, Hindi and others are written."""


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    if not text.isascii() and _SURROGATE.search(text):
        raise ValueError("holds half of a surrogate pair, which no file can store")
    if not unicodedata.is_normalized("NFC", text):
        raise ValueError("is not in Unicode form NFC; normalise the text and count its spans again")
    return text


def _invisible(character: str) -> bool:
    """Whether it is a control character, a mark of direction, or anything else that shows nothing and is no space."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _named(characters: Iterable[str]) -> str:
    return ", ".join(sorted({f"{c!r} (U+{ord(c):04X})" if c.isprintable() else f"U+{ord(c):04X}" for c in characters}))


def id_problem(text: str) -> str | None:
    """What keeps a text from being an id, which becomes the name of files; None if nothing does.

    An id is NFC text of printable characters, at most `LONGEST` bytes in UTF-8, without / \\ : * ? " < > |, with no dot
    or space at its ends, and none of the names that Windows keeps for itself.
    """
    try:
        _text(text)
    except ValueError as error:
        return str(error)
    if wrong := [c for c in text if c in _FORBIDDEN or not c.isprintable()]:
        return f"holds {_named(wrong)}, which no name of a file may; use letters, digits, - and _"
    if text[0] in ". " or text[-1] in ". ":
        return "begins or ends with a dot or a space, which no name of a file may"
    if text.partition(".")[0].strip().lower() in _DEVICES:
        return "is a name that Windows keeps for itself; add something to it"
    return _too_long(text)


def _too_long(text: str) -> str | None:
    size = len(text.encode())
    return f"has {size:,} bytes in UTF-8; at most {LONGEST} are allowed" if size > LONGEST else None


def check_id(text: str) -> str:
    """The text; raises ValueError if it is no id."""
    if problem := id_problem(text):
        raise ValueError(problem)
    return text


def check_plain(text: str) -> str:
    """The text; raises ValueError if it holds control characters, line ends or marks of direction."""
    # the one call for the common case, thousands of times a benchmark
    if not text.isprintable() and (wrong := [c for c in text if _invisible(c) and c not in _JOINERS]):
        raise ValueError(f"holds {_named(wrong)}, which shows nothing; remove it")
    return text


def _label(text: str) -> str:
    if wrong := [c for c in check_plain(text) if c in "/\\"]:
        raise ValueError(f"holds {_named(wrong)}, which separates folders; write a word, a space or - in its place")
    if text != text.strip() or text[0] == ".":
        raise ValueError("begins with a dot or a space, or ends with a space")
    if problem := _too_long(text):
        raise ValueError(problem)
    return text


def _language(code: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{1,8}([-_][A-Za-z0-9]{1,8}){0,4}", code):
        raise ValueError("is no code of a language such as ja or pt-BR")
    return code


def sound_id(text: str) -> str:
    """The text if it is an id, else one that is made of it: other characters are left out, and a digest of the whole
    text is added, so that no two texts give the same."""
    return text if id_problem(text) is None else told_apart(text)


def told_apart(text: str) -> str:
    """An id that is made of a text and of a digest of it."""
    # what stands for half of a surrogate pair cannot be encoded, and has a digest, too
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    kept = "".join(c if c.isprintable() and c not in _FORBIDDEN else "-" for c in unicodedata.normalize("NFC", text))
    head = kept.encode()[: LONGEST - 1 - len(digest)].decode(errors="ignore").strip(". ")
    return f"{head}-{digest}" if id_problem(f"{head}-{digest}") is None else f"id-{digest}"


def same_name(text: str) -> str:
    """The same for texts that some file system takes for one name: case and Unicode form are passed over."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or "\\" in path or ":" in path or ".." in parts or not parts:
        raise ValueError("must be a path inside the folder, such as images/0001.png")
    if max(len(part.encode()) for part in parts) > _LONGEST_PART or len(path.encode()) > _LONGEST_PATH:
        raise ValueError(f"has a name of over {_LONGEST_PART} bytes, or over {_LONGEST_PATH} as a whole; shorten it")
    return check_plain(path)


Text = Annotated[StrictStr, AfterValidator(_text)]
Id = Annotated[StrictStr, AfterValidator(check_id)]
Label = Annotated[Text, AfterValidator(_label)]
"""A culture; it may become part of the name of a file."""
Language = Annotated[Text, AfterValidator(_language)]
Category = Annotated[Text, AfterValidator(check_plain)]
Sha256 = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]
ImagePath = Annotated[Text, AfterValidator(_inside)]
CharSpan = tuple[StrictInt, StrictInt]
SplitName = Literal["train", "test", "detection", "cross_domain"]
Digested = Literal["samples", "images", "card"]

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


def _alike(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that some file system takes for one."""
    first: dict[str, str] = {}
    return next(((found, n) for n in names if (found := first.setdefault(same_name(n), n)) != n), None)


class Card(BaseModel):
    """`benchmark.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    version: Text
    licence: Text
    """Of the benchmark as a whole."""
    image_licence: Text | None = None
    """Of every picture whose row names none."""
    labels: Annotated[tuple[Label, ...], Field(min_length=2)]
    """The cultures, in the order a judge is offered them."""
    parents: dict[Label, Label] = {}
    """Sub-region → the culture that it belongs to; both are labels."""
    languages: dict[Language, Label | None]
    """Language of captions → the culture it stands for; None if it stands for none, as English does."""
    split: SplitRule
    digests: dict[Digested, Sha256] = {}
    """SHA-256 of `samples` (the rows), `images` (the pixels) and `card` (all of this file but itself)."""

    @model_validator(mode="after")
    def _consistent(self) -> "Card":
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: a culture is listed twice")
        if alike := _alike(self.labels):
            raise ValueError(f"labels: {alike[0]!r} and {alike[1]!r} differ only in case or Unicode form; rename one")
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

    id: Id
    """Names the pictures that are drawn of the sample."""
    image: ImagePath
    """Path of the picture, relative to the folder."""
    culture: Label
    language: Language
    """ISO 639-1 code of the native captions."""
    category: Category
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
        what: is made, for the error.

    Raises:
        InterpError: they are no card; each problem is named.
    """
    try:
        return Card.model_validate(dict(fields))
    except ValidationError as error:
        refuse(findings_of(error, "its card", None), what)
        raise


def digest_card(card: Card) -> str:
    """SHA-256 over a card, the digests of rows and pictures among it; its own is not."""
    fields = card.model_dump(mode="json", exclude_defaults=True)
    fields["digests"] = {part: value for part, value in card.digests.items() if part != "card"}
    return hashlib.sha256(json.dumps(fields, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def digest_rows(rows: Iterable[Row]) -> str:
    """SHA-256 over the rows in their order, whatever the kind of table."""
    sha = hashlib.sha256()
    for row in rows:
        fields = row.model_dump(mode="json", exclude_none=True)
        sha.update(json.dumps(fields, ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return sha.hexdigest()
