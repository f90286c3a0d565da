"""Find the layer, train the SAEs, find the neurons: everything that may not see the test split."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from interp import capture, layers, sae, store
from interp import neurons as neuron
from interp.arms import Judge, Stage, default_judge
from interp.benchmarks import Benchmark
from interp.errors import InterpError, InterpWarning
from interp.models.base import Adapter
from interp.types import (
    Codes,
    Interval,
    LayerScores,
    Neurons,
    Prompt,
    Site,
    SiteKind,
)
from interp.workspace import DETECTION, TRAIN, arm_cache, refuse_test


def find_layers(
    model: Adapter,
    bench: Benchmark,
    split: str = DETECTION,
    encoder: str = "text_encoder",
    per_culture: int | None = 12,
    causal: bool = True,
    progress: bool = True,
) -> LayerScores:
    """ΔCA of every layer, and the causal scan beside it.

    Args:
        model: the adapter.
        bench: its prompt pairs of `split` are used; the test split is refused.
        split: which prompts.
        encoder: which text encoder.
        per_culture: prompt pairs a culture, spread over its concepts; None for all.
        causal: whether to run the encoder-side scan.
        progress: show bars.
    """
    refuse_test(split)
    model.encoder(encoder)
    pairs = (bench if per_culture is None else bench.subset(split, per_culture, 0)).pairs(split)
    if lacking := sum(p.neutral is None for p in pairs):
        warnings.warn(
            f"{lacking} of {len(pairs)} prompt pairs have no caption with a neutral modifier (`neutral_style`): the "
            "baseline `neutral` and the interchange of the modifier are left out",
            InterpWarning,
            stacklevel=2,
        )
    scan = layers.causal_scan(model, pairs, encoder, progress) if causal else None
    return layers.scores(model, pairs, encoder, scan, progress)


def scan_pictures(
    model: Adapter,
    bench: Benchmark,
    scores: LayerScores,
    at: Sequence[int],
    split: str = DETECTION,
    encoder: str = "text_encoder",
    per_culture: int = 4,
    judge: Judge | None = None,
    steps: int | None = None,
    progress: bool = True,
) -> LayerScores:
    """The causal scan's effect on pictures: CultureVQA of culture-style prompts under every interchange.

    Args:
        model: the adapter.
        bench: its samples of `split`; the test split is refused.
        scores: from `find_layers`; they come back with `causal_images`.
        at: layers to draw pictures for.
        split: which samples.
        encoder: which text encoder.
        per_culture: pictures a culture, layer and arm.
        judge: names the culture of a picture.
        steps: of the sampler; None for the model's.
        progress: show bars.
    """
    refuse_test(split)
    for layer in at:
        model.check_layer(layer, encoder)
    chosen = bench.subset(split, per_culture, 0).samples(split)
    stage = Stage(
        model,
        judge or default_judge(bench, model.device),
        chosen,
        steps=steps,
        cache=arm_cache(model),
        progress=progress,
    )
    kinds: tuple[SiteKind, ...] = ("z", "resid")
    drawn = {
        f"{kind} {arm}": {la: _interchanged(stage, Site(la, kind, encoder), arm) for la in at}
        for kind in kinds
        for arm in layers.arms([s.native for s in chosen])
    }
    return replace(scores, causal_images=drawn)


def _interchanged(stage: Stage, site: Site, arm: layers.Arm) -> Interval:
    pairs = [s.native for s in stage.samples]
    given = layers.donors(stage.model, pairs, [site])
    conditioning = layers.interchange(stage.model, pairs, site, arm, given)
    return stage.interval(stage.judged(f"{site} {arm}", conditioning).culture_hit)


def sites_of(model: Adapter, layer: int | Sequence[int], kind: SiteKind, encoder: str) -> list[Site]:
    """Sites at one or several layers."""
    sites = [Site(la, kind, encoder) for la in ([layer] if isinstance(layer, int) else layer)]
    for site in sites:
        model.check_layer(site.layer, encoder)
    return sites


def train_sae(
    model: Adapter,
    bench: Benchmark,
    layer: int | Sequence[int] | None = None,
    site: SiteKind | None = None,
    encoder: str = "text_encoder",
    settings: sae.SaeSettings | None = None,
    folder: str | Path | None = None,
    split: str = TRAIN,
    weights: Literal["float32", "float16"] = "float32",
    progress: bool = True,
) -> Any:
    """Train a Top-K SAE on the features of a split's prompts, at one layer or at several from one pass.

    Args:
        model: the adapter.
        bench: its captions, culture-style and noun-only, native and English, are the training text.
        layer: one layer (one SAE comes back) or several (a dict by site); None for the model's recipe.
        site: `z` or `resid`; None for the model's recipe.
        encoder: which text encoder.
        settings: of the training.
        folder: where to store; None for `saes/<model>` in the cache.
        split: which prompts.
        weights: type of the matrices on disk.
        progress: show bars.
    """
    kind = site or model.recipe.get("site", "z")
    wanted = layer if layer is not None else _recipe_layer(model)
    sites = sites_of(model, wanted, kind, encoder)
    out = train_saes(model, bench, sites, settings, folder, split, weights=weights, progress=progress)
    return out[sites[0]] if isinstance(wanted, int) else out


def train_saes(
    model: Adapter,
    bench: Benchmark,
    sites: Sequence[Site],
    settings: sae.SaeSettings | None = None,
    folder: str | Path | None = None,
    split: str = TRAIN,
    per_culture: int | None = None,
    weights: Literal["float32", "float16"] = "float32",
    progress: bool = True,
) -> dict[Site, sae.LoadedSae]:
    """SAEs at any sites of one encoder, from one pass over the prompts; `per_culture` limits the samples."""
    refuse_test(split)
    chosen = bench if per_culture is None else bench.subset(split, per_culture, 0)
    how = settings or sae.SaeSettings()
    widest = how.d_sae or 4 * max(model.spec(site.encoder).d_model for site in sites)
    if how.k > widest:
        raise InterpError(f"asked for k={how.k} of {widest} latents; give a smaller k or a larger d_sae")
    texts = list(dict.fromkeys(_texts(chosen, split)))
    found = capture.features(model, [Prompt(t, "") for t in texts], sites, "real", progress)
    return sae.train(
        found.values,
        how,
        folder or store.cache_dir() / "saes" / f"{Path(model.name).name}-{model.encoder_digest[:8]}",
        encoder_digest=model.encoder_digest,
        model_name=model.name,
        groups=found.prompt,
        device=model.device,
        weights=weights,
        benchmark_digest=bench.digest,
    )


def _recipe_layer(model: Adapter) -> int:
    if "layer" not in model.recipe:
        raise InterpError(f"{model.name} has no recipe: name a layer, for example find_layers(model, bench).peak")
    return int(model.recipe["layer"])


def _texts(bench: Benchmark, split: str) -> list[str]:
    return [
        side.text
        for language in ("native", "english")
        for pair in bench.pairs(split, language)
        for side in (pair.cult, pair.noun, pair.neutral)
        if side is not None
    ]


def find_neurons(
    model: Adapter,
    saes: sae.LoadedSae,
    bench: Benchmark,
    rule: neuron.Rule | None = None,
    split: str = DETECTION,
    tokens: str | None = None,
    codes: Codes = "topk",
    language: str = "native",
    control: Literal["noun", "noun+neutral"] | None = None,
    progress: bool = True,
) -> Neurons:
    """Culture-sensitive latents by weighted frequency score, one set per culture (Eq. 4–6).

    Args:
        model: the adapter.
        saes: the SAE.
        bench: its prompt pairs of `split`; the test split is refused.
        rule: K, noun-side filter, contrast; None for the model's recipe, else the paper's.
        split: which prompts.
        tokens: `content`, `span` or `cult` on the culture side (`content` or `noun` on the noun side); None for the
            recipe's, else `content`.
        codes: the SAE's codes, Top-K as in the paper.
        language: `native` or `english` captions.
        control: what the noun side counts: noun-only prompts as in the paper, or also those with a modifier that names
            no culture, which keeps latents of the phrasing ("im … Stil") out; None for the recipe's, else `noun`.
        progress: show bars.
    """
    refuse_test(split)
    sae.check_model(saes.ref, model.encoder_digest)
    recipe = model.recipe.get("neurons", {})
    rule = rule or neuron.Rule(**recipe.get("rule", {}))
    counted_on = tokens or recipe.get("tokens", "content")
    against = control or recipe.get("control", "noun")
    saes = saes.to(model.device)
    counted: dict[str, dict[str, neuron.WfsAccumulator]] = {"cult": {}, "noun": {}}
    for culture in bench.cultures:
        pairs = bench.pairs(split, language, [culture])
        for side in ("cult", "noun"):
            prompts = [getattr(p, side) for p in pairs]
            if side == "noun" and against == "noun+neutral":
                prompts += [p.neutral for p in pairs if p.neutral is not None]
            found = capture.features(model, prompts, [saes.ref.site], _counted_tokens(side, counted_on))
            accumulator = neuron.WfsAccumulator(saes.ref.d_sae)
            accumulator.update(saes.encode(found.values[saes.ref.site].to(saes.W_enc.device), codes))
            counted[side][culture] = accumulator
    return neuron.build(
        counted["cult"],
        counted["noun"],
        saes.ref,
        languages=[bench.languages[c] for c in bench.cultures],
        split=split,
        benchmark_digest=bench.digest,
        model_digest=model.model_digest,
        rule=rule,
        settings={
            "model": model.name,
            "benchmark": "pocket" if bench.name == "pocket" else str(bench.folder),
            "tokens": counted_on,
            "codes": codes,
            "language": language,
            "control": against,
        },
    )


def _counted_tokens(side: str, tokens: str) -> str:
    """Noun-side tokens: the words, modifier and all, unless the culture side counts spans; a noun has no modifier."""
    return tokens if side == "cult" or tokens == "content" else "span"
