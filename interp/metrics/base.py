"""What a measure of images is: one small protocol, which every metric of this folder follows.

    metric.measure(images, samples) → Scores

A metric has a name, a unit, a direction and a digest; it scores images in batches, one number per image, NaN where it
could not. It never sees more of a sample than it needs: `key` says what that is, for the journal of `run.measure`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from interp.benchmarks.images import Picture
from interp.types import Sample

Direction = Literal["higher", "lower"]
Caption = Literal["noun_only", "culture_style"]
"""Which caption of a sample an image is compared with; `noun_only` is what the paper's systems are given."""


@dataclass(frozen=True)
class Scores:
    """What a metric says of images."""

    values: Float[np.ndarray, "sample"]
    """In the metric's unit; NaN unscored."""
    answers: tuple[str, ...] = ()
    """Of a judge: the label it named, '' where it named none; empty for other metrics."""


@runtime_checkable
class Metric(Protocol):
    """A measure of images."""

    @property
    def name(self) -> str:
        """Short and unique, such as `lpips-alex`."""
        ...

    @property
    def unit(self) -> str:
        """`percent`, `cosine`, `distance`, `reward`."""
        ...

    @property
    def direction(self) -> Direction:
        """Which way is better."""
        ...

    @property
    def digest(self) -> str:
        """Changes whenever its scores could: weights, settings, prompt."""
        ...

    @property
    def batch(self) -> int:
        """Images that it takes at once."""
        ...

    @property
    def grouped(self) -> bool:
        """Whether a score depends on the other images of its sample, as diversity among seeds does."""
        ...

    def key(self, sample: Sample) -> str:
        """What of a sample its score depends on, beside the image."""
        ...

    def measure(self, images: Sequence[Picture], samples: Sequence[Sample]) -> Scores:
        """Score images, each beside the sample that it was made for."""
        ...


def caption(sample: Sample, which: Caption, language: Literal["native", "english"] = "native") -> str:
    """A caption of a sample."""
    pair = sample.native if language == "native" else sample.english
    return (pair.noun_only if which == "noun_only" else pair.culture_style).text
