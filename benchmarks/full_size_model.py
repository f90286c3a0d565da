"""AltDiffusion-m18 at full size with random weights, through the adapter: what it takes, beside what was estimated.

    python benchmarks/full_size_model.py --out benchmarks/full_size_model.json

A folder in diffusers' layout is written to a temporary place (3 GB, half precision), its tokenizer the pocket model's;
then it is estimated, loaded with its certificate, captured, edited, and one picture of 512 pixels takes one step.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from full_size import MODULES, loaded

import interp
from interp import store
from interp.activations import capture
from interp.models import diffusers_adapter, pocket, sizes
from interp.types import Site

COMPONENTS = {"text_encoder": "xlmr", "unet": "unet", "vae": "vae"}
PROMPTS = ["geleneksel bir bina", "Türk tarzı geleneksel bina"]


def write(folder: Path) -> None:
    """The folder."""
    for name, module in COMPONENTS.items():
        kind, config, _ = MODULES[module]
        made: Any = loaded(kind, config, torch.float16)
        for path, parameter in made.named_parameters():
            if parameter.ndim == 1 and path.endswith("weight"):  # normalisations, which would swallow every signal
                parameter.fill_(1)
        made.save_pretrained(folder / name)
        del made
    shipped = pocket.unpack()
    shutil.copytree(shipped / "tokenizer", folder / "tokenizer")
    settings = folder / "tokenizer" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": 77}))
    shutil.copytree(shipped / "scheduler", folder / "scheduler")
    shutil.copy(shipped / "model_index.json", folder)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds)."""
    start = time.perf_counter()
    return work(), round(time.perf_counter() - start, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "m18"
        write(folder)
        request = diffusers_adapter.Request(str(folder), folder, device=given.device)
        chosen = diffusers_adapter.place(request)
        estimate, seconds = timed(lambda: sizes.estimate(folder, chosen, steps=1))
        model, load_seconds = timed(lambda: interp.load(str(folder), device=given.device))
        encoder, last = model.encoder("text_encoder"), model.spec("text_encoder").reach
        tokens = encoder.tokenise(PROMPTS)
        sites = [Site(layer, "z") for layer in range(last + 1)]
        layers = range(last + 1)
        read, capture_seconds = timed(lambda: capture.forward(model, tokens, sites, attention=layers, to_end=False))
        edit = {Site(14, "resid"): lambda features, special: features.roll(1, -1)}
        plain, encode_seconds = timed(lambda: capture.encode(model, PROMPTS))
        moved, edit_seconds = timed(lambda: capture.encode(model, PROMPTS, edit))
        picture, step_seconds = timed(lambda: model.images(plain.rows([0]), [0], steps=1))
        found = {
            "model": "AltDiffusion-m18, random weights",
            "placement": str(chosen),
            "threads": torch.get_num_threads(),
            "versions": store.versions(),
            "parameters": {p.name: p.parameters for p in estimate.parts},
            "estimated": {
                "seconds_to_estimate": seconds,
                "weights_bytes": estimate.weights_bytes,
                "activation_bytes": estimate.activation_bytes,
                "peak_bytes": estimate.weights_bytes + estimate.activation_bytes,
                "seconds_an_image_of_one_step": round(estimate.seconds_per_image, 2),
            },
            "measured": {
                "seconds_to_load_and_certify": load_seconds,
                "seconds_to_capture_z_and_attention_of_every_layer": capture_seconds,
                "seconds_to_encode": encode_seconds,
                "seconds_to_encode_with_an_edit": edit_seconds,
                "seconds_for_one_step_and_decoding": step_seconds,
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            },
            "certificate": dict(model.certificate),
            "captured_layers": len(read.features),
            "edit_moved": bool((moved.embeds != plain.embeds).any()),
            "picture": list(picture.shape),
        }
    store.atomic_write_json(given.out, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
