"""Tables 1 to 6."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from interp.benchmarks.images import Picture
from interp.benchmarks.splits import TEST
from interp.experiments import parts
from interp.experiments.parts import ENHANCED
from interp.experiments.run import wake_recipe
from interp.experiments.study import Study
from interp.experiments.summary import LABELS as MEASURES
from interp.metrics import culture_vqa, evaluate
from interp.metrics.judge_trust import four_image, reliability
from interp.metrics.judge_trust.annotations import read_annotations
from interp.report import figures
from interp.report.paper import numbers as paper
from interp.report.paper.page import Exhibit
from interp.report.paper.request import Request
from interp.report.results import plain
from interp.report.tables import ARROW, Table, written
from interp.report.text import ARMS, MISSING, interval, listed
from interp.types import Effect, Interval, Matrix, Measure, Sample

MASKED = {"baseline": paper.BASELINE, "masked": paper.MASKED, "random": paper.RANDOM_MASKED}
"""Arms of culture-style prompts → what they are called here."""
LABELS = {"baseline": paper.NOUN, "random": paper.RANDOM_WOKEN, "woken": paper.WOKEN, ENHANCED: paper.ENHANCED}
"""The same of noun-only prompts."""
_FOUR = (paper.VQA, paper.CLIP, paper.REWARD, paper.LPIPS)


def masking(request: Request) -> Exhibit:
    """Tables 1 and 5."""
    effect = _named(request.study.ask(parts.ablated), MASKED)
    text = (
        f"Culture-style prompts of the test split ({len(effect.sample_ids):,}), each culture's own latents set to "
        f"zero, and as many others matched in how often and how strongly they fire "
        f"({effect.settings['random_sets']} sets)."
    )
    data = _numbers(effect) | {"p_vs_control": effect.p_vs_control}
    drawn = {"": figures.arms(effect.accuracy, effect.per_culture, "Culture-style prompts")}
    title = "culture-style prompts with the neurons masked"
    return Exhibit(title, text, (_beside(request, effect),), drawn, data=data)


def systems(request: Request) -> Exhibit:
    """Table 2."""
    study = request.study
    ours = _arms_by_measure(study)
    rows: dict[str, dict[str, Interval]] = {}
    for name, folder in request.systems.items():
        metrics = [culture_vqa.CultureVqa(study.judge), *study.metrics]
        measured = evaluate.measure(folder, study.bench, metrics, TEST, name, progress=study.progress)
        rows[name] = {_measure_key(m): i for m, i in measured.overall.items()}
    rows |= {f"{study.model.name}, {arm}": {m: by[arm] for m, by in ours.items()} for arm in next(iter(ours.values()))}
    infos = {"culture_vqa": Measure("percent", "higher"), **study.ask(parts.woken).measures}
    text = (
        "Noun-only prompts of the test split. "
        + ("" if request.systems else "No other system's pictures were given (--system NAME=FOLDER). ")
        + "LPIPS is the distance to the sample's reference picture."
        + (" pocket-clip is a small dual encoder of the pocket world and no CLIP." * ("pocket-clip" in str(infos)))
    )
    title, data = "waking and fine-tuning beside other systems", plain(rows)
    return Exhibit(title, text, (_by_measure(rows, infos), _quoted_systems()), data=data)


def _by_measure(rows: Mapping[str, Mapping[str, Interval]], infos: Mapping[str, Measure]) -> Table:
    heads = {"culture_vqa": "CultureVQA", **MEASURES}
    head = ("", *(f"{heads.get(m, m)} {ARROW[info.direction]}" for m, info in infos.items()))
    cells = tuple(
        (name, *(written(row[m], info.unit) if m in row else MISSING for m, info in infos.items()))
        for name, row in rows.items()
    )
    return Table(head, cells)


def _quoted_systems() -> Table:
    head = ("paper", *(f"{m} {ARROW['lower' if m == paper.LPIPS else 'higher']}" for m in _FOUR))
    rows = ((f"{q.model}, {q.arm}", *(f"{q.values[m]:g}" for m in _FOUR)) for q in paper.TABLES["table2"])
    return Table(head, tuple(rows))


def _arms_by_measure(study: Study) -> dict[str, dict[str, Interval]]:
    """Measure → arm of noun-only prompts → mean."""
    effects: list[tuple[Effect, tuple[str, ...]]] = [(study.ask(parts.woken), ("baseline", "woken"))]
    if (enhanced := study.ask(parts.enhanced)) is not None:
        effects.append((enhanced, (ENHANCED,)))
    out: dict[str, dict[str, Interval]] = {"culture_vqa": {}}
    for effect, arms in effects:
        for arm in arms:
            out["culture_vqa"][LABELS[arm]] = effect.accuracy[arm]
            for name, by in effect.measured.items():
                out.setdefault(name, {})[LABELS[arm]] = by[arm]
    return out


def _measure_key(name: str) -> str:
    return "culture_vqa" if name.startswith("culture_vqa") else name


def remedies(request: Request) -> Exhibit:
    """Table 3."""
    study, woken, enhanced = request.study, request.study.ask(parts.woken), request.study.ask(parts.enhanced)
    effect = _named(woken, {arm: LABELS[arm] for arm in ("baseline", "random", "woken")})
    if enhanced is not None:
        controls = [arm for arm in enhanced.accuracy if arm not in ("baseline", ENHANCED)]
        names = {arm: paper.RANDOM_ENHANCED if arm.startswith("trained at") else arm for arm in controls}
        trained = _named(enhanced, {**names, ENHANCED: paper.ENHANCED})
        effect = replace(
            effect,
            accuracy={**effect.accuracy, **trained.accuracy},
            difference={**effect.difference, **trained.difference},
            per_culture={**effect.per_culture, **trained.per_culture},
        )
    recipe = wake_recipe(study.model)
    text = (
        f"Noun-only prompts of the test split ({len(woken.sample_ids):,}). Zero training: {recipe['intervention']}, "
        f"strength {recipe['strength']:g}, each by its own language's neurons; random sets are matched. "
        + fine_tuned(study)
    )  # fmt: skip
    drawn = {"": figures.arms(effect.accuracy, effect.per_culture, "Noun-only prompts")}
    title = "two remedies and their controls"
    return Exhibit(title, text, (_beside(request, effect),), drawn, data=_numbers(effect))


def fine_tuned(study: Study) -> str:
    """What was fine-tuned, and its controls."""
    enhancers = study.ask(parts.enhancers)
    if not enhancers:
        return "No enhancer was trained for this model (interp.train_enhancer, or --train here)."
    where = f"Fine-tuned: a residual module at layer {enhancers[ENHANCED].site.layer}."
    if len(enhancers) == 1:
        return f"{where} Its controls were not trained."
    controls = listed([name for name in enhancers if name != ENHANCED])
    return (
        f"{where} Its controls: {controls}. The paper does not say which random fine-tuning it means; “random "
        "enhanced” is the same training at a layer drawn at random."
    )


def judge(request: Request) -> Exhibit:
    """Table 4."""
    study = request.study
    samples = study.bench.samples(TEST)
    asked = four_image.four_image_task(samples, study.seed)
    file = request.annotations
    people = read_annotations(file, samples, study.judge.labels, asked) if file else ()

    def image(sample: Sample) -> Picture:
        return np.asarray(study.bench.image(sample))

    trust = reliability.reliability(study.judge, samples, image, asked, people, study.seed)
    four, sixteen = trust.four_image, trust.sixteen_way
    rows = tuple(
        (
            who,
            *(interval(i) if i else MISSING for i in both),
            *_quotes(request.names, [""], who, "four-image"),
        )
        for who, both in (("judge", (four.judge, sixteen.judge)), ("people", (four.people, sixteen.people)))
    )
    head = ("", "four-image task (%)", "16-way question (%)", "paper, four-image task")
    none = "" if people else " Nobody's answers were given (--annotations FILE; see docs/annotations.md)."
    text = (
        f"{study.judge.name} on {len(samples):,} real pictures of the test split whose culture is known. Chance is "
        f"25 % and {100 / len(study.judge.labels):.1f} %.{none}"
    )
    at = [sixteen.labels.index(c) for c in study.bench.cultures]
    matrix = Matrix(tuple(study.bench.cultures), tuple(sixteen.labels), sixteen.confusion[at])
    data = plain({"four_image": four.judge, "sixteen_way": sixteen.judge})
    title = "how far the judge can be trusted"
    return Exhibit(title, text, (Table(head, rows),), {"": figures.confusion(matrix)}, data=data)


def outside(request: Request) -> Exhibit:
    """Table 6."""
    study = request.study
    captions, held = study.ask(parts.out_of_domain), study.ask(parts.held_out)
    captions = _named(captions, LABELS)
    shown, data = [_beside(request, captions)], {"captions": plain(captions.accuracy)}
    text = (
        f"{len(captions.sample_ids)} noun-only captions outside every benchmark, shared out among the cultures; the "
        "paper's own 100 are not published."
    )
    if held is not None:
        held = _named(held, {arm: LABELS.get(arm, arm) for arm in held.accuracy})
        shown.append(_beside(replace(request, names=()), held))
        data["held_out_nouns"] = plain(held.accuracy)
        text += (
            f" The second table: {len(held.sample_ids):,} prompts of nouns that the benchmark keeps apart and that the "
            "model can draw."
        )
    if study.model.name == "pocket":
        text += " The pocket model cannot draw most of the 100 things; the judge looks at the culture alone."
    return Exhibit("captions outside the benchmark", text, tuple(shown), data=data)


def _named(effect: Effect, names: Mapping[str, str]) -> Effect:
    """An effect with the arms that have a name here, in the order of the names."""

    def pick(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: values[arm] for arm, name in names.items() if arm in values}

    return replace(
        effect,
        accuracy=pick(effect.accuracy),
        difference=pick(effect.difference),
        per_culture=pick(effect.per_culture),
    )


def _numbers(effect: Effect) -> dict[str, Any]:
    return {"accuracy": plain(effect.accuracy), "difference": plain(effect.difference)}


def _columns(request: Request) -> list[str]:
    """The paper's models whose numbers stand beside ours: ours if it is one of the two, else both."""
    ours = request.study.model
    kind = paper.name_of(type(ours).__name__) if ours.name != "pocket" else None
    printed = dict.fromkeys(row.model for name in request.names for row in paper.TABLES.get(name, ()))
    return [kind] if kind in printed else [model for model in printed if model in (paper.PEA, paper.ALT)]


def _quotes(names: tuple[str, ...], models: Sequence[str], arm: str, measure: str = paper.VQA) -> list[str]:
    """The paper's number of an arm for each model."""
    cells = []
    for model in models:
        values = [paper.quoted(name, model, arm, measure) for name in names]
        cells.append(next((f"{v:g}" for v in values if v is not None), MISSING))
    return cells


def _beside(request: Request, effect: Effect) -> Table:
    """CultureVQA of arms, the difference to the first, and the paper's numbers."""
    models = _columns(request)
    head = ("", "CultureVQA (%)", "difference (points)", *(f"paper, {m}" for m in models))
    rows = (
        (ARMS.get(arm, arm), interval(value), interval(effect.difference.get(arm)),
         *_quotes(request.names, models, arm))
        for arm, value in effect.accuracy.items()
    )  # fmt: skip
    return Table(head, tuple(rows))
