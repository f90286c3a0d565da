"""WorldCuisines (Winata et al. 2024): 2,400 dishes with up to eight pictures each, and names in many languages.

The pictures are named by URL.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from interp.benchmarks.importers.captions import Name, Wording, tidy
from interp.benchmarks.importers.log import Log
from interp.benchmarks.importers.options import Options
from interp.benchmarks.importers.places import culture_of, native_language
from interp.benchmarks.importers.source import Draft, Source, SourceRow, read_cells
from interp.bounds import shown
from interp.errors import InterpError

LICENCE = "CC-BY-SA-4.0; each picture under its own licence"
COLUMNS = ("Name", "Countries", "Image1 name / URL")
IMAGES = 8
"""Columns of pictures per dish."""


def read(source: Source) -> Iterator[Draft]:
    """Rows of `final_data.csv`; the names in other languages are those of `food_name_multiling.csv` beside it."""
    options, log = source.options, source.log
    (file,) = source.files("final_data.csv", "dishes")[:1]
    names = _names(file.parent / "food_name_multiling.csv", log) if options.captions == "native" else {}
    for row in source.rows([file], COLUMNS):
        if not (texts := row.texts(COLUMNS[:2])):
            continue
        dish = tidy(texts["Name"])
        if (place := _place(texts["Countries"], dish, row)) is None:
            continue
        captions = _captions(dish, place, names, options)
        urls = {n: url for n in range(1, IMAGES + 1) if (url := row.cells.get(f"Image{n} name / URL"))}
        if captions is None:
            log.leave("no name in its culture's language", dish)
        elif not urls:
            log.leave("no picture named", dish)
        else:
            yield from _drafts(row, dish, place, captions, urls)


def _place(countries: str, dish: str, row: SourceRow) -> str | None:
    """The country, or the first of several of one culture; None, and noted, if they are of several or of none."""
    try:
        names = json.loads(countries)
        if not isinstance(names, list):
            raise TypeError("it is no list")
        cultures = {culture_of(c) or c for c in names}
    except (ValueError, TypeError, AttributeError, RecursionError):
        row.bad("Countries", f'is no list such as ["Italy"] (found {shown(countries)})')
        return None
    if len(cultures) != 1:
        row.log.leave("of several cultures" if cultures else "of no country", dish)
        return None
    return names[0]


def _captions(dish: str, place: str, names: dict[str, dict[str, str]], options: Options) -> dict[str, Wording] | None:
    """English and, where the culture has a language here, native; None if that is asked for and not there."""
    captions: dict[str, Wording] = {"en": Name(dish)}
    language = native_language().get(options.places.get(place) or culture_of(place) or "")
    if options.captions == "english" or language is None:
        return captions
    native = names.get(dish, {}).get(language)
    return {**captions, language: Name(native)} if native else None


def _names(path: Path, log: Log) -> dict[str, dict[str, str]]:
    """Dish → language → its name, which is the title of its article in that language's Wikipedia."""
    if not path.is_file():
        raise InterpError(f"{path}: no names in other languages; put the file there, or import with captions english")
    names: dict[str, dict[str, str]] = {}
    for number, row in enumerate(read_cells(path, ("Name", "json_aliases")), 1):
        try:
            aliases = {key.partition(" - ")[0]: tidy(text) for key, text in json.loads(row["json_aliases"]).items()}
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
            log.bad(path.name, number, "json_aliases", 'is no record such as {"ja - Japanese": "…"}')
            continue
        names[tidy(str(row.get("Name", "")))] = {language: text for language, text in aliases.items() if text}
    return names


def _drafts(
    row: SourceRow, dish: str, place: str, captions: dict[str, Wording], urls: dict[int, str]
) -> Iterator[Draft]:
    notes = {"annotator_en": "WorldCuisines"}
    if len(captions) > 1:
        notes |= {"annotator": "Wikipedia, title of the dish's article", "review": "not reviewed"}
    for n, url in urls.items():
        yield Draft(
            row,
            id=f"world-cuisines-{row.number:04}-{n}",
            place=place,
            category=dish.casefold(),
            captions=captions,
            url=url,
            licence=row.cells.get(f"Image{n} License"),
            notes=notes,
        )
