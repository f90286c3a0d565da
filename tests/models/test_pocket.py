"""The shipped model, judge and SAE, measured a little: the figures of the model card hold on a sample."""

import json
from pathlib import Path

import numpy as np
import pytest

import interp
from interp.benchmarks import pocket
from interp.experiments.arms import measure_arm
from interp.experiments.controls import PlannedArm
from interp.experiments.setup import Setup
from interp.hub import load
from interp.latents import sae
from interp.metrics.judges.base import hits
from interp.metrics.judges.pocket import load_judge


@pytest.fixture(scope="module")
def model():
    return interp.load("pocket")


@pytest.fixture(scope="module")
def bench():
    return interp.benchmark("pocket")


def test_judge_knows_real_composites(bench):
    rows = [r for r in pocket.samples() if r["split"] == "test"][::6]
    said = load_judge()([pocket.picture(r) for r in rows])
    assert hits(said.culture, [r["culture"] for r in rows]).mean() >= 98
    assert hits(said.noun, [r["category"] for r in rows]).mean() >= 98
    plain = load_judge()([pocket.compose(r["category"], pocket.PLAIN, 0, r["key"]) for r in rows[:60]])
    assert hits(plain.culture, ["Unrecognisable"] * 60).mean() >= 98


def test_the_gap_is_there(model, bench):
    shared = Setup(model, bench.subset("test", 1, 0).samples("test"), load_judge(), progress=False)
    assert measure_arm(shared, PlannedArm("style", "culture_style")).culture_hit.mean() >= 80
    assert measure_arm(shared, PlannedArm("plain", "noun_only")).culture_hit.mean() <= 20


def test_the_shipped_sae_fits_the_model_and_loads_in_sae_lens(model):
    from sae_lens import SAE

    layer = model.recipe["layer"]
    assert interp.load_sae("pocket", layer).ref.encoder_digest == model.encoder_digest
    figures = json.loads((load.SHIPPED / "pocket" / f"layer_{layer:02d}" / "manifest.json").read_text())
    assert figures["measured"]["explained_variance"] > 0.8
    plain = SAE.load_from_disk(str(load.SHIPPED / "pocket" / f"layer_{layer:02d}"))
    features = np.random.default_rng(0).normal(size=(4, 384)).astype("float32")
    import torch

    x = torch.from_numpy(features)
    ours = sae.load(load.SHIPPED / "pocket" / f"layer_{layer:02d}")
    torch.testing.assert_close(plain.encode(x).float(), ours.encode(x), atol=2e-2, rtol=2e-2)


def test_masking_beats_a_random_set(model, bench):
    neurons = interp.find_neurons(model, interp.load_sae("pocket", model.recipe["layer"]), bench, progress=False)
    effect = interp.ablate(neurons, random_control=1, per_culture=1, model=model, bench=bench, progress=False)
    assert effect.difference["masked"].estimate <= -30
    assert effect.difference["random"].estimate >= -15


def test_the_shipped_enhancer_wakes_and_its_controls_are_alike(model, bench):
    shipped = load.shipped_enhancers("pocket")
    assert set(shipped) == {"culture_layer", "random_layer", "shuffled"}
    assert interp.load_enhancer("pocket") == shipped["culture_layer"]
    assert {ref.encoder_digest for ref in shipped.values()} == {model.encoder_digest}
    assert shipped["culture_layer"].site.layer == model.recipe["layer"] != shipped["random_layer"].site.layer
    manifests = {n: json.loads((Path(ref.path) / "manifest.json").read_text()) for n, ref in shipped.items()}
    assert {m["config"]["benchmark"] for m in manifests.values()} == {bench.digest}
    assert not [m for m in manifests.values() if m["dirty"]]
    effect = interp.enhance(model, bench, interp.Enhance(shipped["culture_layer"]), per_culture=1, progress=False)
    assert effect.accuracy["enhanced"].estimate >= 80 > 20 >= effect.accuracy["baseline"].estimate
    assert effect.noun_fidelity["enhanced"].estimate >= 90
    with pytest.raises(interp.InterpError, match="learn from the train split"):
        interp.enhance(model, bench, interp.Enhance(shipped["culture_layer"]), split="train")
