"""Metrics by name, for the command line and for scripts.

culture_vqa:pocket                    the pocket judge
culture_vqa:qwen3-vl:<folder or id>   Qwen3-VL by transformers
culture_vqa:gemini[:<model>]          Gemini; key in GEMINI_API_KEY
culture_vqa:openai:<model>@<url>      an OpenAI-compatible endpoint; key in OPENAI_API_KEY
clipscore:pocket-clip                 cosine of image and noun-only caption; `+culture_style` for the other one
clipscore:<folder or id>              a CLIP, or open_clip's xlm-roberta ViT-H
image_reward[:<folder or id>]         ImageReward
lpips[:vgg]                           distance to the reference image, by AlexNet or VGG
diversity[:vgg]                       distance among the images of one sample
"""

import re
from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import torch

from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics.base import Caption, Metric
from interp.metrics.culture_vqa import CultureVqa
from interp.metrics.judges.base import Judge
from interp.models.placement import resolve_device
from interp.types import UNRECOGNISABLE, Sample

REWARD, BERT = "THUDM/ImageReward", "google-bert/bert-base-uncased"
GEMINI = "gemini-2.5-flash"
PRICE = re.compile(r"([0-9]{1,6}(?:\.[0-9]+)?)/([0-9]{1,6}(?:\.[0-9]+)?)")
METRICS = ("culture_vqa", "clipscore", "image_reward", "lpips", "diversity")
JUDGES = ("pocket", "qwen3-vl", "gemini", "openai")
POCKET = ("culture_vqa:pocket", "clipscore:pocket-clip", "lpips")
"""What the benchmark `pocket` is measured by if nothing is named."""


def metrics(
    names: Sequence[str | Metric] | None, bench: Benchmark, device: str | torch.device | None = None
) -> list[Metric]:
    """The metrics that are named, made for a benchmark.

    Args:
        names: as above, or metrics themselves; None for those that ship for the benchmark.
        bench: gives the label set and the reference images.
        device: where those that are named compute, such as the model's; None for what is there.

    Raises:
        InterpError: an unknown name, no metric ships for the benchmark and none is named, or the device is not there.
    """
    if names is None:
        if not is_pocket(bench):
            raise InterpError(f"no metric ships for benchmark {bench.name!r}; name some: {', '.join(METRICS)}")
        names = POCKET
    return [metric(n, bench, device) if isinstance(n, str) else n for n in names]


def is_pocket(bench: Benchmark) -> bool:
    """Whether a benchmark is of the pocket world, which the shipped judge and tower know."""
    return bench.name.startswith("pocket")


def metric(name: str, bench: Benchmark, device: str | torch.device | None = None) -> Metric:
    """One metric by its name; arguments as of `metrics`.

    Raises:
        InterpError: unknown, with the known ones, or the device is not there.
    """
    kind, _, rest = name.partition(":")
    if kind not in METRICS:
        raise InterpError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    device = resolve_device(device)
    if kind == "culture_vqa":
        return _culture_vqa(rest, bench, device)
    if kind == "clipscore":
        return _clipscore(rest, device)
    if kind == "image_reward":
        from interp.metrics.image_reward import ImageReward

        folder, _, tokenizer = rest.partition("+")
        return ImageReward.load(folder or REWARD, tokenizer or BERT, device)
    if kind == "lpips":
        from interp.metrics.lpips import Lpips

        return Lpips(reference(bench), rest or "alex", device=device)
    from interp.metrics.diversity import Diversity

    return Diversity(rest or "alex", device=device)


def judge(name: str, labels: Sequence[str], device: str | torch.device | None = None) -> Judge:
    """A judge by its name.

    Args:
        name: `pocket`, `qwen3-vl:<folder or id>`, `gemini[:<model>]`, `openai:<model>@<url>`.
        labels: the cultures; Unrecognisable is added.
        device: where a local one computes; None for what is there.

    Raises:
        InterpError: unknown, with the known ones, or the device is not there.
    """
    check_judge(name)
    options = (*(label for label in labels if label != UNRECOGNISABLE), UNRECOGNISABLE)
    kind, _, rest = name.partition(":")
    rest, _, price = rest.partition("?price=")
    if kind == "pocket":
        from interp.metrics.judges.pocket import load_judge

        return load_judge(device=device)
    if kind == "qwen3-vl":
        from interp.metrics.judges import qwen3_vl

        return qwen3_vl.load(_needed(name, rest, "qwen3-vl:<folder or hub id>"), options, device)
    if kind == "gemini":
        from interp.metrics.judges.remote.gemini import GeminiJudge

        return GeminiJudge(labels=options, model=rest or GEMINI, price=_price(price))
    from interp.metrics.judges.remote.openai import OpenAiJudge

    model, _, url = rest.partition("@")
    address = _needed(name, model and url, "openai:<model>@<url>")
    return OpenAiJudge(labels=options, model=model, base_url=address, price=_price(price))


def check_judge(name: str) -> None:
    """Refuse a name that is no judge's, before anything is loaded for it.

    Raises:
        InterpError: with the known ones.
    """
    if name.partition(":")[0] not in JUDGES:
        raise InterpError(f"unknown judge {name!r}; known: {', '.join(JUDGES)}")


def _price(text: str) -> tuple[float, float] | None:
    """USD per million tokens in and out; None for ''."""
    match = PRICE.fullmatch(text)
    if match is None and text:
        raise InterpError(f"price {text[:40]!r}; write <in>/<out> in USD per million tokens, such as 0.30/2.50")
    return (float(match[1]), float(match[2])) if match else None


def _needed(name: str, part: str, form: str) -> str:
    if not part:
        raise InterpError(f"{name!r} lacks a part; write {form}")
    return part


def _culture_vqa(rest: str, bench: Benchmark, device: torch.device) -> Metric:
    name = _needed("culture_vqa", rest or "pocket" * is_pocket(bench), "culture_vqa:<judge>")
    made = judge(name, bench.cultures, device)
    if name != "pocket":
        return CultureVqa(made)
    from interp.metrics.judges.pocket import PocketJudge

    return CultureVqa(made, np.array(PocketJudge.card()["confusion"], dtype=float))


def _clipscore(rest: str, device: torch.device) -> Metric:
    from interp.metrics.clipscore import ClipScore
    from interp.metrics.pocket_clip import load_pocket_clip
    from interp.metrics.towers import load_tower

    name, _, caption = rest.partition("+")
    if caption and caption not in get_args(Caption):
        raise InterpError(f"unknown caption {caption!r}; known: {', '.join(get_args(Caption))}")
    name = _needed("clipscore", name, "clipscore:pocket-clip or clipscore:<folder or hub id>")
    tower = load_pocket_clip(device=device) if name == "pocket-clip" else load_tower(name, device)
    return ClipScore(tower, caption or "noun_only")  # type: ignore[arg-type]


def reference(bench: Benchmark) -> Callable[[Sample], Picture]:
    """What gives the reference image of a sample."""
    return lambda sample: np.asarray(bench.image(sample))
