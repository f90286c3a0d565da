"""A benchmark's data card."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from interp.benchmarks import reading
from interp.benchmarks.census import census
from interp.errors import InterpError
from interp.escapes import markdown, quoted
from interp.store import atomic_write_text, sha256_bytes

DATA_CARD = "README.md"


def data_card(folder: str | Path) -> str:
    """The data card of a benchmark, as Markdown with the header that dataset hubs read.

    Args:
        folder: in CultureBench format.

    Raises:
        InterpError: it is not in order.
    """
    bench, counted = reading.load(folder), census(folder)
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
