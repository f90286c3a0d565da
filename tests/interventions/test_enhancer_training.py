"""Training and Enhance: the identity at the start, the losses against plain code, resuming, controls."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

import interp
from interp import InterpError, store
from interp.activations import capture
from interp.interventions import denoising, enhancer, enhancer_steps, enhancer_training
from interp.interventions.edits import Amplify, Enhance, Mask, Plan
from interp.interventions.enhancer import EnhancerNet
from interp.interventions.enhancer_steps import EnhancerSettings
from interp.interventions.enhancer_training import train_enhancer
from interp.types import Site

FAST = EnhancerSettings(width=8, steps=6, batch=2, rate=1e-2, checkpoint=2)
SITE = Site(1, "resid")


@pytest.fixture(scope="module")
def trained(tiny_model, small_bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("enhancer") / "one"
    return train_enhancer(tiny_model, small_bench, 1, settings=FAST, folder=folder, progress=False)


def _encoded(model, plan, texts=("un bâtiment", "ein Haus")):
    return interp.encode(model, list(texts), plan).embeds


def test_before_training_it_is_the_identity(tiny_model, tmp_path):
    net = EnhancerNet(tiny_model.spec("text_encoder").d_model, 8)
    h = torch.randn(3, 5, net.down.in_features)
    assert torch.equal(net(h), h)
    ref = enhancer.write(tmp_path, net, SITE, tiny_model.encoder_digest)
    assert torch.equal(_encoded(tiny_model, Enhance(ref)), _encoded(tiny_model, None))


def test_the_module_is_equation_10(tmp_path):
    net = EnhancerNet(6, 4, seed=3)
    torch.nn.init.normal_(net.norm.weight), torch.nn.init.normal_(net.norm.bias)
    h = torch.randn(2, 6, dtype=torch.float64)
    weights = {k: v.double() for k, v in net.state_dict().items()}
    x = h @ weights["down.weight"].T + weights["down.bias"]
    x = 0.5 * x * (1 + torch.erf(x / 2**0.5)) @ weights["up.weight"].T + weights["up.bias"]
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = h + x * weights["norm.weight"] + weights["norm.bias"]
    assert torch.allclose(net(h.float()).double(), expected, atol=1e-5)


@pytest.mark.parametrize("loss", enhancer_steps.LOSSES)
def test_each_loss_by_plain_hooks(loss, tiny_model, small_bench, tmp_path):
    """Against one pass with a forward hook and the formulas written out."""
    if loss == "perceptual":
        tiny_model = _resized(tiny_model, 64)
    by = enhancer_steps.objective(tiny_model, small_bench, SITE, replace(FAST, loss=loss))
    net = enhancer_steps.begin(by).net
    torch.nn.init.normal_(net.norm.weight, generator=torch.Generator().manual_seed(0))
    samples = list(small_bench.samples("train")[:2])
    t = torch.tensor([100, 700])
    clean = torch.cat([enhancer_steps.clean_latents(by, s) for s in samples])
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    found = enhancer_steps.batch_loss(by, net, [(s, s) for s in samples], clean, noise, t)

    pipe = tiny_model.pipeline
    encoder = tiny_model.encoders["text_encoder"]
    block = encoder.module.roberta.encoder.layer[1]
    tokens = encoder.tokenise([s.native.noun_only.text for s in samples])
    real = tokens.mask.bool()[..., None]
    handle = block.register_forward_hook(
        lambda _, __, out: (
            (torch.where(real, net(out[0]), out[0]), *out[1:])
            if isinstance(out, tuple)
            else torch.where(real, net(out), out)
        )
    )
    with torch.no_grad():
        embeds = encoder.module(input_ids=tokens.ids, attention_mask=tokens.mask).projection_state
    handle.remove()
    alpha = pipe.scheduler.alphas_cumprod[t].reshape(-1, 1, 1, 1)
    noisy = DDPMScheduler.from_config(pipe.scheduler.config).add_noise(clean, noise, t)
    with torch.no_grad():
        said = pipe.unet(noisy, t, embeds, return_dict=False)[0]
    kind = pipe.scheduler.config.prediction_type
    x0 = (noisy - (1 - alpha).sqrt() * said) / alpha.sqrt() if kind == "epsilon" else None
    assert kind == "epsilon"
    wanted = torch.stack([
        torch.from_numpy(np.array(small_bench.image(s).resize((by.side,) * 2)) / 127.5 - 1).permute(2, 0, 1).float()
        for s in samples
    ])  # fmt: skip
    if loss == "noise":
        expected = ((said - noise) ** 2).mean()
    elif loss == "latent":
        expected = ((x0 - clean) ** 2).mean()
    else:
        with torch.no_grad():
            drawn = pipe.vae.decode(x0 / pipe.vae.config.scaling_factor, return_dict=False)[0]
        own = torch.cat([enhancer_steps.pixels(by, s) for s in samples])
        assert loss == "pixel" or torch.allclose(own, wanted, atol=0.02)
        expected = ((drawn - own) ** 2).mean() if loss == "pixel" else by.lpips(drawn, own).mean()
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-4)
    found.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def _resized(model, size):
    import copy

    other = copy.copy(model)
    other.size = size
    return other


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_clean_picture_is_found_from_a_perfect_prediction(kind):
    diffusion = denoising.NoiseSchedule(torch.linspace(0.99, 0.01, 50), kind)
    clean, noise, t = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3), torch.tensor([0, 10, 30, 45])
    noisy = diffusion.noised(clean, noise, t)
    assert torch.allclose(diffusion.clean(diffusion.target(clean, noise, t), noisy, t), clean, atol=1e-4)


def test_nothing_but_the_enhancer_learns(tiny_model, trained, small_bench, tmp_path):
    before = {k: v.clone() for k, v in tiny_model.pipeline.unet.state_dict().items()}
    text = {k: v.clone() for k, v in tiny_model.encoders["text_encoder"].module.state_dict().items()}
    again = train_enhancer(tiny_model, small_bench, 1, settings=FAST, folder=tmp_path / "two", progress=False)
    assert again.digest == trained.digest, "the same seed gives the same enhancer"
    assert all(torch.equal(v, before[k]) for k, v in tiny_model.pipeline.unet.state_dict().items())
    assert all(torch.equal(v, text[k]) for k, v in tiny_model.encoders["text_encoder"].module.state_dict().items())
    assert not torch.equal(_encoded(tiny_model, Enhance(trained)), _encoded(tiny_model, None))
    other = train_enhancer(
        tiny_model, small_bench, 1, settings=replace(FAST, seed=1), folder=tmp_path / "three", progress=False
    )
    assert other.digest != trained.digest


def test_it_learns(tiny_model, small_bench, tmp_path):
    """On two samples, the loss of a fixed draw falls."""
    settings = replace(FAST, steps=40, loss="latent", batch=4)
    by = enhancer_steps.objective(tiny_model, small_bench, SITE, settings)
    by, state = replace(by, pairs=by.pairs[:2]), enhancer_steps.begin(by)
    clean = torch.cat([enhancer_steps.clean_latents(by, s) for s, _ in by.pairs])
    noise, t = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5)), torch.tensor([500, 800])
    first = float(enhancer_steps.batch_loss(by, state.net, by.pairs, clean, noise, t).detach())
    for number in range(settings.steps):
        enhancer_steps.step(by, state, number)
    assert float(enhancer_steps.batch_loss(by, state.net, by.pairs, clean, noise, t).detach()) < 0.999 * first


def test_a_killed_run_goes_on_to_the_same_result(tiny_model, small_bench, trained, tmp_path, monkeypatch):
    folder, step, done = tmp_path / "killed", enhancer_training.step, []

    def dying(by, state, number):
        if number == 5:
            raise KeyboardInterrupt
        done.append(number)
        return step(by, state, number)

    monkeypatch.setattr(enhancer_training, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        train_enhancer(tiny_model, small_bench, 1, settings=FAST, folder=folder, progress=False)
    monkeypatch.setattr(enhancer_training, "step", step)
    assert done == [0, 1, 2, 3, 4] and (folder / enhancer_training.STATE).is_file()
    with pytest.raises(InterpError, match="another settings"):
        train_enhancer(tiny_model, small_bench, 1, settings=replace(FAST, rate=1), folder=folder, progress=False)
    back = train_enhancer(tiny_model, small_bench, 1, settings=FAST, folder=folder, progress=False)
    assert back.digest == trained.digest
    assert json.loads((folder / "losses.json").read_text())["steps"] == 6
    assert not (folder / enhancer_training.STATE).exists()
    same = train_enhancer(tiny_model, small_bench, 1, settings=FAST, folder=folder, progress=False)
    assert same == back, "a finished run is read, not repeated"


def test_a_kill_at_any_write_goes_on_to_the_same_result(tiny_model, small_bench, tmp_path, monkeypatch):
    """Stopped at each file that appears in its place: two files that had to fit each other did not, once."""
    settings = replace(FAST, steps=2, checkpoint=1)
    given = {"settings": settings, "progress": False}
    whole, move, seen = tmp_path / "whole", Path.replace, []
    monkeypatch.setattr(Path, "replace", lambda self, to: seen.append(Path(to).name) or move(self, to))
    wanted = train_enhancer(tiny_model, small_bench, 1, folder=whole, **given)
    assert seen.count(enhancer_training.STATE) == 2 and seen[-1] == enhancer.CONFIG
    for point in range(len(seen)):
        left = [point]

        def stopping(self, to, left=left):
            left[0] -= 1
            if left[0] == -1:
                raise KeyboardInterrupt
            return move(self, to)

        folder = tmp_path / f"cut{point}"
        monkeypatch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_enhancer(tiny_model, small_bench, 1, folder=folder, **given)
        monkeypatch.setattr(Path, "replace", move)
        assert train_enhancer(tiny_model, small_bench, 1, folder=folder, **given).digest == wanted.digest, point
        assert {p.name for p in folder.iterdir()} == {p.name for p in whole.iterdir()}


def test_a_strangers_folder_is_not_trained_into(tiny_model, small_bench, tmp_path):
    for name in ("thesis.tex", "README.md", "losses.json", "manifest.json"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("years")
        with pytest.raises(InterpError, match=f"holds {name}, which is no part of an enhancer"):
            train_enhancer(tiny_model, small_bench, 1, settings=FAST, folder=folder, progress=False)
        assert [p.name for p in folder.iterdir()] == [name] and (folder / name).read_text() == "years"


def test_it_is_an_intervention_like_any_other(tiny_model, tiny_m9, tiny_neurons, trained):
    enhance = Enhance(trained.path)
    assert enhance == Enhance(trained) and repr(enhance) == "Enhance(one)"
    culture = next(iter(tiny_neurons.sets))
    plan = enhance + Mask(tiny_neurons[culture]) + Amplify(tiny_neurons[culture], 2)
    assert Plan.from_json(plan.to_json()) == plan
    both = _encoded(tiny_model, plan)
    assert not torch.equal(both, _encoded(tiny_model, enhance))
    texts = ["un bâtiment", "ein Haus"]
    one = interp.encode(tiny_model, texts, [enhance, None]).embeds
    assert torch.allclose(one[0], _encoded(tiny_model, enhance)[0], atol=1e-6)
    assert torch.equal(one[1], _encoded(tiny_model, None)[1])
    with pytest.raises(InterpError, match="trained for another model"):
        interp.encode(tiny_m9, texts, enhance)
    tokens = tiny_model.encoders["text_encoder"].tokenise(texts)
    states = capture.forward(tiny_model, tokens, [SITE], Plan.of(enhance).edits(tiny_model.encoder_digest))
    plain = capture.forward(tiny_model, tokens, [SITE]).features[SITE]
    expected = torch.where(tokens.mask.bool()[..., None], enhancer.resolve(trained)(plain), plain)
    assert torch.allclose(states.features[SITE], expected, atol=1e-6)


def test_shuffled_references_are_of_another_culture(small_bench):
    samples = small_bench.samples("train")
    shown = enhancer_steps.references(samples, replace(FAST, references="shuffled"))
    assert all(a.culture != b.culture for a, b in zip(samples, shown, strict=True))
    assert enhancer_steps.references(samples, FAST) == list(samples)


def test_an_enhancer_and_its_controls_are_trained_alike(tiny_model, small_bench, tmp_path):
    made = enhancer_training.train_enhancers(tiny_model, small_bench, 1, settings=FAST, folder=tmp_path, progress=False)
    assert list(made) == ["culture_layer", "random_layer", "shuffled"]
    assert made["culture_layer"].site == made["shuffled"].site == SITE != made["random_layer"].site
    trained_on = {n: json.loads((tmp_path / n / "manifest.json").read_text())["config"]["settings"] for n in made}
    assert trained_on["random_layer"] == trained_on["culture_layer"]
    assert trained_on["shuffled"] == {**trained_on["culture_layer"], "references": "shuffled"}
    assert len({ref.digest for ref in made.values()}) == 3
    cards = {n: (tmp_path / n / "README.md").read_text(encoding="utf-8") for n in made}
    assert "`text_encoder.1.resid`" in cards["culture_layer"] and "6 steps of" in cards["culture_layer"]
    assert {n for n, text in cards.items() if "pictures of other cultures" in text} == {"shuffled"}
    drawn = {enhancer_training.another_layer(1, 2, seed) for seed in range(20)}
    assert drawn == {0, 2}
    with pytest.raises(InterpError, match="the only one that reaches the image"):
        enhancer_training.another_layer(0, 0, 0)


def test_bad_input_is_named(tiny_model, small_bench, trained, tmp_path):
    given = {"settings": FAST, "folder": tmp_path / "x", "progress": False}
    with pytest.raises(InterpError, match="batch=0: give a whole number of at least 1"):
        EnhancerSettings(batch=0)
    with pytest.raises(InterpError, match="layer 99"):
        train_enhancer(tiny_model, small_bench, 99, **given)
    with pytest.raises(InterpError, match="cannot be edited"):
        train_enhancer(tiny_model, small_bench, 1, "edge", **given)
    with pytest.raises(InterpError, match="no recipe that names a layer"):
        train_enhancer(tiny_model, small_bench, **given)
    with pytest.raises(InterpError, match="no enhancer at"):
        Enhance(tmp_path / "none")
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in (enhancer.CONFIG, enhancer.WEIGHTS):
        (folder / name).write_bytes((enhancer.Path(trained.path) / name).read_bytes())
    (folder / enhancer.WEIGHTS).write_bytes(b"x" * 100)
    with pytest.raises(InterpError, match="has changed"):
        Enhance(folder)


def test_the_card_shows_names_as_text():
    manifest = store.new_manifest("x", config={"site": "a`b`\n# c"}, model_digest="0" * 64)
    told = enhancer_training.card(manifest, EnhancerSettings(), "m`](javascript:x)\n# d", "b\n<script>", [1.0])
    assert [line for line in told.splitlines() if line.startswith("#")] == ["# Layer enhancer"]
    assert "``a`b` # c``" in told and "``m`](javascript:x) # d``" in told and "`b <script>`" in told
