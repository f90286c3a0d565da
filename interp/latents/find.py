"""SAEs and neurons of a benchmark: train the one, find the other; the test split is never seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from interp import store
from interp.activations import capture
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import DETECTION, TRAIN, refuse_test
from interp.errors import InterpError
from interp.latents import neurons, sae_training
from interp.latents.sae import LoadedSae, Weights, check_model
from interp.latents.scores import WfsAccumulator, counted
from interp.latents.selection import Rule
from interp.models.adapter import Adapter
from interp.types import Codes, Neurons, Prompt, PromptPair, Site, SiteKind


def train_sae(
    model: Adapter,
    bench: Benchmark,
    layer: int | Site | Sequence[int | Site] | None = None,
    site: SiteKind | None = None,
    encoder: str = "text_encoder",
    settings: sae_training.SaeSettings | None = None,
    folder: str | Path | None = None,
    split: str = TRAIN,
    weights: Weights = "float32",
    progress: bool = True,
    per_culture: int | None = None,
) -> Any:
    """Train a Top-K SAE on the features of a split's prompts, at one layer or at several from one pass.

    Args:
        model: the adapter.
        bench: its captions, culture-style and noun-only, native and English, are the training text.
        layer: one layer or several, or whole sites of one encoder; None for the layer of the model's recipe.
        site: `z` or `resid`; None for the model's recipe.
        encoder: which text encoder.
        settings: of the training.
        folder: where to store; None for the cache.
        split: which prompts.
        weights: type of the matrices on disk.
        progress: show bars.
        per_culture: prompt pairs per culture, spread over its concepts; None for all.

    Returns:
        The SAE of one layer; of several a dict by site.

    Raises:
        InterpError: the test split, a layer that does not reach the image, or a k above the number of latents.
    """
    refuse_test(split)
    sites = _sites(model, layer, site, encoder)
    settings = settings or sae_training.SaeSettings()
    settings.width(max(model.spec(at.encoder).d_model for at in sites))  # refuses k before the features are captured
    prompts = _prompts(bench if per_culture is None else bench.subset(split, per_culture, 0), split)
    features = capture.features(model, prompts, sites, "real", progress)
    made = sae_training.train(
        features.values, settings, folder or _folder(model), encoder_digest=model.encoder_digest,
        model_name=model.name, groups=features.prompt, device=model.device, weights=weights,
        benchmark_digest=bench.digest, progress=progress,
    )  # fmt: skip
    return made if isinstance(layer, Sequence) else made[sites[0]]


def _sites(
    model: Adapter, layer: int | Site | Sequence[int | Site] | None, kind: SiteKind | None, encoder: str
) -> list[Site]:
    if layer is None and "layer" not in model.recipe:
        raise InterpError(f"{model.name} has no recipe: name a layer, for example find_layers(model, bench).peak")
    layer = int(model.recipe["layer"]) if layer is None else layer
    its_kind = kind or model.recipe.get("site", "z")
    layers = layer if isinstance(layer, Sequence) else [layer]
    sites = [at if isinstance(at, Site) else Site(at, its_kind, encoder) for at in layers]
    for site in sites:
        model.check_layer(site.layer, site.encoder)
    return sites


def _prompts(bench: Benchmark, split: str) -> list[Prompt]:
    """Every different caption of a split, as prompts without spans."""
    pairs = [pair for language in ("native", "english") for pair in bench.pairs(split, language)]
    prompts = [prompt for pair in pairs for prompt in (pair.culture_style, pair.noun_only, pair.neutral)]
    return [Prompt(text, "") for text in dict.fromkeys(p.text for p in prompts if p is not None)]


def _folder(model: Adapter) -> Path:
    """Where SAEs of a model go if nobody says it: below the cache."""
    return store.cache_dir() / "saes" / f"{Path(model.name).name}-{model.encoder_digest[:8]}"


def find_neurons(
    model: Adapter,
    saes: LoadedSae,
    bench: Benchmark,
    rule: Rule | None = None,
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
    check_model(saes.ref, model.encoder_digest)
    recipe = model.recipe.get("neurons", {})
    tokens, control = tokens or recipe.get("tokens", "content"), control or recipe.get("control", "noun")
    # a noun has no modifier, so that there the span of both is the noun's
    noun_tokens = "content" if tokens == "content" else "span"
    saes, culture_style, noun_only = saes.to(model.device), {}, {}
    for culture in bench.cultures:
        pairs = bench.pairs(split, language, [culture])
        styled, bare = [pair.culture_style for pair in pairs], _noun_side(pairs, control == "noun+neutral")
        culture_style[culture] = _counts(model, saes, styled, str(tokens), codes, progress)
        noun_only[culture] = _counts(model, saes, bare, noun_tokens, codes, progress)
    return neurons.build(
        culture_style, noun_only, saes.ref, languages=[bench.languages[culture] for culture in bench.cultures],
        split=split, benchmark_digest=bench.digest, model_digest=model.model_digest,
        rule=rule or Rule(**recipe.get("rule", {})),
        settings={
            "model": model.name, "benchmark": "pocket" if bench.name == "pocket" else str(bench.folder),
            "tokens": tokens, "codes": codes, "language": language, "control": control,
        },
    )  # fmt: skip


def _noun_side(pairs: Sequence[PromptPair], with_neutral: bool) -> list[Prompt]:
    neutral = [pair.neutral for pair in pairs if pair.neutral is not None]
    return [pair.noun_only for pair in pairs] + (neutral if with_neutral else [])


def _counts(
    model: Adapter, sae: LoadedSae, prompts: Sequence[Prompt], tokens: str, codes: Codes, progress: bool
) -> WfsAccumulator:
    features = capture.features(model, prompts, [sae.ref.site], tokens, progress).values[sae.ref.site]
    return counted(sae.encode(features.to(sae.W_enc.device), codes))
