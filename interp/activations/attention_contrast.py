"""The paper's layer: where attention from modifier to noun rises, ΔCA(l) (Eq. 1–3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from interp import stats
from interp.activations import capture
from interp.activations.patching import arms, neutral
from interp.errors import InterpError
from interp.models.adapter import Adapter, token_sets
from interp.types import LayerScores, Prompt, PromptPair


@dataclass(frozen=True)
class AttentionBlocks:
    """What of Ā(l) the layer test needs, for each prompt: small blocks, never the whole pattern."""

    blocks: tuple[Float[np.ndarray, "layer _ _"], ...]
    """Ā_key(l), [layer, modifier token, noun token]; the counts of tokens differ from prompt to prompt."""
    reverse: tuple[Float[np.ndarray, "layer _ _"], ...]
    """Noun token → modifier token, for causal encoders."""
    context: Float[np.ndarray, "prompt layer"]
    """Mean attention from non-special, non-noun, non-modifier tokens to the noun; NaN where there are none."""
    length: Int[np.ndarray, "prompt"]
    """Real tokens, special ones included."""

    def mean(self, causal: bool) -> Float[np.ndarray, "prompt layer"]:
        """CA(l): the mean of each block, in a causal encoder of the reverse one."""
        return np.stack([block.mean((1, 2)) for block in (self.reverse if causal else self.blocks)])


def attention(model: Adapter, prompts: Sequence[Prompt], encoder: str, progress: bool = False) -> AttentionBlocks:
    """Head-averaged attention between modifier, noun and context at every layer that reaches the image.

    Eq. 1: Ā(l) = 1/H Σ_h A_h(l), then only the entries from the modifier's tokens to the noun's.
    """
    layers = range(model.spec(encoder).reach + 1)
    blocks, reverse, context, length = [], [], [], []
    texts = [p.text for p in prompts]
    passes = capture.passes(model, texts, attention=layers, encoder=encoder, label="attention", progress=progress)
    for rows, batch, read in passes:
        token_pairs = zip(*token_sets(batch, prompts[rows.start : rows.stop]), strict=True)
        for i, (modifier, noun) in enumerate(token_pairs):
            pattern = torch.stack([read.attention[layer][i] for layer in layers]).float().cpu().numpy()
            others = [t for t in (~batch.special[i]).nonzero()[:, 0].tolist() if t not in {*modifier, *noun}]
            blocks.append(pattern[:, modifier][:, :, noun])
            reverse.append(pattern[:, noun][:, :, modifier])
            to_noun = pattern[:, others][:, :, noun]
            context.append(to_noun.mean((1, 2)) if to_noun[0].size else np.full(len(layers), np.nan))
            length.append(int(batch.mask[i].sum()))
    return AttentionBlocks(tuple(blocks), tuple(reverse), np.stack(context), np.array(length))


def attention_contrast(
    model: Adapter, pairs: Sequence[PromptPair], encoder: str = "text_encoder", progress: bool = False
) -> dict[str, Float[np.ndarray, "pair layer"]]:
    """CA of the culture-style prompt less CA of the noun-only one, for every stand-in for the modifier it has not.

    `context`: CA of the noun-only prompt is the mean attention from its other content tokens to the noun. `zero`: it
    is 0. `neutral`: CA of the same noun with a modifier that names no culture, if all pairs have one. `normalised`: as
    `context`, each attention in multiples of 1/S, the uniform value in a prompt of S tokens. In a causal encoder whose
    modifier stands before the noun, noun→modifier is measured instead. NaN where a pair has no such tokens.
    """
    if not pairs:
        raise InterpError("no prompt pairs; the split is empty")
    causal = model.spec(encoder).causal
    culture_style = attention(model, [p.culture_style for p in pairs], encoder, progress)
    noun_only = attention(model, [p.noun_only for p in pairs], encoder, progress)
    ca = culture_style.mean(causal)
    out = {
        "context": ca - noun_only.context,
        "zero": ca,
        "normalised": ca * culture_style.length[:, None] - noun_only.context * noun_only.length[:, None],
    }
    if "modifier" in arms(pairs):
        out["neutral"] = ca - attention(model, [neutral(p) for p in pairs], encoder, progress).mean(causal)
    return out


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
