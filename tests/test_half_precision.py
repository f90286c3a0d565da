"""float16 and bfloat16 on the CPU: the verdicts of float32 on pocket, exact identities, faults still caught, training.

The denoiser is 15 times slower there than in float32, so few pictures are drawn in few steps.
"""

from dataclasses import dataclass, replace

import families
import numpy as np
import pytest
import tiny
import torch
from accelerate import cpu_offload

import interp
from interp.activations import capture, certificate, probe
from interp.experiments import arms, controls
from interp.experiments.setup import Setup
from interp.interventions import enhancer_steps, enhancer_training
from interp.interventions.edits import Amplify, Enhance, Mask, Plan, Steer
from interp.interventions.enhancer_steps import EnhancerSettings
from interp.latents import sae as saes
from interp.metrics.judges.pocket import load_judge
from interp.models import families as models
from interp.models.encoders import TextEncoder, XlmRoberta
from interp.types import NeuronSet, Site

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
CULTURES = ("Germany", "Japan", "Russia", "Thailand")
STEPS = 4
PROMPTS = ["a house", "ein Haus im deutschen Stil", "中国风格的房子"]


@pytest.fixture(params=HALVES)
def dtype(request):
    return request.param


# ------------------------------------------------------------------------------------------------- the method on pocket


@dataclass
class Measured:
    """What the method gives on pocket in one precision."""

    neurons: interp.Neurons
    hits: dict[str, list[float]]
    """Arm → whether the judge named the culture, and the noun, a sample."""
    culture: np.ndarray
    """The probe's probability of each prompt's culture, fitted on every other pair."""
    shift: np.ndarray
    """How far masking moves each prompt's conditioning."""


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return tiny.bench(tmp_path_factory.mktemp("few") / "bench", CULTURES)


@pytest.fixture(scope="module")
def measured(few):
    """By dtype, each once."""
    known = {}

    def of(dtype):
        if dtype not in known:
            known[dtype] = _measure(interp.load("pocket", device="cpu", dtype=dtype), few)
        return known[dtype]

    return of


def _measure(model, few):
    sae = interp.load_sae("pocket", model.recipe["layer"])
    neurons = interp.find_neurons(model, sae, few, progress=False)
    setup = Setup(model, few.subset("test", 1, 0).samples("test"), load_judge(), steps=STEPS, progress=False)
    wake = controls.maker(**model.recipe["wake"])
    treatments = {
        "culture_style": ("culture_style", ()),
        "noun": ("noun_only", ()),
        "masked": ("culture_style", [Plan.of(Mask(neurons[c])) for c in setup.cultures]),
        "woken": ("noun_only", [Plan.of(wake(neurons[c])) for c in setup.cultures]),
        "enhanced": ("noun_only", [Plan.of(Enhance(interp.load_enhancer("pocket")))] * len(setup.samples)),
    }
    drawn = {
        name: arms.measure_conditioning(setup, arms.condition(setup, prompts, plans), name)
        for name, (prompts, plans) in treatments.items()
    }
    hits = {name: [*arm.culture_hit.tolist(), *arm.noun_hit.tolist()] for name, arm in drawn.items()}
    return Measured(neurons, hits, *_encoder_side(model, few.pairs("detection"), neurons))


def _encoder_side(model, pairs, neurons):
    prompts = [p.culture_style.text for p in pairs] + [p.noun_only.text for p in pairs]
    labels = [p.culture for p in pairs] + ["none"] * len(pairs)
    plain = interp.encode(model, prompts)
    masked = interp.encode(model, prompts, [Mask(neurons[p.culture]) for p in pairs] * 2)
    fitted = probe.fit(plain.rows(range(0, len(prompts), 2)), labels[::2])
    return fitted.named(plain, labels), probe.shift(masked, plain)


def test_the_verdicts_are_those_of_float32(dtype, measured):
    """Gap, mask, wake, enhancer: the same answer on every picture."""
    found = measured(dtype).hits
    assert found == measured("float32").hits
    culture = {name: np.mean(hits[: len(CULTURES)]) for name, hits in found.items()}
    assert culture["culture_style"] >= 75 > 25 >= culture["noun"]
    assert culture["masked"] <= 25 and min(culture["woken"], culture["enhanced"]) >= 75


def test_the_neurons_are_those_of_float32(dtype, measured):
    """Of 16 latents a culture at most one differs. A latent at the edge of the Top-K fires in one precision only, so
    that scores differ by up to 1 % of the largest in float16 and 2.3 % in bfloat16."""
    half, full = measured(dtype).neurons, measured("float32").neurons
    for culture in CULTURES:
        assert len({*half[culture].indices} & {*full[culture].indices}) >= 15
    assert np.abs(half.wfs - full.wfs).max() <= {"float16": 0.02, "bfloat16": 0.04}[dtype] * full.wfs.max()


def test_many_prompts_give_the_numbers_of_float32(dtype, measured):
    """Over all detection prompts: the probe within 0.001, the shift within 1 % of the largest (0.7 % seen)."""
    half, full = measured(dtype), measured("float32")
    assert len(full.culture) >= 60
    assert np.abs(half.culture - full.culture).mean() <= 1e-3
    assert np.abs(half.shift - full.shift).max() <= 0.01 * full.shift.max()
    assert np.corrcoef(half.shift, full.shift)[0, 1] >= 0.9999


# ------------------------------------------------------------------------------------------------------- exact identity


def _all_latents(neurons):
    """A set in which something fires on any features."""
    count = neurons.sae.d_sae
    return NeuronSet("all", tuple(range(count)), (1.0,) * count, (0.5,) * count, neurons.sae)


def _bits(x):
    return x.view(torch.int32 if x.dtype == torch.float32 else torch.int16)


@pytest.mark.parametrize("kept", ["float32", *HALVES])
def test_nothing_leaves_every_bit(kept, tiny_neurons):
    """Zero strength on any features, −0.0 among them; a mask where nothing fires."""
    chosen = _all_latents(tiny_neurons)
    width = tiny_neurons.sae.d_in
    features = torch.randn(4, 7, width, generator=torch.Generator().manual_seed(0)).to(getattr(torch, kept))
    features[:, ::2, ::3] = -0.0
    silent = replace(chosen, indices=chosen.indices[:1], magnitude=(0.0,), baseline=(0.0,))
    for edit in (Amplify(chosen, 0), Amplify(chosen, 0, "relu"), Steer(chosen, 0), Steer(silent, 3)):
        got = edit.act(features)
        assert got.dtype == features.dtype
        assert torch.equal(_bits(got), _bits(features)), edit


def test_an_edit_computes_in_float32_and_rounds_once(dtype, tiny_neurons):
    chosen, kept = _all_latents(tiny_neurons), HALVES[dtype]
    features = torch.randn(2, 5, tiny_neurons.sae.d_in, generator=torch.Generator().manual_seed(1)).to(kept)
    sae = saes.resolve(tiny_neurons.sae)
    for edit in (Mask(chosen), Mask(chosen, "mean"), Amplify(chosen, 3.0), Steer(chosen, 2.0)):
        got = edit.act(features)
        assert got.dtype == kept
        assert torch.equal(got, edit.apply(features.float(), sae).to(kept)), edit
        assert not torch.equal(got, features)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(edit.act(features), got), "mixed precision around it changes nothing"


# --------------------------------------------------------------------------------------------- the certificate's faults


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tiny models by family, built once."""
    built = {}

    def of(build):
        if build not in built:
            built[build] = str(build(tmp_path_factory.mktemp("tiny") / "model"))
        return built[build]

    return of


def _m9(folder):
    return families.build_alt_diffusion(folder, pre=False)


def _load(folders, build, dtype):
    return models.load(folders(build), device="cpu", dtype=dtype, size=32)


def test_leaking_padding_is_found(dtype, folders, monkeypatch):
    model = _load(folders, families.build_alt_diffusion, dtype)
    monkeypatch.setattr(
        TextEncoder, "inputs", lambda self, tokens: {"input_ids": tokens.ids, "attention_mask": tokens.mask * 0 + 1}
    )
    with pytest.raises(interp.InterpError, match="check failed: padded equals unpadded"):
        certificate.certificate(model)


@pytest.mark.parametrize("kind", ["z", "resid"])
def test_an_edit_that_does_nothing_is_found(kind, dtype, folders, monkeypatch):
    model = _load(folders, families.build_alt_diffusion, dtype)
    monkeypatch.setattr(XlmRoberta, f"set_{kind}", lambda self, envoy, layer, value: None)
    with pytest.raises(interp.InterpError, match=f"an edit of {kind} at layers 0 and 2 moves"):
        certificate.certificate(model)


def test_an_edit_below_the_noise_is_found(dtype, folders, monkeypatch):
    """One that moves the states by half a unit in the last place: no more than rounding does."""
    model = _load(folders, families.build_alt_diffusion, dtype)
    monkeypatch.setattr(certificate, "_rolled", lambda f, _: f * (1 + torch.finfo(HALVES[dtype]).eps))
    with pytest.raises(interp.InterpError, match="an edit of z at layers 0 and 2 moves"):
        certificate.certificate(model)


def test_another_layers_states_are_found(dtype, folders, monkeypatch):
    model = _load(folders, families.build_sdxl, dtype)
    join = type(model).join

    def last(self, states, tokens):
        read = {n: replace(s, penultimate=s.output.last_hidden_state) for n, s in states.items()}
        return join(self, read, tokens)

    monkeypatch.setattr(type(model), "join", last)
    with pytest.raises(interp.InterpError, match=r"never affects the image|equal the pipeline's encode_prompt"):
        certificate.certificate(model)


def test_a_layer_beyond_reach_that_matters_is_found(dtype, folders):
    """m9 reads its last layer."""
    model = _load(folders, _m9, dtype)
    encoder = model.encoder("text_encoder")
    encoder.spec = replace(encoder.spec, reach=encoder.spec.layers - 2)
    with pytest.raises(interp.InterpError, match="layer 3 never affects the image"):
        certificate.certificate(model)


def test_attention_of_another_layer_is_found(dtype, folders, monkeypatch):
    model = _load(folders, _m9, dtype)
    pattern = XlmRoberta.pattern
    monkeypatch.setattr(XlmRoberta, "pattern", lambda self, envoy, layer: pattern(self, envoy, layer).roll(1, -1))
    with pytest.raises(interp.InterpError, match="A·V equals the module's output"):
        certificate.certificate(model)


# ----------------------------------------------------------------------------------------------------------- overflow


def test_pictures_that_overflow_are_refused(folders):
    """An autoencoder whose weights are too large for float16."""
    model = _load(folders, _m9, "float16")
    model.pipeline.vae.config["force_upcast"] = False
    with torch.no_grad():
        model.pipeline.vae.post_quant_conv.weight.mul_(0).add_(6e4)
    given = interp.encode(model, PROMPTS[:2])
    with pytest.raises(interp.InterpError, match=r"2 of 2 pictures drawn in float16 hold .*bfloat16 or float32"):
        model.images(given, [0, 1], steps=1)


def test_a_conditioning_that_overflows_is_refused(folders, tiny_neurons):
    model = _load(folders, _m9, "float16")
    strong = {Site(3, "resid"): lambda f, _: f * 6e4 + 6e4}
    with pytest.raises(interp.InterpError, match=r"not finite in float16; load the model in .* or edit less strongly"):
        capture.encode(model, PROMPTS, strong)
    with torch.no_grad():
        model.encoder("text_encoder").module.transformation.weight.fill_(torch.inf)
    with pytest.raises(interp.InterpError, match=r"not finite in float16; load the model in bfloat16 or float32$"):
        capture.encode(model, PROMPTS)


# ----------------------------------------------------------------------------------------------------------- training

FAST = EnhancerSettings(width=8, steps=6, batch=2, rate=1e-2, checkpoint=2)


def _run(model, few, **changed):
    """An objective, and a state whose enhancer is no longer the identity."""
    by = enhancer_steps.objective(model, few, Site(1, "resid"), replace(FAST, **changed))
    state = enhancer_steps.begin(by)
    torch.nn.init.normal_(state.net.norm.weight, generator=torch.Generator().manual_seed(0))
    return by, state


def _gradient(by, state):
    samples, t = by.bench.samples("train")[:2], torch.tensor([100, 700])
    clean = torch.cat([enhancer_steps.clean_latents(by, s) for s in samples])
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    loss = enhancer_steps.batch_loss(by, state.net, [(s, s) for s in samples], clean, noise, t)
    state.scaler.scale(loss).backward()
    state.scaler.unscale_(state.optimiser)
    return torch.cat([p.grad.flatten() for p in state.net.parameters()])


@pytest.fixture(scope="module")
def wanted(folders, few):
    """The gradient of one step in float32."""
    return _gradient(*_run(_load(folders, families.build_alt_diffusion, "float32"), few))


def test_gradients_through_half_precision(dtype, folders, few, wanted):
    """Without a factor on the loss float16 is 5 % off; activations computed again give the same."""
    model = _load(folders, families.build_alt_diffusion, dtype)
    by, state = _run(model, few)
    assert {p.dtype for p in state.net.parameters()} == {torch.float32}
    assert state.scaler.is_enabled() == (dtype == "float16")
    found = _gradient(by, state)
    assert found.dtype == torch.float32
    assert (found - wanted).norm() / wanted.norm() < {"float16": 0.03, "bfloat16": 0.25}[dtype]
    model.denoiser.enable_gradient_checkpointing()
    assert torch.equal(_gradient(*_run(model, few)), found)


def test_a_run_in_half_precision_goes_on_to_the_same_result(dtype, folders, few):
    """With what a checkpoint keeps of the factor; in float16 the first steps find it."""
    model = _load(folders, families.build_alt_diffusion, dtype)
    by, whole = _run(model, few)
    whole.scaler._init_scale, whole.scaler._growth_interval = 2.0**30, 2
    for number in range(6):
        assert np.isfinite(enhancer_steps.step(by, whole, number))
    _, first = _run(model, few)
    first.scaler._init_scale, first.scaler._growth_interval = 2.0**30, 2
    for number in range(3):
        enhancer_steps.step(by, first, number)
    kept, (_, second) = enhancer_training.packed(first), _run(model, few)
    assert any(name.startswith("scaler.") for name in kept) == (dtype == "float16")
    second.scaler._growth_interval = 2
    enhancer_training.unpack(second, {name: value.clone() for name, value in kept.items()})
    for number in range(3, 6):
        enhancer_steps.step(by, second, number)
    for a, b in zip(whole.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(a, b)
    assert second.scaler.get_scale() == whole.scaler.get_scale()


def test_gradients_that_are_never_finite_are_refused(folders, few, monkeypatch):
    by, state = _run(_load(folders, families.build_alt_diffusion, "float16"), few, loss="latent")
    monkeypatch.setattr(enhancer_steps, "batch_loss", lambda *_: state.net.norm.weight.sum() * torch.inf)
    for number in range(16):  # from 2¹⁶ down to 1
        enhancer_steps.step(by, state, number)
    with pytest.raises(interp.InterpError, match=r"not finite at any scale of the loss; load the model in bfloat16"):
        enhancer_steps.step(by, state, 16)


def test_the_autoencoder_of_a_float16_model_trains_in_float32(folders, few):
    """Those of SDXL overflow in float16, and say so by `force_upcast`."""
    model = _load(folders, families.build_alt_diffusion, "float16")
    by, _ = _run(model, few)
    assert by.vae.dtype == torch.float32 and model.pipeline.vae.dtype == torch.float16
    assert _run(_load(folders, families.build_alt_diffusion, "bfloat16"), few)[0].vae.dtype == torch.bfloat16
    other, _ = _run(_load(folders, families.build_alt_diffusion, "float32"), few)
    sample = few.samples("train")[0]
    latents = [enhancer_steps.clean_latents(it, sample) for it in (by, other)]
    torch.testing.assert_close(*latents, atol=2e-2, rtol=0)


def test_gradients_through_offloaded_layers(folders, few, wanted):
    """`sequential`: weights are on `meta` but while a layer computes. `model` would lack them in the backward pass."""
    model = _load(folders, families.build_alt_diffusion, "float32")
    for part in (model.denoiser, model.pipeline.vae, model.encoder("text_encoder").module):
        cpu_offload(part.requires_grad_(False), "cpu", offload_buffers=len(part._parameters) > 0)
    assert {p.device.type for p in model.denoiser.parameters()} == {"meta"}
    torch.testing.assert_close(_gradient(*_run(model, few)), wanted, atol=1e-6, rtol=1e-4)
    model.placement = replace(model.placement, offload="model")
    with pytest.raises(interp.InterpError, match="load it with offload 'sequential' or 'none'"):
        _run(model, few)


def test_an_enhancer_learns_through_pea_diffusions_adapter(few, tmp_path):
    folder = families.build_pea(tmp_path / "model")
    model = models.load(f"pea-diffusion:{folder}", device="cpu", dtype="float32", size=32)
    assert _gradient(*_run(model, few)).abs().sum() > 0
