import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_values import CULTURES, EACH, Draws

from interp import store
from interp.errors import InterpError
from interp.report.results import HEAD, Results, read_results, treatment
from interp.types import Effect

INTERVAL = {"estimate", "ci", "n", "unscored"}
CONTRAST = {"estimate", "ci"}
MATRIX = {"rows", "columns", "values"}
EFFECT = {"baseline", "random", "difference", "random_difference", "random_sets", "p_vs_control", "per_culture",
          "set_shift"}  # fmt: skip
KEYS: dict[str, set[str]] = {
    "": {"model", "manifest", "sizes", "layers", "sae", "neurons", "gap", "ablate", "wake", "variants", "sweep",
         "steer", "noun_fidelity", "steer_mean", "enhance", "held_out", "neuron_curves", "neuron_overlap", "measures",
         "judge", "targets", "settings"},
    "manifest": {"command", "stage", "config", "seeds", "versions", "commit", "dirty", "model_digest", "encoder_digest",
                 "sae_digest", "benchmark_digest", "device", "certificate", "started", "wall_seconds"},
    "sizes": {"samples", "of", "split"},
    "layers": {"scores", "ci", "peak", "variants", "causal", "causal_images", "neighbour_p", "direction", "n_pairs"},
    "layers.causal_images.z, modifier": {"0", "3", "6", "9", "11"},
    "layers.causal_images.z, modifier.0": INTERVAL,
    "sae": {"layer", "site", "d_in", "d_sae", "k", "explained_variance", "l0", "dead_fraction", "density"},
    "sae.density": {"edges", "counts"},
    "neurons": set(CULTURES),
    "gap": {"with_modifier", "noun_only", "per_culture"},
    "gap.noun_only": INTERVAL,
    "gap.per_culture": {"with_modifier", "noun_only"},
    "gap.per_culture.noun_only": set(CULTURES),
    "gap.per_culture.noun_only.Japan": INTERVAL,
    "ablate": {*EFFECT, "masked", "off_target"},
    "ablate.masked": INTERVAL,
    "ablate.difference": CONTRAST,
    "ablate.random_difference": CONTRAST,
    "ablate.off_target": MATRIX,
    "ablate.per_culture": {"baseline", "masked", "random"},
    "ablate.per_culture.masked.Japan": INTERVAL,
    "ablate.set_shift": {"masked", "random"},
    "wake": {*EFFECT, "woken", "intervention", "strength"},
    "wake.per_culture": {"baseline", "woken", "random"},
    "wake.set_shift": {"woken", "random"},
    "variants.0": {"site", "layer", "codes", "intervention", "strength", "masked", "masked_random", "woken", "random",
                   "literal", "recipe"},
    "variants.0.woken": INTERVAL,
    "sweep": {"strength", "culture_vqa", "ci", "noun_fidelity", "split", "intervention", "chosen", "random"},
    "steer": set(CULTURES),
    "steer.Japan": INTERVAL,
    "steer_mean": INTERVAL,
    "noun_fidelity": {"with modifier", "masked", "noun only", "woken"},
    "noun_fidelity.woken": INTERVAL,
    "enhance": {"layer", "site", "width", "arms", "difference", "noun_fidelity", "per_culture"},
    "enhance.arms": {"baseline", "enhanced", "moved to layer 6", "trained at layer 6"},
    "enhance.arms.enhanced": INTERVAL,
    "enhance.difference": {"enhanced", "moved to layer 6", "trained at layer 6"},
    "enhance.difference.enhanced": CONTRAST,
    "enhance.noun_fidelity.enhanced": INTERVAL,
    "enhance.per_culture.enhanced.Japan": INTERVAL,
    "held_out": {"with modifier", "noun only", "woken", "enhanced"},
    "held_out.woken": INTERVAL,
    "neuron_curves": set(CULTURES),
    "neuron_curves.Japan": {"index", "wfs", "wfs_noun", "k"},
    "neuron_overlap": MATRIX,
    "measures.0": {"name", "label", "unit", "direction", "arms"},
    "measures.0.arms.woken": INTERVAL,
    "judge": {"accuracy", "noun_accuracy", "confusion"},
    "judge.accuracy": INTERVAL,
    "judge.confusion": MATRIX,
    "targets.0": {"name", "target", "measured", "met"},
    "settings": {"permutation_p"},
    "settings.permutation_p": {"ablate", "wake"},
}  # fmt: skip
"""Keys of the file on each level, by the path to it."""


def _read(results: Results, folder: Path) -> dict[str, Any]:
    return read_results(results.write(folder / "results.json"))


@pytest.fixture(scope="module")
def numbers(results: Results, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The file of results that lack nothing."""
    return _read(Draws(6).with_enhancer(results), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("path", KEYS)
def test_the_file_has_these_keys_on_each_level(numbers: dict[str, Any], path: str):
    at: Any = numbers
    for key in path.split(".") if path else ():
        at = at[int(key)] if isinstance(at, list) else at[key]
    assert at.keys() == KEYS[path]


def test_a_results_file_comes_back_as_it_was_written(results: Results, tmp_path: Path):
    numbers = _read(results, tmp_path / "new")
    assert numbers == json.loads(json.dumps(results.to_dict()))
    assert numbers["wake"]["woken"]["estimate"] == results.wake.accuracy["woken"].estimate
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["results.json"]


def test_what_could_not_be_measured_is_null(results: Results, tmp_path: Path):
    numbers = _read(results, tmp_path)
    assert numbers["layers"]["neighbour_p"][0] is None
    assert numbers["variants"][1]["masked"] == {"estimate": None, "ci": [None, None], "n": 0, "unscored": 5}
    assert "NaN" not in (tmp_path / "results.json").read_text()
    assert (numbers["enhance"], numbers["held_out"]) == (None, {})
    assert _read(replace(results, judge=None), tmp_path)["judge"] is None


def test_effects_stand_under_their_arms(results: Results, masking: Effect, numbers: dict[str, Any]):
    ablate, moved = numbers["ablate"], masking.difference["masked"]
    assert ablate["masked"]["estimate"] == masking.accuracy["masked"].estimate
    assert ablate["difference"] == {"estimate": moved.estimate, "ci": [moved.low, moved.high]}
    assert ablate["masked"]["unscored"] == 2
    assert ablate["per_culture"]["masked"]["Poland"]["n"] == EACH - 2
    assert ablate["set_shift"]["masked"] == [0.21]
    assert len(ablate["set_shift"]["random"]) == 20
    assert numbers["gap"]["noun_only"] == numbers["wake"]["baseline"]
    assert numbers["held_out"]["noun only"]["estimate"] < numbers["held_out"]["woken"]["estimate"]
    assert numbers["settings"] == {"permutation_p": {"ablate": 1e-4, "wake": 1e-4}}
    assert numbers["sizes"] == {"samples": 1500, "of": 1800, "split": "test"}
    assert (numbers["sae"]["layer"], numbers["sae"]["site"]) == (3, "resid")
    assert numbers["sweep"]["chosen"] == numbers["wake"]["strength"] == 4.0


def test_the_leading_latents_of_each_culture_are_kept(results: Results, numbers: dict[str, Any]):
    for row, culture in enumerate(CULTURES):
        curve = numbers["neuron_curves"][culture]
        assert len(curve["index"]) == len(curve["wfs"]) == HEAD
        assert curve["wfs"] == results.neurons.wfs[row, curve["index"]].tolist()
        assert curve["wfs"] == sorted(curve["wfs"], reverse=True)
        assert curve["k"] == 7
        assert numbers["neurons"][culture] == list(results.neurons[culture].indices)


@pytest.mark.parametrize("lost", ["random", "baseline", "masked"])
def test_an_effect_without_one_of_its_arms_is_refused(results: Results, masking: Effect, lost: str):
    fewer = replace(masking, accuracy={arm: i for arm, i in masking.accuracy.items() if arm != lost})
    with pytest.raises(InterpError, match="random_control=True"):
        replace(results, ablate=fewer)
    with pytest.raises(InterpError, match="random_control=True"):
        replace(results, wake=fewer)


def test_an_effect_with_two_treatments_is_refused(masking: Effect):
    two = replace(masking, accuracy={**masking.accuracy, "other": masking.accuracy["masked"]})
    with pytest.raises(InterpError, match="the arms baseline, masked, random, other"):
        treatment(two)
    assert treatment(masking) == "masked"


@pytest.mark.parametrize("field", ["model_digest", "benchmark_digest", "device", "wall_seconds"])
def test_results_of_a_run_that_goes_on_are_refused(results: Results, field: str):
    with pytest.raises(InterpError, match=rf"its manifest has no {field}; .*Manifest\.finished"):
        replace(results, manifest=results.manifest.model_copy(update={field: None}))


def test_what_is_no_results_file_is_refused(results: Results, tmp_path: Path):
    with pytest.raises(InterpError, match="interp report --out"):
        read_results(tmp_path / "none.json")
    path = tmp_path / "results.json"
    for text, message in (('{"manifest": ', "not JSON"), ("[1, 2]", "holds a list")):
        path.write_text(text)
        with pytest.raises(InterpError, match=message):
            read_results(path)
    store.write_sealed(path, {"model": "pocket"})
    with pytest.raises(InterpError, match="without a manifest") as error:
        read_results(path)
    assert str(path) in str(error.value)
    results.write(path)
    path.write_text(path.read_text().replace('"of": 1800', '"of": 1801'))
    with pytest.raises(InterpError, match="interp report"):
        read_results(path)
