"""Site × codes × intervention on a part of the test split: the readings that the paper leaves open, side by side."""

from collections.abc import Mapping
from typing import Any

from tqdm.auto import tqdm

from interp.experiments import controls, effects
from interp.experiments.study import Study
from interp.interventions.edits import Mask
from interp.latents import scores
from interp.report import results
from interp.types import Codes, Interval, Neurons, Site


def variants(study: Study) -> list[results.Variant]:
    """Every choice at every site, the paper's literal one and the recipe among them; missing SAEs are trained."""
    recipe, peak = study.site, study.contrast.peak
    literal = Site(peak, "z")
    others = [] if study.sizes.brief else [Site(peak, "resid"), Site(recipe.layer, "z")]
    sites = list(dict.fromkeys([literal, *others, recipe]))
    if missing := [site for site in sites if study.found(site) is None]:
        study.train(missing)
    rows = []
    for site in tqdm(sites, desc="variants", disable=not study.progress, leave=False):
        # the literal row keeps the paper's rule; a set that its noun-side filter empties is filled before ranking
        rule = scores.Rule(filter="before") if site == literal else None
        found = study.neurons if site == recipe and rule is None else study.neurons_at(site, rule)
        rows += _at(study, found, site == literal)
    return rows


def _at(study: Study, found: Neurons, literal: bool) -> list[results.Variant]:
    """Every intervention at the neurons' site, beside one matched random set a culture."""
    site, wake = found.sae.site, study.wake_recipe
    given = effects.trial(found, 1, **study.options(study.sizes.variants))
    stage = given.stage

    def share(kind: str, plans: Any) -> results.Estimate:
        measured: Interval = stage.interval(stage.arm("variant", kind, plans).culture_hit)
        return results.Estimate.of(measured)

    masked, masked_random = share("culture_style", given.plans(Mask)), share("culture_style", given.dealt(Mask)[0])
    own = _own(wake)
    choices: list[tuple[str, Codes, float]] = [("amplify", "topk", 6.0), ("amplify", "relu", 6.0), ("steer", "topk", 1)]
    if site == study.site and own not in choices:
        choices.append(own)
    rows = []
    for intervention, codes, strength in choices:
        make = controls.maker(intervention, strength, codes)
        rows.append(
            results.Variant(
                site=site.kind,
                layer=site.layer,
                codes=codes if intervention == "amplify" else "none",
                intervention=intervention,
                strength=strength,
                masked=masked,
                masked_random=masked_random,
                woken=share("noun_only", given.plans(make)),
                random=share("noun_only", given.dealt(make)[0]),
                literal=literal and (intervention, codes) == ("amplify", "topk"),
                recipe=site == study.site and (intervention, codes, strength) == own,
            )
        )
    return rows


def _own(wake: Mapping[str, Any]) -> tuple[str, Codes, float]:
    return wake["intervention"], wake.get("codes", "topk"), float(wake["strength"])
