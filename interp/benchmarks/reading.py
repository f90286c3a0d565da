"""A benchmark from its folder and back, validated whole; the pocket benchmark is composed on first use."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from interp import store
from interp.benchmarks import images, pocket
from interp.benchmarks.benchmark import CARD, Benchmark, refuse_unknown
from interp.benchmarks.checks import Finding, card_of, check_rows, read_card, refuse
from interp.benchmarks.rows import STEM, find_table, kind_of, read_table, write_table
from interp.benchmarks.schema import Card, Digested, Row, SplitRule, digest_card, digest_rows
from interp.benchmarks.splits import leaks, near_leaks
from interp.bounds import shown
from interp.errors import InterpError
from interp.grouping import group
from interp.types import Prompt, PromptPair, Sample

Place = Callable[[Mapping[str, Any], Path], None]
"""Puts the picture of a row at a path."""


def load(source: str | Path, splits: Collection[str] | None = None) -> Benchmark:
    """Load a benchmark.

    Args:
        source: "pocket", composed into the cache on first use, or a folder in CultureBench format.
        splits: keep the samples of these splits only, so that nothing else can be touched; all if None.

    Raises:
        InterpError: if there is no such benchmark, or if anything in its rows or its card is wrong; every problem is
            named, nothing is changed.
    """
    folder = _pocket() if source == "pocket" else Path(source)
    if not folder.is_dir():
        raise InterpError(f"no benchmark {str(source)!r}: it is neither a folder nor 'pocket', the one that is shipped")
    content = _read(folder)
    hint = " (delete the folder, and it is composed again)" if source == "pocket" else ""
    refuse(content.findings, f"benchmark {folder}{hint}")
    bench = _assemble(folder, content)
    if splits is None:
        return bench
    refuse_unknown("split", splits, bench.splits)
    note = f"only {', '.join(s for s in bench.splits if s in splits)}"
    return replace(bench, rows=tuple(s for s in bench.rows if s.split in splits), selection=(note,))


def validate(folder: str | Path, progress: bool = False) -> list[Finding]:
    """Everything that is wrong (errors) or odd (warnings) with a folder, pixels and leakage included.

    Args:
        folder: in CultureBench format; it is only read.
        progress: show a bar.
    """
    folder = Path(folder)
    content = _read(folder, warn=True)
    findings = list(content.findings)
    if content.card is None or any(f.level == "error" for f in findings):
        return findings
    samples = [sample_of(row) for row in content.rows]
    pixels: dict[str, str] = {}
    looks: dict[str, images.Looks] = {}
    for number, sample in enumerate(tqdm(samples, desc="pictures", unit="picture", disable=not progress), 1):
        if sample.image in pixels:
            continue
        try:
            image = images.read(folder / sample.image)
        except InterpError as error:
            findings.append(Finding(content.file, number, "image", str(error)))
        else:
            pixels[sample.image] = images.digest(np.asarray(image))
            looks[sample.image] = images.looks(image)
    findings += _differs("images", _digest_images(pixels), content.card)
    return [*findings, *leaks(samples, pixels, content.file), *near_leaks(samples, looks, pixels, content.file)]


def write(
    folder: str | Path, rows: Sequence[Mapping[str, Any]], meta: Card, place: Place, table: str = "parquet"
) -> None:
    """Write a benchmark: all of it, or nothing.

    Args:
        folder: made here.
        rows: in the schema's fields.
        meta: what goes into `benchmark.json`; its digests are computed here.
        place: puts the picture of a row at a path, by copying or drawing it.
        table: kind of the table: parquet, jsonl or csv.

    Raises:
        InterpError: if the folder exists, a row is not in order, the kind of table is unknown, or `place` leaves no
            picture.
    """
    kind_of(Path(f"{STEM}.{table}"))
    meta = card_of(meta.model_dump() | {"digests": {}}, f"benchmark {shown(meta.name)}")
    checked = check_rows(rows, meta, STEM)
    refuse(checked.findings, f"benchmark {meta.name}")
    with store.atomic_folder(Path(folder)) as part:
        _fill(part, checked.rows, meta, place, table)


def _fill(folder: Path, rows: Sequence[Row], meta: Card, place: Place, table: str) -> None:
    """Put pictures, table and card into an empty folder."""
    pixels: dict[str, str] = {}
    for row in tqdm(rows, desc=f"benchmark {meta.name}", unit="picture"):
        if row.image not in pixels:
            path = folder / row.image
            images.check_inside(path, folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            place(row.model_dump(), path)
            pixels[row.image] = _pixels(path)
    digests = {"samples": digest_rows(rows), "images": _digest_images(pixels)}
    write_table(folder / f"{STEM}.{table}", rows)
    card = meta.model_copy(update={"digests": digests})
    card = card.model_copy(update={"digests": {**digests, "card": digest_card(card)}})
    store.atomic_write_text(folder / CARD, card.model_dump_json(indent=1) + "\n")


@dataclass(frozen=True)
class _Content:
    """A folder as read, not yet believed."""

    card: Card | None
    file: str
    rows: tuple[Row, ...]
    digest: str
    """SHA-256 over the rows."""
    findings: tuple[Finding, ...]


def _read(folder: Path, warn: bool = False) -> _Content:
    """Read and check card, table and the presence of the images."""
    card, findings = read_card(folder / CARD)
    if card:
        findings += _differs("card", digest_card(card), card)
    try:
        table = find_table(folder)
        values = read_table(table)
    except InterpError as error:
        return _Content(card, STEM, (), "", (*findings, Finding("", None, "", str(error))))
    checked = check_rows(values, card, table.name, warn)
    findings += checked.findings
    for number, row in zip(checked.numbers, checked.rows, strict=True):
        if not os.path.isfile(folder / row.image):  # Path.is_file raises for what it may not look at
            findings.append(Finding(table.name, number, "image", f"{row.image} is missing"))
    digest = digest_rows(checked.rows)
    if card and len(checked.rows) == len(values):
        findings += _differs("samples", digest, card)
    return _Content(card, table.name, checked.rows, digest, tuple(findings))


def _differs(part: Digested, digest: str, card: Card) -> list[Finding]:
    """A finding if rows or pictures are not those that the card was written for, or the card is another."""
    recorded = card.digests.get(part, digest)
    what = "the card was" if part == "card" else f"the {part} were"
    # the card's digest is over those of rows and pictures, so it goes with them
    removed = "digests.card" if part == "card" else f"digests.{part} and digests.card"
    advice = f"restore what was there, or, if the change is meant, remove {removed}"
    message = f"{what} changed: the digest is {digest}, recorded is {recorded}; {advice}"
    return [] if digest == recorded else [Finding(CARD, None, f"digests.{part}", message)]


def _assemble(folder: Path, content: _Content) -> Benchmark:
    assert content.card is not None
    image_digest = content.card.digests.get("images") or _digest_images(
        {r.image: _pixels(folder / r.image) for r in content.rows}
    )
    digest = hashlib.sha256(f"{content.digest}\n{image_digest}".encode()).hexdigest()
    return Benchmark(content.card, folder, digest, tuple(map(sample_of, content.rows)))


def table_rows(bench: Benchmark) -> tuple[Row, ...]:
    """The rows with all their fields, of which samples keep a part."""
    return check_rows(read_table(find_table(bench.folder)), bench.card, STEM).rows


def sample_of(row: Row) -> Sample:
    """A row as a sample: what is asked of a model, without what is said about it."""
    native, english = _pair(row, row.language, ""), _pair(row, "en", "_en")
    return Sample(row.id, row.image, row.culture, row.language, row.category, row.split, native, english)


def _pair(row: Row, language: str, suffix: str) -> PromptPair:
    def prompt(caption: str, noun: str, modifier: str | None) -> Prompt:
        spans = [getattr(row, f + suffix) if f else None for f in (noun, modifier)]
        return Prompt(getattr(row, caption + suffix), language, *spans)

    styled = prompt("culture_style", "noun_span", "modifier_span")
    plain = prompt("noun_only", "noun_only_span", None)
    neutral = None
    if getattr(row, "neutral_style" + suffix):
        neutral = prompt("neutral_style", "neutral_noun_span", "neutral_modifier_span")
    return PromptPair(row.id, row.culture, row.category, styled, plain, neutral)


def _pixels(path: Path) -> str:
    """Digest of a picture's pixels."""
    return images.digest(np.asarray(images.read(path)))


def _digest_images(pixels: Mapping[str, str]) -> str:
    lines = "".join(f"{path}\0{digest}\n" for path, digest in sorted(pixels.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _pocket() -> Path:
    """The folder of the benchmark `pocket`, composed if it is not there."""
    world = pocket.recipe()
    tag = hashlib.sha256(json.dumps(world, sort_keys=True).encode()).hexdigest()[:8]
    folder = store.cache_dir() / "benchmarks" / f"pocket-{world['version']}-{tag}"
    if not folder.is_dir():
        rows = list(pocket.samples())
        _check_composition(rows, world["digests"])
        card = _pocket_card(world)
        checked = check_rows(rows, card, STEM)
        refuse(checked.findings, "benchmark pocket")
        # kept, because another process may compose it at the same time
        with store.atomic_folder(folder, existing="keep") as part:
            _fill(part, checked.rows, card, _compose, "parquet")
    return folder


def _check_composition(rows: Iterable[dict[str, Any]], recorded: Mapping[str, str]) -> None:
    """Raise InterpError unless pictures and captions are bit for bit those that the recipe records."""
    digests = {name: pocket.digest(part) for name, part in group(rows, lambda r: r["split"]).items()}
    if wrong := [name for name in recorded if digests.get(name) != recorded[name]]:
        what = f"what is composed here for {', '.join(wrong)} is not what recipe.json records"
        raise InterpError(f"benchmark pocket: {what}; reinstall the package")


def _pocket_card(world: Mapping[str, Any]) -> Card:
    return Card(
        name=world["name"],
        version=world["version"],
        licence=world["licence"],
        image_licence="CC-BY-4.0 (drawings by Twemoji), Apache-2.0 (by Noto); flags and composition CC-BY-4.0",
        labels=tuple(c["name"] for c in world["cultures"]),
        languages={c["language"]: c["name"] for c in world["cultures"]},
        split=SplitRule(
            rule="nouns rotate over the cultures; cross_domain holds 20 nouns that are in no other split",
            shares={"train": 7, "test": 2, "detection": 1},
            seed=world["seed"],
        ),
    )


def _compose(row: Mapping[str, Any], path: Path) -> None:
    Image.fromarray(pocket.picture(row)).save(path)
