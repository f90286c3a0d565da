"""Pages of single latents: what a latent fires on, how often, for which cultures, and what it does to a picture.

The counterpart on paper of the feature dashboards of language models (Bricken et al. 2023, transformer-circuits.pub):
top activating texts, histogram of activations, and, for these models, scores by culture and pictures. Static: no
script, nothing is loaded but the style sheet beside the pages. The values come from `interp.dashboards`.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined

from interp.errors import InterpError
from interp.report import faces
from interp.report.grids import Grid, GridRow, Picture
from interp.report.pictures import inline_picture
from interp.report.text import MISSING, listed, number
from interp.store import atomic_write_text
from interp.types import Neurons

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


@dataclass(frozen=True)
class Piece:
    """A stretch of a caption."""

    text: str
    activation: float
    """The latent's code on the token that the stretch is; NaN where it is none, such as a space."""


@dataclass(frozen=True)
class Caption:
    """A caption on which a latent fires; its pieces side by side are its text."""

    pieces: tuple[Piece, ...]
    language: str
    """ISO 639-1 code."""
    cultures: tuple[str, ...]
    """Whose caption it is; a bare noun may be several cultures'."""
    kind: str
    """`culture-style`, `noun-only` or `neutral`."""
    english: str
    """The same caption in English."""
    activation: float
    """The largest code of its tokens."""

    @property
    def text(self) -> str:
        """The caption itself."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def direction(self) -> str:
        """`rtl` or `ltr`, as HTML names it."""
        return GridRow("", self.language, "", []).direction


@dataclass(frozen=True)
class Histogram:
    """Positive activations of a latent, in bins of one width."""

    edges: tuple[float, ...]
    """One more than there are bins; the first is 0."""
    counts: tuple[int, ...]
    """Tokens in each bin; the last one holds its upper edge too."""


@dataclass(frozen=True)
class Profile:
    """What is known of one latent."""

    index: int
    cultures: tuple[str, ...]
    """Whose sets hold it."""
    fired: int
    """Content tokens on which it fires."""
    tokens: int
    """Content tokens read."""
    histogram: Histogram
    wfs: Mapping[str, float]
    """WFS on culture-style prompts, by culture (Eq. 6)."""
    wfs_noun: Mapping[str, float]
    """The same on what the noun side counts."""
    captions: tuple[Caption, ...]
    """On which it fires most, strongest first; no text twice."""

    @property
    def density(self) -> float:
        """Share of content tokens on which it fires."""
        return self.fired / self.tokens


@dataclass(frozen=True)
class Shots:
    """Pictures of the same prompts and seeds, as they are and with one latent edited."""

    culture: str
    """Whose prompts they are."""
    strength: float
    """What the latent was set up to, in multiples of its usual magnitude μ."""
    off: Grid
    """Two columns, culture-style prompts: as they are, and with the latent masked."""
    up: Grid
    """Two columns, noun-only prompts: as they are, and with the latent added."""


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
    folder = files("interp.report")
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"small": SMALL, "styles": STYLES, "missing": MISSING}
    environment.filters |= {
        "number": number, "share": share, "shade": shade, "picture": _picture, "listed": listed,
        "loudest": loudest, "anchor": anchor,
    }  # fmt: skip
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
    folder = files("interp.report")
    written = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", STYLES))
    return written + faces.css({language: "".join(sorted(found)) for language, found in letters.items()})
