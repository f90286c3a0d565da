"""Interchange: put one prompt's states at a layer in place of another's, and see how much of the culture goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp.activations import capture, probe
from interp.activations.capture import Edit
from interp.errors import InterpError
from interp.models.adapter import Adapter, token_sets
from interp.models.records import Conditioning, concatenate
from interp.types import UNRECOGNISABLE, Prompt, PromptPair, Site

Arm = Literal["noun", "modifier"]
ARMS: tuple[Arm, ...] = ("noun", "modifier")


def arms(pairs: Sequence[PromptPair]) -> tuple[Arm, ...]:
    """What can be exchanged: the modifier only where every pair has a neutral one to put in its place."""
    return ARMS if all(p.neutral is not None for p in pairs) else ("noun",)


def _neutral(pair: PromptPair) -> Prompt:
    assert pair.neutral is not None  # asked only where `arms` names the modifier
    return pair.neutral


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
            prompts = [pairs[i].noun_only if arm == "noun" else _neutral(pairs[i]) for i in rows]
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
        prompts = [pairs[i].culture_style for i in rows]
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
    prompts = [p.culture_style.text for p in pairs] + [p.noun_only.text for p in pairs]
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
    before = measure.named(capture.encode(model, [p.culture_style.text for p in reading]), labels).mean()
    layers = range(model.spec(encoder).reach + 1)
    out = {}
    for kind in ("z", "resid"):
        sites = [Site(layer, kind, encoder) for layer in layers]
        given = donors(model, reading, sites)
        for arm in arms(reading):
            after = [measure.named(interchange(model, reading, s, arm, given), labels).mean() for s in sites]
            out[f"{kind} {arm}"] = 1 - np.array(after) / before
    return out
