"""Check every family on the weights that its authors publish: for a person with access to the hub.

    python tools/verify_published.py --out FOLDER [MODEL …]

For each model: download, load with its certificate, draw two images, and write `<FOLDER>/<model>/` with the images and
`result.json`; at the end `table.md` with one line per model, digests included. A model that fails does not stop the
others; its line says why, and the exit code is 1. FLUX.1-dev and SD 3.5 ask for their licence to be accepted first.
"""

import argparse
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image

import interp
from interp import store

PUBLISHED = (
    "BAAI/AltDiffusion-m18",
    "BAAI/AltDiffusion-m9",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "stabilityai/stable-diffusion-3.5-large",
    "black-forest-labs/FLUX.1-dev",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
)
"""PEA-Diffusion and Show-o2 are put together by hand: name them, `pea-diffusion:<folder>` and `show-o2:<folder>`."""
PROMPTS = ("geleneksel bir bina", "Türk tarzı geleneksel bina")
SEED = 0


@dataclass
class Result:
    """One model's line."""

    model: str
    passed: bool
    error: str = ""
    model_digest: str = ""
    encoder_digest: str = ""
    placement: str = ""
    seconds_to_load: float = 0.0
    seconds_to_draw: float = 0.0
    certificate: dict[str, float] = field(default_factory=dict)


def verify(name: str, out: Path, device: str | None, size: int | None, steps: int | None) -> Result:
    """Load, certify and draw one model; an error is in the result."""
    start = time.monotonic()
    try:
        model = interp.load(name, device=device, size=size)
        loaded = time.monotonic()
        images = interp.generate(model, PROMPTS, seeds=[SEED], steps=steps)
    except interp.InterpError as error:
        return Result(name, passed=False, error=str(error))
    for number, image in enumerate(images[:, 0]):
        Image.fromarray(image).save(out / f"{number}.png")
    return Result(
        name,
        passed=True,
        model_digest=model.model_digest,
        encoder_digest=model.encoder_digest,
        placement=str(getattr(model, "placement", "")),
        seconds_to_load=round(loaded - start, 1),
        seconds_to_draw=round(time.monotonic() - loaded, 1),
        certificate=dict(model.certificate),
    )


def table(results: list[Result]) -> str:
    """A table in Markdown with one line per model."""
    rows = [
        "| model | passed | checks | largest difference from the library | digest | encoders |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        compared = [v for k, v in r.certificate.items() if k.endswith("_equals_library")]
        worst = f"{max(compared):.2g}" if compared else "–"
        passed, digests = "yes" if r.passed else f"no: {r.error}", f"{r.model_digest[:16]} | {r.encoder_digest[:16]}"
        rows.append(f"| {r.model} | {passed} | {len(r.certificate)} | {worst} | {digests} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=PUBLISHED, metavar="MODEL")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device")
    parser.add_argument("--size", type=int, help="side of the images in pixels")
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    results = []
    for name in arguments.models:
        folder = arguments.out / re.sub(r"[^\w.-]+", "_", name).strip("_")
        folder.mkdir(parents=True, exist_ok=True)
        results.append(verify(name, folder, arguments.device, arguments.size, arguments.steps))
        store.atomic_write_json(folder / "result.json", asdict(results[-1]))
        print(f"{name}: {'passed' if results[-1].passed else results[-1].error}")
    store.atomic_write_text(arguments.out / "table.md", table(results))
    print(json.dumps({"passed": sum(r.passed for r in results), "of": len(results)}))
    return 0 if all(r.passed for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
