"""metrics/run: batches, groups, and a journal that a killed run goes on from."""

import signal
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest
from servers import Reply, Server
from stand_ins import Mean

from interp import InterpError
from interp.benchmarks.images import write
from interp.metrics import run
from interp.metrics.base import Scores
from interp.metrics.culture_vqa import CultureVqa
from interp.metrics.image_folder import find
from interp.metrics.judge_trust import reliability
from interp.metrics.judges.remote.openai import OpenAiJudge
from interp.metrics.judges.remote.sender import Sender
from interp.store import Journal
from interp.types import UNRECOGNISABLE


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
    found = run.measure([metric], pictures, samples, progress=False)["mean"]
    assert np.array_equal(found.values, [p.mean() for p in pictures])
    assert max(map(len, metric.calls)) == 5


def test_groups_are_never_divided(small_bench):
    samples = list(small_bench.samples("test"))[:30] * 5
    pictures, metric = _pictures(150), Spread()
    found = run.measure([metric], pictures, samples, progress=False)["spread"].values
    for i in (0, 77, 149):
        same = [p.mean() for p, s in zip(pictures, samples, strict=True) if s.id == samples[i].id]
        assert found[i] == sum(abs(pictures[i].mean() - m) for m in same)
    assert sum(map(len, metric.calls)) == 150


@pytest.mark.parametrize("kind", [Mean, Spread])
def test_a_second_run_computes_nothing_again(kind, small_bench, tmp_path):
    samples = list(small_bench.samples("test"))[:30] * 3
    pictures, cache = _pictures(90), tmp_path / "scores.jsonl"
    first = run.measure([kind()], pictures[:60], samples[:60], cache, progress=False)
    metric = kind()
    second = run.measure([metric], pictures, samples, cache, progress=False)
    fresh = run.measure([kind()], pictures, samples, progress=False)
    name = metric.name
    assert np.array_equal(second[name].values, fresh[name].values)
    # a picture more of a sample makes another group of it
    assert sum(map(len, metric.calls)) == (30 if kind is Mean else 90)
    if kind is Mean:
        assert np.array_equal(second[name].values[:60], first[name].values)
    again = kind()
    run.measure([again], pictures, samples, cache, progress=False)
    assert again.calls == []
    changed = kind()
    changed.digest = "2"
    run.measure([changed], pictures, samples, cache, progress=False)
    assert changed.calls, "another digest is another metric"
    nameless = kind()
    nameless.digest = ""
    run.measure([nameless], pictures, samples, cache, progress=False)
    assert nameless.calls, "without a digest nothing is kept"


def test_the_unscored_are_tried_again(small_bench, tmp_path):
    samples = list(small_bench.samples("test"))[:4]
    pictures = [*_pictures(3), np.full((4, 6, 3), 255, dtype=np.uint8)]
    run.measure([Mean()], pictures, samples, tmp_path / "a.jsonl", progress=False)
    metric = Mean()
    found = run.measure([metric], pictures, samples, tmp_path / "a.jsonl", progress=False)["mean"].values
    assert metric.calls == [[samples[3].id]] and np.isnan(found[3]) and not np.isnan(found[:3]).any()


LABELS = ("Arab", "China", "France", "Japan", UNRECOGNISABLE)
KILLED_MEASURE = """
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from interp.metrics.judges.remote.openai import OpenAiJudge
from interp.metrics.judges.remote.sender import Sender

what, url, cache, labels, count, threads = sys.argv[1:]
judge = OpenAiJudge(tuple(labels.split(",")), "some-vlm", url, sender=Sender(6e6, int(threads)))
samples = [SimpleNamespace(id=f"s-{n}", culture="Japan", category="ant") for n in range(int(count))]
pictures = [np.full((4, 4, 3), n, dtype=np.uint8) for n in range(int(count))]
if what == "measure":
    from interp.metrics import run
    from interp.metrics.culture_vqa import CultureVqa

    found = run.measure([CultureVqa(judge)], pictures, samples, Path(cache), False)
    print(*found["culture_vqa:some-vlm"].answers)
else:
    from interp.metrics.judge_trust import reliability

    print(*reliability.ask(judge, samples, lambda s: pictures[int(s.id[2:])]).culture)
"""


def _shown(request):
    return request.body["messages"][0]["content"][0]["image_url"]["url"]


def _letter(request):
    """The letter at which Japan stands."""
    text = request.body["messages"][0]["content"][1]["text"]
    given = next(line[0] for line in text.splitlines() if line.endswith(". Japan"))
    return Reply({"choices": [{"message": {"content": given}, "finish_reason": "stop"}]})


@pytest.fixture
def _key(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-5f2c9b71aa04")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "own"))


@pytest.mark.usefixtures("_key")
@pytest.mark.parametrize(("what", "threads"), [("measure", 3), ("ask", 1)])
def test_a_killed_run_pays_again_only_for_what_was_in_flight(what, threads, tmp_path):
    """Real kills, each at the ninth question of a run, until a run comes to its end."""
    count, kills, running = 20, 0, []

    def reply(request):
        with lock:
            running[0][1] += 1
            if running[0][1] == 9:
                running[0][0].kill()
        return _letter(request)

    lock = threading.Lock()
    with Server(reply) as server:
        words = [what, server.url, tmp_path / "scores.jsonl", ",".join(LABELS), count, threads]
        while True:
            running[:] = [[None, 0]]
            process = running[0][0] = subprocess.Popen(
                [sys.executable, "-c", KILLED_MEASURE, *map(str, words)], stdout=subprocess.PIPE, text=True
            )
            said, _ = process.communicate(timeout=300)
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL
            kills += 1
            assert kills < 8, "it does not come on"
    counts = Counter(map(_shown, server.requests))
    assert said.split() == ["Japan"] * count
    assert len(counts) == count and kills >= 2
    # the ninth question, and on each other thread what was on its way by then
    assert sum(counts.values()) <= count + kills * threads


@pytest.mark.usefixtures("_key")
def test_a_server_that_ends_a_run_takes_nothing_from_it(tmp_path, small_bench):
    def reply(request):
        return Reply(b"", 401) if len(server.requests) == 9 else _letter(request)

    samples, pictures = list(small_bench.samples("test"))[:30], _pictures(30)
    labels = (*small_bench.cultures, UNRECOGNISABLE)
    with Server(reply) as server:
        for what in ("measure", "ask"):
            server.requests.clear()
            judge = OpenAiJudge(labels, f"vlm-{what}", server.url, sender=Sender(6e6, 4))

            def again(what=what, judge=judge):
                if what == "measure":
                    return run.measure([CultureVqa(judge)], pictures, samples, tmp_path / "s.jsonl", False)
                return reliability.ask(judge, samples, lambda s: pictures[samples.index(s)])

            with pytest.raises(InterpError, match="HTTP 401"):
                again()
            sent = len(server.requests)
            assert 9 <= sent <= 12, "what was in flight comes to its end, and nothing more is sent"
            again()
            assert len(server.requests) == 30 + 1


@pytest.mark.usefixtures("_key")
def test_equal_pictures_of_one_sample_are_paid_for_once(tmp_path, small_bench):
    sample, picture = small_bench.samples("test")[0], _pictures(1)[0]
    with Server(_letter) as server:
        judge = OpenAiJudge((*small_bench.cultures, UNRECOGNISABLE), "vlm", server.url, sender=Sender(6e6, 4))
        found = run.measure([CultureVqa(judge)], [picture] * 9, [sample] * 9, tmp_path / "s.jsonl", False)
    assert len(server.requests) == 1 and found["culture_vqa:vlm"].answers == ("Japan",) * 9


def test_free_metrics_are_written_by_the_chunk(tmp_path, small_bench, monkeypatch):
    writes = []
    record_all = Journal.record_all
    monkeypatch.setattr(Journal, "record_all", lambda self, units: writes.append(len(units)) or record_all(self, units))
    samples = list(small_bench.samples("test"))[:30] * 3
    run.measure([Mean()], _pictures(90), samples, tmp_path / "s.jsonl", progress=False)
    assert sorted(writes) == [27, 63]


def test_bad_input_is_named(small_bench):
    samples = list(small_bench.samples("test"))[:2]
    with pytest.raises(InterpError, match="3 pictures but 2 samples"):
        run.measure([Mean()], _pictures(3), samples)
    with pytest.raises(InterpError, match="mean, mean"):
        run.measure([Mean(), Mean()], _pictures(2), samples)
    with pytest.raises(InterpError, match="none"):
        run.measure([], _pictures(2), samples)


def test_pictures_are_found_by_their_samples_name(tmp_path):
    ids = {"test-arab-fish-1", "test-arab-fish", "b"}
    picture = _pictures(1)[0]
    for name in ("test-arab-fish-1", "test-arab-fish-1-0", "test-arab-fish-2", "b/3", "b/11"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    write(tmp_path / "test-arab-fish-1.png", picture)
    write(tmp_path / "test-arab-fish-7.png", picture)
    write(tmp_path / "b/11.png", picture)
    write(tmp_path / "b/3.png", picture)
    with pytest.raises(InterpError, match=r"fish-1\.png may be of sample test-arab-fish, whose pictures have"):
        find(tmp_path, ids)
    (tmp_path / "test-arab-fish-7.png").rename(tmp_path / "test-arab-fish.png")
    found = find(tmp_path, ids)
    assert [p.name for p in found["test-arab-fish-1"]] == ["test-arab-fish-1.png"]
    assert [p.name for p in found["test-arab-fish"]] == ["test-arab-fish.png"]
    assert [p.name for p in found["b"]] == ["3.png", "11.png"]
    write(tmp_path / "b_3.png", picture)
    for n in range(25):
        write(tmp_path / f"stray {n}.png", picture)
    with pytest.raises(InterpError, match=r"26 pictures not understood.*both picture 3.*and 6 more"):
        find(tmp_path, ids)
    with pytest.raises(InterpError, match="no folder of pictures"):
        find(tmp_path / "none", ids)
