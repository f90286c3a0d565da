"""A benchmark's data card."""

from pathlib import Path

from interp.benchmarks import reading
from interp.benchmarks.census import census
from interp.errors import InterpError
from interp.escapes import markdown, quoted
from interp.store import atomic_write_text, sha256_bytes

TEMPLATE = Path(__file__).parents[1] / "assets" / "data_card.md.j2"


def data_card(folder: str | Path) -> str:
    """The data card of a benchmark, as Markdown with the header that dataset hubs read.

    Args:
        folder: in CultureBench format.

    Raises:
        InterpError: it is not in order.
    """
    from jinja2 import Environment, StrictUndefined

    jinja = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    jinja.filters |= {"md": markdown, "quoted": quoted}
    bench, counted = reading.load(folder), census(folder)
    return jinja.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        card=bench.card, census=counted, languages=sorted({*counted.languages, "en"}), total=len(bench.rows)
    )


def write_data_card(folder: str | Path) -> Path:
    """Write the data card beside `benchmark.json`; an earlier one is replaced, as long as nobody edited it.

    Raises:
        InterpError: the benchmark is not in order, or a README.md of somebody else's is there.
    """
    path = Path(folder) / "README.md"
    if path.exists() and not _is_ours(path.read_text(encoding="utf-8", errors="replace")):
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


def _is_ours(card: str) -> bool:
    text = card[: card.rfind("\n[//]: # (written by")]
    return card == text + _mark(text)
