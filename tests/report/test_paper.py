"""The paper's exhibits from made-up parts of a study: nothing is drawn or measured."""

import csv
import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_values import CULTURES, Draws, grid

import interp
from interp.escapes import unguarded
from interp.experiments import images, parts
from interp.experiments.study import Study
from interp.report.paper import reproduce
from interp.report.paper.page import Exhibit, as_csv
from interp.report.paper.request import Request
from interp.report.results import Results
from interp.report.tables import Table
from interp.report.text import interval
from interp.types import Effect, Measure, Site


@pytest.fixture(scope="module")
def whole(results: Results) -> Results:
    return Draws(6).with_enhancer(results)


@pytest.fixture(scope="module")
def study(whole: Results) -> Study:
    """A study whose parts are made up."""
    made = Study.named(interp.load("pocket"), interp.benchmark("pocket"), "quick", progress=False)
    assert whole.enhance
    assert whole.held_out
    measures = {"lpips-alex": Measure("distance", "lower")}
    wake, enhance = (_measured(effect, measures) for effect in (whole.wake, whole.enhance))
    captions = {arm: i for arm, i in whole.held_out.accuracy.items() if arm != "with modifier"}
    made._measured.update(
        {
            parts.ablated: whole.ablate,
            parts.woken: wake,
            parts.enhanced: enhance,
            parts.enhancers: {name: SimpleNamespace(site=Site(3)) for name in ("enhanced", "moved to layer 6")},
            parts.out_of_domain: replace(whole.held_out, accuracy=captions),
            parts.held_out: whole.held_out,
            parts.layers: whole.layers,
            parts.neurons: whole.neurons,
            parts.site: whole.neurons.sae.site,
            parts.swept: whole.sweep,
            parts.swept_literally: dict.fromkeys(("topk", "relu"), replace(whole.sweep, intervention="amplify")),
            parts.steered: (whole.steer, whole.steer_mean),
            images.paired: {"gap": grid(["culture-style", "noun-only"])},
            images.strengths: grid(["λ = 0", "λ = 1"]),
            images.steered: grid(["unsteered", *CULTURES]),
        }
    )
    return made


def _measured(effect: Effect, measures: dict[str, Measure]) -> Effect:
    return replace(effect, measures=measures, measured={name: effect.noun_fidelity for name in measures})


def made(study: Study, *names: str) -> Exhibit:
    return replace(reproduce.MAKERS[names[0]](Request(study, {}, names=names)), names=names)


def columns(table: Table, start: int) -> dict[str, list[str]]:
    """The cells of each row from a column on."""
    return {row[0]: list(row[start:]) for row in table.rows}


def test_masking_stands_beside_both_tables_of_the_paper(study: Study, whole: Results):
    exhibit = made(study, "table1", "table5")
    assert exhibit.heading == "Table 1 and Table 5"
    [table] = exhibit.tables
    assert table.head[3:] == ("paper, PEA-Diffusion", "paper, AltDiffusion")
    assert columns(table, 3) == {
        "baseline": ["35.62", "44.54"],
        "own set masked": ["7.65", "12.04"],
        "random masked": ["33.04", "42.45"],
    }
    masked = whole.ablate
    assert table.rows[1][1:3] == (interval(masked.accuracy["masked"]), interval(masked.difference["masked"]))
    assert table.rows[0][2] == "–"
    assert exhibit.data["p_vs_control"] == masked.p_vs_control
    assert exhibit.data["accuracy"]["random masked"]["estimate"] == masked.accuracy["random"].estimate
    assert exhibit.data["difference"].keys() == {"masked", "random masked"}
    assert "44.39" in exhibit.note


def test_remedies_stand_beside_the_papers(study: Study):
    exhibit = made(study, "table3")
    [table] = exhibit.tables
    assert table.head[3:] == ("paper, AltDiffusion", "paper, PEA-Diffusion")
    assert columns(table, 3) == {
        "noun only": ["23.05", "21.65"],
        "random woken": ["20.38", "21.04"],
        "own set driven": ["30.06", "33.91"],
        "moved to layer 6": ["–", "–"],
        "random enhanced": ["21.04", "22.34"],
        "trained enhancer": ["32.66", "36.63"],
    }
    assert "Its controls: moved to layer 6." in exhibit.text
    assert exhibit.note == ""


def test_systems_stand_beside_the_papers(study: Study, whole: Results):
    ours, quoted = made(study, "table2").tables
    assert ours.head == ("", "CultureVQA ↑", "LPIPS to the reference ↓")
    assert [row[0] for row in ours.rows] == ["pocket, noun only", "pocket, woken", "pocket, enhanced"]
    assert ours.rows[1][1] == interval(whole.wake.accuracy["woken"])
    assert quoted.head == ("paper", "CultureVQA ↑", "CLIPScore ↑", "ImageReward ↑", "LPIPS ↓")
    assert ("PEA-Diffusion, woken", "33.91", "0.291", "0.33", "0.654") in quoted.rows


def test_captions_outside_the_benchmark_have_two_tables(study: Study):
    captions, held_out = made(study, "table6").tables
    assert captions.head[3:] == ("paper, PEA-Diffusion", "paper, AltDiffusion")
    assert columns(captions, 3) == {
        "noun only": ["15", "15"], "own set driven": ["22", "20"], "trained enhancer": ["35", "32"],
    }  # fmt: skip
    assert [row[0] for row in held_out.rows] == ["noun only", "with modifier", "own set driven", "trained enhancer"]
    assert len(held_out.head) == 3


def test_figures_hold_the_numbers_of_the_results(study: Study, whole: Results):
    numbers = json.loads(json.dumps(whole.to_dict()))
    assert json.loads(json.dumps(made(study, "fig6", "fig14").data)) == numbers["layers"]
    assert made(study, "fig7", "fig15").data == numbers["neurons"]
    assert made(study, "fig4").data == numbers["gap"]
    assert made(study, "fig16").data == dict.fromkeys(CULTURES, 7)
    assert made(study, "fig13").data == {**numbers["steer"], "mean": numbers["steer_mean"]}
    swept = made(study, "fig11")
    assert swept.data["recipe"]["culture_vqa"] == numbers["sweep"]["culture_vqa"]
    assert swept.figures.keys() == {"", "amplify", "amplify-relu"}
    assert "λ = 6" in swept.note


def test_exhibits_are_written_and_shown(study: Study, tmp_path: Path):
    page = reproduce.reproduce(["table5", "fig10", "table6"], study, tmp_path, "interp reproduce")
    kinds = {"png", "pdf", "json"}
    files = {f"fig10.{kind}" for kind in kinds} | {f"table5.{kind}" for kind in (*kinds, "csv")}
    files |= {"table6.json", "table6-1.csv", "table6-2.csv", "exhibits.html", "manifest.json"}
    assert {p.name for p in tmp_path.iterdir()} == files
    words = page.read_text(encoding="utf-8")
    assert [words.index(f">{name}: ") for name in ("Figure 10", "Table 5", "Table 6")] == sorted(
        words.index(f">{name}: ") for name in ("Figure 10", "Table 5", "Table 6")
    )
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/(?:png|webp);base64,|#)""", words)
    record = json.loads((tmp_path / "table5.json").read_text())
    assert record.keys() == {"exhibit", "title", "note", "numbers", "manifest"}
    assert record["exhibit"] == "table5" and "44.39" in record["note"]
    assert record["manifest"]["stage"] == "reproduce" and record["manifest"]["certificate"] is None


formula = st.tuples(
    st.sampled_from(["", "'"]), st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", "−", "a"]), st.text(max_size=5)
)


@given(
    cells=st.lists(
        st.one_of(formula.map("".join), st.sampled_from(["-1.5", "+3", "-1,000", '=cmd|"x"'])), min_size=6, max_size=6
    )
)
def test_tables_as_csv_are_not_run_and_come_back(cells):
    table = Table(tuple(cells[:3]), (tuple(cells[3:]),))
    read = list(csv.reader(StringIO(as_csv(table), newline="")))
    assert [[unguarded(cell) for cell in row] for row in read] == [cells[:3], cells[3:]]
    for cell in (cell for row in read for cell in row):
        assert cell[:1] not in ("=", "@", "\t", "\r", "\n")
        if cell[:1] in ("+", "-"):
            float(cell.replace(",", ""))


def test_a_number_of_a_table_stays_one():
    table = Table(("x", "y"), (("-1.5", "+0.25"), ("=1+1", "+2.0 [1.0, 3.0]")))
    assert as_csv(table) == "x,y\r\n-1.5,+0.25\r\n'=1+1,\"'+2.0 [1.0, 3.0]\"\r\n"
