"""Head-averaged attention between modifier, noun and context (Eq. 1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from interp.activations.capture import batches, forward, rows_at_once
from interp.models.adapter import Adapter, token_sets
from interp.types import Prompt


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


def attention(model: Adapter, prompts: Sequence[Prompt], encoder: str, progress: bool = False) -> AttentionBlocks:
    """Head-averaged attention between modifier, noun and context at every layer that reaches the image.

    Eq. 1: Ā(l) = 1/H Σ_h A_h(l), then only the entries from T_cult to T_noun.
    """
    layers = range(model.spec(encoder).reach + 1)
    blocks, reverse, context, length = [], [], [], []
    for rows in batches(len(prompts), rows_at_once(model), "attention", progress):
        chosen = [prompts[i] for i in rows]
        batch = model.encoder(encoder).tokenise([p.text for p in chosen])
        got = forward(model, batch, attention=layers, encoder=encoder, to_end=False)
        cult, noun = token_sets(batch, chosen)
        content = batch.mask.bool() & ~batch.special
        for i in range(len(chosen)):
            pattern = torch.stack([got.attention[layer][i] for layer in layers]).float().cpu().numpy()
            rest = [t for t in content[i].nonzero()[:, 0].tolist() if t not in {*cult[i], *noun[i]}]
            blocks.append(pattern[:, cult[i]][:, :, noun[i]])
            reverse.append(pattern[:, noun[i]][:, :, cult[i]])
            context.append(_mean(pattern[:, rest][:, :, noun[i]]))
            length.append(int(batch.mask[i].sum()))
    return AttentionBlocks(tuple(blocks), tuple(reverse), np.stack(context), np.array(length))


def _mean(block: np.ndarray) -> Float[np.ndarray, "layer"]:
    """Mean over token pairs, NaN where there is no pair."""
    return block.mean((1, 2)) if block.shape[1] * block.shape[2] else np.full(len(block), np.nan)
