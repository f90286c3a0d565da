"""models/show_o2: the process and its protocol with a drawer of our own; the model's part on a stand-in of Show-o.

The other environment is this one's interpreter. Where a test waits for an answer that comes too late, nothing hangs on
how fast the machine is.
"""

import os
import signal
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from interp.errors import InterpError
from interp.models.show_o2 import child
from interp.models.show_o2 import process as show_o2
from interp.models.show_o2.process import WORKER, Settings, ShowO2Process

PYTHON = Path(sys.executable)
IMPORTS = "import os, signal, subprocess, sys, time\n"
LOAD_WORKER = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("show_o2_worker", {str(show_o2.WORKER)!r})
worker = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = worker
spec.loader.exec_module(worker)
"""
DRAW = """
pipes = worker.take_pipes()
print("a library prints while it is imported")
import numpy as np
from PIL import Image

class Unsaved:
    def save(self, path):
        pass

class Torn:
    def save(self, path):
        with open(path, "wb") as file:
            file.write(b"\\x89PNG\\r\\n\\x1a\\n and then nothing")

def draw(prompt, seed, steps, guidance):
    if prompt == "slow":
        time.sleep(0.45)
    elif prompt == "stuck":
        child = subprocess.Popen(["sleep", "60"])
        print("started", child.pid, "and got stuck")
        time.sleep(60)
    elif prompt == "interrupt":
        os.kill(os.getppid(), signal.SIGALRM)
        time.sleep(60)
    elif prompt == "printed":
        print("{}")
        os.write(1, b"not JSON\\n")
        subprocess.run(["echo", "from a child"], check=True)
        assert sys.stdin.read() == ""
    elif prompt == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif prompt == "broken":
        raise AssertionError("an assertion of Show-o2")
    elif prompt == "refused":
        raise ValueError("no such picture\\nat all")
    elif prompt == "unsaved":
        return Unsaved()
    elif prompt == "torn":
        return Torn()
    shape = (6, 5, 3) if prompt == "wide" else (4, 5, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    pixels[0, 0] = (len(prompt) % 256, steps or 0, int(10 * (guidance or 0)))
    return Image.fromarray(pixels)

worker.serve(draw, pipes, "stand-in", {"numpy": np.__version__})
"""
DRAWER = LOAD_WORKER + DRAW
HELLO = '{"ready": true, "protocol": 1, "model": "m", "versions": {}}'


def expected(prompt, seed, steps=0, guidance=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    pixels[0, 0] = (len(prompt) % 256, steps, 10 * guidance)
    return pixels


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The files that the parent looks for."""
    folder = tmp_path_factory.mktemp("Show-o") / "show-o2"
    for name in ("models/modeling_showo2_qwen2_5.py", "configs/showo2_7b_demo_432x432.yaml", "Wan2.1_VAE.pth"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def launch(repository, worker=WORKER):
    return ShowO2Process(Settings(python=PYTHON, repository=repository), Path(), "cpu", worker)


@pytest.fixture
def start(repository, tmp_path):
    """Start a worker with a script's text; whatever is started is closed at the end."""
    started = []

    def make(text=DRAWER, **settings):
        script = tmp_path / "standin.py"
        script.write_text(IMPORTS + text)
        settings = {"python": PYTHON, "repository": repository} | settings
        started.append(ShowO2Process(Settings(**settings), Path(), "cpu", script))
        return started[-1]

    yield make
    for process in started:
        process.close()


@pytest.fixture(scope="module")
def drawer(repository, tmp_path_factory):
    """One good worker for all requests that leave it whole."""
    script = tmp_path_factory.mktemp("drawer") / "standin.py"
    script.write_text(IMPORTS + DRAWER)
    with closing(launch(repository, script)) as process:
        yield process


def says(*lines, then="time.sleep(60)"):
    """A worker that says fixed lines, whatever it is asked."""
    return "".join(f"os.write(1, {line.encode() + bytes([10])!r})\n" for line in lines) + then


def answers(*lines):
    """A worker that greets, reads one request and then says fixed lines."""
    return says(HELLO, then="sys.stdin.readline()\n" + says(*lines))


def gone(pid):
    """Whether a process has ended, by the kernel's word; one that waits for its parent has too."""
    for _ in range(3000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def reaped(process):
    """Whether the worker is gone for good: no zombie, no child to wait for."""
    pid = process._child.process.pid
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return gone(pid)


# What it draws


def test_pictures_are_the_workers_in_the_order_of_the_prompts(drawer):
    prompts, seeds = ["ein Haus", "عمارة", "\u4e2d\u56fd\n\u2028 \ud800"], [7, 3, 2**40]
    pictures = drawer.draw(prompts, seeds, steps=20, guidance=7.5)
    assert pictures.shape == (3, 4, 5, 3) and pictures.dtype == np.uint8
    for picture, prompt, seed in zip(pictures, prompts, seeds, strict=True):
        np.testing.assert_array_equal(picture, expected(prompt, seed, 20, 7.5))
    np.testing.assert_array_equal(drawer.draw(["x"], [0]), [expected("x", 0)])
    assert (drawer.model, drawer.versions) == ("stand-in", {"numpy": np.__version__})
    assert repr(drawer).startswith("ShowO2Process('stand-in', process ")


def test_a_request_larger_than_a_pipe(drawer):
    prompt = "x" * 300_001
    np.testing.assert_array_equal(drawer.draw([prompt], [1]), [expected(prompt, 1)])


def test_no_pictures_are_left_behind(drawer, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    drawer.draw(["a", "b"], [0, 1])
    assert not list(tmp_path.iterdir())


def test_progress_is_shown_on_request(drawer, capsys):
    drawer.draw(["x", "x", "x"], [0, 1, 2])
    assert capsys.readouterr().err == ""
    drawer.draw(["slow", "slow"], [0, 1], progress=True)
    bar = capsys.readouterr().err
    assert "Show-o2" in bar and "0/2" in bar and "1/2" in bar


def test_what_libraries_print_or_read_is_kept_from_the_protocol(drawer):
    np.testing.assert_array_equal(drawer.draw(["printed"], [5]), [expected("printed", 5)])
    said = child.tail(drawer._child.errors)
    assert {"not JSON", "from a child"} <= set(said)


def test_what_the_model_refuses_is_an_error_and_the_worker_stays(drawer):
    with pytest.raises(InterpError, match=r"^Show-o2 at picture 2 of 3: ValueError: no such picture\nat all$"):
        drawer.draw(["x", "refused", "x"], [0, 1, 2])
    np.testing.assert_array_equal(drawer.draw(["x"], [9]), [expected("x", 9)])


@pytest.mark.parametrize(
    ("prompts", "seeds", "settings", "said"),
    [
        ("a house", [0], {}, "list of strings"),
        ([], [], {}, "at least one"),
        (["a", "b"], [0], {}, "2 prompts but 1 seeds; give one seed per prompt"),
        (["a"], [0], {"guidance": float("nan")}, "guidance must be a number from 0 up, got nan"),
        (["a"], [0], {"guidance": float("inf")}, "guidance must be a number from 0 up, got inf"),
        (["a"], [0], {"guidance": -1.0}, "guidance must be a number from 0 up, got -1.0"),
    ],
)
def test_a_request_without_sense_is_not_sent(drawer, prompts, seeds, settings, said):
    before = drawer._requests
    with pytest.raises(InterpError, match=said):
        drawer.draw(prompts, seeds, **settings)
    assert drawer._requests == before
    assert drawer._child.alive


# The model's part, on a stand-in with Show-o's modules, signatures and shapes

SHOW_O = {
    "omegaconf.py": """
        import yaml

        class Node(dict):
            def __getattr__(self, name):
                return Node(self[name]) if isinstance(self[name], dict) else self[name]

        class OmegaConf:
            @staticmethod
            def load(path):
                with open(path) as file:
                    return Node(yaml.safe_load(file))
    """,
    "utils.py": """
        import numpy as np
        import torch

        path_to_llm_name = {"Qwen/Tiny": "qwen2_5"}

        def denorm(images):
            images = torch.clamp((images + 1) / 2, min=0, max=1) * 255
            return images.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
    """,
    "transport.py": """
        import torch

        def create_transport(
            path_type, prediction, loss_weight, train_eps, sample_eps, snr_type, do_shift, seq_len
        ):
            assert (path_type, prediction, snr_type, seq_len) == ("Linear", "velocity", "lognorm", 7)
            return "transport"

        class Sampler:
            def __init__(self, transport):
                assert transport == "transport"

            def sample_ode(
                self, *, sampling_method, num_steps, atol, rtol, reverse, do_shift=False, time_shifting_factor=None
            ):
                assert (sampling_method, atol, rtol, reverse) == ("euler", 1e-6, 1e-3, False)
                times = torch.linspace(0, 1, num_steps)
                times = times / (times + time_shifting_factor - time_shifting_factor * times)

                def sample(x, model, **given):
                    states = [x.float()]
                    for start, end in zip(times[:-1], times[1:]):
                        v = model(states[-1], torch.ones(x.size(0)) * start, **given).float()
                        states.append(states[-1] + (end - start) * v)
                    return torch.stack(states)

                return sample
    """,
    "models/__init__.py": """
        import contextlib
        import pickle

        import torch

        print("Show-o prints")

        class Showo2Qwen2_5(torch.nn.Linear):
            @classmethod
            def from_pretrained(cls, path, use_safetensors):
                assert (path, use_safetensors) == ("showlab/show-o2-7B", False)
                return cls(1, 1)

            @torch.no_grad()
            def t2i_generate(
                self, image_latents=None, t=None, text_tokens=None, attention_mask=None, modality_positions=None,
                max_seq_len=None, guidance_scale=0.0, output_hidden_states=None,
            ):
                rows = 2 if guidance_scale > 0 else 1
                assert self.weight.dtype == attention_mask.dtype == torch.bfloat16 and not self.training
                assert text_tokens.shape == (rows, max_seq_len) and t.shape == (rows,)
                assert attention_mask.shape == (rows, 1, max_seq_len, max_seq_len)
                assert modality_positions.shape == (rows, 1, 2) and output_hidden_states
                for ids, (start, length) in zip(text_tokens, modality_positions[:, 0]):
                    assert ids[start : start + length].eq(5).all() and ids.eq(5).sum() == length == 7
                words = (modality_positions[:, 0, 0] - 2) * (1 + t) / 10
                v = words[:, None, None, None].expand_as(image_latents)
                if guidance_scale > 0:
                    prompt, null = torch.chunk(v, 2)
                    v = (null + guidance_scale * (prompt - null)).repeat(2, 1, 1, 1)
                return v

        class WanVAE:
            def __init__(self, z_dim=16, vae_pth="", dtype=torch.float, device="cuda"):
                assert (dtype, device) == (torch.bfloat16, "cpu")
                self.scale = torch.load(vae_pth, map_location="cpu", weights_only=False)
                with contextlib.suppress(pickle.UnpicklingError):
                    torch.load(vae_pth + ".evil", map_location="cpu", weights_only=False)

            def batch_decode(self, zs):
                assert zs.shape == (1, 3, 1, 4, 6)
                return (zs * self.scale).clamp(-1, 1)

        def omni_attn_mask_naive(B, LEN, modalities, device, inverted=True):
            assert modalities.shape == (B, 1, 2)
            return torch.zeros(B, 1, LEN, LEN, dtype=torch.long, device=device)
    """,
    "models/misc.py": """
        import torch

        class Tokenizer:
            pad_token_id = 0

            def __call__(self, text, add_special_tokens):
                assert not add_special_tokens
                return {"input_ids": [9] * len(text.split())}

        def get_text_tokenizer(model_path, add_showo_tokens=True, return_showo_token_ids=False, llm_name="qwen2_5"):
            assert (model_path, llm_name) == ("Qwen/Tiny", "qwen2_5") and add_showo_tokens and return_showo_token_ids
            return Tokenizer(), {"bos_id": 1, "eos_id": 2, "boi_id": 3, "eoi_id": 4, "img_pad_id": 5}

        def prepare_gen_input(
            prompts, text_tokenizer, num_image_tokens, bos_id, eos_id, boi_id, eoi_id, pad_id, img_pad_id,
            max_text_len, device,
        ):
            assert (bos_id, eos_id, boi_id, eoi_id, pad_id, img_pad_id) == (1, 2, 3, 4, 0, 5)

            def tokens(ids):
                row = [bos_id, *ids, boi_id, *[img_pad_id] * num_image_tokens, eoi_id, eos_id]
                return torch.tensor(row + [pad_id] * (max_text_len - len(ids)))

            def place(ids):
                return torch.tensor([[len(ids) + 2, num_image_tokens]])

            texts = [text_tokenizer(p, add_special_tokens=False)["input_ids"][:max_text_len] for p in prompts]
            rows = [[f(ids) for ids in kind] for kind in (texts, [[]] * len(texts)) for f in (tokens, place)]
            text, places, null, null_places = [torch.stack(row).to(device) for row in rows]
            return text, null, places, null_places
    """,
    "models/modeling_showo2_qwen2_5.py": "",
    "configs/showo2_7b_demo_432x432.yaml": """
        model:
          weight_type: bfloat16
          showo: {llm_model_path: Qwen/Tiny, image_latent_dim: 3, patch_size: 2, add_time_embeds: true}
        dataset:
          preprocessing: {max_seq_length: 16, num_t2i_image_tokens: 6, latent_height: 2, latent_width: 3}
        transport: {path_type: Linear, prediction: velocity, loss_weight: null, train_eps: null, sample_eps: null,
                    snr_type: lognorm, sampling_method: euler, guidance_scale: 5.0, num_inference_steps: 4,
                    atol: 0.000001, rtol: 0.001, reverse: false, do_shift: true, time_shifting_factor: 3.0}
    """,
}
"""A velocity of (words in the prompt) × (1 + t) / 10, so that every argument shows in the picture."""


class Evil:
    """A pickle that makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The folder `show-o2`, its VAE a scale of one half; beside it a pickle that makes a folder."""
    folder = tmp_path_factory.mktemp("checkout") / "show-o2"
    for name, text in SHOW_O.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    torch.save(torch.tensor(0.5), folder / "Wan2.1_VAE.pth")
    torch.save({"weight": Evil(folder / "ran")}, folder / "Wan2.1_VAE.pth.evil")
    return folder


@pytest.fixture(scope="module")
def show_o(checkout):
    """The real worker on it."""
    with closing(launch(checkout)) as process:
        yield process


def show_o_picture(words, seed, steps=4, guidance=5.0):
    """What the stand-in draws, computed apart from the worker's code."""
    noise = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(seed)).bfloat16().float().numpy()
    times = np.linspace(0, 1, steps)
    times = times / (3 - 2 * times)
    velocity = words * (guidance or 1) * (1 + times[:-1]) / 10
    final = noise + (velocity * np.diff(times)).sum()
    return np.clip((np.clip(final / 2, -1, 1) + 1) / 2, 0, 1).transpose(1, 2, 0) * 255


def test_the_real_worker_calls_show_o(show_o):
    """Prompt, seed, steps and guidance each reach the model, and nothing of a picture's neighbours does."""
    pictures = show_o.draw(["a b", "a", "a b"], [3, 4, 4])
    np.testing.assert_array_equal(pictures[2:], show_o.draw(["a b"], [4]))
    for picture, words, seed in zip(pictures, (2, 1, 2), (3, 4, 4), strict=True):
        np.testing.assert_allclose(picture, show_o_picture(words, seed), atol=1.001)
    for words, given in ((2, {"steps": 9}), (1, {"guidance": 0.0}), (1, {"guidance": 2.0})):
        picture = show_o.draw(["a " * words], [5], **given)[0]
        np.testing.assert_allclose(picture, show_o_picture(words, 5, **given), atol=1.001)


def test_the_real_worker_says_what_it_is(show_o):
    assert show_o.model == "showlab/show-o2-7B"
    assert show_o.versions["torch"] == torch.__version__
    assert show_o.versions.keys() == {"python", "torch", "transformers", "diffusers", "numpy"}
    assert "Show-o prints" in child.tail(show_o._child.errors)


def test_what_show_o_would_do_silently_is_refused(show_o):
    assert len(show_o.draw(["a a a a a"], [0], steps=2)) == 1
    with pytest.raises(InterpError, match=r"'a a a a a a': 6 tokens, 1 more than Show-o2 reads \(5\)"):
        show_o.draw(["a a a a a a"], [0])
    with pytest.raises(InterpError, match=r"steps=1: .* give 2 or more"):
        show_o.draw(["a"], [0], steps=1)


def test_weights_that_run_code_do_not_run(show_o, checkout):
    """The stand-in's VAE loads the second pickle too, as carelessly as it can."""
    assert show_o.model
    assert not (checkout / "ran").exists()
    torch.load(checkout / "Wan2.1_VAE.pth.evil", weights_only=False)
    assert (checkout / "ran").exists()


# What goes wrong at the start


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"python": Path("no/env/bin/python")}, r"no Python at .*conda env create --prefix .*no/env --file .*\.yml`"),
        ({"python": Path()}, "no Python at"),
        ({"repository": Path("no/Show-o")}, "git clone https://github.com/showlab/Show-o"),
        ({"checkpoint": "showlab/show-o2-1.5B"}, r"no configuration at .*showo2_1.5b_demo_432x432.yaml; give config"),
        ({"checkpoint": "my/model"}, "checkpoint 'my/model': known are .*show-o2-7B; for another give its config"),
        ({"config": Path("no.yaml")}, r"no configuration at .*no\.yaml"),
        ({"vae": Path("no.pth")}, r"no VAE at .*no\.pth; download Wan2\.1_VAE\.pth"),
    ],
)
def test_a_missing_file_says_how_to_get_it(start, settings, said):
    with pytest.raises(InterpError, match=said):
        start(**settings)


def test_the_environment_file_is_beside_the_module():
    pins = show_o2.ENVIRONMENT.read_text()
    assert all(pin in pins for pin in ("torch==2.5.1", "transformers==4.47.0", "diffusers==0.31.0"))


def test_a_model_that_loads_too_long_is_killed(start, monkeypatch):
    ended = watch_ends(monkeypatch)
    began = time.monotonic()
    script = 'child = subprocess.Popen(["sleep", "60"])\nsys.stderr.write(f"loading {child.pid}\\n")\ntime.sleep(60)'
    with pytest.raises(InterpError, match=r"waited 1.5 s for the model to load; give a longer start_timeout") as error:
        start(script, start_timeout=1.5)
    assert 1.5 <= time.monotonic() - began < 30
    assert "its last lines on standard error:\nloading " in str(error.value)
    assert gone(str(error.value).split()[-1])
    assert len(ended) == 1 and ended[0].returncode == -signal.SIGKILL


def watch_ends(monkeypatch):
    """The processes that were reaped, for those whose object is never handed out."""
    ended, kill = [], child.kill

    def note(process):
        kill(process)
        if process not in ended:
            ended.append(process)

    monkeypatch.setattr(child, "kill", note)
    return ended


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("raise RuntimeError('no such checkpoint')", "ended with exit code 1; .*\nRuntimeError: no such checkpoint$"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "was killed by signal 9; was memory short.; nothing on standard error",
        ),
        ("sys.exit(0)", "ended with exit code 0"),
        ("os.close(1)\ntime.sleep(60)", "was killed by signal 9"),
        (says("Loading weights", HELLO), "a line of its worker is no JSON object: 'Loading weights'"),
        (says("\x00\xff", HELLO), "is no JSON object"),
        (says("12", HELLO), "is no JSON object: '12'"),
        (says(HELLO.replace("true", "false")), "expected its worker's greeting, got {.ready.: false"),
        (says(HELLO.replace("1", "2", 1)), "its worker speaks protocol 2, this interp 1"),
    ],
    ids=["raises", "killed", "exits", "closes", "prints", "bytes", "number", "greeting", "protocol"],
)
def test_a_worker_that_does_not_start(start, monkeypatch, script, said):
    ended = watch_ends(monkeypatch)
    with pytest.raises(InterpError, match=f"(?s)^Show-o2: .*{said}"):
        start(script)
    assert len(ended) == 1 and ended[0].returncode is not None and gone(ended[0].pid)


def test_the_tail_is_short(start):
    with pytest.raises(InterpError) as error:
        start("for n in range(5000): sys.stderr.write(f'line {n}\\r\\n\\n')\nsys.exit(3)")
    assert str(error.value).splitlines()[1:] == [f"line {n}" for n in range(5000 - child.TAIL, 5000)]


# What goes wrong later


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (["killed"], "its process was killed by signal 9"),
        (["x", "broken"], "its process ended with exit code 1; .*AssertionError: an assertion of Show-o2$"),
        (["unsaved"], "its picture 00001.png of 'unsaved' is missing"),
        (["x", "torn"], "its picture 00002.png of 'torn' is no whole PNG file"),
        (["x", "wide"], "its picture 00002.png of 'wide' is 5 × 6, the first 5 × 4"),
    ],
)
def test_a_worker_that_fails_ends_with_an_error(start, prompts, said):
    process = start()
    with pytest.raises(InterpError, match=f"(?s)^Show-o2: .*{said}"):
        process.draw(prompts, range(len(prompts)))
    assert reaped(process)
    with pytest.raises(InterpError, match="this Show-o2 process has ended; start another"):
        process.draw(["x"], [0])
    assert repr(process) == "ShowO2Process('stand-in', ended)"


def test_a_picture_that_takes_too_long(start):
    """The time is each picture's own, and children of the worker end with it."""
    process = start(picture_timeout=1.5)
    assert len(process.draw(["slow"] * 4, range(4))) == 4
    with pytest.raises(InterpError, match=r"waited 1.5 s for picture 2 of 2; give a longer picture_timeout") as error:
        process.draw(["x", "stuck"], [0, 1])
    line = str(error.value).splitlines()[-1]
    assert line.startswith("started ") and line.endswith(" and got stuck")
    assert reaped(process) and gone(line.split()[1])


def test_a_request_that_is_not_read(start):
    process = start(says(HELLO), picture_timeout=0.3)
    with pytest.raises(InterpError, match=r"waited 0.3 s for the request to be read"):
        process.draw(["x" * 300_000], [0])
    assert reaped(process)


def test_a_worker_that_is_gone_before_it_is_asked(start):
    process = start(says(HELLO, then="sys.exit(4)"))
    assert gone(process._child.process.pid)
    with pytest.raises(InterpError, match="its process ended with exit code 4"):
        process.draw(["x"], [0])
    assert reaped(process)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"id": 1, "finished": true}'], "asked for 2 pictures, 0 came, and then .*finished"),
        (['{"id": 1, "done": 2, "file": "a.png"}'], "asked for 2 pictures, 0 came, and then .*done"),
        (['{"id": 7, "done": 1, "file": "a.png"}'], "asked for 2 pictures, 0 came, and then .*7"),
        (['{"id": 7, "error": "of another request"}'], "asked for 2 pictures, 0 came, and then .*another"),
        (["half a li"], "is no JSON object: 'half a li'"),
    ],
)
def test_a_wrong_answer_ends_the_worker(start, lines, said):
    process = start(answers(*lines))
    with pytest.raises(InterpError, match=said):
        process.draw(["a", "b"], [0, 1])
    assert reaped(process)


def test_one_picture_too_many(start):
    twice = "real = zip\nworker.zip = lambda a, b, strict: real(a * 2, b * 2)\nworker.serve("
    process = start(DRAWER.replace("worker.serve(", twice))
    with pytest.raises(InterpError, match=r"asked for 2 pictures, 2 came, and then .*\"done\": 3"):
        process.draw(["a", "b"], [0, 1])
    assert reaped(process)


# How it ends


def test_close_kills_and_may_come_twice(start):
    with closing(start()) as process:
        pid, pipes = process._child.process.pid, (process._child.process.stdin, process._child.process.stdout)
        assert Path(f"/proc/{pid}").exists()
    assert reaped(process)
    assert all(pipe.closed for pipe in pipes) and process._child.errors.closed
    process.close()


def test_an_interrupted_request_ends_the_worker(start):
    """Its late answers would be taken for the next one's."""
    process = start()

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            process.draw(["interrupt"], [0])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert reaped(process)


def test_a_forgotten_process_is_killed(start, repository, tmp_path):
    start().close()
    forgotten = launch(repository, tmp_path / "standin.py")
    pid = forgotten._child.process.pid
    del forgotten
    assert gone(pid)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_the_worker_ends_when_its_parent_does(start):
    process = start()
    process._child.process.stdin.close()
    assert process._child.process.wait(60) == 0
