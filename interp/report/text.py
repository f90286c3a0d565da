"""Numbers as words: one way to write an estimate, a difference and a p-value, in figures, tables and sentences."""

import math
from collections.abc import Sequence
from typing import SupportsFloat

from interp.types import Interval

NBSP = "\N{NO-BREAK SPACE}"
MISSING = "–"
"""What stands where there is no number."""
ARMS = {
    "baseline": "baseline",
    "masked": "own set masked",
    "woken": "own set driven",
    "random": "random sets",
    "with_modifier": "with modifier",
    "noun_only": "noun only",
    "enhanced": "trained enhancer",
}
"""What the arms of the file are called in tables."""


def number(value: SupportsFloat | None, digits: int = 1) -> str:
    """A number with so many digits after the point, with a true minus and never "−0.0"."""
    if value is None or math.isnan(value):
        return MISSING
    written = f"{float(value):.{digits}f}"
    return written.lstrip("-") if float(written) == 0 else written.replace("-", "−")


def interval(value: Interval | None, digits: int = 1) -> str:
    """An estimate with its 95 % interval: `41.2 [38.0, 44.3]`."""
    if value is None or math.isnan(value.estimate):
        return MISSING
    return f"{number(value.estimate, digits)} [{number(value.ci[0], digits)}, {number(value.ci[1], digits)}]"


def percent(value: Interval) -> str:
    """`41.2 % [38.0, 44.3]`."""
    return interval(value).replace(" [", f"{NBSP}% [", 1)


def points(value: Interval) -> str:
    """`+12.3 points [10.0, 14.1]`, the sign always written."""
    return ("+" if value.estimate > 0 else "") + interval(value).replace(" [", f"{NBSP}points [", 1)


def probability(value: float) -> str:
    """`p = 0.048`, or `p < 0.001`."""
    if math.isnan(value):
        return "p not available"
    return f"p{NBSP}<{NBSP}0.001" if value < 0.001 else f"p{NBSP}={NBSP}{value:.3f}"


def listed(items: Sequence[object]) -> str:
    """`1, 2 and 3`."""
    words = [str(item) for item in items]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def counted(n: int, noun: str) -> str:
    """`1 set`, `2 sets`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
