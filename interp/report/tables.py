"""Tables with intervals, for the page and for notebooks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from markupsafe import Markup, escape

from interp.benchmarks.census import Census
from interp.errors import InterpError
from interp.grids import Grid, GridRow
from interp.report.inline import inline_picture
from interp.report.results import Contrast, DoseResponse, Estimate, Matrix, MeasureRow, Results, Sweep, Variant, curves
from interp.report.text import ARMS, MISSING, interval, listed, number, probability
from interp.types import Comparison, Effect, Interval, LayerScores, Measured, Neurons, NeuronSet

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


def estimates(values: Mapping[str, Estimate]) -> Table:
    """Arms with their accuracy, scored and unscored samples."""
    rows = tuple((ARMS.get(a, a), interval(v), f"{v.n:,}", f"{v.unscored:,}") for a, v in values.items())
    return Table(("", "% [95 % interval]", "scored", "unscored"), rows)


def contrasts(values: Mapping[str, Contrast]) -> Table:
    """Differences to the baseline."""
    rows = tuple((name, interval(value)) for name, value in values.items())
    return Table(("difference to the baseline", "points [95 % interval]"), rows)


def by_culture(values: Mapping[str, Mapping[str, Estimate]]) -> Table:
    """One row a culture, one column an arm."""
    cultures = list(dict.fromkeys(culture for column in values.values() for culture in column))
    rows = tuple((c, *(interval(column.get(c)) for column in values.values())) for c in cultures)
    return Table(("culture", *(ARMS.get(arm, arm) for arm in values)), rows)


def layers(results: Results) -> Table:
    """Every number of the layer scan, one row a layer."""
    found = results.layers
    head = ["layer", "ΔCA [95 % interval]", "p against neighbours"]
    columns: list[list[str]] = [
        [
            f"{number(s, 4)} [{number(low, 4)}, {number(high, 4)}]"
            for s, (low, high) in zip(found.scores, found.ci, strict=True)
        ],
        [number(p, 3) for p in found.neighbour_p] or [MISSING] * len(found.scores),
    ]
    for group, digits, name in ((found.variants, 4, "ΔCA, {}"), (found.causal, 2, "causal, {}")):
        head += [name.format(arm) for arm in group]
        columns += [[number(v, digits) for v in curve] for curve in group.values()]
    for arm, at in found.causal_images.items():
        head.append(f"pictures, {arm} (%)")
        columns.append([interval(at.get(layer)) for layer in range(len(found.scores))])
    rows = tuple((str(i), *cells) for i, cells in enumerate(zip(*columns, strict=True)))
    return Table(tuple(head), rows, (found.peak,))


def neurons(results: Results) -> Table:
    """The latents of each culture."""
    curve = results.neuron_curves
    rows = tuple(
        (c, str(len(found)), str(curve[c].k) if c in curve else MISSING, ", ".join(map(str, found)) or "none")
        for c, found in results.neurons.items()
    )
    return Table(("culture", "latents", "K", "indices, strongest first"), rows)


def variants(values: list[Variant]) -> Table:
    """The choices that were measured, the paper's literal one and the recipe marked."""
    head = ("choice", "site", "layer", "codes", "intervention", "strength", "masked", "masked, random", "woken",
            "woken, random")  # fmt: skip
    rows = tuple(
        (_choice(v), v.site, str(v.layer), v.codes, v.intervention, _plain(v.strength),
         *(interval(e) for e in (v.masked, v.masked_random, v.woken, v.random)))
        for v in values
    )  # fmt: skip
    return Table(head, rows, tuple(i for i, v in enumerate(values) if v.literal or v.recipe))


def _choice(variant: Variant) -> str:
    names = [name for name, on in (("paper's literal choice", variant.literal), ("recipe", variant.recipe)) if on]
    return listed(names)


def doses(found: Sweep) -> Table:
    """A sweep, one row a strength."""
    columns = {
        "strength": [f"{s:g}" for s in found.strength],
        "CultureVQA % [95 % interval]": [
            f"{number(v)} [{number(low)}, {number(high)}]"
            for v, (low, high) in zip(found.culture_vqa, found.ci, strict=True)
        ],
    }
    if found.random is not None:
        columns["random sets %"] = [number(r) for r in found.random]
    columns["noun recognised %"] = [number(n) for n in found.noun_fidelity]
    marked = tuple(i for i, s in enumerate(found.strength) if s == found.chosen)
    return Table(tuple(columns), tuple(zip(*columns.values(), strict=True)), marked)


def measures(values: Sequence[MeasureRow]) -> Table:
    """One row an arm, one column a measure."""
    arms = list(dict.fromkeys(arm for v in values for arm in v.arms))
    head = ("", *(f"{v.label}, {v.unit} ({ARROW[v.direction]})" for v in values))
    rows = tuple((arm, *(written(v.arms[arm], v.unit) if arm in v.arms else MISSING for v in values)) for arm in arms)
    return Table(head, rows)


def written(value: Interval | Estimate, unit: str) -> str:
    """An estimate with its interval, with the digits of its unit."""
    return interval(Estimate.of(value) if isinstance(value, Interval) else value, 1 if unit == "percent" else 3)


def matrix(value: Matrix, digits: int = 1) -> Table:
    """A labelled matrix."""
    rows = tuple((name, *(number(v, digits) for v in row)) for name, row in zip(value.rows, value.values, strict=True))
    return Table(("", *value.columns), rows)


def record(values: Mapping[str, Any]) -> Table:
    """Names and values, nested ones with their path; estimates with their intervals."""
    return Table(("", ""), tuple((name, text) for name, text in _flat(values)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for name, value in values.items():
        label = f"{prefix}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping) and {"estimate", "ci", "n", "unscored"} <= value.keys():
            lines.append((label, interval(Estimate.model_validate(value))))
        elif isinstance(value, Mapping):
            lines += _flat(value, f"{label} · ")
        else:
            lines.append((label, _plain(value)))
    return lines


def _plain(value: Any) -> str:
    """A value of a settings file as a person would write it."""
    if isinstance(value, Estimate):
        return interval(value)
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
    """A small table for a notebook: of LayerScores, Neurons, a NeuronSet, an Interval, an Effect, a sweep or a Grid.

    Raises:
        InterpError: there is none for a value of this type.
    """
    if isinstance(value, DoseResponse):
        return _headed(f"{value.intervention}, {value.split} split", doses(Sweep.of(value)))
    known = ", ".join(kind.__name__ for kind in html.registry if kind is not object)
    raise InterpError(f"no table for a {type(value).__name__}; there is one for {known}")


def _headed(heading: str, table: Table) -> str:
    return str(Markup("<p>{}</p>{}").format(heading, table.__html__()))


@html.register
def _(value: Interval) -> str:
    return str(escape(f"{interval(Estimate.of(value))}, n = {value.n}, unscored {value.unscored}"))


@html.register
def _(value: LayerScores) -> str:
    rows = tuple(
        (str(i), f"{number(float(s), 4)} [{number(float(lo), 4)}, {number(float(hi), 4)}]", number(float(p), 3),
         *(number(float(curve[i]), 2) for curve in value.causal.values()))
        for i, (s, (lo, hi), p) in enumerate(zip(value.delta_ca, value.ci, value.neighbour_p, strict=True))
    )  # fmt: skip
    head = ("layer", "ΔCA [95 % interval]", "p against neighbours", *(f"causal, {arm}" for arm in value.causal))
    return _headed(f"ΔCA peaks at layer {value.peak}; {value.n_pairs:,} pairs", Table(head, rows, (value.peak,)))


@html.register
def _(value: NeuronSet) -> str:
    rows = tuple(
        (str(i), number(m, 3), number(b, 3))
        for i, m, b in zip(value.indices, value.magnitude, value.baseline, strict=True)
    )
    return _headed(f"{value.label}, {value.sae.site}", Table(("latent", "μ", "mean on noun-only prompts"), rows))


@html.register
def _(value: Neurons) -> str:
    found = curves(value, head=1)
    rows = tuple((c, str(len(s.indices)), str(found[c].k), ", ".join(map(str, s.indices)) or "none")
                 for c, s in value.sets.items())  # fmt: skip
    heading = f"Latents of {value.sae.site}, d_sae {value.sae.d_sae}, selected on the {value.split} split"
    return _headed(heading, Table(("culture", "latents", "K", "indices, strongest first"), rows))


@html.register
def _(value: Measured) -> str:
    by = value.measures.items()
    cultures = list(dict.fromkeys(value.cultures))
    head = ("", *(f"{n}, {m.unit} ({ARROW[m.direction]})" for n, m in by))
    every = ("all", *(written(value.overall[n], m.unit) for n, m in by))
    rows = [(c, *(written(value.per_culture[n][c], m.unit) for n, m in by)) for c in cultures]
    unscored = {n: i.unscored for n, i in value.overall.items() if i.unscored}
    told = [f"{len(value.samples)} pictures", f"{value.missing} samples without one" if value.missing else ""]
    told += [f"{count} unscored by {n}" for n, count in unscored.items()]
    title = f"{value.system} on {value.benchmark}: {', '.join(t for t in told if t)}"
    return _headed(title, Table(head, (every, *rows), (0,)))


@html.register
def _(value: Comparison) -> str:
    by = value.systems[0].measures.items()
    head = ("", *(f"{n}, {m.unit} ({ARROW[m.direction]})" for n, m in by))
    rows = tuple((s.system, *(_compared(value, n, s.system, m.unit) for n, m in by)) for s in value.systems)
    title = f"{len(value.systems[0].samples)} pictures each; differences to {value.reference}, p adjusted by Holm"
    return _headed(title, Table(head, rows, (0,)))


def _compared(value: Comparison, name: str, system: str, unit: str) -> str:
    own = next(s for s in value.systems if s.system == system)
    said = written(own.overall[name], unit)
    if system not in value.difference[name]:
        return said
    moved = value.difference[name][system].estimate
    change = ("+" if moved > 0 else "") + number(moved, 1 if unit == "percent" else 3)
    return f"{said} ({change}, {probability(value.p[name][system])})"


@html.register
def _(value: Census) -> str:
    rows = [(c, *(f"{n.get(s, 0):,}" for s in value.splits)) for c, n in value.counts.items()]
    return _headed(value.name, Table(("culture", *value.splits), tuple(rows)))


@html.register
def _(value: Effect) -> str:
    rows = tuple((arm, interval(Estimate.of(accuracy)), interval(_contrast(value, arm)),
                  interval(Estimate.of(value.noun_fidelity[arm])) if arm in value.noun_fidelity else MISSING,
                  f"{accuracy.n:,}", f"{accuracy.unscored:,}")
                 for arm, accuracy in value.accuracy.items())  # fmt: skip
    head = ("arm", "CultureVQA %", "difference, points", "noun recognised %", "scored", "unscored")
    return _headed(f"{value.name}; against control {probability(value.p_vs_control)}", Table(head, rows))


def _contrast(effect: Effect, arm: str) -> Contrast | None:
    return Contrast.of(effect.difference[arm]) if arm in effect.difference else None


@html.register
def _(value: Grid) -> str:
    return str(gallery(value))


def gallery(value: Grid) -> Markup:
    """A grid of pictures: inline PNG, captions in their own script with their language and direction.

    Small pictures are shown at their size or at twice it, pixel by pixel; others are scaled by the browser.
    """
    panels = value.panels()
    few = len(panels) == 1 and len(value.columns) <= 4
    small = all(max(p.shape[:2]) <= 64 for row in value.rows for p in row.pictures)
    blocks = Markup("").join(_block(panel, 128 if few else 64 if small else 72) for panel in panels)
    return Markup('<div class="wide gallery{}">{}</div>').format(" pixels" if small else "", blocks)


def _block(panel: Grid, side: int) -> Markup:
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in panel.columns)
    body = Markup("").join(_pictured(panel.columns, row, side) for row in panel.rows)
    return Markup("<table><thead><tr><td></td>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)


def _pictured(columns: list[str], row: GridRow, side: int) -> Markup:
    cell = Markup('<td><img src="{}" alt="{}" width="{}" height="{}"></td>')
    cells = Markup("").join(
        cell.format(inline_picture(picture), f"{name}: {row.note or row.prompt}", side, side)
        for name, picture in zip(columns, row.pictures, strict=True)
    )
    prompt = Markup('<span class="prompt" lang="{}" dir="{}">{}</span>').format(row.language, row.direction, row.prompt)
    note = Markup('<span class="note" lang="en" dir="ltr">{} · {}</span>').format(row.language, row.note)
    return Markup('<tr><th scope="row">{}{}</th>{}</tr>').format(prompt, note, cells)
