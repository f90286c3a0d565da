"""The contract of every family: a tiny model of the real classes, in the hub's layout, and the whole method on it."""

import numpy as np
import pytest
import tiny
import torch
from families import BUILDERS, PREFIX
from stand_ins import PixelJudge

import interp
from interp.activations import capture
from interp.experiments.arms import condition
from interp.experiments.setup import Setup
from interp.latents import sae_training
from interp.types import UNRECOGNISABLE

CULTURES = ("China", "Germany", "Turkey")
SIZE = 32


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A benchmark of three cultures."""
    return tiny.bench(tmp_path_factory.mktemp("few") / "bench", CULTURES)


@pytest.fixture(scope="module", params=BUILDERS)
def name(request, tmp_path_factory):
    """What `interp.load` is given for a family."""
    folder = BUILDERS[request.param](tmp_path_factory.mktemp(request.param) / "model")
    return PREFIX.get(request.param, "") + str(folder)


@pytest.fixture(scope="module")
def model(name):
    return interp.load(name, size=SIZE)


@pytest.fixture(scope="module")
def half(name):
    """The same in bfloat16; loading it has passed the certificate."""
    return interp.load(name, dtype="bfloat16", size=SIZE)


def encoders(model):
    return sorted(model.encoders)


def test_certificate(model):
    """Loading has passed every check; the exact ones are exact."""
    got = model.certificate
    assert got.get("image_equals_library", 0) == 0
    assert "pea" in model.name or got["conditioning_equals_library"] <= 1e-6
    for name in encoders(model):
        spec = model.spec(name)
        assert got[f"{name}.trace_is_identity"] == 0
        assert got[f"{name}.edit_moves_z"] > 1e-3 and got[f"{name}.edit_moves_resid"] > 1e-3
        assert (f"{name}.padding_is_seen" in got) != (f"{name}.padded_equals_unpadded" in got)
        assert (f"{name}.beyond_reach" in got) == (spec.reach + 1 < spec.layers)
    assert all(np.isfinite(list(got.values())))


def test_whole_method(model, few, tmp_path, monkeypatch):
    """Layer, SAE, neurons, mask, amplify, steer and pictures, at every encoder."""
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
    judge = PixelJudge([*few.cultures, UNRECOGNISABLE])
    given = {"model": model, "bench": few, "judge": judge, "per_culture": 1, "steps": 1, "progress": False}
    for name in encoders(model):
        scores = interp.find_layers(model, few, encoder=name, per_culture=2, progress=False)
        spec = model.spec(name)
        assert len(scores.delta_ca) == spec.reach + 1 and np.isfinite(scores.delta_ca).all()
        assert (scores.direction == "noun→modifier") == spec.causal
        assert set(scores.causal) == {"z noun", "z modifier", "resid noun", "resid modifier"}
        for site in ("z", "resid"):
            settings = interp.SaeSettings(steps=8, batch=64, d_sae=64, k=8)
            folder = tmp_path / f"{name}-{site}"
            sae = interp.train_sae(model, few, scores.peak, site, name, settings, folder, progress=False)
            neurons = interp.find_neurons(model, sae, few, interp.Rule(k=4, tau=None), progress=False)
            setup = Setup.on(neurons, **given)
            for make in (interp.Mask, lambda s: interp.Amplify(s, 50), lambda s: interp.Steer(s, 50)):
                plans = [interp.Plan.of(make(neurons[c])) for c in setup.cultures]
                before, after = condition(setup, "culture_style"), condition(setup, "culture_style", plans)
                fields = [(before.embeds, after.embeds), (before.pooled, after.pooled)]
                assert any(a is not None and not torch.equal(a, b) for a, b in fields), make
                assert before.negative is None or torch.equal(before.negative, after.negative)
        effect = interp.ablate(neurons, random_control=2, **given)
        assert set(effect.arms) == {"baseline", "masked", "random"}
        woken = interp.amplify(neurons, 6, random_control=2, **given)
        assert len(woken.sample_ids) == len(CULTURES)


def test_steering_moves_the_picture_and_nothing_does_not(model, few, tmp_path):
    name = encoders(model)[0]
    settings = interp.SaeSettings(steps=8, batch=64, d_sae=64, k=8)
    sae = interp.train_sae(model, few, 0, "resid", name, settings, tmp_path, progress=False)
    neurons = interp.find_neurons(model, sae, few, interp.Rule(k=4, tau=None), progress=False)
    prompts = [s.native.noun_only.text for s in few.samples("test")[:2]]
    plain = interp.generate(model, prompts, steps=1, progress=False)
    assert plain.shape == (2, 1, SIZE, SIZE, 3) and plain.std() > 0
    assert np.array_equal(
        interp.generate(model, prompts, interp.Steer(neurons["China"], 0), steps=1, progress=False), plain
    )
    steered = interp.generate(model, prompts, interp.Steer(neurons["China"], 100), steps=1, progress=False)
    assert not np.array_equal(steered, plain)


def test_an_edited_copy_traces_like_a_plan(model):
    """`interp.edited` against `capture.condition`: the same states from the copy's own trace."""
    name = encoders(model)[-1]
    encoder, tokens = model.encoder(name), capture.tokenise(model, ["a house", "中国风格的房子"])
    sites = {interp.Site(1, "z", name): lambda f, _: f.roll(1, -1), interp.Site(0, "resid", name): lambda f, _: -f}
    copy = capture.edited_envoy(model, sites, name)
    with torch.no_grad(), copy.trace(**encoder.inputs(tokens[name])):
        states = encoder.resid(copy, encoder.spec.reach).save()
    last = interp.Site(encoder.spec.reach, "resid", name)
    wanted = capture.forward(model, tokens[name], [last], sites, encoder=name)
    assert torch.equal(states, wanted.features[last])
    assert not torch.equal(states, capture.forward(model, tokens[name], [last], encoder=name).features[last])


def test_half_precision(half, few, tmp_path):
    """Certificate, mask, amplify and steer in bfloat16, at every encoder."""
    assert half.certificate.get("image_equals_library", 0) == 0
    assert half.denoiser.dtype == torch.bfloat16
    prompts = [few.samples("test")[0].native.culture_style.text]
    plain = interp.encode(half, prompts)
    assert plain.embeds.dtype == torch.bfloat16
    for name in encoders(half):
        assert half.certificate[f"{name}.trace_is_identity"] == 0
        chosen = _all_latents(half, interp.Site(1, "resid", name), tmp_path / name)
        nothing = interp.Amplify(chosen, 0) + interp.Steer(chosen, 0)
        assert not _moves(plain, interp.encode(half, prompts, nothing))
        for edit in (interp.Mask(chosen), interp.Amplify(chosen, 50), interp.Steer(chosen, 50)):
            edited = interp.encode(half, prompts, edit)
            assert _moves(plain, edited) and edited.embeds.dtype == torch.bfloat16, edit


def _all_latents(model, site, folder):
    """Every latent of an SAE that was hardly trained: one that fires is among them."""
    settings = interp.SaeSettings(steps=1, batch=32, d_sae=16, k=8)
    noise = torch.randn(64, model.spec(site.encoder).d_model, generator=torch.Generator().manual_seed(0))
    made = sae_training.train({site: noise}, settings, folder, encoder_digest=model.encoder_digest, progress=False)[
        site
    ]
    return interp.NeuronSet("all", tuple(range(16)), (1.0,) * 16, (0.0,) * 16, made.ref)


def _moves(before, after):
    fields = [(before.embeds, after.embeds), (before.pooled, after.pooled)]
    return any(a is not None and not torch.equal(a, b) for a, b in fields)


def test_what_is_not_there_is_said(model, few):
    name = encoders(model)[0]
    with pytest.raises(interp.InterpError, match="layers that affect the image are 0 to"):
        capture.encode(model, ["x"], {interp.Site(99, "resid", name): lambda f, _: f})
    with pytest.raises(interp.InterpError, match="has no encoder 'text_encoder_9'; it has: text_encoder"):
        interp.find_layers(model, few, encoder="text_encoder_9")
