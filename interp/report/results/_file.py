"""The results file as a whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from interp import store
from interp.errors import InterpError
from interp.report.results._parts import (
    Ablate,
    Curve,
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
from interp.report.results._values import Estimate, Matrix, Part
from interp.store import Manifest

_NEEDED = ("model_digest", "benchmark_digest", "device", "wall_seconds")
"""What a manifest may lack while a run goes on, but not when it is reported."""


class Results(Part):
    """Everything that a report says, in one document."""

    model: str
    """Name of the model, as it was asked for."""
    manifest: Manifest
    sizes: Sizes
    layers: Layers
    sae: Sae
    neurons: dict[str, list[int]]
    """Latents of each culture."""
    gap: Gap
    ablate: Ablate
    wake: Wake
    variants: list[Variant]
    sweep: Sweep
    steer: dict[str, Estimate]
    """A neutral English prompt steered by each culture's set: how often the judge says that culture."""
    noun_fidelity: dict[str, Estimate]
    """How often the noun is still recognised, by arm."""
    steer_mean: Estimate | None = None
    enhance: Enhanced | None = None
    """The trained enhancer and its controls, if the model has one."""
    held_out: dict[str, Estimate] = Field(default_factory=dict)
    """Nouns that neither the model nor the selection saw: how often the culture shows, by arm (Table 6)."""
    neuron_curves: dict[str, Curve] = Field(default_factory=dict)
    neuron_overlap: Matrix | None = None
    """Jaccard index of two cultures' sets."""
    measures: list[MeasureRow] = Field(default_factory=list)
    """What the pictures of every arm were measured by (Table 2)."""
    judge: Judge | None = None
    targets: list[Target] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    card: dict[str, Any] = Field(default_factory=dict)
    """Figures of the model card: name → number, text or estimate."""

    @model_validator(mode="after")
    def _finished(self) -> "Results":
        missing = [f for f in _NEEDED if getattr(self.manifest, f) in (None, "")]
        if missing:
            raise ValueError(f"its manifest has no {', '.join(missing)}; give them, and use `Manifest.finished()`")
        return self

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Results":
        """Results from plain data.

        Raises:
            InterpError: there is no manifest, or a part is missing or malformed.
        """
        if "manifest" not in data:
            raise InterpError("results without a manifest: nothing says what made them; run `interp report` again")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InterpError(f"results that do not fit the schema: {_first_lines(error)}") from None

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Results from a file.

        Raises:
            InterpError: the file is missing, is damaged, has no manifest or does not fit the schema.
        """
        if not path.is_file():
            raise InterpError(f"no results at {path}; `interp report --out {path.parent}` writes them")
        data = store.read_sealed(path, "restore it or run `interp report` again")
        try:
            return cls.parse(data)
        except InterpError as error:
            raise InterpError(f"{path}: {error}") from None

    def to_json(self) -> str:
        """The text of the file; NaN is null."""
        return self.model_dump_json(indent=1) + "\n"

    def write(self, path: Path) -> Path:
        """Write the file at once, after it was read back.

        Raises:
            InterpError: these results were put together by hand and do not fit the schema.
        """
        data = json.loads(self.to_json())
        type(self).parse(data)
        store.write_sealed(path, data)
        return path


def _first_lines(error: ValidationError, most: int = 3) -> str:
    found = [f"{'.'.join(str(at) for at in e['loc']) or 'results'}: {e['msg']}" for e in error.errors()]
    return "; ".join(found[:most]) + (f"; and {len(found) - most} more" if len(found) > most else "")
