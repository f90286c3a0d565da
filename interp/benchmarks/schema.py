"""The CultureBench format: what a row and `benchmark.json` must hold, and how problems are named.

Not for reading tables (`rows.py`) or asking for samples (`benchmark.py`).
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator, model_validator

from interp.benchmarks.names import Category, Id, ImagePath, Label, Language, Sha256, Text, same_name
from interp.types import UNRECOGNISABLE

SPLITS = ("train", "test", "detection", "cross_domain")
CharSpan = tuple[StrictInt, StrictInt]
SplitName = Literal["train", "test", "detection", "cross_domain"]
Digested = Literal["samples", "images", "card"]

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
    return next(((earlier, n) for n in names if (earlier := first.setdefault(same_name(n), n)) != n), None)


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

    @field_validator("culture", "language")
    @classmethod
    def _name_known(cls, name: str, info: Any) -> str:
        if isinstance(info.context, Card):
            known = info.context.labels if info.field_name == "culture" else info.context.languages
            if name not in known:
                raise ValueError(f"unknown {info.field_name}; known: {', '.join(known)}")
        return name

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
