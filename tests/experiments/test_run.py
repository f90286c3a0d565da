"""Paired arms on a tiny model with a judge that reads pixels."""

import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from servers import Reply, Server
from stand_ins import PixelJudge, paid_stage

import interp
from interp import stats
from interp.activations import patching
from interp.errors import InterpError
from interp.experiments import controls, files, run, setup
from interp.experiments.arms import draw_arm, measure_arm, measure_arms
from interp.experiments.controls import PlannedArm, maker, own_plans, plan_arms
from interp.experiments.setup import Setup
from interp.interventions import generate
from interp.store import Journal
from interp.types import UNRECOGNISABLE, Site


@pytest.fixture(scope="module")
def options(tiny_model, small_bench):
    judge = PixelJudge([*small_bench.cultures, UNRECOGNISABLE])
    return {"model": tiny_model, "bench": small_bench, "judge": judge, "per_culture": 2, "progress": False}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path))


def test_arms_are_paired_and_seeded(tiny_neurons, options):
    shared = Setup.on(tiny_neurons, **options)
    first, second = draw_arm(shared, "noun_only"), draw_arm(shared, "noun_only")
    assert np.array_equal(first, second)
    assert len({p.tobytes() for p in first}) == len(first)
    zero, nine = (
        draw_arm(shared, "noun_only", own_plans(shared, tiny_neurons, maker("steer", strength))) for strength in (0, 9)
    )
    assert np.array_equal(zero, first)
    assert not np.array_equal(nine, first)


def test_effect_is_what_a_loop_says(tiny_neurons, options):
    effect = interp.amplify(tiny_neurons, 6, random_control=3, **options)
    shared = Setup.on(tiny_neurons, **options)
    judge, cultures = options["judge"], shared.cultures
    planned = plan_arms(shared, tiny_neurons, lambda s: interp.Amplify(s, 6), "amplified", "noun_only", 3)
    assert [arm.label for arm in planned if arm.drawn] == ["baseline", "amplified", "random"]
    for arm in planned[:3]:
        name, said = arm.label, judge(draw_arm(shared, "noun_only", arm.plans)).culture
        hit = np.array([100.0 * (a == c) for a, c in zip(said, cultures, strict=True)])
        assert np.array_equal(effect.arms[name].culture_hit, hit)
        assert effect.accuracy[name].estimate == pytest.approx(hit.mean())
    change = effect.arms["amplified"].culture_hit - effect.arms["baseline"].culture_hit
    assert effect.difference["amplified"].estimate == pytest.approx(change.mean())
    assert len(effect.set_shift["random"]) == 3
    assert effect.settings["random_sets"] == 2, "a culture has two samples, so two of its three sets are dealt out"
    assert 0 < effect.p_vs_control <= 1


def test_an_interrupted_arm_goes_on(tiny_neurons, options, monkeypatch):
    baseline, model = PlannedArm("baseline", "culture_style"), options["model"]
    monkeypatch.setattr(model, "images_at_once", 8)
    whole = measure_arm(Setup.on(tiny_neurons, **options), baseline)
    calls = []
    images = type(model).images
    monkeypatch.setattr(type(model), "images", lambda *a, **k: calls.append(1) or images(*a, **k))
    again = measure_arm(Setup.on(tiny_neurons, **options), baseline)
    assert not calls
    assert again.answer == whole.answer
    for judge in (PixelJudge(options["judge"].labels[::-1], "reversed"), PixelJudge(options["judge"].labels, None)):
        calls.clear()
        measure_arm(Setup.on(tiny_neurons, **options | {"judge": judge}), baseline)
        assert calls, "another judge, or one without a digest, is asked anew"


KILLED_STAGE = """
import sys
from pathlib import Path

tests, work, bench, url = sys.argv[1:]
sys.path.insert(0, tests)
import beartype
import tiny
from stand_ins import paid_stage
from interp.benchmarks import reading

paid_stage(tiny.load(Path(work) / "model"), reading.load(Path(bench)), url, Path(work) / "cache", 4)
"""


def letter(request):
    """Answers by the picture, with the letter at which Japan stands."""
    text = request.body["messages"][0]["content"][1]["text"]
    given = next(line[0] for line in text.splitlines() if line.endswith(". Japan"))
    return Reply({"choices": [{"message": {"content": given}, "finish_reason": "stop"}]})


def shown(request):
    return request.body["messages"][0]["content"][0]["image_url"]["url"]


@pytest.fixture
def own_model(tiny_model, monkeypatch):
    monkeypatch.setattr(tiny_model, "images_at_once", 4)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-5f2c9b71aa04")
    monkeypatch.setenv("NO_PROXY", "*")
    return tiny_model


def test_an_arm_killed_in_a_batch_pays_for_nothing_twice(own_model, small_bench, tmp_path):
    """A real kill at the seventh question, in the middle of the second batch of four."""
    running = []

    def reply(request):
        if len(server.requests) == 7 and running:
            running.pop().kill()
        return letter(request)

    with Server(reply) as server:
        words = [
            sys.executable,
            "-c",
            KILLED_STAGE,
            Path(__file__).parents[1],
            tmp_path,
            small_bench.folder,
            server.url,
        ]
        running.append(subprocess.Popen(list(map(str, words))))
        assert running[0].wait(600) == -signal.SIGKILL
        assert len(server.requests) == 7
        found = paid_stage(own_model, small_bench, server.url, tmp_path / "cache")
        counts = Counter(map(shown, server.requests))
        assert found.answer == ("Japan",) * 12
        assert sorted(counts.values()) == [1] * 11 + [2], "only what was in flight is asked again"
        assert counts[shown(server.requests[6])] == 2
        again = paid_stage(own_model, small_bench, server.url, tmp_path / "cache", at_once=5)
        assert again.answer == found.answer
        assert len(server.requests) == 13, "nothing is asked again however the pictures are batched"


def test_an_arm_that_a_server_ends_keeps_what_was_answered(own_model, small_bench, tmp_path):
    def reply(request):
        return Reply({"error": {"message": "no"}}, 401) if len(server.requests) == 6 else letter(request)

    with Server(reply) as server:
        with pytest.raises(InterpError, match="HTTP 401"):
            paid_stage(own_model, small_bench, server.url, tmp_path)
        paid_stage(own_model, small_bench, server.url, tmp_path)
        counts = Counter(map(shown, server.requests))
        assert sorted(counts.values()) == [1] * 11 + [2]


def test_a_picture_without_an_answer_is_asked_about_again(own_model, small_bench, tmp_path):
    def reply(request):
        return Reply(b"", 500) if len(server.requests) in (2, 3) else letter(request)

    with Server(reply) as server:
        first = paid_stage(own_model, small_bench, server.url, tmp_path, attempts=1)
        assert Counter(first.answer) == {"Japan": 10, "": 2}
        second = paid_stage(own_model, small_bench, server.url, tmp_path, attempts=1)
        assert second.answer == ("Japan",) * 12 and len(server.requests) == 14


def test_a_metric_that_is_paid_for_is_kept_by_the_picture_too(own_model, small_bench, tmp_path, options):
    from interp.metrics.culture_vqa import CultureVqa
    from interp.metrics.judges.remote.openai import OpenAiJudge
    from interp.metrics.judges.remote.sender import Sender

    def reply(request):
        return Reply(b"", 401) if len(server.requests) == 7 else letter(request)

    with Server(reply) as server:
        judge = OpenAiJudge((*small_bench.cultures, UNRECOGNISABLE), "some-vlm", server.url, sender=Sender(6e6, 1))
        samples = tuple(small_bench.samples("test")[:12])
        metrics = (CultureVqa(judge), CultureVqa(options["judge"]))
        shared = Setup(own_model, samples, options["judge"], metrics, cache=tmp_path, progress=False)
        with pytest.raises(InterpError, match="HTTP 401"):
            measure_arm(shared, PlannedArm("paid", "noun_only"))
        scores = measure_arm(shared, PlannedArm("paid", "noun_only")).scores["culture_vqa:some-vlm"]
        assert scores.tolist() == [100.0 * (s.culture == "Japan") for s in samples]
        assert len(server.requests) == 13
        # three batches of the judge's and of the free metric's, and twelve answers that were paid for
        assert len(Journal(tmp_path / "arms.jsonl")) == 3 + 3 + 12


def test_controls_are_matched_and_hold_no_culture(tiny_neurons):
    taken = {i for s in tiny_neurons.sets.values() for i in s.indices}
    sets = controls.control_sets(tiny_neurons, "Japan", 5, seed=1)
    assert [s.indices for s in sets] == [s.indices for s in controls.control_sets(tiny_neurons, "Japan", 5, seed=1)]
    for chosen in sets:
        assert len(chosen.indices) == len(tiny_neurons["Japan"].indices)
        assert not set(chosen.indices) & taken
        row = tiny_neurons.cultures.index("Japan")
        assert chosen.magnitude == tuple(tiny_neurons.magnitude[row][list(chosen.indices)].tolist())


def test_sets_are_dealt_evenly(tiny_neurons, options):
    shared = Setup.on(tiny_neurons, **options)
    random = plan_arms(shared, tiny_neurons, interp.Mask, "masked", "culture_style", 2)[2]
    assert len(random.plans) == len(random.sets) == len(shared.samples)
    for culture in set(shared.cultures):
        assert sorted(n for n, c in zip(random.sets, shared.cultures, strict=True) if c == culture) == [0, 1]


def test_control_sets_are_planned_on_all_samples_for_the_encoder_alone(tiny_neurons, options):
    shared = Setup.on(tiny_neurons, **options)
    planned = plan_arms(shared, tiny_neurons, interp.Mask, "masked", "culture_style", 2)
    assert [arm.label for arm in planned if not arm.drawn] == ["random 0", "random 1"]
    measured = measure_arms(shared, planned)
    assert [arm.label for arm in measured.arms] == ["baseline", "masked", "random"]
    assert len(measured.shift["treatment"]) == 1 and len(measured.shift["random"]) == 2
    assert measured["masked"] is measured.arms[1]
    assert not any(arm.sets for arm in plan_arms(shared, tiny_neurons, interp.Mask, "masked", "culture_style"))


def test_splits_do_not_mix(tiny_model, tiny_sae, tiny_neurons, small_bench, options):
    with pytest.raises(InterpError, match="selected on split 'detection'"):
        interp.ablate(tiny_neurons, split="detection", **options)
    for call in (
        lambda: interp.find_layers(tiny_model, small_bench, split="test"),
        lambda: interp.find_neurons(tiny_model, tiny_sae, small_bench, split="test"),
        lambda: interp.train_sae(tiny_model, small_bench, 1, "resid", split="test"),
        lambda: interp.tune_strength(tiny_neurons, [1], "amplify", split="test"),
    ):
        with pytest.raises(InterpError, match="may not see the test split"):
            call()


def test_neurons_of_another_model_or_benchmark_are_refused(tiny_m9, tiny_neurons, small_bench, options):
    with pytest.raises(InterpError):
        interp.ablate(tiny_neurons, **{**options, "model": tiny_m9})
    with pytest.raises(InterpError, match="found on another benchmark"):
        interp.ablate(tiny_neurons, **{**options, "bench": small_bench.__class__(
            small_bench.card, small_bench.folder, "0" * 64, small_bench.rows)})  # fmt: skip


def test_sweep_and_off_target(tiny_neurons, options):
    swept = interp.sweep(tiny_neurons, (0, 2), split="train", **options)
    assert swept.strengths == (0.0, 2.0)
    assert swept.best in swept.strengths
    matrix = interp.off_target(tiny_neurons, **{**options, "per_culture": 1, "cultures": None})
    assert matrix.shape == (15, 15)
    assert np.isfinite(matrix).all()


def test_steer_draws_pairs(tiny_model, tiny_neurons):
    done = interp.steer(tiny_neurons, "Japan", ["a house", "a tree"], strength=8, model=tiny_model)
    assert done.baseline.shape == done.steered.shape
    assert not np.array_equal(done.baseline, done.steered)


def test_values_come_back(tiny_neurons, options, tmp_path):
    effect = interp.ablate(tiny_neurons, random_control=2, **options)
    files.save(effect, tmp_path / "effect", files.manifest("interp ablate", "ablate", neurons=tiny_neurons))
    again = interp.read(tmp_path / "effect")
    assert again.accuracy == effect.accuracy
    for name, arm in effect.arms.items():
        np.testing.assert_array_equal(again.arms[name].culture_hit, arm.culture_hit)
    (tmp_path / "effect" / "manifest.json").unlink()
    with pytest.raises(InterpError, match="no manifest"):
        interp.read(tmp_path / "effect")


def test_seeds_depend_on_the_sample_alone():
    assert setup.seed_of("a") == setup.seed_of("a") != setup.seed_of("b")
    assert setup.seed_of("a", 1) != setup.seed_of("a", 2)


def test_control_test_keeps_its_level():
    """With no effect, p ≤ 0.05 in about 5 % of experiments, as dealt sets see it."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        effects = rng.normal(size=21)
        hits += stats.control_p(float(effects[0]), effects[1:], "less") <= 0.05
    assert 0.03 < hits / 2000 < 0.07


def test_pictures_of_the_scan_are_those_of_the_interchange(tiny_model, small_bench, options):
    scores = interp.find_layers(tiny_model, small_bench, per_culture=2, progress=False)
    last = tiny_model.spec("text_encoder").reach
    judge = options["judge"]
    found = interp.scan_pictures(tiny_model, small_bench, scores, [0, last], per_culture=2, judge=judge, progress=False)
    assert set(found.causal_images) == {f"{kind} {arm}" for kind in ("z", "resid") for arm in patching.ARMS}
    assert all(set(at) == {0, last} for at in found.causal_images.values())
    chosen = small_bench.subset("detection", 2, 0).samples("detection")
    pairs, site = [s.native for s in chosen], Site(last, "resid")
    swapped = patching.interchange(tiny_model, pairs, site, "modifier", patching.donors(tiny_model, pairs, [site]))
    said = judge(generate.draw(tiny_model, swapped, [setup.seed_of(s.id) for s in chosen])).culture
    hit = [100 * (a == s.culture) for a, s in zip(said, chosen, strict=True)]
    assert found.causal_images["resid modifier"][last].estimate == pytest.approx(np.mean(hit))
    assert np.array_equal(found.delta_ca, scores.delta_ca)
    with pytest.raises(InterpError, match="layer 99"):
        interp.scan_pictures(tiny_model, small_bench, scores, [99], judge=judge)
    with pytest.raises(InterpError, match="test split"):
        interp.scan_pictures(tiny_model, small_bench, scores, [0], "test", judge=judge)


def test_values_say_in_a_few_lines_what_they_are(tiny_model, small_bench, tiny_neurons, options):
    effect = interp.ablate(tiny_neurons, random_control=2, **options)
    scores = interp.find_layers(tiny_model, small_bench, per_culture=2, causal=False, progress=False)
    swept = interp.sweep(tiny_neurons, [0, 1], **options)
    assert repr(effect).splitlines()[0] == "Effect of masked" and "p against control" in repr(effect)
    assert repr(scores).count("peak") == 1 and len(repr(scores).splitlines()) == len(scores.delta_ca) + 1
    assert len(repr(tiny_neurons).splitlines()) == len(tiny_neurons.cultures) + 1
    assert repr(tiny_neurons["Japan"]).startswith("NeuronSet(Japan, 4 latents: ")
    for value in (effect, scores, tiny_neurons, swept):
        assert len(repr(value)) < 4000
        assert value.figure().axes and "<table" in value._repr_html_()


def test_steered_pictures_stand_side_by_side(tiny_model, tiny_neurons):
    done = interp.steer(tiny_neurons, "Japan", ["a house", "a cat"], strength=9, model=tiny_model)
    grid = done.grid()
    assert grid.columns == ["plain", "Japan"] and [r.prompt for r in grid.rows] == ["a house", "a cat"]
    assert np.array_equal(grid.rows[1].pictures[1], done.steered[1])
    assert grid.figure().axes and "<img" in grid._repr_html_()


def test_a_culture_without_neurons_is_never_measured_as_nothing_done(tiny_neurons, options):
    empty = replace(tiny_neurons["Japan"], indices=(), magnitude=(), baseline=())
    bare = replace(tiny_neurons, sets={**tiny_neurons.sets, "Japan": empty})
    shared = Setup.on(tiny_neurons, **options)
    for call in (
        lambda: interp.ablate(bare, **options),
        lambda: interp.off_target(bare, **options),
        lambda: run.steer_all(shared, bare, interp.Mask),
    ):
        with pytest.raises(InterpError, match="no neurons for Japan: raise tau or k"):
            call()


def test_an_empty_sweep_is_refused_before_anything_is_loaded(tiny_neurons):
    for call in (interp.sweep, lambda n, s: interp.tune_strength(n, s, "amplify")):
        with pytest.raises(InterpError, match="no strengths"):
            call(replace(tiny_neurons, model_digest="0" * 64, settings={}), [])


def test_answers_are_read_once_per_setup(tiny_neurons, options, monkeypatch):
    reads = []
    monkeypatch.setattr(setup, "Journal", lambda *a, **k: reads.append(a) or Journal(*a, **k))
    interp.sweep(tiny_neurons, (0, 1, 2), **options)
    assert len(reads) == 1
