"""The paper's layer: where attention from modifier to noun rises, ΔCA(l) (Eq. 1-3)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from interp import stats
from interp.activations import attention
from interp.activations.patching import _neutral, arms
from interp.errors import InterpError
from interp.models.adapter import Adapter
from interp.types import LayerScores, PromptPair

BASELINES = ("context", "zero", "neutral", "normalised")


def attention_contrast(
    model: Adapter, pairs: Sequence[PromptPair], encoder: str = "text_encoder", progress: bool = False
) -> dict[str, Float[np.ndarray, "pair layer"]]:
    """CA(P_cult, l) − CA(P_noun, l) of every pair, under each stand-in for the modifier that P_noun has not.

    `context`: CA(P_noun) is the mean attention from its other content tokens to the noun. `zero`: it is 0.
    `neutral`: CA of the same noun with a modifier that names no culture, if all pairs have one.
    `normalised`: as `context`, each attention in multiples of 1/S, the uniform value in a prompt of S tokens. In a
    causal encoder whose modifier stands before the noun, noun→modifier is measured instead. NaN where a pair has no
    such tokens.
    """
    if not pairs:
        raise InterpError("no prompt pairs; the split is empty")
    cult = attention.attention(model, [p.culture_style for p in pairs], encoder, progress)
    noun = attention.attention(model, [p.noun_only for p in pairs], encoder, progress)
    causal = model.spec(encoder).causal
    ca = _attention(cult, causal)
    out = {
        "context": ca - noun.context,
        "zero": ca,
        "normalised": ca * cult.length[:, None] - noun.context * noun.length[:, None],
    }
    if "modifier" in arms(pairs):
        neutral = attention.attention(model, [_neutral(p) for p in pairs], encoder, progress)
        out["neutral"] = ca - _attention(neutral, causal)
    return out


def _attention(found: attention.AttentionBlocks, causal: bool) -> Float[np.ndarray, "pair layer"]:
    return np.stack([block.mean((1, 2)) for block in (found.reverse if causal else found.blocks)])


def scores(
    model: Adapter,
    pairs: Sequence[PromptPair],
    encoder: str = "text_encoder",
    causal: Mapping[str, Float[np.ndarray, "layer"]] | None = None,
    progress: bool = False,
) -> LayerScores:
    """ΔCA(l) with bootstrap intervals over pairs (clustered by concept), and the test against neighbouring layers."""
    contrast = attention_contrast(model, pairs, encoder, progress)
    clusters = [f"{p.culture}/{p.category}" for p in pairs]
    curve = stats.bootstrap_mean_curves(contrast["context"], clusters=clusters)
    return LayerScores(
        delta_ca=curve.mean,
        ci=curve.ci,
        neighbour_p=stats.neighbour_test(contrast["context"], clusters=clusters),
        variants={k: np.nanmean(v, 0) for k, v in contrast.items() if k != "context"},
        causal=dict(causal or {}),
        peak=int(np.argmax(curve.mean)),
        direction="noun→modifier" if model.spec(encoder).causal else "modifier→noun",
        n_pairs=len(pairs),
        model_digest=model.model_digest,
    )
