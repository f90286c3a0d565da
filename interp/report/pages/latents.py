"""Pages of single latents: what a latent fires on, how often, for which cultures, and what it does to a picture.

The counterpart on paper of the feature dashboards of language models (Bricken et al. 2023, transformer-circuits.pub):
top activating texts, histogram of activations, and, for these models, scores by culture and pictures. Static: no
script, nothing is loaded but the style sheet beside the pages. The values come from `interp.dashboards`.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from interp.errors import InterpError
from interp.grids import Picture, Shots
from interp.report import layout, webfonts
from interp.report.inline import inline_picture
from interp.report.text import MISSING, listed, number
from interp.store import atomic_write_text
from interp.types import Caption, Histogram, Neurons, Profile

STYLES: Final = "neurons.css"
"""The style sheet that all pages share, and its part that is theirs alone."""
SHADES: Final = 5
"""Of a token, from pale to deep; a silent one has none."""
QUALITY: Final = 82
"""Of the WebP pictures: a page carries eight, and lossless ones would be three quarters of it."""
SMALL: Final = 48
"""Side of the pictures of the index, in pixels."""
HEIGHT: Final = 100
"""Of the histogram, in units of its drawing; a bar is 10 wide."""


def write_pages(profiles: Mapping[int, Profile], pictures: Mapping[int, Shots], neurons: Neurons, out: Path) -> Path:
    """Write `index.html`, one page a latent and `neurons.css` into a folder, each file whole.

    Args:
        profiles: of every latent of every set.
        pictures: of all of these latents, or of some.
        neurons: whose latents they are.
        out: the folder, made when missing; `report.html` is expected in the one above it.

    Returns:
        The path of the index.

    Raises:
        InterpError: a latent of a set has no profile.
    """
    held = {i for chosen in neurons.sets.values() for i in chosen.indices}
    if lost := sorted(held - profiles.keys()):
        raise InterpError(f"no profile of latents {', '.join(map(str, lost[:8]))}; give those of these neurons")
    page, index = _templates()
    shared = {"neurons": neurons, "profiles": profiles, "shots": pictures, "where": _where(neurons)}
    written = {f"{i}.html": page.render(**shared, **_page(profiles[i], neurons)) for i in sorted(held)}
    written |= {"index.html": index.render(**shared), STYLES: _styles(profiles, pictures)}
    for name, text in written.items():
        atomic_write_text(out / name, text)
    return out / "index.html"


def _templates() -> tuple[Any, Any]:
    environment = layout.environment(
        number=number, share=share, shade=shade, picture=_picture, listed=listed, loudest=loudest, anchor=anchor
    )
    environment.globals |= {"small": SMALL, "styles": STYLES, "missing": MISSING}
    return environment.get_template("neuron.html.j2"), environment.get_template("neuron_index.html.j2")


def _where(neurons: Neurons) -> str:
    site = neurons.sae.site
    return f"{site.kind} of layer {site.layer}, {site.encoder}"


def _page(profile: Profile, neurons: Neurons) -> dict[str, Any]:
    """What one page says."""
    most = max([*profile.wfs.values(), *profile.wfs_noun.values()])
    bars = [(c, profile.wfs[c], profile.wfs_noun[c], c in profile.cultures) for c in neurons.cultures]
    return {
        "p": profile,
        "strongest": sorted(profile.cultures, key=lambda c: -profile.wfs[c])[:2],
        "neighbours": [_neighbours(profile.index, culture, neurons) for culture in profile.cultures],
        "bars": [(c, a, b, _length(a, most), _length(b, most), own) for c, a, b, own in bars],
        "columns": columns(profile.histogram),
    }


def _neighbours(index: int, culture: str, neurons: Neurons) -> dict[str, Any]:
    """Place in a culture's set, with the latents before and after it; None at the ends."""
    found = neurons[culture].indices
    at = found.index(index)
    after = found[at + 1] if at + 1 < len(found) else None
    return {"culture": culture, "place": at + 1, "of": len(found), "before": found[at - 1] if at else None,
            "after": after}  # fmt: skip


def _length(value: float, most: float) -> str:
    """Of a bar, as a percentage of the longest."""
    return f"{100 * value / most if most > 0 else 0:.1f}"


def columns(histogram: Histogram) -> str:
    """The bars of a histogram as one path; a bin that is not empty is at least one unit high."""
    most = max(histogram.counts, default=0)
    bars = [(10 * i, max(1, round(HEIGHT * n / most))) for i, n in enumerate(histogram.counts) if n]
    return "".join(f"M{x} {HEIGHT}v-{height}h9v{height}z" for x, height in bars)


def share(value: float) -> str:
    """A share as a percentage: `12.3 %`, `1.23 %`, `0.012 %`."""
    digits = 1 if value >= 0.1 else 2 if value >= 0.01 else 3
    return f"{number(100 * value, digits if value else 0)}\N{NO-BREAK SPACE}%"


def shade(activation: float, most: float) -> int:
    """The shade of a token, from 1 to `SHADES`; 0 where the latent is silent or there is no token."""
    if not activation > 0:
        return 0
    return min(SHADES, 1 + int(SHADES * activation / most))


def anchor(culture: str) -> str:
    """The name of a culture's part of the index."""
    return re.sub(r"\W+", "-", culture.lower())


def loudest(caption: Caption) -> str:
    """The token on which the latent fires most, without the spaces around it."""
    fired = [piece for piece in caption.pieces if piece.activation > 0]
    return max(fired, key=lambda piece: piece.activation).text.strip() if fired else ""


def _picture(picture: Picture, side: int = 256) -> str:
    return inline_picture(picture, side, QUALITY)


def _styles(profiles: Mapping[int, Profile], pictures: Mapping[int, Shots]) -> str:
    """The style sheet of all pages, with the letters of their prompts in the shipped fonts."""
    letters: dict[str, set[str]] = defaultdict(set)
    for caption in (caption for profile in profiles.values() for caption in profile.captions):
        letters[caption.language] |= set(caption.text)
    for row in (row for shots in pictures.values() for grid in (shots.off, shots.up) for row in grid.rows):
        letters[row.language] |= set(row.prompt)
    written = layout.read(layout.PAGE_CSS) + layout.read(STYLES)
    return written + webfonts.css({language: "".join(sorted(found)) for language, found in letters.items()})
