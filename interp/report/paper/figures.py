"""Figures 3 to 19, but for the user study."""

from typing import Any

from interp import types
from interp.benchmarks import census as curation
from interp.benchmarks import cross_domain
from interp.benchmarks.splits import HELD_OUT, TEST, TRAIN
from interp.experiments import run
from interp.grids import Grid
from interp.metrics import compare, registry
from interp.report import figures, findings, results
from interp.report.paper import numbers as paper
from interp.report.paper.page import Exhibit
from interp.report.paper.request import Request
from interp.report.paper.tables import fine_tuned, note, numbers
from interp.report.text import interval, listed, number

SHOWN = ("zh", "ar", "de", "ko", "ru", "th", "tr", "uk", "nl")
"""The languages of Figure 8."""


def census(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figure 3."""
    study = request.study
    found = curation.census("pocket" if registry.is_pocket(study.bench) else study.bench.folder)
    total = {split: sum(row.get(split, 0) for row in found.counts.values()) for split in found.splits}
    counts = listed([f"{number(n, 0)} {split}" for split, n in total.items()])
    text = f"{study.bench.name}: {counts}. CultureBench: 7,932 pictures of 15 languages, divided 7 : 2 : 1."
    data = {"counts": found.counts}
    return Exhibit(names, "what is in the benchmark", text, (), {"": figures.figure(found)}, data=data)


def gap(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figure 4."""
    found = findings.gap(request.study.ablated, request.study.woken)
    text = "The same nouns in each culture's language, with and without the words that name the culture."
    grid = request.study.album.paired()["gap"]
    data = found.model_dump(mode="json")
    return Exhibit(names, "the gap", text, (), {"": figures.gap(found)}, {"pictures": grid}, data=data)


def layers(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figures 6 and 14."""
    scores = request.study.layers
    peaks = listed([f"{layer} ({model})" for model, layer in paper.PEAKS.items()])
    text = (
        f"ΔCA peaks at layer {scores.peak} of 0 to {len(scores.delta_ca) - 1} ({scores.n_pairs:,} prompt pairs); the "
        f"paper's peaks: {peaks}, and it does not say whether it counts from 0. The causal scan below asks how much of "
        f"the culture goes with an interchange at one layer; this study uses layer {request.study.site.layer}."
    )
    data = results.Layers.of(scores).model_dump(mode="json")
    return Exhibit(names, "the layer", text, (), {"": figures.layers(scores)}, data=data)


def scores(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figures 7 and 15."""
    neurons = request.study.neurons
    text = (
        "Weighted frequency score of every latent, upwards on culture-style prompts, downwards on noun-only prompts; "
        "the culture's set in blue, its strongest latents by number."
    )
    data = {c: list(chosen.indices) for c, chosen in neurons.sets.items()}
    return Exhibit(names, "the neurons", text, (), {"": figures.wfs(neurons)}, data=data)


def compared(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figure 8."""
    album, systems = request.study.album, dict(request.systems)
    samples, others = compare.pictures(systems, request.study.bench, TEST) if systems else (album.more(SHOWN), {})
    grid = album.remedies("The same noun-only prompts and noise in every column.", samples)
    if others:
        own = {column: [row.pictures[c] for row in grid.rows] for c, column in enumerate(grid.columns)}
        said = ([getattr(row, field) for row in grid.rows] for field in ("prompt", "language", "note"))
        grid = Grid.of("The same noun-only prompts in every column.", {**others, **own}, *said)
    text = "Noun-only prompts as the model draws them, woken, and under the trained enhancer."
    if not request.study.enhancers:
        text = "Noun-only prompts as the model draws them, and woken. " + fine_tuned(request.study)
    return Exhibit(names, "pictures side by side", text, grids={"": grid})


def strengths(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figure 10."""
    wake = request.study.wake_recipe
    text = (
        f"Noun-only prompts under growing strength ({wake['intervention']}); λ = 0 is the untouched model, bit for bit."
    )
    return Exhibit(names, "strength, in pictures", text, grids={"": request.study.album.sweep()})


def sweep(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figure 11."""
    study, swept = request.study, request.study.swept
    chosen = float(study.wake_recipe["strength"])
    drawn, data = {"": figures.sweep(findings.sweep(swept, chosen))}, {"recipe": _curve(swept)}
    text = (
        f"{swept.intervention.capitalize()} on the {swept.split} split, where strength may be chosen: the best is "
        f"{swept.best:g}, the recipe's {chosen:g}. The paper's λ, which it reads off the test split: 6 and 7 (of "
        "PEA-Diffusion: " + listed([f"{v:g} at λ = {k:g}" for k, v in paper.STRENGTHS.items()]) + ")."
    )
    if swept.intervention != "amplify":
        given = {**study.options(study.sizes.sweep), "split": TRAIN}
        lambdas = (0.0, 6.0, 7.0, 8.0) if study.sizes.brief else tuple(float(s) for s in range(9))
        literal = run.sweep(study.neurons, lambdas, "amplify", "topk", **given)
        relu = run.sweep(study.neurons, lambdas, "amplify", "relu", **given)
        for end, found, codes in (("amplify", literal, "Top-K codes"), ("amplify-relu", relu, "codes without Top-K")):
            shown = findings.sweep(found, None).model_copy(update={"intervention": f"amplify, {codes}"})
            drawn[end] = figures.sweep(shown)
        data |= {"amplify": _curve(literal), "amplify_relu": _curve(relu)}
        text += (
            " The paper's own intervention at the same latents, amplification by 1 + λ, is best at "
            f"λ = {literal.best:g} on Top-K codes ({_highest(literal)} %) and at λ = {relu.best:g} on codes without "
            f"the Top-K ({_highest(relu)} %): what the Top-K leaves out is zero, and zero times 1 + λ is zero."
        )
    return Exhibit(names, "strength, in numbers", text, (), drawn, note=note(names), data=data)


def _highest(found: types.Sweep) -> str:
    return number(max(i.estimate for i in found.culture_vqa))


def _curve(found: types.Sweep) -> dict[str, Any]:
    return {"strengths": list(found.strengths), "culture_vqa": [i.estimate for i in found.culture_vqa]}


def steering(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figure 13."""
    hit, mean = request.study.steered
    values = {c: results.Estimate.of(i) for c, i in hit.items()}
    text = (
        "The same English prompts and noise, which name no culture, under one culture's set at a time: the judge names "
        f"that culture in {interval(results.Estimate.of(mean))} % of pictures."
    )
    drawn = {"rates": figures.steer(values, results.Estimate.of(mean))}
    return Exhibit(
        names, "steering a fixed English prompt", text, (), drawn, {"": request.study.album.steered()},
        data=numbers({**hit, "mean": mean}),
    )  # fmt: skip


def cut(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figure 16."""
    neurons = request.study.neurons
    shown = list(neurons.cultures[:: max(1, len(neurons.cultures) // 3)])[:3]
    text = "Sorted scores and the cut K (dashed). Filled: kept; hollow: before the cut, but taken out by the noun side."
    data = {c: results.cut(neurons, c) for c in neurons.cultures}
    return Exhibit(names, "the choice of K", text, (), {"": figures.elbow(neurons, shown)}, data=data)


def cross_domain_pictures(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figure 17."""
    study = request.study
    dealt = cross_domain.deal({c: study.bench.languages[c] for c in study.neurons.cultures}, study.seed)
    samples = [next(cross_domain.sample(case) for case in dealt if case.culture == c) for c in study.neurons.cultures]
    grids = {"": study.album.remedies("Captions outside every benchmark.", samples)}
    if HELD_OUT in study.bench.splits:
        grids["held-out"] = study.album.held_out()
    text = "Noun-only captions from outside the benchmark, as the model draws them and under each remedy."
    return Exhibit(names, "pictures outside the benchmark", text, grids=grids)


def more(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Figure 19."""
    album = request.study.album
    grids = {
        end: album.remedies("The same prompt and noise in every column.", album.more(skip=skip))
        for end, skip in (("", 2), ("more", 4))
    }
    return Exhibit(names, "more pictures", "Every culture, other nouns.", grids=grids)
