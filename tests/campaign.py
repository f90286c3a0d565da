"""How much of the long campaigns is run: all of it by `make torture` (INTERP_TORTURE), a fixed part by `make test`."""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
FULL = bool(os.environ.get("INTERP_TORTURE"))


def some(items: Sequence[T], count: int) -> list[T]:
    """So many of the items, evenly spread and always the same ones; all of them in the campaign."""
    every = list(items)
    if FULL or count >= len(every):
        return every
    return [every[n * len(every) // count] for n in range(count)]
