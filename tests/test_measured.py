"""measured: batches, groups, and a journal that a killed run goes on from."""

import numpy as np
import pytest

from interp import InterpError
from interp.metrics import measured
from interp.metrics.base import Scores
from interp.metrics.folder import find
from interp.pictures import write


class Mean:
    """Mean grey value; 255 cannot be scored."""

    name, unit, direction, digest, batch, grouped = "mean", "level", "higher", "1", 5, False

    def __init__(self):
        self.calls = []

    def key(self, sample):
        return sample.culture

    def measure(self, pictures, samples):
        self.calls.append([s.id for s in samples])
        values = np.array([p.mean() for p in pictures])
        return Scores(np.where(values == 255, np.nan, values))


class Spread(Mean):
    """Distance to the other pictures of the sample."""

    name, grouped = "spread", True

    def measure(self, pictures, samples):
        self.calls.append([s.id for s in samples])
        means, ids = np.array([p.mean() for p in pictures]), np.array([s.id for s in samples])
        return Scores(np.array([np.abs(m - means[ids == i]).sum() for m, i in zip(means, ids, strict=True)]))


def _pictures(count, seed=0):
    rng = np.random.default_rng(seed)
    return [np.full((4, 6, 3), level, dtype=np.uint8) for level in rng.permutation(255)[:count]]


def test_scores_come_in_the_pictures_order_and_in_batches(small_bench):
    samples = list(small_bench.samples("test"))[:30] * 5
    pictures, metric = _pictures(150), Mean()
    found = measured.measure([metric], pictures, samples, progress=False)["mean"]
    assert np.array_equal(found.values, [p.mean() for p in pictures])
    assert max(map(len, metric.calls)) == 5


def test_groups_are_never_divided(small_bench):
    samples = list(small_bench.samples("test"))[:30] * 5
    pictures, metric = _pictures(150), Spread()
    found = measured.measure([metric], pictures, samples, progress=False)["spread"].values
    for i in (0, 77, 149):
        same = [p.mean() for p, s in zip(pictures, samples, strict=True) if s.id == samples[i].id]
        assert found[i] == sum(abs(pictures[i].mean() - m) for m in same)
    assert sum(map(len, metric.calls)) == 150


@pytest.mark.parametrize("kind", [Mean, Spread])
def test_a_second_run_computes_nothing_again(kind, small_bench, tmp_path):
    samples = list(small_bench.samples("test"))[:30] * 3
    pictures, cache = _pictures(90), tmp_path / "scores.jsonl"
    first = measured.measure([kind()], pictures[:60], samples[:60], cache, progress=False)
    metric = kind()
    second = measured.measure([metric], pictures, samples, cache, progress=False)
    fresh = measured.measure([kind()], pictures, samples, progress=False)
    name = metric.name
    assert np.array_equal(second[name].values, fresh[name].values)
    # a picture more of a sample makes another group of it
    assert sum(map(len, metric.calls)) == (30 if kind is Mean else 90)
    if kind is Mean:
        assert np.array_equal(second[name].values[:60], first[name].values)
    again = kind()
    measured.measure([again], pictures, samples, cache, progress=False)
    assert again.calls == []
    changed = kind()
    changed.digest = "2"
    measured.measure([changed], pictures, samples, cache, progress=False)
    assert changed.calls, "another digest is another metric"
    nameless = kind()
    nameless.digest = ""
    measured.measure([nameless], pictures, samples, cache, progress=False)
    assert nameless.calls, "without a digest nothing is kept"


def test_the_unscored_are_tried_again(small_bench, tmp_path):
    samples = list(small_bench.samples("test"))[:4]
    pictures = [*_pictures(3), np.full((4, 6, 3), 255, dtype=np.uint8)]
    measured.measure([Mean()], pictures, samples, tmp_path / "a.jsonl", progress=False)
    metric = Mean()
    found = measured.measure([metric], pictures, samples, tmp_path / "a.jsonl", progress=False)["mean"].values
    assert metric.calls == [[samples[3].id]] and np.isnan(found[3]) and not np.isnan(found[:3]).any()


def test_bad_input_is_named(small_bench):
    samples = list(small_bench.samples("test"))[:2]
    with pytest.raises(InterpError, match="3 pictures but 2 samples"):
        measured.measure([Mean()], _pictures(3), samples)
    with pytest.raises(InterpError, match="mean, mean"):
        measured.measure([Mean(), Mean()], _pictures(2), samples)
    with pytest.raises(InterpError, match="none"):
        measured.measure([], _pictures(2), samples)


def test_pictures_are_found_by_their_samples_name(tmp_path):
    ids = {"test-arab-fish-1", "test-arab-fish", "b"}
    picture = _pictures(1)[0]
    for name in ("test-arab-fish-1", "test-arab-fish-1-0", "test-arab-fish-2", "b/3", "b/11"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    write(tmp_path / "test-arab-fish-1.png", picture)
    write(tmp_path / "test-arab-fish-7.png", picture)
    write(tmp_path / "b/11.png", picture)
    write(tmp_path / "b/3.png", picture)
    found = find(tmp_path, ids)
    assert [p.name for p in found["test-arab-fish-1"]] == ["test-arab-fish-1.png"]
    assert [p.name for p in found["test-arab-fish"]] == ["test-arab-fish-7.png"]
    assert [p.name for p in found["b"]] == ["3.png", "11.png"]
    write(tmp_path / "b_3.png", picture)
    for n in range(25):
        write(tmp_path / f"stray {n}.png", picture)
    with pytest.raises(InterpError, match=r"26 pictures not understood.*both picture 3.*and 6 more"):
        find(tmp_path, ids)
    with pytest.raises(InterpError, match="no folder of pictures"):
        find(tmp_path / "none", ids)
