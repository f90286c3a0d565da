"""The report: one self-contained HTML page, its figures as files, and the results file beside them."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from interp.errors import InterpError
from interp.grids import Grid
from interp.report import figures, layout, sentences, tables
from interp.report.inline import inline_plot
from interp.report.results import Results, indices
from interp.report.style import render
from interp.report.tables import Table
from interp.report.text import number
from interp.report.webfonts import faces
from interp.store import atomic_write_bytes, atomic_write_text
from interp.types import LayerScores, Neurons

SECTIONS: Final = {
    "what": "What this is",
    "summary": "Summary",
    "gap": "The gap",
    "layer": "The layer",
    "neurons": "The neurons",
    "ablate": "Masking",
    "wake": "Waking",
    "enhance": "The enhancer",
    "sweep": "Strength",
    "steer": "Steering",
    "variants": "Other choices",
    "nouns": "The noun",
    "measures": "Other measures",
    "judge": "The judge",
    "more": "More pictures",
    "paper": "The paper",
    "provenance": "Provenance",
}
PICTURED: Final = ("gap", "ablate", "wake", "sweep", "steer", "heldout")
"""Parts that take picture grids; a grid's key is the section's name, or that and `-` and more."""
STEER_GOAL: Final = 50.0
"""At least half of the pictures: the line in the figure of steering."""
_PAPER: Final = Table(
    ("", "AltDiffusion", "PEA-Diffusion"),
    (
        ("with modifier (Tables 1, 5)", "44.54", "35.62"),
        ("… Top-K neurons masked", "12.04", "7.65"),
        ("… random neurons masked", "42.45", "33.04"),
        ("noun only (Tables 2, 3)", "23.05", "21.65"),
        ("… amplified, zero training", "30.06", "33.91"),
        ("… random neurons amplified", "20.38", "21.04"),
        ("… fine-tuned enhancer", "32.66", "36.63"),
        ("… fine-tuned, random", "21.04", "22.34"),
    ),
)


def write_report(
    results: Results,
    pictures: Mapping[str, Grid],
    layer_scores: LayerScores,
    neurons: Neurons,
    out: Path,
    neuron_pages: bool = False,
) -> Path:
    """Write `report.html`, `figures/*.png` and `*.pdf`, and `results.json` into a folder.

    Everything is drawn before the first file is written, and each file appears whole.

    Args:
        results: what was measured, with its manifest.
        pictures: picture grids by part: `gap`, `ablate`, `wake`, `heldout`, `sweep`, `steer`, each also with a suffix
            as in `wake-arabic`; grids of any other name come under “More pictures”.
        layer_scores: the scores that `results.layers` are of.
        neurons: the neurons that `results.neurons` are of.
        out: the folder; made when missing.
        neuron_pages: whether `neurons/index.html` stands beside the page, to be linked.

    Returns:
        The path of the page.

    Raises:
        InterpError: the results do not belong to these scores or neurons, or a grid's name is no file name.
    """
    _check(results, pictures, layer_scores, neurons)
    drawn = _figures(results, layer_scores, neurons)
    png = {name: render(figure, "png") for name, figure in drawn.items()}
    page = _page(results, pictures, drawn, png, neuron_pages)
    drawn |= {f"grid-{name}": figures.grid(grid) for name, grid in pictures.items()}
    for name, figure in drawn.items():
        atomic_write_bytes(out / "figures" / f"{name}.png", png.get(name) or render(figure, "png"))
        atomic_write_bytes(out / "figures" / f"{name}.pdf", render(figure, "pdf"))
    results.write(out / "results.json")
    atomic_write_text(out / "report.html", page)
    return out / "report.html"


def _check(results: Results, pictures: Mapping[str, Grid], layer_scores: LayerScores, neurons: Neurons) -> None:
    """Refuse to put numbers beside figures of another run."""
    for name in pictures:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            raise InterpError(f"a picture grid is named {name!r}; use a to z, digits, - and _, as it names a file")
    if not np.array_equal(layer_scores.delta_ca, results.layers.scores) or layer_scores.peak != results.layers.peak:
        raise InterpError("the layer scores are not those of the results; give the ones that Layers.of() was given")
    if indices(neurons) != results.neurons:
        raise InterpError("the neurons are not those of the results; give the ones that indices() was given")


def _figures(results: Results, layer_scores: LayerScores, neurons: Neurons) -> dict[str, Figure]:
    """Every figure of the page by name."""
    drawn = {
        "gap": figures.gap(results.gap),
        "layers": figures.layers(layer_scores),
        "wfs": figures.wfs(neurons, neurons.cultures),
        "elbow": figures.elbow(neurons, neurons.cultures),
        "ablate": figures.ablate(results.ablate),
        "off_target": figures.off_target(results.ablate.off_target),
        "wake": figures.wake(results.wake),
        "sweep": figures.sweep(results.sweep),
        "steer": figures.steer(results.steer, results.steer_mean, STEER_GOAL),
    }
    if results.enhance is not None:
        drawn["enhance"] = figures.enhance(results.enhance)
    if results.measures:
        drawn["measures"] = figures.measures(results.measures)
    if results.neuron_overlap is not None:
        drawn["overlap"] = figures.overlap(results.neuron_overlap)
    if results.sae.density is not None:
        drawn["density"] = figures.density(results.sae.density, results.sae.dead_fraction)
    if results.judge is not None and results.judge.confusion is not None:
        drawn["confusion"] = figures.confusion(results.judge.confusion)
    return drawn


def _page(
    results: Results,
    pictures: Mapping[str, Grid],
    drawn: Mapping[str, Figure],
    png: Mapping[str, bytes],
    neuron_pages: bool,
) -> str:
    template = layout.environment().get_template("page.html.j2")
    galleries = _galleries(pictures)
    present = {"more": "more" in galleries, "measures": bool(results.measures), "enhance": results.enhance is not None}
    return template.render(
        r=results,
        css=Markup(layout.read(layout.PAGE_CSS) + faces(pictures)),
        contents=[(name, title) for name, title in SECTIONS.items() if present.get(name, True)],
        commit=(results.manifest.commit or "none (outside a repository)")[:12],
        say=_sentences(results),
        key_numbers=sentences.key_numbers(results),
        plots={name: inline_plot(data) for name, data in png.items()},
        widths={name: f"{figure.get_figwidth():.2f}" for name, figure in drawn.items()},
        galleries=galleries,
        neuron_pages=neuron_pages,
        tables=_tables(results),
        dead=f"{results.sae.dead_fraction * results.sae.d_sae:,.0f}",
        json=results.to_json(),
    )


def _galleries(pictures: Mapping[str, Grid]) -> dict[str, list[dict[str, Any]]]:
    """Grids by section, as HTML."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, grid in pictures.items():
        section = name.split("-")[0]
        found[section if section in PICTURED else "more"].append({"title": grid.title, "html": tables.gallery(grid)})
    return found


def _sentences(results: Results) -> dict[str, str]:
    """Every computed sentence by the name that the template gives it."""
    simple: tuple[Callable[[Results], str], ...] = (
        sentences.ablate, sentences.enhance, sentences.gap, sentences.judge, sentences.layers, sentences.measures,
        sentences.neurons, sentences.noun_fidelity, sentences.sae, sentences.sizes, sentences.steer, sentences.sweep,
        sentences.targets, sentences.unscored, sentences.variants, sentences.wake,
    )  # fmt: skip
    say = {sentence.__name__: sentence(results) for sentence in simple}
    overlap = sentences.overlap(results.neuron_overlap) if results.neuron_overlap is not None else ""
    return say | {"off_target": sentences.off_target(results.ablate.off_target), "overlap": overlap}


def _tables(results: Results) -> dict[str, Table]:
    """Every table by the name that the template gives it."""
    r, masking, waking = results, results.ablate, results.wake
    gap = {"with_modifier": r.gap.with_modifier, "noun_only": r.gap.noun_only}
    manifest = r.manifest.model_dump(mode="json", exclude={"certificate", "config"})
    judged = {"culture": r.judge.accuracy, "noun": r.judge.noun_accuracy} if r.judge else {}
    judged = {name: found for name, found in judged.items() if found is not None}
    steered = {**r.steer, "mean": r.steer_mean} if r.steer_mean else r.steer
    optional = {"overlap": r.neuron_overlap, "confusion": r.judge.confusion if r.judge else None}
    digits = {"overlap": 2, "confusion": 0}
    matrices = {name: tables.matrix(m, digits[name]) for name, m in optional.items() if m is not None}
    trained = results.enhance
    parts = (
        {
            "enhance": tables.estimates(trained.arms),
            "enhance_difference": tables.contrasts(trained.difference),
            "enhance_nouns": tables.estimates(trained.noun_fidelity),
            "enhance_culture": tables.by_culture(trained.per_culture),
        }
        if trained is not None
        else {}
    )
    return (
        matrices
        | parts
        | {
            "off_target": tables.matrix(masking.off_target),
            "gap": tables.estimates(gap),
            "layers": tables.layers(r),
            "neurons": tables.neurons(r),
            "ablate": tables.estimates(
                {"baseline": masking.baseline, "masked": masking.masked, "random": masking.random}
            ),
            "ablate_difference": tables.contrasts(
                {"own set masked": masking.difference, "random sets": masking.random_difference}
            ),
            "ablate_culture": tables.by_culture(masking.per_culture),
            "wake": tables.estimates({"baseline": waking.baseline, "woken": waking.woken, "random": waking.random}),
            "wake_difference": tables.contrasts(
                {"own set driven": waking.difference, "random sets": waking.random_difference}
            ),
            "wake_culture": tables.by_culture(waking.per_culture),
            "held_out": tables.estimates(r.held_out),
            "sweep": tables.doses(r.sweep),
            "steer": tables.estimates(steered),
            "judge": tables.estimates(judged),
            "variants": tables.variants(r.variants),
            "noun_fidelity": tables.estimates(r.noun_fidelity),
            "measures": tables.measures(r.measures),
            "paper": _beside_the_paper(r),
            "manifest": tables.record(manifest | {"config": r.manifest.config}),
            "certificate": tables.record(r.manifest.certificate or {}),
            "card": tables.record(r.card),
            "settings": tables.record(r.settings),
        }
    )


def _beside_the_paper(r: Results) -> Table:
    own = [r.ablate.baseline, r.ablate.masked, r.ablate.random, r.wake.baseline, r.wake.woken, r.wake.random]
    if r.enhance is not None:
        control = next((e for arm, e in r.enhance.arms.items() if arm.startswith("trained at")), None)
        own += [r.enhance.arms["enhanced"], *([control] if control else [])]
    rows = tuple((*row, number(e.estimate)) for row, e in zip(_PAPER.rows, own, strict=False))
    return Table((*_PAPER.head, "this model"), rows)
