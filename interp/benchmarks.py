"""Benchmarks in CultureBench format: load, validate, split, write, and ask for samples and prompt pairs.

A benchmark is a folder with `benchmark.json`, one table of samples and `images/`. The one called `pocket` is composed
into the cache on first use. Start with `load`.
"""

import hashlib
import html
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from interp import pictures, pocket, store, tables
from interp.bounds import shown
from interp.errors import InterpError
from interp.schema import (
    SPLITS,
    Card,
    Digested,
    Finding,
    Row,
    SplitRule,
    card_of,
    check_rows,
    digest_card,
    digest_rows,
    read_card,
    refuse,
)
from interp.splits import check_seed, group, in_rounds, leaks, near_leaks
from interp.splits import split as split
from interp.types import Prompt, PromptPair, Sample

CARD = "benchmark.json"
Place = Callable[[Mapping[str, Any], Path], None]
"""Puts the picture of a row at a path."""


@dataclass(frozen=True, repr=False)
class Benchmark:
    """A loaded benchmark: its samples in memory, its pictures in a folder."""

    card: Card
    folder: Path
    digest: str
    """SHA-256 over rows and pixels of the whole benchmark, whatever part of it is loaded."""
    rows: tuple[Sample, ...]
    selection: tuple[str, ...] = ()
    """In words, what was left out on purpose."""

    @property
    def name(self) -> str:
        """The benchmark's name."""
        return self.card.name

    @property
    def cultures(self) -> tuple[str, ...]:
        """The label set, in the order a judge is offered it."""
        return self.card.labels

    @cached_property
    def languages(self) -> dict[str, str]:
        """Culture → language of most of its captions."""
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        for sample in self.rows:
            seen[sample.culture][sample.language] += 1
        return {c: seen[c].most_common(1)[0][0] for c in self.cultures if c in seen}

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits that have samples."""
        present = {s.split for s in self.rows}
        return tuple(s for s in SPLITS if s in present)

    def samples(self, split: str, cultures: Collection[str] | None = None) -> tuple[Sample, ...]:
        """Samples of a split, in the table's order.

        Args:
            split: one of `splits`.
            cultures: only these; all if None.

        Raises:
            InterpError: if the split or a culture is unknown.
        """
        _known("split", [split], self.splits)
        wanted = self.cultures if cultures is None else cultures
        _known("culture", wanted, self.cultures)
        return tuple(s for s in self.rows if s.split == split and s.culture in wanted)

    def pairs(
        self, split: str, language: str = "native", cultures: Collection[str] | None = None
    ) -> tuple[PromptPair, ...]:
        """Prompt pairs of a split, in the table's order.

        Args:
            split: one of `splits`.
            language: "native" for the captions in the culture's own language, "english" for those in English.
            cultures: only these; all if None.

        Raises:
            InterpError: if the split, the language or a culture is unknown.
        """
        _known("language", [language], ("native", "english"))
        return tuple(getattr(s, language) for s in self.samples(split, cultures))

    def image(self, sample: Sample) -> Image.Image:
        """The reference picture of a sample, as RGB.

        Raises:
            InterpError: if the file is missing or no picture.
        """
        return pictures.read(self.folder / sample.image)

    def subset(self, split: str, per_culture: int, seed: int) -> "Benchmark":
        """The benchmark with one split cut down, the other splits as they are.

        Within a culture the categories are gone through in rounds, one sample each, so that there are as many clusters
        as possible. A larger subset of the same seed contains the smaller one.

        Raises:
            InterpError: if the split is unknown, a culture of it has fewer samples, or the seed is none.
        """
        check_seed(seed)
        chosen: set[str] = set()
        for culture, samples in group(self.samples(split), lambda s: s.culture).items():
            if not 0 < per_culture <= len(samples):
                raise InterpError(
                    f"{shown(per_culture)} samples a culture asked of split {split!r}; {culture} has {len(samples)}; "
                    f"ask for 1 to {len(samples)}"
                )
            chosen |= {s.id for s in in_rounds(samples, seed)[:per_culture]}
        rows = tuple(s for s in self.rows if s.split != split or s.id in chosen)
        note = f"{split}: {per_culture} a culture, seed {seed}"
        return replace(self, rows=rows, selection=(*self.selection, note))

    def coarse(self) -> "Benchmark":
        """The same benchmark with every sub-region taken as the culture that it belongs to."""
        rows = tuple(replace(s, culture=self.card.root(s.culture)) for s in self.rows)
        labels = tuple(c for c in self.card.labels if c not in self.card.parents)
        languages = {language: c and self.card.root(c) for language, c in self.card.languages.items()}
        card = self.card.model_copy(update={"labels": labels, "languages": languages, "parents": {}})
        note = "sub-regions taken as their cultures"
        return replace(self, card=card, rows=rows, selection=(*self.selection, note))

    def __repr__(self) -> str:
        counts = Counter(s.split for s in self.rows)
        parts = [f"{s} {counts[s]}" for s in self.splits] + [f"[{note}]" for note in self.selection]
        return f"Benchmark({self.name!r}, {len(self.cultures)} cultures, {', '.join(parts)})"

    def _repr_html_(self) -> str:
        counts = Counter((s.culture, s.split) for s in self.rows)
        body = [[c, self.languages.get(c, ""), *(counts[c, s] for s in self.splits)] for c in self.cultures]
        head = _html_row("th", ["culture", "language", *self.splits])
        title = html.escape(" ".join([f"{self.name} {self.card.version}", *self.selection]))
        return f"<table><caption>{title}</caption>{head}{''.join(_html_row('td', r) for r in body)}</table>"


def _html_row(tag: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(str(c))}</{tag}>' for c in cells)}</tr>"


def _known(kind: str, asked: Iterable[str], known: Sequence[str]) -> None:
    if unknown := [a for a in asked if a not in known]:
        raise InterpError(f"unknown {kind} {unknown[0]!r}; known: {', '.join(known)}")


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
    _known("split", splits, bench.splits)
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
    samples = [_sample(row) for row in content.rows]
    pixels: dict[str, str] = {}
    looks: dict[str, pictures.Looks] = {}
    for number, sample in enumerate(tqdm(samples, desc="pictures", unit="picture", disable=not progress), 1):
        if sample.image in pixels:
            continue
        try:
            image = pictures.read(folder / sample.image)
        except InterpError as error:
            findings.append(Finding(content.file, number, "image", str(error)))
        else:
            pixels[sample.image] = pictures.digest(np.asarray(image))
            looks[sample.image] = pictures.looks(image)
    findings += _differs("images", _digest_images(pixels), content.card)
    return [*findings, *leaks(samples, pixels, content.file), *near_leaks(samples, looks, pixels, content.file)]


def leakage(benchmark: Benchmark) -> list[Finding]:
    """What two splits share: a picture (by its pixels), a category × culture pair, or a culture-style caption."""
    pixels = {s.image: _pixels(benchmark.folder / s.image) for s in benchmark.rows}
    return leaks(benchmark.rows, pixels, benchmark.name)


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
    tables.kind_of(Path(f"{tables.STEM}.{table}"))
    meta = card_of(meta.model_dump() | {"digests": {}}, f"benchmark {shown(meta.name)}")
    checked = check_rows(rows, meta, tables.STEM)
    refuse(checked.findings, f"benchmark {meta.name}")
    with store.atomic_folder(Path(folder)) as part:
        _fill(part, checked.rows, meta, place, table)


def _fill(folder: Path, rows: Sequence[Row], meta: Card, place: Place, table: str) -> None:
    """Put pictures, table and card into an empty folder."""
    pixels: dict[str, str] = {}
    for row in tqdm(rows, desc=f"benchmark {meta.name}", unit="picture"):
        if row.image not in pixels:
            pictures.check_inside(folder / row.image, folder)
            pixels[row.image] = _placed(row, folder / row.image, place)
    digests = {"samples": digest_rows(rows), "images": _digest_images(pixels)}
    tables.write(folder / f"{tables.STEM}.{table}", rows)
    card = meta.model_copy(update={"digests": digests})
    card = card.model_copy(update={"digests": {**digests, "card": digest_card(card)}})
    store.atomic_write_text(folder / CARD, card.model_dump_json(indent=1) + "\n")


def _placed(row: Row, path: Path, place: Place) -> str:
    """Put a picture in place and read it back for its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place(row.model_dump(), path)
    return _pixels(path)


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
    """Read and check card, table and the presence of the pictures."""
    card, findings = read_card(folder / CARD)
    if card:
        findings += _differs("card", digest_card(card), card)
    try:
        table = tables.find(folder)
        values = tables.read(table)
    except InterpError as error:
        return _Content(card, tables.STEM, (), "", (*findings, Finding("", None, "", str(error))))
    checked = check_rows(values, card, table.name, warn)
    findings += checked.findings
    for number, row in zip(checked.numbers, checked.rows, strict=True):
        if not os.path.isfile(folder / row.image):  # Path.is_file raises for what it may not look at
            findings.append(Finding(table.name, number, "image", f"{row.image} is missing"))
    digest = digest_rows(checked.rows)
    if card and len(checked.rows) == len(values):
        findings += _differs("samples", digest, card)
    return _Content(card, table.name, checked.rows, digest, tuple(findings))


def _differs(part: Digested, found: str, card: Card) -> list[Finding]:
    """A finding if rows or pictures are not those that the card was written for, or the card is another."""
    recorded = card.digests.get(part, found)
    what = "the card was" if part == "card" else f"the {part} were"
    # the card's digest is over those of rows and pictures, so it goes with them
    removed = "digests.card" if part == "card" else f"digests.{part} and digests.card"
    advice = f"restore what was there, or, if the change is meant, remove {removed}"
    message = f"{what} changed: the digest is {found}, recorded is {recorded}; {advice}"
    return [] if found == recorded else [Finding(CARD, None, f"digests.{part}", message)]


def _assemble(folder: Path, content: _Content) -> Benchmark:
    assert content.card is not None
    recorded = content.card.digests.get("images")
    images = recorded or _digest_images({r.image: _pixels(folder / r.image) for r in content.rows})
    digest = hashlib.sha256(f"{content.digest}\n{images}".encode()).hexdigest()
    return Benchmark(content.card, folder, digest, tuple(_sample(row) for row in content.rows))


def _sample(row: Row) -> Sample:
    native, english = _pair(row, row.language, ""), _pair(row, "en", "_en")
    return Sample(row.id, row.image, row.culture, row.language, row.category, row.split, native, english)


def _pair(row: Row, language: str, suffix: str) -> PromptPair:
    def prompt(caption: str, noun: str, modifier: str | None) -> Prompt:
        spans = [getattr(row, f + suffix) if f else None for f in (noun, modifier)]
        return Prompt(getattr(row, caption + suffix), language, *spans)

    neutral = None
    if getattr(row, "neutral_style" + suffix):
        neutral = prompt("neutral_style", "neutral_noun_span", "neutral_modifier_span")
    return PromptPair(
        id=row.id,
        culture=row.culture,
        category=row.category,
        cult=prompt("culture_style", "noun_span", "modifier_span"),
        noun=prompt("noun_only", "noun_only_span", None),
        neutral=neutral,
    )


def _pixels(path: Path) -> str:
    """Digest of a picture's pixels."""
    return pictures.digest(np.asarray(pictures.read(path)))


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
        checked = check_rows(rows, card, tables.STEM)
        refuse(checked.findings, "benchmark pocket")
        # kept, because another process may compose it at the same time
        with store.atomic_folder(folder, existing="keep") as part:
            _fill(part, checked.rows, card, _compose, "parquet")
    return folder


def _check_composition(rows: Iterable[dict[str, Any]], recorded: Mapping[str, str]) -> None:
    """Raise InterpError unless pictures and captions are bit for bit those that the recipe records."""
    found = {name: pocket.digest(part) for name, part in group(rows, lambda r: r["split"]).items()}
    if wrong := [name for name in recorded if found.get(name) != recorded[name]]:
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
    Image.fromarray(pocket.compose(row["category"], row["culture"], row["drawing"], row["key"])).save(path)
