"""Which culture a country, code or region belongs to, and what it is called.

The 15 cultures, their adjectives and their names in 16 languages are those of `pocket`; the other countries are those
of the sources that are imported.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from interp.benchmarks import pocket


@dataclass(frozen=True)
class Place:
    """A culture as captions name it."""

    label: str
    """Of the culture."""
    name: str
    """Of the country, in English."""
    demonym: str
    """English adjective; the name where it is not known."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Language → the country's name in it."""
    countries: tuple[str, ...] = ()
    """English names of its countries."""
    adjectives: tuple[str, ...] = ()
    """English adjectives of its countries."""


# culture: its countries, each with its other names, its codes and, after ~, its adjectives
_OF_CULTURE = {
    "Arab": """Arab world|~Arab|~Arabic|Middle East; Algeria|DZA|DZ|~Algerian; Bahrain|BHR|BH|~Bahraini;
        Comoros|COM|KM|~Comorian; Djibouti|DJI|DJ|~Djiboutian; Egypt|EGY|EG|~Egyptian; Iraq|IRQ|IQ|~Iraqi;
        Jordan|JOR|JO|~Jordanian; Kuwait|KWT|KW|~Kuwaiti; Lebanon|LBN|LB|~Lebanese; Libya|LBY|LY|~Libyan;
        Mauritania|MRT|MR|~Mauritanian; Morocco|MAR|MA|~Moroccan; Oman|OMN|OM|~Omani;
        Palestine|State of Palestine|PSE|PS|~Palestinian; Qatar|QAT|QA|~Qatari; Saudi Arabia|SAU|SA|~Saudi;
        Somalia|SOM|SO|~Somali; Sudan|SDN|SD|~Sudanese; Syria|Syrian Arab Republic|SYR|SY|~Syrian;
        Tunisia|TUN|TN|~Tunisian; United Arab Emirates|UAE|ARE|AE|~Emirati; Yemen|YEM|YE|~Yemeni""",
    "China": "China|People's Republic of China|Mainland China|CHN|CN|~Chinese",
    "France": "France|FRA|FR|~French",
    "Germany": "Germany|DEU|DE|~German",
    "Italy": "Italy|ITA|IT|~Italian",
    "Japan": "Japan|JPN|JP|~Japanese",
    "Korea": "South Korea|Korea|Republic of Korea|Korea, South|KOR|KR|~Korean|~South Korean",
    "Netherlands": "Netherlands|The Netherlands|Holland|Northlands|NLD|NL|~Dutch",
    "Poland": "Poland|POL|PL|~Polish",
    "Portugal": "Portugal|PRT|PT|~Portuguese",
    "Russia": "Russia|Russian Federation|RUS|RU|~Russian",
    "Spain": "Spain|ESP|ES|~Spanish",
    "Thailand": "Thailand|THA|TH|~Thai",
    "Turkey": "Turkey|Türkiye|Turkiye|TUR|TR|~Turkish",
    "Ukraine": "Ukraine|UKR|UA|~Ukrainian",
}
# country|adjective|other names and codes; every one is a culture of its own
_OTHERS = """Argentina|Argentine|Argentinian|ARG|AR; Australia|Australian|AUS|AU; Bangladesh|Bangladeshi|BGD|BD;
    Brazil|Brazilian|BRA|BR; Bulgaria|Bulgarian|BGR|BG; Canada|Canadian|CAN|CA; Chile|Chilean|CHL|CL;
    Colombia|Colombian|COL|CO; Ethiopia|Ethiopian|ETH|ET; Ghana|Ghanaian|GHA|GH; Greece|Greek|GRC|GR;
    India|Indian|IND|IN; Indonesia|Indonesian|IDN|ID; Iran|Iranian|IRN|IR; Ireland|Irish|IRL|IE; Kenya|Kenyan|KEN|KE;
    Malaysia|Malaysian|MYS|MY; Mexico|Mexican|MEX|MX; Nigeria|Nigerian|NGA|NG; Pakistan|Pakistani|PAK|PK;
    Peru|Peruvian|PER|PE; Philippines|Filipino|PHL|PH; Romania|Romanian|ROU|RO; Rwanda|Rwandan|RWA|RW;
    Singapore|Singaporean|SGP|SG; South Africa|South African|ZAF|ZA; Sri Lanka|Sri Lankan|LKA|LK;
    United Kingdom|British|UK|Great Britain|GBR|GB;
    United States|American|USA|US|United States of America; Vietnam|Vietnamese|Viet Nam|VNM|VN"""


_ABBREVIATIONS = ("USA", "UK", "UAE")


def _key(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).replace("_", " ").split()).casefold().removeprefix("~")


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
    cultures: dict[str, str] = {}
    places: dict[str, Place] = {}
    for spec in pocket.recipe()["cultures"]:
        label: str = spec["name"]
        mention: dict[str, str] = spec["mention"]
        names = [n.strip() for country in _OF_CULTURE[label].split(";") for n in country.split("|")]
        cultures |= dict.fromkeys(map(_key, [label, *names]), label)
        places[label] = _place(label, mention["en"], spec["demonym"], mention, [label, mention["en"], *names])
    for country in _OTHERS.split(";"):
        name, demonym, *more = [n.strip() for n in country.split("|")]
        cultures |= dict.fromkeys(map(_key, [name, demonym, *more]), name)
        places[name] = _place(name, name, demonym, {"en": name}, [name, f"~{demonym}", *more])
    return cultures, places


def _place(label: str, name: str, demonym: str, names: Mapping[str, str], words: list[str]) -> Place:
    adjectives = dict.fromkeys(w[1:] for w in words if w[0] == "~")
    # a code is no word: "IT" and "US" stand in sentences for other things
    countries = dict.fromkeys(w for w in words if w[0] != "~" and (not w.isupper() or w in _ABBREVIATIONS))
    return Place(label, name, demonym, names, tuple(w for w in countries if w not in adjectives), tuple(adjectives))


def culture_of(place: str) -> str | None:
    """The culture of a country, an ISO 3166 code, an adjective or a culture's own name; None if it is not known."""
    return _known()[0].get(_key(place))


def place_of(culture: str) -> Place:
    """How captions name a culture; one that is not known is called as it is."""
    return _known()[1].get(culture) or Place(culture, culture, culture, {"en": culture}, (culture,))
