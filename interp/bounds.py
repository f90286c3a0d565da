"""Refuse numbers and texts that cannot be meant: an InterpError of one line names and shows them, however large."""

import reprlib
import sys
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from interp.errors import InterpError

LARGEST_SEED = 2**31 - 1
"""What every generator of random numbers takes, of torch, numpy and samplers."""


class _Repr(reprlib.Repr):
    """Short for any value: Python itself refuses to write out whole numbers of over 4,300 digits."""

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() <= 10_000 else f"a number of {x.bit_length():,} bits"


_REPR = _Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlist, _REPR.maxtuple = 3, 200, 200, 20, 20


def shown(value: Any, most: int = 60) -> str:
    """A value of any size and depth, in at most so many printable characters."""
    text = repr(value[: 2 * most]) if isinstance(value, str) else _REPR.repr(value)
    return text[: most - 3] + "…" if len(text) > most else text


def printable(text: str, most: int = 100) -> str:
    """The text in one line that every terminal takes, cut to so many characters."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:most])
    return line + "…" * (len(text) > most)


def whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number from `least` to `most`; numpy's are whole numbers, too."""
    sound = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
    if not sound or (most is not None and int(value) > most):
        within = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InterpError(f"{name}={shown(value, 40)}: give a whole number {within}")


def seed(value: Any, name: str = "seed", most: int = LARGEST_SEED) -> None:
    """Refuse what is no seed, a whole number from 0 to `most`."""
    whole(name, value, 0, most)


def number(name: str, value: Any, least: float, most: float) -> None:
    """Refuse what is no number from `least` to `most`."""
    if not _within(value, least, most):
        raise InterpError(f"{name}={shown(value, 40)}: give a number from {least:g} to {most:g}")


def finite(name: str, value: Any) -> None:
    """Refuse what is no finite number."""
    if not _within(value, -sys.float_info.max, sys.float_info.max):
        raise InterpError(f"{name}={shown(value, 40)}: give a finite number")


def positive(name: str, value: Any) -> None:
    """Refuse what is no finite number above 0."""
    finite(name, value)
    if value <= 0:
        raise InterpError(f"{name}={shown(value, 40)}: give a finite number above 0")


def _within(value: Any, least: float, most: float) -> bool:
    """By comparing, for a whole number may be too large for a float; NaN is within nothing."""
    return isinstance(value, Real) and not isinstance(value, bool) and least <= value <= most  # type: ignore[operator]


def texts(name: str, values: Iterable[Any]) -> None:
    """Refuse what is no text, or a text that no file can hold."""
    for value in values:
        if not isinstance(value, str):
            raise InterpError(f"{name} {shown(value)}: a {type(value).__name__}, not a text")
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise InterpError(f"{name} {value!a:.80}: holds half of a surrogate pair; write it in UTF-8")
