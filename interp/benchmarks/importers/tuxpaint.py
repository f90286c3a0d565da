"""Tux Paint's stamps: drawings named in many languages by people. Nouns and pictures are neutral, the prompts are not.

A stamp gives one sample in each of the 15 languages, all with the same picture: the culture of a sample is its
prompt's, for the picture shows none. The stamps are GPL-2 and are not shipped; on Debian they are the package
tuxpaint-stamps-default.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from interp.benchmarks.importers.captions import Name, tidy
from interp.benchmarks.importers.places import native_language
from interp.benchmarks.importers.source import Draft, Source, SourceRow
from interp.errors import InterpError

LICENCE = "GPL-2.0"
COLUMNS = ("the name in English", "xx.utf8=the name in language xx")
_KEYS = {"zh": "zh_CN"}
"""Language → the file's code, where it is another."""
_ENDS = " .!?。！？،,…"
_SENTENCES = re.compile(r"[.!?]\s|[.!?。！？].")
_ARTICLE = re.compile(r"^(?:an?|the|some)\s+(?=\S)", re.IGNORECASE)
_SVG_SIDE = 512
"""Width of a stamp drawn from SVG, in pixels."""


def read(source: Source) -> Iterator[Draft]:
    """The stamps below a folder, such as /usr/share/tuxpaint/stamps, that are named in all 15 languages."""
    options, log = source.options, source.log
    if options.svg and find_spec("resvg_py") is None:
        raise InterpError("option svg: the package resvg-py draws SVG and is not installed; pip install resvg-py")
    for text in source.files("*.txt", "stamps"):
        stamp = text.relative_to(source.path) if source.path.is_dir() else Path(text.name)
        log.read += 1
        if set(stamp.parts[:-1]) & set(options.skip):
            log.leave(f"in a folder to skip ({', '.join(options.skip)})", str(stamp))
        elif (names := _names(text, str(stamp), source)) and (image := _image(text, str(stamp), source)):
            yield from _drafts(stamp, names, image, source)


def _names(text: Path, stamp: str, source: Source) -> dict[str, str] | None:
    """Language → name; None, and noted, if it is of no use."""
    log, longest = source.log, source.options.longest
    try:
        english, *lines = text.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        log.bad(stamp, None, "", f"is not in UTF-8: {error}")
        return None
    by_code = {code.strip(): name for code, mark, name in (line.partition(".utf8=") for line in lines) if mark}
    raw = {"en": english} | {lang: by_code.get(_KEYS.get(lang, lang), "") for lang in native_language().values()}
    names = {language: tidy(name).strip(_ENDS) for language, name in raw.items()}
    names["en"] = _ARTICLE.sub("", names["en"])
    if missing := [language for language, name in names.items() if not name]:
        log.leave("not named in all 15 languages", f"{stamp}: {' '.join(missing)}")
    elif any(_SENTENCES.search(name) for name in names.values()):
        log.leave("described in sentences, not named", stamp)
    elif max(map(len, names.values())) > longest:
        log.leave(f"a name is longer than {longest} characters", stamp)
    else:
        return names
    return None


def _image(text: Path, stamp: str, source: Source) -> Path | bytes | None:
    """The PNG, or the SVG drawn; None, and noted, if there is none."""
    png, svg = text.with_suffix(".png"), text.with_suffix(".svg")
    if png.is_file():
        return png
    if svg.is_file() and source.options.svg:
        import resvg_py  # pyright: ignore[reportMissingImports] - optional

        try:
            return bytes(resvg_py.svg_to_bytes(svg_path=str(svg), width=_SVG_SIDE))
        except ValueError as error:
            source.log.leave(f"its SVG cannot be drawn: {error}", stamp)
            return None
    reason = "there as SVG only; draw it with the option svg" if svg.is_file() else "no picture beside it"
    source.log.leave(reason, stamp)
    return None


def _drafts(stamp: Path, names: dict[str, str], image: Path | bytes, source: Source) -> Iterator[Draft]:
    for number, (culture, language) in enumerate(native_language().items(), 1):
        yield Draft(
            SourceRow(str(stamp), number, {}, source.log),
            id=f"tuxpaint-{language}-{'-'.join(stamp.with_suffix('').parts)}",
            place=culture,
            category=names["en"].casefold(),
            captions={"en": Name(names["en"]), language: Name(names[language])},
            image=image,
            licence=LICENCE,
            author="Tux Paint",
            notes={
                "annotator": "Tux Paint's translators",
                "annotator_en": "Tux Paint",
                "review": "the name as published; the country's name added",
            },
        )
