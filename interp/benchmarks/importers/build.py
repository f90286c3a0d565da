"""From drafts to a benchmark: cultures, captions, pictures, split, folder."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from interp.benchmarks import reading
from interp.benchmarks.checks import card_of, check_rows, refuse
from interp.benchmarks.importers.captions import UnfitError, fields, tidy
from interp.benchmarks.importers.image_store import ImageStore, images_by_name
from interp.benchmarks.importers.log import Log, Report
from interp.benchmarks.importers.options import Options
from interp.benchmarks.importers.places import culture_of, defaults, native_language, place_of
from interp.benchmarks.importers.source import Draft
from interp.benchmarks.importers.split import SHARES, Row, split
from interp.benchmarks.names import unique_id
from interp.benchmarks.schema import Card
from interp.bounds import shown
from interp.errors import InterpError
from interp.store import sha256_bytes

_RULE = "whole categories of each culture; categories that share a picture or a caption stay together"
_NO_IMAGE = "no picture"


def build(drafts: Iterable[Draft], source: str, licence: str, out: Path, options: Options, log: Log) -> Report:
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
    # beside the benchmark, so that a picture is moved and not copied a second time
    beside = next(p for p in out.absolute().parents if p.is_dir())
    with tempfile.TemporaryDirectory(prefix=".import-", dir=beside) as scratch:
        images = ImageStore(Path(scratch), options.side)
        rows = list(_rows(drafts, images, options, log))
        if options.bad == "leave":
            log.forgive()
        refuse(log.findings, f"import of {source} (bad='leave' leaves such rows out)")
        rows = split(rows, images.alike(), options.seed, log)
        _refuse_nothing(rows, source, log)
        card = _card(rows, options.name or source, licence, options.seed)
        reading.write(out, rows, card, images.move)
    return _report(rows, source, licence, out, log)


def _rows(drafts: Iterable[Draft], images: ImageStore, options: Options, log: Log) -> Iterator[Row]:
    """Sound rows, with their pictures stored."""
    users = images_by_name(options.images) if options.images else {}
    places: dict[str, str] = {}
    texts: dict[str, str] = {}
    for draft in drafts:
        place = f"{draft.row.file} row {draft.row.number}"
        if (first := places.setdefault(draft.id, place)) != place:
            draft.row.bad("id", f"{shown(draft.id)} is already the id of {first}")
            continue
        name = unique_id(draft.id, texts)
        if (culture := _culture(draft, options, log)) is None or (row := _row(draft, name, culture, log)) is None:
            continue
        image = draft.image if draft.image is not None else _users_image(draft, name, users)
        if image is None:
            log.leave(_NO_IMAGE, draft.id)
            continue
        try:
            row["image"] = images.put(image)
        except InterpError as error:
            draft.row.bad("image", str(error))
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


def _users_image(draft: Draft, name: str, users: Mapping[str, Path]) -> Path | None:
    by_url = users.get(sha256_bytes(draft.url.encode())) if draft.url else None
    return users.get(name) or users.get(draft.id) or by_url


def _row(draft: Draft, name: str, culture: str, log: Log) -> Row | None:
    """The row without picture and split; None, and noted, if it cannot be."""
    native = next((language for language in draft.captions if language != "en"), "en")
    row: Row = {"id": name, "culture": culture, "language": native, "category": tidy(draft.category)}
    for language, suffix in ((native, ""), ("en", "_en")):
        try:
            captions = fields(draft.captions[language], language, place_of(culture))
        except UnfitError as error:
            log.leave(str(error), draft.id)
            return None
        except InterpError as error:
            draft.row.bad("culture_style" + suffix, str(error))
            return None
        row |= {field + suffix: value for field, value in captions.items()}
    row |= {field: value for field, value in _provenance(draft, culture, native).items() if value}
    # checked here, so that an error names the row of the source
    findings = check_rows([{**row, "image": "images/0.png", "split": "train"}], None, draft.row.file).findings
    for finding in findings:
        draft.row.bad(finding.field, finding.message)
    return None if findings else row


def _provenance(draft: Draft, culture: str, native: str) -> dict[str, str | None]:
    place = tidy(draft.place)
    return {
        "region": place if place != culture else None,
        "source_url": draft.url,
        "image_licence": draft.licence,
        "image_author": draft.author,
        "review": "English in place of a native caption" if native == "en" else None,
        **draft.notes,
    }


def _refuse_nothing(rows: Sequence[Row], source: str, log: Log) -> None:
    """Raise InterpError if there is not enough for a benchmark, saying what was left out and what to do."""
    if len({r["culture"] for r in rows}) >= 2:
        return
    left = log.left()
    out = "; ".join(f"left out, {reason}: {n}" for reason, n in left.items())
    advice = "a benchmark needs two cultures with three categories each"
    if _NO_IMAGE in left:
        advice = (
            "give the folder of your pictures with the option images, each named by its row's id, such as "
            f"{left[_NO_IMAGE].examples[0]}.png, or by the SHA-256 of its URL; nothing is downloaded here"
        )
    raise InterpError(f"import of {source}: {log.read} rows read, {len(rows)} remain: {out or 'none'}; {advice}")


def _card(rows: Sequence[Row], name: str, licence: str, seed: int) -> Card:
    cultures = {r["culture"] for r in rows}
    culture_by_language = {language: culture for culture, language in native_language().items()}
    languages = sorted({row["language"] for row in rows})
    fields = {
        "name": name,
        "version": "1.0",
        "licence": licence,
        "labels": [*(c for c in defaults() if c in cultures), *sorted(cultures - set(defaults()))],
        # none for English and for languages whose culture is not there
        "languages": {n: c if (c := culture_by_language.get(n)) in cultures else None for n in languages},
        "split": {"rule": _RULE, "shares": SHARES, "seed": seed},
    }
    return card_of(fields, f"import of {shown(name)}")


def _report(rows: Sequence[Row], source: str, licence: str, out: Path, log: Log) -> Report:
    cultures = Counter(r["culture"] for r in rows)
    splits = Counter(r["split"] for r in rows)
    return Report(
        source=source,
        folder=out,
        licence=licence,
        read=log.read,
        imported=len(rows),
        pictures=len({r["image"] for r in rows}),
        left_out=log.left(),
        cultures=dict(sorted(cultures.items())),
        splits={name: splits[name] for name in SHARES},
    )
