"""Site × codes × intervention on a part of the test split: the readings that the paper leaves open, side by side."""

from typing import Any

from tqdm.auto import tqdm

from interp.experiments import parts, run
from interp.experiments.arms import measure_arm
from interp.experiments.controls import Make, maker, plan_arms
from interp.experiments.effects import interval
from interp.experiments.study import Study
from interp.interventions.edits import Mask
from interp.latents.selection import Rule
from interp.types import Codes, Interval, Neurons, Site, Variant

Choice = tuple[str, Codes, float]
"""Intervention, codes, strength."""
CHOICES: tuple[Choice, ...] = (("amplify", "topk", 6.0), ("amplify", "relu", 6.0), ("steer", "topk", 1.0))


def variants(study: Study) -> tuple[Variant, ...]:
    """Every choice at every site, the paper's literal one and the recipe among them; missing SAEs are trained."""
    recipe, peak = study.ask(parts.site), study.ask(parts.contrast).peak
    literal = Site(peak, "z")
    others = [] if study.sizes.brief else [Site(peak, "resid"), Site(recipe.layer, "z")]
    sites = list(dict.fromkeys([literal, *others, recipe]))
    if missing := [site for site in sites if parts.known_sae(study, site) is None]:
        parts.train_saes(study, missing)
    rows: list[Variant] = []
    for site in tqdm(sites, desc="variants", disable=not study.progress, leave=False):
        # the literal row keeps the paper's rule; a set that its noun-side filter empties is filled before ranking
        rule = Rule(filter="before") if site == literal else None
        known = site == recipe and rule is None
        neurons = study.ask(parts.neurons) if known else parts.neurons_at(study, site, rule)
        rows += _at(study, neurons, site == literal)
    return tuple(rows)


def _at(study: Study, neurons: Neurons, literal: bool) -> list[Variant]:
    """Every intervention at the neurons' site, beside one matched random set per culture."""
    site, setup = neurons.sae.site, study.setup(study.sizes.variants)

    def shares(make: Make, prompts: str) -> tuple[Interval, Interval]:
        """CultureVQA under the cultures' own neurons and under random sets."""
        _, *edited = plan_arms(setup, neurons, make, "variant", prompts, 1, encoder_side=False)
        cultures_own, random = (interval(setup, measure_arm(setup, arm).culture_hit) for arm in edited)
        return cultures_own, random

    recipe = _choice(run.wake_recipe(study.model))
    at_recipe = site == study.ask(parts.site)
    choices = [*CHOICES, *([recipe] if at_recipe and recipe not in CHOICES else [])]
    masked, masked_random = shares(Mask, "culture_style")
    rows = []
    for choice in choices:
        intervention, codes, strength = choice
        woken, random = shares(maker(intervention, strength, codes), "noun_only")
        rows.append(
            Variant(
                site,
                codes if intervention == "amplify" else "none",
                intervention,
                strength,
                masked,
                masked_random,
                woken,
                random,
                literal=literal and (intervention, codes) == ("amplify", "topk"),
                recipe=at_recipe and choice == recipe,
            )
        )
    return rows


def _choice(recipe: dict[str, Any]) -> Choice:
    return recipe["intervention"], recipe.get("codes", "topk"), float(recipe["strength"])
