import numpy as np
import pytest
from report_values import CULTURES, NOTHING, grid

from interp.errors import InterpError
from interp.report import tables
from interp.report.figures import figure
from interp.report.results import Results
from interp.report.style import Drawing
from interp.report.tables import Table, html
from interp.report.text import interval
from interp.types import Effect, Interval, LayerScores, Matrix, Neurons, Sweep


def test_values_show_themselves(scores: LayerScores, neurons: Neurons, masking: Effect):
    for value in (scores, neurons, masking, neurons["Japan"], masking.accuracy["masked"], grid(["a<b"], ("Arab",))):
        assert "a<b" not in html(value)
        assert len(html(value)) > 10
    assert f"layer {scores.peak}" in html(scores)
    assert str(neurons["Japan"].indices[0]) in html(neurons)
    assert interval(masking.accuracy["masked"]) in html(masking)
    assert 'lang="ar" dir="rtl"' in html(grid(["a"], ("Arab",)))
    drawing = figure(scores)
    assert isinstance(drawing, Drawing)
    assert drawing._repr_png_().startswith(b"\x89PNG")
    for show in (figure, html):
        with pytest.raises(InterpError, match="LayerScores"):
            show(3.5)


def test_a_sweep_shows_itself():
    shown = (Interval(3.0, 1.0, 5.0, 40), Interval(9.0, 6.0, 12.5, 40))
    swept = Sweep((0.0, 2.0), shown, (Interval(80.0, 70.0, 90.0, 40),) * 2, "amplify", "train")
    assert "9.0 [6.0, 12.5]" in html(swept)
    assert "amplify, train split" in html(swept)
    assert tables.doses(swept, 2.0).marked == (1,)


def test_every_layer_stands_with_its_numbers(scores: LayerScores):
    table = tables.layers(scores)
    assert len(table.rows) == len(scores.delta_ca)
    assert table.marked == (scores.peak,)
    assert all(len(row) == len(table.head) == 3 + 3 + 4 + 4 for row in table.rows)
    at = table.head.index("pictures, z, modifier (%)")
    assert [row[at] for row in table.rows][3] == interval(scores.causal_images["z, modifier"][3])
    assert [row[at] for row in table.rows][4] == "–"


def test_neurons_stand_with_their_cut(neurons: Neurons):
    rows = {row[0]: row[1:] for row in tables.neurons(neurons).rows}
    assert rows.keys() == set(CULTURES)
    assert rows["Japan"] == ("4", "7", ", ".join(map(str, neurons["Japan"].indices)))


def test_the_literal_choice_and_the_recipe_are_marked(results: Results):
    table = tables.variants(results.variants)
    assert table.marked == (0, 3)
    assert [row[0] for row in table.rows] == ["paper's literal choice", "", "", "recipe"]
    assert table.rows[1][6] == "–", "it was not measured"


def test_measures_stand_with_the_digits_of_their_units(results: Results):
    table = tables.measures(results.measures)
    assert table.head == ("", "corrected, percent (↑)", "LPIPS to the reference, distance (↓)")
    assert table.rows[0] == ("noun only", "0.3 [0.2, 0.4]", "0.300 [0.200, 0.400]")


def test_what_could_not_be_scored_is_counted():
    assert tables.estimates({"baseline": NOTHING}).rows == (("baseline", "–", "0", "5"),)


def test_matrices_stand_with_their_labels():
    value = Matrix(("a",), ("b", "c"), np.array([[1.25, np.nan]]))
    assert tables.matrix(value, 2) == Table(("", "b", "c"), (("a", "1.25", "–"),))


def test_nested_settings_stand_with_their_path():
    assert tables.record({"seeds": {"images": 7}, "model_digest": None, "dirty": True}).rows == (
        ("seeds · images", "7"), ("model digest", "–"), ("dirty", "yes"),
    )  # fmt: skip


def test_cells_are_escaped():
    assert "&lt;b&gt;" in Table(("<b>",), (("x",),)).__html__()
