"""Captions outside every benchmark: 100 things in 16 languages, noun-only, for the cross-domain table (C.6, Table 6).

The paper does not publish its 100 captions; these are ours, on the pattern of the three it prints ("a wood carving
exhibit", "a beautiful silk headscarf", "an elegant dress"). No caption names a culture; how the thing looks differs
between cultures. There are no pictures and no culture-style captions, so nothing can be detected or trained on them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from interp.benchmarks.splits import rank
from interp.errors import InterpError
from interp.grouping import group
from interp.types import Prompt, PromptPair, Sample

ASSET = Path(__file__).parents[1] / "assets" / "out_of_domain.json"
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
"""What no name of a file may hold, and the id of a sample, which images are named by, does not."""


@dataclass(frozen=True)
class Concept:
    """One thing, named in every language."""

    id: str
    """Short English name, such as `wood-carving`."""
    category: str
    """What kind of thing, such as `craft`."""
    prompts: Mapping[str, Prompt]
    """By language, ISO 639-1; each with the span of its head noun and no modifier."""


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


def deal(cultures: Mapping[str, str], seed: int) -> tuple[Sample, ...]:
    """100 samples, one per thing, as many images as the paper's table has; each is to be drawn as its culture.

    Within a category the things are ordered by a hash of the seed, and cultures take turns: no two cultures differ by
    more than one sample, overall or within a category.

    Args:
        cultures: culture → its language, as `Benchmark.languages` gives them; their order does not matter.
        seed: the same seed deals alike.

    Returns:
        Samples without a picture, named `culture-concept`; the noun-only caption stands for both.

    Raises:
        InterpError: for no culture, two that would give samples of one name, or a language that the list does not have.
    """
    _check(cultures)
    order = sorted(cultures, key=lambda culture: rank(seed, "culture", culture))
    categories = group(nouns(), lambda noun: noun.category).values()
    things = [n for c in categories for n in sorted(c, key=lambda noun: rank(seed, "noun", noun.id))]
    return tuple(_sample(noun, order[turn % len(order)], cultures) for turn, noun in enumerate(things))


def _sample(noun: Concept, culture: str, languages: Mapping[str, str]) -> Sample:
    name, language = f"{_file_name(culture)}-{noun.id}", languages[culture]
    native, english = (
        PromptPair(name, culture, noun.id, culture_style=p, noun_only=p)
        for p in (noun.prompts[language], noun.prompts["en"])
    )
    return Sample(name, "", culture, language, noun.id, "out_of_domain", native, english)


def _file_name(culture: str) -> str:
    return _FORBIDDEN.sub("-", culture.lower())


@cache
def _asset() -> dict[str, Any]:
    return json.loads(ASSET.read_text(encoding="utf-8"))


def _prompt(name: str, language: str, text: str, noun: str) -> Prompt:
    """A caption with the span of its noun, which must occur in it once."""
    if not noun or text.count(noun) != 1:
        problem = f"{noun!r} occurs {text.count(noun)} times in {text!r}"
        raise InterpError(f"{ASSET.name}, {name}, {language}: {problem}, not once; reinstall the package")
    start = text.index(noun)
    return Prompt(text, language, noun=(start, start + len(noun)))


def _check(cultures: Mapping[str, str]) -> None:
    """Raise InterpError unless some cultures are asked, none twice, and their languages are known ones."""
    asked, known = list(cultures.values()), languages()
    names: dict[str, str] = {}
    for culture in cultures:
        if (other := names.setdefault(_file_name(culture), culture)) != culture:
            raise InterpError(f"cultures {other!r} and {culture!r} would give samples of the same names; rename one")
    if not asked:
        raise InterpError("no culture asked; give culture → language, such as {'Japan': 'ja'}")
    if unknown := sorted(set(asked) - set(known)):
        raise InterpError(f"no out-of-domain captions in {', '.join(unknown)}; known: {', '.join(known)}")
