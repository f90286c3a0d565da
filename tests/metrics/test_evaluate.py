"""evaluation and drawing: folders of pictures measured and compared, without and with a model."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as reference
from stand_ins import Mean, PixelJudge

import interp
from interp import InterpError, stats
from interp.benchmarks.images import write
from interp.experiments import draw
from interp.experiments import files as values
from interp.experiments.setup import seed_of
from interp.metrics import compare, evaluate, registry
from interp.metrics.culture_vqa import CultureVqa
from interp.metrics.judges.base import Judge
from interp.metrics.judges.pocket import load_judge
from interp.report.figures import figure
from interp.report.tables import html
from interp.types import UNRECOGNISABLE


@pytest.fixture
def judge(small_bench):
    return CultureVqa(PixelJudge([*small_bench.cultures, UNRECOGNISABLE]), errors=None)


def _folder(path, bench, level, per_sample=1, skip=0):
    """A system that draws one grey level, a little brighter for every sample."""
    for n, sample in enumerate(bench.samples("test")[skip:]):
        for k in range(per_sample):
            name = f"{sample.id}-{k}.png" if per_sample > 1 else f"{sample.id}.png"
            write(path / name, np.full((8, 8, 3), level + n % 5 + k, dtype=np.uint8))
    return path


def test_a_judge_may_name_a_culture_that_the_benchmark_has_not(small_bench, tmp_path):
    knows_more = PixelJudge(["Atlantis", *small_bench.cultures, UNRECOGNISABLE])
    folder = _folder(tmp_path / "grey", small_bench, 0)
    found = evaluate.measure(folder, small_bench, [CultureVqa(knows_more)], progress=False)
    assert found.labels == (*small_bench.cultures, "Atlantis", UNRECOGNISABLE)
    [answers], [confusion] = found.answers.values(), found.confusion.values()
    assert confusion[:, found.labels.index("Atlantis")].sum() == answers.count("Atlantis") > 0
    assert confusion.sum() == len(answers)


def test_a_folder_is_measured_against_its_samples(small_bench, judge, tmp_path):
    folder = _folder(tmp_path / "grey", small_bench, 100, per_sample=2, skip=20)
    found = evaluate.measure(folder, small_bench, [Mean(), judge], progress=False)
    assert found.system == "grey" and found.missing == 20 and len(found.samples) == 200
    assert found.seeds[:4] == (0, 1, 0, 1)
    samples = {s.id: s for s in small_bench.samples("test")}
    assert [samples[i].culture for i in found.samples] == list(found.cultures)
    expected = [100 + n % 5 + k for n in range(100) for k in range(2)]
    assert found.scores["mean"].tolist() == expected
    assert found.overall["mean"].estimate == pytest.approx(np.mean(expected))
    assert found.overall["mean"] == stats.interval(found.scores["mean"], found.clusters, found.cultures)
    own = found.scores["mean"][np.array(found.cultures) == "Japan"]
    assert found.per_culture["mean"]["Japan"].estimate == pytest.approx(own.mean())
    confusion = found.confusion[judge.name]
    assert confusion.sum() == 200 and confusion.trace() / 2 == pytest.approx(found.overall[judge.name].estimate)


def test_the_benchmarks_own_pictures_and_pictures_in_memory(small_bench, judge):
    found = evaluate.measure("reference", small_bench, [judge], progress=False)
    given = {s.id: [np.asarray(small_bench.image(s))] for s in small_bench.samples("test")}
    same = evaluate.measure(given, small_bench, [judge], progress=False)
    assert np.array_equal(found.scores[judge.name], same.scores[judge.name]) and found.missing == 0
    real = evaluate.measure("reference", small_bench, ["culture_vqa:pocket"], progress=False)
    assert real.overall["culture_vqa:pocket"].estimate > 95
    assert real.overall["culture_vqa:pocket corrected"].estimate > 95


def test_errors_on_real_pictures_are_taken_out(small_bench, judge):
    real = evaluate.measure("reference", small_bench, [judge], progress=False)
    blind = replace(real, confusion={judge.name: np.full((16, 16), 8.0)})
    with pytest.raises(InterpError, match="hardly tells"):
        evaluate.measure("reference", small_bench, [judge], real=blind, progress=False)
    diagonal = {judge.name: real.confusion[judge.name] * 0 + 40 * np.eye(16) + 1}
    plain, better = (
        evaluate.measure("reference", small_bench, [judge], real=r, progress=False)
        for r in (None, replace(real, confusion=diagonal))
    )
    assert judge.name + " corrected" not in plain.overall
    assert better.overall[judge.name] == plain.overall[judge.name]
    assert better.overall[judge.name + " corrected"].estimate != plain.overall[judge.name].estimate
    other = CultureVqa(PixelJudge(judge.judge.labels, "changed"))
    with pytest.raises(InterpError, match="has changed since"):
        evaluate.measure("reference", small_bench, [other], real=real, progress=False)


def test_several_judges_and_their_mean(small_bench, judge):
    other = CultureVqa(PixelJudge(judge.judge.labels[::-1], "reversed"))
    object.__setattr__(other.judge, "name", "reversed")
    found = evaluate.measure("reference", small_bench, [judge, other], progress=False)
    both = (found.scores[judge.name] + found.scores[other.name]) / 2
    assert np.array_equal(found.scores[evaluate.MEAN], both)
    assert found.per_culture[evaluate.MEAN].keys() == set(small_bench.cultures)


def test_bad_input_is_named(small_bench, judge, tmp_path):
    with pytest.raises(InterpError, match="no folder of pictures"):
        evaluate.measure(tmp_path / "none", small_bench, [judge])
    with pytest.raises(InterpError, match=r"unknown metric 'fid'.*lpips"):
        evaluate.measure("reference", small_bench, ["fid"])
    with pytest.raises(InterpError, match="no sample of the test split"):
        evaluate.measure({"mars": []}, small_bench, [judge])
    detection = small_bench.samples("detection")[0]
    write(tmp_path / "pictures" / f"{detection.id}.png", np.zeros((8, 8, 3), dtype=np.uint8))
    with pytest.raises(InterpError, match="no picture of the test split"):
        evaluate.measure(tmp_path / "pictures", small_bench, [judge])
    unknown = replace(small_bench, card=small_bench.card.model_copy(update={"name": "other"}))
    with pytest.raises(InterpError, match="no metric ships for benchmark 'other'"):
        evaluate.measure("reference", unknown)
    with pytest.raises(InterpError, match="'culture_vqa' lacks a part"):
        registry.metric("culture_vqa", unknown)
    with pytest.raises(InterpError, match="unknown judge 'oracle'"):
        registry.judge("oracle", ["Arab"])


def test_systems_are_compared_pairwise_on_what_all_have(small_bench, judge, tmp_path):
    rng = np.random.default_rng(0)
    for name, low in (("a", 100), ("b", 100), ("c", 130)):
        for sample in small_bench.samples("test")[5 * (name == "b") :]:
            write(tmp_path / name / f"{sample.id}.png", np.full((8, 8, 3), low + rng.integers(20), dtype=np.uint8))
    given = [evaluate.measure(tmp_path / n, small_bench, [Mean(), judge], progress=False) for n in "abc"]
    found = compare.compare(given)
    assert found.reference == "a" and {len(s.samples) for s in found.systems} == {115}
    assert len({s.samples for s in found.systems}) == 1
    a, _, c = (s.scores["mean"] for s in found.systems)
    moved = found.difference["mean"]["c"]
    assert moved.estimate == pytest.approx((c - a).mean())
    assert moved.low < 30 < moved.high
    assert found.p["mean"]["c"] < 0.01 < 0.05 < found.p["mean"]["b"]
    # without clusters the test is scipy's
    alone = tuple(replace(s, clusters=s.samples) for s in found.systems)
    free = compare.compare(alone)
    scipys = reference.permutation_test((c - a,), np.mean, permutation_type="samples", n_resamples=5000, rng=0).pvalue
    assert free.p["mean"]["c"] == pytest.approx(scipys, abs=0.02)
    assert free.p["mean"]["b"] == pytest.approx(_flip_p(a - found.systems[1].scores["mean"]), abs=0.03)
    assert "p\xa0&lt;\xa00.001" in html(found) and figure(found).axes
    assert "c" in html(given[2]) and figure(given[2]).axes
    assert "Comparison with a" in repr(found)


def _flip_p(difference):
    rng = np.random.default_rng(9)
    null = [abs((rng.choice([-1, 1], len(difference)) * difference).sum()) for _ in range(4000)]
    return float(np.mean(np.array(null) >= abs(difference.sum())))


def test_what_cannot_be_compared_is_refused(small_bench, judge, tmp_path):
    one = evaluate.measure("reference", small_bench, [judge], system="one", progress=False)
    with pytest.raises(InterpError, match="at least two"):
        compare.compare([one])
    with pytest.raises(InterpError, match="no system 'x'"):
        compare.compare([one, replace(one, system="two")], "x")
    other = evaluate.measure("reference", small_bench, [judge], "detection", "two", progress=False)
    with pytest.raises(InterpError, match="another split"):
        compare.compare([one, other])
    some = evaluate.measure("reference", small_bench, [Mean()], system="two", progress=False)
    with pytest.raises(InterpError, match="another digests"):
        compare.compare([one, some])


def test_measurements_and_comparisons_are_kept(small_bench, judge, tmp_path, tiny_model):
    one = evaluate.measure("reference", small_bench, [Mean(), judge], system="one", progress=False)
    found = compare.compare([one, replace(one, system="two")])
    for number, value in enumerate((one, found)):
        folder = tmp_path / str(number)
        values.save(value, folder, values.manifest("interp compare", "compare", tiny_model, small_bench))
        back = values.read(folder)
        assert repr(back) == repr(value) and type(back) is type(value)
    assert np.array_equal(back.systems[0].scores["mean"], one.scores["mean"])


def test_a_system_is_drawn_and_resumed(tiny_model, tiny_neurons, small_bench, tmp_path, monkeypatch):
    given = {"per_culture": 1, "steps": 1, "progress": False}
    out = draw.draw(tiny_model, small_bench, tmp_path / "plain", pictures=2, **given)
    files = sorted(p.name for p in out.glob("*.png"))
    chosen = small_bench.subset("test", 1, 0).samples("test")
    assert files == sorted(f"{s.id}-{n}.png" for s in chosen for n in range(2))
    sample = chosen[0]
    drawn = interp.generate(
        tiny_model, [sample.native.noun_only.text], seeds=[seed_of(sample.id, n) for n in range(2)],
        steps=1, progress=False,
    )  # fmt: skip
    from interp.benchmarks.images import read

    for n in range(2):
        kept = np.asarray(read(out / f"{sample.id}-{n}.png")).astype(int)
        assert np.abs(kept - drawn[0, n]).max() <= 1  # another size of batch
    before = {p: p.stat().st_mtime_ns for p in out.glob("*.png")}
    draw.draw(tiny_model, small_bench, out, pictures=2, **given)
    assert before == {p: p.stat().st_mtime_ns for p in out.glob("*.png")}
    with pytest.raises(InterpError, match="begun with other settings"):
        draw.draw(tiny_model, small_bench, out, pictures=2, neurons=tiny_neurons, **given)
    driven = draw.draw(tiny_model, small_bench, tmp_path / "driven", neurons=tiny_neurons, **given)
    assert len(list(driven.glob("*.png"))) == 15
    for wrong, said in (({"prompts": "x"}, "known: noun"), ({"pictures": 0}, "at least one")):
        with pytest.raises(InterpError, match=said):
            draw.draw(tiny_model, small_bench, tmp_path / "x", **given | wrong)
    with pytest.raises(InterpError, match="selected on split"):
        draw.draw(tiny_model, small_bench, tmp_path / "x", "detection", neurons=tiny_neurons, **given)


def test_the_shipped_judge_is_one(small_bench):
    assert isinstance(load_judge(), Judge)
    with pytest.raises(InterpError, match="pictures of 64×64"):
        load_judge()([np.zeros((8, 8, 3), dtype=np.uint8)], ["a"])
