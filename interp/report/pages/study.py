"""The report: one self-contained HTML page, its figures as files, and the results file beside them."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from interp.errors import InterpError
from interp.grids import Grid
from interp.latents.curves import overlap
from interp.report import figures, layout, sentences, tables
from interp.report.paper import numbers as paper
from interp.report.results import Results
from interp.report.style import Plot
from interp.report.tables import Table
from interp.report.text import number
from interp.store import atomic_write_text

PICTURED: Final = ("gap", "ablate", "wake", "sweep", "steer", "heldout")
"""Parts that take picture grids; a grid's key is the section's name, or that and `-` and more."""
STEER_GOAL: Final = 50.0
"""At least half of the pictures: the line in the figure of steering."""
_MASKING, _WAKING = {paper.ALT: "table5", paper.PEA: "table1"}, {paper.ALT: "table3", paper.PEA: "table3"}
PAPER_ROWS: Final = (
    ("with modifier (Tables 1, 5)", _MASKING, paper.BASELINE),
    ("… Top-K neurons masked", _MASKING, paper.MASKED),
    ("… random neurons masked", _MASKING, paper.RANDOM_MASKED),
    ("noun only (Tables 2, 3)", _WAKING, paper.NOUN),
    ("… amplified, zero training", _WAKING, paper.WOKEN),
    ("… random neurons amplified", _WAKING, paper.RANDOM_WOKEN),
    ("… fine-tuned enhancer", _WAKING, paper.ENHANCED),
    ("… fine-tuned, random", _WAKING, paper.RANDOM_ENHANCED),
)
"""What stands beside our numbers: name, model → exhibit that prints it, arm."""


def write_report(results: Results, grids: Mapping[str, Grid], out: Path, neuron_pages: bool = False) -> Path:
    """Write `report.html`, `figures/*.png` and `*.pdf`, and `results.json` into a folder.

    Everything is drawn before the first file is written, and each file appears whole.

    Args:
        results: what was measured, with its manifest.
        grids: of images by part: `gap`, `ablate`, `wake`, `heldout`, `sweep`, `steer`, each also with a suffix as in
            `wake-arabic`; grids of any other name come under “More pictures”.
        out: the folder; made when missing.
        neuron_pages: whether `neurons/index.html` stands beside the page, to be linked.

    Returns:
        The path of the page.

    Raises:
        InterpError: a grid's name is no file name.
    """
    for name in grids:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            raise InterpError(f"a picture grid is named {name!r}; use a to z, digits, - and _, as it names a file")
    plots = {name: Plot.of(figure) for name, figure in _figures(results).items()}
    page = _page(results, grids, plots, neuron_pages)
    plots |= {f"grid-{name}": Plot.of(figures.grid(grid)) for name, grid in grids.items()}
    for name, plot in plots.items():
        plot.write(out / "figures", name)
    results.write(out / "results.json")
    atomic_write_text(out / "report.html", page)
    return out / "report.html"


def _figures(results: Results) -> dict[str, Figure]:
    """Every figure of the page by name."""
    neurons = results.neurons
    drawn = {
        "gap": figures.gap(results.gap, results.gap_per_culture),
        "layers": figures.layers(results.layers),
        "wfs": figures.wfs(neurons, neurons.cultures),
        "elbow": figures.elbow(neurons, neurons.cultures),
        "ablate": figures.effect(results.ablate, "Masking, culture-style prompts"),
        "off_target": figures.off_target(results.off_target),
        "wake": figures.effect(results.wake, "Waking, noun-only prompts"),
        "sweep": figures.sweep(results.sweep, float(results.recipe["strength"])),
        "steer": figures.steer(results.steer, results.steer_mean, STEER_GOAL),
        "overlap": figures.overlap(overlap(neurons)),
        "density": figures.density(results.sae.density, results.sae.dead_fraction),
    }
    if results.enhance is not None:
        drawn["enhance"] = figures.effect(results.enhance, "The trained enhancer, noun-only prompts")
    if results.measures:
        drawn["measures"] = figures.measures(results.measures)
    if results.judge is not None:
        drawn["confusion"] = figures.confusion(results.judge.confusion)
    return drawn


def _page(results: Results, grids: Mapping[str, Grid], plots: Mapping[str, Plot], neuron_pages: bool) -> str:
    """The page as its template says it, from sentences and tables of the results."""
    template = layout.environment(captioned=tables.captioned).get_template("page.html.j2")
    manifest, numbers = results.manifest, results.to_dict()
    return template.render(
        r=results,
        css=layout.style_sheet(layout.prompts(grids.values())),
        say=sentences,
        tables=tables,
        shared=overlap(results.neurons),
        plots=plots,
        galleries=_by_section(grids),
        neuron_pages=neuron_pages,
        beside_the_paper=_beside_the_paper(results),
        manifest=manifest.model_dump(mode="json", exclude={"certificate", "config"}) | {"config": manifest.config},
        settings=numbers["settings"],
        json=json.dumps(numbers, indent=1, ensure_ascii=False),
    )


def _by_section(grids: Mapping[str, Grid]) -> dict[str, list[Grid]]:
    """Grids by the section that shows them."""
    sections: dict[str, list[Grid]] = defaultdict(list)
    for name, grid in grids.items():
        section = name.split("-")[0]
        sections[section if section in PICTURED else "more"].append(grid)
    return sections


def _beside_the_paper(results: Results) -> Table:
    masked, woken = results.ablate.accuracy, results.wake.accuracy
    ours = [masked["baseline"], masked["masked"], masked["random"], woken["baseline"], woken["woken"], woken["random"]]
    if results.enhance is not None:
        enhanced = results.enhance.accuracy
        ours += [enhanced["enhanced"], *(i for arm, i in enhanced.items() if arm.startswith("trained at"))][:2]
    rows = []
    for (name, exhibits, arm), here in zip(PAPER_ROWS, ours, strict=False):
        printed = [paper.quoted(exhibit, model, arm, paper.VQA) for model, exhibit in exhibits.items()]
        rows.append((name, *(f"{value:g}" for value in printed), number(here.estimate)))
    return Table(("", *_MASKING, "this model"), tuple(rows))
