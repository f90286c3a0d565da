"""What a study says beside its effects: the SAE's figures, variants, measures of every arm, the judge's own errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from interp.errors import InterpError
from interp.types.latents import Site
from interp.types.measures import Interval
from interp.types.record import RECORD


@dataclass(frozen=True)
class Matrix:
    """A labelled table of numbers."""

    __pydantic_config__ = RECORD

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Float[np.ndarray, "row column"]

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.rows), len(self.columns)):
            raise InterpError(f"values {self.values.shape} for {len(self.rows)} rows of {len(self.columns)} columns")


@dataclass(frozen=True)
class Density:
    """How many latents fire how often."""

    __pydantic_config__ = RECORD

    edges: tuple[float, ...]
    """Edges of the bins, in log10 of the share of tokens on which a latent fires; one more than there are bins."""
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1:
            raise InterpError(f"{len(self.counts)} bins need {len(self.counts) + 1} edges, not {len(self.edges)}")


@dataclass(frozen=True)
class SaeFigures:
    """An SAE with its measured figures."""

    __pydantic_config__ = RECORD

    site: Site
    d_in: int
    d_sae: int
    k: int
    explained_variance: float
    """Share, 0 to 1."""
    l0: float
    """Mean number of latents that fire on a token."""
    dead_fraction: float
    """Share of latents that never fire, 0 to 1."""
    density: Density


@dataclass(frozen=True)
class Variant:
    """One choice of site, codes and intervention; CultureVQA in percent."""

    __pydantic_config__ = RECORD

    site: Site
    codes: str
    """`none` where the intervention reads no codes."""
    intervention: str
    strength: float
    masked: Interval
    """Culture-style prompts, the culture's neurons masked."""
    masked_random: Interval
    """The same with a random set."""
    woken: Interval
    """Noun-only prompts, the intervention at this strength."""
    random: Interval
    """The same with a random set."""
    literal: bool
    """Whether this is the paper's literal choice."""
    recipe: bool
    """Whether this is the model's recipe."""


@dataclass(frozen=True)
class MeasureRow:
    """One measure of the images of every arm."""

    __pydantic_config__ = RECORD

    name: str
    """As in `interp.metrics.registry`."""
    label: str
    """In figures and tables."""
    unit: str
    direction: Literal["higher", "lower"]
    """Which way is better."""
    arms: Mapping[str, Interval]
    """Arm → mean, in the unit."""


@dataclass(frozen=True)
class JudgeErrors:
    """How good a judge is on held-out real images."""

    __pydantic_config__ = RECORD

    accuracy: Interval
    confusion: Matrix
    """Images by true culture (row) and the judge's answer (column)."""
