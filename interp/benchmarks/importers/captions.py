"""Captions of imported rows: built from a name, cut out of a sentence, or as the source has them; always with spans.

Nothing is translated here: a caption in a language is made of words that the source has in that language and, at most,
of a country's name in it.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from interp.benchmarks.checks import letters
from interp.benchmarks.importers.places import Place
from interp.benchmarks.names import DIRECTION_MARKS
from interp.benchmarks.pocket import COMMAS, caption
from interp.errors import InterpError
from interp.types import Span


@dataclass(frozen=True)
class Name:
    """What a thing is called; a caption is built around it."""

    text: str


@dataclass(frozen=True)
class Sentence:
    """A description of a picture, which names its culture in one piece, or not at all."""

    text: str


@dataclass(frozen=True)
class CaptionPair:
    """Both captions as the source has them."""

    culture_style: str
    noun_only: str
    noun: str | None = None
    """Where the source says which words are the noun."""
    spans: dict[str, Any] | None = None
    """Where the source has counted them: `modifier_span`, `noun_span`, `noun_only_span`."""


Wording = Name | Sentence | CaptionPair


class UnfitError(Exception):
    """A caption that is sound but of no use here; the message says why."""


@dataclass(frozen=True)
class Cut:
    """Where two captions differ and what they share."""

    modifier: Span
    """In the culture-style caption."""
    noun: Span
    noun_only: Span
    """The noun in the noun-only caption."""


def tidy(text: str) -> str:
    """The text in NFC, with single spaces, none at its ends, and without invisible marks of writing direction."""
    without = dict.fromkeys(map(ord, DIRECTION_MARKS))
    return " ".join(unicodedata.normalize("NFC", text).translate(without).split())


def fields(wording: Wording, language: str, place: Place) -> dict[str, object]:
    """The caption fields of a row in one language: two captions and three spans.

    Raises:
        InterpError: if the spans cannot be found.
        UnfitError: if the noun-only caption would name the culture.
    """
    if isinstance(wording, Name):
        row = _named(tidy(wording.text), language, place)
    elif isinstance(wording, Sentence):
        row = _described(tidy(wording.text), language, place)
    elif wording.spans is not None:
        return {"culture_style": wording.culture_style, "noun_only": wording.noun_only, **wording.spans}
    else:
        row = _compared(tidy(wording.culture_style), tidy(wording.noun_only), wording.noun)
    if language == "en" and re.search(_naming(place), str(row["noun_only"])):
        raise UnfitError("the noun-only caption names the culture")
    return row


def _named(name: str, language: str, place: Place) -> dict[str, object]:
    """In English "Italian-style pizza", elsewhere the name and the country's: "ピザ、イタリア"."""
    return _phrased(name, f"{place.demonym}-style {{n}}" if language == "en" else _with_country(language, place))


def _with_country(language: str, place: Place) -> str:
    if language not in place.names:
        raise InterpError(f"the name of {place.label} in language {language!r} is not known here; give the captions")
    return "{n}" + COMMAS.get(language, ", ") + place.names[language]


def _phrased(name: str, phrasing: str) -> dict[str, object]:
    styled = caption(name, phrasing=phrasing)
    assert styled.modifier is not None
    # without the comma of the phrasing
    inside = [i for i in letters(styled.text) if styled.modifier[0] <= i < styled.modifier[1]]
    return _row(styled.text, name, Cut((inside[0], inside[-1] + 1), styled.noun, (0, len(name))))


def _described(text: str, language: str, place: Place) -> dict[str, object]:
    """The sentence itself if it names its culture, the culture cut out of it; else with the country's name added."""
    text = text.rstrip(" .。")
    naming = re.search(_naming(place), text) if language == "en" else None
    if naming is None:
        return _phrased(text, _with_country(language, place))
    plain = f"{text[: naming.start()]} {text[naming.end() :]}"
    plain = tidy(re.sub(r"\s+(?=[,.;:!?])", "", plain)).strip(" ,;:")
    if not letters(plain):
        raise UnfitError("the caption says nothing but its culture")
    return _compared(text, plain, None)


def _naming(place: Place) -> str:
    """A pattern for the words that name the culture, with the preposition or article that belongs to them."""
    countries, adjectives = (
        "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        for names in (place.countries, {place.demonym, *place.adjectives})
    )
    return (
        rf"(?:,\s*)?(?:\b(?:in|from|of|at|across)\s+)?(?:\bthe\s+)?\b(?:{countries})(?:['’]s)?\b(?:[- ]style\b)?"
        rf"|(?:\b[Aa]n?\s+)?\b(?:{adjectives})\b(?:[- ]style\b)?"
    )


def _compared(styled: str, plain: str, noun: str | None) -> dict[str, object]:
    cut = difference(styled, plain)
    if cut is None:
        raise InterpError(
            f"without one piece the culture-style caption {styled!r} is not the noun-only caption {plain!r}; "
            "change one of them or give the spans"
        )
    if noun is not None:
        cut = _around(cut, styled, plain, tidy(noun))
    return _row(styled, plain, cut)


def _around(cut: Cut, styled: str, plain: str, noun: str) -> Cut:
    """The cut with the spans of a noun that the source names."""
    start, end = cut.modifier
    in_styled = [s for m in re.finditer(re.escape(noun), styled) if (s := m.span())[1] <= start or end <= s[0]]
    in_plain = [m.span() for m in re.finditer(re.escape(noun), plain)]
    if not noun or not in_styled or not in_plain:
        raise InterpError(f"the noun {noun!r} is not in both captions, {styled!r} and {plain!r}")
    # where it comes more than once, the one beside the modifier, and the same one in the other caption
    nearest = min(in_styled, key=lambda s: min(abs(start - s[1]), abs(s[0] - end)))
    moved = 0 if nearest < cut.modifier else len(styled) - len(plain)
    return Cut(cut.modifier, nearest, min(in_plain, key=lambda s: abs(s[0] - (nearest[0] - moved))))


def _row(styled: str, plain: str, cut: Cut) -> dict[str, object]:
    return {
        "culture_style": styled,
        "noun_only": plain,
        "modifier_span": list(cut.modifier),
        "noun_span": list(cut.noun),
        "noun_only_span": list(cut.noun_only),
    }


def difference(styled: str, plain: str) -> Cut | None:
    """Find the one piece that the culture-style caption has more than the noun-only caption.

    Spaces, punctuation and case are passed over, because a modifier brings or takes them along. Where several cuts
    leave the same text, the one at the bounds of words is taken, then the first. The noun is the longer of the parts
    before and after the cut.

    Args:
        styled: the culture-style caption.
        plain: the noun-only caption.

    Returns:
        None if there is no such piece, or nothing else.
    """
    long, short = letters(styled), letters(plain)
    size = len(long) - len(short)
    if size <= 0 or not short:
        return None
    same = [styled[i].lower() == plain[j].lower() for i, j in zip(long, short, strict=False)]
    head = same.index(False) if False in same else len(short)
    pairs = zip(reversed(long), reversed(short), strict=False)
    tail = next((n for n, (i, j) in enumerate(pairs) if styled[i].lower() != plain[j].lower()), len(short))
    starts = [n for n in range(len(short) - tail, head + 1) if _whole(styled, long, n, size)]
    if not starts:
        return None
    start = max(starts, key=lambda n: (_bounds(long, n, size), -n))
    end = start + size
    # the parts before and after the cut, in letters of the two captions
    parts = [((0, start), (0, start)), ((end, len(long)), (start, len(short)))]
    (a, b), (c, d) = max(parts, key=lambda part: part[0][1] - part[0][0])
    return Cut(
        modifier=(long[start], long[end - 1] + 1),
        noun=(long[a], long[b - 1] + 1),
        noun_only=(short[c], short[d - 1] + 1),
    )


def _whole(text: str, positions: list[int], start: int, size: int) -> bool:
    """Whether a cut leaves every vowel sign and accent with its letter."""
    ends = (positions[start], positions[start + size - 1] + 1)
    return not any(unicodedata.category(text[at]).startswith("M") for at in ends if at < len(text))


def _bounds(positions: list[int], start: int, size: int) -> int:
    """How many of the ends of a cut are at the bound of a word."""
    first, last = positions[start], positions[start + size - 1]
    before = start == 0 or positions[start - 1] < first - 1
    after = start + size == len(positions) or positions[start + size] > last + 1
    return before + after
