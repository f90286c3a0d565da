"""SAEs and neurons of a benchmark: train the one, find the other; the test split is never seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from interp import store
from interp.activations import capture
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import DETECTION, TRAIN, refuse_test
from interp.errors import InterpError
from interp.latents import neurons, sae, sae_training, scores
from interp.models.adapter import Adapter
from interp.types import Codes, Neurons, Prompt, Site, SiteKind


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
    settings: sae_training.SaeSettings | None = None,
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
    settings: sae_training.SaeSettings | None = None,
    folder: str | Path | None = None,
    split: str = TRAIN,
    per_culture: int | None = None,
    weights: Literal["float32", "float16"] = "float32",
    progress: bool = True,
) -> dict[Site, sae.LoadedSae]:
    """SAEs at any sites of one encoder, from one pass over the prompts; `per_culture` limits the samples."""
    refuse_test(split)
    chosen = bench if per_culture is None else bench.subset(split, per_culture, 0)
    how = settings or sae_training.SaeSettings()
    widest = how.d_sae or 4 * max(model.spec(site.encoder).d_model for site in sites)
    if how.k > widest:
        raise InterpError(f"asked for k={how.k} of {widest} latents; give a smaller k or a larger d_sae")
    texts = list(dict.fromkeys(_texts(chosen, split)))
    found = capture.features(model, [Prompt(t, "") for t in texts], sites, "real", progress)
    return sae_training.train(
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
        for side in (pair.culture_style, pair.noun_only, pair.neutral)
        if side is not None
    ]


def find_neurons(
    model: Adapter,
    saes: sae.LoadedSae,
    bench: Benchmark,
    rule: scores.Rule | None = None,
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
        tokens: `content`, `span` or `modifier` on the culture side (`content` or `noun` on the noun side); None for the
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
    rule = rule or scores.Rule(**recipe.get("rule", {}))
    counted_on = tokens or recipe.get("tokens", "content")
    against = control or recipe.get("control", "noun")
    saes = saes.to(model.device)
    counted: dict[str, dict[str, scores.WfsAccumulator]] = {"culture_style": {}, "noun_only": {}}
    for culture in bench.cultures:
        pairs = bench.pairs(split, language, [culture])
        for side in ("culture_style", "noun_only"):
            prompts = [getattr(p, side) for p in pairs]
            if side == "noun_only" and against == "noun+neutral":
                prompts += [p.neutral for p in pairs if p.neutral is not None]
            found = capture.features(model, prompts, [saes.ref.site], _counted_tokens(side, counted_on))
            accumulator = scores.WfsAccumulator(saes.ref.d_sae)
            accumulator.update(saes.encode(found.values[saes.ref.site].to(saes.W_enc.device), codes))
            counted[side][culture] = accumulator
    return neurons.build(
        counted["culture_style"],
        counted["noun_only"],
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
    return tokens if side == "culture_style" or tokens == "content" else "span"
