"""Every notebook runs as a script on the pocket model, with fewer samples; what is stored is what the script makes."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import numpy as np
import pytest

from interp.activations import attention_contrast

FOLDER = Path(__file__).parents[1] / "notebooks"
MOST = 300_000
"""Bytes of a stored notebook."""
NAMES = ("01_tour", "02_layers_and_neurons", "03_interventions_and_controls", "04_your_model_and_benchmark")
FEWER = {
    "01_tour": {"PER_CULTURE": "1"},
    "02_layers_and_neurons": {"PAIRS": "2", "STEPS": "2", "SAE_STEPS": "20", "SAMPLES": "4"},
    "03_interventions_and_controls": {
        "PER_CULTURE": "1",
        "RANDOM_SETS": "1",
        "STRENGTHS": "(0, 0.75)",
        "STEPS": "4",
    },
    "04_your_model_and_benchmark": {"NOUNS": "8", "PAIRS": "2", "STEPS": "4"},
}
"""Parameters at the top of each script, as they are here."""


def _tour(it: dict[str, Any]) -> None:
    assert len(it["effect"].sample_ids) == len(it["bench"].cultures)
    assert it["effect"].difference["masked"].estimate < 0
    assert it["enhanced"].difference["enhanced"].estimate > 0
    assert "Mask(Italy) + Steer(Japan" in repr(it["plan"])


def _layers_and_neurons(it: dict[str, Any]) -> None:
    by_library = attention_contrast.attention_contrast(it["model"], [it["pair"]])["context"][0]
    assert np.allclose(it["ca_cult"] - it["ca_noun"], by_library, atol=1e-6)
    assert {arm: sorted(at) for arm, at in it["scores"].causal_images.items()} == {
        f"{place} {arm}": it["chosen"] for place in ("z", "resid") for arm in ("noun", "modifier")
    }
    small, shipped = it["figures"]["small"], it["figures"]["shipped"]
    assert shipped["explained_variance"] > small["explained_variance"] > 0
    assert it["gap"] < 1e-3
    assert np.allclose(it["neurons"].wfs[it["row"]], it["wfs"]["culture_style"], atol=1e-4)
    assert set(it["found"]) == set(it["rules"]) and len({str(one.sets) for one in it["found"].values()}) > 1
    assert it["by_culture"].groupby("culture")["code"].mean().idxmax() == "Italy"


def _interventions_and_controls(it: dict[str, Any]) -> None:
    assert all(it["same"].values()) and len(it["same"]) == 3
    assert np.array_equal(*it["pictures"])
    ablated = it["ablated"]
    assert ablated.difference["masked"].estimate < ablated.difference["random"].estimate - 30
    assert ablated.p_vs_control == 0.5, "one random set, which does less"
    off = ~np.eye(len(it["changes"]), dtype=bool)
    assert np.diag(it["changes"]).mean() < it["changes"][off].mean() - 30
    topk, _, steered = (effect.accuracy[effect.name].estimate for effect in it["woken"].values())
    assert steered > topk + 30
    assert list(it["enhanced"].arms) == ["baseline", "enhanced", "random_layer", "shuffled", "moved"]
    assert it["enhanced"].difference["enhanced"].estimate > 0
    assert it["tuned"].split == "train" and it["tuned"].best > 0
    moved, layer = it["moved"].abs().amax((1, 2)), it["model"].recipe["layer"]
    assert (moved[:layer] == 0).all() and (moved[layer:] > 0).all()


def _your_model_and_benchmark(it: dict[str, Any]) -> None:
    assert set(it["mine"].splits) == {"train", "test", "detection"}
    assert not [f for f in it["findings"] if f.level == "error"]
    assert "noun_only" in str(it["refused"]) and not (it["work"] / "broken").exists()
    assert it["comparison"].difference["culture_vqa:pocket"]["woken"].estimate > 0
    certificate = it["mine_model"].certificate
    assert certificate["image_equals_library"] == 0 and certificate["text_encoder.edit_moves_resid"] > 0
    assert it["scores"].direction == "noun→modifier" and np.isfinite(it["scores"].delta_ca).all()


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = dict(
    zip(NAMES, (_tour, _layers_and_neurons, _interventions_and_controls, _your_model_and_benchmark), strict=True)
)


def test_all_are_here():
    assert tuple(sorted(p.stem for p in FOLDER.glob("*.py"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_runs_as_a_script(name, tmp_path):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    for parameter, value in FEWER[name].items():
        text, swapped = re.subn(rf"(?m)^{parameter} = .+?(?=  #)", f"{parameter} = {value}", text)
        assert swapped == 1, parameter
    script = tmp_path / f"{name}.py"
    script.write_text(text, encoding="utf-8")
    CHECKS[name](runpy.run_path(str(script)))


@pytest.mark.parametrize("name", NAMES)
def test_stored_notebook_is_the_script_and_ran_cleanly(name):
    path = FOLDER / f"{name}.ipynb"
    stored = nbformat.read(path, as_version=4)
    wanted = jupytext.read(path.with_suffix(".py"))
    assert [(c.cell_type, c.source) for c in stored.cells] == [(c.cell_type, c.source) for c in wanted.cells]
    assert {c.cell_type for c in stored.cells} == {"markdown", "code"}
    assert not [c.source for c in stored.cells if "%%" in c.source], "the script was not read as a percent script"
    outputs = [out for cell in stored.cells if cell.cell_type == "code" for out in cell.outputs]
    assert {out.output_type for out in outputs} <= {"execute_result", "display_data", "stream"}
    assert not [out.text for out in outputs if out.output_type == "stream" and out.name == "stderr"]
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= 4
    assert not re.search(r"/(home|root|tmp|work|Users)/", nbformat.writes(stored))
    assert path.stat().st_size < MOST
