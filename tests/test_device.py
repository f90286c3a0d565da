"""Everything on a GPU that is not there (`pretend_gpu`): what two devices mix raises, and every number is the CPU's."""

import json
import threading
from dataclasses import replace

import families
import numpy as np
import pretend_gpu
import pytest
import tiny
import torch
from campaign import some
from families import BUILDERS, PREFIX
from torch import nn

import interp
from interp import InterpError
from interp.activations import capture, probe
from interp.experiments import effects, setup
from interp.experiments.setup import Setup
from interp.interventions import edits, enhancer_steps, generate
from interp.latents import sae
from interp.metrics import pocket_clip, registry
from interp.metrics.judges import pocket
from interp.models import placement

CULTURES = ("China", "Germany")
SETTINGS = {"steps": 6, "batch": 64, "d_sae": 64, "k": 8}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path_factory.getbasetemp() / "device-cache"))


@pytest.fixture
def gpu():
    with pretend_gpu.there() as device:
        yield device


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return tiny.bench(tmp_path_factory.mktemp("few") / "bench", CULTURES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return families.build_alt_diffusion(tmp_path_factory.mktemp("device") / "m18")


@pytest.fixture(scope="module")
def here(folder):
    """On the CPU; pictures of 64 pixels, as the pocket judge knows them."""
    return interp.load(str(folder), device="cpu", size=64)


@pytest.fixture(scope="module")
def there(folder):
    """The same on the GPU; loading has passed the certificate."""
    with pretend_gpu.there():
        return interp.load(str(folder), device="cuda", dtype="float32", size=64)


# ----------------------------------------------------------------------------------------------------- the tripwire


@pytest.mark.parametrize(
    "mix",
    [
        lambda x, y: x + y,
        lambda x, y: y.mul_(x),
        lambda x, y: torch.cat([x, y]),
        lambda x, y: y @ x,
        lambda x, y: torch.where(x > 0, y, 0.0),
        lambda x, y: y[x.long()],
        lambda x, y: nn.functional.embedding(x.long(), y[:, None]),
        lambda x, y: torch.equal(x, y),
        lambda x, y: x.index_put_((torch.tensor([0]),), y[:1]),
        lambda x, y: nn.Linear(2, 2)(x),
        lambda x, y: torch.randn(2, generator=torch.Generator(), device="cuda"),
        lambda x, y: x.normal_(generator=torch.Generator()),
        lambda x, y: torch.histogram(x, 2),
        lambda x, y: setattr(nn.Parameter(x), "data", y),
    ],
)
def test_it_refuses_what_a_gpu_refuses(mix, gpu):
    x, y = torch.ones(2, device="cuda"), torch.ones(2)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"same device|generator|kernel"):
        mix(x, y)
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(x)
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()


def test_it_allows_what_a_gpu_allows(gpu):
    x, y = torch.arange(3.0).to("cuda"), torch.arange(3.0)
    assert (x + torch.tensor(1.0)).device == x.device == x[torch.tensor([0])].device == gpu
    x[torch.tensor([True, False, False])] = 5
    x[1:] = y[:2]  # a copy
    assert x.tolist() == [5, 0, 1] and float(x.sum()) == 6 and x.cpu().numpy().tolist() == [5, 0, 1]
    assert torch.empty(0).to(x).device == gpu and x.to(y).device.type == x.new_zeros(1, device="cpu").device.type
    w = nn.Parameter(torch.zeros(2, device="cuda"))
    w.data = torch.ones(2, device="cuda")
    assert w.tolist() == (w + 0).tolist() == [1, 1]
    assert x.to("cuda") is x and x.float() is x and x.add_(1) is x


def test_it_differentiates_there_and_across(gpu):
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    plain = net(torch.ones(3)).square().sum()
    plain.backward()
    wanted = {name: p.grad.clone() for name, p in net.named_parameters()}
    moved = nn.Linear(3, 2).to("cuda")
    moved.load_state_dict(net.state_dict())
    given = torch.ones(3, requires_grad=True)
    (moved(given.to("cuda")).square().sum().cpu() * 1.0).backward()
    assert all(torch.equal(p.grad.cpu(), wanted[name]) for name, p in moved.named_parameters())
    assert given.grad.device.type == "cpu" and moved.weight.grad.device == gpu


def test_it_is_there_in_every_thread_and_then_gone(gpu):
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.zeros(1, device="cuda").device))
    thread.start()
    thread.join()
    assert found == [gpu]


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without a GPU says")
def test_without_it_there_is_no_gpu():
    with pretend_gpu.there():
        assert torch.cuda.is_available()
    assert not torch.cuda.is_available()
    with pytest.raises(InterpError, match="torch sees 0 GPUs"):
        placement.resolve_device("cuda")


# ------------------------------------------------------------------------------------------------ judges and metrics


def pictures(number=3, side=64):
    return list(np.random.default_rng(0).integers(0, 256, (number, side, side, 3), dtype=np.uint8))


def test_the_pocket_judge_answers_from_the_gpu(gpu):
    there, here = pocket.load_judge(device="cuda"), pocket.load_judge()
    assert there.device == gpu and here.device.type == "cpu"
    assert there is pocket.load_judge(device="cuda:0") and here is pocket.load_judge(device=torch.device("cpu"))
    found, wanted = there(pictures()), here(pictures())
    assert np.array_equal(found.culture_probability, wanted.culture_probability)
    assert np.array_equal(found.noun_probability, wanted.noun_probability) and there.digest == here.digest


def held(measure):
    """Devices of the networks in a metric or a judge."""
    parts = [measure, *(getattr(measure, name, None) for name in ("judge", "tower", "net"))]
    nets = [n for p in parts for n in (p, getattr(p, "net", None)) if isinstance(n, nn.Module)]
    return {p.device.type for n in nets for p in n.parameters()}


def test_metrics_by_name_go_where_they_are_sent(few, gpu):
    names = [*registry.POCKET, "diversity"]
    there = registry.metrics(names, few, gpu)
    here = registry.metrics(names, few, "cpu")
    for a, b in zip(there, here, strict=True):
        assert held(a) == {"cuda"} and held(b) == {"cpu"} and a.digest == b.digest and a.name == b.name
        shown, samples = pictures(), [few.samples("test")[0]] * 3
        assert np.array_equal(a.measure(shown, samples).values, b.measure(shown, samples).values)
    assert held(registry.metric("lpips", few)) == {"cuda"}  # what is there
    assert held(registry.judge("pocket", CULTURES, "cuda")) == {"cuda"}
    assert held(registry.judge("pocket", CULTURES, "cpu")) == held(setup.default_judge(few, "cpu")) == {"cpu"}


@pytest.mark.parametrize("ask", [registry.metric, lambda name, bench, device: setup.default_judge(bench, device)])
def test_a_device_that_is_not_there_is_named(ask, few):
    with pytest.raises(InterpError, match=r"device 'cuda:3': torch sees \d GPUs"):
        ask("lpips", few, "cuda:3")


# ------------------------------------------------------------------------------------------------------- the method


def test_the_certificate_has_the_same_figures(here, there):
    assert there.device == there.encoder("text_encoder").device == pretend_gpu.GPU
    assert there.certificate == here.certificate


def learnt(model, few, folder):
    """SAE and neurons."""
    settings = interp.SaeSettings(**SETTINGS)
    made = interp.train_sae(model, few, 1, "resid", settings=settings, folder=folder, progress=False)
    return made, interp.find_neurons(model, made, few, interp.Rule(k=4, tau=None), progress=False)


@pytest.fixture(scope="module")
def neurons(here, few, tmp_path_factory):
    """From the CPU."""
    return learnt(here, few, tmp_path_factory.mktemp("sae"))[1]


def test_layers_sae_and_neurons_are_those_of_the_cpu(here, there, neurons, few, tmp_path, gpu):
    asked = {"per_culture": 2, "progress": False}
    found, wanted = (interp.find_layers(model, few, **asked) for model in (there, here))
    np.testing.assert_allclose(found.delta_ca, wanted.delta_ca, atol=1e-6)
    made, found = learnt(there, few, tmp_path)
    own = sae.resolve(neurons.sae)
    manifest = json.loads((tmp_path / "layer_01" / sae.MANIFEST).read_text())
    assert manifest["run"]["device"] == "cuda:0" and own.W_enc.device.type == "cpu"
    assert made.ref.digest == own.ref.digest and all(found[c].indices == neurons[c].indices for c in CULTURES)
    again = interp.find_neurons(there, own, few, interp.Rule(k=4, tau=None), progress=False)
    assert again.sets == neurons.sets and np.array_equal(again.frequency, neurons.frequency)


EDITS = {
    "mask": edits.Mask,
    "mean": lambda s: edits.Mask(s, "mean"),
    "amplify": lambda s: edits.Amplify(s, 5),
    "relu": lambda s: edits.Amplify(s, 5, "relu"),
    "steer": lambda s: edits.Steer(s, 5, "content"),
    "both": lambda s: edits.Mask(s) + edits.Steer(s, 5),
}


@pytest.mark.parametrize("name", EDITS)
def test_edits_are_those_of_the_cpu(name, here, there, neurons, few, gpu):
    """Also of plans that differ from row to row."""
    prompts = [p.culture_style.text for p in few.pairs("detection", "native", ["China"])[:2]]
    plans = [EDITS[name](neurons["China"]), None]
    found, wanted = (generate.encode(model, prompts, plans) for model in (there, here))
    plain = generate.encode(here, prompts)
    assert torch.equal(found.embeds, wanted.embeds) and not torch.equal(wanted.embeds[0], plain.embeds[0])
    assert torch.equal(wanted.embeds[1], plain.embeds[1])
    with generate.edited(there, plans[0]) as copy:
        tokens = there.encoder("text_encoder").tokenise(prompts)
        with copy.trace(**there.encoder("text_encoder").inputs(tokens)):
            states = copy.output.projection_state.save()
    assert states.device == there.device and torch.equal(states.cpu()[0], wanted.embeds[0])


def test_the_probe_is_that_of_the_cpu(here, there, gpu):
    prompts, labels = ["a house", "ein Haus", "房子", "ev"], ["a", "b", "a", "b"]
    tokens = [capture.tokenise(model, prompts) for model in (there, here)]
    given = [capture.condition(m, t) for m, t in zip((there, here), tokens, strict=True)]
    assert given[0].embeds.device == there.device
    found, wanted = (probe.fit(c, labels).probabilities(c) for c in given)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.array_equal(probe.shift(given[0], given[0]), probe.shift(given[1], given[1]))


def test_an_experiment_is_that_of_the_cpu(here, there, neurons, few, gpu):
    """Pictures, judge and metrics where the model is, and no answer of the other kept."""
    found = []
    for n, model in enumerate((here, there)):
        options = {"model": model, "bench": few, "per_culture": 1, "steps": 1, "progress": False}
        shared = replace(Setup.of(**options, metrics=registry.POCKET), cache=None)
        assert held(shared.judge) == {("cpu", "cuda")[n]} and all(held(m) == held(shared.judge) for m in shared.metrics)
        found.append(effects.intervene(shared, neurons, edits.Mask, "masked", "culture_style", 1))
    for arm in ("baseline", "masked", "random"):
        a, b = found[1].arms[arm], found[0].arms[arm]
        assert a.answer == b.answer and a.scores.keys() == b.scores.keys() == {m.name for m in shared.metrics}
        assert all(np.array_equal(a.scores[m], b.scores[m], equal_nan=True) for m in a.scores)
    assert found[0].set_shift == found[1].set_shift and found[0].set_shift["treatment"][0] > 0


@pytest.mark.parametrize(
    ("loss", "checkpointing"), some([("perceptual", True), ("pixel", False), ("latent", True), ("noise", False)], 1)
)
def test_the_enhancer_learns_there(loss, checkpointing, here, there, few, tmp_path, gpu):
    """In mixed precision too, though the pretended GPU computes in float32 all the same."""
    how = interp.EnhancerSettings(width=8, loss=loss, steps=2, checkpoint=1, gradient_checkpointing=checkpointing)
    refs = [
        interp.train_enhancer(model, few, 1, settings=how, folder=tmp_path / str(n), progress=False)
        for n, model in enumerate((here, there))
    ]
    losses = [json.loads((tmp_path / str(n) / "losses.json").read_text())["mean_by_part"] for n in range(2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    found, wanted = (generate.encode(model, ["a house"], interp.Enhance(refs[1])) for model in (there, here))
    assert torch.equal(found.embeds, wanted.embeds)


@pytest.mark.parametrize("offload", some(["model", "sequential"], 1))
def test_offload(offload, folder, here, neurons, gpu):
    """The certificate holds, edits act, and a picture is the CPU's, while weights rest in main memory."""
    model = interp.load(str(folder), device="cuda", dtype="float32", offload=offload, size=64)
    assert model.device == model.encoder("text_encoder").device == gpu
    assert all(p.device.type != "cuda" for p in model.encoder("text_encoder").module.parameters())
    edit = edits.Mask(neurons["China"])
    found, wanted = (interp.generate(m, ["房子"], edit, steps=1, progress=False) for m in (model, here))
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("family", some(["pea_diffusion", "pixart"], 1))
def test_families(family, few, tmp_path, gpu):
    """A T5; two CLIPs and an adapter before the denoiser: certificate, SAE, neurons, an edit and a picture."""
    place = BUILDERS[family](tmp_path / "model")
    model = interp.load(PREFIX.get(family, "") + str(place), device="cuda", dtype="float32", size=32)
    name = sorted(model.encoders)[-1]
    settings = interp.SaeSettings(**SETTINGS)
    made = interp.train_sae(model, few, 1, "z", name, settings, tmp_path / "sae", progress=False)
    neurons = interp.find_neurons(model, made, few, interp.Rule(k=4, tau=None), progress=False)
    assert model.device == gpu
    edit = edits.Steer(neurons["China"], 50)
    plain, moved = (interp.generate(model, ["房子"], e, steps=1, progress=False) for e in (None, edit))
    assert plain.shape == (1, 1, 32, 32, 3) and not np.array_equal(plain, moved)


# ------------------------------------------------------------------------------ code that mixes devices is caught here


def resolved_on_the_cpu(ref, device="cpu", of=sae.resolve):
    return of(ref, "cpu")


def judge_with_pixels_on_the_cpu(judge, shown, items=()):
    return judge.net(torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float())


def captions_on_the_cpu(net, said):
    rows = torch.tensor(pocket_clip.grams(said[0]))
    return net.text(rows, torch.tensor([0]))


MUTATIONS = {
    "edit": (edits.saes, "resolve", resolved_on_the_cpu),
    "judge": (pocket.PocketJudge, "__call__", judge_with_pixels_on_the_cpu),
    "tower": (pocket_clip.PocketClipNet, "read", captions_on_the_cpu),
    "score": (pocket_clip.PocketClip, "images", lambda clip, shown: clip.net.picture(torch.zeros(1, 3, 64, 64))),
    "enhancer": (enhancer_steps, "pixels", lambda by, sample: torch.zeros(1, 3, 64, 64)),
}


@pytest.mark.parametrize("use", MUTATIONS)
def test_a_mutation_is_caught(use, there, neurons, few, tmp_path, monkeypatch, gpu):
    how = interp.EnhancerSettings(width=8, steps=1)
    samples = few.samples("test")[:1]
    uses = {
        "edit": lambda: generate.encode(there, ["房子"], edits.Mask(neurons["China"])),
        "judge": lambda: pocket.load_judge(device="cuda")(pictures()),
        "tower": lambda: pocket_clip.load_pocket_clip(device="cuda").texts(["кіт"]),
        "score": lambda: registry.metric("clipscore:pocket-clip", few, gpu).measure(pictures(1), samples),
        "enhancer": lambda: interp.train_enhancer(there, few, 1, settings=how, folder=tmp_path, progress=False),
    }
    uses[use]()
    monkeypatch.setattr(*MUTATIONS[use])
    folder = tmp_path / "broken"
    uses["enhancer"] = lambda: interp.train_enhancer(there, few, 1, settings=how, folder=folder, progress=False)
    with pytest.raises(RuntimeError, match="same device"):
        uses[use]()
