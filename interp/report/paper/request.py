"""What an exhibit is made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from interp.experiments.study import Study


@dataclass(frozen=True)
class Request:
    """A study, and what only some exhibits need."""

    study: Study
    systems: Mapping[str, Path]
    """Other models: name → folder of images of the same noun-only prompts, as `interp draw` makes them (Table 2)."""
    annotations: Path | None = None
    """File of people's answers to the four-image task and the 16-way question (Table 4; docs/annotations.md)."""
    names: tuple[str, ...] = ()
    """The exhibits that are asked for: several where the paper shows the same of its other model."""
