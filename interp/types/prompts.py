"""Prompts, in pairs, and the samples of a benchmark."""

from dataclasses import dataclass
from typing import Literal

from interp.types.record import RECORD

Span = tuple[int, int]


_RIGHT_TO_LEFT = ("ar", "fa", "he", "ur")


def direction(language: str) -> Literal["rtl", "ltr"]:
    """Which way a language is written, as HTML names it."""
    return "rtl" if language in _RIGHT_TO_LEFT else "ltr"


@dataclass(frozen=True)
class Prompt:
    """A prompt with the character spans that the method needs."""

    __pydantic_config__ = RECORD

    text: str
    language: str
    """ISO 639-1 code."""
    noun: Span | None = None
    modifier: Span | None = None
    """The culture-style modifier; None in a noun-only prompt."""


@dataclass(frozen=True)
class PromptPair:
    """The two prompts of one concept, P_cult and P_noun (section 4.2 of the paper), in one language."""

    __pydantic_config__ = RECORD

    id: str
    culture: str
    category: str
    """The concept; samples of one category and culture are one cluster in statistics."""
    culture_style: Prompt
    noun_only: Prompt
    neutral: Prompt | None = None
    """The same noun with a modifier of about the same length that names no culture."""


@dataclass(frozen=True)
class Sample:
    """One row of a benchmark."""

    __pydantic_config__ = RECORD

    id: str
    image: str
    """Path of the reference picture, relative to the benchmark's folder."""
    culture: str
    language: str
    category: str
    split: str
    native: PromptPair
    english: PromptPair
