"""The whole method on the pocket model in its quick size, as `interp report --quick` runs it."""

import csv
import json
import re
from collections import Counter

import numpy as np
import pytest

import interp
from interp.errors import InterpError
from interp.experiments import images, parts
from interp.experiments.study import Study
from interp.experiments.variants import variants
from interp.hub import load
from interp.metrics import image_folder
from interp.report import build
from interp.report.paper import numbers as paper
from interp.report.paper import reproduce, tables
from interp.report.paper.page import written
from interp.report.results import read_results


@pytest.fixture(scope="module")
def quick():
    return Study.named(interp.load("pocket"), interp.benchmark("pocket"), "quick", progress=False)


@pytest.fixture(scope="module")
def out(quick, tmp_path_factory):
    """A quick report."""
    folder = tmp_path_factory.mktemp("report") / "pocket"
    build.report(quick, folder, "interp report --size quick", neuron_pages=False)
    return folder


def test_the_quick_report_shows_the_method_at_work(out):
    found = read_results(out / "results.json")
    assert found["sizes"] == {"samples": 45, "of": 1800, "split": "test"}
    assert found["gap"]["with_modifier"]["estimate"] >= 80 and found["gap"]["noun_only"]["estimate"] <= 20
    ablate, wake = found["ablate"], found["wake"]
    assert ablate["difference"]["estimate"] <= -40 < -10 <= ablate["random_difference"]["estimate"]
    assert wake["woken"]["estimate"] >= 60 and wake["random"]["estimate"] <= 10
    measured = {m["name"]: {arm: i["estimate"] for arm, i in m["arms"].items()} for m in found["measures"]}
    assert measured["culture_vqa corrected"]["woken"] >= 60
    assert measured["lpips-alex"]["woken"] < 0.7 * measured["lpips-alex"]["noun only"]
    fits = measured["clipscore:pocket-clip:culture_style"]
    assert fits["woken"] > fits["noun only"] + 0.1 > fits["random woken"]
    arms = {"with modifier", "masked", "random masked", "noun only", "woken", "random woken", "enhanced"}
    assert set(measured["diversity"]) == arms
    assert measured["diversity"]["woken"] > 0
    assert set(found["held_out"]) == {"with modifier", "noun only", "woken", "enhanced"}
    assert found["enhance"]["arms"]["enhanced"]["estimate"] >= 80
    assert abs(found["enhance"]["difference"]["moved to layer 6"]["estimate"]) <= 10
    assert [v for v in found["variants"] if v["literal"]] and [v for v in found["variants"] if v["recipe"]]
    assert found["manifest"]["model_digest"] == interp.load("pocket").model_digest
    assert found["neurons"].keys() == set(interp.benchmark("pocket").cultures)


def test_parts_are_values_that_are_saved_and_read(quick, out, tmp_path):
    for n, part in enumerate((parts.layers, parts.ablated, parts.swept, parts.off_target, parts.sae_figures, variants)):
        value = quick.ask(part)
        again = interp.read(interp.save(value, tmp_path / str(n)))
        assert repr(again) == repr(value)
        assert quick.ask(part) is value, "it is measured once"


def test_its_page_and_figures_are_there(out):
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Nouns outside the benchmark" in page and "45 of" in page
    assert {"layers.png", "wfs.png", "grid-heldout.png"} <= {p.name for p in (out / "figures").glob("*.png")}


def test_grids_show_as_many_nouns_as_they_can():
    samples = interp.benchmark("pocket").samples("cross_domain")
    cultures = interp.benchmark("pocket").cultures
    chosen = images.different_nouns(samples, cultures)
    assert [s.culture for s in chosen] == list(cultures)
    assert max(Counter(s.category for s in chosen).values()) == 1
    again = images.different_nouns([s for s in samples if s.category == samples[0].category], cultures)
    assert [s.culture for s in again] == list(cultures)


@pytest.fixture(scope="module")
def paper_folder(quick, tmp_path_factory):
    """Every exhibit, from the study that the report was made of."""
    folder = tmp_path_factory.mktemp("paper")
    reproduce.reproduce(["all"], quick, folder, "interp reproduce all")
    return folder


def test_every_exhibit_writes_its_files(paper_folder):
    kinds = {p.suffix for p in paper_folder.iterdir()}
    assert kinds == {".html", ".json", ".csv", ".png", ".pdf"}
    assert {p.stem for p in paper_folder.glob("*.json")} == {*reproduce.MAKERS, "manifest"}
    for name in reproduce.MAKERS:
        made = {p.suffix for p in paper_folder.glob(f"{name}*") if p.stem.split("-")[0] == name}
        assert made >= ({".csv"} if name.startswith("table") else {".png", ".pdf"}), name
    page = (paper_folder / "exhibits.html").read_text(encoding="utf-8")
    for name in reproduce.MAKERS:
        assert written(name) in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/(?:png|webp);base64,|#)""", page)


def test_exhibits_say_what_the_report_says(paper_folder, out):
    found = read_results(out / "results.json")
    numbers = {n: json.loads((paper_folder / f"{n}.json").read_text())["numbers"] for n in reproduce.MAKERS}
    assert numbers["table1"]["accuracy"]["masked"]["estimate"] == found["ablate"]["masked"]["estimate"]
    assert numbers["table5"] == numbers["table1"]
    assert numbers["table3"]["accuracy"]["woken"]["estimate"] == found["wake"]["woken"]["estimate"]
    enhanced = found["enhance"]["arms"]["enhanced"]["estimate"]
    assert numbers["table3"]["accuracy"]["enhanced"]["estimate"] == enhanced >= 80
    assert numbers["fig6"]["peak"] == found["layers"]["peak"] and numbers["fig7"] == found["neurons"]
    assert numbers["table4"]["four_image"]["estimate"] > 95 and numbers["table4"]["four_image"]["n"] == 1800
    assert numbers["table6"]["captions"]["woken"]["n"] == 100
    assert numbers["fig11"]["recipe"]["culture_vqa"] == found["sweep"]["culture_vqa"]
    measures = {m["name"]: m["arms"] for m in found["measures"]}
    assert numbers["table2"]["pocket, woken"]["lpips-alex"]["estimate"] == measures["lpips-alex"]["woken"]["estimate"]


def _csv(path):
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


def test_tables_hold_the_papers_numbers_beside_ours(paper_folder):
    rows = _csv(paper_folder / "table3.csv")
    assert rows[0] == ["", "CultureVQA (%)", "difference (points)", "paper, AltDiffusion", "paper, PEA-Diffusion"]
    assert {row[0]: row[3:] for row in rows[1:] if row[3] != "–"} == {
        "noun only": ["23.05", "21.65"],
        "random woken": ["20.38", "21.04"],
        "own set driven": ["30.06", "33.91"],
        "random enhanced": ["21.04", "22.34"],
        "trained enhancer": ["32.66", "36.63"],
    }
    masked = _csv(paper_folder / "table1.csv")
    assert [row[3:] for row in masked[1:]] == [["35.62", "44.54"], ["7.65", "12.04"], ["33.04", "42.45"]]
    assert "44.39" in json.loads((paper_folder / "table5.json").read_text())["note"]


def test_the_papers_sums_are_right_but_for_the_slips_that_are_named():
    def gain(table, model, measure="CultureVQA"):
        found = [paper.quoted(table, model, arm, measure) for arm in ("noun only", "woken", "enhanced")]
        return round(found[1] - found[0], 3), round(found[2] - found[0], 3)

    assert gain("table3", "AltDiffusion") == (7.01, 9.61)
    assert gain("table2", "PEA-Diffusion") == gain("table3", "PEA-Diffusion") == (12.26, 14.98)
    assert gain("table2", "PEA-Diffusion", "ImageReward") == (0.98, 0.96)
    assert gain("table6", "PEA-Diffusion") == (7, 20) and gain("table6", "AltDiffusion") == (5, 17)
    assert paper.STRENGTHS[6] == paper.quoted("table2", "PEA-Diffusion", "woken", "CultureVQA")


def test_other_systems_stand_beside_ours(quick, paper_folder, tmp_path):
    pictures = tmp_path / "other"
    for sample in quick.bench.subset("test", 1, 0).samples("test"):
        image_folder.write(pictures, sample.id, np.asarray(quick.bench.image(sample)), None)
    out = tmp_path / "two"
    reproduce.reproduce(["table2", "fig8"], quick, out, "interp reproduce", {"the real ones": pictures})
    numbers = json.loads((out / "table2.json").read_text())["numbers"]
    assert numbers["the real ones"]["culture_vqa"]["estimate"] > 90
    assert numbers["the real ones"]["lpips-alex"]["estimate"] == 0
    assert "the real ones" in (out / "exhibits.html").read_text(encoding="utf-8")
    assert {p.name for p in out.glob("fig8*")} == {"fig8.json", "fig8.pdf", "fig8.png"}


def test_an_unknown_exhibit_is_refused_with_the_known_ones(quick, tmp_path):
    with pytest.raises(InterpError, match="no exhibit table7; known: all, fig3"):
        reproduce.reproduce(["table1", "table7"], quick, tmp_path / "x", "interp reproduce")
    assert not (tmp_path / "x").exists()
    assert reproduce.asked_for(["table5", "fig3"]) == ["fig3", "table5"]


def test_without_an_enhancer_nothing_is_made_up(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "SHIPPED", tmp_path)
    bare = Study.named(quick.model, quick.bench, "quick", progress=False)
    assert bare.ask(parts.enhancers) == {} and bare.ask(parts.enhanced) is None
    assert "No enhancer was trained" in tables.fine_tuned(bare)
