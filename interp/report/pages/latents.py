"""Pages of single latents: what a latent fires on, how often, for which cultures, and what it does to an image.

The counterpart of the feature dashboards of language models (Bricken et al. 2023, transformer-circuits.pub): top
activating texts, histogram of activations, and, for these models, scores by culture and images. Static: no script,
nothing is loaded but the style sheet beside the pages. The values come from `interp.latents.profiles` and
`interp.experiments.latent_images`.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from jinja2 import Template

from interp.errors import InterpError
from interp.grids import Shots
from interp.report import layout
from interp.report.inline import inline_picture
from interp.report.tables import gallery
from interp.report.text import listed, number
from interp.store import atomic_write_text
from interp.types import Caption, Histogram, Neurons, Profile

STYLES: Final = "neurons.css"
"""The style sheet that all pages share, and its part that is theirs alone."""
SHADES: Final = 5
"""Of a token, from pale to deep; a silent one has none."""
QUALITY: Final = 82
"""Of the WebP images: a page carries eight, and lossless ones would be three quarters of it."""
SMALL: Final = 48
"""Side of the images of the index, in pixels."""
HEIGHT: Final = 100
"""Of the histogram, in units of its drawing; a bar is 10 wide."""


def write_pages(profiles: Mapping[int, Profile], shots: Mapping[int, Shots], neurons: Neurons, out: Path) -> Path:
    """Write `index.html`, one page per latent and `neurons.css` into a folder, each file whole.

    Args:
        profiles: of every neuron of every culture.
        shots: images of all of these latents, or of some.
        neurons: whose latents they are.
        out: the folder, made when missing; `report.html` is expected in the one above it.

    Returns:
        The path of the index.

    Raises:
        InterpError: a neuron has no profile.
    """
    latents = {i for members in neurons.sets.values() for i in members.indices}
    if lost := sorted(latents - profiles.keys()):
        raise InterpError(f"no profile of latents {', '.join(map(str, lost[:8]))}; give those of these neurons")
    page, index = _templates()
    site = neurons.sae.site
    where = f"{site.kind} of layer {site.layer}, {site.encoder}"
    shared = {"neurons": neurons, "profiles": profiles, "shots": shots, "where": where}
    written = {f"{i}.html": page.render(**shared, **_page(profiles[i], neurons)) for i in sorted(latents)}
    captions = [(c.language, c.text) for profile in profiles.values() for c in profile.captions]
    prompts = layout.prompts(grid for shot in shots.values() for grid in (shot.off, shot.up))
    written |= {"index.html": index.render(**shared), STYLES: layout.style_sheet(captions + prompts, STYLES)}
    for name, text in written.items():
        atomic_write_text(out / name, text)
    return out / "index.html"


def _templates() -> tuple[Template, Template]:
    """Of a latent's page, and of the index."""
    environment = layout.environment(
        number=number,
        share=share,
        shade=shade,
        listed=listed,
        loudest=loudest,
        anchor=anchor,
        gallery=partial(gallery, quality=QUALITY),
        thumbnail=partial(inline_picture, most=SMALL, quality=QUALITY),
    )
    environment.globals |= {"small": SMALL, "styles": STYLES}
    return environment.get_template("neuron.html.j2"), environment.get_template("neuron_index.html.j2")


def _page(profile: Profile, neurons: Neurons) -> dict[str, Any]:
    """What one page says."""
    most = max([*profile.wfs.values(), *profile.wfs_noun.values()])
    scores = [(c, profile.wfs[c], profile.wfs_noun[c]) for c in neurons.cultures]
    return {
        "p": profile,
        "strongest": sorted(profile.cultures, key=lambda c: -profile.wfs[c])[:2],
        "neighbours": [_neighbours(profile.index, culture, neurons) for culture in profile.cultures],
        "bars": [(c, a, b, _length(a, most), _length(b, most), c in profile.cultures) for c, a, b in scores],
        "columns": columns(profile.histogram),
    }


def _neighbours(index: int, culture: str, neurons: Neurons) -> dict[str, Any]:
    """Place among a culture's neurons, with the latents before and after it; None at the ends."""
    latents = neurons[culture].indices
    at = latents.index(index)
    before, after = (latents[at - 1] if at else None), (latents[at + 1] if at + 1 < len(latents) else None)
    return {"culture": culture, "place": at + 1, "of": len(latents), "before": before, "after": after}


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
