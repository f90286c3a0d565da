"""What all pages are built with: templates, the style sheet, the environment that escapes every value."""

from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from interp.grids import Grid
from interp.report import webfonts

PAGE_CSS: Final = "page.css"


def read(name: str) -> str:
    """A template or style sheet of the package, as text."""
    return files("interp.report").joinpath("templates", name).read_text(encoding="utf-8")


def prompts(grids: Iterable[Grid]) -> list[tuple[str, str]]:
    """Language and text of every prompt of the grids."""
    return [(row.language, row.prompt) for grid in grids for row in grid.rows]


def style_sheet(texts: Iterable[tuple[str, str]], *names: str) -> Markup:
    """The style sheet of every page and those of these names, with the fonts of texts, each after its language."""
    return Markup("".join(map(read, (PAGE_CSS, *names))) + webfonts.css(texts))


def environment(**filters: Any) -> Environment:
    """Templates by file name; everything put into one is escaped, and a name that it lacks is an error."""
    made = Environment(
        loader=FunctionLoader(read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= filters
    return made
