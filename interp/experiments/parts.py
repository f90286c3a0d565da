"""The parts of a study, a function each: from the layer to what two remedies do outside the benchmark.

Each returns a value that can be saved (`interp.save`) and read again; None where there is nothing to measure. Ask for
them by `Study.ask`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from interp import store
from interp.activations.find_layers import find_layers
from interp.benchmarks import cross_domain
from interp.benchmarks.splits import HELD_OUT, TRAIN
from interp.experiments import run
from interp.experiments.arms import measure_arms, score_repeated
from interp.experiments.controls import PlannedArm, maker, own_plans, plan_arms
from interp.experiments.effects import effect_of, interval
from interp.experiments.inputs import answers_cache
from interp.experiments.layer_images import scan_pictures
from interp.experiments.setup import Setup
from interp.experiments.study import Study
from interp.hub.load import SHIPPED, shipped_enhancers
from interp.interventions import enhancer_training
from interp.interventions.edits import Enhance, Mask, Plan
from interp.interventions.enhancer import CULTURE_LAYER
from interp.latents import find, sae
from interp.latents.sae_training import SaeSettings
from interp.latents.selection import Rule
from interp.metrics import registry
from interp.types import Density, Effect, Interval, LayerScores, Matrix, Neurons, SaeFigures, Site, Sweep

SEEDS = 4
"""Images of one prompt whose diversity is measured."""
ENHANCED = "enhanced"
"""The arm of the enhancer that is no control."""

# ------------------------------------------------------------------------------------------------- layer, SAE, neurons


def contrast(study: Study) -> LayerScores:
    """The attention contrast and the causal scan on the encoder's side."""
    return find_layers(study.model, study.bench, per_culture=study.sizes.pairs, progress=study.progress)


def layers(study: Study) -> LayerScores:
    """The same, with images at some of the layers."""
    scores = study.ask(contrast)
    last = study.model.spec("text_encoder").reach
    at = {scores.peak, study.ask(site).layer} | (set() if study.sizes.brief else {0, last // 2, last})
    return scan_pictures(
        study.model, study.bench, scores, sorted(at), per_culture=study.sizes.scan, judge=study.judge,
        steps=study.sizes.steps, progress=study.progress,
    )  # fmt: skip


def site(study: Study) -> Site:
    """The recipe's site, or the paper's on a model without one."""
    recipe = study.model.recipe
    return Site(int(recipe["layer"]) if "layer" in recipe else study.ask(contrast).peak, recipe.get("site", "z"))


def used_sae(study: Study) -> sae.LoadedSae:
    """The SAE at the site."""
    return sae_at(study, study.ask(site))


def sae_figures(study: Study) -> SaeFigures:
    """The same with its measured figures."""
    ref = study.ask(used_sae).ref
    figures = store.read_json(Path(ref.path) / sae.MANIFEST, "restore it or train it again")["measured"]
    density = Density(tuple(figures["density"]["log10_edges"]), tuple(figures["density"]["latents"]))
    return SaeFigures(
        ref.site, ref.d_in, ref.d_sae, ref.k, figures["explained_variance"], figures["l0"], figures["dead_fraction"],
        density,
    )  # fmt: skip


def neurons(study: Study) -> Neurons:
    """The neurons at the site, by the recipe's rule."""
    return neurons_at(study, study.ask(site))


def neurons_at(study: Study, site: Site, rule: Rule | None = None) -> Neurons:
    """Neurons at any site by a rule; None for the recipe's."""
    return find.find_neurons(study.model, sae_at(study, site), study.bench, rule, progress=study.progress)


def sae_at(study: Study, site: Site) -> sae.LoadedSae:
    """The SAE of a site: shipped, in the cache, or trained now."""
    return known_sae(study, site) or train_saes(study, [site])[site]


def known_sae(study: Study, site: Site) -> sae.LoadedSae | None:
    """The SAE of a site if it ships or is in the cache."""
    for folder in (SHIPPED / Path(study.model.name).name, sae_folder(study)):
        if (folder / sae.folder_name(site) / sae.CFG).is_file():
            loaded = sae.load(folder / sae.folder_name(site))
            if loaded.ref.encoder_digest == study.model.encoder_digest and loaded.ref.site == site:
                return loaded
    return None


def sae_folder(study: Study) -> Path:
    """Where a study keeps the SAEs that it trains: named by all that decides them."""
    sizes = study.sizes
    decide = [study.bench.digest, study.seed, sizes.sae_steps, sizes.sae_samples, study.model.identity]
    return store.cache_dir() / "saes" / f"{study.model.encoder_digest[:12]}-{store.sha256_record(decide)[:12]}"


def train_saes(study: Study, sites: list[Site]) -> dict[Site, sae.LoadedSae]:
    """SAEs at several sites, smaller runs than those that ship, from one pass."""
    settings = SaeSettings(steps=study.sizes.sae_steps, batch=512, k=16, seed=study.seed)
    return find.train_sae(
        study.model, study.bench, sites, settings=settings, folder=sae_folder(study),
        per_culture=study.sizes.sae_samples, progress=study.progress,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- the effects


def _test(study: Study) -> Setup:
    """The setup of masking, waking and enhancing, with every metric."""
    return study.setup(study.sizes.test, metrics=study.metrics)


def ablated(study: Study) -> Effect:
    """Each culture's neurons masked on culture-style prompts (Tables 1 and 5)."""
    return run.masked(_test(study), study.ask(neurons), study.sizes.random_sets)


def woken(study: Study) -> Effect:
    """Noun-only prompts driven by their own language's neurons (Tables 2 and 3)."""
    return run.woken(_test(study), study.ask(neurons), run.wake_recipe(study.model), study.sizes.random_sets)


def enhanced(study: Study) -> Effect | None:
    """Noun-only prompts under the trained enhancer, beside its controls (Table 3); None where there is none."""
    steps = study.ask(enhancers)
    return run.enhanced(_test(study), steps) if steps else None


def enhancers(study: Study) -> dict[str, Enhance]:
    """The enhancer and its controls by the arm's name: shipped, or trained now if `training`."""
    model = study.model
    refs = {n: ref for n, ref in shipped_enhancers(model.name).items() if ref.encoder_digest == model.encoder_digest}
    if not refs and study.training:
        at = study.ask(site)
        refs = enhancer_training.train_enhancers(
            model, study.bench, at.layer, at.kind, at.encoder, progress=study.progress
        )
    if CULTURE_LAYER not in refs:
        return {}
    ref, arms = refs[CULTURE_LAYER], {ENHANCED: Enhance(refs[CULTURE_LAYER])}
    if other := refs.get(enhancer_training.RANDOM_LAYER):
        arms[f"moved to layer {other.site.layer}"] = Enhance(replace(ref, site=other.site))
        arms[f"trained at layer {other.site.layer}"] = Enhance(other)
    if other := refs.get(enhancer_training.SHUFFLED):
        arms["shuffled pictures"] = Enhance(other)
    return arms


def swept(study: Study) -> Sweep:
    """Dose and response of the recipe's intervention on the train split (Figure 11)."""
    recipe = run.wake_recipe(study.model)
    setup = study.setup(study.sizes.sweep, TRAIN)
    codes = recipe.get("codes", "topk")
    return run.swept(setup, study.ask(neurons), strengths(study), recipe["intervention"], codes)


def swept_literally(study: Study) -> dict[str, Sweep]:
    """The same of the paper's amplification at the same latents, by the SAE's codes: with and without the Top-K."""
    setup = study.setup(study.sizes.sweep, TRAIN)
    lambdas = (0.0, 6.0, 7.0, 8.0) if study.sizes.brief else tuple(float(s) for s in range(9))
    return {
        "topk": run.swept(setup, study.ask(neurons), lambdas, "amplify", "topk"),
        "relu": run.swept(setup, study.ask(neurons), lambdas, "amplify", "relu"),
    }


def strengths(study: Study) -> list[float]:
    """The paper's 0 to 8 for amplification; for steering, parts and multiples of the recipe's strength."""
    recipe = run.wake_recipe(study.model)
    if recipe["intervention"] == "amplify":
        return [float(s) for s in range(9)]
    shares = (0, 0.5, 1, 1.5, 2) if study.sizes.brief else (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2)
    return [round(share * float(recipe["strength"]), 3) for share in shares]


def steer_recipe(study: Study) -> dict[str, Any]:
    """What steers a neutral English prompt: the recipe's, or as for waking."""
    return dict(study.model.recipe.get("steer", run.wake_recipe(study.model)))


def steered(study: Study) -> tuple[dict[str, Interval], Interval]:
    """Neutral English prompts under each culture's neurons (Figure 13), and their mean."""
    of_cultures = study.ask(neurons)
    # the prompts are English and neutral: whose samples they come from does not matter
    some = of_cultures.cultures[::3] if study.sizes.brief else None
    return run.steer_all(study.setup(study.sizes.steer, cultures=some), of_cultures, maker(**steer_recipe(study)))


def off_target(study: Study) -> Matrix:
    """What masking the column culture's neurons does to the row culture, in points of CultureVQA."""
    of_cultures = study.ask(neurons)
    changes = run.off_target_of(study.setup(study.sizes.off_target), of_cultures)
    return Matrix(of_cultures.cultures, of_cultures.cultures, changes)


def held_out(study: Study) -> Effect | None:
    """Nouns outside the benchmark: alone, with modifier, woken, enhanced (Table 6); None without such a split."""
    if HELD_OUT not in study.bench.splits:
        return None
    setup = study.setup(study.sizes.held_out, HELD_OUT)
    planned = remedies(study, setup)
    planned.insert(1, PlannedArm("with modifier", "culture_style"))
    return effect_of(setup, planned, measure_arms(setup, planned), "held out")


def out_of_domain(study: Study) -> Effect:
    """The 100 captions outside every benchmark, dealt to the cultures: alone, woken, enhanced (Table 6)."""
    samples = cross_domain.deal({c: study.bench.languages[c] for c in study.ask(neurons).cultures}, study.seed)
    setup = Setup(
        study.model, samples, study.judge, seed=study.seed, steps=study.sizes.steps,
        cache=answers_cache(study.model), progress=study.progress,
    )  # fmt: skip
    planned = remedies(study, setup)
    return effect_of(setup, planned, measure_arms(setup, planned), "out of domain")


def remedies(study: Study, setup: Setup) -> list[PlannedArm]:
    """Noun-only prompts as they are, woken, and under the trained enhancer if there is one."""
    make = maker(**run.wake_recipe(study.model))
    woken = PlannedArm("woken", "noun_only", tuple(own_plans(setup, study.ask(neurons), make)))
    arms = [PlannedArm("baseline", "noun_only"), woken]
    if steps := study.ask(enhancers):
        arms.append(PlannedArm(ENHANCED, "noun_only", (Plan.of(steps[ENHANCED]),) * len(setup.samples)))
    return arms


def diversity(study: Study) -> dict[str, Interval]:
    """Mean LPIPS among the images of one prompt, in every arm of masking, waking and enhancing."""
    setup, of_cultures = study.setup(study.sizes.diverse), study.ask(neurons)
    metric = registry.metric("diversity", study.bench, study.model.device)
    make = maker(**run.wake_recipe(study.model))
    styled = plan_arms(setup, of_cultures, Mask, "masked", "culture_style", 1, encoder_side=False)
    plain = plan_arms(setup, of_cultures, make, "woken", "noun_only", 1, encoder_side=False)
    names = ("with modifier", "masked", "random masked", "noun only", "woken", "random woken")
    planned: dict[str, PlannedArm] = dict(zip(names, (*styled, *plain), strict=True))
    if steps := study.ask(enhancers):
        planned[ENHANCED] = PlannedArm(ENHANCED, "noun_only", (Plan.of(steps[ENHANCED]),) * len(setup.samples))
    bar = tqdm(planned.items(), desc="diversity", disable=not study.progress, leave=False)
    return {name: interval(setup, score_repeated(setup, metric, arm, SEEDS)) for name, arm in bar}
