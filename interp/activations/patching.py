"""Interchange: put one prompt's states at a layer in place of another's, and see how much of the culture goes."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp.activations import capture, probe
from interp.activations.capture import Edit
from interp.errors import InterpError
from interp.grouping import group
from interp.models.adapter import Adapter, token_sets
from interp.models.records import Conditioning, concatenate
from interp.types import UNRECOGNISABLE, Prompt, PromptPair, Site

Arm = Literal["noun", "modifier"]
ARMS: tuple[Arm, ...] = ("noun", "modifier")


def arms(pairs: Sequence[PromptPair]) -> tuple[Arm, ...]:
    """What can be exchanged: the modifier only where every pair has a neutral one to put in its place."""
    return ARMS if all(p.neutral is not None for p in pairs) else ("noun",)


def neutral(pair: PromptPair) -> Prompt:
    """The neutral-modifier prompt, of pairs whose `arms` name the modifier."""
    assert pair.neutral is not None
    return pair.neutral


Donors = Mapping[Arm, Mapping[Site, Sequence[Float[Tensor, "... d_model"]]]]
"""What is put in place of a culture-style prompt's states, by arm and site, one a pair: the states of the noun's tokens
in the noun-only prompt; the mean state of the modifier's tokens in the neutral-modifier prompt."""


def donors(model: Adapter, pairs: Sequence[PromptPair], sites: Sequence[Site]) -> Donors:
    """Capture the donors of an interchange at some sites of one encoder."""
    states: dict[Arm, dict[Site, list[Tensor]]] = {arm: {s: [] for s in sites} for arm in arms(pairs)}
    for arm, by_site in states.items():
        prompts = [pair.noun_only if arm == "noun" else neutral(pair) for pair in pairs]
        for rows, tokens, read in capture.passes(model, [p.text for p in prompts], sites, encoder=sites[0].encoder):
            modifiers, nouns = token_sets(tokens, prompts[rows.start : rows.stop])
            for i, positions in enumerate(nouns if arm == "noun" else modifiers):
                for site in sites:
                    tokens_states = read.features[site][i, positions]
                    by_site[site].append(tokens_states if arm == "noun" else tokens_states.mean(0))
    return states


def interchange(model: Adapter, pairs: Sequence[PromptPair], site: Site, arm: Arm, donated: Donors) -> Conditioning:
    """The culture-style prompts, with one part of their states at one site taken from elsewhere.

    `noun`: the noun's tokens get their states of the noun-only prompt, token by token (their mean where the tokenizer
    cut the noun differently). `modifier`: the modifier's tokens get the mean state of a neutral modifier.
    """
    parts = []
    for rows in capture.batches(len(pairs), capture.rows_at_once(model)):
        prompts = [pairs[i].culture_style for i in rows]
        tokens = capture.tokenise(model, [p.text for p in prompts])
        modifiers, nouns = token_sets(tokens[site.encoder], prompts)
        positions = nouns if arm == "noun" else modifiers
        states = donated[arm][site][rows.start : rows.stop]
        patches = [_fit(patch, len(at)) for patch, at in zip(states, positions, strict=True)]
        parts.append(capture.condition(model, tokens, {site: _replace(positions, patches)}).to("cpu"))
    return concatenate(parts)


def _fit(states: Float[Tensor, "... d_model"], count: int) -> Float[Tensor, "count d_model"]:
    """The states of as many tokens: as they are, or their mean at each."""
    if states.ndim == 1:
        return states.expand(count, -1)
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
    prompts = [p.culture_style.text for p in pairs] + [p.noun_only.text for p in pairs]
    labels = [p.culture for p in pairs] + [UNRECOGNISABLE] * len(pairs)
    return probe.fit(capture.encode(model, prompts), labels)


def _halves(pairs: Sequence[PromptPair]) -> tuple[list[PromptPair], list[PromptPair]]:
    """Pairs of every other concept of each culture, and the rest."""
    by_culture = group(pairs, lambda p: p.culture)
    concepts = {culture: sorted({p.category for p in its_pairs}) for culture, its_pairs in by_culture.items()}
    if few := [culture for culture, names in concepts.items() if len(names) < 2]:
        raise InterpError(f"the causal scan needs two concepts per culture, found one for {', '.join(few)}")
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
    before = measure.named(capture.encode(model, [p.culture_style.text for p in reading]), labels).mean()
    layers = range(model.spec(encoder).reach + 1)
    out = {}
    for kind in ("z", "resid"):
        sites = [Site(layer, kind, encoder) for layer in layers]
        donated = donors(model, reading, sites)
        for arm in arms(reading):
            after = [measure.named(interchange(model, reading, s, arm, donated), labels).mean() for s in sites]
            out[f"{kind} {arm}"] = 1 - np.array(after) / before
    return out
