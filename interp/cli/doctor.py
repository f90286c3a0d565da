"""What is installed, what computes, what can be loaded, and what a model will need before it is."""

from typing import Unpack

import torch

from interp import store
from interp.experiments import inputs
from interp.models import diffusers_adapter, download, families, pocket, sizes
from interp.models.records import Options

STEPS = 30
"""Sampler steps of the estimate of an image."""


def lines(model: str | None = None, load: bool = True, **options: Unpack[Options]) -> list[str]:
    """What `interp doctor` prints, a line each; with a model, its estimate, and unless `load` is off, its certificate.

    Args:
        model: as `interp.load` takes it.
        load: load it and run its checks.
        options: device, dtype, offload, size.

    Raises:
        InterpError: the model cannot be loaded, or a check failed.
    """
    out = [f"{name} {version}" for name, version in store.versions().items()]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    out.append(f"device {device}, {torch.get_num_threads()} threads")
    out.append(f"cache {store.cache_dir()}")
    kinds = ", ".join(sorted(families.FAMILIES)) + ", any diffusers pipeline with one XLM-R, CLIP or T5 encoder"
    out.append(f"models: pocket (ships with the project); folders and hub ids of {kinds}")
    out.append(f"models by prefix: {', '.join(f'{prefix}:<folder>' for prefix in families.PREFIXES)}")
    if model is None:
        return out
    out += estimate(model, **options)
    if load:
        loaded = inputs.load(model, **options)  # type: ignore[arg-type]
        out += [repr(loaded), f"model_digest {loaded.model_digest}"]
        out += [f"check {name}: {value:.3g}" for name, value in loaded.certificate.items()]
    return out


def estimate(model: str, **options: Unpack[Options]) -> list[str]:
    """What a model will need, from its configurations and the headers of its weights; nothing is loaded."""
    prefix, _, rest = model.partition(":")
    if prefix in families.PREFIXES:
        folder = families.PREFIXES[prefix].backbone(model, rest)
        if folder is None:
            return [f"{model}: loaded in another environment, no estimate"]
    else:
        folder = pocket.unpack() if model == "pocket" else download.resolve(model)
    placement = diffusers_adapter.place(diffusers_adapter.Request(model, folder, **options))
    needed = sizes.estimate(folder, placement, STEPS, options.get("size"))
    return [f"placement: {placement}", *needed.lines()]
