"""Run prompts through a text encoder once, under nnsight: read features and attention, edit features, get conditioning.

Everything that touches a hidden state goes through `forward`: one trace a batch, layers in execution order, edits
before reads at the same site. Edits are plain functions of tensors and never see nnsight. Not for the denoiser, which
stays free of hooks. Notebook: notebooks/01_tour.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from interp.errors import InterpError
from interp.models.adapter import Adapter, token_sets
from interp.models.records import Conditioning, States, Tokens, concatenate
from interp.types import Prompt, Site

Features = Float[Tensor, "prompt token d_model"]
Mask = Bool[Tensor, "prompt token"]
Edit = Callable[[Features, Mask], Features]
"""A pure function of (features, special-token mask); special tokens are begin, end and padding."""
BATCH = 128
"""Prompts a trace, at most."""
SCORES = 2**27
"""Attention scores (prompt × head × token²) of one layer in one trace, at most: half a gigabyte."""


@dataclass(frozen=True)
class Forward:
    """What one trace gave."""

    features: Mapping[Site, Float[Tensor, "prompt token d_model"]]
    """`z` and `resid` as asked, after the edits."""
    attention: Mapping[int, Float[Tensor, "prompt token token"]]
    """Head-averaged attention Ā(l) (Eq. 1) in float32, [query, key]."""
    edges: Mapping[int, tuple[Tensor, Tensor]]
    """Layer → (pattern by head, values), for `edge` features."""
    states: States | None
    """What the family makes a conditioning of, if the pass ran to the end."""


def forward(
    model: Adapter,
    tokens: Tokens,
    reads: Sequence[Site] = (),
    edits: Mapping[Site, Edit] | None = None,
    attention: Sequence[int] = (),
    encoder: str = "text_encoder",
    to_end: bool = True,
    gradient: bool = False,
) -> Forward:
    """One pass through one encoder.

    Args:
        model: the adapter.
        tokens: a batch.
        reads: sites to keep.
        edits: site → edit; applied to real tokens only, padding is put back as it was.
        attention: layers whose head-averaged attention to keep.
        encoder: which encoder.
        to_end: whether to run to the end and give the states; else stop after the last layer needed.
        gradient: keep what is needed to differentiate the states by what the edits hold.

    Raises:
        InterpError: a layer does not exist or cannot affect the image.
    """
    edits = edits or {}
    for site in (*reads, *edits):
        model.check_layer(site.layer, site.encoder)
    at = model.encoder(encoder)
    before_last = at.spec.layers - 2 if to_end and at.penultimate else None
    plan = _Plan(reads, edits, attention, before_last)
    real, special = tokens.mask.bool(), tokens.special
    features: dict[Site, Any] = {}
    patterns: dict[int, Any] = {}
    edges: dict[int, Any] = {}
    output: Any = None
    penultimate: Any = None
    with torch.set_grad_enabled(gradient), at.envoy.trace(**at.inputs(tokens)) as tracer:
        for layer in plan.layers:
            z_site, resid_site = Site(layer, "z", encoder), Site(layer, "resid", encoder)
            if layer in plan.edges:
                edges[layer] = [at.values(at.envoy, layer).save()]
            if z_site in edits:
                at.set_z(at.envoy, layer, _apply(edits[z_site], at.z(at.envoy, layer), real, special))
            if z_site in reads:
                features[z_site] = at.z(at.envoy, layer).save()
            if layer in attention:
                patterns[layer] = at.pattern(at.envoy, layer).float().mean(1).save()
            if layer in plan.edges:
                edges[layer].append(at.pattern(at.envoy, layer).save())
            if resid_site in edits:
                at.set_resid(at.envoy, layer, _apply(edits[resid_site], at.resid(at.envoy, layer), real, special))
            if resid_site in reads:
                features[resid_site] = at.resid(at.envoy, layer).save()
            if layer == before_last:
                penultimate = at.resid(at.envoy, layer).save()
        if to_end:
            output = at.envoy.output.save()
        else:
            tracer.stop()
    return Forward(
        features,
        patterns,
        {layer: (pattern, value) for layer, (value, pattern) in edges.items()},
        States(output, penultimate) if to_end else None,
    )


def _apply(edit: Edit, features: Tensor, real: Tensor, special: Tensor) -> Tensor:
    return torch.where(real[..., None], edit(features, special), features)


@dataclass(frozen=True)
class _Plan:
    """The sites of a trace, sorted into execution order."""

    reads: Sequence[Site]
    edits: Mapping[Site, Edit]
    attention: Sequence[int]
    before_last: int | None

    def __post_init__(self) -> None:
        if any(s.kind == "edge" for s in self.edits):
            raise InterpError("site 'edge' can be captured but not edited; edit 'z' or 'resid'")

    @property
    def layers(self) -> list[int]:
        also = {*self.attention} if self.before_last is None else {*self.attention, self.before_last}
        return sorted({s.layer for s in (*self.reads, *self.edits)} | also)

    @property
    def edges(self) -> set[int]:
        return {s.layer for s in self.reads if s.kind == "edge"}


def rows_at_once(model: Adapter) -> int:
    """Prompts a trace, so that no encoder of a model needs more than `SCORES` attention scores a layer."""
    scores = [e.spec.heads * e.spec.max_tokens**2 for e in model.encoders.values()]
    return max(1, min(BATCH, SCORES // max(scores)))


def batches(count: int, size: int = BATCH, label: str = "", progress: bool = False) -> Iterator[range]:
    """Row ranges, with a progress bar."""
    starts = range(0, count, size)
    for start in tqdm(starts, desc=label, disable=not progress or count <= size, leave=False):
        yield range(start, min(start + size, count))


def tokenise(model: Adapter, texts: Sequence[str]) -> dict[str, Tokens]:
    """The prompts as every encoder of a model reads them."""
    return {name: encoder.tokenise(texts) for name, encoder in model.encoders.items()}


def condition(
    model: Adapter,
    tokens: Mapping[str, Tokens],
    edits: Mapping[Site, Edit] | None = None,
    gradient: bool = False,
) -> Conditioning:
    """The conditioning of one batch: every encoder once, those without edits untouched and without a trace.

    Args:
        model: the adapter.
        tokens: of every encoder.
        edits: site → edit.
        gradient: as in `forward`.

    Raises:
        InterpError: as `forward`; the result holds values that are not finite.
    """
    by_encoder: dict[str, dict[Site, Edit]] = {}
    for site, edit in (edits or {}).items():
        model.check_layer(site.layer, site.encoder)
        by_encoder.setdefault(site.encoder, {})[site] = edit
    states = {}
    for name, encoder in model.encoders.items():
        if name in by_encoder:
            states[name] = forward(model, tokens[name], edits=by_encoder[name], encoder=name, gradient=gradient).states
        else:
            states[name] = encoder(tokens[name])
    with torch.set_grad_enabled(gradient):
        return _finite(model, model.condition(states, tokens), bool(edits))


def _finite(model: Adapter, given: Conditioning, edited: bool) -> Conditioning:
    """Refuse numbers that no picture can be drawn from."""
    if not all(bool(x.isfinite().all()) for x in (given.embeds, given.pooled) if x is not None):
        weaker = ", or edit less strongly" * edited
        raise InterpError(
            f"{model.name}: the conditioning holds values that are not finite in "
            f"{str(given.embeds.dtype).removeprefix('torch.')}; load the model in bfloat16 or float32{weaker}"
        )
    return given


def encode(
    model: Adapter, prompts: Sequence[str], edits: Mapping[Site, Edit] | None = None, progress: bool = False
) -> Conditioning:
    """Encode prompts once, with edits on the prompt branch; the negative branch is never edited.

    The result is in main memory: of many prompts it is large, and the denoiser takes it batch by batch.

    Raises:
        InterpError: no prompts; a layer or encoder that does not exist.
    """
    if not prompts:
        raise InterpError("no prompts to encode")
    return concatenate(
        [
            condition(model, tokenise(model, [prompts[i] for i in rows]), edits).to("cpu")
            for rows in batches(len(prompts), rows_at_once(model), "encode", progress)
        ]
    )


@dataclass(frozen=True)
class TokenFeatures:
    """Features of the tokens of many prompts, flat."""

    values: Mapping[Site, Float[Tensor, "sample d_model"]]
    """A sample is one token, for `edge` one modifier→noun pair."""
    prompt: Int[Tensor, "sample"]
    """Which prompt each sample belongs to."""


def features(
    model: Adapter,
    prompts: Sequence[Prompt],
    sites: Sequence[Site],
    tokens: str = "content",
    progress: bool = False,
) -> TokenFeatures:
    """Features of many prompts at some sites.

    Args:
        model: the adapter.
        prompts: with spans, if `tokens` needs them.
        sites: of one encoder.
        tokens: `content` (real, not special), `real`, `modifier`, `noun`, or `span` (both).
        progress: show a bar.

    Raises:
        InterpError: an unknown choice of tokens, or a mix of `edge` and other sites.
    """
    if tokens not in ("content", "real", "modifier", "noun", "span"):
        raise InterpError(f"tokens {tokens!r}: known are content, real, cult, noun, span")
    if len({s.kind == "edge" for s in sites}) > 1:
        raise InterpError("edge features count token pairs, the others tokens: capture them in two calls")
    kept: dict[Site, list[Tensor]] = {s: [] for s in sites}
    owner: list[Tensor] = []
    for rows in batches(len(prompts), rows_at_once(model), "capture", progress):
        chosen = [prompts[i] for i in rows]
        batch = model.encoder(sites[0].encoder).tokenise([p.text for p in chosen])
        got = forward(model, batch, reads=sites, encoder=sites[0].encoder, to_end=False)
        if sites[0].kind == "edge":
            pairs = _edge_pairs(batch, chosen)
            for site in sites:
                kept[site].append(_edge_features(*got.edges[site.layer], pairs))
            owner.append(pairs[:, 0] + rows.start)
            continue
        choice = _choose(batch, chosen, tokens)
        for site in sites:
            kept[site].append(got.features[site][choice].float().cpu())
        owner.append(choice.nonzero()[:, 0].cpu() + rows.start)
    return TokenFeatures({s: torch.cat(v) for s, v in kept.items()}, torch.cat(owner))


def _choose(batch: Tokens, prompts: Sequence[Prompt], tokens: str) -> Bool[Tensor, "prompt token"]:
    if tokens == "real":
        return batch.mask.bool()
    if tokens == "content":
        return batch.mask.bool() & ~batch.special
    cult, noun = token_sets(batch, prompts)
    choice = torch.zeros_like(batch.special)
    for row, (c, n) in enumerate(zip(cult, noun, strict=True)):
        choice[row, (c if tokens == "modifier" else n if tokens == "noun" else c + n)] = True
    return choice


def _edge_pairs(batch: Tokens, prompts: Sequence[Prompt]) -> Int[Tensor, "sample 3"]:
    """(prompt, modifier token, noun token) of every pair."""
    cult, noun = token_sets(batch, prompts)
    rows = [(i, c, n) for i in range(len(prompts)) for c in cult[i] for n in noun[i]]
    return torch.tensor(rows, dtype=torch.long).reshape(-1, 3)


def _edge_features(pattern: Tensor, values: Tensor, pairs: Tensor) -> Float[Tensor, "sample d_model"]:
    """concat over heads of A_h[c, n] · V_h[n]."""
    heads = pattern.shape[1]
    row, query, key = pairs.T.to(values.device)
    split = values[row, key].unflatten(-1, (heads, -1))
    return (pattern[row, :, query, key][..., None].float() * split.float()).flatten(1).cpu()


def edited_envoy(model: Adapter, edits: Mapping[Site, Edit], encoder: str = "text_encoder") -> Any:
    """A copy of the wrapped encoder that carries edits: every trace of it applies them to real tokens.

    Raises:
        InterpError: an edit is of another encoder.
    """
    at = model.encoder(encoder)
    if other := sorted({s.encoder for s in edits} - {encoder}):
        raise InterpError(f"the plan edits {', '.join(other)}, not {encoder}; name that encoder")
    with at.envoy.edit() as (_, edited):
        positional, named = edited.inputs
        ids = named["input_ids"] if "input_ids" in named else positional[0]
        real, special = at.real(ids), at.is_special(ids)
        for site in sorted(edits, key=lambda s: (s.layer, s.kind != "z")):
            if site.kind == "z":
                at.set_z(edited, site.layer, _apply(edits[site], at.z(edited, site.layer), real, special))
            else:
                at.set_resid(edited, site.layer, _apply(edits[site], at.resid(edited, site.layer), real, special))
    return edited
