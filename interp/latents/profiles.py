"""What each culture neuron does, for its page: the captions it fires on, how often and for whom.

One pass over the captions of a split serves all latents, and only the codes of the wanted ones that fire are kept. The
pictures are `interp.neuron_pictures`, the pages `interp.report.neuron_pages`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int

from interp.activations import capture
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import DETECTION
from interp.errors import InterpError
from interp.latents.neurons import check_bench
from interp.latents.sae import LoadedSae, check_model
from interp.models.adapter import Adapter
from interp.models.records import Tokens
from interp.types import Caption, Codes, Histogram, Neurons, Piece, Profile, PromptPair, Sample, Span

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
    _check(model, saes, neurons)
    check_bench(neurons, bench)
    read = captions(bench, split)
    wanted = sorted({i for chosen in neurons.sets.values() for i in chosen.indices})
    seen = _listen(model, saes, list(read), wanted, neurons.settings.get("codes", "topk"), progress)
    return {latent: _profile(latent, seen.of(n), seen, list(read.values()), neurons, top)
            for n, latent in enumerate(wanted)}  # fmt: skip


def _check(model: Adapter, saes: LoadedSae, neurons: Neurons) -> None:
    check_model(neurons.sae, model.encoder_digest)
    if saes.ref.digest != neurons.sae.digest:
        raise InterpError(
            f"these neurons are of the SAE {neurons.sae.digest[:12]}, not of {saes.ref.digest[:12]}; give theirs"
        )
    if saes.ref.site.kind == "edge":
        raise InterpError("an edge is a pair of tokens: latents at site 'edge' fire on no token that a page could show")


@dataclass
class Source:
    """Where a caption comes from."""

    text: str
    language: str
    kind: str
    english: str
    cultures: list[str] = field(default_factory=list)


def captions(bench: Benchmark, split: str) -> dict[str, Source]:
    """Every different caption of a split, in the table's order, with all cultures that have it."""
    found: dict[str, Source] = {}
    for sample in bench.samples(split):
        for pair in (sample.native, sample.english):
            for side, kind in KINDS.items():
                _collect(found, sample, pair, side, kind)
    return found


def _collect(found: dict[str, Source], sample: Sample, pair: PromptPair, side: str, kind: str) -> None:
    prompt, english = getattr(pair, side), getattr(sample.english, side)
    if prompt is None:
        return
    said = english.text if english is not None else ""
    source = found.setdefault(prompt.text, Source(prompt.text, prompt.language, kind, said))
    if sample.culture not in source.cultures:
        source.cultures.append(sample.culture)


@dataclass(frozen=True)
class Fired:
    """Where one latent fires."""

    text: Int[np.ndarray, " event"]
    """Number of the caption."""
    token: Int[np.ndarray, " event"]
    """Place among the caption's content tokens."""
    value: Float[np.ndarray, " event"]
    """The code, above 0."""


@dataclass(frozen=True)
class Heard:
    """Where all wanted latents fire, and how the captions were cut."""

    latent: Int[np.ndarray, " event"]
    """Number among the wanted latents; sorted."""
    events: Fired
    spans: tuple[tuple[Span, ...], ...]
    """Characters of the content tokens of each caption."""

    @property
    def tokens(self) -> int:
        """Content tokens read."""
        return sum(map(len, self.spans))

    def of(self, number: int) -> Fired:
        """Where one latent fires, in the order of the captions."""
        own = slice(*np.searchsorted(self.latent, (number, number + 1)))
        return Fired(self.events.text[own], self.events.token[own], self.events.value[own])


@torch.no_grad()
def _listen(
    model: Adapter, saes: LoadedSae, said: Sequence[str], wanted: Sequence[int], codes: Codes, progress: bool
) -> Heard:
    """One pass over the captions."""
    site, saes, spans, found = saes.ref.site, saes.to(model.device), [], []
    for rows in capture.batches(len(said), capture.rows_at_once(model), "captions", progress):
        batch = model.encoder(site.encoder).tokenise([said[i] for i in rows])
        got = capture.forward(model, batch, reads=[site], encoder=site.encoder, to_end=False)
        content = batch.mask.bool() & ~batch.special
        features = got.features[site][content].to(saes.W_enc.device)
        content = content.cpu()
        found.append(_events(saes.encode(features, codes)[:, list(wanted)].cpu(), content, rows.start))
        spans += _spans(batch, content)
    latent, text, token, value = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(latent, kind="stable")
    return Heard(latent[order], Fired(text[order], token[order], value[order]), tuple(spans))


def _events(codes: torch.Tensor, content: torch.Tensor, start: int) -> tuple[np.ndarray, ...]:
    """(latent, caption, token, code) of every code above 0."""
    row, latent = codes.nonzero(as_tuple=True)
    text, place = content.nonzero()[:, 0], (content.long().cumsum(1) - 1)[content]
    parts = (latent, text[row] + start, place[row], codes[row, latent])
    return tuple(part.numpy() for part in parts)


def _spans(batch: Tokens, content: torch.Tensor) -> Iterator[tuple[Span, ...]]:
    for offsets, row in zip(batch.offsets, content.tolist(), strict=True):
        yield tuple(span for span, chosen in zip(offsets, row, strict=True) if chosen)


def _profile(latent: int, fired: Fired, heard: Heard, sources: Sequence[Source], neurons: Neurons, top: int) -> Profile:
    return Profile(
        index=latent,
        cultures=tuple(c for c, chosen in neurons.sets.items() if latent in chosen.indices),
        fired=len(fired.value),
        tokens=heard.tokens,
        histogram=_histogram(fired.value),
        wfs={c: float(v) for c, v in zip(neurons.cultures, neurons.wfs[:, latent], strict=True)},
        wfs_noun={c: float(v) for c, v in zip(neurons.cultures, neurons.wfs_noun[:, latent], strict=True)},
        captions=tuple(_caption(sources[i], heard.spans[i], fired, i) for i in _strongest(fired, top)),
    )


def _histogram(values: Float[np.ndarray, " event"]) -> Histogram:
    most = float(values.max()) if len(values) else 0.0
    counts, edges = np.histogram(values, BINS, (0.0, most or 1.0))
    return Histogram((*edges[:-1].tolist(), most), tuple(counts.tolist()))


def _strongest(fired: Fired, top: int) -> list[int]:
    """Captions by their largest code; of equals the earlier first."""
    found: dict[int, float] = {}
    for i, value in zip(fired.text.tolist(), fired.value.tolist(), strict=True):
        found[i] = max(found.get(i, 0.0), value)
    return sorted(found, key=lambda i: (-found[i], i))[:top]


def _caption(source: Source, spans: Sequence[Span], fired: Fired, number: int) -> Caption:
    own, activations = fired.text == number, [0.0] * len(spans)
    for token, value in zip(fired.token[own].tolist(), fired.value[own].tolist(), strict=True):
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
