"""The parts of the results file, one a section of the report."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from pydantic import Field, model_validator

from interp.errors import InterpError
from interp.report.results._values import Bounds, Contrast, Estimate, Matrix, Number, Part, estimates
from interp.types import Effect, Interval, LayerScores

_CONTROLS = ("baseline", "random")


@runtime_checkable
class DoseResponse(Protocol):
    """What a sweep over strengths measures, whatever its type is called."""

    @property
    def strengths(self) -> Sequence[float]: ...
    @property
    def culture_vqa(self) -> Sequence[Interval]: ...
    @property
    def noun_fidelity(self) -> Sequence[Interval]: ...
    @property
    def intervention(self) -> str: ...
    @property
    def split(self) -> str: ...


class Sizes(Part):
    """How much of the test split was used."""

    samples: int = Field(ge=0)
    of: int = Field(ge=0)
    """Samples the test split has."""
    split: str


class Layers(Part):
    """Attention contrast and causal effect of every layer (Figure 6)."""

    scores: list[Number]
    """ΔCA(l)."""
    ci: list[Bounds]
    peak: int
    variants: dict[str, list[Number]] = Field(default_factory=dict)
    """ΔCA under the other baselines."""
    causal: dict[str, list[Number]] = Field(default_factory=dict)
    """Share of the culture shift that an interchange at one layer removes, on the encoder side, by arm."""
    causal_images: dict[str, dict[int, Estimate]] = Field(default_factory=dict)
    """CultureVQA after the interchange, by arm and layer."""
    neighbour_p: list[Number] = Field(default_factory=list)
    direction: str = "modifier→noun"
    n_pairs: int = 0

    @model_validator(mode="after")
    def _fits(self) -> "Layers":
        curves = {"ci": self.ci, "neighbour_p": self.neighbour_p or self.scores, **self.variants, **self.causal}
        wrong = [name for name, curve in curves.items() if len(curve) != len(self.scores)]
        if wrong or not 0 <= self.peak < len(self.scores):
            raise ValueError(f"{len(self.scores)} scores do not fit {', '.join(wrong) or f'a peak at {self.peak}'}")
        return self

    @classmethod
    def of(cls, scores: LayerScores) -> "Layers":
        """The part of a results file that `LayerScores` give."""
        return cls(
            scores=scores.delta_ca.tolist(),
            ci=[(float(low), float(high)) for low, high in scores.ci],
            peak=scores.peak,
            variants={name: curve.tolist() for name, curve in scores.variants.items()},
            causal={arm: curve.tolist() for arm, curve in scores.causal.items()},
            causal_images={arm: estimates(at) for arm, at in scores.causal_images.items()},
            neighbour_p=scores.neighbour_p.tolist(),
            direction=scores.direction,
            n_pairs=scores.n_pairs,
        )


class Density(Part):
    """How many latents fire how often."""

    edges: list[Number]
    """Edges of the bins, in log10 of the share of tokens on which a latent fires."""
    counts: list[int]

    @model_validator(mode="after")
    def _fits(self) -> "Density":
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"{len(self.counts)} bins need {len(self.counts) + 1} edges, not {len(self.edges)}")
        return self


class Sae(Part):
    """The dictionary that the latents are from."""

    layer: int
    site: str
    d_in: int
    d_sae: int
    k: int
    explained_variance: Number
    """Share, 0 to 1."""
    l0: Number
    """Mean number of latents that fire on a token."""
    dead_fraction: Number
    """Share of latents that never fire, 0 to 1."""
    density: Density | None = None


class Curve(Part):
    """The leading latents of one culture by weighted frequency score, falling (Figure 16)."""

    index: list[int]
    wfs: list[Number]
    wfs_noun: list[Number]
    """The same latents on noun-only prompts."""
    k: int
    """Ranks before the cut."""


class Gap(Part):
    """CultureVQA with and without the culture-style modifier (Figure 4)."""

    with_modifier: Estimate
    noun_only: Estimate
    per_culture: dict[str, dict[str, Estimate]] = Field(default_factory=dict)
    """`with_modifier` or `noun_only` → culture → estimate."""


def _treatment(effect: Effect) -> str:
    """The name of the one arm that is neither the baseline nor the control.

    Raises:
        InterpError: an arm of the three is missing, or there are several treatments.
    """
    treatments = [name for name in effect.accuracy if name not in _CONTROLS]
    if len(treatments) != 1 or any(name not in effect.accuracy for name in _CONTROLS):
        raise InterpError(
            f"effect {effect.name!r} has the arms {', '.join(effect.accuracy)}; "
            "a results file needs baseline, random and one treatment: run it with random_control=True"
        )
    return treatments[0]


def _arms(effect: Effect, treatment: str) -> dict[str, Any]:
    """The fields that masking and waking share, the treatment under the name that the file gives it."""
    source = _treatment(effect)
    name = {source: treatment, "treatment": treatment}
    return {
        "baseline": Estimate.of(effect.accuracy["baseline"]),
        treatment: Estimate.of(effect.accuracy[source]),
        "random": Estimate.of(effect.accuracy["random"]),
        "difference": Contrast.of(effect.difference[source]),
        "random_difference": Contrast.of(effect.difference["random"]),
        "p_vs_control": effect.p_vs_control,
        "per_culture": {name.get(arm, arm): estimates(by) for arm, by in effect.per_culture.items()},
        "set_shift": {name.get(arm, arm): list(shifts) for arm, shifts in effect.set_shift.items()},
    }


class Ablate(Part):
    """Masking each culture's latents on culture-style prompts (Tables 1 and 5)."""

    baseline: Estimate
    masked: Estimate
    random: Estimate
    difference: Contrast
    """Masked less baseline."""
    random_difference: Contrast
    random_sets: int
    p_vs_control: Number
    per_culture: dict[str, dict[str, Estimate]]
    """Arm → culture → estimate."""
    off_target: Matrix
    """Change in points of the row culture's accuracy when the column culture's set is masked."""
    set_shift: dict[str, list[Number]] = Field(default_factory=dict)
    """Encoder side: shift of the treatment, one number, and of each random set."""

    @classmethod
    def of(cls, effect: Effect, random_sets: int, off_target: Matrix) -> "Ablate":
        """From an effect with a random control, the number of its sets, and the off-target matrix."""
        return cls(random_sets=random_sets, off_target=off_target, **_arms(effect, "masked"))


class Wake(Part):
    """Waking noun-only prompts, each by its own language's set (Tables 2 and 3)."""

    baseline: Estimate
    woken: Estimate
    random: Estimate
    difference: Contrast
    """Woken less baseline."""
    random_difference: Contrast
    intervention: str
    strength: float
    p_vs_control: Number
    random_sets: int | None = None
    per_culture: dict[str, dict[str, Estimate]] = Field(default_factory=dict)
    set_shift: dict[str, list[Number]] = Field(default_factory=dict)

    @classmethod
    def of(cls, effect: Effect, intervention: str, strength: float, random_sets: int | None = None) -> "Wake":
        """From an effect with a random control and the recipe that made it."""
        own = {"intervention": intervention, "strength": strength, "random_sets": random_sets}
        return cls(**own, **_arms(effect, "woken"))


class Variant(Part):
    """One choice of site, codes and intervention, for the table beside the recipe; null where it was not run."""

    site: str
    layer: int
    codes: str
    intervention: str
    strength: Number
    masked: Estimate | None
    """Culture-style prompts, the culture's set masked."""
    woken: Estimate | None
    """Noun-only prompts, the intervention at this strength."""
    random: Estimate | None
    """Noun-only prompts, the same intervention on a random set."""
    literal: bool
    """Whether this is the paper's literal choice."""
    recipe: bool = False
    """Whether this is the recipe that the rest of the report uses."""
    masked_random: Estimate | None = None
    """Culture-style prompts, a random set masked."""


class Sweep(Part):
    """Noun-only prompts over strengths (Figure 11)."""

    strength: list[float]
    culture_vqa: list[Number]
    ci: list[Bounds]
    noun_fidelity: list[Number]
    split: str
    intervention: str = ""
    chosen: float | None = None
    """The strength that the recipe uses."""
    random: list[Number] | None = None
    """CultureVQA when a random set is driven by the same strengths."""

    @model_validator(mode="after")
    def _fits(self) -> "Sweep":
        lengths = {len(self.strength), len(self.culture_vqa), len(self.ci), len(self.noun_fidelity)}
        lengths |= {len(self.random)} if self.random is not None else set()
        if len(lengths) != 1:
            raise ValueError(f"the lists have different lengths {sorted(lengths)}; give one value for each strength")
        return self

    @classmethod
    def of(cls, curve: DoseResponse, chosen: float | None = None, random: Sequence[float] | None = None) -> "Sweep":
        """From a measured sweep and the strength that was chosen by it."""
        return cls(
            strength=[float(s) for s in curve.strengths],
            culture_vqa=[float(i.estimate) for i in curve.culture_vqa],
            ci=[(float(i.low), float(i.high)) for i in curve.culture_vqa],
            noun_fidelity=[float(i.estimate) for i in curve.noun_fidelity],
            split=curve.split,
            intervention=curve.intervention,
            chosen=chosen,
            random=list(random) if random is not None else None,
        )


class Enhanced(Part):
    """A trained enhancer on noun-only prompts, beside its controls (Table 3)."""

    layer: int
    site: str
    width: int
    """Of its bottleneck."""
    arms: dict[str, Estimate]
    """`baseline`, `enhanced`, and the controls by name."""
    difference: dict[str, Contrast]
    """Each arm less the baseline."""
    noun_fidelity: dict[str, Estimate]
    per_culture: dict[str, dict[str, Estimate]]
    """Arm → culture → estimate."""

    @classmethod
    def of(cls, effect: Effect, layer: int, site: str, width: int) -> "Enhanced":
        """From the effect of an enhancer and its controls."""
        return cls(
            layer=layer,
            site=site,
            width=width,
            arms=estimates(effect.accuracy),
            difference={arm: Contrast.of(moved) for arm, moved in effect.difference.items()},
            noun_fidelity=estimates(effect.noun_fidelity),
            per_culture={arm: estimates(by) for arm, by in effect.per_culture.items()},
        )


class Judge(Part):
    """How good the judge is on held-out real pictures."""

    accuracy: Estimate
    noun_accuracy: Estimate | None = None
    confusion: Matrix | None = None
    """Pictures by true culture (row) and the judge's answer (column)."""


class MeasureRow(Part):
    """One measure of the pictures of every arm."""

    name: str
    """As in `interp.metrics.registry`."""
    label: str
    """In figures and tables."""
    unit: str
    direction: str
    """`higher` or `lower`: which way is better."""
    arms: dict[str, Estimate]
    """Arm → mean, in the unit."""


class Target(Part):
    """A promise, and what came of it."""

    name: str
    target: str
    measured: str
    met: bool
