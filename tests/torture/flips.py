"""Single flipped bits in the files that the toolkit writes: each must be found, and said in one line."""

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.errors import InterpError, InterpWarning


@dataclass(frozen=True)
class Case:
    """One kind of file: where it lies, how it is read, and whether what was read is what was written."""

    name: str
    path: Path
    read: Callable[[], Any]
    same: Callable[[Any], bool]


@dataclass
class Tally:
    """What became of the flips of one kind of file."""

    flips: int = 0
    refused: int = 0
    listed: int = 0
    """Of the refused: in several lines."""
    equal: int = 0
    """Read back as it was: the bit decides nothing, or what was damaged was dropped aloud."""
    silent: int = 0
    tracebacks: int = 0
    first: str = ""
    """The first that was silent or a traceback."""


def places(size: int, count: int, seed: int) -> Iterator[tuple[int, int]]:
    """(byte, bit) of flips, drawn without repeating while there are enough."""
    draw = random.Random(seed)
    yield from (divmod(n, 8) for n in draw.sample(range(8 * size), min(count, 8 * size)))


def flip(case: Case, count: int, seed: int) -> Tally:
    """Flip single bits of a file, read it each time, and put it back."""
    whole, tally = case.path.read_bytes(), Tally()
    try:
        for byte, bit in places(len(whole), count, seed):
            case.path.write_bytes(whole[:byte] + bytes([whole[byte] ^ 1 << bit]) + whole[byte + 1 :])
            tally.flips += 1
            _read(case, tally, f"{case.name}, byte {byte}, bit {bit}")
    finally:
        case.path.write_bytes(whole)
    return tally


def _read(case: Case, tally: Tally, where: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterpWarning)
        try:
            same = case.same(case.read())
        except InterpError as error:
            # a benchmark's problems are listed, a line each, which the command line joins
            tally.refused += 1
            tally.listed += "\n" in str(error)
            return
        except Exception as error:  # noqa: BLE001 - a traceback of any kind is what is looked for
            tally.tracebacks += 1
            tally.first = tally.first or f"{where}: {type(error).__name__}: {error}"
            return
    tally.equal += same
    tally.silent += not same
    if not same:
        tally.first = tally.first or f"{where}: read as another value"
