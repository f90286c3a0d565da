"""WorldCuisines: 2,400 dishes with up to eight pictures each, named by URL, and names in many languages."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from interp.benchmarks.importers import tabular
from interp.benchmarks.importers.captions import Name, Wording, tidy
from interp.benchmarks.importers.drafts import Draft, Log, Options
from interp.benchmarks.importers.places import culture_of, native_language
from interp.benchmarks.importers.tabular import Row
from interp.bounds import shown
from interp.errors import InterpError

SOURCE = "WorldCuisines (Winata et al. 2024)"
LICENCE = "CC-BY-SA-4.0; each picture under its own licence"
COLUMNS = ("Name", "Countries", "Image1 name / URL")
NAMES = ("Name", "json_aliases")
PICTURES = 8


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of `final_data.csv`; the names in other languages are those of `food_name_multiling.csv` beside it."""
    (file,) = tabular.files(path, "final_data.csv", "dishes")[:1]
    names = _names(file.parent / "food_name_multiling.csv", log) if options.captions == "native" else {}
    for row in tabular.rows([file], COLUMNS, options, log):
        if not (found := row.texts(COLUMNS[:2])):
            continue
        name = tidy(found["Name"])
        place = _place(found["Countries"], name, row)
        if place is None:
            continue
        captions = _captions(name, place, names, options)
        if captions is None:
            log.leave("no name in its culture's language", name)
        elif not (urls := _urls(row.cells)):
            log.leave("no picture named", name)
        else:
            yield from _pictures(row, urls, captions)


def _place(countries: str, name: str, row: Row) -> str | None:
    """The country, or the first of several of one culture; None, and noted, if they are of several or of none."""
    try:
        found = json.loads(countries)
        if not isinstance(found, list):
            raise TypeError("it is no list")
        cultures = {culture_of(c) or c for c in found}
    except (ValueError, TypeError, AttributeError, RecursionError):
        row.bad("Countries", f'is no list such as ["Italy"] (found {shown(countries)})')
        return None
    if len(cultures) != 1:
        row.log.leave("of several cultures" if cultures else "of no country", name)
        return None
    return found[0]


def _captions(name: str, place: str, names: dict[str, dict[str, str]], options: Options) -> dict[str, Wording] | None:
    """English and, where the culture has a language here, native; None if that is asked for and not there."""
    captions: dict[str, Wording] = {"en": Name(name)}
    language = native_language().get(options.places.get(place) or culture_of(place) or "")
    if options.captions == "english" or language is None:
        return captions
    native = names.get(name, {}).get(language)
    return {**captions, language: Name(native)} if native else None


def _names(path: Path, log: Log) -> dict[str, dict[str, str]]:
    """Dish → language → its name, which is the title of its article in that language's Wikipedia."""
    if not path.is_file():
        raise InterpError(f"{path}: no names in other languages; put the file there, or import with captions english")
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(tabular.read(path, NAMES), 1):
        try:
            aliases = {key.partition(" - ")[0]: tidy(text) for key, text in json.loads(row["json_aliases"]).items()}
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
            log.bad(path.name, number, "json_aliases", 'is no record such as {"ja - Japanese": "…"}')
            continue
        found[tidy(str(row.get("Name", "")))] = {language: text for language, text in aliases.items() if text}
    return found


def _urls(row: Mapping[str, Any]) -> dict[int, str]:
    """Which picture → its URL."""
    return {n: url for n in range(1, PICTURES + 1) if (url := row.get(f"Image{n} name / URL"))}


def _pictures(row: Row, urls: dict[int, str], captions: dict[str, Wording]) -> Iterator[Draft]:
    notes = {"annotator_en": "WorldCuisines"}
    if len(captions) > 1:
        notes |= {"annotator": "Wikipedia, title of the dish's article", "review": "not reviewed"}
    for n, url in urls.items():
        yield Draft(
            file=row.file,
            row=row.number,
            id=f"world-cuisines-{row.number:04}-{n}",
            place=json.loads(row.cells["Countries"])[0],
            category=tidy(row.cells["Name"]).casefold(),
            captions=captions,
            url=url,
            licence=row.cells.get(f"Image{n} License"),
            notes=notes,
        )
