"""The causal scan's effect on images."""

from collections.abc import Sequence
from dataclasses import replace

from interp.activations import patching
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import DETECTION, refuse_test
from interp.experiments.arms import measure_conditioning
from interp.experiments.effects import interval
from interp.experiments.setup import Setup
from interp.metrics.judges.base import Judge
from interp.models.adapter import Adapter
from interp.types import Interval, LayerScores, Site, SiteKind


def scan_pictures(
    model: Adapter,
    bench: Benchmark,
    scores: LayerScores,
    at: Sequence[int],
    split: str = DETECTION,
    encoder: str = "text_encoder",
    per_culture: int = 4,
    judge: Judge | None = None,
    steps: int | None = None,
    progress: bool = True,
) -> LayerScores:
    """The causal scan's effect on images: CultureVQA of culture-style prompts under every interchange.

    Args:
        model: the adapter.
        bench: its samples of `split`; the test split is refused.
        scores: from `find_layers`; they come back with `causal_images`.
        at: layers to draw images for.
        split: which samples.
        encoder: which text encoder.
        per_culture: images per culture, layer and arm.
        judge: names the culture of an image; the one that ships for the benchmark if None.
        steps: of the sampler; None for the model's.
        progress: show bars.

    Raises:
        InterpError: the test split, a layer that cannot reach the image, or as `Setup.of`.
    """
    refuse_test(split)
    for layer in at:
        model.check_layer(layer, encoder)
    setup = Setup.of(model, bench, split, per_culture, judge=judge, steps=steps, progress=progress)
    kinds: tuple[SiteKind, ...] = ("z", "resid")
    images = {
        f"{kind} {arm}": {layer: _interchanged(setup, Site(layer, kind, encoder), arm) for layer in at}
        for kind in kinds
        for arm in patching.arms([s.native for s in setup.samples])
    }
    return replace(scores, causal_images=images)


def _interchanged(setup: Setup, site: Site, arm: patching.Arm) -> Interval:
    pairs = [s.native for s in setup.samples]
    donors = patching.donors(setup.model, pairs, [site])
    conditioning = patching.interchange(setup.model, pairs, site, arm, donors)
    return interval(setup, measure_conditioning(setup, conditioning, f"{site} {arm}").culture_hit)
