"""Which culture a country, code or region belongs to, and what it is called.

The 15 cultures, their adjectives and their names in 16 languages are those of `pocket`; `assets/places.json` has their
countries, and the other countries of the sources that are imported, each a culture of its own.
"""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from interp.benchmarks import pocket

ASSET = Path(__file__).parents[2] / "assets" / "places.json"


@dataclass(frozen=True)
class Place:
    """A culture as captions name it."""

    label: str
    """Of the culture."""
    demonym: str
    """English adjective; the label where it is not known."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Language → the country's name in it."""
    countries: frozenset[str] = frozenset()
    """English names of its countries."""
    adjectives: frozenset[str] = frozenset()
    """English adjectives of its countries."""


def key_of(text: str) -> str:
    """The same for every way to write a place: case, spaces and underscores are passed over."""
    return " ".join(unicodedata.normalize("NFC", text).replace("_", " ").split()).casefold()


@cache
def defaults() -> tuple[str, ...]:
    """The 15 cultures, in the order in which a judge is offered them."""
    return tuple(pocket.cultures())


@cache
def native_language() -> Mapping[str, str]:
    """Culture → language, for the 15."""
    return {c["name"]: c["language"] for c in pocket.recipe()["cultures"]}


@cache
def _known() -> tuple[Mapping[str, str], Mapping[str, Place]]:
    """Key of a place → culture, and culture → place."""
    words = json.loads(ASSET.read_text(encoding="utf-8"))
    named: dict[str, tuple[str, Mapping[str, str], dict[str, list[str]]]] = {
        label: (spec["adjectives"][0], {"en": label}, spec) for label, spec in words["others"].items()
    }
    for spec in pocket.recipe()["cultures"]:
        named[spec["name"]] = spec["demonym"], spec["mention"], words["cultures"][spec["name"]]
    cultures: dict[str, str] = {}
    places: dict[str, Place] = {}
    for label, (demonym, names, spec) in named.items():
        adjectives = frozenset(spec["adjectives"])
        # the codes are no words: "IT" and "US" stand in sentences for other things
        countries = frozenset([label, names["en"], *spec["countries"]]) - adjectives
        places[label] = Place(label, demonym, names, countries, adjectives)
        cultures |= dict.fromkeys(map(key_of, [label, *(w for kind in spec.values() for w in kind)]), label)
    return cultures, places


def culture_of(place: str) -> str | None:
    """The culture of a country, an ISO 3166 code, an adjective or a culture's own name; None if it is not known."""
    return _known()[0].get(key_of(place))


def place_of(culture: str) -> Place:
    """How captions name a culture; one that is not known is called as it is."""
    return _known()[1].get(culture) or Place(culture, culture, {"en": culture}, frozenset([culture]))
