"""Scoring 1,000 pocket pictures on the CPU: the pocket judge, LPIPS, and a plain loop over the package `lpips`.

    pip install --no-deps lpips==0.1.4
    python benchmarks/measures.py --out benchmarks/measures.json

Seconds are of the clock, the best of some runs. Reading the reference pictures counts, composing the others does not.
`kept` is a second arm over the same samples: its references are embedded already. The package is called as its README
does, one pair at a time; it imports torchvision for the order of the layers, for which a stand-in is enough.
"""

import argparse
import importlib.metadata
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from interp import store
from interp.benchmarks import pocket, reading
from interp.benchmarks.images import Picture
from interp.metrics.judges.pocket import load_judge
from interp.metrics.lpips import Lpips, LpipsNet, load_net
from interp.metrics.registry import reference
from interp.types import Sample


def composed(row: dict[str, Any]) -> Picture:
    """Another picture of a sample: the other drawing on another ground."""
    return pocket.compose(row["category"], row["culture"], 1 - row["drawing"], row["key"] + "/other")


def package() -> Any:
    """The package's network with the shipped convolutions."""
    net = load_net("alex")
    models: Any = types.ModuleType("torchvision.models")
    flat = nn.Sequential(*[layer for stage in LpipsNet("alex").stages for layer in stage.children()])
    models.alexnet = lambda pretrained: types.SimpleNamespace(features=flat)
    torchvision: Any = types.ModuleType("torchvision")
    torchvision.models = models
    sys.modules |= {"torchvision": torchvision, "torchvision.models": models}
    import lpips

    made = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    with torch.no_grad():
        for theirs, ours in zip(made.net.parameters(), net.stages.parameters(), strict=True):
            theirs.copy_(ours)
    return made


def loop(made: Any, pictures: list[Picture], samples: list[Sample], of: Callable[[Sample], Picture]) -> list[float]:
    """Distances, a pair at a time."""
    import lpips

    with torch.no_grad():
        pairs = zip(pictures, samples, strict=True)
        return [made(lpips.im2tensor(p), lpips.im2tensor(of(s))).item() for p, s in pairs]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds)."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def lpips_arms(pictures: list[Picture], samples: list[Sample], of: Callable[[Sample], Picture]) -> tuple[Any, ...]:
    """Scores of our LPIPS, seconds of the first arm and of a second one."""
    metric = Lpips(of)
    scores, first = timed(lambda: metric.measure(pictures, samples).values)
    return scores, first, timed(lambda: metric.measure(pictures, samples))[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)

    bench = reading.load("pocket", splits=["test"])
    samples = list(bench.samples("test")[: asked.pictures])
    rows = {row["id"]: row for row in pocket.samples() if row["split"] == "test"}
    pictures = [composed(rows[s.id]) for s in samples]
    ids, of, judge, made = [s.id for s in samples], reference(bench), load_judge(), package()
    judge(pictures[:100], ids[:100])
    loop(made, pictures[:20], samples[:20], of)

    seconds: dict[str, list[float]] = {}
    ours = theirs = np.zeros(0)
    for _ in range(asked.runs):
        seconds.setdefault("pocket judge", []).append(timed(lambda: judge(pictures, ids))[1])
        ours, first, kept = lpips_arms(pictures, samples, of)
        seconds.setdefault("lpips-alex", []).append(first)
        seconds.setdefault("lpips-alex, references kept", []).append(kept)
        theirs, took = timed(lambda: np.array(loop(made, pictures, samples, of)))
        seconds.setdefault("package lpips, a pair at a time", []).append(took)
    best = {name: min(runs) for name, runs in seconds.items()}
    measured = {
        name: {"seconds": round(s, 2), "pictures_per_second": round(len(samples) / s)} for name, s in best.items()
    }
    versions = store.versions() | {"lpips": importlib.metadata.version("lpips")}
    result = {
        "pictures": len(samples),
        "side": pocket.SIDE,
        "cores": os.cpu_count(),
        "threads": asked.threads,
        "runs": asked.runs,
        "versions": versions,
        "measured": measured,
        "largest_difference_from_package": float(np.abs(ours - theirs).max()),
    }
    store.atomic_write_json(asked.out, result)
    print("| measure | seconds | pictures/s |\n|---|---|---|")
    for name, figures in measured.items():
        print(f"| {name} | {figures['seconds']} | {figures['pictures_per_second']} |")


if __name__ == "__main__":
    main()
