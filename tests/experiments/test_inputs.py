"""workspace: which model neurons are measured on, and the folders that the three `load_*` take."""

import gc
import shutil
from dataclasses import replace

import families
import pytest
import torch

import interp
from interp import InterpError
from interp.experiments import inputs
from interp.hub import publish
from interp.interventions import enhancer
from interp.interventions.enhancer import EnhancerNet
from interp.latents import neurons
from interp.types import Site


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models of one text encoder and another denoiser each."""
    root = tmp_path_factory.mktemp("models")
    one = families.build_alt_diffusion(root / "one")
    other = shutil.copytree(one, root / "other")
    (weights,) = (other / "unet").glob("*.bin")
    torch.save({k: v + 0.5 for k, v in torch.load(weights, weights_only=True).items()}, weights)
    return one, other


@pytest.fixture
def found(folders, tiny_neurons):
    """Both models loaded, the second one last, and neurons of the first."""
    gc.collect()
    first, second = (interp.load(str(folder), size=32) for folder in folders)
    assert first.encoder_digest == second.encoder_digest and first.model_digest != second.model_digest
    ref = replace(tiny_neurons.sae, encoder_digest=first.encoder_digest)
    sets = {name: replace(chosen, sae=ref) for name, chosen in tiny_neurons.sets.items()}
    return first, second, replace(tiny_neurons, sae=ref, sets=sets, model_digest=first.model_digest)


def test_neurons_are_measured_on_their_own_model(found):
    """Not on one that happens to share its text encoder and was loaded last."""
    first, second, of_first = found
    assert inputs.model_of(of_first, None) is first
    assert inputs.model_of(replace(of_first, model_digest=second.model_digest), None) is second
    assert inputs.model_of(of_first, second) is second, "what is passed is taken: the same text encoders"


def test_a_model_that_is_gone_is_not_loaded(found, tmp_path):
    _, _, of_first = found
    gone = replace(of_first, model_digest="0" * 64, settings={**of_first.settings, "model": str(tmp_path / "evil")})
    with pytest.raises(InterpError, match="a file does not decide what is: load it and pass it as model="):
        inputs.model_of(gone, None)


def test_a_model_in_several_ways_is_not_guessed(found, folders):
    first, _, of_first = found
    again = interp.load(str(folders[0]), size=32)
    assert again.identity == first.identity
    assert inputs.model_of(of_first, None) is again, "the same in every way"
    half = interp.load(str(folders[0]), size=32, dtype="bfloat16")
    assert half.identity != first.identity and half.model_digest == first.model_digest
    with pytest.raises(
        InterpError, match=r"loaded in several ways \(cpu in bfloat16.*, cpu in float32.*\); pass the one"
    ):
        inputs.model_of(of_first, None)


def test_pictures_of_two_precisions_do_not_share_answers(folders):
    """The key of an answer that is kept holds all that draws the picture."""
    plain = interp.load(str(folders[0]), size=32)
    others = [interp.load(str(folders[0]), size=32, dtype="bfloat16"), interp.load(str(folders[0]), size=16)]
    assert len({m.identity for m in (plain, *others)}) == 3
    plain.pipeline.scheduler.register_to_config(beta_end=0.5)
    assert plain.identity not in {interp.load(str(folders[0]), size=32).identity}


def test_the_three_loads_take_a_runs_folder_and_a_published_one(tiny_sae, tiny_neurons, tmp_path):
    neurons.save(tiny_neurons, tmp_path / "neurons")
    own = interp.load_neurons(tmp_path / "neurons")
    publish.publish(tiny_neurons, "org/name", "MIT", True, tmp_path / "published", model_name="tiny")
    theirs = interp.load_neurons(tmp_path / "published")
    assert own.sets == tiny_neurons.sets
    assert {c: s.indices for c, s in theirs.sets.items()} == {c: s.indices for c, s in own.sets.items()}
    assert own.model_digest == theirs.model_digest == tiny_neurons.model_digest != ""

    run = tmp_path / "run" / "layer_01"
    shutil.copytree(tiny_sae.ref.path, run)
    for source in (run, run.parent, tmp_path / "published"):
        assert interp.load_sae(source).ref.digest == tiny_sae.ref.digest
        assert source == run or interp.load_sae(source, 1).ref.digest == tiny_sae.ref.digest
    shutil.copytree(run, run.parent / "layer_02")
    with pytest.raises(InterpError, match="asked for an SAE without layer=; there: layer_01, layer_02"):
        interp.load_sae(run.parent)

    (tmp_path / "enhancer").mkdir()
    ref = enhancer.write(tmp_path / "enhancer", EnhancerNet(8, 4), Site(1), "0" * 64)
    publish.publish(ref, "org/name", "MIT", True, tmp_path / "published-enhancer", model_name="tiny")
    for source in (tmp_path / "enhancer", tmp_path / "published-enhancer"):
        assert interp.load_enhancer(source).digest == ref.digest
    for load in (interp.load_neurons, interp.load_sae, interp.load_enhancer):
        with pytest.raises(InterpError) as error:
            load(tmp_path / "run" / "nothing")
        assert "\n" not in str(error.value)


def test_effects_know_their_model(tiny_model, tiny_neurons, small_bench):
    given = {"model": tiny_model, "bench": small_bench, "per_culture": 1, "steps": 1, "progress": False}

    class Judge:
        name, labels, digest = "judge", (*small_bench.cultures, "Unrecognisable"), None

        def __call__(self, pictures, items):
            from interp.metrics.judges.base import Verdicts

            return Verdicts(("Japan",) * len(pictures))

    effect = interp.ablate(tiny_neurons, judge=Judge(), **given)
    assert effect.model_digest == tiny_model.model_digest == tiny_neurons.model_digest
