"""What a study measured, as parts of the results file, and what was promised of it."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interp import stats, types
from interp.interventions.edits import Enhance
from interp.latents import sae
from interp.metrics import culture_vqa
from interp.metrics.judges.base import Judge
from interp.metrics.judges.pocket import PocketJudge
from interp.report import results
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


def dictionary(used: sae.LoadedSae) -> results.Sae:
    """The SAE and its measured figures."""
    figures = json.loads((Path(used.ref.path) / "manifest.json").read_text())["measured"]
    density = figures["density"]
    return results.Sae(
        layer=used.ref.site.layer,
        site=used.ref.site.kind,
        d_in=used.ref.d_in,
        d_sae=used.ref.d_sae,
        k=used.ref.k,
        explained_variance=figures["explained_variance"],
        l0=figures["l0"],
        dead_fraction=figures["dead_fraction"],
        density=results.Density(edges=density["log10_edges"], counts=density["latents"]),
    )


def gap(ablated: Effect, woken: Effect) -> results.Gap:
    """Culture with and without the modifier, from the baselines of the two effects."""
    return results.Gap(
        with_modifier=results.Estimate.of(ablated.accuracy["baseline"]),
        noun_only=results.Estimate.of(woken.accuracy["baseline"]),
        per_culture={
            name: {c: results.Estimate.of(i) for c, i in effect.per_culture["baseline"].items()}
            for name, effect in (("with_modifier", ablated), ("noun_only", woken))
        },
    )


def fidelity(ablated: Effect, woken: Effect, enhanced: Effect | None) -> dict[str, results.Estimate]:
    """How often the noun is still named, by arm."""
    both = _named(ablated, woken, enhanced)
    return {name: results.Estimate.of(e.noun_fidelity[arm]) for e, names in both for arm, name in names.items()}


def _named(ablated: Effect, woken: Effect, enhanced: Effect | None) -> list[tuple[Effect, dict[str, str]]]:
    """Effects with the names that the report gives their arms."""
    both = [(ablated, ARMS), (woken, NOUN_ARMS)]
    return [*both, (enhanced, ENHANCED_ARMS)] if enhanced is not None else both


def enhanced(effect: Effect | None, enhancers: Mapping[str, Enhance]) -> results.Enhanced | None:
    """The trained enhancer beside its controls; None where there is none."""
    if effect is None:
        return None
    ref = enhancers["enhanced"].enhancer
    return results.Enhanced.of(effect, ref.site.layer, ref.site.kind, ref.width)


def held_out(effect: Effect | None) -> dict[str, results.Estimate]:
    """Nouns outside the benchmark, by arm."""
    if effect is None:
        return {}
    names = {"with modifier": "with modifier", "baseline": "noun only", "woken": "woken", "enhanced": "enhanced"}
    return {names[arm]: results.Estimate.of(effect.accuracy[arm]) for arm in names if arm in effect.accuracy}


def sweep(swept: types.Sweep, chosen: float | None) -> results.Sweep:
    """The dose-response curve and the strength that was chosen from it, if one was."""
    return results.Sweep(
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
    errors: results.Matrix | None,
) -> list[results.MeasureRow]:
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


def _corrected(effect: Effect, arm: str, errors: results.Matrix) -> Interval:
    """CultureVQA of an arm without the judge's own errors."""
    given = (effect.cultures, effect.arms[arm].answer, errors.rows, np.array(errors.values))
    return culture_vqa.corrected(*given, effect.settings["clusters"]).overall


def _row(name: str, label: str, measure: Measure, arms: Mapping[str, Interval]) -> results.MeasureRow:
    found = {arm: results.Estimate.of(i) for arm, i in arms.items()}
    return results.MeasureRow(name=name, label=label, unit=measure.unit, direction=measure.direction, arms=found)


def judge(used: Judge) -> results.Judge | None:
    """The judge's own errors on real pictures; None where they are not known."""
    if not isinstance(used, PocketJudge):
        return None
    card = PocketJudge.card()
    confusion = np.array(card["confusion"], dtype=float)
    hit = np.repeat([100.0, 0.0], [int(np.trace(confusion)), int(confusion.sum() - np.trace(confusion))])
    accuracy = stats.interval(hit, range(len(hit)))
    return results.Judge(
        accuracy=results.Estimate.of(accuracy), confusion=results.Matrix.of(confusion, card["labels"], card["labels"])
    )
