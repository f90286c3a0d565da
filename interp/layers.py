"""Which layer: the attention contrast ΔCA(l) of the paper (Eq. 1–3), and beside it what an interchange at a layer does.

ΔCA asks where attention from modifier to noun rises; the causal scan asks where swapping one prompt's states for the
other's takes the culture away. The two need not agree. Image-side effects are measured in `experiment`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp import capture, probe, stats
from interp.capture import Edit
from interp.errors import InterpError
from interp.models.base import Adapter, Conditioning, concatenate, token_sets
from interp.types import UNRECOGNISABLE, LayerScores, Prompt, PromptPair, Site

Arm = Literal["noun", "modifier"]
ARMS: tuple[Arm, ...] = ("noun", "modifier")
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
    cult = capture.attention(model, [p.cult for p in pairs], encoder, progress)
    noun = capture.attention(model, [p.noun for p in pairs], encoder, progress)
    causal = model.spec(encoder).causal
    ca = _attention(cult, causal)
    out = {
        "context": ca - noun.context,
        "zero": ca,
        "normalised": ca * cult.length[:, None] - noun.context * noun.length[:, None],
    }
    if "modifier" in arms(pairs):
        neutral = capture.attention(model, [_neutral(p) for p in pairs], encoder, progress)
        out["neutral"] = ca - _attention(neutral, causal)
    return out


def _attention(found: capture.AttentionBlocks, causal: bool) -> Float[np.ndarray, "pair layer"]:
    return np.stack([block.mean((1, 2)) for block in (found.reverse if causal else found.blocks)])


def arms(pairs: Sequence[PromptPair]) -> tuple[Arm, ...]:
    """What can be exchanged: the modifier only where every pair has a neutral one to put in its place."""
    return ARMS if all(p.neutral is not None for p in pairs) else ("noun",)


def _neutral(pair: PromptPair) -> Prompt:
    assert pair.neutral is not None  # asked only where `arms` names the modifier
    return pair.neutral


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


@dataclass(frozen=True)
class Donors:
    """What is put in place of a culture-style prompt's states, for every pair and site."""

    noun: Mapping[Site, tuple[Float[Tensor, "_ d_model"], ...]]
    """States of the noun's tokens in the noun-only prompt."""
    modifier: Mapping[Site, tuple[Float[Tensor, "d_model"], ...]]
    """Mean state of the modifier's tokens in the neutral-modifier prompt; empty where a pair has none."""


def donors(model: Adapter, pairs: Sequence[PromptPair], sites: Sequence[Site]) -> Donors:
    """Capture the donors of an interchange at some sites of one encoder."""
    encoder = sites[0].encoder
    states: dict[Arm, dict[Site, list[Tensor]]] = {arm: {s: [] for s in sites} for arm in arms(pairs)}
    for rows in capture.batches(len(pairs), capture.rows_at_once(model)):
        for arm, store in states.items():
            prompts = [pairs[i].noun if arm == "noun" else _neutral(pairs[i]) for i in rows]
            tokens = model.encoder(encoder).tokenise([p.text for p in prompts])
            got = capture.forward(model, tokens, reads=sites, encoder=encoder, to_end=False)
            where = token_sets(tokens, prompts)[1 if arm == "noun" else 0]
            for site in sites:
                store[site] += [got.features[site][i, at] for i, at in enumerate(where)]
    modifier = {s: tuple(x.mean(0) for x in v) for s, v in states.get("modifier", {}).items()}
    return Donors({s: tuple(v) for s, v in states["noun"].items()}, modifier)


def interchange(model: Adapter, pairs: Sequence[PromptPair], site: Site, arm: Arm, given: Donors) -> Conditioning:
    """The culture-style prompts, with one part of their states at one site taken from elsewhere.

    `noun`: the noun's tokens get their states of the noun-only prompt, token by token (their mean where the tokenizer
    cut the noun differently). `modifier`: the modifier's tokens get the mean state of a neutral modifier.
    """
    parts = []
    for rows in capture.batches(len(pairs), capture.rows_at_once(model)):
        prompts = [pairs[i].cult for i in rows]
        tokens = capture.tokenise(model, [p.text for p in prompts])
        cult, noun = token_sets(tokens[site.encoder], prompts)
        if arm == "noun":
            patches = [_fit(given.noun[site][i], len(at)) for i, at in zip(rows, noun, strict=True)]
        else:
            patches = [given.modifier[site][i].expand(len(at), -1) for i, at in zip(rows, cult, strict=True)]
        edit = _replace(noun if arm == "noun" else cult, patches)
        parts.append(capture.condition(model, tokens, {site: edit}).to("cpu"))
    return concatenate(parts)


def _fit(states: Tensor, count: int) -> Tensor:
    return states if len(states) == count else states.mean(0).expand(count, -1)


def _replace(positions: list[list[int]], patches: list[Tensor]) -> Edit:
    def edit(features: Tensor, real: Tensor) -> Tensor:
        out = features.clone()
        for row, (at, patch) in enumerate(zip(positions, patches, strict=True)):
            out[row, at] = patch.to(out)
        return out

    return edit


def culture_probe(model: Adapter, pairs: Sequence[PromptPair]) -> probe.Probe:
    """The encoder-side measure: which culture, or none, a prompt's conditioning says."""
    prompts = [p.cult.text for p in pairs] + [p.noun.text for p in pairs]
    labels = [p.culture for p in pairs] + [UNRECOGNISABLE] * len(pairs)
    return probe.fit(capture.encode(model, prompts), labels)


def _halves(pairs: Sequence[PromptPair]) -> tuple[list[PromptPair], list[PromptPair]]:
    """Pairs of every other concept of each culture, and the rest."""
    concepts = {
        c: sorted({p.category for p in pairs if p.culture == c}) for c in dict.fromkeys(p.culture for p in pairs)
    }
    few = [c for c, found in concepts.items() if len(found) < 2]
    if few:
        raise InterpError(f"the causal scan needs two concepts a culture, found one for {', '.join(few)}")
    first = [p for p in pairs if p.category in concepts[p.culture][::2]]
    return first, [p for p in pairs if p.category not in concepts[p.culture][::2]]


def causal_scan(
    model: Adapter, pairs: Sequence[PromptPair], encoder: str = "text_encoder", progress: bool = False
) -> dict[str, Float[np.ndarray, "layer"]]:
    """Share of the culture that an interchange at one layer removes: 1 − mean P(culture) after / before.

    The probe is fitted on half of each culture's concepts and read on the others.
    """
    fitting, reading = _halves(pairs)
    measure = culture_probe(model, fitting)
    labels = [p.culture for p in reading]
    before = measure.named(capture.encode(model, [p.cult.text for p in reading]), labels).mean()
    layers = range(model.spec(encoder).reach + 1)
    out = {}
    for kind in ("z", "resid"):
        sites = [Site(layer, kind, encoder) for layer in layers]
        given = donors(model, reading, sites)
        for arm in arms(reading):
            after = [measure.named(interchange(model, reading, s, arm, given), labels).mean() for s in sites]
            out[f"{kind} {arm}"] = 1 - np.array(after) / before
    return out
