"""Show-o2, a baseline of the paper's tables: a process in its own Python environment, asked through pipes.

It pins old versions of torch, transformers and diffusers and has no separate text encoder, so it draws and nothing in
it is read or edited. The other end, and the protocol, are in `worker.py`.
"""

import json
import math
import operator
import os
import select
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm.auto import tqdm

from interp.errors import InterpError

PROTOCOL = 1
WORKER = Path(__file__).with_name("worker.py")
ENVIRONMENT = Path(__file__).with_name("environment.yml")
CONFIGS = {
    "showlab/show-o2-1.5B": "showo2_1.5b_demo_432x432.yaml",
    "showlab/show-o2-1.5B-HQ": "showo2_1.5b_demo_512x512.yaml",
    "showlab/show-o2-7B": "showo2_7b_demo_432x432.yaml",
}
"""The demo configuration of each published checkpoint, in `configs/` of the repository."""
TAIL = 12
"""Lines of the worker's standard error that an error quotes."""

Picture = UInt8[np.ndarray, "height width rgb"]


class ShowO2Process:
    """A running Show-o2. Close it, or use it as a context manager; it also ends with this process.

    Example:
        with ShowO2Process(Path("show-o2-env/bin/python"), Path("Show-o/show-o2"), device="cuda") as show_o2:
            pictures = show_o2.draw(["a traditional building"], seeds=[0])
    """

    model: str
    """As the worker names it: the checkpoint."""
    versions: Mapping[str, str]
    """Of the worker's Python and packages."""

    def __init__(
        self,
        python: Path,
        repository: Path,
        checkpoint: str = "showlab/show-o2-7B",
        *,
        device: str,
        config: Path | None = None,
        vae: Path | None = None,
        start_timeout: float = 600.0,
        picture_timeout: float = 300.0,
        worker: Path = WORKER,
    ) -> None:
        """Start the worker and wait until the model is loaded.

        Args:
            python: the interpreter of Show-o2's environment, which `environment.yml` describes.
            repository: the folder `show-o2` of a checkout of https://github.com/showlab/Show-o.
            checkpoint: a name on the hub, or a folder.
            device: as torch names it, such as `cuda`.
            config: a configuration of the repository; by default the one of `CONFIGS`.
            vae: the file Wan2.1_VAE.pth; by default the one in the repository's folder, where its README puts it.
            start_timeout: seconds to wait for the model, a download included.
            picture_timeout: seconds to wait for each picture.
            worker: the script that speaks the protocol.

        Raises:
            InterpError: a file is missing, or the worker died, took too long or does not speak the protocol.
        """
        python, folder = python.expanduser().absolute(), repository.expanduser().absolute()
        if config is None and checkpoint not in CONFIGS:
            raise InterpError(f"checkpoint {checkpoint!r}: known are {', '.join(CONFIGS)}; for another give its config")
        config = folder / "configs" / CONFIGS[checkpoint] if config is None else config.expanduser().absolute()
        vae = folder / "Wan2.1_VAE.pth" if vae is None else vae.expanduser().absolute()
        _check_files(python, folder, config, vae)
        options = {"repository": folder, "checkpoint": checkpoint, "config": config, "vae": vae, "device": device}
        self._picture_timeout, self._unread, self._requests, self._pending = picture_timeout, b"", 0, False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process = subprocess.Popen(  # isolated from this environment; unbuffered, to quote its last words
            [python, "-I", "-u", worker, *(f"--{name}={value}" for name, value in options.items())],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, self._process, self._errors)
        with self._whole_answer():
            self.model, self.versions = self._hello(start_timeout)

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        label: str = "Show-o2",
        progress: bool = False,
    ) -> UInt8[np.ndarray, "prompt height width rgb"]:
        """One picture a prompt; the initial noise depends on the seed alone.

        Args:
            prompts: captions.
            seeds: one a prompt.
            steps: points of the sampler's time grid, 2 or more; None for the configuration's.
            guidance: classifier-free guidance, 0 for none; None for the configuration's.
            label: of the progress bar.
            progress: show one.

        Raises:
            InterpError: the request makes no sense or the model refused it; the process stays and can be asked again.
                Or the process is closed, died, took too long or did not deliver; then it has ended.
        """
        if isinstance(prompts, str) or not len(prompts):
            raise InterpError(f"prompts must be a list of strings with at least one, got {prompts!r}")
        if len(seeds) != len(prompts):
            raise InterpError(f"{len(prompts)} prompts but {len(seeds)} seeds; give one seed a prompt")
        if guidance is not None and not (math.isfinite(guidance) and guidance >= 0):
            raise InterpError(f"guidance must be a number from 0 up, got {guidance}")
        if not self._end.alive:
            raise InterpError("this Show-o2 process has ended; start another ShowO2Process")
        with tempfile.TemporaryDirectory(prefix="interp-show-o2-") as folder:
            request = {
                "prompts": list(prompts),
                "seeds": [operator.index(seed) for seed in seeds],
                "steps": None if steps is None else operator.index(steps),
                "guidance": None if guidance is None else float(guidance),
                "folder": folder,
            }
            with self._whole_answer(), tqdm(total=len(prompts), desc=label, disable=not progress, leave=False) as bar:
                pictures = self._ask(request, bar)
        return np.stack(pictures)

    def close(self) -> None:
        """Kill the worker and whatever it started; a second time does nothing."""
        self._end()

    def __enter__(self) -> "ShowO2Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"process {self._process.pid}" if self._end.alive else "ended"
        return f"{type(self).__name__}({self.model!r}, {state})"

    @contextmanager
    def _whole_answer(self) -> Iterator[None]:
        """End the worker if the block is left before its last word, which would be taken for the next answer."""
        self._pending = True
        try:
            yield
        finally:
            if self._pending:
                self.close()

    def _hello(self, timeout: float) -> tuple[str, dict[str, str]]:
        reply = self._reply(timeout, "the model to load", "start_timeout")
        match reply:
            case {"ready": True, "protocol": int(protocol), "model": str(model), "versions": dict(versions)}:
                if protocol != PROTOCOL:
                    raise self._failed(
                        f"its worker speaks protocol {protocol}, this interp {PROTOCOL}; update the older"
                    )
                self._pending = False
                return model, versions
        raise self._failed(f"expected its worker's greeting, got {json.dumps(reply)[:200]}")

    def _ask(self, request: dict[str, Any], bar: Any) -> list[Picture]:
        """Send one request and read the pictures as they come."""
        self._requests += 1
        self._send(json.dumps({"id": self._requests, **request}).encode() + b"\n")
        prompts, pictures = request["prompts"], []
        while True:
            count = len(pictures)
            waiting = f"picture {count + 1} of {len(prompts)}" if count < len(prompts) else "the end of the request"
            reply = self._reply(self._picture_timeout, waiting, "picture_timeout")
            match reply:
                case {"id": self._requests, "done": int(done), "file": str(file)} if done == count + 1 <= len(prompts):
                    pictures.append(self._read(Path(request["folder"]) / file, prompts[count], pictures))
                    bar.update()
                case {"id": self._requests, "finished": True} if count == len(prompts):
                    self._pending = False
                    return pictures
                case {"id": self._requests, "error": str(error)}:
                    self._pending = False
                    place = f"at picture {count + 1} of {len(prompts)}: " if count < len(prompts) else ""
                    raise InterpError(f"Show-o2 {place}{error}")
                case _:
                    said = json.dumps(reply)[:200]
                    raise self._failed(f"asked for {len(prompts)} pictures, {count} came, and then {said}")

    def _read(self, path: Path, prompt: str, before: Sequence[Picture]) -> Picture:
        """One picture, which must have the size of those before it."""
        try:
            with Image.open(path, formats=["PNG"]) as image:
                picture = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"is no whole PNG file: {error}"
            raise self._failed(f"its picture {path.name} of {prompt!r} {reason}") from error
        if before and picture.shape != before[0].shape:
            sizes = f"{picture.shape[1]} × {picture.shape[0]}, the first {before[0].shape[1]} × {before[0].shape[0]}"
            raise self._failed(
                f"its picture {path.name} of {prompt!r} is {sizes}; one request has pictures of one size"
            )
        return picture

    def _send(self, data: bytes) -> None:
        """Write a request; a worker that does not read it is one that does not draw."""
        assert self._process.stdin is not None
        pipe, deadline = self._process.stdin.fileno(), time.monotonic() + self._picture_timeout
        os.set_blocking(pipe, False)
        while data:
            if not _wait(pipe, select.POLLOUT, deadline):
                raise self._late(self._picture_timeout, "the request to be read", "picture_timeout")
            try:
                data = data[os.write(pipe, data) :]
            except BrokenPipeError as error:
                raise self._died() from error

    def _reply(self, timeout: float, waiting: str, parameter: str) -> dict[str, Any]:
        """The next line of the worker."""
        assert self._process.stdout is not None
        pipe, deadline = self._process.stdout.fileno(), time.monotonic() + timeout
        while b"\n" not in self._unread:
            if not _wait(pipe, select.POLLIN, deadline):
                raise self._late(timeout, waiting, parameter)
            data = os.read(pipe, 1 << 16)
            if not data:
                raise self._died()
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise self._failed(f"a line of its worker is no JSON object: {line.decode(errors='replace')[:200]!r}")
        return reply

    def _late(self, timeout: float, waiting: str, parameter: str) -> InterpError:
        return self._failed(f"waited {timeout:g} s for {waiting}; give a longer {parameter} if it only is slow")

    def _died(self) -> InterpError:
        """The error for a pipe that closed: its process is ending, with a code that killing it does not change."""
        _kill(self._process)
        code = self._process.returncode
        if code >= 0:
            return self._failed(f"its process ended with exit code {code}")
        memory = "; was memory short?" if code == -signal.SIGKILL else ""
        return self._failed(f"its process was killed by signal {-code}{memory}")

    def _failed(self, what: str) -> InterpError:
        """The error for a process that is of no more use; ends it."""
        _kill(self._process)
        lines = _tail(self._errors)
        self.close()
        heard = "its last lines on standard error:\n" + "\n".join(lines) if lines else "nothing on standard error"
        return InterpError(f"Show-o2: {what}; {heard}")


def _check_files(python: Path, repository: Path, config: Path, vae: Path) -> None:
    if not os.access(python, os.X_OK) or python.is_dir():
        environment = f"conda env create --prefix {python.parent.parent} --file {ENVIRONMENT}"
        raise InterpError(f"no Python at {python}; make the environment of Show-o2 with `{environment}`")
    if not (repository / "models" / "modeling_showo2_qwen2_5.py").is_file():
        clone = "`git clone https://github.com/showlab/Show-o` and give its folder show-o2"
        raise InterpError(f"{repository} has no models/modeling_showo2_qwen2_5.py; {clone}")
    if not config.is_file():
        raise InterpError(f"no configuration at {config}; give config, one of {repository / 'configs'}")
    if not vae.is_file():
        raise InterpError(f"no VAE at {vae}; download Wan2.1_VAE.pth from Wan-AI/Wan2.1-T2V-14B on the hub")


def _wait(pipe: int, event: int, deadline: float) -> bool:
    """Whether a pipe can be read or written before the deadline; a closed one can."""
    poll = select.poll()
    poll.register(pipe, event)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _tail(errors: IO[bytes]) -> list[str]:
    """The last lines of the worker's standard error, read without moving the position it writes at."""
    size = os.fstat(errors.fileno()).st_size
    text = os.pread(errors.fileno(), 8192, max(0, size - 8192)).decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-TAIL:]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the worker's process group and reap the worker; nothing once it is reaped."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    _kill(process)
    for stream in (process.stdin, process.stdout, errors):
        if stream is not None:
            stream.close()
