"""How to import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from interp import bounds
from interp.benchmarks.splits import LARGEST_SEED
from interp.bounds import shown
from interp.errors import InterpError

_BOUNDS = {"side": 65_535, "longest": 10_000}
_ALLOWED = {"labels": ("default", "all"), "captions": ("native", "english"), "bad": ("refuse", "leave")}


@dataclass(frozen=True)
class Options:
    """The options of `importers.run`, checked.

    Raises:
        InterpError: if a number is out of bounds, a value is none of the allowed ones, or a path is not there.
    """

    seed: int
    """Of the split into train, test and detection, 7:2:1 within every culture."""
    name: str | None = None
    """Of the benchmark; that of the source if None."""
    licence: str | None = None
    """Of the data, where the source does not say; needed for `folder` and `datasets`."""
    labels: str = "default"
    """`default`: rows of other cultures than the 15 are left out; `all`: every country is a culture."""
    bad: str = "refuse"
    """What to do if rows are wrong: `refuse` to import anything, or `leave` them out and count them."""
    places: Mapping[str, str] = field(default_factory=dict)
    """The source's word for a place → culture, where it is not known here or is to be another."""
    captions: str = "native"
    """`native`: rows without a caption in their culture's language are left out of a source that has such captions;
    `english`: English in both."""
    images: Path | None = None
    """Folder with the pictures of a source that has none: named by the row's id or by the SHA-256 of their URL."""
    side: int | None = None
    """Longest side of the pictures in pixels; larger ones are reduced."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column → the source's, where it is another."""
    part: str | None = None
    """Which split of a data set with several; all of them if None."""
    annotations: Path | None = None
    """CulturalVQA: a CSV with the columns u_id, country and answer, which the public files lack."""
    longest: int = 60
    """Tux Paint: longest name, in characters."""
    skip: tuple[str, ...] = ("symbols",)
    """Tux Paint: folders of stamps to leave out."""
    svg: bool = False
    """Tux Paint: draw stamps that are there as SVG only; needs the package resvg-py."""

    def __post_init__(self) -> None:
        bounds.seed(self.seed, "option seed", LARGEST_SEED)
        for name, most in _BOUNDS.items():
            if (value := getattr(self, name)) is not None:
                bounds.whole(f"option {name}", value, 1, most)
        for name, allowed in _ALLOWED.items():
            if (value := getattr(self, name)) not in allowed:
                raise InterpError(f"option {name}: {shown(value)} is not one of {', '.join(allowed)}")
        for name in ("images", "annotations"):
            if (path := getattr(self, name)) is not None and not path.exists():
                raise InterpError(f"option {name}: there is no {path}")
