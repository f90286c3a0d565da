"""What is installed, what computes, what can be loaded, and what a model will need before it is."""

import importlib.util
from typing import Any

import torch

from interp import store
from interp.experiments import inputs
from interp.models import diffusers_adapter, files, pocket, sizes
from interp.models import families as models

EXTRAS = {"judges": "google.genai"}
STEPS = 30
"""Sampler steps of the estimate of an image."""


def lines(model: str | None = None, load: bool = True, **options: Any) -> list[str]:
    """The findings, a line each; with a model, its estimate, and unless `load` is off, its certificate.

    Args:
        model: as `interp.load` takes it.
        load: load it and run its checks.
        options: device, dtype, offload, size.

    Raises:
        InterpError: the model cannot be loaded, or a check failed.
    """
    out = [f"{name} {version}" for name, version in store.versions().items()]
    out.append(f"device {_device()}, {torch.get_num_threads()} threads")
    out.append(f"cache {store.cache_dir()}")
    out += [f"extra {name}: {'installed' if _there(module) else 'not installed'}" for name, module in EXTRAS.items()]
    families = ", ".join(sorted(models.FAMILIES)) + ", any diffusers pipeline with one XLM-R, CLIP or T5 encoder"
    out.append(f"models: pocket (ships with the project); folders and hub ids of {families}")
    out.append(f"models by prefix: {', '.join(f'{prefix}:<folder>' for prefix in models.PREFIXES)}")
    if model is None:
        return out
    out += estimate(model, **options)
    if load:
        loaded = inputs.load(model, **options)
        out += [repr(loaded), f"model_digest {loaded.model_digest}"]
        out += [f"check {name}: {value:.3g}" for name, value in loaded.certificate.items()]
    return out


def estimate(model: str, **options: Any) -> list[str]:
    """What a model will need, from its configurations and the headers of its weights; nothing is loaded."""
    prefix, _, rest = model.partition(":")
    if prefix in models.PREFIXES:
        folder = models.PREFIXES[prefix].backbone(model, rest)
        if folder is None:
            return [f"{model}: loaded in another environment, no estimate"]
    else:
        folder = pocket.unpack() if model == "pocket" else files.resolve(model)
    placement = diffusers_adapter.place(diffusers_adapter.Request(model, folder, **options))
    needed = sizes.estimate(folder, placement, STEPS, options.get("size"))
    return [f"placement: {placement}", *needed.lines()]


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _there(module: str) -> bool:
    parent = module.split(".")[0]
    return importlib.util.find_spec(parent) is not None and importlib.util.find_spec(module) is not None
