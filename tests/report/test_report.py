"""The report on synthetic values: drawn at random around invented rates, no measurement of any model."""

import csv
import json
import re
import subprocess
import sys
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from importlib import resources
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from interp import store
from interp.benchmarks import cross_domain, pocket
from interp.errors import InterpError
from interp.escapes import unguarded
from interp.grids import Grid, GridRow
from interp.latents.scores import Rule, select
from interp.report import figures, sentences, webfonts
from interp.report.figures import figure
from interp.report.pages.sheet import write_sheet
from interp.report.pages.study import write_report
from interp.report.paper.page import as_csv
from interp.report.results import (
    Ablate,
    Contrast,
    Density,
    Estimate,
    Gap,
    Judge,
    Layers,
    Matrix,
    MeasureRow,
    Sae,
    Sizes,
    Sweep,
    Target,
    Variant,
    Wake,
    curves,
    cut,
    indices,
    overlap,
)
from interp.report.results._file import Results
from interp.report.results._latents import ranking
from interp.report.style import Drawing, render, save
from interp.report.tables import Table, html
from interp.report.text import interval, number, points, probability
from interp.store import Manifest
from interp.types import Arm, Effect, Interval, LayerScores, Neurons, NeuronSet, SaeRef, Site

PROMPTS = {
    "Arab": ("ar", "صورة: كمان"), "China": ("zh", "图片：小提琴"), "France": ("fr", "image : violon"),
    "Germany": ("de", "Bild: Geige"), "Italy": ("it", "immagine: violino"), "Japan": ("ja", "写真：バイオリン"),
    "Korea": ("ko", "사진: 바이올린"), "Netherlands": ("nl", "afbeelding: viool"), "Poland": ("pl", "obraz: skrzypce"),
    "Portugal": ("pt", "imagem: violino"), "Russia": ("ru", "картинка: скрипка"), "Spain": ("es", "imagen: violín"),
    "Thailand": ("th", "รูปภาพ: ไวโอลิน"), "Turkey": ("tr", "resim: keman"), "Ukraine": ("uk", "зображення: скрипка"),
}  # fmt: skip
CULTURES = tuple(PROMPTS)
EACH = 100
"""Samples of a culture."""


class Draws:
    """Random hits of an invented model, and the values that the stages would make of them."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)

    def hits(self, rate: float) -> dict[str, np.ndarray]:
        """0 or 100 by culture, around a rate that differs a little between cultures, a few of them unscored."""
        rates = np.clip(rate + self.rng.normal(0, 0.04, len(CULTURES)), 0.0, 1.0)
        drawn = {c: 100.0 * (self.rng.random(EACH) < p) for c, p in zip(CULTURES, rates, strict=True)}
        drawn["Poland"][:2] = np.nan
        return drawn

    def interval(self, values: np.ndarray) -> Interval:
        """Mean and percentile bootstrap of the scored values."""
        scored = values[~np.isnan(values)]
        means = scored[self.rng.integers(len(scored), size=(400, len(scored)))].mean(1)
        low, high = np.percentile(means, (2.5, 97.5))
        return Interval(float(scored.mean()), float(low), float(high), len(scored), int(np.isnan(values).sum()))

    def estimate(self, rate: float, n: int = 1500) -> Estimate:
        return Estimate.of(self.interval(100.0 * (self.rng.random(n) < rate)))

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
            set_shift={others[0]: (0.21,), "random": tuple(self.rng.normal(0.2, 0.02, 20).tolist())},
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
        images = {a: {layer: self.interval(100.0 * (self.rng.random(150) < 0.97 - 0.9 * causal[a][layer].clip(0, 1)))
                      for layer in (0, 3, 6, 9, 11)} for a in arms}  # fmt: skip
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
        settings = {"rule": {"contrast": "ratio", "filter": "after", "tau": 0.5}, "k": dict.fromkeys(CULTURES, k)}
        tables = {"wfs": wfs, "wfs_noun": noun, "frequency": (wfs > 0).astype(float), "magnitude": wfs}
        return Neurons(
            sets=sets,
            **tables,
            baseline=np.zeros_like(wfs),
            cultures=CULTURES,
            languages=tuple(language for language, _ in PROMPTS.values()),
            sae=sae,
            split="detection",
            benchmark_digest="2" * 64,
            settings=settings,
        )

    def results(self, scores: LayerScores, neurons: Neurons, masking: Effect, waking: Effect) -> Results:
        names, strengths = list(CULTURES), [float(s) for s in range(9)]
        own = np.where(np.eye(15) > 0, self.rng.normal(-70, 9, (15, 15)), self.rng.normal(-0.6, 1.2, (15, 15)))
        answers = np.c_[np.eye(15) * 97 + self.rng.integers(0, 2, (15, 15)), self.rng.integers(0, 3, 15)]
        rising = 75 / (1 + np.exp(-1.4 * (np.array(strengths) - 3.2))) + 2
        variants = [Variant(site=site, layer=layer, codes=codes, intervention=how, strength=s, literal=literal,
                            masked=self.estimate(m) if m else None, woken=self.estimate(w), random=self.estimate(0.03),
                            recipe=recipe) for site, layer, codes, how, s, m, w, literal, recipe in (
                                ("z", 10, "topk", "amplify", 6.0, 0.95, 0.02, True, False),
                                ("z", 10, "relu", "amplify", 6.0, None, 0.03, False, False),
                                ("resid", 3, "topk", "amplify", 6.0, 0.12, 0.06, False, False),
                                ("resid", 3, "relu", "amplify", 6.0, None, 0.21, False, False),
                                ("resid", 3, "–", "steer", 4.0, None, 0.74, False, True))]  # fmt: skip
        manifest = Manifest(
            command="interp report --model pocket --out reports/pocket", commit="0123456789abcdef", dirty=True,
            versions={"python": "3.11", "torch": "0.0-synthetic"}, seeds={"images": 7, "sae": [0, 1, 2]},
            model_digest="1" * 64, benchmark_digest="2" * 64, device="cpu", started=datetime(2000, 1, 1, tzinfo=UTC),
            wall_seconds=841.5, certificate={"attention rows sum to 1": True, "largest difference of a no-op": 0.0},
        )  # fmt: skip
        baseline = {c: Estimate.of(i) for c, i in masking.per_culture["baseline"].items()}
        noun_only = {c: Estimate.of(i) for c, i in waking.per_culture["baseline"].items()}
        masked, woken = Ablate.of(masking, 20, Matrix.of(own, names, names)), Wake.of(waking, "steer", 4.0, 20)
        return Results(
            model="pocket", manifest=manifest, sizes=Sizes(samples=1500, of=1800, split="test"),
            layers=Layers.of(scores),
            sae=Sae(layer=3, site="resid", d_in=384, d_sae=1536, k=16, explained_variance=0.914, l0=15.98,
                    dead_fraction=0.0625, density=Density(edges=np.linspace(-5, 0, 26).tolist(),
                                                          counts=self.rng.poisson(60, 25).tolist())),
            neurons=indices(neurons), neuron_curves=curves(neurons), neuron_overlap=overlap(neurons),
            gap=Gap(with_modifier=masked.baseline, noun_only=woken.baseline,
                    per_culture={"with_modifier": baseline, "noun_only": noun_only}),
            ablate=masked, wake=woken, variants=variants,
            sweep=Sweep(strength=strengths, culture_vqa=rising.tolist(), ci=[(y - 2.1, y + 2.3) for y in rising],
                        noun_fidelity=np.linspace(82, 71, 9).tolist(), split="train", intervention="steer", chosen=4.0,
                        random=np.linspace(2, 4.5, 9).tolist()),
            steer={c: self.estimate(float(self.rng.uniform(0.35, 0.9)), 60) for c in CULTURES},
            steer_mean=self.estimate(0.63, 900),
            noun_fidelity={a: self.estimate(p) for a, p in (("with_modifier", 0.81), ("masked", 0.79),
                                                            ("noun_only", 0.83), ("woken", 0.76))},
            judge=Judge(accuracy=self.estimate(0.988), noun_accuracy=self.estimate(0.967),
                        confusion=Matrix.of(answers, names, [*names, "Unrecognisable"])),
            targets=[Target(name="masking", target="falls by at least 40 points", met=True,
                            measured=points(masked.difference)),
                     Target(name="waking", target="at least 90 %", measured=interval(woken.woken), met=False)],
            measures=[
                MeasureRow(name=name, label=label, unit=unit, direction=direction, arms=some)
                for some in [{a: Estimate(estimate=0.3, ci=(0.2, 0.4), n=9, unscored=3) for a in ("noun only", "own")}]
                for name, label, unit, direction in (("culture_vqa corrected", "corrected", "percent", "higher"),
                                                     ("lpips-alex", "LPIPS to the reference", "distance", "lower"))],
            settings={"quick": False, "recipe": {"site": "resid", "layer": 3}},
            card={"parameters": 27_100_000, "noun recognised": self.estimate(0.78)},
        )  # fmt: skip


def picture(shade: int, side: int = 64) -> np.ndarray:
    """Three stripes and a disc."""
    shade %= 250
    y, x = np.mgrid[:side, :side]
    pixels = np.stack([(x * 3 // side * 90 + shade) % 256, y * 2, np.full((side, side), shade)], -1).astype(np.uint8)
    pixels[(x - side / 2) ** 2 + (y - side / 2) ** 2 < 160] = 250 - shade
    return pixels


def grid(columns: list[str], cultures: tuple[str, ...] = CULTURES[:6], title: str = "Violins.") -> Grid:
    rows = [GridRow(PROMPTS[c][1], PROMPTS[c][0], f"violin, {c}", [picture(40 * i + j) for i in range(len(columns))])
            for j, c in enumerate(cultures)]  # fmt: skip
    return Grid(title, columns, rows)


@pytest.fixture(scope="module")
def scores() -> LayerScores:
    return Draws(1).layer_scores()


@pytest.fixture(scope="module")
def neurons() -> Neurons:
    return Draws(2).neurons()


@pytest.fixture(scope="module")
def masking() -> Effect:
    return Draws(3).effect("mask own set", baseline=0.97, masked=0.12, random=0.965)


@pytest.fixture(scope="module")
def results(scores: LayerScores, neurons: Neurons, masking: Effect) -> Results:
    waking = Draws(4).effect("steer own set", baseline=0.04, woken=0.74, random=0.045)
    return Draws(5).results(scores, neurons, masking, waking)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, results: Results, scores: LayerScores, neurons: Neurons) -> Path:
    grids = {
        "wake": grid(["baseline", "woken", "random"], CULTURES),
        "sweep": grid([f"λ = {i}" for i in range(9)], CULTURES[:2]),
        "odd": Grid("<b>Bold</b> & more.", ["a"], [GridRow("<script>alert(1)</script>", "en", "x", [picture(9)])]),
    }
    return write_report(results, grids, scores, neurons, tmp_path_factory.mktemp("report"))


def in_json(value: object) -> list[float]:
    """Every number of a JSON document."""
    if isinstance(value, dict):
        return [n for item in value.values() for n in in_json(item)]
    if isinstance(value, list):
        return [n for item in value for n in in_json(item)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def written(page: str) -> str:
    """What a page says: its text without tags, data and the appendix."""
    body = re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


# ------------------------------------------------------------------------------------------------- the results file


def test_a_results_file_comes_back_as_it_was_written(results: Results, tmp_path: Path):
    path = results.write(tmp_path / "new" / "results.json")
    again = Results.read(path)
    written = store.unsealed(json.loads(path.read_text(encoding="utf-8")), "results", "")
    assert again.to_json() == results.to_json() and written == json.loads(results.to_json())
    assert again.wake.woken == results.wake.woken
    assert again.layers.causal_images == results.layers.causal_images
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_the_keys_of_the_design_are_there(results: Results):
    data = json.loads(results.to_json())
    assert data["manifest"].keys() >= {"command", "commit", "dirty", "versions", "seeds", "model_digest",
                                       "benchmark_digest", "device", "wall_seconds"}  # fmt: skip
    assert data["layers"].keys() >= {"scores", "ci", "peak"}
    assert data["layers"]["neighbour_p"][0] is None
    assert data["sae"].keys() >= {"layer", "site", "d_in", "d_sae", "k", "explained_variance", "l0", "dead_fraction"}
    assert data["ablate"].keys() >= {"difference", "random_difference", "random_sets", "p_vs_control", "per_culture",
                                     "off_target"}  # fmt: skip
    for at in (data["gap"]["with_modifier"], data["ablate"]["masked"], data["wake"]["woken"], data["steer"]["Japan"]):
        assert at.keys() == {"estimate", "ci", "n", "unscored"}
        assert len(at["ci"]) == 2
    assert data["variants"][0].keys() >= {"site", "layer", "codes", "intervention", "strength", "masked", "woken",
                                          "random", "literal"}  # fmt: skip
    assert "NaN" not in results.to_json()


def test_extra_keys_are_kept(results: Results, tmp_path: Path):
    data = json.loads(results.to_json()) | {"probe": {"accuracy": 99.5}}
    data["sweep"]["clip"] = [0.1]
    again = Results.read(Results.parse(data).write(tmp_path / "results.json"))
    assert json.loads(again.to_json()) == data


def test_an_effect_fills_its_part(results: Results, masking: Effect):
    assert results.ablate.masked.estimate == masking.accuracy["masked"].estimate
    assert results.ablate.difference.ci == (masking.difference["masked"].low, masking.difference["masked"].high)
    assert results.ablate.masked.unscored == 2
    assert results.ablate.per_culture["masked"]["Poland"].n == EACH - 2
    assert len(results.ablate.set_shift["random"]) == 20


def test_an_effect_without_a_control_is_refused(masking: Effect):
    alone = {arm: i for arm, i in masking.accuracy.items() if arm != "random"}
    effect = Effect("mask", masking.arms, alone, {}, masking.difference, 0.5, {}, (), ())
    with pytest.raises(InterpError, match="random_control=True"):
        Wake.of(effect, "steer", 4.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("manifest"), "without a manifest"),
        (lambda d: d["manifest"].update(wall_seconds=None), "its manifest has no wall_seconds"),
        (lambda d: d["manifest"].update(model_digest=None), "its manifest has no model_digest"),
        (lambda d: d["layers"].pop("scores"), r"layers\.scores: Field required"),
        (lambda d: d["gap"]["noun_only"].update(ci=[9.0, 1.0]), "upside down"),
        (lambda d: d["gap"]["noun_only"].pop("unscored"), r"gap\.noun_only\.unscored"),
        (lambda d: d["ablate"]["off_target"]["rows"].pop(), "do not form 14 rows of 15 columns"),
        (lambda d: d["layers"]["causal"]["z, modifier"].pop(), "12 scores do not fit z, modifier"),
        (lambda d: d["layers"].update(peak=12), "do not fit a peak at 12"),
        (lambda d: d["sweep"]["ci"].pop(), "different lengths"),
        (lambda d: d["sae"]["density"]["edges"].pop(), "25 bins need 26 edges"),
    ],
)
def test_malformed_results_are_refused_in_one_line(results: Results, tmp_path: Path, change, message: str):
    data = json.loads(results.to_json())
    change(data)
    path = tmp_path / "results.json"
    store.write_sealed(path, data)
    with pytest.raises(InterpError, match=message) as error:
        Results.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_results_file_is_refused(tmp_path: Path):
    with pytest.raises(InterpError, match="interp report --out"):
        Results.read(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"manifest": ')
    with pytest.raises(InterpError, match="not JSON"):
        Results.read(tmp_path / "cut.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(InterpError, match="holds a list"):
        Results.read(tmp_path / "list.json")


def test_results_made_by_hand_are_checked_before_they_are_written(results: Results, tmp_path: Path):
    broken = results.model_copy(update={"sizes": {"samples": -1, "of": 5, "split": "test"}})
    with pytest.warns(UserWarning, match="sizes"), pytest.raises(InterpError, match="sizes"):
        broken.write(tmp_path / "results.json")
    assert not list(tmp_path.iterdir())


def test_ranking_follows_the_recorded_rule(neurons: Neurons):
    for name, settings in (
        ("paper", {}),
        ("other", {"rule": {"contrast": "difference", "filter": "before", "tau": 0.5}}),
    ):
        chosen = Neurons(**{**neurons.__dict__, "settings": settings})
        for row, culture in enumerate(CULTURES[:3]):
            expected = []
            for m in range(neurons.wfs.shape[1]):
                score = neurons.wfs[row, m] - (neurons.wfs_noun[row, m] if name == "other" else 0.0)
                passes = name == "paper" or neurons.wfs_noun[row, m] <= 0.5 * neurons.wfs[row, m]
                expected += [(-score, m)] if score > 0 and passes else []
            found = curves(chosen, head=20)[culture]
            assert found.index == [m for _, m in sorted(expected)[:20]]
            assert found.k == 4, "without a record the cut is after the last kept latent"
    assert cut(neurons, "Japan") == 7


def test_overlap_is_the_jaccard_index(neurons: Neurons):
    found = overlap(neurons)
    a, b = set(neurons["Germany"].indices), set(neurons["Netherlands"].indices)
    assert found.values[3][7] == len(a & b) / len(a | b) > 0
    assert found.values[3][3] == 1.0


def test_numbers_are_written_one_way():
    value = Estimate(estimate=41.234, ci=(37.96, 44.3), n=3, unscored=0)
    assert interval(value) == "41.2 [38.0, 44.3]"
    assert points(Contrast(estimate=-2.04, ci=(-4.0, -0.04))) == "−2.0\u00a0points [−4.0, 0.0]"
    assert points(Contrast(estimate=2.0, ci=(1.0, 3.0))).startswith("+2.0")
    assert (number(-0.01), number(float("nan")), number(None)) == ("0.0", "–", "–")
    assert (probability(0.0476), probability(1e-9)) == ("p\u00a0=\u00a00.048", "p\u00a0<\u00a00.001")


# ------------------------------------------------------------------------------------------------------- the figures


def axes_of(drawing) -> list:
    """All axes of a figure that are visible, those of its parts included."""
    return [at for at in drawing.get_axes() if at.axison]


def texts(at) -> list[str]:
    return [label.get_text() for label in at.get_yticklabels()]


def test_layers_draws_contrast_and_causes_on_one_axis(scores: LayerScores):
    top, variants, causal, images = axes_of(figures.layers(scores))
    line = next(x for x in top.lines if x.get_label() == "ΔCA")
    np.testing.assert_array_equal(line.get_ydata(), scores.delta_ca)
    marks = next(x for x in top.lines if "neighbours" in str(x.get_label()))
    assert list(marks.get_xdata()) == np.flatnonzero(scores.neighbour_p <= 0.05).tolist()
    band = top.collections[0].get_datalim(top.transData)
    assert band.y0 == pytest.approx(scores.ci.min())
    assert band.y1 == pytest.approx(scores.ci.max())
    assert [x.get_label() for x in causal.lines[:4]] == list(scores.causal)
    assert len(variants.lines) == len(scores.variants) + 2
    assert len(images.containers) == 4
    peaks = [
        [x for x in at.lines if list(x.get_xdata()) == [scores.peak] * 2] for at in (top, variants, causal, images)
    ]
    assert all(len(found) == 1 for found in peaks), "the peak is marked in every panel"


def test_layers_without_a_causal_scan_has_one_panel(scores: LayerScores):
    plain = LayerScores(scores.delta_ca, scores.ci, np.full(12, np.nan), {}, peak=10)
    (at,) = axes_of(figures.layers(plain))
    assert not any("neighbours" in str(x.get_label()) for x in at.lines)


def test_wfs_draws_six_cultures_or_all(neurons: Neurons):
    assert len(axes_of(figures.wfs(neurons))) == 6
    panels = axes_of(figures.wfs(neurons, CULTURES))
    assert [at.get_title(loc="left") for at in panels] == [f"{c} (4)" for c in CULTURES]
    for at, culture in zip(panels, CULTURES, strict=True):
        dots = next(x for x in at.lines if x.get_marker() == "o")
        assert sorted(dots.get_xdata()) == sorted(neurons[culture].indices)
        assert str(neurons[culture].indices[0]) in [t.get_text() for t in at.texts]
        assert at.get_ylim()[1] > neurons.wfs[CULTURES.index(culture)].max()
    with pytest.raises(InterpError, match="Atlantis"):
        figures.wfs(neurons, ["Atlantis"])


def test_elbow_marks_the_cut_and_what_the_filter_took(neurons: Neurons):
    at = axes_of(figures.elbow(neurons))[0]
    curve, kept, dropped, line = at.lines
    assert list(line.get_xdata()) == [7.5, 7.5]
    assert "3 filtered" in at.get_title(loc="left")
    assert len(kept.get_xdata()) == 4
    assert len(dropped.get_xdata()) == 3
    assert (np.diff(curve.get_ydata()) <= 0).all()
    assert dropped.get_markerfacecolor() == "white"


def test_arms_show_the_numbers_and_every_culture(results: Results):
    bars, shifts, cultures = axes_of(figures.ablate(results.ablate))
    assert [patch.get_width() for patch in bars.patches] == pytest.approx(
        [results.ablate.baseline.estimate, results.ablate.masked.estimate, results.ablate.random.estimate]
    )
    assert texts(bars) == [
        f"{arm}\n{interval(getattr(results.ablate, arm))}" for arm in ("baseline", "masked", "random")
    ]
    assert texts(cultures) == list(CULTURES)
    assert cultures.get_xlim()[0] < 0 < 100 < cultures.get_xlim()[1]
    assert len(shifts.lines[1].get_xdata()) == 20
    dots = [x for x in cultures.lines if x.get_label() == "masked"]
    expected = [e.estimate for e in results.ablate.per_culture["masked"].values()]
    assert dots[0].get_xdata() == pytest.approx(expected)
    colours = {patch.get_facecolor() for patch in bars.patches}
    assert len(colours) == 3
    assert len({x.get_marker() for x in cultures.lines if x.get_label() in results.ablate.per_culture}) == 3


def test_the_other_effects_draw_their_values(results: Results, masking: Effect):
    assert len(axes_of(figures.gap(results.gap))) == 2
    assert results.wake.woken.estimate == pytest.approx(axes_of(figures.wake(results.wake))[0].patches[1].get_width())
    (at,) = axes_of(figures.sweep(results.sweep))
    own = next(x for x in at.lines if "own set" in str(x.get_label()))
    assert list(own.get_ydata()) == results.sweep.culture_vqa
    assert list(own.get_xdata()) == results.sweep.strength
    assert "chosen: 4" in [t.get_text() for t in at.texts]
    (at,) = axes_of(figures.steer(results.steer, results.steer_mean, 50.0))
    assert len(at.patches) == 15
    assert texts(at)[0].startswith("Arab")
    assert len(at.get_legend().get_texts()) == 2
    assert axes_of(figure(masking))[0].get_title(loc="left") == "mask own set"


def test_a_measured_sweep_shows_itself_whatever_its_type():
    class Doses:
        strengths, intervention, split = (0.0, 2.0), "amplify", "train"
        culture_vqa = (Interval(3.0, 1.0, 5.0, 40), Interval(9.0, 6.0, 12.5, 40))
        noun_fidelity = (Interval(80.0, 70.0, 90.0, 40),) * 2

    (at,) = axes_of(figure(Doses()))
    assert at.get_title(loc="left") == "Strength sweep, train split"
    assert "9.0 [6.0, 12.5]" in html(Doses())
    assert Sweep.of(Doses(), chosen=2.0, random=[3.0, 3.5]).random == [3.0, 3.5]


def test_an_unscored_arm_draws_no_bar(results: Results):
    nothing = Estimate(estimate=float("nan"), ci=(float("nan"), float("nan")), n=0, unscored=5)
    (at,) = axes_of(figures.arms({"baseline": nothing}, {}, {}, "nothing"))
    assert at.patches[0].get_width() == 0
    assert texts(at) == ["baseline\n–"]


def test_matrices_write_their_numbers(results: Results):
    at = axes_of(figures.off_target(results.ablate.off_target))[0]
    image = at.get_images()[0]
    np.testing.assert_array_equal(image.get_array(), results.ablate.off_target.values)
    assert image.norm.vmin == -image.norm.vmax
    assert image.norm(0.0) == 0.5
    diagonal = number(results.ablate.off_target.values[0][0], 0)
    assert (diagonal, (0, 0)) in [(t.get_text(), t.get_position()) for t in at.texts]
    assert results.judge is not None
    assert results.judge.confusion is not None
    shares = np.asarray(axes_of(figures.confusion(results.judge.confusion))[0].get_images()[0].get_array())
    assert shares.shape == (15, 16)
    assert shares.sum(1) == pytest.approx(np.full(15, 100.0))
    holes = Matrix(rows=["a", "b"], columns=["a", "b"], values=[[1.0, float("nan")], [float("nan"), 1.0]])
    assert axes_of(figures.overlap(holes))[0].get_images()[0].get_array().mask.sum() == 2


def test_density_draws_the_histogram(results: Results):
    assert results.sae.density is not None
    (at,) = axes_of(figures.density(results.sae.density, results.sae.dead_fraction))
    assert at.patches[0].get_data().values.tolist() == results.sae.density.counts
    assert "6.2 % never" in at.get_title(loc="left")


def test_a_grid_shows_every_picture_once_and_captions_in_latin():
    drawing = figures.grid(grid(["baseline", "woken"], ("Japan", "Italy")))
    pictures = [at.get_images()[0] for at in drawing.get_axes()]
    assert len(pictures) == 4
    assert {image.get_interpolation() for image in pictures} == {"nearest"}
    said = " ".join(t.get_text() for t in drawing.texts)
    assert "violin, Japan" in said
    assert "immagine:" in said
    assert "the page shows them" in said
    assert all(ord(c) < 0x2030 for c in said)
    left, right = (drawing.get_axes()[i].get_position() for i in (0, 1))
    assert left.x1 <= right.x0
    assert left.width * drawing.get_figwidth() == pytest.approx(left.height * drawing.get_figheight())


def test_large_grids_are_folded():
    halves = grid(["baseline", "woken"], CULTURES).panels()
    assert [len(p.rows) for p in halves] == [8, 7]
    lines = grid([f"λ {i}" for i in range(16)], CULTURES[:2]).panels()
    assert [p.columns[0] for p in lines] == ["λ 0", "λ 8"]
    assert all(len(p.rows[1].pictures) == 8 for p in lines)
    assert len(figures.grid(grid([f"λ {i}" for i in range(16)], CULTURES[:2])).get_axes()) == 32


def test_native_captions_need_a_font_that_has_them():
    from interp.report.figures.grid import font_for

    assert font_for("violin") is not None
    boxes = [font_for(rare) for rare in ("\U0003134a", "\U00016f00", "\U0001e900", "\U00012000")]
    assert not any(name and name.startswith("Last Resort") for name in boxes), "a font of boxes is no font"
    drawing = figure(grid(["baseline"], ("Russia",)))
    assert any("картинка" in t.get_text() for t in drawing.texts), "the shipped font has Cyrillic"


def test_a_grid_needs_a_picture_a_column():
    with pytest.raises(InterpError, match="2 pictures for 1 columns"):
        Grid("x", ["a"], [GridRow("p", "en", "n", [picture(1), picture(2)])])
    with pytest.raises(InterpError, match="give one of each a prompt"):
        Grid.of("x", {"a": [picture(1)]}, ["p", "q"], ["en", "en"], ["n", "m"])
    made = Grid.of("x", {"a": [Image.fromarray(picture(1))], "b": [picture(2)]}, ["p"], ["ar"], ["n"])
    assert made.rows[0].direction == "rtl"
    assert (made.rows[0].pictures[0] == picture(1)).all()


def test_a_figure_is_the_same_file_each_time_and_leaves_no_style_behind(results: Results, tmp_path: Path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    first, second = (save(figures.sweep(results.sweep), tmp_path / n, "sweep") for n in ("a", "b"))
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in second]
    assert first[0].read_bytes().startswith(b"\x89PNG")
    assert first[1].read_bytes().startswith(b"%PDF")
    with Image.open(first[0]) as opened:
        assert opened.info["dpi"][0] == pytest.approx(200, abs=0.1)
    assert dict(mpl.rcParams) == before


def test_values_show_themselves(scores: LayerScores, neurons: Neurons, masking: Effect):
    for value in (scores, neurons, masking, neurons["Japan"], masking.accuracy["masked"], grid(["a<b"], ("Arab",))):
        assert "a<b" not in html(value)
        assert len(html(value)) > 10
    assert f"layer {scores.peak}" in html(scores)
    assert str(neurons["Japan"].indices[0]) in html(neurons)
    assert interval(Estimate.of(masking.accuracy["masked"])) in html(masking)
    assert 'lang="ar" dir="rtl"' in html(grid(["a"], ("Arab",)))
    drawing = figure(scores)
    assert isinstance(drawing, Drawing)
    assert drawing._repr_png_().startswith(b"\x89PNG")
    for show in (figure, html):
        with pytest.raises(InterpError, match="LayerScores"):
            show(3.5)


def test_a_notebook_gets_the_small_picture_whatever_pyplot_registers(scores: LayerScores, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append((data, raw)))
    drawing = figure(scores)
    drawing._ipython_display_()
    [(data, raw)] = shown
    assert raw and b64decode(data["image/png"]) == drawing._repr_png_()
    with Image.open(BytesIO(drawing._repr_png_())) as small, Image.open(BytesIO(render(drawing, "png"))) as whole:
        assert small.mode == "P" and small.width == pytest.approx(whole.width * 90 / 200, abs=1)


# ---------------------------------------------------------------------------------------------------------- the page


def test_a_report_is_a_page_its_figures_and_its_numbers(report: Path, results: Results):
    folder = report.parent
    assert sorted(p.name for p in folder.iterdir()) == ["figures", "report.html", "results.json"]
    names = {p.stem for p in (folder / "figures").iterdir()}
    assert names >= {"gap", "layers", "wfs", "elbow", "ablate", "wake", "sweep", "steer", "off_target", "density",
                     "confusion", "overlap", "grid-wake", "grid-sweep", "grid-odd"}  # fmt: skip
    assert all((folder / "figures" / f"{n}.{kind}").stat().st_size > 1000 for n in names for kind in ("png", "pdf"))
    assert Results.read(folder / "results.json").to_json() == results.to_json()


def test_the_page_says_every_number(report: Path, results: Results):
    page = report.read_text(encoding="utf-8")
    said = written(page)

    def estimates(value: Any) -> list[Estimate | Contrast]:
        if isinstance(value, Estimate | Contrast):
            return [value]
        if isinstance(value, dict | list):
            return [e for item in (value.values() if isinstance(value, dict) else value) for e in estimates(item)]
        return estimates(dict(value)) if hasattr(value, "model_fields_set") else []

    found = estimates(results)
    assert len(found) > 130
    assert [interval(e) for e in found if interval(e) not in said] == []
    for numbers, digits in ((results.layers.scores, 4), (results.sweep.noun_fidelity, 1), (results.sweep.random, 1)):
        assert all(number(n, digits) in said for n in numbers or [])
    assert all(number(n) in said for row in results.ablate.off_target.values for n in row)
    assert all(", ".join(map(str, latents)) in said for latents in results.neurons.values())
    appendix = re.search(r"<pre>(.*?)</pre>", page, re.S)
    assert appendix
    assert in_json(json.loads(unescape(appendix[1]))) == in_json(json.loads(results.to_json()))


def test_the_page_tells_what_was_missed_and_what_the_numbers_mean(report: Path, results: Results):
    said = written(report.read_text(encoding="utf-8"))
    assert "1 of 2 targets met. Missed: waking." in said
    assert "model organism" in said
    assert "12 answers could not be scored" in said
    assert "27,100,000" in said
    assert "a sample of 1,500 of the 1,800 samples of the test split" in said
    assert "uncommitted changes" in said
    assert str(results.manifest.model_digest) in said
    assert "attention contrast and causal effect do not agree; the recipe uses layer 3" in said
    assert "paper's literal choice (z, layer 10, topk codes, amplify, strength 6)" in said
    assert "Masking each culture's own latents lowers CultureVQA" in said


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ([0.0, 40.0, 90.0], "rises from 0.0 % at 0 to 90.0 % at 2, where the sweep ends"),
        ([0.0, 90.0, 90.0], "to 90.0 % at 1, and stays there"),
        ([0.0, 90.0, 70.0], "to 90.0 % at 1, and falls from there, to 70.0 %"),
        ([50.0, 40.0, 30.0], "No strength raises CultureVQA above the 50.0 % at 0"),
    ],
)
def test_the_sweep_is_told_by_its_shape(results: Results, rates: list[float], said: str):
    ci = [(r, r) for r in rates]
    swept = Sweep(strength=[0.0, 1.0, 2.0], culture_vqa=rates, ci=ci, noun_fidelity=[80.0] * 3, split="train")
    assert said in sentences.sweep(results.model_copy(update={"sweep": swept}))


def test_sentences_follow_the_intervals(results: Results):
    from interp.report import sentences

    def with_difference(low: float, high: float) -> str:
        moved = Contrast(estimate=(low + high) / 2, ci=(low, high))
        return sentences.ablate(results.model_copy(update={"ablate": results.ablate.model_copy(
            update={"difference": moved, "random_difference": moved})}))  # fmt: skip

    assert "does not measurably change CultureVQA" in with_difference(-1.0, 2.0)
    assert "sets do not measurably change it" in with_difference(-1.0, 2.0)
    assert "raises CultureVQA" in with_difference(1.0, 2.0)
    assert "sets raise it" in with_difference(1.0, 2.0)
    touching = Gap(with_modifier=results.gap.noun_only, noun_only=results.gap.noun_only)
    assert "no gap is shown" in sentences.gap(results.model_copy(update={"gap": touching}))
    flat = results.sweep.model_copy(update={"culture_vqa": [5.0] * 9})
    assert "No strength raises" in sentences.sweep(results.model_copy(update={"sweep": flat}))
    assert sentences.targets(results.model_copy(update={"targets": []})) == "No targets were set for this model."


def test_the_page_loads_nothing_and_is_well_formed(report: Path):
    page = report.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href|action)\s*=\s*["'](?!data:image/(?:png|webp);base64,|#)""", page)
    assert not re.search(r"@import|url\((?!data:font/woff;base64,)|https?:|<script|<link|<iframe", page)
    assert "default-src 'none'" in page

    class Nesting(HTMLParser):
        def __init__(self):
            super().__init__()
            self.stack, self.ids = [], []

        def handle_starttag(self, tag, attrs):
            self.ids += [value for name, value in attrs if name == "id" and value]
            self.stack += [] if tag in ("meta", "img", "br") else [tag]

        def handle_endtag(self, tag):
            assert self.stack.pop() == tag

    parser = Nesting()
    parser.feed(page)
    assert parser.stack == []
    assert len(set(parser.ids)) == len(parser.ids)
    assert {target for target in re.findall(r'href="#([^"]+)"', page)} <= set(parser.ids)


def test_prompts_are_escaped_and_named_by_language_and_direction(report: Path):
    page = report.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;Bold&lt;/b&gt; &amp; more." in page
    for language, prompt in PROMPTS.values():
        direction = "rtl" if language == "ar" else "ltr"
        assert f'lang="{language}" dir="{direction}">{prompt}</span>' in page
    assert page.count("<img") == page.count('alt="')
    assert page.count('class="plot ') == 13


def test_shipped_fonts_have_every_letter_of_the_captions():
    folder = Path(str(resources.files("interp.report"))) / "fonts"
    letters: dict[str, set[int]] = {p.stem: set() for p in folder.glob("*.woff")}
    assert letters.keys() == {"ar", "ja", "ko", "th", "zh"}
    for row in pocket.samples():
        if row["language"] in letters:
            letters[row["language"]] |= {ord(c) for c in row["culture_style"] + row["noun_only"] if not c.isascii()}
    for language, wanted in letters.items():
        wanted |= {ord(c) for prompt in cross_domain.prompts(language) for c in prompt.text if ord(c) > 0x2FF}
        assert wanted <= TTFont(folder / f"{language}.woff").getBestCmap().keys()


def test_the_page_carries_the_fonts_of_its_languages_alone(report: Path):
    page = report.read_text(encoding="utf-8")
    shown = set(re.findall(r'class="prompt" lang="(\w+)"', page))
    carried = set(re.findall(r"\.prompt:lang\((\w+)\)", page))
    assert carried == shown & {"ar", "ja", "ko", "th", "zh"} != set()
    assert page.count("@font-face") == len(carried)
    for font in re.findall(r"data:font/woff;base64,([A-Za-z0-9+/=]+)", page):
        assert len(TTFont(BytesIO(b64decode(font))).getBestCmap()) < 60, "cut down to what is on the page"


def test_a_font_is_cut_to_its_text_and_keeps_how_letters_join():
    [font] = re.findall(r"base64,([A-Za-z0-9+/=]+)", webfonts.css({"ar": "رسم: فيل"}))
    cut = TTFont(BytesIO(b64decode(font)))
    assert {ord(c) for c in "رسمفيل"} <= cut.getBestCmap().keys() <= {ord(c) for c in "رسم: فيل"}
    assert {"init", "medi", "fina"} <= {r.FeatureTag for r in cut["GSUB"].table.FeatureList.FeatureRecord}
    assert webfonts.css({"tr": "resim", "und": "x"}) == ""


def test_another_model_is_not_called_an_organism(
    results: Results, scores: LayerScores, neurons: Neurons, tmp_path: Path
):
    bare = results.model_copy(update={
        "model": "some/<model>", "judge": None, "neuron_overlap": None, "targets": [], "steer_mean": None, "card": {},
        "manifest": results.manifest.model_copy(update={"certificate": None, "dirty": False, "commit": None}),
    })  # fmt: skip
    page = write_report(bare, {}, scores, neurons, tmp_path).read_text(encoding="utf-8")
    assert "model organism" not in page
    assert "neurons/index.html" not in page
    linked = write_report(bare, {}, scores, neurons, tmp_path / "linked", neuron_pages=True)
    assert 'href="neurons/index.html"' in linked.read_text(encoding="utf-8")
    assert "some/&lt;model&gt;" in page
    assert "no record of the judge" in page
    assert "uncommitted" not in page
    assert "No targets were set" in page


def test_numbers_and_figures_of_different_runs_are_refused(results: Results, scores: LayerScores, neurons: Neurons,
                                                           tmp_path: Path):  # fmt: skip
    out = tmp_path / "out"
    with pytest.raises(InterpError, match="layer scores are not those"):
        write_report(results, {}, Draws(99).layer_scores(), neurons, out)
    with pytest.raises(InterpError, match="neurons are not those"):
        write_report(results, {}, scores, Draws(99).neurons(), out)
    with pytest.raises(InterpError, match=r"'\.\./up'"):
        write_report(results, {"../up": grid(["a"])}, scores, neurons, out)
    assert not out.exists()


def test_importing_the_report_does_not_import_torch():
    script = (
        "import sys, interp.report; print(*[m for m in ('torch', 'nnsight', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("contrast", "when", "tau"), [("ratio", "before", None), ("difference", "before", None),
                                                     ("ratio", "before", 0.5), ("ratio", "after", None)])  # fmt: skip
def test_ranking_is_that_of_the_selection_with_and_without_a_filter(neurons: Neurons, contrast, when, tau):
    chosen = Rule(contrast=contrast, filter=when, tau=tau, k=5)
    settings = {"rule": {"contrast": contrast, "filter": when, "tau": tau}}
    found = replace(neurons, settings=settings)
    for culture, picked in zip(neurons.cultures, select(neurons.wfs, neurons.wfs_noun, chosen), strict=True):
        assert sorted(ranking(found, culture)[0][:5].tolist()) == sorted(picked.indices + picked.dropped)


formula = st.tuples(
    st.sampled_from(["", "'"]), st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", "−", "a"]), st.text(max_size=5)
)


@given(
    cells=st.lists(
        st.one_of(formula.map("".join), st.sampled_from(["-1.5", "+3", "-1,000", '=cmd|"x"'])), min_size=6, max_size=6
    )
)
def test_tables_as_csv_are_not_run_and_come_back(cells):
    table = Table(tuple(cells[:3]), (tuple(cells[3:]),))
    read = list(csv.reader(StringIO(as_csv(table), newline="")))
    assert [[unguarded(cell) for cell in row] for row in read] == [cells[:3], cells[3:]]
    for cell in (cell for row in read for cell in row):
        assert cell[:1] not in ("=", "@", "\t", "\r", "\n")
        if cell[:1] in ("+", "-"):
            float(cell.replace(",", ""))


def test_a_number_of_a_table_stays_one():
    table = Table(("x", "y"), (("-1.5", "+0.25"), ("=1+1", "+2.0 [1.0, 3.0]")))
    assert as_csv(table) == "x,y\r\n-1.5,+0.25\r\n'=1+1,\"'+2.0 [1.0, 3.0]\"\r\n"


def test_a_sheet_shows_names_as_text(tmp_path: Path):
    evil = '</title><script>alert(1)</script>" onerror="x'
    grid = Grid(evil, [evil], [GridRow(evil, 'x" onload="y', evil, [np.zeros((4, 4, 3), dtype=np.uint8)])])
    page = write_sheet(tmp_path / "a.html", evil, grid, [], [grid]).read_text(encoding="utf-8")
    assert "<script" not in page and 'onload="y' not in page and '" onerror="x' not in page
    assert unescape(page).count(evil) >= 5
