"""Everything that a report says, as records of `interp.types`, and the file that holds its numbers.

In the file accuracies are in percent, differences in percentage points, intervals are 95 %. A number that does not
exist (an unscored arm, a test at the edge) is null.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interp import store
from interp.errors import InterpError
from interp.latents.curves import cut, overlap, recorded_ranking
from interp.types import (
    Effect,
    Interval,
    JudgeErrors,
    LayerScores,
    Matrix,
    MeasureRow,
    Neurons,
    SaeFigures,
    Site,
    Sweep,
    Variant,
)

HEAD = 40
"""How many leading latents of a culture's ranking the file keeps."""
NEEDED = ("model_digest", "benchmark_digest", "device", "wall_seconds")
"""What a manifest may lack while a run goes on, but not when it is reported."""
HELD_OUT = {"with modifier": "with modifier", "baseline": "noun only", "woken": "woken", "enhanced": "enhanced"}
"""Arms of the nouns outside the benchmark → their names here."""
_CONTROLS = ("baseline", "random")


@dataclass(frozen=True)
class Enhancer:
    """Where a trained enhancer sits, and its size."""

    site: Site
    width: int
    """Of its bottleneck."""


@dataclass(frozen=True)
class Target:
    """A promise, and what came of it."""

    name: str
    target: str
    measured: str
    met: bool


@dataclass(frozen=True)
class Results:
    """Everything that a report says."""

    model: str
    """Name of the model, as it was asked for."""
    manifest: store.Manifest
    split: str
    """Of the effects' samples."""
    split_size: int
    """Samples that the split has."""
    layers: LayerScores
    sae: SaeFigures
    neurons: Neurons
    ablate: Effect
    """Culture-style prompts, masked; with a random control."""
    wake: Effect
    """Noun-only prompts, woken; with a random control."""
    recipe: Mapping[str, Any]
    """Intervention and strength that woke them."""
    off_target: Matrix
    variants: tuple[Variant, ...]
    sweep: Sweep
    steer: Mapping[str, Interval]
    """A neutral English prompt steered by each culture's neurons: how often the judge says that culture."""
    steer_mean: Interval
    noun_fidelity: Mapping[str, Interval]
    """How often the noun is still recognised, by arm."""
    measures: tuple[MeasureRow, ...] = ()
    """What the images of every arm were measured by (Table 2)."""
    enhance: Effect | None = None
    """The trained enhancer and its controls, if the model has one."""
    enhancer: Enhancer | None = None
    held_out: Effect | None = None
    """Nouns that neither the model nor the selection saw (Table 6)."""
    judge: JudgeErrors | None = None
    targets: tuple[Target, ...] = ()

    def __post_init__(self) -> None:
        if missing := [f for f in NEEDED if getattr(self.manifest, f) in (None, "")]:
            raise InterpError(f"its manifest has no {', '.join(missing)}; give them, and use `Manifest.finished()`")
        for effect in (self.ablate, self.wake):
            treatment(effect)

    @property
    def held_out_arms(self) -> dict[str, Interval]:
        """Nouns outside the benchmark: how often the culture shows, by arm; empty without such a split."""
        accuracy = self.held_out.accuracy if self.held_out is not None else {}
        return {name: accuracy[arm] for arm, name in HELD_OUT.items() if arm in accuracy}

    @property
    def gap(self) -> dict[str, Interval]:
        """CultureVQA with and without the culture-style modifier (Figure 4): the baselines of the two effects."""
        return {"with_modifier": self.ablate.accuracy["baseline"], "noun_only": self.wake.accuracy["baseline"]}

    @property
    def gap_per_culture(self) -> dict[str, Mapping[str, Interval]]:
        """The same in each culture."""
        return {"with_modifier": self.ablate.per_culture["baseline"], "noun_only": self.wake.per_culture["baseline"]}

    def to_dict(self) -> dict[str, Any]:
        """The content of `results.json`."""
        effects, strength = {"ablate": self.ablate, "wake": self.wake}, float(self.recipe["strength"])
        return {
            "model": self.model,
            "manifest": self.manifest.model_dump(mode="json"),
            "sizes": {"samples": len(self.ablate.sample_ids), "of": self.split_size, "split": self.split},
            "layers": layer_numbers(self.layers),
            "sae": _flat_site(self.sae),
            "neurons": {culture: list(members.indices) for culture, members in self.neurons.sets.items()},
            "gap": {**plain(self.gap), "per_culture": plain(self.gap_per_culture)},
            "ablate": _effect(self.ablate) | {"off_target": plain(self.off_target)},
            "wake": _effect(self.wake) | {"intervention": self.recipe["intervention"], "strength": strength},
            "variants": [_flat_site(variant) for variant in self.variants],
            "sweep": _sweep(self.sweep, strength),
            "steer": plain(self.steer),
            "noun_fidelity": plain(self.noun_fidelity),
            "steer_mean": plain(self.steer_mean),
            "enhance": self._enhanced(),
            "held_out": plain(self.held_out_arms),
            "neuron_curves": {culture: _curve(self.neurons, culture) for culture in self.neurons.cultures},
            "neuron_overlap": plain(overlap(self.neurons)),
            "measures": plain(self.measures),
            "judge": None if self.judge is None else {**plain(self.judge), "noun_accuracy": None},
            "targets": plain(self.targets),
            "settings": {"permutation_p": {name: e.settings["paired_permutation_p"] for name, e in effects.items()}},
        }

    def _enhanced(self) -> dict[str, Any] | None:
        if self.enhance is None or self.enhancer is None:
            return None
        return _flat_site(self.enhancer) | {
            "arms": plain(self.enhance.accuracy),
            "difference": {arm: _contrast(moved) for arm, moved in self.enhance.difference.items()},
            "noun_fidelity": plain(self.enhance.noun_fidelity),
            "per_culture": plain(self.enhance.per_culture),
        }

    def write(self, path: Path) -> Path:
        """Write `results.json`, sealed, whole or not at all."""
        store.write_sealed(path, self.to_dict())
        return path


def read_results(path: Path) -> dict[str, Any]:
    """The numbers of a results file.

    Raises:
        InterpError: the file is missing, is damaged, or has no manifest.
    """
    if not path.is_file():
        raise InterpError(f"no results at {path}; `interp report --out {path.parent}` writes them")
    numbers = store.read_sealed(path, "restore it or run `interp report` again")
    if "manifest" not in numbers:
        raise InterpError(f"{path}: results without a manifest; run `interp report` again")
    return numbers


def treatment(effect: Effect) -> str:
    """The name of the one arm that is neither the baseline nor the control.

    Raises:
        InterpError: an arm of the three is missing, or there are several treatments.
    """
    treatments = [name for name in effect.accuracy if name not in _CONTROLS]
    if len(treatments) != 1 or any(name not in effect.accuracy for name in _CONTROLS):
        raise InterpError(
            f"effect {effect.name!r} has the arms {', '.join(effect.accuracy)}; "
            "a report needs baseline, random and one treatment: run it with random_control=True"
        )
    return treatments[0]


def plain(value: Any) -> Any:
    """A record, array or number as JSON can hold it: an interval with `ci`, NaN as null."""
    if isinstance(value, Interval):
        return {"estimate": plain(value.estimate), "ci": plain(value.ci), "n": value.n, "unscored": value.unscored}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _contrast(value: Interval) -> dict[str, Any]:
    """A paired difference: its counts are those of the arms."""
    return {"estimate": plain(value.estimate), "ci": plain(value.ci)}


def layer_numbers(scores: LayerScores) -> dict[str, Any]:
    """Layer scores as JSON can hold them."""
    record = plain(scores)
    del record["model_digest"]
    return {"scores": record.pop("delta_ca"), **record}


def _flat_site(value: SaeFigures | Variant | Enhancer) -> dict[str, Any]:
    """A record, the kind and the layer of its site side by side."""
    return plain(value) | {"layer": value.site.layer, "site": value.site.kind}


def _effect(effect: Effect) -> dict[str, Any]:
    """An effect with a random control, each arm under its own name."""
    name = treatment(effect)
    rename = {"treatment": name}
    return {
        **plain(effect.accuracy),
        "difference": _contrast(effect.difference[name]),
        "random_difference": _contrast(effect.difference["random"]),
        "random_sets": effect.settings["random_sets"],
        "p_vs_control": plain(effect.p_vs_control),
        "per_culture": plain(effect.per_culture),
        "set_shift": {rename.get(arm, arm): plain(shifts) for arm, shifts in effect.set_shift.items()},
    }


def _sweep(sweep: Sweep, usual: float) -> dict[str, Any]:
    return {
        "strength": list(sweep.strengths),
        "culture_vqa": plain([i.estimate for i in sweep.culture_vqa]),
        "ci": plain([i.ci for i in sweep.culture_vqa]),
        "noun_fidelity": plain([i.estimate for i in sweep.noun_fidelity]),
        "split": sweep.split,
        "intervention": sweep.intervention,
        "chosen": usual,
        "random": None,
    }


def _curve(neurons: Neurons, culture: str) -> dict[str, Any]:
    """The leading latents of one culture by falling score (Figure 16), and the ranks before the cut."""
    row, order = neurons.cultures.index(culture), recorded_ranking(neurons, culture).latents[:HEAD]
    tables = {"wfs": neurons.wfs, "wfs_noun": neurons.wfs_noun}
    scores = {name: plain(table[row, order]) for name, table in tables.items()}
    return {"index": order.tolist(), **scores, "k": cut(neurons, culture)}
