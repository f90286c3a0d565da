"""What each culture neuron does, for its page: the captions it fires on, how often and for whom.

One pass over the captions of a split serves all latents, and only the codes of the wanted ones that fire are kept. The
images beside them are made in `experiments.latent_images`, the pages in `report.pages.latents`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from interp.activations import capture
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import DETECTION
from interp.errors import InterpError
from interp.latents.neurons import check_bench
from interp.latents.sae import LoadedSae, check_model
from interp.models.adapter import Adapter
from interp.types import Caption, Codes, Histogram, Neurons, Piece, Profile, Span

BINS = 24
"""Of the histogram of activations."""
KINDS = {"culture_style": "culture-style", "noun_only": "noun-only", "neutral": "neutral"}
"""What the prompts of a pair are called."""


def profile(
    model: Adapter,
    saes: LoadedSae,
    bench: Benchmark,
    neurons: Neurons,
    split: str = DETECTION,
    top: int = 12,
    progress: bool = True,
) -> dict[int, Profile]:
    """Of every latent of every set: density, activations, WFS by culture and the captions on which it fires most.

    Args:
        model: the adapter.
        saes: the SAE of the neurons.
        bench: its captions of `split`: culture-style, noun-only and neutral, native and English, each text once.
        neurons: from `find_neurons`.
        split: which captions.
        top: captions a latent, at most.
        progress: show a bar.

    Raises:
        InterpError: the SAE, the benchmark or the model is not that of the neurons.
    """
    check_model(neurons.sae, model.encoder_digest)
    if saes.ref.digest != neurons.sae.digest:
        raise InterpError(
            f"these neurons are of the SAE {neurons.sae.digest[:12]}, not of {saes.ref.digest[:12]}; give theirs"
        )
    if saes.ref.site.kind == "edge":
        raise InterpError("an edge is a pair of tokens: latents at site 'edge' fire on no token that a page could show")
    check_bench(neurons, bench)
    sources = list(_sources(bench, split).values())
    latents = sorted({i for neuron_set in neurons.sets.values() for i in neuron_set.indices})
    texts, codes = [source.text for source in sources], neurons.settings.get("codes", "topk")
    events, spans = _events(model, saes, texts, latents, codes, progress)
    by_latent: dict[Any, Any] = dict(list(events.groupby("latent")))
    return {i: _profile(i, by_latent.get(i, events[:0]), spans, sources, neurons, top) for i in latents}


@dataclass
class Source:
    """Where a caption comes from."""

    text: str
    language: str
    kind: str
    english: str
    cultures: list[str] = field(default_factory=list)


def _sources(bench: Benchmark, split: str) -> dict[str, Source]:
    """Every different caption of a split, in the table's order, with all cultures that have it."""
    sources: dict[str, Source] = {}
    for sample in bench.samples(split):
        for pair in (sample.native, sample.english):
            for side, kind in KINDS.items():
                prompt, english = getattr(pair, side), getattr(sample.english, side)
                if prompt is None:
                    continue
                translation = english.text if english is not None else ""
                source = sources.setdefault(prompt.text, Source(prompt.text, prompt.language, kind, translation))
                if sample.culture not in source.cultures:
                    source.cultures.append(sample.culture)
    return sources


def _events(
    model: Adapter, saes: LoadedSae, texts: Sequence[str], latents: Sequence[int], codes: Codes, progress: bool
) -> tuple[pd.DataFrame, list[tuple[Span, ...]]]:
    """One pass over the captions: every code above 0 (its latent, caption, place among the caption's content tokens
    and value), and the characters of the content tokens of each caption."""
    site, saes, events, spans = saes.ref.site, saes.to(model.device), [], []
    passes = capture.passes(model, texts, [site], encoder=site.encoder, label="captions", progress=progress)
    for rows, batch, read in passes:
        features = read.features[site][~batch.special].to(saes.W_enc.device)
        values = saes.encode(features, codes)[:, list(latents)].cpu()
        content = ~batch.special.cpu()
        token, latent = values.nonzero(as_tuple=True)
        caption, place = content.nonzero()[:, 0] + rows.start, (content.long().cumsum(1) - 1)[content]
        columns = (torch.tensor(latents)[latent], caption[token], place[token], values[token, latent])
        names = ("latent", "caption", "token", "code")
        events.append(pd.DataFrame({n: c.numpy() for n, c in zip(names, columns, strict=True)}))
        for offsets, is_content in zip(batch.offsets, content.tolist(), strict=True):
            spans.append(tuple(span for span, inside in zip(offsets, is_content, strict=True) if inside))
    return pd.concat(events, ignore_index=True), spans


def _profile(
    latent: int,
    fired: pd.DataFrame,
    spans: Sequence[Sequence[Span]],
    sources: Sequence[Source],
    neurons: Neurons,
    top: int,
) -> Profile:
    by_caption: dict[Any, Any] = dict(list(fired.groupby("caption")))
    strongest = sorted(by_caption, key=lambda i: -by_caption[i]["code"].max())[:top]
    wfs, wfs_noun = neurons.wfs[:, latent].tolist(), neurons.wfs_noun[:, latent].tolist()
    return Profile(
        index=latent,
        cultures=tuple(culture for culture, neuron_set in neurons.sets.items() if latent in neuron_set.indices),
        fired=len(fired),
        tokens=sum(map(len, spans)),
        histogram=_histogram(fired["code"].to_numpy()),
        wfs=dict(zip(neurons.cultures, wfs, strict=True)),
        wfs_noun=dict(zip(neurons.cultures, wfs_noun, strict=True)),
        captions=tuple(_caption(sources[i], spans[i], by_caption[i]) for i in strongest),
    )


def _histogram(values: Float[np.ndarray, " event"]) -> Histogram:
    most = float(values.max()) if len(values) else 0.0
    counts, edges = np.histogram(values, BINS, (0.0, most or 1.0))
    return Histogram((*edges[:-1].tolist(), most), tuple(counts.tolist()))


def _caption(source: Source, spans: Sequence[Span], fired: pd.DataFrame) -> Caption:
    activations = [0.0] * len(spans)
    for token, value in zip(fired["token"].tolist(), fired["code"].tolist(), strict=True):
        activations[token] = value
    cut = pieces(source.text, spans, activations)
    return Caption(cut, source.language, tuple(source.cultures), source.kind, source.english, max(activations))


def pieces(text: str, spans: Sequence[Span], activations: Sequence[float]) -> tuple[Piece, ...]:
    """A text cut along its tokens, nothing lost: what is between them, or was cut to the context, is a piece too.

    Tokens that share characters are one piece, and a token without letters (a tokenizer's bare word mark, a space)
    belongs to the next; such a piece has the largest of their activations. The space before a token is none of it.
    """
    cut: list[tuple[int, int, float]] = []
    waiting = 0.0
    for (start, end), activation in zip(spans, activations, strict=True):
        activation, waiting = max(activation, waiting), 0.0
        start = end - len(text[start:end].lstrip())
        if end <= start:
            waiting = activation
        elif cut and start < cut[-1][1]:
            cut[-1] = (cut[-1][0], max(end, cut[-1][1]), max(activation, cut[-1][2]))
        else:
            cut.append((start, end, activation))
    if cut:
        cut[-1] = (*cut[-1][:2], max(waiting, cut[-1][2]))
    return tuple(_filled(text, cut))


def _filled(text: str, cut: Sequence[tuple[int, int, float]]) -> Iterator[Piece]:
    """The pieces and what lies between them."""
    at = 0
    for start, end, activation in cut:
        if at < start:
            yield Piece(text[at:start], float("nan"))
        yield Piece(text[start:end], activation)
        at = end
    if at < len(text):
        yield Piece(text[at:], float("nan"))
