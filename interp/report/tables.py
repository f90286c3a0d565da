"""Tables with intervals, for the page and for notebooks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, SupportsFloat

from markupsafe import Markup, escape

from interp.benchmarks.census import Census
from interp.errors import InterpError
from interp.grids import Grid, GridRow
from interp.latents.curves import cut
from interp.report.inline import QUALITY, inline_picture
from interp.report.text import ARMS, MISSING, interval, listed, number, probability
from interp.types import (
    Comparison,
    Effect,
    Interval,
    LayerScores,
    Matrix,
    Measure,
    Measured,
    MeasureRow,
    Neurons,
    NeuronSet,
    Sweep,
    Variant,
)

ARROW = {"higher": "↑", "lower": "↓"}
"""Which way is better."""


@dataclass(frozen=True)
class Table:
    """Cells of text; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: tuple[int, ...] = ()
    """Rows to set off."""

    def __html__(self) -> Markup:
        """The table as HTML, every cell escaped."""
        head = Markup("").join(Markup('<th scope="col">{}</th>').format(cell) for cell in self.head)
        body = Markup("").join(self._row(i, row) for i, row in enumerate(self.rows))
        inner = Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)
        return Markup('<div class="wide">{}</div>').format(inner)

    def _row(self, index: int, row: tuple[str, ...]) -> Markup:
        cells = Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row[1:])
        mark = Markup(' class="marked"') if index in self.marked else ""
        return Markup('<tr{}><th scope="row">{}</th>{}</tr>').format(mark, row[0], cells)


def estimates(values: Mapping[str, Interval]) -> Table:
    """Arms with their accuracy, scored and unscored samples."""
    rows = tuple((ARMS.get(a, a), interval(v), f"{v.n:,}", f"{v.unscored:,}") for a, v in values.items())
    return Table(("", "% [95 % interval]", "scored", "unscored"), rows)


def contrasts(values: Mapping[str, Interval]) -> Table:
    """Differences to the baseline."""
    rows = tuple((ARMS.get(a, a), interval(value)) for a, value in values.items())
    return Table(("difference to the baseline", "points [95 % interval]"), rows)


def by_culture(values: Mapping[str, Mapping[str, Interval]]) -> Table:
    """One row per culture, one column per arm."""
    cultures = list(dict.fromkeys(culture for column in values.values() for culture in column))
    rows = tuple((c, *(interval(column.get(c)) for column in values.values())) for c in cultures)
    return Table(("culture", *(ARMS.get(arm, arm) for arm in values)), rows)


def layers(scores: LayerScores) -> Table:
    """Every number of the layer scan, one row per layer."""
    count = len(scores.delta_ca)
    head = ["layer", "ΔCA [95 % interval]", "p against neighbours"]
    columns = [
        [_with_ends(mean, *ends) for mean, ends in zip(scores.delta_ca, scores.ci, strict=True)],
        [number(p, 3) for p in scores.neighbour_p] or [MISSING] * count,
    ]
    for group, digits, name in ((scores.variants, 4, "ΔCA, {}"), (scores.causal, 2, "causal, {}")):
        head += [name.format(arm) for arm in group]
        columns += [[number(v, digits) for v in curve] for curve in group.values()]
    for arm, at in scores.causal_images.items():
        head.append(f"pictures, {arm} (%)")
        columns.append([interval(at.get(layer)) for layer in range(count)])
    rows = tuple((str(i), *cells) for i, cells in enumerate(zip(*columns, strict=True)))
    return Table(tuple(head), rows, (scores.peak,))


def _with_ends(mean: SupportsFloat, low: SupportsFloat, high: SupportsFloat) -> str:
    return f"{number(mean, 4)} [{number(low, 4)}, {number(high, 4)}]"


def neurons(value: Neurons) -> Table:
    """The latents of each culture."""
    rows = tuple(
        (c, str(len(s.indices)), str(cut(value, c)), ", ".join(map(str, s.indices)) or "none")
        for c, s in value.sets.items()
    )
    return Table(("culture", "latents", "K", "indices, strongest first"), rows)


def variants(values: Sequence[Variant]) -> Table:
    """The choices that were measured, the paper's literal one and the recipe marked."""
    head = ("choice", "site", "layer", "codes", "intervention", "strength", "masked", "masked, random", "woken",
            "woken, random")  # fmt: skip
    rows = tuple(
        (_choice(v), v.site.kind, str(v.site.layer), v.codes, v.intervention, _plain(v.strength),
         *(interval(e) for e in (v.masked, v.masked_random, v.woken, v.random)))
        for v in values
    )  # fmt: skip
    return Table(head, rows, tuple(i for i, v in enumerate(values) if v.literal or v.recipe))


def _choice(variant: Variant) -> str:
    names = [name for name, on in (("paper's literal choice", variant.literal), ("recipe", variant.recipe)) if on]
    return listed(names)


def doses(value: Sweep, usual: float | None = None) -> Table:
    """A sweep, one row per strength; the usual one is marked."""
    rows = tuple(
        (f"{s:g}", interval(shown), number(noun.estimate))
        for s, shown, noun in zip(value.strengths, value.culture_vqa, value.noun_fidelity, strict=True)
    )
    marked = tuple(i for i, s in enumerate(value.strengths) if s == usual)
    return Table(("strength", "CultureVQA % [95 % interval]", "noun recognised %"), rows, marked)


def measures(values: Sequence[MeasureRow]) -> Table:
    """One row per arm, one column per measure."""
    arms = list(dict.fromkeys(arm for v in values for arm in v.arms))
    head = ("", *(_column(v.label, v) for v in values))
    rows = tuple((arm, *(written(v.arms[arm], v.unit) if arm in v.arms else MISSING for v in values)) for arm in arms)
    return Table(head, rows)


def _column(name: str, measure: Measure | MeasureRow) -> str:
    return f"{name}, {measure.unit} ({ARROW[measure.direction]})"


def written(value: Interval, unit: str) -> str:
    """An estimate with its interval, with the digits of its unit."""
    return interval(value, 1 if unit == "percent" else 3)


def matrix(value: Matrix, digits: int = 1) -> Table:
    """A labelled matrix."""
    rows = tuple((name, *(number(v, digits) for v in row)) for name, row in zip(value.rows, value.values, strict=True))
    return Table(("", *value.columns), rows)


def record(values: Mapping[str, Any]) -> Table:
    """Names and values, nested ones with their path."""
    return Table(("", ""), tuple(_flat(values)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        label = f"{prefix}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{label} · ")
        else:
            yield label, _plain(value)


def _plain(value: Any) -> str:
    """A value of a settings file as a person would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and value >= 1_000_000:
        return f"{value:,}"
    if isinstance(value, float):
        return MISSING if math.isnan(value) else f"{value:.6g}".replace("-", "−")
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return MISSING if value is None else str(value)


@singledispatch
def html(value: object) -> str:
    """A small table for a notebook: of LayerScores, Neurons, a NeuronSet, an Interval, an Effect, a Sweep or a Grid.

    Raises:
        InterpError: there is none for a value of this type.
    """
    known = ", ".join(kind.__name__ for kind in html.registry if kind is not object)
    raise InterpError(f"no table for a {type(value).__name__}; there is one for {known}")


def _headed(heading: str, table: Table) -> str:
    return str(Markup("<p>{}</p>{}").format(heading, table.__html__()))


@html.register
def _(value: Interval) -> str:
    return str(escape(f"{interval(value)}, n = {value.n}, unscored {value.unscored}"))


@html.register
def _(value: LayerScores) -> str:
    short = replace(value, variants={}, causal_images={})
    return _headed(f"ΔCA peaks at layer {value.peak}; {value.n_pairs:,} pairs", layers(short))


@html.register
def _(value: NeuronSet) -> str:
    rows = tuple(
        (str(i), number(m, 3), number(b, 3))
        for i, m, b in zip(value.indices, value.magnitude, value.baseline, strict=True)
    )
    return _headed(f"{value.label}, {value.sae.site}", Table(("latent", "μ", "mean on noun-only prompts"), rows))


@html.register
def _(value: Neurons) -> str:
    heading = f"Latents of {value.sae.site}, d_sae {value.sae.d_sae}, selected on the {value.split} split"
    return _headed(heading, neurons(value))


@html.register
def _(value: Sweep) -> str:
    return _headed(f"{value.intervention}, {value.split} split", doses(value))


@html.register
def _(value: Measured) -> str:
    rows = {"all": value.overall}
    for culture in dict.fromkeys(value.cultures):
        rows[culture] = {name: value.per_culture[name][culture] for name in value.measures}
    cells = tuple((row, *(written(by[n], m.unit) for n, m in value.measures.items())) for row, by in rows.items())
    counts = [f"{len(value.samples)} pictures"] + [f"{value.missing} samples without one"] * bool(value.missing)
    counts += [f"{i.unscored} unscored by {name}" for name, i in value.overall.items() if i.unscored]
    head = ("", *(_column(name, m) for name, m in value.measures.items()))
    return _headed(f"{value.system} on {value.benchmark}: {', '.join(counts)}", Table(head, cells, (0,)))


@html.register
def _(value: Comparison) -> str:
    by = value.systems[0].measures.items()
    head = ("", *(_column(name, m) for name, m in by))
    rows = tuple((s.system, *(_compared(value, name, s, m.unit) for name, m in by)) for s in value.systems)
    title = f"{len(value.systems[0].samples)} pictures each; differences to {value.reference}, p adjusted by Holm"
    return _headed(title, Table(head, rows, (0,)))


def _compared(value: Comparison, name: str, system: Measured, unit: str) -> str:
    estimate, difference = written(system.overall[name], unit), value.difference[name].get(system.system)
    if difference is None:
        return estimate
    moved = difference.estimate
    change = ("+" if moved > 0 else "") + number(moved, 1 if unit == "percent" else 3)
    return f"{estimate} ({change}, {probability(value.p[name][system.system])})"


@html.register
def _(value: Census) -> str:
    rows = [(c, *(f"{n.get(s, 0):,}" for s in value.splits)) for c, n in value.counts.items()]
    return _headed(value.name, Table(("culture", *value.splits), tuple(rows)))


@html.register
def _(value: Effect) -> str:
    rows = tuple(
        (arm, interval(accuracy), interval(value.difference.get(arm)), interval(value.noun_fidelity.get(arm)),
         f"{accuracy.n:,}", f"{accuracy.unscored:,}")
        for arm, accuracy in value.accuracy.items()
    )  # fmt: skip
    head = ("arm", "CultureVQA %", "difference, points", "noun recognised %", "scored", "unscored")
    return _headed(f"{value.name}; against control {probability(value.p_vs_control)}", Table(head, rows))


@html.register
def _(value: Grid) -> str:
    return str(gallery(value))


def gallery(value: Grid, quality: int = QUALITY) -> Markup:
    """A grid of images, their bytes in the page, captions in their own script with their language and direction.

    Small images are shown at their size or at twice it, pixel by pixel; others are scaled by the browser.

    Args:
        value: the grid.
        quality: of the images, 0 to 100.
    """
    panels = value.panels()
    few = len(panels) == 1 and len(value.columns) <= 4
    small = all(max(p.shape[:2]) <= 64 for row in value.rows for p in row.pictures)
    side = 128 if few else 64 if small else 72
    blocks = Markup("").join(_block(panel, side, quality) for panel in panels)
    return Markup('<div class="wide gallery{}">{}</div>').format(" pixels" if small else "", blocks)


def captioned(value: Grid, note: str = "") -> Markup:
    """The same as a figure, its title and a note below it."""
    caption = f"{value.title} {note}".strip()
    figure = Markup('<figure class="grid">\n{}\n<figcaption>{}</figcaption>\n</figure>')
    return figure.format(gallery(value), caption)


def _block(panel: Grid, side: int, quality: int) -> Markup:
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in panel.columns)
    body = Markup("").join(_pictured(panel.columns, row, side, quality) for row in panel.rows)
    return Markup("<table><thead><tr><td></td>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)


def _pictured(columns: list[str], row: GridRow, side: int, quality: int) -> Markup:
    cell = Markup('<td><img src="{}" alt="{}" width="{}" height="{}"></td>')
    cells = Markup("").join(
        cell.format(inline_picture(picture, quality=quality), f"{name}: {row.note or row.prompt}", side, side)
        for name, picture in zip(columns, row.pictures, strict=True)
    )
    prompt = Markup('<span class="prompt" lang="{}" dir="{}">{}</span>').format(row.language, row.direction, row.prompt)
    note = Markup('<span class="note" lang="en" dir="ltr">{} · {}</span>').format(row.language, row.note)
    return Markup('<tr><th scope="row">{}{}</th>{}</tr>').format(prompt, note, cells)
