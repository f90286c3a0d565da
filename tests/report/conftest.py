"""Made-up results, and the page written of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import report_values

from interp.grids import Grid, GridRow
from interp.report.pages.study import write_report
from interp.report.results import Results
from interp.types import Effect, LayerScores, Neurons


@pytest.fixture(scope="session")
def results() -> Results:
    return report_values.made_up()


@pytest.fixture(scope="session")
def scores(results: Results) -> LayerScores:
    return results.layers


@pytest.fixture(scope="session")
def neurons(results: Results) -> Neurons:
    return results.neurons


@pytest.fixture(scope="session")
def masking(results: Results) -> Effect:
    return results.ablate


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory, results: Results) -> Path:
    """The page of the results, with grids of pictures."""
    grids = {
        "wake": report_values.grid(["baseline", "woken", "random"], report_values.CULTURES),
        "sweep": report_values.grid([f"λ = {i}" for i in range(9)], report_values.CULTURES[:2]),
        "odd": Grid(
            "<b>Bold</b> & more.",
            ["a"],
            [GridRow("<script>alert(1)</script>", "en", "x", [report_values.picture(9)])],
        ),
    }
    return write_report(results, grids, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def bare(results: Results) -> Results:
    """Of another model, with as little as results can have."""
    manifest = results.manifest.model_copy(update={"certificate": None, "dirty": False, "commit": None})
    return replace(results, model="some/<model>", judge=None, targets=(), measures=(), manifest=manifest)
