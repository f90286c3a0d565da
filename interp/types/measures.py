"""What was measured: estimates, layer scores, effects, comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from interp.types.record import RECORD
from interp.views import Shown

UNRECOGNISABLE = "Unrecognisable"
"""The judge's sixteenth answer: the picture shows no culture."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval."""

    __pydantic_config__ = RECORD

    estimate: float
    low: float
    high: float
    n: int
    """Samples that were scored."""
    unscored: int = 0
    """Samples that could not be scored; they are in no estimate."""

    @property
    def ci(self) -> tuple[float, float]:
        """Both ends of the 95 % interval."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.estimate:5.1f} [{self.low:.1f}, {self.high:.1f}] n={self.n} unscored={self.unscored}"


@dataclass(frozen=True)
class Measure:
    """What a score means."""

    __pydantic_config__ = RECORD

    unit: str
    direction: Literal["higher", "lower"]
    """Which way is better."""


@dataclass(frozen=True, repr=False)
class LayerScores(Shown):
    """Attention contrast and causal effect of every layer (Eq. 1–3; interchange)."""

    __pydantic_config__ = RECORD

    delta_ca: Float[np.ndarray, "layer"]
    """ΔCA(l), the default baseline (`context`)."""
    ci: Float[np.ndarray, "layer 2"]
    """95 % bootstrap interval over pairs."""
    neighbour_p: Float[np.ndarray, "layer"]
    """Holm-adjusted one-sided bootstrap p that ΔCA(l) exceeds the mean of its neighbours; NaN at both ends."""
    variants: Mapping[str, Float[np.ndarray, "layer"]]
    """ΔCA under the other baselines: `zero`, `neutral`, `normalised`."""
    causal: Mapping[str, Float[np.ndarray, "layer"]] = field(default_factory=dict)
    """Encoder side: share of the culture shift (0 none, 1 all) that an interchange at one layer removes; by arm."""
    causal_images: Mapping[str, Mapping[int, Interval]] = field(default_factory=dict)
    """Image side, for the layers sampled: CultureVQA in percent after the interchange; by arm."""
    peak: int = 0
    """The paper's layer: the largest ΔCA among layers that reach the image."""
    direction: Literal["modifier→noun", "noun→modifier"] = "modifier→noun"
    n_pairs: int = 0
    model_digest: str = ""

    def __repr__(self) -> str:
        rows = [f"layer {n:>2}  ΔCA {v:+.4f}{'  peak' * (n == self.peak)}" for n, v in enumerate(self.delta_ca)]
        return "\n".join([f"LayerScores, {self.direction}, {self.n_pairs} prompt pairs", *rows])


@dataclass(frozen=True)
class Arm:
    """Per-sample measurements of one arm of an experiment, all arms in the same sample order."""

    __pydantic_config__ = RECORD

    label: str
    culture_hit: Float[np.ndarray, "sample"]
    """100 where the judge named the sample's culture, 0 where not, NaN unscored."""
    noun_hit: Float[np.ndarray, "sample"]
    """100 where the noun was recognised, 0 where not, NaN unscored."""
    answer: tuple[str, ...] = ()
    """The judge's answer per sample."""
    shift: Float[np.ndarray, "sample"] | None = None
    """1 − cosine between the edited and the unedited conditioning."""
    scores: Mapping[str, Float[np.ndarray, "sample"]] = field(default_factory=dict)
    """By measure, in its unit; NaN unscored."""


@dataclass(frozen=True, repr=False)
class Effect(Shown):
    """What an intervention did to the pictures: paired arms and their contrasts."""

    __pydantic_config__ = RECORD

    name: str
    arms: Mapping[str, Arm]
    """`baseline`, the treatment, `random`."""
    accuracy: Mapping[str, Interval]
    """CultureVQA of each arm, percent."""
    noun_fidelity: Mapping[str, Interval]
    difference: Mapping[str, Interval]
    """Paired difference of each arm to the baseline, percentage points."""
    p_vs_control: float
    """Probability of an effect as large under the random sets (see `stats.control_p`)."""
    per_culture: Mapping[str, Mapping[str, Interval]]
    """Arm → culture → CultureVQA."""
    cultures: tuple[str, ...]
    """Culture of each sample."""
    sample_ids: tuple[str, ...]
    model_digest: str = ""
    """SHA-256 over all weights of the model that drew the pictures."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    set_shift: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Encoder side: mean shift of the treatment (one number) and of each random set."""
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """A few pictures per arm, same prompts and seeds, for figures."""
    measures: Mapping[str, Measure] = field(default_factory=dict)
    """What else was measured."""
    measured: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """Measure → arm → mean."""

    def __repr__(self) -> str:
        rows = [f"{arm:>10}  {i}  noun {self.noun_fidelity[arm]}" for arm, i in self.accuracy.items()]
        moved = self.difference.items()
        rows += [f"{arm:>10}  {i.estimate:+.1f} points [{i.low:.1f}, {i.high:.1f}]" for arm, i in moved]
        return "\n".join([f"Effect of {self.name}", *rows, f"p against control {self.p_vs_control:.3f}"])


@dataclass(frozen=True)
class Sweep(Shown):
    """Dose and response."""

    __pydantic_config__ = RECORD

    strengths: tuple[float, ...]
    culture_vqa: tuple[Interval, ...]
    noun_fidelity: tuple[Interval, ...]
    intervention: str
    split: str

    @property
    def best(self) -> float:
        """The strength of the highest CultureVQA; the smallest of equals."""
        return self.strengths[int(np.argmax([i.estimate for i in self.culture_vqa]))]


@dataclass(frozen=True, repr=False)
class Measured(Shown):
    """The pictures of one system, measured beside the samples that they were made for."""

    __pydantic_config__ = RECORD

    system: str
    benchmark: str
    measures: Mapping[str, Measure]
    samples: tuple[str, ...]
    """Sample of each picture; several pictures may share one."""
    seeds: tuple[int, ...]
    """Number of each picture among those of its sample."""
    cultures: tuple[str, ...]
    clusters: tuple[str, ...]
    """Concept × culture of each picture: pictures of one pair are not independent."""
    scores: Mapping[str, Float[np.ndarray, "sample"]]
    """By measure; NaN unscored."""
    answers: Mapping[str, tuple[str, ...]]
    """Of every judge, by measure; '' where it gave none."""
    overall: Mapping[str, Interval]
    per_culture: Mapping[str, Mapping[str, Interval]]
    """Measure → culture → interval."""
    labels: tuple[str, ...]
    """Rows and columns of `confusion`."""
    confusion: Mapping[str, Float[np.ndarray, "culture answer"]]
    """Of every judge: culture of the sample × answer."""
    missing: int = 0
    """Samples of the split that have no picture."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        rows = [f"{name:>28}  {i.estimate:.4g} [{i.low:.4g}, {i.high:.4g}] {self.measures[name].unit}, n={i.n}"
                f" unscored={i.unscored}" for name, i in self.overall.items()]  # fmt: skip
        missing = f", {self.missing} samples without a picture" * (self.missing > 0)
        return "\n".join([f"{self.system} on {self.benchmark}: {len(self.samples)} pictures{missing}", *rows])


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Several systems on the same samples (Table 2), each paired with one of them."""

    __pydantic_config__ = RECORD

    systems: tuple[Measured, ...]
    """Cut down to the pictures that all of them have."""
    reference: str
    difference: Mapping[str, Mapping[str, Interval]]
    """Measure → system → paired difference to the reference, in the measure's unit."""
    p: Mapping[str, Mapping[str, float]]
    """The same → Holm-adjusted p of a paired permutation test over clusters, two-sided."""

    def __repr__(self) -> str:
        lines = [f"Comparison with {self.reference}, {len(self.systems[0].samples)} pictures each"]
        for name, info in self.systems[0].measures.items():
            lines.append(f"{name} ({info.unit}, {info.direction} is better)")
            for one in self.systems:
                moved = self.difference[name].get(one.system)
                text = f"  {moved.estimate:+.3g} [{moved.low:.3g}, {moved.high:.3g}]" if moved else ""
                p = self.p[name].get(one.system, float("nan"))
                text += f"  p {'< 0.001' if p < 0.001 else f'{p:.3f}'}" if moved else ""
                lines.append(f"{one.system:>24}  {one.overall[name].estimate:.4g}{text}")
        return "\n".join(lines)
