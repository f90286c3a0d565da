"""What is installed, what computes, what can be loaded."""

import importlib.util

import torch

from interp import experiment, store

EXTRAS = {"judges": "google.genai", "peadiffusion": "open_clip"}


def lines(model: str | None = None) -> list[str]:
    """The findings, a line each; with a model, it is loaded and its certificate shown.

    Raises:
        InterpError: the model cannot be loaded, or a check failed.
    """
    out = [f"{name} {version}" for name, version in store.versions().items()]
    out.append(f"device {_device()}, {torch.get_num_threads()} threads")
    out.append(f"cache {store.cache_dir()}")
    out += [f"extra {name}: {'installed' if _there(module) else 'not installed'}" for name, module in EXTRAS.items()]
    out.append("models: pocket (ships with the project), any folder in AltDiffusion's layout")
    if model is not None:
        loaded = experiment.load(model)
        out += [repr(loaded), f"digest {loaded.digest}"]
        out += [f"check {name}: {value:.3g}" for name, value in loaded.certificate.items()]
    return out


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _there(module: str) -> bool:
    parent = module.split(".")[0]
    return importlib.util.find_spec(parent) is not None and importlib.util.find_spec(module) is not None
