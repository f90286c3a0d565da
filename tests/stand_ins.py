"""Stand-ins: a judge and a metric that only the pixels decide, an arm under a judge that is paid for."""

import numpy as np

from interp.experiments.arms import measure_arm
from interp.experiments.controls import PlannedArm
from interp.experiments.setup import Setup
from interp.metrics.base import Scores
from interp.metrics.judges.base import Verdicts
from interp.types import UNRECOGNISABLE


class PixelJudge:
    """Names cultures by a checksum of the pixels, so that only the images decide."""

    name = "pixels"

    def __init__(self, labels, digest="pixels"):
        self.labels = tuple(labels)
        self.digest = digest

    def __call__(self, images, items=()):
        names = [self.labels[int(i.astype(int).sum()) % len(self.labels)] for i in images]
        n = len(images)
        return Verdicts(tuple(names), ("ant",) * n, np.zeros((n, 1)), np.zeros((n, 1)))


class Mean:
    """Mean grey value; 255 cannot be scored."""

    name, unit, direction, digest, batch, grouped = "mean", "level", "higher", "1", 5, False

    def __init__(self):
        self.calls = []

    def key(self, sample):
        return sample.culture

    def measure(self, images, samples):
        self.calls.append([s.id for s in samples])
        values = np.array([i.mean() for i in images])
        return Scores(np.where(values == 255, np.nan, values))


def paid_stage(model, bench, url, cache, at_once=4, threads=1, **settings):
    """An arm of twelve images under a judge behind a server."""
    from interp.metrics.judges.remote.openai import OpenAiJudge
    from interp.metrics.judges.remote.sender import Sender

    labels = (*bench.cultures, UNRECOGNISABLE)
    judge = OpenAiJudge(labels, "some-vlm", url, sender=Sender(6e6, threads, **settings))
    cache.mkdir(parents=True, exist_ok=True)
    model.images_at_once = at_once
    setup = Setup(model, tuple(bench.samples("test")[:12]), judge, cache=cache, progress=False)
    return measure_arm(setup, PlannedArm("paid", "noun_only"))
