"""How a value shows itself in a notebook: by the report, which stands above all values and is given from there.

The package's `__init__` provides it; it is imported when the first value is shown.
"""

from collections.abc import Callable
from typing import Any

_renderer: list[Callable[[], Any]] = []


def provide(renderer: Callable[[], Any]) -> None:
    """Say what draws values; asked for when the first one is shown."""
    _renderer[:] = [renderer]


class Shown:
    """A value that shows itself in a notebook."""

    def figure(self) -> Any:
        """The figure of the report for this value, as a matplotlib Figure."""
        return _renderer[0]().figure(self)

    def _repr_html_(self) -> str:
        return _renderer[0]().html(self)
