"""Show-o2 as a baseline: it takes prompts as they are, and nothing in it is read or edited.

`show-o2:<folder>`: the folder holds `show_o2.json`, whose keys are the fields of `Settings`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import ValidationError

from interp import store
from interp.errors import InterpError
from interp.models.adapter import Adapter
from interp.models.records import Conditioned, Conditioning, Options, States, Tokens, Verbatim
from interp.models.show_o2.process import WORKER, Settings, ShowO2Process

SETTINGS = "show_o2.json"


class ShowO2(Adapter):
    """A process in its own environment; the adapter owns it."""

    def __init__(self, name: str, process: ShowO2Process, checkpoint: str, device: str) -> None:
        self.name, self.process = name, process
        self.encoders, self.recipe, self.certificate = {}, {}, {}
        self.device = torch.device(device)
        # its weights are the other environment's; what is known of them is their name and the versions that run them
        origin = {"checkpoint": checkpoint, "model": process.model, "versions": dict(process.versions)}
        self.model_digest = store.sha256_bytes(json.dumps(origin, sort_keys=True).encode())
        self.encoder_digest = ""

    def condition(self, states: Mapping[str, States], tokens: Mapping[str, Tokens]) -> Conditioning:
        raise InterpError(f"{self.name} is a baseline only: it has no text encoder to read or edit")

    def images(
        self,
        conditioning: Conditioned,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        size: int | None = None,
        progress: bool = False,
    ) -> UInt8[np.ndarray, "prompt height width rgb"]:
        if not isinstance(conditioning, Verbatim):
            raise InterpError(f"{self.name} is a baseline only: it draws from prompts, not from a conditioning")
        if size is not None:
            raise InterpError(f"{self.name} draws at its checkpoint's own size; leave the size out")
        return self.process.draw(conditioning.prompts, seeds, steps=steps, guidance=guidance, progress=progress)


def backbone(name: str, folder: str) -> None:
    """None: its weights are loaded in another environment, and cannot be estimated in this one."""


def load(name: str, folder: str, **options: Unpack[Options]) -> ShowO2:
    """Start `show-o2:<folder>`.

    Raises:
        InterpError: no or wrong settings; an option that it has not; the environment is missing or its process died.
    """
    path = Path(folder) / SETTINGS
    if not path.is_file():
        raise InterpError(f"{name}: no {path}; it names the python and the repository of Show-o2's environment")
    if named := sorted(k for k, v in options.items() if k != "device" and v is not None):
        raise InterpError(f"{name}: {', '.join(named)} cannot be chosen; its checkpoint decides")
    try:
        settings = Settings.model_validate_json(path.read_bytes())
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InterpError(f"{path}: {faults}") from error
    where = options.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    return ShowO2(name, ShowO2Process(settings, path.parent, where, WORKER), settings.checkpoint, where)
