"""What a study measured, as parts of the results file, and what was promised of it."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interp import experiment, sae, stats
from interp.interventions import Enhance
from interp.metrics import culture_vqa
from interp.metrics.judges.base import Judge
from interp.metrics.judges.pocket import PocketJudge
from interp.report import results as parts
from interp.types import Effect, Interval, Measure

ARMS = {"baseline": "with modifier", "masked": "masked", "random": "random masked"}
"""Of culture-style prompts: arm of the effect → its name in the report."""
NOUN_ARMS = {"baseline": "noun only", "woken": "woken", "random": "random woken"}
"""The same of noun-only prompts."""
ENHANCED_ARMS = {"enhanced": "enhanced"}
"""What of the enhancer's arms stands beside them."""
LABELS = {
    "clipscore:pocket-clip": "pocket-clip, noun caption",
    "clipscore:pocket-clip:culture_style": "pocket-clip, culture caption",
    "lpips-alex": "LPIPS to the reference",
    "diversity": "diversity among seeds",
}


def dictionary(used: sae.LoadedSae) -> parts.Sae:
    """The SAE and its measured figures."""
    figures = json.loads((Path(used.ref.path) / "manifest.json").read_text())["measured"]
    density = figures["density"]
    return parts.Sae(
        layer=used.ref.site.layer,
        site=used.ref.site.kind,
        d_in=used.ref.d_in,
        d_sae=used.ref.d_sae,
        k=used.ref.k,
        explained_variance=figures["explained_variance"],
        l0=figures["l0"],
        dead_fraction=figures["dead_fraction"],
        density=parts.Density(edges=density["log10_edges"], counts=density["latents"]),
    )


def gap(ablated: Effect, woken: Effect) -> parts.Gap:
    """Culture with and without the modifier, from the baselines of the two effects."""
    return parts.Gap(
        with_modifier=parts.Estimate.of(ablated.accuracy["baseline"]),
        noun_only=parts.Estimate.of(woken.accuracy["baseline"]),
        per_culture={
            name: {c: parts.Estimate.of(i) for c, i in effect.per_culture["baseline"].items()}
            for name, effect in (("with_modifier", ablated), ("noun_only", woken))
        },
    )


def fidelity(ablated: Effect, woken: Effect, enhanced: Effect | None) -> dict[str, parts.Estimate]:
    """How often the noun is still named, by arm."""
    both = _named(ablated, woken, enhanced)
    return {name: parts.Estimate.of(e.noun_fidelity[arm]) for e, names in both for arm, name in names.items()}


def _named(ablated: Effect, woken: Effect, enhanced: Effect | None) -> list[tuple[Effect, dict[str, str]]]:
    """Effects with the names that the report gives their arms."""
    both = [(ablated, ARMS), (woken, NOUN_ARMS)]
    return [*both, (enhanced, ENHANCED_ARMS)] if enhanced is not None else both


def enhanced(effect: Effect | None, enhancers: Mapping[str, Enhance]) -> parts.Enhanced | None:
    """The trained enhancer beside its controls; None where there is none."""
    if effect is None:
        return None
    ref = enhancers["enhanced"].enhancer
    return parts.Enhanced.of(effect, ref.site.layer, ref.site.kind, ref.width)


def held_out(effect: Effect | None) -> dict[str, parts.Estimate]:
    """Nouns outside the benchmark, by arm."""
    if effect is None:
        return {}
    names = {"with modifier": "with modifier", "baseline": "noun only", "woken": "woken", "enhanced": "enhanced"}
    return {names[arm]: parts.Estimate.of(effect.accuracy[arm]) for arm in names if arm in effect.accuracy}


def sweep(swept: experiment.Sweep, chosen: float | None) -> parts.Sweep:
    """The dose-response curve and the strength that was chosen from it, if one was."""
    return parts.Sweep(
        strength=list(swept.strengths),
        culture_vqa=[i.estimate for i in swept.culture_vqa],
        ci=[(i.low, i.high) for i in swept.culture_vqa],
        noun_fidelity=[i.estimate for i in swept.noun_fidelity],
        split=swept.split,
        intervention=swept.intervention,
        chosen=chosen,
    )


def measures(
    ablated: Effect,
    woken: Effect,
    enhanced: Effect | None,
    diversity: Mapping[str, Interval],
    errors: parts.Matrix | None,
) -> list[parts.MeasureRow]:
    """Every measure of the arms of masking, waking and enhancing; CultureVQA first, also without the judge's errors.

    Args:
        ablated: with its metrics.
        woken: with the same metrics.
        enhanced: with the same metrics, if there is an enhancer.
        diversity: of each arm, by its name here.
        errors: the judge's answers on real pictures, if they are known.
    """
    both = _named(ablated, woken, enhanced)
    judged = {name: e.accuracy[arm] for e, names in both for arm, name in names.items()}
    share = Measure("percent", "higher")
    rows = [_row("culture_vqa", "CultureVQA", share, judged)]
    if errors is not None:
        better = {name: _corrected(e, arm, errors) for e, names in both for arm, name in names.items()}
        rows.append(_row("culture_vqa corrected", "CultureVQA, corrected", share, better))
    for name, measure in ablated.measures.items():
        found = {label: e.measured[name][arm] for e, names in both for arm, label in names.items()}
        rows.append(_row(name, LABELS.get(name, name), measure, found))
    if diversity:
        rows.append(_row("diversity", LABELS["diversity"], Measure("distance", "higher"), diversity))
    return rows


def _corrected(effect: Effect, arm: str, errors: parts.Matrix) -> Interval:
    """CultureVQA of an arm without the judge's own errors."""
    given = (effect.cultures, effect.arms[arm].answer, errors.rows, np.array(errors.values))
    return culture_vqa.corrected(*given, effect.settings["clusters"]).overall


def _row(name: str, label: str, measure: Measure, arms: Mapping[str, Interval]) -> parts.MeasureRow:
    found = {arm: parts.Estimate.of(i) for arm, i in arms.items()}
    return parts.MeasureRow(name=name, label=label, unit=measure.unit, direction=measure.direction, arms=found)


def judge(used: Judge) -> parts.Judge | None:
    """The judge's own errors on real pictures; None where they are not known."""
    if not isinstance(used, PocketJudge):
        return None
    card = PocketJudge.card()
    confusion = np.array(card["confusion"], dtype=float)
    hit = np.repeat([100.0, 0.0], [int(np.trace(confusion)), int(confusion.sum() - np.trace(confusion))])
    accuracy = stats.interval(hit, range(len(hit)))
    return parts.Judge(
        accuracy=parts.Estimate.of(accuracy), confusion=parts.Matrix.of(confusion, card["labels"], card["labels"])
    )


def targets(r: parts.Results) -> list[parts.Target]:
    """The promises of the pocket model and what came of them."""
    a, w = r.ablate, r.wake
    noun = {arm: value.estimate for arm, value in r.noun_fidelity.items()}
    steer = r.steer_mean.estimate if r.steer_mean else float("nan")
    found = [
        _least("With a modifier the culture shows", 80, r.gap.with_modifier.estimate, " %"),
        _most("Noun-only prompts hide it", 20, r.gap.noun_only.estimate, " %"),
        _least("Masking takes the culture away", 40, -a.difference.estimate, " points"),
        _most("Matched random masks hardly do", 5, -a.random_difference.estimate, " points"),
        _most("Masking against control: p", 0.05, a.p_vs_control, "", 3),
        _most("Nouns lost to masking", 10, noun["with modifier"] - noun["masked"], " points"),
        _least("Waking noun-only prompts", 60, w.woken.estimate, " %"),
        _most("Random sets moving them", 3, abs(w.random_difference.estimate), " points"),
        _most("Nouns lost to waking", 10, noun["noun only"] - noun["woken"], " points"),
        _least("Steering neutral English prompts", 50, steer, " %"),
        _least("Nouns recognised with a modifier", 75, noun["with modifier"], " %"),
        _least("Nouns recognised without", 75, noun["noun only"], " %"),
    ]
    return found + (_enhancer_targets(r.enhance, w.woken.estimate) if r.enhance is not None else [])


def _enhancer_targets(e: parts.Enhanced, woken: float) -> list[parts.Target]:
    noun = {arm: value.estimate for arm, value in e.noun_fidelity.items()}
    found = [
        _least("The enhancer against driving the set", round(woken, 1), round(e.arms["enhanced"].estimate, 1), " %"),
        _most("Nouns lost to the enhancer", 10, noun["baseline"] - noun["enhanced"], " points"),
    ]
    for arm, moved in e.difference.items():
        if arm.startswith(("moved to", "trained at")):
            found.append(_most(f"Enhancer, {arm}: change", 5, abs(moved.estimate), " points"))
    return found


def _least(name: str, bound: float, value: float, unit: str) -> parts.Target:
    return parts.Target(
        name=name, target=f"at least {bound:g}{unit}", measured=f"{value:.1f}{unit}", met=bool(value >= bound)
    )


def _most(name: str, bound: float, value: float, unit: str, digits: int = 1) -> parts.Target:
    shown = round(value, digits) + 0.0  # no minus before a zero
    return parts.Target(
        name=name,
        target=f"at most {bound:g}{unit}",
        measured=f"{shown:.{digits}f}{unit}",
        met=bool(value <= bound),
    )
