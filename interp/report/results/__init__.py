"""The results file: what a run measured, as one validated JSON document that can stand without its pictures.

Accuracies are in percent, differences in percentage points, intervals are 95 %. A number that does not exist (an
unscored arm, a test at the edge) is null in the file and NaN here. Extra keys are kept.
"""

from interp.report.results._file import Results
from interp.report.results._latents import curves, cut, indices, overlap, ranking
from interp.report.results._parts import (
    Ablate,
    Curve,
    Density,
    DoseResponse,
    Enhanced,
    Gap,
    Judge,
    Layers,
    MeasureRow,
    Sae,
    Sizes,
    Sweep,
    Target,
    Variant,
    Wake,
)
from interp.report.results._values import Bounds, Contrast, Estimate, Matrix, Number, Part

__all__ = [
    "Ablate", "Bounds", "Contrast", "Curve", "Density", "DoseResponse", "Enhanced", "Estimate", "Gap", "Judge",
    "Layers", "Matrix", "MeasureRow", "Number", "Part", "Results", "Sae", "Sizes", "Sweep", "Target", "Variant", "Wake",
    "curves", "cut", "indices", "overlap", "ranking",
]  # fmt: skip
