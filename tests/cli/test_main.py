"""cli and the public face: one clear line and exit code 2, light imports."""

import shutil
import subprocess
import sys

import pandas as pd
import pytest

from interp.cli import runs, studies
from interp.cli.main import main
from interp.errors import InterpError
from interp.experiments import inputs
from interp.latents import neurons


def run(arguments, monkeypatch, capsys):
    """(exit code, standard error) of a command."""
    monkeypatch.setattr(sys, "argv", ["interp", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["layers", "--model", "no/such/model"], "no/such/model: neither a folder"),
        (["layers", "--bench", "no/such/bench"], "no/such/bench"),
        (["report", "--size", "huge"], "size 'huge'; known: quick, sample, full"),
        (["sae", "--layer", "4", "--site", "q"], "site 'q'"),
        (["sae", "--layer", "40"], "layer 40"),
        (["ablate", "--neurons", "no/such/folder"], "no/such/folder"),
        (["doctor", "no/such/model"], "neither a folder"),
        (["measure", "--images", "no/such/folder"], "no folder of pictures"),
        (["measure", "--images", "reference", "--metrics", "fid"], "unknown metric 'fid'"),
        (["measure", "--images", "reference", "--metrics", "culture_vqa:gemini:x?price=cheap"], "price 'cheap'"),
        (["measure", "--images", "reference", "--metrics", "lpips:vgg"], "tools/lpips_weights.py"),
        (["compare", "a=x"], "at least two"),
        (["compare", "a", "b=y"], "write NAME=FOLDER"),
        (["draw", "--prompts", "poem"], "prompts 'poem'; known: noun"),
        (["report", "--judge", "oracle"], "unknown judge 'oracle'"),
        (["reproduce", "table9"], "no exhibit table9; known: all, fig3"),
        (["reproduce", "table1", "--size", "huge"], "size 'huge'; known: quick, sample, full"),
        (["reproduce", "table2", "--system", "other"], "write NAME=FOLDER"),
        (["bench", "stats", "no/such/bench"], "no/such/bench"),
        (["bench", "import", "imagenet", ".", "--out", "new"], "unknown source 'imagenet'"),
        (["bench", "import", "folder", ".", "--out", "new", "--place", "Tokyo"], "write A=B"),
        (["bench", "reliability", "pocket", "--judge", "openai:gpt"], "openai:<model>@<url>"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, said, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, error = run(arguments, monkeypatch, capsys)
    assert code == 2
    *bars, line = error.strip().splitlines()
    assert said in line
    assert line.startswith("interp: ")
    assert not [bar for bar in bars if bar and "/s" not in bar and "?" not in bar]
    assert not list(tmp_path.iterdir())


def test_an_sae_of_another_model_is_refused(tiny_sae, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, error = run(["neurons", "--sae", tiny_sae.ref.path], monkeypatch, capsys)
    assert code == 2
    assert "train one with train_sae" in error.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["steer", "Atlantis", "a house"], "Atlantis"),
        (["steer", "Italy", "a house", "--strength", "nan"], "strength=nan: give a finite number"),
        (["amplify", "--strength", "nan"], "strength=nan: give a finite number"),
        (["amplify", "--codes", "gelu"], "codes 'gelu'"),
        (["sweep", "--codes", "gelu"], "codes 'gelu'"),
        (["sweep", "--split", "detection"], "selected on split 'detection'"),
        (["sweep", "--intervention", "shake"], "'shake'"),
    ],
)
def test_bad_input_to_neurons_is_one_line_and_code_2(
    arguments, said, tiny_neurons, tiny_model, monkeypatch, capsys, tmp_path
):
    neurons.save(tiny_neurons, tmp_path / "neurons")
    monkeypatch.chdir(tmp_path)
    # as if the command had loaded the model that they are of
    monkeypatch.setattr(runs, "model_for", lambda neurons, model: tiny_model)
    code, error = run([arguments[0], "--neurons", "neurons", *arguments[1:]], monkeypatch, capsys)
    assert code == 2
    assert said in error.strip().splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["neurons"]


def test_neurons_do_not_decide_what_is_loaded(tiny_neurons, monkeypatch, capsys, tmp_path):
    """Their file names a folder; nothing there is opened unasked."""
    neurons.save(tiny_neurons, tmp_path / "neurons")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inputs, "load", lambda name, **_: pytest.fail(f"{name} was loaded"))
    code, error = run(["ablate", "--neurons", "neurons"], monkeypatch, capsys)
    assert code == 2 and "a file does not decide what is" in error and "--model" in error
    assert [p.name for p in tmp_path.iterdir()] == ["neurons"]


@pytest.mark.parametrize(
    "command", ["layers", "ablate", "report", "draw", "measure", "sweep", "steer", "neurons", "reproduce"]
)
def test_no_command_takes_a_strangers_folder(command, tiny_neurons, tiny_sae, monkeypatch, capsys, tmp_path):
    """Refused in one line before anything is loaded, and every file of it stays as it was."""
    neurons.save(tiny_neurons, tmp_path / "neurons")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("years")
    (tmp_path / "work" / "figure.png").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inputs, "load", lambda name, **_: pytest.fail(f"{name} was loaded"))
    needed = {
        "ablate": ["--neurons", "neurons"], "sweep": ["--neurons", "neurons"],
        "steer": ["Japan", "a house", "--neurons", "neurons"], "measure": ["--images", "reference"],
        "neurons": ["--sae", tiny_sae.ref.path], "reproduce": ["fig3"],
    }  # fmt: skip
    code, error = run([command, *needed.get(command, []), "--out", "work"], monkeypatch, capsys)
    assert code == 2 and "work holds" in error.strip().splitlines()[-1]
    assert (tmp_path / "work" / "thesis.tex").read_text() == "years"
    assert (tmp_path / "work" / "figure.png").read_text() == "mine"
    assert {p.name for p in (tmp_path / "work").iterdir()} == {"thesis.tex", "figure.png"}


def test_a_full_disk_or_an_unreadable_place_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for place in ("/proc/none/x", "/dev/null", "/dev/null/x", "x" * 300):
        code, error = run(["layers", "--out", place], monkeypatch, capsys)
        assert code == 2 and len(error.strip().splitlines()) == 1 and error.startswith("interp: "), place

    def full(*_, **__):
        raise OSError(28, "No space left on device", "/data/x")

    monkeypatch.setattr(studies, "_study", full)
    code, error = run(["report"], monkeypatch, capsys)
    assert (code, error) == (2, "interp: /data/x: No space left on device\n")


def test_a_span_outside_its_caption_is_refused(small_bench, monkeypatch, capsys, tmp_path):
    folder = shutil.copytree(small_bench.folder, tmp_path / "bench")
    rows = pd.read_parquet(folder / "samples.parquet")
    rows.at[3, "modifier_span"] = [2, 900]
    rows.to_parquet(folder / "samples.parquet")
    monkeypatch.chdir(tmp_path)
    code, error = run(["layers", "--bench", str(folder)], monkeypatch, capsys)
    assert code == 2
    assert "samples.parquet, row 4, field modifier_span" in error.strip().splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["bench"]


def test_doctor_speaks(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["interp", "doctor"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    assert "torch" in capsys.readouterr().out


def test_import_is_light():
    """`import interp` loads none of the heavy packages."""
    code = (
        "import sys, interp; heavy = {'torch', 'nnsight', 'sae_lens', 'diffusers', 'transformers', 'matplotlib'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_public_name_is_there():
    import interp

    for name in interp.__all__:
        assert getattr(interp, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'stear'"):
        _ = interp.stear
    assert issubclass(interp.InterpError, ValueError)
    assert interp.InterpError is InterpError


def test_a_folder_of_pictures_is_measured_and_compared(small_bench, tmp_path, monkeypatch, capsys):
    """From the command line, without any model."""
    for name, system in (("a", small_bench.samples("test")), ("b", small_bench.samples("test")[::-1])):
        (tmp_path / name).mkdir()
        for sample, shown in zip(small_bench.samples("test"), system, strict=True):
            shutil.copy(small_bench.folder / shown.image, tmp_path / name / f"{sample.id}.png")
    given = ["--bench", str(small_bench.folder), "--metrics", "culture_vqa:pocket,lpips,clipscore:pocket-clip"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["interp", "measure", "--images", "a", *given, "--out", "m"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "culture_vqa:pocket  100" in out and "0 [0, 0] distance" in out
    assert {p.name for p in (tmp_path / "m").iterdir()} >= {"measure.html", "value.json", "manifest.json", "figure.png"}
    monkeypatch.setattr(sys, "argv", ["interp", "compare", "own=a", "reversed=b", *given, "--out", "c"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    page = (tmp_path / "c" / "compare.html").read_text(encoding="utf-8")
    assert "reversed" in page and "data:image/png" in page and "data:font/woff" in page
    assert (tmp_path / "c" / "pictures.png").is_file()
