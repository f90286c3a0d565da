"""interventions: values that compose, exact identities, and the edits against a loop."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp import Amplify, Enhance, InterpError, Mask, Plan, Steer, edited, encode
from interp.activations import capture
from interp.activations.capture import condition
from interp.interventions import edits as interventions
from interp.interventions import enhancer
from interp.latents import sae as saes
from interp.types import Site

PROMPTS = ["a house", "ein Haus im deutschen Stil", "中国风格的房子"]


def loop(kind, features, sae, neurons, strength=0.0, codes="topk"):
    """What an intervention does, one token and latent at a time."""
    out = features.clone()
    for row in range(features.shape[0]):
        for token in range(features.shape[1]):
            z = sae.encode(features[row, token][None], codes)[0]
            new = z.clone()
            for m, mu in zip(neurons.indices, neurons.magnitude, strict=True):
                new[m] = {"mask": 0.0, "amplify": (1 + strength) * z[m], "steer": z[m] + strength * mu}[kind]
            out[row, token] += (sae.decode(new[None]) - sae.decode(z[None]))[0]
    return out


@pytest.mark.parametrize("codes", ["topk", "relu"])
def test_edits_equal_a_loop(tiny_neurons, codes):
    sae, chosen = saes.resolve(tiny_neurons.sae), tiny_neurons["Japan"]
    features = torch.randn(2, 5, sae.ref.d_in, generator=torch.Generator().manual_seed(0))
    cases = {
        "mask": (Mask(chosen, codes=codes), 0.0),
        "amplify": (Amplify(chosen, 3.0, codes), 3.0),
        "steer": (Steer(chosen, 2.0), 2.0),
    }
    for kind, (edit, strength) in cases.items():
        want = loop(kind, features, sae, chosen, strength, codes)
        torch.testing.assert_close(edit.apply(features, sae), want, atol=1e-4, rtol=1e-4)


def test_mean_ablation_puts_the_baseline(tiny_neurons):
    sae, chosen = saes.resolve(tiny_neurons.sae), tiny_neurons["Japan"]
    features = torch.randn(1, 4, sae.ref.d_in)
    codes = sae.encode(features)
    edited_codes = codes.clone()
    edited_codes[..., list(chosen.indices)] = torch.tensor(chosen.baseline)
    want = features + sae.decode(edited_codes) - sae.decode(codes)
    torch.testing.assert_close(Mask(chosen, "mean").apply(features, sae), want, atol=1e-5, rtol=1e-5)


def test_nothing_is_exactly_the_identity(tiny_model, tiny_neurons):
    plain = encode(tiny_model, PROMPTS).embeds
    chosen = tiny_neurons["Japan"]
    for plan in (Plan(), Amplify(chosen, 0), Steer(chosen, 0.0), Amplify(chosen, 0, "relu") + Steer(chosen, 0)):
        assert torch.equal(encode(tiny_model, PROMPTS, plan).embeds, plain)
    assert not torch.allclose(encode(tiny_model, PROMPTS, Steer(chosen, 5)).embeds, plain)


def test_plans_compose_in_order(tiny_model, tiny_neurons):
    a, b = Steer(tiny_neurons["Japan"], 2), Mask(tiny_neurons["Italy"])
    assert tuple(a + b) == (a, b)
    assert tuple((a + b) + Plan.of(a)) == (a, b, a)
    sae = saes.resolve(tiny_neurons.sae)
    features = torch.randn(1, 3, sae.ref.d_in)
    (edit,) = (a + b).edits(tiny_model.encoder_digest).values()
    want = b.apply(a.apply(features, sae), sae)
    assert torch.equal(edit(features, torch.ones(1, 3, dtype=torch.bool)), want)


def test_one_plan_a_prompt_equals_separate_calls(tiny_model, tiny_neurons):
    plans = [Steer(tiny_neurons["Japan"], 3), None, Mask(tiny_neurons["Italy"])]
    together = encode(tiny_model, PROMPTS, plans).embeds
    for row, plan in enumerate(plans):
        alone = encode(tiny_model, [PROMPTS[row]], plan).embeds
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-6, rtol=0)
    with pytest.raises(InterpError, match="3 prompts but 1 plans"):
        encode(tiny_model, PROMPTS, [None])


def test_the_negative_branch_is_not_edited(tiny_model, tiny_neurons):
    plain, steered = encode(tiny_model, PROMPTS), encode(tiny_model, PROMPTS, Steer(tiny_neurons["Japan"], 5))
    assert torch.equal(plain.negative, steered.negative)


def test_what_comes_again_is_encoded_once(tiny_model, tiny_neurons, monkeypatch):
    mask = Mask(tiny_neurons["Italy"])
    prompts, plans = [PROMPTS[0], PROMPTS[1], PROMPTS[0], PROMPTS[0]], [mask, mask, None, mask]
    apart = torch.cat([encode(tiny_model, [p], [q]).embeds for p, q in zip(prompts, plans, strict=True)])
    seen = []
    original = capture.encode
    monkeypatch.setattr(capture, "encode", lambda m, texts, *rest: seen.extend(texts) or original(m, texts, *rest))
    together = encode(tiny_model, prompts, plans).embeds
    assert seen == [PROMPTS[0], PROMPTS[1], PROMPTS[0]]
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=0)
    with pytest.raises(InterpError, match="no prompts"):
        encode(tiny_model, [], [])


def test_plans_are_values(tiny_neurons):
    plan = Mask(tiny_neurons["Italy"]) + Amplify(tiny_neurons["Japan"], 6)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert hash(again) == hash(plan)
    assert repr(plan) == "Mask(Italy) + Amplify(Japan, 6)"


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_strengths_are_finite(strength):
    from interp.types import NeuronSet, SaeRef

    chosen = NeuronSet("Japan", (1,), (1.0,), (0.0,), SaeRef("", "", Site(0), "", 4, 8, 2))
    for kind in (Amplify, Steer):
        if math.isfinite(strength):
            assert kind(chosen, strength).strength == strength
        else:
            with pytest.raises(InterpError, match="finite"):
                kind(chosen, strength)


def test_refusals(tiny_neurons):
    chosen = tiny_neurons["Japan"]
    with pytest.raises(InterpError, match="to 'median'; known: zero, mean"):
        interventions._choice("to", "median", ("zero", "mean"))
    with pytest.raises(InterpError, match="known: mask"):
        Plan.from_json('[{"kind": "explode"}]')
    with pytest.raises(InterpError):
        Plan.of(Mask(chosen)).edits("another model's digest")
    with pytest.raises(InterpError, match="no neurons for culture 'Atlantis'"):
        tiny_neurons["Atlantis"]


def test_an_edited_copy_traces_like_encode(tiny_model, tiny_neurons):
    plan = Steer(tiny_neurons["Japan"], 4) + Mask(tiny_neurons["Italy"])
    tokens = tiny_model.encoder("text_encoder").tokenise(PROMPTS)
    given = tiny_model.encoder("text_encoder").inputs(tokens)
    with edited(tiny_model, plan) as encoder, torch.no_grad(), encoder.trace(**given):
        states = encoder.output.projection_state.save()
    assert torch.equal(states, encode(tiny_model, PROMPTS, plan).embeds)
    plain = condition(tiny_model, {"text_encoder": tokens}).embeds
    assert torch.equal(plain, encode(tiny_model, PROMPTS).embeds)
    assert not torch.allclose(states, plain)


def test_an_sae_moves_once_to_each_device(tiny_neurons):
    """`meta` stands for a device of its own: its tensors meet no others."""
    first, again = (saes.resolve(tiny_neurons.sae, "meta") for _ in range(2))
    assert first.W_enc is again.W_enc and first.W_dec is again.W_dec
    assert saes.resolve(tiny_neurons.sae).W_enc.device.type == "cpu"
    assert saes.resolve(tiny_neurons.sae, torch.device("cpu")).W_enc is saes.resolve(tiny_neurons.sae).W_enc


def test_edits_follow_the_features(tiny_model, tiny_neurons, tmp_path):
    """Where the features are, and in their precision; a shared enhancer stays where it is for everybody else."""
    chosen, width = tiny_neurons["Japan"], tiny_neurons.sae.d_in
    net = enhancer.EnhancerNet(width, 4)
    ref = enhancer.write(tmp_path, net, Site(1), tiny_model.encoder_digest)
    edits = (Mask(chosen), Mask(chosen, "mean"), Amplify(chosen, 3), Steer(chosen, 2), Enhance(ref))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        features = torch.zeros(2, 3, width, dtype=dtype, device="meta")
        for edit in edits:
            got = edit.act(features)
            assert (got.device.type, got.dtype, got.shape) == ("meta", dtype, features.shape), edit
    assert {p.device.type for p in enhancer.resolve(ref).parameters()} == {"cpu"}
    assert enhancer.resolve(ref, "meta") is enhancer.resolve(ref, "meta") is not enhancer.resolve(ref)
