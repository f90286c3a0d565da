"""What a session keeps in memory between calls: models that are loaded, and what was read for them.

Nothing else that was loaded is kept; what functions remember elsewhere are constants of the package and of pure
computations. `session.clear()` lets go of it all; the next call reads it again.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

P = ParamSpec("P")
T = TypeVar("T")


class Session:
    """Loaded models, by `Adapter.identity`, and the results of functions that are remembered."""

    def __init__(self) -> None:
        self.models: WeakValueDictionary[str, Any] = WeakValueDictionary()
        """Models that somebody still holds: this alone keeps none."""
        self.placed: dict[str, Any] = {}
        """Device, dtype, offload and size, as the command line was told."""
        self._forget: list[Callable[[], None]] = []

    def remembers(self, most: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Decorate a function that reads: its last `most` results are kept by its arguments until `clear`."""

        def decorate(function: Callable[P, T]) -> Callable[P, T]:
            kept = lru_cache(maxsize=most)(function)
            self._forget.append(kept.cache_clear)
            return kept  # type: ignore[return-value]

        return decorate

    def clear(self) -> None:
        """Let go of everything: memory is free as soon as nobody else holds it."""
        self.placed.clear()
        for forget in self._forget:
            forget()


session = Session()
"""The one of this process."""
