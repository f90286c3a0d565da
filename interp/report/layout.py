"""What all pages are built with: templates, the style sheet, the environment that escapes every value."""

from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined

PAGE_CSS: Final = "page.css"


def read(name: str) -> str:
    """A template or style sheet of the package, as text."""
    return files("interp.report").joinpath("templates", name).read_text(encoding="utf-8")


def environment(**filters: Any) -> Environment:
    """Templates by file name; everything put into one is escaped, and a name that is not given is an error."""
    made = Environment(
        loader=FunctionLoader(read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= filters
    return made
