from base64 import b64decode
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from report_values import CULTURES, NOTHING, grid, picture

from interp.errors import InterpError
from interp.grids import Grid, GridRow
from interp.report import figures
from interp.report.figures import figure
from interp.report.figures.grid import font_for
from interp.report.results import Results
from interp.report.style import render, save
from interp.report.text import interval, number
from interp.types import Effect, LayerScores, Matrix, Neurons


def axes_of(drawing) -> list:
    """All axes of a figure that are visible, those of its parts included."""
    return [at for at in drawing.get_axes() if at.axison]


def texts(at) -> list[str]:
    return [label.get_text() for label in at.get_yticklabels()]


def test_layers_draws_contrast_and_causes_on_one_axis(scores: LayerScores):
    top, variants, causal, images = axes_of(figures.layers(scores))
    line = next(x for x in top.lines if x.get_label() == "ΔCA")
    np.testing.assert_array_equal(line.get_ydata(), scores.delta_ca)
    marks = next(x for x in top.lines if "neighbours" in str(x.get_label()))
    assert list(marks.get_xdata()) == np.flatnonzero(scores.neighbour_p <= 0.05).tolist()
    band = top.collections[0].get_datalim(top.transData)
    assert band.y0 == pytest.approx(scores.ci.min())
    assert band.y1 == pytest.approx(scores.ci.max())
    assert [x.get_label() for x in causal.lines[:4]] == list(scores.causal)
    assert len(variants.lines) == len(scores.variants) + 2
    assert len(images.containers) == 4
    peaks = [
        [x for x in at.lines if list(x.get_xdata()) == [scores.peak] * 2] for at in (top, variants, causal, images)
    ]
    assert all(len(lines) == 1 for lines in peaks), "the peak is marked in every panel"


def test_layers_without_a_causal_scan_has_one_panel(scores: LayerScores):
    plain = LayerScores(scores.delta_ca, scores.ci, np.full(12, np.nan), {}, peak=10)
    (at,) = axes_of(figures.layers(plain))
    assert not any("neighbours" in str(x.get_label()) for x in at.lines)


def test_wfs_draws_six_cultures_or_all(neurons: Neurons):
    assert len(axes_of(figures.wfs(neurons))) == 6
    panels = axes_of(figures.wfs(neurons, CULTURES))
    assert [at.get_title(loc="left") for at in panels] == [f"{c} (4)" for c in CULTURES]
    for at, culture in zip(panels, CULTURES, strict=True):
        dots = next(x for x in at.lines if x.get_marker() == "o")
        assert sorted(dots.get_xdata()) == sorted(neurons[culture].indices)
        assert str(neurons[culture].indices[0]) in [t.get_text() for t in at.texts]
        assert at.get_ylim()[1] > neurons.wfs[CULTURES.index(culture)].max()
    with pytest.raises(InterpError, match="Atlantis"):
        figures.wfs(neurons, ["Atlantis"])


def test_elbow_marks_the_cut_and_what_the_filter_took(neurons: Neurons):
    at = axes_of(figures.elbow(neurons))[0]
    curve, kept, dropped, line = at.lines
    assert list(line.get_xdata()) == [7.5, 7.5]
    assert "3 filtered" in at.get_title(loc="left")
    assert len(kept.get_xdata()) == 4
    assert len(dropped.get_xdata()) == 3
    assert (np.diff(curve.get_ydata()) <= 0).all()
    assert dropped.get_markerfacecolor() == "white"


def test_arms_show_the_numbers_and_every_culture(masking: Effect):
    bars, shifts, cultures = axes_of(figures.effect(masking, "Masking"))
    arms = ("baseline", "masked", "random")
    assert bars.get_title(loc="left") == "Masking"
    assert [patch.get_width() for patch in bars.patches] == pytest.approx([masking.accuracy[a].estimate for a in arms])
    assert texts(bars) == [f"{arm}\n{interval(masking.accuracy[arm])}" for arm in arms]
    assert texts(cultures) == list(CULTURES)
    assert cultures.get_xlim()[0] < 0 < 100 < cultures.get_xlim()[1]
    assert texts(shifts) == ["masked", "random"]
    assert len(shifts.lines[1].get_xdata()) == 20
    dots = [x for x in cultures.lines if x.get_label() == "masked"]
    assert dots[0].get_xdata() == pytest.approx([i.estimate for i in masking.per_culture["masked"].values()])
    colours = {patch.get_facecolor() for patch in bars.patches}
    assert len(colours) == 3
    assert len({x.get_marker() for x in cultures.lines if x.get_label() in masking.per_culture}) == 3


def test_the_gap_and_waking_draw_their_values(results: Results, masking: Effect):
    gap = axes_of(figures.gap(results.gap, results.gap_per_culture))
    assert len(gap) == 2
    assert [text.split("\n")[0] for text in texts(gap[0])] == ["with modifier", "noun only"]
    woken = axes_of(figures.effect(results.wake))[0].patches[1].get_width()
    assert results.wake.accuracy["woken"].estimate == pytest.approx(woken)
    assert axes_of(figure(masking))[0].get_title(loc="left") == "mask own set"


def test_a_sweep_draws_its_curves_and_marks_the_recipe(results: Results):
    (at,) = axes_of(figures.sweep(results.sweep, 4.0))
    own = next(x for x in at.lines if "own set" in str(x.get_label()))
    assert list(own.get_ydata()) == [i.estimate for i in results.sweep.culture_vqa]
    assert list(own.get_xdata()) == list(results.sweep.strengths)
    assert "chosen: 4" in [t.get_text() for t in at.texts]
    (at,) = axes_of(figure(results.sweep))
    assert at.get_title(loc="left") == "Strength sweep, train split"
    assert at.get_xlabel() == "strength (steer)"
    assert not at.texts


def test_steering_draws_a_bar_per_culture(results: Results):
    (at,) = axes_of(figures.steer(results.steer, results.steer_mean, 50.0))
    assert len(at.patches) == 15
    assert texts(at)[0].startswith("Arab")
    assert len(at.get_legend().get_texts()) == 2


def test_measures_draw_a_panel_each(results: Results):
    first, second = axes_of(figures.measures(results.measures))
    assert [at.get_title(loc="left") for at in (first, second)] == ["corrected", "LPIPS to the reference"]
    assert second.get_xlabel() == "distance, lower is better"
    assert texts(first) == ["noun only", "woken"]


def test_an_unscored_arm_draws_no_bar(results: Results):
    (at,) = axes_of(figures.arms({"baseline": NOTHING}, {}, "nothing"))
    assert at.patches[0].get_width() == 0
    assert texts(at) == ["baseline\n–"]


def test_matrices_write_their_numbers(results: Results):
    at = axes_of(figures.off_target(results.off_target))[0]
    image = at.get_images()[0]
    np.testing.assert_array_equal(image.get_array(), results.off_target.values)
    assert image.norm.vmin == -image.norm.vmax
    assert image.norm(0.0) == 0.5
    diagonal = number(results.off_target.values[0][0], 0)
    assert (diagonal, (0, 0)) in [(t.get_text(), t.get_position()) for t in at.texts]
    assert results.judge is not None
    shares = np.asarray(axes_of(figures.confusion(results.judge.confusion))[0].get_images()[0].get_array())
    assert shares.shape == (15, 16)
    assert shares.sum(1) == pytest.approx(np.full(15, 100.0))
    holes = Matrix(("a", "b"), ("a", "b"), np.array([[1.0, np.nan], [np.nan, 1.0]]))
    assert axes_of(figures.overlap(holes))[0].get_images()[0].get_array().mask.sum() == 2


def test_density_draws_the_histogram(results: Results):
    (at,) = axes_of(figures.density(results.sae.density, results.sae.dead_fraction))
    assert at.patches[0].get_data().values.tolist() == list(results.sae.density.counts)
    assert "6.2 % never" in at.get_title(loc="left")


def test_a_grid_shows_every_picture_once_and_captions_in_latin():
    drawing = figures.grid(grid(["baseline", "woken"], ("Japan", "Italy")))
    images = [at.get_images()[0] for at in drawing.get_axes()]
    assert len(images) == 4
    assert {image.get_interpolation() for image in images} == {"nearest"}
    words = " ".join(t.get_text() for t in drawing.texts)
    assert "violin, Japan" in words
    assert "immagine:" in words
    assert "the page shows them" in words
    assert all(ord(c) < 0x2030 for c in words)
    left, right = (drawing.get_axes()[i].get_position() for i in (0, 1))
    assert left.x1 <= right.x0
    assert left.width * drawing.get_figwidth() == pytest.approx(left.height * drawing.get_figheight())


def test_large_grids_are_folded():
    halves = grid(["baseline", "woken"], CULTURES).panels()
    assert [len(p.rows) for p in halves] == [8, 7]
    lines = grid([f"λ {i}" for i in range(16)], CULTURES[:2]).panels()
    assert [p.columns[0] for p in lines] == ["λ 0", "λ 8"]
    assert all(len(p.rows[1].pictures) == 8 for p in lines)
    assert len(figures.grid(grid([f"λ {i}" for i in range(16)], CULTURES[:2])).get_axes()) == 32


def test_native_captions_need_a_font_that_has_them():
    assert font_for("violin") is not None
    boxes = [font_for(rare) for rare in ("\U0003134a", "\U00016f00", "\U0001e900", "\U00012000")]
    assert not any(name and name.startswith("Last Resort") for name in boxes), "a font of boxes is no font"
    drawing = figure(grid(["baseline"], ("Russia",)))
    assert any("картинка" in t.get_text() for t in drawing.texts), "the shipped font has Cyrillic"


def test_a_grid_needs_a_picture_a_column():
    with pytest.raises(InterpError, match="2 pictures for 1 columns"):
        Grid("x", ["a"], [GridRow("p", "en", "n", [picture(1), picture(2)])])
    with pytest.raises(InterpError, match="give one of each per prompt"):
        Grid.of("x", {"a": [picture(1)]}, ["p", "q"], ["en", "en"], ["n", "m"])
    made = Grid.of("x", {"a": [Image.fromarray(picture(1))], "b": [picture(2)]}, ["p"], ["ar"], ["n"])
    assert made.rows[0].direction == "rtl"
    assert (made.rows[0].pictures[0] == picture(1)).all()


def test_a_figure_is_the_same_file_each_time_and_leaves_no_style_behind(results: Results, tmp_path: Path):
    before = dict(mpl.rcParams)
    first, second = (save(figures.sweep(results.sweep, 4.0), tmp_path / n, "sweep") for n in ("a", "b"))
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in second]
    assert first[0].read_bytes().startswith(b"\x89PNG")
    assert first[1].read_bytes().startswith(b"%PDF")
    with Image.open(first[0]) as opened:
        assert opened.info["dpi"][0] == pytest.approx(200, abs=0.1)
    assert dict(mpl.rcParams) == before


def test_a_notebook_gets_the_small_picture_whatever_pyplot_registers(
    scores: LayerScores, monkeypatch: pytest.MonkeyPatch
):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append((data, raw)))
    drawing = figure(scores)
    drawing._ipython_display_()
    [(data, raw)] = shown
    assert raw and b64decode(data["image/png"]) == drawing._repr_png_()
    with Image.open(BytesIO(drawing._repr_png_())) as small, Image.open(BytesIO(render(drawing, "png"))) as whole:
        assert small.mode == "P" and small.width == pytest.approx(whole.width * 90 / 200, abs=1)
