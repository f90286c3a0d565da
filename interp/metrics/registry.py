"""Metrics by name, for the command line and for scripts.

culture_vqa:pocket                    the pocket judge
culture_vqa:qwen3-vl:<folder or id>   Qwen3-VL by transformers
culture_vqa:gemini[:<model>]          Gemini; key in GEMINI_API_KEY
culture_vqa:openai:<model>@<url>      an OpenAI-compatible endpoint; key in OPENAI_API_KEY
clipscore:pocket-clip                 cosine of picture and noun-only caption; `+culture_style` for the other one
clipscore:<folder or id>              a CLIP, or open_clip's xlm-roberta ViT-H
image_reward[:<folder or id>]         ImageReward
lpips[:vgg]                           distance to the reference picture, by AlexNet or VGG
diversity[:vgg]                       distance among the pictures of one sample
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
JUDGES = ("pocket", "qwen3-vl", "gemini", "openai")
POCKET = ("culture_vqa:pocket", "clipscore:pocket-clip", "lpips")
"""What the benchmark `pocket` is measured by if nothing is named."""


def metrics(
    names: Sequence[str | Metric] | None, bench: Benchmark, device: str | torch.device | None = None
) -> list[Metric]:
    """The metrics that are named, made for a benchmark.

    Args:
        names: as above, or metrics themselves; None for those that ship for the benchmark.
        bench: gives the label set and the reference pictures.
        device: where those that are named compute, such as the model's; None for what is there.

    Raises:
        InterpError: an unknown name, no metric ships for the benchmark and none is named, or the device is not there.
    """
    if names is None:
        if not is_pocket(bench):
            raise InterpError(f"no metric ships for benchmark {bench.name!r}; name some: {', '.join(_MAKERS)}")
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
    kind, _, given = name.partition(":")
    if kind not in _MAKERS:
        raise InterpError(f"unknown metric {name!r}; known: {', '.join(_MAKERS)}")
    return _MAKERS[kind](given, bench, resolve_device(device))


def judge(name: str, labels: Sequence[str], device: str | torch.device | None = None) -> Judge:
    """A judge by its name.

    Args:
        name: `pocket`, `qwen3-vl:<folder or id>`, `gemini[:<model>]`, `openai:<model>@<url>`.
        labels: the cultures; Unrecognisable is added.
        device: where a local one computes, such as the model's; None for what is there.

    Raises:
        InterpError: unknown, with the known ones, or the device is not there.
    """
    check_judge(name)
    options = (*(label for label in labels if label != UNRECOGNISABLE), UNRECOGNISABLE)
    kind, _, given = name.partition(":")
    given, _, price = given.partition("?price=")
    if kind == "pocket":
        from interp.metrics.judges.pocket import load_judge

        return load_judge(device=device)
    if kind == "qwen3-vl":
        from interp.metrics.judges import qwen3_vl

        return qwen3_vl.load(_needed(name, given, "qwen3-vl:<folder or hub id>"), options, device)
    if kind == "gemini":
        from interp.metrics.judges.remote.gemini import GeminiJudge

        return GeminiJudge(labels=options, model=given or GEMINI, price=_price(price))
    from interp.metrics.judges.remote.openai import OpenAiJudge

    model, _, url = _needed(name, given, "openai:<model>@<url>").partition("@")
    address = _needed(name, url, "openai:<model>@<url>")
    return OpenAiJudge(labels=options, model=model, base_url=address, price=_price(price))


def check_judge(name: str) -> None:
    """Refuse a name that is no judge's, before anything is loaded for it.

    Raises:
        InterpError: with the known ones.
    """
    if name.partition(":")[0] not in JUDGES:
        raise InterpError(f"unknown judge {name!r}; known: {', '.join(JUDGES)}")


def _price(text: str) -> tuple[float, float] | None:
    """USD a million tokens in and out; None where nothing is given."""
    if not text:
        return None
    found = PRICE.fullmatch(text)
    if found is None:
        raise InterpError(f"price {text[:40]!r}; write <in>/<out> in USD a million tokens, such as 0.30/2.50")
    return float(found[1]), float(found[2])


def _needed(name: str, given: str, form: str) -> str:
    if not given:
        raise InterpError(f"{name!r} lacks a part; write {form}")
    return given


def _culture_vqa(given: str, bench: Benchmark, device: torch.device) -> Metric:
    name = given or ("pocket" if is_pocket(bench) else "")
    chosen = judge(_needed("culture_vqa", name, "culture_vqa:<judge>"), bench.cultures, device)
    if name == "pocket":
        from interp.metrics.judges.pocket import PocketJudge

        return CultureVqa(chosen, np.array(PocketJudge.card()["confusion"], dtype=float))
    return CultureVqa(chosen)


def _clipscore(given: str, bench: Benchmark, device: torch.device) -> Metric:
    from interp.metrics.clipscore import ClipScore
    from interp.metrics.towers import load_tower

    name, _, which = given.partition("+")
    if which and which not in get_args(Caption):
        raise InterpError(f"unknown caption {which!r}; known: {', '.join(get_args(Caption))}")
    form = "clipscore:pocket-clip or clipscore:<folder or hub id>"
    if _needed("clipscore", name, form) == "pocket-clip":
        from interp.metrics.pocket_clip import load_pocket_clip

        return ClipScore(load_pocket_clip(device=device), which or "noun_only")  # type: ignore[arg-type]
    return ClipScore(load_tower(name, device), which or "noun_only")  # type: ignore[arg-type]


def _image_reward(given: str, bench: Benchmark, device: torch.device) -> Metric:
    from interp.metrics.image_reward import ImageReward

    name, _, words = given.partition("+")
    return ImageReward.load(name or REWARD, words or BERT, device)


def _lpips(given: str, bench: Benchmark, device: torch.device) -> Metric:
    from interp.metrics.lpips import Lpips

    return Lpips(reference(bench), given or "alex", device=device)


def _diversity(given: str, bench: Benchmark, device: torch.device) -> Metric:
    from interp.metrics.diversity import Diversity

    return Diversity(given or "alex", device=device)


def reference(bench: Benchmark) -> Callable[[Sample], Picture]:
    """What gives the reference picture of a sample."""
    return lambda sample: np.asarray(bench.image(sample))


_MAKERS: dict[str, Callable[[str, Benchmark, torch.device], Metric]] = {
    "culture_vqa": _culture_vqa,
    "clipscore": _clipscore,
    "image_reward": _image_reward,
    "lpips": _lpips,
    "diversity": _diversity,
}
