"""Look after a benchmark: count what is in it (Figure 3), split it anew, write its data card."""

import html
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from interp import benchmarks, schema, tables
from interp.benchmarks import Benchmark
from interp.errors import InterpError
from interp.schema import SPLITS, Row, SplitRule
from interp.splits import split
from interp.store import atomic_write_text, check_new, sha256_bytes
from interp.types import Shown

DATA_CARD = "README.md"
_JOINERS = "\u200c\u200d"
"""Invisible, but part of how Persian, Hindi and others are written."""


def markdown(text: object) -> str:
    """A text as Markdown that shows it as it is, in one line: nothing in it is a link, markup, HTML or a heading."""
    line = re.sub(r"[\\`*_\[\]#|~$]", r"\\\g<0>", html.escape(_line(text), quote=False))
    # where a line begins, they are items of lists, rules, or underlines of headings
    return re.sub(r"^(\d+)([.)])(?= |$)", r"\1\\\2", re.sub(r"^[-+=]", r"\\\g<0>", line))


def code(text: object) -> str:
    """A text as code in Markdown, in one line, whatever backticks it holds."""
    line = _line(text)
    ticks = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def _line(text: object) -> str:
    """The text without line ends, control characters and marks of direction."""
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in str(text)).split())


def quoted(text: object) -> str:
    """A text as a value of a YAML header: JSON, and what YAML takes for a line's end or refuses, by its number."""
    parts = json.dumps(str(text), ensure_ascii=False)
    return "".join(
        c if c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 2**16 else f"\\U{ord(c):08x}" for c in parts
    )


@dataclass(frozen=True, repr=False)
class Census(Shown):
    """What is in a benchmark."""

    name: str
    counts: Mapping[str, Mapping[str, int]]
    """Culture → split → samples."""
    languages: Mapping[str, int]
    """Language of the native captions → samples."""
    categories: Mapping[str, int]
    regions: Mapping[str, int]
    lengths: Mapping[str, Mapping[str, float]]
    """Language → caption → median length in characters."""
    licences: Mapping[str, int]
    """Licence of the picture → samples; '' where none is given."""
    reviews: Mapping[str, int]
    """Review status of the native captions → samples; '' where none is given."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have samples."""
        return tuple(s for s in SPLITS if any(s in row for row in self.counts.values()))

    def __repr__(self) -> str:
        head = f"{'':>14}" + "".join(f"{s:>14}" for s in self.splits)
        rows = [f"{c:>14}" + "".join(f"{n.get(s, 0):>14,}" for s in self.splits) for c, n in self.counts.items()]
        total = [sum(n.get(s, 0) for n in self.counts.values()) for s in self.splits]
        more = f"{len(self.categories)} categories, {len(self.regions)} regions, {len(self.languages)} languages"
        return "\n".join([f"{self.name}: {sum(total):,} samples, {more}", head, *rows,
                          f"{'all':>14}" + "".join(f"{n:>14,}" for n in total)])  # fmt: skip


def census(folder: str | Path) -> Census:
    """Count what is in a benchmark.

    Args:
        folder: in CultureBench format, or "pocket".

    Raises:
        InterpError: it is not in order.
    """
    bench = benchmarks.load(folder)
    rows = _rows(bench)
    counts = {c: Counter(r.split for r in rows if r.culture == c) for c in bench.cultures}
    lengths = {}
    for language in sorted({r.language for r in rows}):
        own = [r for r in rows if r.language == language]
        lengths[language] = {f: float(median(len(getattr(r, f)) for r in own)) for f in ("culture_style", "noun_only")}
    return Census(
        bench.name,
        counts,
        _counted([r.language for r in rows]),
        _counted([r.category for r in rows]),
        _counted([r.region for r in rows if r.region]),
        lengths,
        _counted([r.image_licence or bench.card.image_licence or "" for r in rows]),
        _counted([r.review or "" for r in rows]),
    )


def _counted(names: list[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _rows(bench: Benchmark) -> tuple[Row, ...]:
    """The rows with all their fields, of which samples keep a part."""
    return schema.check_rows(tables.read(tables.find(bench.folder)), bench.card, tables.STEM).rows


def resplit(folder: str | Path, out: str | Path, shares: tuple[int, int, int] = (7, 2, 1), seed: int = 0) -> Benchmark:
    """Split a benchmark anew, into a folder of its own; the old one is not touched.

    Samples of the split `cross_domain` stay there.

    Args:
        folder: in CultureBench format.
        out: made here.
        shares: of train, test and detection.
        seed: the same seed splits the same rows alike.

    Raises:
        InterpError: it is not in order, a culture has fewer than three categories, or `out` exists.
    """
    check_new(Path(out))
    bench = benchmarks.load(folder)
    rows = [r.model_dump(exclude_none=True) for r in _rows(bench)]
    kept = [r for r in rows if r["split"] == "cross_domain"]
    new = split([r for r in rows if r["split"] != "cross_domain"], shares, seed=seed)
    rule = SplitRule(
        rule="every culture by itself, whole categories at a time",
        shares=dict(zip(("train", "test", "detection"), shares, strict=True)),  # type: ignore[arg-type]
        seed=seed,
    )
    kind = tables.kind_of(tables.find(bench.folder))
    card = bench.card.model_copy(update={"split": rule, "digests": {}})

    def place(row: Mapping[str, Any], path: Path) -> None:
        shutil.copyfile(bench.folder / row["image"], path)

    benchmarks.write(out, [*new, *kept], card, place, kind)
    return benchmarks.load(out)


def data_card(folder: str | Path) -> str:
    """The data card of a benchmark, as Markdown with the header that dataset hubs read.

    Args:
        folder: in CultureBench format.

    Raises:
        InterpError: it is not in order.
    """
    bench, counted = benchmarks.load(folder), census(folder)
    card, total = bench.card, len(bench.rows)
    languages = sorted({*counted.languages, "en"})
    header = ["---", f"pretty_name: {quoted(card.name)}",
              f"license: {quoted(card.licence)}",
              "language:", *[f"- {quoted(n)}" for n in languages],
              "task_categories:", "- text-to-image", "---"]  # fmt: skip
    rule = f"{markdown(card.split.rule)} (seed {card.split.seed}); shares " + ", ".join(
        f"{name} {share}" for name, share in card.split.shares.items()
    )
    title = markdown(f"{card.name} {card.version}")
    sections = {
        f"# {title}": f"{total:,} pictures with captions of {len(card.labels)} cultures in "
        f"{len(counted.languages)} languages and English, in CultureBench format.",
        "## Samples": _table(
            ["culture", *counted.splits],
            [[c, *(n.get(s, 0) for s in counted.splits)] for c, n in counted.counts.items()],
        ),
        "## Split": f"{rule}. No picture, concept of a culture or culture-style caption is in two splits.",
        "## Captions": "Each picture has a culture-style caption (modifier and noun) and a noun-only one, in the "
        "native language and in English, with the character spans of modifier and noun.\n\n"
        + _table(
            ["language", "samples", "median length, culture-style", "noun-only"],
            [
                [n, count, counted.lengths[n]["culture_style"], counted.lengths[n]["noun_only"]]
                for n, count in counted.languages.items()
            ],
        ),
        "## Review": _shares(counted.reviews, "not said", total),
        "## Licences of the pictures": _shares(counted.licences, "not said", total),
        "## Limits": "Labels are coarse: a country or region is not one culture. Captions say what their annotators "
        "saw. Check the review status before results are published.",
        "## Files": "`benchmark.json` (name, version, licence, labels, split, digests), one table `samples.*`, "
        "`images/`. `interp bench validate` checks them.",
    }
    if card.parents:
        sections["## Sub-regions"] = _table(["label", "belongs to"], [[a, b] for a, b in card.parents.items()])
    digests = "\n".join(f"- {part}: `{value}`" for part, value in card.digests.items())
    body = "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items())
    return "\n".join(header) + f"\n\n{body}\n\n## Digests\n\n{digests or 'none'}\n"


def write_data_card(folder: str | Path) -> Path:
    """Write the data card beside `benchmark.json`; an earlier one is replaced, as long as nobody edited it.

    Raises:
        InterpError: the benchmark is not in order, or a README.md of somebody else's is there.
    """
    path = Path(folder) / DATA_CARD
    if path.exists() and not _is_ours(path):
        raise InterpError(
            f"{path} is no data card of ours, or was edited since; nothing was written: move it away, or take the text "
            "of data_card into it"
        )
    text = data_card(folder)
    atomic_write_text(path, text + _mark(text))
    return path


def _mark(text: str) -> str:
    """The last line of a card, which tells whether it is as it was written."""
    return f"\n[//]: # (written by interp bench card, sha256 {sha256_bytes(text.encode())})\n"


def _is_ours(path: Path) -> bool:
    found = path.read_text(encoding="utf-8", errors="replace")
    text = found[: found.rfind("\n[//]: # (written by")]
    return found == text + _mark(text)


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [[markdown(cell) for cell in line] for line in (head, *rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], ["---"] * len(head), *lines[1:]))


def _shares(counted: Mapping[str, int], unnamed: str, total: int) -> str:
    return "\n".join(f"- {markdown(name or unnamed)}: {n:,} ({100 * n / total:.0f} %)" for name, n in counted.items())
