"""The layer: attention contrast and causal scan of a benchmark's prompt pairs."""

import warnings

from interp.activations import attention_contrast, patching
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import DETECTION, refuse_test
from interp.errors import InterpWarning
from interp.models.adapter import Adapter
from interp.types import LayerScores


def find_layers(
    model: Adapter,
    bench: Benchmark,
    split: str = DETECTION,
    encoder: str = "text_encoder",
    per_culture: int | None = 12,
    causal: bool = True,
    progress: bool = True,
) -> LayerScores:
    """ΔCA of every layer, and the causal scan beside it.

    Args:
        model: the adapter.
        bench: its prompt pairs of `split` are used; the test split is refused.
        split: which prompts.
        encoder: which text encoder.
        per_culture: prompt pairs per culture, spread over its concepts; None for all.
        causal: whether to run the encoder-side scan.
        progress: show bars.
    """
    refuse_test(split)
    model.encoder(encoder)
    pairs = (bench if per_culture is None else bench.subset(split, per_culture, 0)).pairs(split)
    if lacking := sum(p.neutral is None for p in pairs):
        warnings.warn(
            f"{lacking} of {len(pairs)} prompt pairs have no caption with a neutral modifier (`neutral_style`): the "
            "baseline `neutral` and the interchange of the modifier are left out",
            InterpWarning,
            stacklevel=2,
        )
    scan = patching.causal_scan(model, pairs, encoder, progress) if causal else None
    return attention_contrast.scores(model, pairs, encoder, scan, progress)
