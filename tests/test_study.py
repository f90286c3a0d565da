"""The whole method on the pocket model in its quick size, as `interp report --quick` runs it."""

from collections import Counter

import pytest

import interp
from interp import album, reporting
from interp.report.results import Results


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A quick report."""
    folder = tmp_path_factory.mktemp("report") / "pocket"
    reporting.report(interp.load("pocket"), "pocket", folder, "quick", progress=False)
    return folder


def test_the_quick_report_shows_the_method_at_work(out):
    found = Results.read(out / "results.json")
    assert found.sizes.samples == 45 and found.sizes.of == 1800 and found.sizes.split == "test"
    assert found.gap.with_modifier.estimate >= 80 and found.gap.noun_only.estimate <= 20
    assert found.ablate.difference.estimate <= -40 < -10 <= found.ablate.random_difference.estimate
    assert found.wake.woken.estimate >= 60 and found.wake.random.estimate <= 10
    measured = {m.name: m.arms for m in found.measures}
    assert measured["culture_vqa corrected"]["woken"].estimate >= 60
    assert measured["lpips-alex"]["woken"].estimate < 0.7 * measured["lpips-alex"]["noun only"].estimate
    fits = measured["clipscore:pocket-clip:culture_style"]
    assert fits["woken"].estimate > fits["noun only"].estimate + 0.1 > fits["random woken"].estimate
    assert set(measured["diversity"]) == {
        "with modifier",
        "masked",
        "random masked",
        "noun only",
        "woken",
        "random woken",
    }
    assert measured["diversity"]["woken"].estimate > 0
    assert set(found.held_out) == {"with modifier", "noun only", "woken"}
    assert [v for v in found.variants if v.literal] and [v for v in found.variants if v.recipe]
    assert found.manifest.model_digest == interp.load("pocket").digest
    assert found.neurons.keys() == set(interp.benchmark("pocket").cultures)


def test_its_page_and_figures_are_there(out):
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Nouns outside the benchmark" in page and "45 of" in page
    assert {"layers.png", "wfs.png", "grid-heldout.png"} <= {p.name for p in (out / "figures").glob("*.png")}


def test_grids_show_as_many_nouns_as_they_can():
    samples = interp.benchmark("pocket").samples("cross_domain")
    cultures = interp.benchmark("pocket").cultures
    chosen = album.different_nouns(samples, cultures)
    assert [s.culture for s in chosen] == list(cultures)
    assert max(Counter(s.category for s in chosen).values()) == 1
    again = album.different_nouns([s for s in samples if s.category == samples[0].category], cultures)
    assert [s.culture for s in again] == list(cultures)
