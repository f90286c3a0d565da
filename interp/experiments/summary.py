"""Every measure of the arms of masking, waking and enhancing side by side, and the judge's own errors."""

from collections.abc import Mapping

import numpy as np

from interp import stats
from interp.experiments import parts
from interp.experiments.study import Study
from interp.metrics import culture_vqa
from interp.metrics.judges.pocket import PocketJudge
from interp.types import Effect, Interval, JudgeErrors, Matrix, Measure, MeasureRow

ABLATED_ARMS = {"baseline": "with modifier", "masked": "masked", "random": "random masked"}
"""Of culture-style prompts: arm of the effect → its name beside the others."""
WOKEN_ARMS = {"baseline": "noun only", "woken": "woken", "random": "random woken"}
"""The same of noun-only prompts."""
ENHANCED_ARMS = {"enhanced": "enhanced"}
"""What of the enhancer's arms stands beside them."""
LABELS = {
    "clipscore:pocket-clip": "pocket-clip, noun caption",
    "clipscore:pocket-clip:culture_style": "pocket-clip, culture caption",
    "lpips-alex": "LPIPS to the reference",
    "diversity": "diversity among seeds",
}
"""Measures in figures and tables; others by their name."""


def named_arms(study: Study) -> list[tuple[Effect, dict[str, str]]]:
    """The effects of masking, waking and enhancing, with the names of their arms beside each other."""
    effects = [(study.ask(parts.ablated), ABLATED_ARMS), (study.ask(parts.woken), WOKEN_ARMS)]
    enhanced = study.ask(parts.enhanced)
    return [*effects, (enhanced, ENHANCED_ARMS)] if enhanced is not None else effects


def noun_fidelity(study: Study) -> dict[str, Interval]:
    """How often the noun is still named, by arm."""
    return {name: e.noun_fidelity[arm] for e, names in named_arms(study) for arm, name in names.items()}


def measures(study: Study) -> tuple[MeasureRow, ...]:
    """Every measure of the arms; CultureVQA first, also without the judge's errors where they are known."""
    effects, share = named_arms(study), Measure("percent", "higher")
    judged = {name: e.accuracy[arm] for e, names in effects for arm, name in names.items()}
    rows = [_row("culture_vqa", "CultureVQA", share, judged)]
    if (errors := study.ask(judge_errors)) is not None:
        better = {name: _corrected(e, arm, errors.confusion) for e, names in effects for arm, name in names.items()}
        rows.append(_row("culture_vqa corrected", "CultureVQA, corrected", share, better))
    for name, measure in study.ask(parts.ablated).measures.items():
        arms = {label: e.measured[name][arm] for e, names in effects for arm, label in names.items()}
        rows.append(_row(name, LABELS.get(name, name), measure, arms))
    diversity = study.ask(parts.diversity)
    return (*rows, _row("diversity", LABELS["diversity"], Measure("distance", "higher"), diversity))


def _row(name: str, label: str, measure: Measure, arms: Mapping[str, Interval]) -> MeasureRow:
    return MeasureRow(name, label, measure.unit, measure.direction, arms)


def _corrected(effect: Effect, arm: str, confusion: Matrix) -> Interval:
    """CultureVQA of an arm without the judge's own errors."""
    answers, clusters = effect.arms[arm].answer, effect.settings["clusters"]
    return culture_vqa.corrected(effect.cultures, answers, confusion.rows, confusion.values, clusters).overall


def judge_errors(study: Study) -> JudgeErrors | None:
    """The judge's own errors on real images; None where they are not known."""
    if not isinstance(study.judge, PocketJudge):
        return None
    card = PocketJudge.card()
    confusion, labels = np.array(card["confusion"], dtype=float), tuple(card["labels"])
    right, all_of = int(np.trace(confusion)), int(confusion.sum())
    hits = np.repeat([100.0, 0.0], [right, all_of - right])
    return JudgeErrors(stats.interval(hits, range(len(hits))), Matrix(labels, labels, confusion))
