"""Captions outside every benchmark: 100 things in 16 languages, noun-only, for the cross-domain table (C.6, Table 6).

The paper does not publish its 100 captions; these are ours, on the pattern of the three it prints ("a wood carving
exhibit", "a beautiful silk headscarf", "an elegant dress"). No caption names a culture; how the thing looks differs
between cultures. There are no pictures and no culture-style captions, so nothing can be detected or trained on them.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from interp.errors import InterpError
from interp.types import Prompt, PromptPair, Sample

ASSET = Path(__file__).parents[1] / "assets" / "out_of_domain.json"
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
"""What no name of a file may hold, and the id of a case, which pictures are named by, does not."""


@dataclass(frozen=True)
class Concept:
    """One thing, named in every language."""

    id: str
    """Short English name, such as `wood-carving`."""
    category: str
    """What kind of thing, such as `craft`."""
    prompts: Mapping[str, Prompt]
    """By language, ISO 639-1; each with the span of its head noun and no modifier."""


@dataclass(frozen=True)
class Case:
    """One picture to ask for: a thing, and the culture that the language of its caption stands for."""

    id: str
    """`culture-concept`, unique among the cases."""
    culture: str
    """The answer that counts as right."""
    concept: str
    category: str
    """Of the concept."""
    native: Prompt
    english: Prompt


@cache
def card() -> Mapping[str, str]:
    """Name, version, licence and review status of the list, and the SHA-256 of its file."""
    head = {key: value for key, value in _asset().items() if isinstance(value, str)}
    return head | {"digest": hashlib.sha256(ASSET.read_bytes()).hexdigest()}


def languages() -> tuple[str, ...]:
    """The languages of the captions; English is one of them."""
    return tuple(_asset()["languages"])


@cache
def nouns() -> tuple[Concept, ...]:
    """The 100 things, category by category.

    Raises:
        InterpError: if the shipped list is damaged.
    """
    return tuple(
        Concept(n["id"], n["category"], {code: _prompt(n["id"], code, **t) for code, t in n["texts"].items()})
        for n in _asset()["nouns"]
    )


def prompts(language: str) -> tuple[Prompt, ...]:
    """The 100 captions of one language, in the order of `nouns`.

    Raises:
        InterpError: for a language that the list does not have.
    """
    _check({"": language})
    return tuple(noun.prompts[language] for noun in nouns())


def every(cultures: Mapping[str, str]) -> tuple[Case, ...]:
    """Every thing for every culture: 1,500 cases for fifteen.

    Args:
        cultures: culture → its language, as `Benchmark.languages` gives them.

    Raises:
        InterpError: for no culture, two that would give cases of one name, or a language that the list does not have.
    """
    _check(cultures)
    return tuple(_case(noun, culture, language) for culture, language in cultures.items() for noun in nouns())


def deal(cultures: Mapping[str, str], seed: int) -> tuple[Case, ...]:
    """100 cases, one a thing, as many pictures as the paper's table has.

    Within a category the things are ordered by a hash of the seed, and cultures take turns: no two cultures differ by
    more than one case, overall or within a category.

    Args:
        cultures: culture → its language, as `Benchmark.languages` gives them; their order does not matter.
        seed: the same seed deals alike.

    Raises:
        InterpError: for no culture, two that would give cases of one name, or a language that the list does not have.
    """
    _check(cultures)
    takers = sorted(cultures, key=lambda culture: _rank(seed, "culture", culture))
    categories: dict[str, list[Concept]] = defaultdict(list)
    for noun in nouns():
        categories[noun.category].append(noun)
    order = [n for c in categories.values() for n in sorted(c, key=lambda noun: _rank(seed, "noun", noun.id))]
    turns = [(noun, takers[turn % len(takers)]) for turn, noun in enumerate(order)]
    return tuple(_case(noun, culture, cultures[culture]) for noun, culture in turns)


def sample(case: Case) -> Sample:
    """A case where samples are asked for; it has no picture, and its noun-only caption stands for both."""
    both = (case.native, case.english)
    native, english = (PromptPair(case.id, case.culture, case.concept, culture_style=p, noun_only=p) for p in both)
    return Sample(case.id, "", case.culture, case.native.language, case.concept, "out_of_domain", native, english)


@cache
def _asset() -> dict[str, Any]:
    return json.loads(ASSET.read_text(encoding="utf-8"))


def _prompt(name: str, language: str, text: str, noun: str) -> Prompt:
    """A caption with the span of its noun, which must occur in it once."""
    if not noun or text.count(noun) != 1:
        found = f"{noun!r} occurs {text.count(noun)} times in {text!r}"
        raise InterpError(f"{ASSET.name}, {name}, {language}: {found}, not once; reinstall the package")
    start = text.index(noun)
    return Prompt(text, language, noun=(start, start + len(noun)))


def _check(cultures: Mapping[str, str]) -> None:
    """Raise InterpError unless some cultures are asked, none twice, and their languages are known ones."""
    asked, known = list(cultures.values()), languages()
    named: dict[str, str] = {}
    for culture in cultures:
        if (other := named.setdefault(_FORBIDDEN.sub("-", culture.lower()), culture)) != culture:
            raise InterpError(f"cultures {other!r} and {culture!r} would give cases of the same names; rename one")
    if not asked:
        raise InterpError("no culture asked; give culture → language, such as {'Japan': 'ja'}")
    if unknown := sorted(set(asked) - set(known)):
        raise InterpError(f"no out-of-domain captions in {', '.join(unknown)}; known: {', '.join(known)}")


def _case(noun: Concept, culture: str, language: str) -> Case:
    name = f"{_FORBIDDEN.sub('-', culture.lower())}-{noun.id}"
    return Case(name, culture, noun.id, noun.category, noun.prompts[language], noun.prompts["en"])


def _rank(seed: int, *key: str) -> str:
    """A position in an order that depends on the seed and the key alone."""
    return hashlib.sha256("\0".join([str(seed), *key]).encode()).hexdigest()
