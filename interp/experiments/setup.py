"""What all arms of one experiment share: model, samples, judge, metrics, seed."""

import zlib
from collections.abc import Sequence

import torch

from interp.benchmarks.benchmark import Benchmark
from interp.errors import InterpError
from interp.metrics import registry
from interp.metrics.judges.base import Judge
from interp.metrics.judges.pocket import load_judge
from interp.types import Sample


def default_judge(bench: Benchmark, device: str | torch.device | None = None) -> Judge:
    """The judge of a benchmark.

    Args:
        bench: the benchmark.
        device: where it looks at pictures, such as the model's; None for what is there.

    Raises:
        InterpError: none ships for it, or the device is not there.
    """
    if not registry.is_pocket(bench):
        raise InterpError(f"no judge ships for benchmark {bench.name!r}: pass judge=, such as one of interp.metrics")
    return load_judge(device=device)


def seed_of(sample: str, seed: int = 0) -> int:
    """The image seed of a sample: a checksum of its id, so that it does not depend on which others are drawn."""
    return zlib.crc32(f"{seed}/{sample}".encode())


def texts(samples: Sequence[Sample], kind: str) -> list[str]:
    """Prompts of samples: `culture_style`, `noun_only` (native) or `culture_style_en`, `noun_only_en`."""
    pair, side = ("english" if kind.endswith("_en") else "native"), kind.removesuffix("_en")
    return [getattr(getattr(s, pair), side).text for s in samples]
