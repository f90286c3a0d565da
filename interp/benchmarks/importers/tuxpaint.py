"""Tux Paint's stamps: drawings named in many languages by people. Nouns and pictures are neutral, the prompts are not.

A stamp gives one sample in each of the 15 languages, all with the same picture: the culture of a sample is its
prompt's, for the picture shows none. The stamps are GPL-2 and are not shipped; on Debian they are the package
tuxpaint-stamps-default.
"""

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from interp.benchmarks.importers import tabular
from interp.benchmarks.importers.captions import Name, Wording, tidy
from interp.benchmarks.importers.drafts import Draft, Log, Options
from interp.benchmarks.importers.places import native_language
from interp.errors import InterpError

SOURCE = "Tux Paint stamps"
LICENCE = "GPL-2.0"
COLUMNS = ("the name in English", "xx.utf8=the name in language xx")
_KEYS = {"zh": "zh_CN"}
"""Language → the file's code, where it is another."""
_ENDS = " .!?。！？،,…"
_SENTENCES = re.compile(r"[.!?]\s|[.!?。！？].")
_ARTICLE = re.compile(r"^(?:an?|the|some)\s+(?=\S)", re.IGNORECASE)
SVG_SIDE = 512
"""Width of a stamp drawn from SVG, in pixels."""


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """The stamps below a folder, such as /usr/share/tuxpaint/stamps, that are named in all 15 languages."""
    if options.svg and find_spec("resvg_py") is None:
        raise InterpError("option svg: the package resvg-py draws SVG and is not installed; pip install resvg-py")
    for text in tabular.files(path, "*.txt", "stamps"):
        stamp = text.relative_to(path) if path.is_dir() else Path(text.name)
        log.read += 1
        if set(stamp.parts[:-1]) & set(options.skip):
            log.leave(f"in a folder to skip ({', '.join(options.skip)})", str(stamp))
        elif (names := _names(text, str(stamp), options, log)) and (
            picture := _picture(text, str(stamp), options, log)
        ):
            yield from _drafts(stamp, names, picture)


def _names(text: Path, stamp: str, options: Options, log: Log) -> dict[str, str] | None:
    """Language → name; None, and noted, if it is of no use."""
    try:
        first, *more = text.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        log.bad(stamp, None, "", f"is not in UTF-8: {error}")
        return None
    said = {key.strip(): value for key, mark, value in (line.partition(".utf8=") for line in more) if mark}
    said = {"en": first} | {lang: said.get(_KEYS.get(lang, lang), "") for lang in native_language().values()}
    names = {language: tidy(value).strip(_ENDS) for language, value in said.items()}
    names["en"] = _ARTICLE.sub("", names["en"])
    if missing := [language for language, name in names.items() if not name]:
        log.leave("not named in all 15 languages", f"{stamp}: {' '.join(missing)}")
    elif any(_SENTENCES.search(name) for name in names.values()):
        log.leave("described in sentences, not named", stamp)
    elif max(map(len, names.values())) > options.longest:
        log.leave(f"a name is longer than {options.longest} characters", stamp)
    else:
        return names
    return None


def _picture(text: Path, stamp: str, options: Options, log: Log) -> Path | bytes | None:
    """The PNG, or the SVG drawn; None, and noted, if there is none."""
    png, svg = text.with_suffix(".png"), text.with_suffix(".svg")
    if png.is_file():
        return png
    if svg.is_file() and options.svg:
        try:
            return bytes(import_module("resvg_py").svg_to_bytes(svg_path=str(svg), width=SVG_SIDE))
        except ValueError as error:
            log.leave(f"its SVG cannot be drawn: {error}", stamp)
            return None
    log.leave("there as SVG only; draw it with the option svg" if svg.is_file() else "no picture beside it", stamp)
    return None


def _drafts(stamp: Path, names: dict[str, str], picture: Path | bytes) -> Iterator[Draft]:
    name = "-".join(stamp.with_suffix("").parts)
    for row, (culture, language) in enumerate(native_language().items(), 1):
        captions: dict[str, Wording] = {"en": Name(names["en"]), language: Name(names[language])}
        yield Draft(
            file=str(stamp),
            row=row,
            id=f"tuxpaint-{language}-{name}",
            place=culture,
            category=names["en"].casefold(),
            captions=captions,
            picture=picture,
            licence=LICENCE,
            author="Tux Paint",
            notes={
                "annotator": "Tux Paint's translators",
                "annotator_en": "Tux Paint",
                "review": "the name as published; the country's name added",
            },
        )
