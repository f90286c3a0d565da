"""What is wrong with a model folder is said in one line with code 2, and nothing is left half-written."""

import json
import pickle
import shutil
import sys

import families
import numpy as np
import pytest
from PIL import Image

import interp
from interp.cli.main import main
from interp.models.records import Verbatim
from interp.models.show_o2 import model as show_o2


@pytest.fixture(scope="module")
def sd1(tmp_path_factory):
    return families.build_sd1(tmp_path_factory.mktemp("sd1") / "model")


@pytest.fixture(scope="module")
def alt(tmp_path_factory):
    return families.build_alt_diffusion(tmp_path_factory.mktemp("alt") / "model")


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


class Evil:
    def __reduce__(self):
        return (print, ("it ran",))


BROKEN = {
    "no unet": (lambda f: shutil.rmtree(f / "unet"), "unet"),
    "no index": (lambda f: (f / "model_index.json").unlink(), "model_index.json"),
    "index is no JSON": (lambda f: (f / "model_index.json").write_text("{"), "model_index.json"),
    "unknown pipeline": (lambda f: rewrite(f / "model_index.json", _class_name="NoPipeline"), "NoPipeline"),
    "wrong architecture": (
        lambda f: rewrite(f / "text_encoder" / "config.json", architectures=["BertModel"]),
        "wrong architecture",
    ),
    "cut weights": (lambda f: cut(f / "unet" / "diffusion_pytorch_model.safetensors"), "diffusion_pytorch_model"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer"),
    "unknown scheduler": (
        lambda f: rewrite(f / "scheduler" / "scheduler_config.json", _class_name="NoScheduler"),
        "NoScheduler",
    ),
}


def run(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["interp", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, capsys.readouterr()


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_line_and_code_2(case, sd1, tmp_path, monkeypatch, capsys):
    harm, said = BROKEN[case]
    folder = shutil.copytree(sd1, tmp_path / "model")
    harm(folder)
    monkeypatch.chdir(tmp_path)
    code, streams = run(["layers", "--model", str(folder)], monkeypatch, capsys)
    last = streams.err.strip().splitlines()[-1]
    assert code == 2 and last.startswith("interp: ") and said in last
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_pickle_that_would_run_code_is_refused_and_not_run(alt, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(alt, tmp_path / "model")
    (folder / "text_encoder" / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(), 2))
    code, streams = run(["layers", "--model", str(folder)], monkeypatch, capsys)
    assert code == 2 and "print" in streams.err.strip().splitlines()[-1]
    assert "it ran" not in streams.out


def test_an_sae_of_other_weights_is_refused(alt, tiny_sae, small_bench):
    model = interp.load(str(alt), size=32)
    with pytest.raises(interp.InterpError, match="another model"):
        interp.find_neurons(model, replaced(tiny_sae), small_bench, progress=False)


def replaced(sae):
    """The SAE as if of a model with other weights."""
    from dataclasses import replace

    return replace(sae, ref=replace(sae.ref, encoder_digest="0" * 64))


@pytest.mark.parametrize("name", ["pea-diffusion:nowhere", "pea-diffusion:", "show-o2:nowhere", "no-such:thing"])
def test_a_prefix_without_its_folder(name, monkeypatch, capsys):
    code, streams = run(["doctor", name], monkeypatch, capsys)
    last = streams.err.strip().splitlines()[-1]
    assert code == 2 and name.split(":")[0] in last


STANDIN = """
import sys
sys.path.insert(0, {folder!r})
from worker import serve, take_pipes
pipes = take_pipes()
from PIL import Image

def draw(prompt, seed, steps, guidance):
    return Image.new("RGB", (16, 16), (len(prompt) % 256, seed % 256, steps or 0))

serve(draw, pipes, "stand-in", {{"python": "3"}})
"""


def test_show_o2_is_a_baseline(tmp_path, monkeypatch):
    """The adapter over the real process and protocol, with a drawer that needs no weights."""
    worker = tmp_path / "standin.py"
    worker.write_text(STANDIN.format(folder=str(show_o2.WORKER.parent)))
    monkeypatch.setattr(show_o2, "WORKER", worker)
    repository = tmp_path / "show-o2"
    (repository / "configs").mkdir(parents=True)
    (repository / "configs" / "showo2_7b_demo_432x432.yaml").write_text("")
    (repository / "Wan2.1_VAE.pth").write_bytes(b"")
    (repository / "models").mkdir()
    (repository / "models" / "modeling_showo2_qwen2_5.py").write_text("")
    settings = {"python": sys.executable, "repository": "show-o2"}
    (tmp_path / "show_o2.json").write_text(json.dumps(settings))
    model = interp.load(f"show-o2:{tmp_path}")
    try:
        assert isinstance(interp.encode(model, ["a", "bb"]), Verbatim)
        pictures = interp.generate(model, ["a", "bb"], seeds=[3, 4], steps=2, progress=False)
        want = [[Image.new("RGB", (16, 16), (len(p), s, 2)) for s in (3, 4)] for p in ("a", "bb")]
        assert np.array_equal(pictures, np.array([[np.asarray(x) for x in row] for row in want]))
        with pytest.raises(interp.InterpError, match="baseline only"):
            interp.find_layers(model, interp.benchmark("pocket"))
    finally:
        model.process.close()
    (tmp_path / "show_o2.json").write_text(json.dumps(settings | {"pyhton": "x"}))
    with pytest.raises(interp.InterpError, match="pyhton"):
        interp.load(f"show-o2:{tmp_path}")
