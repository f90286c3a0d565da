"""Refuse numbers and texts that cannot be meant, in one line that names them."""

import sys
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from interp.errors import InterpError

LARGEST_SEED = 2**31 - 1
"""What every generator of random numbers takes, of torch, numpy and samplers."""


def whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number from `least` to `most`.

    Raises:
        InterpError: naming it.
    """
    # numpy's whole numbers are Integral, too
    sound = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
    if not sound or (most is not None and int(value) > most):
        upto = f" at least {least}" if most is None else f" from {least} to {most}"
        raise InterpError(f"{name}={_shown(value)}; it must be a whole number{upto}")


def seed(value: Any, name: str = "seed") -> None:
    """Refuse what is no seed.

    Raises:
        InterpError: it is no whole number from 0 to 2³¹ − 1.
    """
    whole(name, value, 0, LARGEST_SEED)


def positive(name: str, value: Any) -> None:
    """Refuse what is no finite number above 0.

    Raises:
        InterpError: naming it.
    """
    finite(name, value)
    if value <= 0:
        raise InterpError(f"{name}={_shown(value)}; it must be a finite number above 0")


def finite(name: str, value: Any) -> None:
    """Refuse what is no finite number.

    Raises:
        InterpError: naming it.
    """
    number, most = isinstance(value, Real) and not isinstance(value, bool), sys.float_info.max
    # by comparing, for a whole number may be too large for a float
    if not number or not -most <= value <= most:  # type: ignore[operator]
        raise InterpError(f"{name}={_shown(value)}; it must be a finite number")


def texts(name: str, values: Iterable[Any]) -> None:
    """Refuse what is no text, or a text that no file can hold.

    Raises:
        InterpError: showing it.
    """
    for value in values:
        if not isinstance(value, str):
            raise InterpError(f"{name} {_shown(value)}: a {type(value).__name__}, not a text")
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise InterpError(f"{name} {value!a:.80}: holds half of a surrogate pair; write it in UTF-8")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"
