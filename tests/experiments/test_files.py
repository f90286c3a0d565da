"""`interp.save` and `interp.read`: every kind of value that a function returns comes back equal, or is refused."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from stand_ins import PixelJudge

import interp
from interp import store
from interp.errors import InterpError
from interp.experiments import codec, files
from interp.grids import Grid, Shots
from interp.interventions import enhancer
from interp.interventions.enhancer import EnhancerNet
from interp.types import (
    UNRECOGNISABLE,
    Density,
    Interval,
    JudgeErrors,
    Matrix,
    MeasureRow,
    SaeFigures,
    Site,
    Sweep,
    Variant,
)  # fmt: skip

SHARE = Interval(50.0, 25.5, float("nan"), 6, 1)
SITE = Site(1, "z")


def same(a, b) -> bool:
    """Equal to the bit, whatever holds it."""
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, np.ndarray):
        equal = np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and equal
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a.cpu(), b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def values(model, neurons, bench):
    """One value of every kind that functions return, by the name of the function."""
    judge = PixelJudge([*bench.cultures, UNRECOGNISABLE])
    options = {"model": model, "bench": bench, "judge": judge, "per_culture": 1, "progress": False}
    some = {**options, "cultures": ["Japan", "Italy"]}
    steered = interp.steer(neurons, "Japan", ["a house", "ev"], 8, model=model)
    density, matrix = Density((-6.0, -3.0, 0.0), (1, 2)), Matrix(("a",), ("a", "b"), np.array([[0.5, np.nan]]))
    return {
        "find_layers": interp.find_layers(model, bench, per_culture=2, progress=False),
        "ablate": interp.ablate(neurons, random_control=2, **some),
        "sweep": interp.sweep(neurons, (0, 2.5), split="train", **some),
        "off_target": interp.off_target(neurons, **some),
        "steer": steered,
        "grid": steered.grid(),
        "generate": interp.generate(model, ["a house"], steps=1, progress=False),
        "encode": interp.encode(model, ["a house", "ev"]),
        "plan": interp.Mask(neurons["Italy"]) + interp.Amplify(neurons["Japan"], 6),
        "several": (Sweep((0.0,), (SHARE,), (SHARE,), "amplify", "train"), [matrix, {"a": SHARE, 3: None}]),
        "figures": SaeFigures(SITE, 8, 32, 4, 0.5, 4.0, 0.25, density),
        "variant": Variant(SITE, "topk", "amplify", 6.0, SHARE, SHARE, SHARE, SHARE, literal=True, recipe=False),
        "row": MeasureRow("lpips", "LPIPS", "distance", "lower", {"woken": SHARE}),
        "judge": JudgeErrors(SHARE, matrix),
        "neurons": neurons,
        "set": neurons["Japan"],
        "intervention": interp.Steer(neurons["Japan"], 2.5),
        "shots": {3: Shots("Japan", 6.0, steered.grid(), steered.grid())},
    }


@pytest.fixture(scope="module")
def made(tiny_model, tiny_neurons, small_bench, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERP_CACHE", str(tmp_path_factory.mktemp("cache")))
        return values(tiny_model, tiny_neurons, small_bench)


def test_every_value_comes_back(made, tmp_path):
    for name, value in made.items():
        folder = interp.save(value, tmp_path / name)
        assert same(value, interp.read(folder)), name
        again = interp.save(value, tmp_path / name)
        assert same(value, interp.read(again)), f"{name}, saved over itself"


def test_saes_and_enhancers_come_back(tiny_sae, tmp_path):
    back = interp.read(interp.save(tiny_sae, tmp_path / "sae"))
    assert back.ref.digest == tiny_sae.ref.digest and torch.equal(back.W_enc, tiny_sae.W_enc)
    (tmp_path / "net").mkdir()
    torch.manual_seed(0)
    ref = enhancer.write(tmp_path / "net", EnhancerNet(8, 4), SITE, "0" * 64)
    back = interp.read(interp.save(ref, tmp_path / "copy"))
    assert dataclasses.replace(back, path=ref.path) == ref


def test_images_are_png_and_tensors_safetensors(made, tmp_path):
    interp.save(made["steer"], tmp_path / "steer")
    assert len(list((tmp_path / "steer" / codec.IMAGES).glob("*.png"))) == 4
    interp.save(made["encode"], tmp_path / "encode")
    assert [p.suffix for p in (tmp_path / "encode" / codec.TENSORS).iterdir()] == [".safetensors"]
    interp.save(made["generate"], tmp_path / "steer2")
    assert len(list((tmp_path / "steer2" / codec.IMAGES).glob("*.png"))) == 1


def test_what_an_earlier_value_left_goes(tiny_sae, tiny_neurons, made, tmp_path):
    both = (made["steer"].grid(), {"sae": tiny_sae, "neurons": tiny_neurons})
    folder = interp.save(both, tmp_path / "several")
    back = interp.read(folder)
    assert same(both[0], back[0]) and same(tiny_neurons, back[1]["neurons"])
    assert torch.equal(back[1]["sae"].W_enc, tiny_sae.W_enc)
    assert {p.name.split("-")[0] for p in (folder / codec.PARTS).iterdir()} == {"neurons", "loadedsae"}
    interp.save((SHARE, SHARE), folder)
    assert not [p for p in folder.rglob("*") if p.is_file() and p.name not in (files.FILE, store.MANIFEST)]
    assert same((SHARE, SHARE), interp.read(folder))


def test_what_others_put_beside_a_value_stays(tiny_sae, made, tmp_path):
    folder = interp.save((made["generate"], tiny_sae), tmp_path / "several")
    for place in (folder / "images" / "mine.png", folder / "parts" / "thesis" / "one.tex", folder / "tensors" / "x"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("years")
    (image,) = (p for p in (folder / "images").iterdir() if p.name != "mine.png")
    image.write_bytes(b"drawn over")
    (part,) = (p for p in (folder / "parts").iterdir() if p.name != "thesis")
    (part / "notes.txt").write_text("mine")
    interp.save((SHARE,), folder)
    there = {p.name for p in folder.rglob("*") if p.is_file()}
    assert {"mine.png", "one.tex", "x", image.name, "notes.txt"} <= there


@pytest.mark.parametrize("name", ["steer", "encode"])
def test_a_changed_file_beside_a_value_is_refused(name, made, tmp_path):
    folder = interp.save(made[name], tmp_path / name)
    for path in [p for p in folder.rglob("*") if p.suffix in (".png", ".safetensors")]:
        kept = path.read_bytes()
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(InterpError, match="has changed"):
            interp.read(folder)
        path.unlink()
        with pytest.raises(InterpError, match="is missing"):
            interp.read(folder)
        path.write_bytes(kept)
    assert same(made[name], interp.read(folder))


def test_files_outside_the_folder_are_never_read(made, tmp_path):
    folder = interp.save(made["generate"], tmp_path / "images")
    record = store.read_sealed(folder / files.FILE, "")
    (image,) = (folder / codec.IMAGES).iterdir()
    outside = shutil.copy(image, tmp_path / "outside.png")
    record["files"] = [["../outside.png", store.sha256_file(outside)]]
    store.write_sealed(folder / files.FILE, record)
    with pytest.raises(InterpError, match="outside"):
        interp.read(folder)
    store.write_sealed(folder / files.FILE, {"type": "tuple", "items": [record, {"type": "images", "files": [3, "x"]}]})
    interp.save(made["generate"], folder)
    assert (tmp_path / "outside.png").is_file(), "what a record names outside its folder is not removed either"


def test_what_is_no_value_is_refused_and_nothing_lost(made, tmp_path):
    for value in (object(), 3.5, "text", {"a": object()}, (made["generate"], object())):
        with pytest.raises(InterpError, match="kept"):
            interp.save(value, tmp_path / "value")
    assert not (tmp_path / "value").exists()
    folder = interp.save(made["sweep"], tmp_path / "sweep")
    with pytest.raises(InterpError, match="holds the results of sweep"):
        interp.save(made["ablate"], folder)
    assert same(made["sweep"], interp.read(folder))
    with pytest.raises(InterpError):
        interp.read(tmp_path / "nothing")
    assert isinstance(made["grid"], Grid)
