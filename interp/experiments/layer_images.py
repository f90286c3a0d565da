"""The causal scan's effect on pictures."""

from collections.abc import Sequence
from dataclasses import replace

from interp.activations import patching
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import DETECTION, refuse_test
from interp.experiments.arms import Stage
from interp.experiments.inputs import arm_cache
from interp.experiments.setup import default_judge
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
    """The causal scan's effect on pictures: CultureVQA of culture-style prompts under every interchange.

    Args:
        model: the adapter.
        bench: its samples of `split`; the test split is refused.
        scores: from `find_layers`; they come back with `causal_images`.
        at: layers to draw pictures for.
        split: which samples.
        encoder: which text encoder.
        per_culture: pictures a culture, layer and arm.
        judge: names the culture of a picture.
        steps: of the sampler; None for the model's.
        progress: show bars.
    """
    refuse_test(split)
    for layer in at:
        model.check_layer(layer, encoder)
    chosen = bench.subset(split, per_culture, 0).samples(split)
    stage = Stage(
        model,
        judge or default_judge(bench, model.device),
        chosen,
        steps=steps,
        cache=arm_cache(model),
        progress=progress,
    )
    kinds: tuple[SiteKind, ...] = ("z", "resid")
    drawn = {
        f"{kind} {arm}": {la: _interchanged(stage, Site(la, kind, encoder), arm) for la in at}
        for kind in kinds
        for arm in patching.arms([s.native for s in chosen])
    }
    return replace(scores, causal_images=drawn)


def _interchanged(stage: Stage, site: Site, arm: patching.Arm) -> Interval:
    pairs = [s.native for s in stage.samples]
    given = patching.donors(stage.model, pairs, [site])
    conditioning = patching.interchange(stage.model, pairs, site, arm, given)
    return stage.interval(stage.judged(f"{site} {arm}", conditioning).culture_hit)
