"""Figures 3 to 19, but for the user study."""

from typing import Any

from interp.benchmarks import cross_domain
from interp.benchmarks.census import census as census_of
from interp.benchmarks.splits import HELD_OUT, TEST
from interp.experiments import images, parts
from interp.experiments.run import wake_recipe
from interp.grids import Grid
from interp.latents.curves import cut as cut_rank
from interp.metrics import compare, registry
from interp.report import figures
from interp.report.paper import numbers as paper
from interp.report.paper.page import Exhibit
from interp.report.paper.request import Request
from interp.report.paper.tables import fine_tuned
from interp.report.results import layer_numbers, plain
from interp.report.text import interval, listed, number
from interp.types import Sweep

SHOWN = ("zh", "ar", "de", "ko", "ru", "th", "tr", "uk", "nl")
"""The languages of Figure 8."""


def census(request: Request) -> Exhibit:
    """Figure 3."""
    study = request.study
    counted = census_of("pocket" if registry.is_pocket(study.bench) else study.bench.folder)
    total = {split: sum(row.get(split, 0) for row in counted.counts.values()) for split in counted.splits}
    counts = listed([f"{number(n, 0)} {split}" for split, n in total.items()])
    text = f"{study.bench.name}: {counts}. CultureBench: 7,932 pictures of 15 languages, divided 7 : 2 : 1."
    drawn, data = {"": figures.census(counted)}, {"counts": counted.counts}
    return Exhibit("what is in the benchmark", text, (), drawn, data=data)


def gap(request: Request) -> Exhibit:
    """Figure 4."""
    effects = {"with_modifier": request.study.ask(parts.ablated), "noun_only": request.study.ask(parts.woken)}
    shares = {name: effect.accuracy["baseline"] for name, effect in effects.items()}
    per_culture = {name: effect.per_culture["baseline"] for name, effect in effects.items()}
    text = "The same nouns in each culture's language, with and without the words that name the culture."
    grid = request.study.ask(images.paired)["gap"]
    data = plain({**shares, "per_culture": per_culture})
    return Exhibit("the gap", text, (), {"": figures.gap(shares, per_culture)}, {"pictures": grid}, data)


def layers(request: Request) -> Exhibit:
    """Figures 6 and 14."""
    scores, site = request.study.ask(parts.layers), request.study.ask(parts.site)
    peaks = listed([f"{layer} ({model})" for model, layer in paper.PEAKS.items()])
    text = (
        f"ΔCA peaks at layer {scores.peak} of 0 to {len(scores.delta_ca) - 1} ({scores.n_pairs:,} prompt pairs); the "
        f"paper's peaks: {peaks}, and it does not say whether it counts from 0. The causal scan below asks how much of "
        f"the culture goes with an interchange at one layer; this study uses layer {site.layer}."
    )
    return Exhibit("the layer", text, (), {"": figures.layers(scores)}, data=layer_numbers(scores))


def scores(request: Request) -> Exhibit:
    """Figures 7 and 15."""
    neurons = request.study.ask(parts.neurons)
    text = (
        "Weighted frequency score of every latent, upwards on culture-style prompts, downwards on noun-only prompts; "
        "the culture's neurons in blue, its strongest latents by number."
    )
    data = {culture: list(members.indices) for culture, members in neurons.sets.items()}
    return Exhibit("the neurons", text, (), {"": figures.wfs(neurons)}, data=data)


def compared(request: Request) -> Exhibit:
    """Figure 8."""
    study, systems = request.study, dict(request.systems)
    samples, others = (
        compare.pictures(systems, study.bench, TEST) if systems else (images.one_per_culture(study, SHOWN), {})
    )
    grid = images.remedies(study, "The same noun-only prompts and noise in every column.", samples)
    if others:
        ours = {column: [row.pictures[c] for row in grid.rows] for c, column in enumerate(grid.columns)}
        labels = ([getattr(row, field) for row in grid.rows] for field in ("prompt", "language", "note"))
        grid = Grid.of("The same noun-only prompts in every column.", {**others, **ours}, *labels)
    text = "Noun-only prompts as the model draws them, woken, and under the trained enhancer."
    if not study.ask(parts.enhancers):
        text = "Noun-only prompts as the model draws them, and woken. " + fine_tuned(study)
    return Exhibit("pictures side by side", text, grids={"": grid})


def strengths(request: Request) -> Exhibit:
    """Figure 10."""
    how = wake_recipe(request.study.model)["intervention"]
    text = f"Noun-only prompts under growing strength ({how}); λ = 0 is the untouched model, bit for bit."
    return Exhibit("strength, in pictures", text, grids={"": request.study.ask(images.strengths)})


def sweep(request: Request) -> Exhibit:
    """Figure 11."""
    study, swept = request.study, request.study.ask(parts.swept)
    usual = float(wake_recipe(study.model)["strength"])
    drawn, data = {"": figures.sweep(swept, usual)}, {"recipe": _curve(swept)}
    text = (
        f"{swept.intervention.capitalize()} on the {swept.split} split, where strength may be chosen: the best is "
        f"{swept.best:g}, the recipe's {usual:g}. The paper's λ, which it reads off the test split: 6 and 7 (of "
        "PEA-Diffusion: " + listed([f"{v:g} at λ = {k:g}" for k, v in paper.STRENGTHS.items()]) + ")."
    )
    if swept.intervention != "amplify":
        topk, relu = (study.ask(parts.swept_literally)[codes] for codes in ("topk", "relu"))
        for end, curve, codes in (("amplify", topk, "Top-K codes"), ("amplify-relu", relu, "codes without Top-K")):
            drawn[end] = figures.sweep(curve, how=f"amplify, {codes}")
        data |= {"amplify": _curve(topk), "amplify_relu": _curve(relu)}
        text += (
            " The paper's own intervention at the same latents, amplification by 1 + λ, is best at "
            f"λ = {topk.best:g} on Top-K codes ({_highest(topk)} %) and at λ = {relu.best:g} on codes without "
            f"the Top-K ({_highest(relu)} %): what the Top-K leaves out is zero, and zero times 1 + λ is zero."
        )
    return Exhibit("strength, in numbers", text, (), drawn, data=data)


def _highest(curve: Sweep) -> str:
    return number(max(i.estimate for i in curve.culture_vqa))


def _curve(curve: Sweep) -> dict[str, Any]:
    return {"strengths": list(curve.strengths), "culture_vqa": [i.estimate for i in curve.culture_vqa]}


def steering(request: Request) -> Exhibit:
    """Figure 13."""
    hit, mean = request.study.ask(parts.steered)
    text = (
        "The same English prompts and noise, which name no culture, under one culture's neurons at a time: the judge "
        f"names that culture in {interval(mean)} % of pictures."
    )
    drawn, grids = {"rates": figures.steer(hit, mean)}, {"": request.study.ask(images.steered)}
    return Exhibit("steering a fixed English prompt", text, (), drawn, grids, plain({**hit, "mean": mean}))


def cut(request: Request) -> Exhibit:
    """Figure 16."""
    neurons = request.study.ask(parts.neurons)
    shown = list(neurons.cultures[:: max(1, len(neurons.cultures) // 3)])[:3]
    text = "Sorted scores and the cut K (dashed). Filled: kept; hollow: before the cut, but taken out by the noun side."
    data = {c: cut_rank(neurons, c) for c in neurons.cultures}
    return Exhibit("the choice of K", text, (), {"": figures.elbow(neurons, shown)}, data=data)


def outside(request: Request) -> Exhibit:
    """Figure 17."""
    study, cultures = request.study, request.study.ask(parts.neurons).cultures
    captions = cross_domain.deal({c: study.bench.languages[c] for c in cultures}, study.seed)
    samples = [next(s for s in captions if s.culture == c) for c in cultures]
    grids = {"": images.remedies(study, "Captions outside every benchmark.", samples)}
    if HELD_OUT in study.bench.splits:
        grids["held-out"] = study.ask(images.held_out)
    text = "Noun-only captions from outside the benchmark, as the model draws them and under each remedy."
    return Exhibit("pictures outside the benchmark", text, grids=grids)


def more(request: Request) -> Exhibit:
    """Figure 19."""
    study, title = request.study, "The same prompt and noise in every column."
    grids = {
        end: images.remedies(study, title, images.one_per_culture(study, skip=skip))
        for end, skip in (("", 2), ("more", 4))
    }
    return Exhibit("more pictures", "Every culture, other nouns.", grids=grids)
