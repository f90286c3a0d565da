"""The numbers that the paper prints, to stand beside ours; its slips are kept and named, not mended."""

from collections.abc import Mapping
from dataclasses import dataclass

ALT, PEA = "AltDiffusion", "PEA-Diffusion"
BASELINE, MASKED, RANDOM_MASKED = "baseline", "masked", "random masked"
NOUN, WOKEN, RANDOM_WOKEN = "noun only", "woken", "random woken"
ENHANCED, RANDOM_ENHANCED = "enhanced", "random enhanced"
EXPERTS, JUDGE = "people", "judge"
VQA, CLIP, REWARD, LPIPS = "CultureVQA", "CLIPScore", "ImageReward", "LPIPS"


@dataclass(frozen=True)
class Quoted:
    """One row of a printed table."""

    model: str
    arm: str
    values: Mapping[str, float]
    """Measure → number, as printed."""


def _vqa(model: str, **arms: float) -> tuple[Quoted, ...]:
    return tuple(Quoted(model, arm.replace("_", " "), {VQA: value}) for arm, value in arms.items())


def _four(model: str, arm: str, *values: float) -> Quoted:
    return Quoted(model, arm, dict(zip((VQA, CLIP, REWARD, LPIPS), values, strict=True)))


TABLES: Mapping[str, tuple[Quoted, ...]] = {
    "table1": _vqa(PEA, baseline=35.62, masked=7.65, random_masked=33.04),
    "table2": (
        _four("SDXL", NOUN, 9.36, 0.211, -1.82, 0.756),
        _four("FLUX.1-dev", NOUN, 14.83, 0.224, -0.88, 0.692),
        _four("Show-o2", NOUN, 16.43, 0.234, -0.91, 0.691),
        _four(PEA, NOUN, 21.65, 0.253, -0.65, 0.673),
        _four(ALT, NOUN, 23.05, 0.282, -0.11, 0.688),
        _four("SD 3.5", NOUN, 25.13, 0.242, -1.01, 0.715),
        _four(PEA, WOKEN, 33.91, 0.291, 0.33, 0.654),
        _four(PEA, ENHANCED, 36.63, 0.290, 0.31, 0.661),
    ),
    "table3": (
        *_vqa(ALT, noun_only=23.05, random_woken=20.38, woken=30.06, random_enhanced=21.04, enhanced=32.66),
        *_vqa(PEA, noun_only=21.65, random_woken=21.04, woken=33.91, random_enhanced=22.34, enhanced=36.63),
    ),
    "table4": (Quoted("", EXPERTS, {"four-image": 94.18}), Quoted("", JUDGE, {"four-image": 91.57})),
    "table5": _vqa(ALT, baseline=44.54, masked=12.04, random_masked=42.45),
    "table6": (
        *(_vqa("SDXL", noun_only=10) + _vqa("FLUX.1-dev", noun_only=17) + _vqa("Show-o2", noun_only=15)),
        *_vqa("SD 3.5", noun_only=17),
        *_vqa(PEA, noun_only=15, woken=22, enhanced=35),
        *_vqa(ALT, noun_only=15, woken=20, enhanced=32),
    ),
}
"""By exhibit."""
PEAKS: Mapping[str, int] = {PEA: 16, ALT: 14}
"""Figures 6 and 14: the layer at which ΔCA peaks; the paper does not say whether it counts from 0 or 1."""
STRENGTHS: Mapping[float, float] = {0: 21.65, 6: 33.91, 7: 35.92, 8: 32.61}
"""Figure 11: λ → CultureVQA of PEA-Diffusion, where the text prints it."""
SLIPS: Mapping[str, str] = {
    "table2": "The paper prints +12.32 for zero training where its numbers give +12.26, and +0.42 for ImageReward of "
    "fine-tuning where they give +0.96.",
    "table4": "The paper's 91.57 % is of the four-image task (chance 25 %), not of the 16-way question that CultureVQA "
    "asks.",
    "table5": "The paper prints AltDiffusion's baseline as 44.39 in its section 4.1 and as 44.54 in this table.",
    "fig11": "The paper uses λ = 6 in its section 6.1 and selects λ = 7 in its section 6.3.",
}


def quoted(exhibit: str, model: str, arm: str, measure: str) -> float | None:
    """One printed number; None where the paper prints none."""
    rows = [row for row in TABLES.get(exhibit, ()) if (row.model, row.arm) == (model, arm)]
    return rows[0].values.get(measure) if rows else None


def name_of(adapter: str) -> str | None:
    """The paper's name of the models of an adapter class; None where they are not the paper's two."""
    return {"AltDiffusion": ALT, "PeaDiffusion": PEA}.get(adapter)
