"""From drafts to a benchmark: cultures, captions, pictures, split, folder."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from interp.benchmarks import reading
from interp.benchmarks.checks import card_of, check_rows, refuse
from interp.benchmarks.importers import shelf as pictures
from interp.benchmarks.importers.captions import UnfitError, fields, tidy
from interp.benchmarks.importers.drafts import Draft, Log, Options, Report
from interp.benchmarks.importers.groups import SHARES, Row, dealt
from interp.benchmarks.importers.places import culture_of, defaults, native_language, place_of
from interp.benchmarks.importers.shelf import Shelf
from interp.benchmarks.names import same_name, sound_id, told_apart
from interp.benchmarks.schema import Card
from interp.bounds import shown
from interp.errors import InterpError

ENGLISH = "en"
_RULE = "whole categories of each culture; categories that share a picture or a caption stay together"
_NO_PICTURE = "no picture"


def finish(drafts: Iterable[Draft], source: str, licence: str, out: Path, options: Options, log: Log) -> Report:
    """Write the drafts as a benchmark; all of it, or nothing.

    Args:
        drafts: read one by one, so that not all pictures are in memory.
        source: its name.
        licence: of the data as published.
        out: the benchmark's folder, made here.
        options: how to import.
        log: of what the importer finds wrong or leaves out.

    Raises:
        InterpError: if a row is wrong (all of them are named), nothing remains, or `out` exists.
    """
    if out.exists():
        raise InterpError(f"{out} exists; remove it or name another folder")
    # beside the benchmark, so that a picture is moved and not copied a second time
    beside = next(p for p in out.absolute().parents if p.is_dir())
    with tempfile.TemporaryDirectory(prefix=".import-", dir=beside) as scratch:
        shelf = Shelf(Path(scratch), options.side)
        rows = list(_rows(drafts, shelf, options, log))
        if options.bad == "leave":
            log.forgive()
        refuse(log.findings, f"import of {source} (bad='leave' leaves such rows out)")
        rows = dealt(rows, shelf.alike(), options.seed, log)
        _refuse_nothing(rows, source, log)
        card = _card(rows, options.name or source, licence, options.seed)
        reading.write(out, rows, card, shelf.give)
    return _report(rows, source, licence, out, log)


def _rows(drafts: Iterable[Draft], shelf: Shelf, options: Options, log: Log) -> Iterator[Row]:
    """Sound rows with their pictures on the shelf."""
    mine = pictures.among(options.images) if options.images else {}
    seen: dict[str, str] = {}
    taken: dict[str, str] = {}
    for draft in drafts:
        where = f"{draft.file} row {draft.row}"
        if (first := seen.setdefault(draft.id, where)) != where:
            log.bad(draft.file, draft.row, "id", f"{shown(draft.id)} is already the id of {first}")
            continue
        name = _name(draft.id, taken)
        if (culture := _culture(draft, options, log)) is None or (row := _row(draft, name, culture, log)) is None:
            continue
        picture = draft.picture if draft.picture is not None else _own(draft, name, mine)
        if picture is None:
            log.leave(_NO_PICTURE, draft.id)
            continue
        try:
            row["image"] = shelf.put(picture)
        except InterpError as error:
            log.bad(draft.file, draft.row, "image", str(error))
            continue
        yield row


def _culture(draft: Draft, options: Options, log: Log) -> str | None:
    place = tidy(draft.place)
    culture = options.places.get(place) or culture_of(place)
    if culture is None and options.labels == "all":
        culture = place
    if culture is None or (options.labels == "default" and culture not in defaults()):
        log.leave(f"not one of the {len(defaults())} cultures", place)
        return None
    return culture


def _name(text: str, taken: dict[str, str]) -> str:
    """The id of a row: the source's if it is one, and if no earlier row's differs from it in its case alone."""
    name = sound_id(text)
    if taken.setdefault(same_name(name), text) != text:
        name = told_apart(text)
        taken[same_name(name)] = text
    return name


def _own(draft: Draft, name: str, mine: Mapping[str, Path]) -> Path | None:
    """The user's picture of a row."""
    return mine.get(name) or mine.get(draft.id) or (mine.get(pictures.name_of(draft.url)) if draft.url else None)


def _row(draft: Draft, name: str, culture: str, log: Log) -> Row | None:
    """The row without picture and split; None, and noted, if it cannot be."""
    native = next((lang for lang in draft.captions if lang != ENGLISH), ENGLISH)
    row: Row = {"id": name, "culture": culture, "language": native, "category": tidy(draft.category)}
    for language, suffix in ((native, ""), (ENGLISH, "_en")):
        try:
            made = fields(draft.captions[language], language, place_of(culture))
        except UnfitError as error:
            log.leave(str(error), draft.id)
            return None
        except InterpError as error:
            log.bad(draft.file, draft.row, "culture_style" + suffix, str(error))
            return None
        row |= {field + suffix: value for field, value in made.items()}
    row |= {field: value for field, value in _provenance(draft, culture, native).items() if value}
    return row if _sound(row, draft, log) else None


def _provenance(draft: Draft, culture: str, native: str) -> dict[str, str | None]:
    place = tidy(draft.place)
    rest = {"source_url": draft.url, "image_licence": draft.licence, "image_author": draft.author}
    region = {"region": place if place != culture else None}
    english = {"review": "English in place of a native caption"} if native == ENGLISH else {}
    return region | rest | english | dict(draft.notes)


def _sound(row: Row, draft: Draft, log: Log) -> bool:
    """Whether the schema takes the row, so that an error names the row of the source."""
    checked = check_rows([{**row, "image": "images/0.png", "split": "train"}], None, draft.file)
    for finding in checked.findings:
        log.bad(draft.file, draft.row, finding.field, finding.message)
    return not checked.findings


def _refuse_nothing(rows: Sequence[Row], source: str, log: Log) -> None:
    """Raise InterpError if there is not enough for a benchmark, saying what was left out and what to do."""
    if len({r["culture"] for r in rows}) >= 2:
        return
    left = log.left()
    out = "; ".join(f"left out, {reason}: {n}" for reason, n in left.items())
    advice = "a benchmark needs two cultures with three categories each"
    if _NO_PICTURE in left:
        advice = (
            "give the folder of your pictures with the option images, each named by its row's id, such as "
            f"{left[_NO_PICTURE].examples[0]}.png, or by the SHA-256 of its URL; nothing is downloaded here"
        )
    raise InterpError(f"import of {source}: {log.read} rows read, {len(rows)} remain: {out or 'none'}; {advice}")


def _card(rows: Sequence[Row], name: str, licence: str, seed: int) -> Card:
    cultures = {r["culture"] for r in rows}
    labels = [*(c for c in defaults() if c in cultures), *sorted(cultures - set(defaults()))]
    fields = {
        "name": name,
        "version": "1.0",
        "licence": licence,
        "labels": labels,
        "languages": _languages(rows, labels),
        "split": {"rule": _RULE, "shares": SHARES, "seed": seed},
    }
    return card_of(fields, f"import of {shown(name)}")


def _languages(rows: Sequence[Row], labels: Sequence[str]) -> dict[str, str | None]:
    """Language → the culture it stands for; None for English and for languages whose culture is not there."""
    own = {language: culture for culture, language in native_language().items()}
    found = {row["language"]: own.get(row["language"]) for row in rows}
    return {language: culture if culture in labels else None for language, culture in sorted(found.items())}


def _report(rows: Sequence[Row], source: str, licence: str, out: Path, log: Log) -> Report:
    cultures = Counter(r["culture"] for r in rows)
    names = Counter(r["split"] for r in rows)
    return Report(
        source=source,
        folder=out,
        licence=licence,
        read=log.read,
        imported=len(rows),
        pictures=len({r["image"] for r in rows}),
        left_out=log.left(),
        cultures=dict(sorted(cultures.items())),
        splits={name: names[name] for name in SHARES},
    )
