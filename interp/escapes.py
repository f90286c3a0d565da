"""Texts of others in Markdown, YAML headers and CSV cells: shown as they are, never taken for markup or formulas."""

import html
import json
import re

JOINERS = "\u200c\u200d"
"""Invisible, but part of how Persian, Hindi and others are written."""
_FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"
"""What makes a spreadsheet run a cell that begins with it."""
_NUMBER = re.compile(r"[+-]?(\d+(,\d{3})*(\.\d*)?|\.\d+)([eE][+-]?\d+)?( ?%)?", re.ASCII)


def _is_formula(cell: str) -> bool:
    """Whether a spreadsheet would run the cell, whatever apostrophes it has before it."""
    inner = cell.lstrip("'")
    return inner != "" and inner[0] in _FORMULA_STARTS and _NUMBER.fullmatch(inner) is None


def guarded(cell: str) -> str:
    """A cell of a CSV that no spreadsheet runs: an apostrophe before what begins like a formula and is no number."""
    return f"'{cell}" if _is_formula(cell) else cell


def unguarded(cell: str) -> str:
    """The cell that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


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
    return " ".join("".join(c if c.isprintable() or c in JOINERS else " " for c in str(text)).split())


def quoted(text: object) -> str:
    """A text as a value of a YAML header: JSON, and what YAML takes for a line's end or refuses, by its number."""
    return "".join(
        c if c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 2**16 else f"\\U{ord(c):08x}"
        for c in json.dumps(str(text), ensure_ascii=False)
    )
