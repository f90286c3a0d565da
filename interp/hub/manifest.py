"""What lies in a published folder: the names of its files, and the record that its manifest holds."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from interp.store import MANIFEST, SUMS, Settings
from interp.types import Site

Kind = Literal["sae", "neurons", "enhancer"]
FORMAT, VERSION = "interp-published", 1
CARD, GOLDEN = "README.md", "golden.safetensors"
ROOT = (MANIFEST, CARD, SUMS)
NEURONS = "neurons"
"""Folder of the neurons; the SAE that they are latents of lies beside it."""
_STRICT = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Part(BaseModel):
    """One thing that was published."""

    model_config = _STRICT

    folder: str = Field(pattern=r"^\w[\w-]*$")
    """Right below the root."""
    kind: Kind
    site: Site
    encoder_digest: str
    """SHA-256 over the text encoders' weights that it was made for."""
    digest: str | None
    """SHA-256 over the weights, as its reference gives it; of neurons, the digest of their SAE."""
    benchmark_digest: str | None
    """Of the prompts that it was made from; None where that was not recorded."""
    made: AwareDatetime | None
    """When its training began; None where that was not recorded."""
    details: Settings
    """Sizes, settings and measured figures, by kind."""


class Published(BaseModel):
    """manifest.json at the root of a published folder. The card says nothing that is not in it."""

    model_config = _STRICT

    format: Literal["interp-published"] = FORMAT
    version: Literal[1] = VERSION
    kind: Kind
    repo: str
    licence: str
    """SPDX identifier."""
    model: str | None
    """Name of the model that it was made for."""
    versions: dict[str, str]
    """Of Python and the packages that published it."""
    golden: Settings
    """Seed and number of the golden inputs, and the tolerance."""
    parts: tuple[Part, ...]
    files: dict[str, str]
    """SHA-256 of each part's files, by path."""
