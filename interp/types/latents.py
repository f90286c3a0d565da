"""Where features are, SAEs, and the latents that are a culture's neurons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from interp.errors import InterpError
from interp.types.prompts import direction
from interp.types.record import RECORD
from interp.views import Shown

SiteKind = Literal["z", "resid", "edge"]


Codes = Literal["topk", "relu"]


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
