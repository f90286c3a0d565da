"""`interp reproduce`: every table and figure of the paper but the user study, made anew on any model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from interp import store
from interp.errors import InterpError
from interp.experiments.study import Study
from interp.report.build import begun
from interp.report.paper import figures, tables
from interp.report.paper.page import Exhibit, write_exhibits
from interp.report.paper.request import Request

Maker = Callable[[Request], Exhibit]
MAKERS: Mapping[str, Maker] = {
    "fig3": figures.census, "fig4": figures.gap, "fig6": figures.layers, "fig7": figures.scores,
    "table1": tables.masking, "table2": tables.systems, "fig8": figures.compared, "fig10": figures.strengths,
    "fig11": figures.sweep, "table3": tables.remedies, "fig13": figures.steering, "table4": tables.judge,
    "fig14": figures.layers, "fig15": figures.scores, "table5": tables.masking, "fig16": figures.cut,
    "table6": tables.outside, "fig17": figures.outside, "fig19": figures.more,
}  # fmt: skip
"""By name, in the paper's order; the same maker where the paper shows the same of its other model."""


def reproduce(
    names: Sequence[str],
    study: Study,
    out: Path,
    command: str,
    systems: Mapping[str, Path] | None = None,
    annotations: Path | None = None,
) -> Path:
    """Make tables and figures of the paper.

    Args:
        names: `table1`, `fig6`, …; `all`, or none, for every one.
        study: model, benchmark, judge and sizes.
        out: folder of the files and the page.
        command: what was typed, for the manifest.
        systems: folders of other models' images, beside ours in Table 2 and Figure 8.
        annotations: file of people's answers, for Table 4.

    Returns:
        The page that holds them all.

    Raises:
        InterpError: an unknown exhibit, or as a part of the study raises.
    """
    asked = asked_for(names)
    config = {"model": study.model.name, "benchmark": study.bench.name, "exhibits": asked}
    manifest = begun(study, command, "reproduce", config)
    exhibits = []
    with store.run_folder(out, manifest):
        for maker in tqdm(dict.fromkeys(MAKERS[name] for name in asked), desc="exhibits", disable=not study.progress):
            of_maker = tuple(name for name in asked if MAKERS[name] is maker)
            exhibit = maker(Request(study, systems or {}, annotations, of_maker))
            exhibits.append(replace(exhibit, names=of_maker))
        return write_exhibits(exhibits, manifest.finished(), out)


def asked_for(names: Sequence[str]) -> list[str]:
    """The exhibits that are asked for, in the paper's order.

    Raises:
        InterpError: one is unknown.
    """
    if unknown := sorted(set(names) - MAKERS.keys() - {"all"}):
        raise InterpError(f"no exhibit {', '.join(unknown)}; known: all, {', '.join(MAKERS)}")
    return [name for name in MAKERS if not names or "all" in names or name in names]
