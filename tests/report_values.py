"""Made-up results: drawn at random around invented rates, no measurement of any model."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from math import nan
from typing import Any

import numpy as np

from interp.grids import Grid, GridRow
from interp.report.results import Enhancer, Results, Target
from interp.report.text import interval, points
from interp.store import Manifest
from interp.types import (
    Arm,
    Density,
    Effect,
    Interval,
    JudgeErrors,
    LayerScores,
    Matrix,
    MeasureRow,
    Neurons,
    NeuronSet,
    SaeFigures,
    SaeRef,
    Site,
    Sweep,
    Variant,
)

PROMPTS = {
    "Arab": ("ar", "صورة: كمان"), "China": ("zh", "图片：小提琴"), "France": ("fr", "image : violon"),
    "Germany": ("de", "Bild: Geige"), "Italy": ("it", "immagine: violino"), "Japan": ("ja", "写真：バイオリン"),
    "Korea": ("ko", "사진: 바이올린"), "Netherlands": ("nl", "afbeelding: viool"), "Poland": ("pl", "obraz: skrzypce"),
    "Portugal": ("pt", "imagem: violino"), "Russia": ("ru", "картинка: скрипка"), "Spain": ("es", "imagen: violín"),
    "Thailand": ("th", "รูปภาพ: ไวโอลิน"), "Turkey": ("tr", "resim: keman"), "Ukraine": ("uk", "зображення: скрипка"),
}  # fmt: skip
CULTURES = tuple(PROMPTS)
EACH = 100
"""Samples per culture."""
NOTHING = Interval(nan, nan, nan, 0, 5)
"""Nothing could be scored."""


class Draws:
    """Random hits of an invented model, and the records that the stages would make of them."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)

    def hits(self, rate: float) -> dict[str, np.ndarray]:
        """0 or 100 by culture, around a rate that differs a little between cultures, a few of them unscored."""
        rates = np.clip(rate + self.rng.normal(0, 0.04, len(CULTURES)), 0.0, 1.0)
        hits = {c: 100.0 * (self.rng.random(EACH) < p) for c, p in zip(CULTURES, rates, strict=True)}
        hits["Poland"][:2] = np.nan
        return hits

    def interval(self, values: np.ndarray) -> Interval:
        """Mean and percentile bootstrap of the scored values."""
        scored = values[~np.isnan(values)]
        means = scored[self.rng.integers(len(scored), size=(400, len(scored)))].mean(1)
        low, high = np.percentile(means, (2.5, 97.5))
        return Interval(float(scored.mean()), float(low), float(high), len(scored), int(np.isnan(values).sum()))

    def share(self, rate: float, n: int = 1500) -> Interval:
        return self.interval(100.0 * (self.rng.random(n) < rate))

    def effect(self, name: str, **rates: float) -> Effect:
        """An effect whose arms share nothing but their order."""
        hits = {arm: self.hits(rate) for arm, rate in rates.items()}
        flat = {arm: np.concatenate(list(by.values())) for arm, by in hits.items()}
        nouns = {arm: 100.0 * (self.rng.random(EACH * len(CULTURES)) < 0.81) for arm in rates}
        others = [arm for arm in rates if arm != "baseline"]
        return Effect(
            name=name,
            arms={arm: Arm(arm, flat[arm], nouns[arm]) for arm in rates},
            accuracy={arm: self.interval(v) for arm, v in flat.items()},
            noun_fidelity={arm: self.interval(v) for arm, v in nouns.items()},
            difference={arm: self.interval(flat[arm] - flat["baseline"]) for arm in others},
            p_vs_control=1 / 21,
            per_culture={arm: {c: self.interval(v) for c, v in by.items()} for arm, by in hits.items()},
            cultures=tuple(c for c in CULTURES for _ in range(EACH)),
            sample_ids=tuple(f"{c}-{i}" for c in CULTURES for i in range(EACH)),
            settings={"random_sets": 20, "paired_permutation_p": 1e-4},
            set_shift={"treatment": (0.21,), "random": tuple(self.rng.normal(0.2, 0.02, 20).tolist())},
        )

    def layer_scores(self) -> LayerScores:
        x = np.arange(12)
        delta = 0.012 + 0.03 * np.exp(-((x - 10) ** 2) / 1.5) + 0.02 * np.exp(-(x**2)) + self.rng.normal(0, 0.0015, 12)
        half = self.rng.uniform(0.0012, 0.003, 12)
        p = np.where(delta > np.convolve(delta, [0.5, 0, 0.5], "same"), 0.004, 0.8)
        p[[0, -1]] = np.nan
        arms = {"resid, noun tokens": 4, "resid, modifier": 1, "z, noun tokens": 7, "z, modifier": 5}
        height = {"resid, noun tokens": 0.86, "resid, modifier": 0.97, "z, noun tokens": 0.12, "z, modifier": 0.08}
        causal = {a: height[a] * np.exp(-((x - at) ** 2) / 18) + self.rng.normal(0, 0.01, 12) for a, at in arms.items()}
        left = {a: 0.97 - 0.9 * curve.clip(0, 1) for a, curve in causal.items()}
        images = {a: {layer: self.share(left[a][layer], 150) for layer in (0, 3, 6, 9, 11)} for a in arms}
        variants = {"zero": delta * 1.1, "neutral": delta * 0.7 + 0.002, "normalised": delta * 9 + 0.1 * np.cos(x)}
        ci = np.stack([delta - half, delta + half], 1)
        return LayerScores(delta, ci, p, variants, causal, images, peak=int(delta.argmax()), n_pairs=792)

    def neurons(self, d_sae: int = 1536, k: int = 7) -> Neurons:
        wfs, noun = self.rng.exponential(0.02, (2, len(CULTURES), d_sae))
        for table in (wfs, noun):
            table[self.rng.random(table.shape) < 0.8] = 0.0
        shared = self.rng.choice(d_sae, 3, replace=False)
        wfs[:, shared], noun[:, shared] = 0.7, 0.65
        kept = []
        for row in range(len(CULTURES)):
            own = self.rng.choice(np.setdiff1d(np.arange(d_sae), shared), k - 3, replace=False)
            own[0] = 700 if row in (3, 7) else own[0]
            wfs[row, own], noun[row, own] = self.rng.uniform(0.75, 2.0, k - 3), 0.02
            kept.append(tuple(sorted(own.tolist(), key=lambda m, at=row: -wfs[at, m])))
        sae = SaeRef("saes/synthetic", "0" * 64, Site(3, "resid"), "1" * 64, 384, d_sae, 16)
        sets = {c: NeuronSet(c, own, tuple(float(wfs[i, m]) for m in own), (0.0,) * len(own), sae)
                for i, (c, own) in enumerate(zip(CULTURES, kept, strict=True))}  # fmt: skip
        return Neurons(
            sets=sets,
            wfs=wfs,
            wfs_noun=noun,
            frequency=(wfs > 0).astype(float),
            magnitude=wfs,
            baseline=np.zeros_like(wfs),
            cultures=CULTURES,
            languages=tuple(language for language, _ in PROMPTS.values()),
            sae=sae,
            split="detection",
            benchmark_digest="2" * 64,
            settings={
                "rule": {"contrast": "ratio", "filter": "after", "tau": 0.5},
                "k": dict.fromkeys(CULTURES, k),
            },
        )

    def variants(self) -> tuple[Variant, ...]:
        z, resid, random = Site(10, "z"), Site(3, "resid"), self.share(0.03)
        rows = (
            (z, "topk", "amplify", 6.0, self.share(0.95), self.share(0.02), True, False),
            (z, "relu", "amplify", 6.0, NOTHING, self.share(0.03), False, False),
            (resid, "topk", "amplify", 6.0, self.share(0.12), self.share(0.06), False, False),
            (resid, "none", "steer", 4.0, NOTHING, self.share(0.74), False, True),
        )
        return tuple(
            Variant(site, codes, how, strength, masked, self.share(0.96), woken, random, literal, recipe)
            for site, codes, how, strength, masked, woken, literal, recipe in rows
        )

    def sweep(self) -> Sweep:
        strengths = tuple(float(s) for s in range(9))
        rising = [75 / (1 + float(np.exp(-1.4 * (s - 3.2)))) + 2 for s in strengths]
        nouns = np.linspace(82, 71, 9).tolist()
        return Sweep(
            strengths,
            tuple(Interval(y, y - 2.1, y + 2.3, 150) for y in rising),
            tuple(Interval(y, y - 3.0, y + 3.0, 150) for y in nouns),
            "steer",
            "train",
        )

    def results(self, scores: LayerScores, neurons: Neurons, masking: Effect, waking: Effect) -> Results:
        """Results without an enhancer or nouns outside the benchmark."""
        changes = self.rng.normal(-0.6, 1.2, (15, 15))
        np.fill_diagonal(changes, self.rng.normal(-70, 9, 15))
        answers = np.c_[np.eye(15) * 97 + self.rng.integers(0, 2, (15, 15)), self.rng.integers(0, 3, 15)]
        shares = {"with modifier": 0.81, "masked": 0.79, "noun only": 0.83, "woken": 0.76}
        arms = {arm: Interval(0.3, 0.2, 0.4, 9, 3) for arm in ("noun only", "woken")}
        density = Density(tuple(np.linspace(-5, 0, 26).tolist()), tuple(self.rng.poisson(60, 25).tolist()))
        return Results(
            model="pocket",
            manifest=manifest(),
            split="test",
            split_size=1800,
            layers=scores,
            sae=SaeFigures(neurons.sae.site, 384, 1536, 16, 0.914, 15.98, 0.0625, density),
            neurons=neurons,
            ablate=masking,
            wake=waking,
            recipe={"intervention": "steer", "strength": 4.0},
            off_target=Matrix(CULTURES, CULTURES, changes),
            variants=self.variants(),
            sweep=self.sweep(),
            steer={c: self.share(float(self.rng.uniform(0.35, 0.9)), 60) for c in CULTURES},
            steer_mean=self.share(0.63, 900),
            noun_fidelity={arm: self.share(rate) for arm, rate in shares.items()},
            measures=(
                MeasureRow("culture_vqa corrected", "corrected", "percent", "higher", arms),
                MeasureRow("lpips-alex", "LPIPS to the reference", "distance", "lower", arms),
            ),
            judge=JudgeErrors(self.share(0.988), Matrix(CULTURES, (*CULTURES, "Unrecognisable"), answers)),
            targets=(
                Target("masking", "falls by at least 40 points", points(masking.difference["masked"]), True),
                Target("waking", "at least 90 %", interval(waking.accuracy["woken"]), False),
            ),
        )

    def with_enhancer(self, results: Results) -> Results:
        """The same with a trained enhancer and its controls, and with nouns outside the benchmark."""
        rates = {"baseline": 0.04, "enhanced": 0.88, "moved to layer 6": 0.05, "trained at layer 6": 0.31}
        outside = {"baseline": 0.03, "with modifier": 0.9, "woken": 0.7, "enhanced": 0.6}
        return replace(
            results,
            enhance=self.effect("enhance", **rates),
            enhancer=Enhancer(Site(3, "resid"), 64),
            held_out=self.effect("held out", **outside),
        )


def made_up() -> Results:
    """The results that most tests share."""
    masking = Draws(3).effect("mask own set", baseline=0.97, masked=0.12, random=0.965)
    waking = Draws(4).effect("steer own set", baseline=0.04, woken=0.74, random=0.045)
    return Draws(5).results(Draws(1).layer_scores(), Draws(2).neurons(), masking, waking)


def manifest(**fields: Any) -> Manifest:
    """The manifest of a finished run."""
    usual: dict[str, Any] = {
        "command": "interp report --model pocket --out reports/pocket",
        "commit": "0123456789abcdef",
        "dirty": True,
        "versions": {"python": "3.11", "torch": "0.0-synthetic"},
        "seeds": {"images": 7, "sae": [0, 1, 2]},
        "model_digest": "1" * 64,
        "benchmark_digest": "2" * 64,
        "device": "cpu",
        "started": datetime(2000, 1, 1, tzinfo=UTC),
        "wall_seconds": 841.5,
        "certificate": {"attention rows sum to 1": True, "largest difference of a no-op": 0.0},
    }
    return Manifest(**usual | fields)


def picture(shade: int, side: int = 64) -> np.ndarray:
    """Three stripes and a disc."""
    shade %= 250
    y, x = np.mgrid[:side, :side]
    pixels = np.stack([(x * 3 // side * 90 + shade) % 256, y * 2, np.full((side, side), shade)], -1).astype(np.uint8)
    pixels[(x - side / 2) ** 2 + (y - side / 2) ** 2 < 160] = 250 - shade
    return pixels


def grid(columns: list[str], cultures: tuple[str, ...] = CULTURES[:6], title: str = "Violins.") -> Grid:
    """The same prompt of some cultures in every column."""
    rows = [GridRow(PROMPTS[c][1], PROMPTS[c][0], f"violin, {c}", [picture(40 * i + j) for i in range(len(columns))])
            for j, c in enumerate(cultures)]  # fmt: skip
    return Grid(title, columns, rows)


def intervals_in(value: Any) -> list[Interval]:
    """Every estimate of a JSON document."""
    if isinstance(value, dict) and "estimate" in value:
        numbers = [nan if v is None else float(v) for v in (value["estimate"], *value["ci"])]
        return [Interval(*numbers, n=value.get("n", 0))]
    if isinstance(value, dict | list):
        return [i for item in (value.values() if isinstance(value, dict) else value) for i in intervals_in(item)]
    return []


def numbers_in(value: object) -> list[float]:
    """Every number of a JSON document."""
    if isinstance(value, dict):
        return [n for item in value.values() for n in numbers_in(item)]
    if isinstance(value, list):
        return [n for item in value for n in numbers_in(item)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def text_of(page: str) -> str:
    """What a page says: its text without tags, data and the appendix."""
    body = re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))
