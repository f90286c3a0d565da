"""Show-o2, a baseline of the paper's tables: a process in its own Python environment, asked through pipes.

It pins old versions of torch, transformers and diffusers and has no separate text encoder, so it draws and nothing in
it is read or edited. The other end, and the protocol, are in `worker.py`.
"""

import json
import math
import operator
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydantic import BaseModel, ConfigDict
from tqdm.auto import tqdm

from interp.errors import InterpError
from interp.models.show_o2.child import Child

PROTOCOL = 1
WORKER = Path(__file__).with_name("worker.py")
ENVIRONMENT = Path(__file__).with_name("environment.yml")
CONFIGS = {
    "showlab/show-o2-1.5B": "showo2_1.5b_demo_432x432.yaml",
    "showlab/show-o2-1.5B-HQ": "showo2_1.5b_demo_512x512.yaml",
    "showlab/show-o2-7B": "showo2_7b_demo_432x432.yaml",
}
"""The demo configuration of each published checkpoint, in `configs/` of the repository."""

Pixels = UInt8[np.ndarray, "height width rgb"]


class Refusal(InterpError):
    """The model refused a request; its process stays and can be asked again."""


class Settings(BaseModel):
    """What `show_o2.json` says; paths are relative to its folder."""

    model_config = ConfigDict(extra="forbid")

    python: Path
    """The interpreter of Show-o2's environment, which `environment.yml` describes."""
    repository: Path
    """The folder `show-o2` of a checkout of https://github.com/showlab/Show-o."""
    checkpoint: str = "showlab/show-o2-7B"
    """A name on the hub, or a folder."""
    config: Path | None = None
    """A configuration of the repository; None for the one of `CONFIGS`."""
    vae: Path | None = None
    """The file Wan2.1_VAE.pth; None for the one in the repository's folder, where its README puts it."""
    start_timeout: float = 600.0
    """Seconds to wait for the model, a download included."""
    picture_timeout: float = 300.0
    """Seconds to wait for each image."""

    def command(self, folder: Path, device: str, worker: Path) -> list[str | Path]:
        """What starts the worker: isolated from this environment; unbuffered, to quote its last words.

        Raises:
            InterpError: a file is missing.
        """
        python, repository = (folder / self.python).absolute(), (folder / self.repository).absolute()
        if self.config is None and self.checkpoint not in CONFIGS:
            known = ", ".join(CONFIGS)
            raise InterpError(f"checkpoint {self.checkpoint!r}: known are {known}; for another give its config")
        config = (folder / (self.config or repository / "configs" / CONFIGS[self.checkpoint])).absolute()
        vae = (folder / (self.vae or repository / "Wan2.1_VAE.pth")).absolute()
        _check_files(python, repository, config, vae)
        options = {"repository": repository, "checkpoint": self.checkpoint, "config": config, "vae": vae}
        return [python, "-I", "-u", worker, *(f"--{k}={v}" for k, v in options.items()), f"--device={device}"]


class ShowO2Process:
    """A running Show-o2. Close it; it also ends with this process."""

    model: str
    """As the worker names it: the checkpoint."""
    versions: Mapping[str, str]
    """Of the worker's Python and packages."""

    def __init__(self, settings: Settings, folder: Path, device: str, worker: Path = WORKER) -> None:
        """Start the worker and wait until the model is loaded.

        Args:
            settings: of `show_o2.json`.
            folder: what their paths are relative to.
            device: as torch names it, such as `cuda`.
            worker: the script that speaks the protocol.

        Raises:
            InterpError: a file is missing, or the worker died, took too long or does not speak the protocol.
        """
        self._timeout, self._requests = settings.picture_timeout, 0
        self._child = Child(settings.command(folder.expanduser(), device, worker))
        with self._whole_answer():
            self.model, self.versions = _greeting(self._child, settings.start_timeout)

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        progress: bool = False,
    ) -> UInt8[np.ndarray, "prompt height width rgb"]:
        """One image a prompt; the initial noise depends on the seed alone.

        Args:
            prompts: captions.
            seeds: one per prompt.
            steps: points of the sampler's time grid, 2 or more; None for the configuration's.
            guidance: classifier-free guidance, 0 for none; None for the configuration's.
            progress: show one.

        Raises:
            InterpError: the request makes no sense or the model refused it; the process stays and can be asked again.
                Or the process is closed, died, took too long or did not deliver; then it has ended.
        """
        if isinstance(prompts, str) or not len(prompts):
            raise InterpError(f"prompts must be a list of strings with at least one, got {prompts!r}")
        if len(seeds) != len(prompts):
            raise InterpError(f"{len(prompts)} prompts but {len(seeds)} seeds; give one seed per prompt")
        if guidance is not None and not (math.isfinite(guidance) and guidance >= 0):
            raise InterpError(f"guidance must be a number from 0 up, got {guidance}")
        if not self._child.alive:
            raise InterpError("this Show-o2 process has ended; start another ShowO2Process")
        with tempfile.TemporaryDirectory(prefix="interp-show-o2-") as folder:
            request = {
                "prompts": list(prompts),
                "seeds": [operator.index(seed) for seed in seeds],
                "steps": None if steps is None else operator.index(steps),
                "guidance": None if guidance is None else float(guidance),
                "folder": folder,
            }
            bar = tqdm(total=len(prompts), desc="Show-o2", disable=not progress, leave=False)
            with self._whole_answer(), bar:
                return np.stack(self._ask(request, bar))

    def close(self) -> None:
        """Kill the worker and whatever it started; a second time does nothing."""
        self._child.close()

    def __repr__(self) -> str:
        state = f"process {self._child.process.pid}" if self._child.alive else "ended"
        return f"{type(self).__name__}({self.model!r}, {state})"

    @contextmanager
    def _whole_answer(self) -> Iterator[None]:
        """End the worker if the block is left before its last word, which would be taken for the next answer."""
        try:
            yield
        except Refusal:
            raise
        except BaseException:
            self.close()
            raise

    def _ask(self, request: dict[str, Any], bar: Any) -> list[Pixels]:
        """Send one request and read the images as they come."""
        self._requests += 1
        self._child.send({"id": self._requests, **request}, self._timeout, "picture_timeout")
        prompts, images = request["prompts"], []
        while True:
            count = len(images)
            waiting = f"picture {count + 1} of {len(prompts)}" if count < len(prompts) else "the end of the request"
            reply = self._child.receive(waiting, self._timeout, "picture_timeout")
            match reply:
                case {"id": self._requests, "done": int(done), "file": str(file)} if done == count + 1 <= len(prompts):
                    images.append(_read(self._child, Path(request["folder"]) / file, prompts[count], images))
                    bar.update()
                case {"id": self._requests, "finished": True} if count == len(prompts):
                    return images
                case {"id": self._requests, "error": str(error)}:
                    place = f"at picture {count + 1} of {len(prompts)}: " if count < len(prompts) else ""
                    raise Refusal(f"Show-o2 {place}{error}")
                case _:
                    text = json.dumps(reply)[:200]
                    raise self._child.failed(f"asked for {len(prompts)} pictures, {count} came, and then {text}")


def _greeting(child: Child, timeout: float) -> tuple[str, dict[str, str]]:
    """The model and the versions that a worker names once it is ready."""
    reply = child.receive("the model to load", timeout, "start_timeout")
    match reply:
        case {"ready": True, "protocol": int(protocol), "model": str(model), "versions": dict(versions)}:
            if protocol != PROTOCOL:
                raise child.failed(f"its worker speaks protocol {protocol}, this interp {PROTOCOL}; update the older")
            return model, versions
    raise child.failed(f"expected its worker's greeting, got {json.dumps(reply)[:200]}")


def _read(child: Child, path: Path, prompt: str, before: Sequence[Pixels]) -> Pixels:
    """One image, which must have the size of those before it."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"is no whole PNG file: {error}"
        raise child.failed(f"its picture {path.name} of {prompt!r} {reason}") from error
    if before and pixels.shape != before[0].shape:
        sizes = f"{pixels.shape[1]} × {pixels.shape[0]}, the first {before[0].shape[1]} × {before[0].shape[0]}"
        raise child.failed(f"its picture {path.name} of {prompt!r} is {sizes}; one request has pictures of one size")
    return pixels


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
