"""The nouns of the toolkit: plain records without logic, passed from stage to stage.

Axis vocabulary of every array: prompt, pair, token, layer, head, culture, d_model, d_sae, set, sample, strength.
Accuracies are in percent, intervals are 95 %, layers and token positions count from 0, a span is [start, end) in
characters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from interp.errors import InterpError
from interp.views import Shown

Span = tuple[int, int]
SiteKind = Literal["z", "resid", "edge"]
Codes = Literal["topk", "relu"]
UNRECOGNISABLE = "Unrecognisable"
"""The judge's sixteenth answer: the picture shows no culture."""


RECORD = {"extra": "forbid", "arbitrary_types_allowed": True}
"""How pydantic reads a record of this module from plain values: no field more, arrays as their annotation says."""


_RIGHT_TO_LEFT = ("ar", "fa", "he", "ur")


def direction(language: str) -> Literal["rtl", "ltr"]:
    """Which way a language is written, as HTML names it."""
    return "rtl" if language in _RIGHT_TO_LEFT else "ltr"


@dataclass(frozen=True)
class Prompt:
    """A prompt with the character spans that the method needs."""

    __pydantic_config__ = RECORD

    text: str
    language: str
    """ISO 639-1 code."""
    noun: Span | None = None
    modifier: Span | None = None
    """The culture-style modifier; None in a noun-only prompt."""


@dataclass(frozen=True)
class PromptPair:
    """The two prompts of one concept, P_cult and P_noun (section 4.2 of the paper), in one language."""

    __pydantic_config__ = RECORD

    id: str
    culture: str
    category: str
    """The concept; samples of one category and culture are one cluster in statistics."""
    culture_style: Prompt
    noun_only: Prompt
    neutral: Prompt | None = None
    """The same noun with a modifier of about the same length that names no culture."""


@dataclass(frozen=True)
class Sample:
    """One row of a benchmark."""

    __pydantic_config__ = RECORD

    id: str
    image: str
    """Path of the reference picture, relative to the benchmark's folder."""
    culture: str
    language: str
    category: str
    split: str
    native: PromptPair
    english: PromptPair


@dataclass(frozen=True)
class Site:
    """Where features are read and edited."""

    __pydantic_config__ = RECORD

    layer: int
    """0-based layer of the text encoder."""
    kind: SiteKind = "resid"
    """`z`: concatenated head outputs before the output projection; `resid`: the layer's output; `edge`: per
    modifier→noun token pair, the heads' attention-weighted values (capture only)."""
    encoder: str = "text_encoder"
    """Which text encoder, by its name in the pipeline."""

    def __str__(self) -> str:
        return f"{self.encoder}.{self.layer}.{self.kind}"


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

    def __str__(self) -> str:
        return f"{self.estimate:5.1f} [{self.low:.1f}, {self.high:.1f}] n={self.n} unscored={self.unscored}"


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
class SaeRef:
    """Which SAE: enough to find it again and to refuse another."""

    __pydantic_config__ = RECORD

    path: str
    """Folder with cfg.json and sae_weights.safetensors."""
    digest: str
    """SHA-256 over the weights."""
    site: Site
    encoder_digest: str
    """SHA-256 over the text encoders' weights: an SAE fits every model with this encoder."""
    d_in: int
    d_sae: int
    k: int


@dataclass(frozen=True, repr=False)
class NeuronSet:
    """SAE latents of one culture, or a control set."""

    __pydantic_config__ = RECORD

    label: str
    """Culture, or the name of the control."""
    indices: tuple[int, ...]
    magnitude: tuple[float, ...]
    """μ_cult of each latent (Eq. 5), in units of the code."""
    baseline: tuple[float, ...]
    """Mean code of each latent on noun-only prompts, for mean ablation."""
    sae: SaeRef

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.indices[:8])) + ", …" * (len(self.indices) > 8)
        return f"NeuronSet({self.label}, {len(self.indices)} latents: {shown})"


@dataclass(frozen=True, repr=False)
class Neurons(Shown):
    """The culture-sensitive latents of a model, one set per culture, and where they come from."""

    __pydantic_config__ = RECORD

    sets: Mapping[str, NeuronSet]
    wfs: Float[np.ndarray, "culture d_sae"]
    """Weighted frequency score on culture-style prompts (Eq. 6)."""
    wfs_noun: Float[np.ndarray, "culture d_sae"]
    """The same on noun-only prompts."""
    frequency: Float[np.ndarray, "culture d_sae"]
    """f_cult (Eq. 4)."""
    magnitude: Float[np.ndarray, "culture d_sae"]
    """μ_cult (Eq. 5)."""
    baseline: Float[np.ndarray, "culture d_sae"]
    """Mean code on noun-only prompts."""
    cultures: tuple[str, ...]
    languages: tuple[str, ...]
    sae: SaeRef
    split: str
    """The split they were selected on; effects are refused on the same split."""
    benchmark_digest: str
    model_digest: str = ""
    """SHA-256 over all weights of the model that they were found on. They fit every model with its text encoders."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, culture: str) -> NeuronSet:
        if culture not in self.sets:
            raise InterpError(f"no neurons for culture {culture!r}; known: {', '.join(self.sets)}")
        return self.sets[culture]

    def __repr__(self) -> str:
        where = f"{self.sae.site.kind} of layer {self.sae.site.layer}, {self.sae.site.encoder}"
        rows = [f"{c:>12}  {', '.join(map(str, s.indices)) or 'none'}" for c, s in self.sets.items()]
        return "\n".join([f"Neurons at {where}, selected on the {self.split} split", *rows])


@dataclass(frozen=True)
class Measure:
    """What a score means."""

    __pydantic_config__ = RECORD

    unit: str
    direction: Literal["higher", "lower"]
    """Which way is better."""


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
                told = f"  {moved.estimate:+.3g} [{moved.low:.3g}, {moved.high:.3g}]" if moved else ""
                p = self.p[name].get(one.system, float("nan"))
                told += f"  p {'< 0.001' if p < 0.001 else f'{p:.3f}'}" if moved else ""
                lines.append(f"{one.system:>24}  {one.overall[name].estimate:.4g}{told}")
        return "\n".join(lines)


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
        return direction(self.language)


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
