"""Tables 1 to 6."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from interp.benchmarks.images import Picture
from interp.benchmarks.splits import TEST
from interp.experiments.study import ENHANCED, Study
from interp.metrics import culture_vqa, evaluate
from interp.metrics.judge_trust import four_image, reliability
from interp.metrics.judge_trust.annotations import read_annotations
from interp.report import figures, findings, results
from interp.report.paper import numbers as paper
from interp.report.paper.page import Exhibit
from interp.report.paper.request import Request
from interp.report.tables import ARROW, Table, written
from interp.report.text import ARMS, MISSING, interval, listed
from interp.types import Effect, Interval, Measure, Sample

LABELS = {"baseline": paper.NOUN, "random": paper.RANDOM_WOKEN, "woken": paper.WOKEN, ENHANCED: paper.ENHANCED}
"""Arms of noun-only prompts → what they are called here."""
_FOUR = (paper.VQA, paper.CLIP, paper.REWARD, paper.LPIPS)


def masking(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Tables 1 and 5."""
    study, effect = request.study, request.study.ablated
    label = {"random": paper.RANDOM_MASKED}
    arms = {label.get(a, a): i for a, i in effect.accuracy.items()}
    moved = {label.get(a, a): i for a, i in effect.difference.items()}
    text = (
        f"Culture-style prompts of the test split ({len(effect.sample_ids):,}), each culture's own latents set to "
        f"zero, and as many others matched in how often and how strongly they fire "
        f"({effect.settings['random_sets']} sets)."
    )
    data = {"accuracy": numbers(arms), "difference": numbers(moved), "p_vs_control": effect.p_vs_control}
    table = _beside(names, study, arms, moved)
    title = "culture-style prompts with the neurons masked"
    drawn = {"": _drawn(arms, {label.get(a, a): by for a, by in effect.per_culture.items()}, "Culture-style prompts")}
    return Exhibit(names, title, text, (table,), drawn, note=note(names), data=data)


def systems(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Table 2."""
    study = request.study
    found = _arms_by_measure(study)
    rows: dict[str, dict[str, Interval]] = {}
    for name, folder in request.systems.items():
        metrics = [culture_vqa.CultureVqa(study.judge), *study.metrics]
        measured = evaluate.measure(folder, study.bench, metrics, TEST, name, progress=study.progress)
        rows[name] = {_measure_key(m): i for m, i in measured.overall.items()}
    rows |= {
        f"{study.model.name}, {arm}": {m: by[arm] for m, by in found.items()} for arm in next(iter(found.values()))
    }
    infos = {"culture_vqa": Measure("percent", "higher"), **study.woken.measures}
    heads = {m: "CultureVQA" if m == "culture_vqa" else findings.LABELS.get(m, m) for m in infos}
    head = ("", *(f"{heads[m]} {ARROW[info.direction]}" for m, info in infos.items()))
    cells = tuple(
        (name, *(written(row[m], info.unit) if m in row else MISSING for m, info in infos.items()))
        for name, row in rows.items()
    )
    quoted = Table(
        ("paper", *(f"{m} {ARROW['lower' if m == paper.LPIPS else 'higher']}" for m in _FOUR)),
        tuple((f"{q.model}, {q.arm}", *(f"{q.values[m]:g}" for m in _FOUR)) for q in paper.TABLES["table2"]),
    )
    text = (
        "Noun-only prompts of the test split. "
        + ("" if request.systems else "No other system's pictures were given (--system NAME=FOLDER). ")
        + "LPIPS is the distance to the sample's reference picture."
        + (" pocket-clip is a small dual encoder of the pocket world and no CLIP." * ("pocket-clip" in str(infos)))
    )
    data = {name: numbers(row) for name, row in rows.items()}
    title = "waking and fine-tuning beside other systems"
    return Exhibit(names, title, text, (Table(head, cells), quoted), note=note(names), data=data)


def _arms_by_measure(study: Study) -> dict[str, dict[str, Interval]]:
    """Measure → arm of noun-only prompts → mean."""
    effects: list[tuple[Effect, tuple[str, ...]]] = [(study.woken, ("baseline", "woken"))]
    if study.enhanced is not None:
        effects.append((study.enhanced, (ENHANCED,)))
    out: dict[str, dict[str, Interval]] = {"culture_vqa": {}}
    for effect, arms in effects:
        for arm in arms:
            out["culture_vqa"][LABELS[arm]] = effect.accuracy[arm]
            for name, by in effect.measured.items():
                out.setdefault(name, {})[LABELS[arm]] = by[arm]
    return out


def _measure_key(name: str) -> str:
    return "culture_vqa" if name.startswith("culture_vqa") else name


def _drawn(arms: Mapping[str, Interval], per_culture: Mapping[str, Mapping[str, Interval]], title: str) -> Figure:
    """Arms beside each other, overall and by culture."""
    overall = {arm: results.Estimate.of(i) for arm, i in arms.items()}
    by_culture = {arm: {c: results.Estimate.of(i) for c, i in per_culture[arm].items()} for arm in arms}
    return figures.arms(overall, by_culture, {}, title)


def remedies(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Table 3."""
    study, woken, enhanced = request.study, request.study.woken, request.study.enhanced
    arms = {LABELS[a]: woken.accuracy[a] for a in ("baseline", "random", "woken")}
    moved = {LABELS[a]: woken.difference[a] for a in ("random", "woken")}
    per_culture = {LABELS[a]: by for a, by in woken.per_culture.items()}
    if enhanced is not None:
        own = [a for a in enhanced.accuracy if a not in ("baseline", ENHANCED)]
        label = {a: paper.RANDOM_ENHANCED if a.startswith("trained at") else a for a in [*own, ENHANCED]}
        arms |= {label[a]: enhanced.accuracy[a] for a in label}
        moved |= {label[a]: enhanced.difference[a] for a in label}
        per_culture |= {label[a]: enhanced.per_culture[a] for a in label}
    wake = study.wake_recipe
    text = (
        f"Noun-only prompts of the test split ({len(woken.sample_ids):,}). Zero training: {wake['intervention']}, "
        f"strength {wake['strength']:g}, each by its own language's set; random sets are matched. "
        + fine_tuned(study)
    )  # fmt: skip
    data = {"accuracy": numbers(arms), "difference": numbers(moved)}
    table = _beside(names, study, arms, moved)
    drawn = {"": _drawn(arms, per_culture, "Noun-only prompts")}
    return Exhibit(names, "two remedies and their controls", text, (table,), drawn, note=note(names), data=data)


def fine_tuned(study: Study) -> str:
    if not study.enhancers:
        return "No enhancer was trained for this model (interp.train_enhancer, or --train here)."
    found = f"Fine-tuned: a residual module at layer {study.enhancers[ENHANCED].site.layer}."
    if len(study.enhancers) == 1:
        return f"{found} Its controls were not trained."
    controls = listed([name for name in study.enhancers if name != ENHANCED])
    return (
        f"{found} Its controls: {controls}. The paper does not say which random fine-tuning it means; “random "
        "enhanced” is the same training at a layer drawn at random."
    )


def judge(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Table 4."""
    study = request.study
    samples = study.bench.samples(TEST)
    asked = four_image.four_image_task(samples, study.seed)
    file = request.annotations
    people = read_annotations(file, samples, study.judge.labels, asked) if file else ()

    def picture(sample: Sample) -> Picture:
        return np.asarray(study.bench.image(sample))

    found = reliability.reliability(study.judge, samples, picture, asked, people, study.seed)
    four, sixteen = found.four_image, found.sixteen_way
    rows = tuple(
        (
            who,
            *(interval(results.Estimate.of(i)) if i else MISSING for i in both),
            *_quotes(names, [""], who, "four-image"),
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
    matrix = results.Matrix.of(sixteen.confusion[at], study.bench.cultures, sixteen.labels)
    data = numbers({"four_image": four.judge, "sixteen_way": sixteen.judge})
    table = Table(head, rows)
    drawn = {"": figures.confusion(matrix)}
    return Exhibit(names, "how far the judge can be trusted", text, (table,), drawn, note=note(names), data=data)


def cross_domain(request: Request, names: tuple[str, ...]) -> Exhibit:
    """Table 6."""
    study = request.study
    dealt = study.out_of_domain
    tables = [_beside(names, study, *_renamed(dealt))]
    text = (
        f"{len(dealt.sample_ids)} noun-only captions outside every benchmark, dealt to the cultures; the paper's own "
        "100 are not published."
    )
    data: dict[str, Any] = {"captions": numbers(_renamed(dealt)[0])}
    if (held := study.held_out) is not None:
        tables.append(_beside((), study, *_renamed(held)))
        data["held_out_nouns"] = numbers(_renamed(held)[0])
        text += (
            f" The second table: {len(held.sample_ids):,} prompts of nouns that the benchmark keeps apart and that the "
            "model can draw."
        )
    if study.model.name == "pocket":
        text += " The pocket model cannot draw most of the 100 things; the judge looks at the culture alone."
    return Exhibit(names, "captions outside the benchmark", text, tuple(tables), note=note(names), data=data)


def _renamed(effect: Effect) -> tuple[dict[str, Interval], dict[str, Interval]]:
    arms = {LABELS.get(a, a): i for a, i in effect.accuracy.items()}
    return arms, {LABELS.get(a, a): i for a, i in effect.difference.items()}


def _columns(study: Study, names: tuple[str, ...]) -> list[str]:
    """The paper's models whose numbers stand beside ours: ours if it is one of the two, else both."""
    kind = paper.name_of(type(study.model).__name__) if study.model.name != "pocket" else None
    printed = dict.fromkeys(row.model for name in names for row in paper.TABLES.get(name, ()) if row.model)
    own = [model for model in printed if model == kind]
    return own or [model for model in printed if model in (paper.PEA, paper.ALT)]


def _quotes(names: tuple[str, ...], models: Sequence[str], arm: str, measure: str = paper.VQA) -> list[str]:
    found = []
    for model in models:
        values = [paper.quoted(name, model, arm, measure) for name in names]
        found.append(next((f"{v:g}" for v in values if v is not None), MISSING))
    return found


def _beside(names: tuple[str, ...], study: Study, arms: Mapping[str, Interval], moved: Mapping[str, Interval]) -> Table:
    """CultureVQA of arms, the difference to the first, and the paper's numbers."""
    models = _columns(study, names)
    head = ("", "CultureVQA (%)", "difference (points)", *(f"paper, {m}" for m in models))
    rows = tuple(
        (
            ARMS.get(arm, arm),
            interval(results.Estimate.of(found)),
            interval(results.Contrast.of(moved[arm])) if arm in moved else MISSING,
            *_quotes(names, models, arm),
        )
        for arm, found in arms.items()
    )
    return Table(head, rows)


def numbers(values: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: results.Estimate.of(found).model_dump(mode="json") for name, found in values.items()}


def note(names: Sequence[str]) -> str:
    return " ".join(paper.SLIPS[name] for name in names if name in paper.SLIPS)
