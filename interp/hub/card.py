"""The model card: README.md of a published folder, from its manifest alone."""

import json
from pathlib import Path

from interp.escapes import code, markdown, quoted
from interp.hub.manifest import Published

TEMPLATE = Path(__file__).parents[1] / "assets" / "model_card.md.j2"
HUB_LICENCES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "isc", "lgpl-3.0",
    "mit", "mpl-2.0", "unlicense",
)  # fmt: skip
"""Licences that the hub knows by a name, the SPDX identifier in small letters; others are `other` with a name."""


def _figure(value: object, form: str = "{:.4g}") -> str:
    """A number; a text that stands in its place shows as it is."""
    if value is None:
        return "not known"
    return form.format(value) if isinstance(value, int | float) else markdown(value)


def _literal(text: object) -> str:
    """A text as a string of Python; a backtick would end the block that it stands in."""
    return json.dumps(str(text)).replace("`", "\\u0060")


def card(manifest: Published) -> str:
    """README.md, from the manifest alone."""
    from jinja2 import Environment, StrictUndefined

    # not huggingface_hub.ModelCard: its templates know no filters, and names of others are to show as text
    jinja = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    jinja.filters |= {
        "figure": _figure,
        "md": markdown,
        "code": code,
        "cell": lambda value: code(value).replace("|", "\\|"),
        "quoted": quoted,
        "literal": _literal,
    }
    licence = manifest.licence.lower()
    template = jinja.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(m=manifest.model_dump(mode="json"), hub_licence=licence if licence in HUB_LICENCES else None)
