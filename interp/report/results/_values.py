"""The values of the results file: numbers, estimates with their intervals, differences, labelled tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from interp.types import Interval


def _null_to_nan(value: Any) -> Any:
    return math.nan if value is None else value


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the interval {bounds} is upside down; give [low, high]")
    return bounds


Number = Annotated[float, BeforeValidator(_null_to_nan)]
"""A float; null in the file is NaN here."""
Bounds = Annotated[tuple[Number, Number], AfterValidator(_ordered)]
"""[low, high]."""


class Part(BaseModel):
    """What all parts of the file share: fixed once read, and further keys are welcome."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)


class Estimate(Part):
    """A share of samples, in percent."""

    estimate: Number
    ci: Bounds
    n: int = Field(ge=0)
    """Samples that were scored."""
    unscored: int = Field(ge=0)
    """Samples that could not be scored; they are in no estimate."""

    @classmethod
    def of(cls, interval: Interval) -> "Estimate":
        """The same as an `Interval`."""
        ci = (float(interval.low), float(interval.high))
        return cls(estimate=float(interval.estimate), ci=ci, n=interval.n, unscored=interval.unscored)


class Contrast(Part):
    """A paired difference, in percentage points."""

    estimate: Number
    ci: Bounds

    @classmethod
    def of(cls, interval: Interval) -> "Contrast":
        """The same as an `Interval`, without its counts."""
        return cls(estimate=float(interval.estimate), ci=(float(interval.low), float(interval.high)))


def estimates(intervals: Mapping[Any, Interval]) -> dict[Any, Estimate]:
    """Intervals as estimates, by the same keys."""
    return {key: Estimate.of(interval) for key, interval in intervals.items()}


class Matrix(Part):
    """A labelled table of numbers."""

    rows: list[str]
    columns: list[str]
    values: list[list[Number]]

    @model_validator(mode="after")
    def _fits(self) -> "Matrix":
        shape = (len(self.rows), len(self.columns))
        if len(self.values) != shape[0] or any(len(row) != shape[1] for row in self.values):
            raise ValueError(f"the values do not form {shape[0]} rows of {shape[1]} columns, as the labels do")
        return self

    @classmethod
    def of(cls, values: Float[np.ndarray, "row column"], rows: Sequence[str], columns: Sequence[str]) -> "Matrix":
        """A matrix from an array and its labels."""
        return cls(rows=list(rows), columns=list(columns), values=np.asarray(values, dtype=float).tolist())
