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
from interp.models.encoders import TextEncoder
from interp.models.records import Conditioning, States, Tokens, concatenate
from interp.types import Prompt, Site

Features = Float[Tensor, "prompt token d_model"]
Mask = Bool[Tensor, "prompt token"]
Edit = Callable[[Features, Mask], Features]
"""A pure function of (features, special-token mask); special tokens are begin, end and padding."""
BATCH = 128
"""Prompts a trace, at most."""
TOKENS = ("content", "real", "modifier", "noun", "span")
"""What `features` can be asked for."""
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
    """One pass of a batch through one encoder: `edits` are applied, `reads` and `attention` (its layers) kept.

    Edits act on real tokens only, padding is put back as it was. Unless `to_end`, the pass stops after the last layer
    needed and gives no states. With `gradient` the states can be differentiated by what the edits hold.

    Raises:
        InterpError: a layer does not exist or cannot affect the image; an edit of `edge`.
    """
    at, edits = model.encoder(encoder), edits or {}
    before_last = at.spec.layers - 2 if to_end and at.penultimate else None
    edge_layers = {site.layer for site in reads if site.kind == "edge"}
    layers = _layers(model, reads, edits) | {*attention}
    if before_last is not None:
        layers.add(before_last)
    features: dict[Site, Any] = {}
    patterns: dict[int, Any] = {}
    edges: dict[int, Any] = {}
    output: Any = None
    penultimate: Any = None
    with torch.set_grad_enabled(gradient), at.envoy.trace(**at.inputs(tokens)) as tracer:
        for layer in sorted(layers):
            values = at.values(at.envoy, layer).save() if layer in edge_layers else None
            _visit(at, Site(layer, "z", encoder), tokens, reads, edits, features)
            if layer in attention:
                patterns[layer] = at.pattern(at.envoy, layer).float().mean(1).save()
            if layer in edge_layers:
                edges[layer] = (at.pattern(at.envoy, layer).save(), values)
            _visit(at, Site(layer, "resid", encoder), tokens, reads, edits, features)
            if layer == before_last:
                penultimate = at.resid(at.envoy, layer).save()
        if to_end:
            output = at.envoy.output.save()
        else:
            tracer.stop()
    return Forward(features, patterns, edges, States(output, penultimate) if to_end else None)


def _layers(model: Adapter, reads: Sequence[Site], edits: Mapping[Site, Edit]) -> set[int]:
    """Layers of the sites, checked."""
    for site in (*reads, *edits):
        model.check_layer(site.layer, site.encoder)
    if any(site.kind == "edge" for site in edits):
        raise InterpError("site 'edge' can be captured but not edited; edit 'z' or 'resid'")
    return {site.layer for site in (*reads, *edits)}


def _visit(
    at: TextEncoder, site: Site, tokens: Tokens, reads: Sequence[Site], edits: Mapping[Site, Edit], kept: Any
) -> None:
    """In a trace: edit a site if asked, then keep it if asked."""
    if site in edits:
        _edit(at, at.envoy, site, edits[site], tokens.mask.bool(), tokens.special)
    if site in reads:
        kept[site] = (at.z if site.kind == "z" else at.resid)(at.envoy, site.layer).save()


def _edit(at: TextEncoder, envoy: Any, site: Site, edit: Edit, real: Any, special: Any) -> None:
    """In a trace: put edited features in the place of a site's, where tokens are real."""
    get, put = (at.z, at.set_z) if site.kind == "z" else (at.resid, at.set_resid)
    features = get(envoy, site.layer)
    put(envoy, site.layer, torch.where(real[..., None], edit(features, special), features))


def rows_at_once(model: Adapter) -> int:
    """Prompts a trace, so that no encoder of a model needs more than `SCORES` attention scores a layer."""
    scores = [e.spec.heads * e.spec.max_tokens**2 for e in model.encoders.values()]
    return max(1, min(BATCH, SCORES // max(scores)))


def batches(count: int, size: int = BATCH, label: str = "", progress: bool = False) -> Iterator[range]:
    """Row ranges, with a progress bar."""
    starts = range(0, count, size)
    for start in tqdm(starts, desc=label, disable=not progress or count <= size, leave=False):
        yield range(start, min(start + size, count))


def passes(
    model: Adapter,
    texts: Sequence[str],
    reads: Sequence[Site] = (),
    attention: Sequence[int] = (),
    encoder: str = "text_encoder",
    label: str = "",
    progress: bool = False,
) -> Iterator[tuple[range, Tokens, Forward]]:
    """Texts through one encoder in batches, up to the last layer needed: which texts, their tokens, what was read."""
    for rows in batches(len(texts), rows_at_once(model), label, progress):
        tokens = model.encoder(encoder).tokenise([texts[i] for i in rows])
        yield rows, tokens, forward(model, tokens, reads, attention=attention, encoder=encoder, to_end=False)


def tokenise(model: Adapter, texts: Sequence[str]) -> dict[str, Tokens]:
    """The prompts as every encoder of a model reads them."""
    return {name: encoder.tokenise(texts) for name, encoder in model.encoders.items()}


def condition(
    model: Adapter, tokens: Mapping[str, Tokens], edits: Mapping[Site, Edit] | None = None, gradient: bool = False
) -> Conditioning:
    """The conditioning of one batch: every encoder once, those without edits untouched and without a trace.

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
        conditioning = model.condition(states, tokens)
    if not all(bool(x.isfinite().all()) for x in (conditioning.embeds, conditioning.pooled) if x is not None):
        weaker = ", or edit less strongly" * bool(edits)
        raise InterpError(
            f"{model.name}: the conditioning holds values that are not finite in "
            f"{str(conditioning.embeds.dtype).removeprefix('torch.')}; load the model in bfloat16 or float32{weaker}"
        )
    return conditioning


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
    model: Adapter, prompts: Sequence[Prompt], sites: Sequence[Site], tokens: str = "content", progress: bool = False
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
    if tokens not in TOKENS:
        raise InterpError(f"tokens {tokens!r}: known are {', '.join(TOKENS)}")
    if len({s.kind == "edge" for s in sites}) > 1:
        raise InterpError("edge features count token pairs, the others tokens: capture them in two calls")
    values: dict[Site, list[Tensor]] = {s: [] for s in sites}
    prompt: list[Tensor] = []
    texts, encoder = [p.text for p in prompts], sites[0].encoder
    for rows, batch, read in passes(model, texts, sites, encoder=encoder, label="capture", progress=progress):
        of_batch = prompts[rows.start : rows.stop]
        if sites[0].kind == "edge":
            pairs = _edge_pairs(batch, of_batch)
            parts = [_edge_features(*read.edges[site.layer], pairs) for site in sites]
            prompt.append(pairs[:, 0] + rows.start)
        else:
            wanted = _wanted(batch, of_batch, tokens)
            parts = [read.features[site][wanted].float().cpu() for site in sites]
            prompt.append(wanted.nonzero()[:, 0].cpu() + rows.start)
        for site, part in zip(sites, parts, strict=True):
            values[site].append(part)
    return TokenFeatures({s: torch.cat(v) for s, v in values.items()}, torch.cat(prompt))


def _wanted(batch: Tokens, prompts: Sequence[Prompt], tokens: str) -> Bool[Tensor, "prompt token"]:
    if tokens == "real":
        return batch.mask.bool()
    if tokens == "content":
        return ~batch.special
    wanted = torch.zeros_like(batch.special)
    for row, (modifier, noun) in enumerate(zip(*token_sets(batch, prompts), strict=True)):
        wanted[row, {"modifier": modifier, "noun": noun, "span": modifier + noun}[tokens]] = True
    return wanted


def _edge_pairs(batch: Tokens, prompts: Sequence[Prompt]) -> Int[Tensor, "sample 3"]:
    """(prompt, modifier token, noun token) of every pair."""
    sets = enumerate(zip(*token_sets(batch, prompts), strict=True))
    rows = [(i, m, n) for i, (modifier, noun) in sets for m in modifier for n in noun]
    return torch.tensor(rows, dtype=torch.long).reshape(-1, 3)


def _edge_features(pattern: Tensor, values: Tensor, pairs: Tensor) -> Float[Tensor, "sample d_model"]:
    """concat over heads of A_h[m, n] · V_h[n]."""
    row, query, key = pairs.T.to(values.device)
    by_head = values[row, key].unflatten(-1, (pattern.shape[1], -1))
    return (pattern[row, :, query, key][..., None].float() * by_head.float()).flatten(1).cpu()


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
            _edit(at, edited, site, edits[site], real, special)
    return edited
