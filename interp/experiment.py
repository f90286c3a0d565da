"""The stages strung together: find the layer, the SAE and the neurons; mask, amplify and steer them; measure pictures.

Every function takes a model and a benchmark, or a `Neurons` that remembers both. Neurons are selected on the detection
split, strength is tuned on the train split, effects are measured on the test split; mixing them raises.
"""

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from interp import benchmarks, capture, generation, layers, loading, probe, sae, stats, store
from interp import neurons as neuron
from interp.arms import Judge, Stage, default_judge, seed_of
from interp.benchmarks import Benchmark
from interp.errors import InterpError
from interp.interventions import Amplify, Enhance, Intervention, Mask, Plan, Steer, Where
from interp.metrics import registry
from interp.metrics.base import Metric
from interp.models.base import Adapter, Conditioning
from interp.report.grids import Grid, GridRow
from interp.types import (
    Arm,
    Codes,
    Effect,
    Interval,
    LayerScores,
    Measure,
    Neurons,
    NeuronSet,
    Prompt,
    Shown,
    Site,
    SiteKind,
)

DETECTION, TRAIN, TEST = "detection", "train", "test"
HELD_OUT = "cross_domain"
"""Split of the nouns outside the benchmark."""
RANDOM_SETS = 20
SHIPPED = Path(__file__).parents[1] / "saes"
"""Trained SAEs of a checkout, by model."""
_loaded: "weakref.WeakValueDictionary[str, Adapter]" = weakref.WeakValueDictionary()


def load(
    name: str,
    device: str | None = None,
    dtype: str | None = None,
    offload: str | None = None,
    size: int | None = None,
) -> Adapter:
    """Load a model; it proves itself, and its certificate stays with it.

    Args:
        name: `pocket`, a diffusers folder, a hub id, `pea-diffusion:<folder>` or `show-o2:<folder>`.
        device: `cpu`, `cuda`, …; None for what is there.
        dtype: `float32`, `float16` or `bfloat16`; None for what suits model and device.
        offload: `none`, `model` or `sequential`; None for what fits.
        size: side of the pictures in pixels; None for the model's.

    Raises:
        InterpError: nothing of that name, a broken or missing part, no memory for it, or a check failed.
    """
    model = loading.load(name, device, dtype, offload, size)
    _loaded[model.encoder_digest] = model
    return model


@cache
def _benchmark(source: str) -> Benchmark:
    return benchmarks.load(source)


def benchmark(source: str | Path = "pocket") -> Benchmark:
    """Load a benchmark: `pocket`, or a folder in CultureBench format."""
    return _benchmark(str(source))


def _model_of(neurons: Neurons, model: Adapter | None) -> Adapter:
    """The model that the neurons are of: the one given, one in memory, or loaded by its name."""
    digest = neurons.sae.model_digest
    found = model or _loaded.get(digest) or load(str(neurons.settings["model"]))
    sae.check_model(neurons.sae, found.encoder_digest)
    return found


def _bench_of(neurons: Neurons, bench: Benchmark | None) -> Benchmark:
    found = bench or benchmark(str(neurons.settings["benchmark"]))
    if found.digest != neurons.benchmark_digest:
        raise InterpError(
            f"these neurons were found on another benchmark ({neurons.benchmark_digest[:12]}) than {found.name} "
            f"({found.digest[:12]}); pass the one they were found on"
        )
    return found


# ------------------------------------------------------------------------------------------------------------- finding


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
    _refuse_test(split)
    model.encoder(encoder)
    pairs = (bench.subset(split, per_culture, 0) if per_culture else bench).pairs(split)
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
    _refuse_test(split)
    for layer in at:
        model.check_layer(layer, encoder)
    chosen = bench.subset(split, per_culture, 0).samples(split)
    stage = Stage(model, judge or default_judge(bench), chosen, steps=steps, cache=_arm_cache(model), progress=progress)
    drawn = {arm: {la: _interchanged(stage, arm, la, encoder) for la in at} for arm in _scan_arms()}
    return replace(scores, causal_images=drawn)


def _scan_arms() -> list[str]:
    return [f"{kind} {arm}" for kind in ("z", "resid") for arm in layers.ARMS]


def _interchanged(stage: Stage, arm: str, layer: int, encoder: str) -> Interval:
    kind, part = arm.split()
    site = Site(layer, kind, encoder)  # type: ignore[arg-type]
    pairs = [s.native for s in stage.samples]
    given = layers.donors(stage.model, pairs, [site])
    conditioning = layers.interchange(stage.model, pairs, site, part, given)  # type: ignore[arg-type]
    return stage.interval(stage.judged(f"layer {layer} {arm}", conditioning).culture_hit)


def _refuse_test(split: str) -> None:
    if split == TEST:
        raise InterpError("selection may not see the test split; use 'detection' (or 'train')")


def _arm_cache(model: Adapter) -> Path:
    folder = store.cache_dir() / "arms" / model.digest[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
    _refuse_test(split)
    chosen = bench.subset(split, per_culture, 0) if per_culture else bench
    texts = list(dict.fromkeys(_texts(chosen, split)))
    found = capture.features(model, [Prompt(t, "") for t in texts], sites, "real", progress)
    return sae.train(
        found.values,
        settings or sae.SaeSettings(),
        folder or store.cache_dir() / "saes" / f"{Path(model.name).name}-{model.encoder_digest[:8]}",
        model_digest=model.encoder_digest,
        model_name=model.name,
        groups=found.prompt,
        weights=weights,
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
    _refuse_test(split)
    sae.check_model(saes.ref, model.encoder_digest)
    recipe = model.recipe.get("neurons", {})
    rule = rule or neuron.Rule(**recipe.get("rule", {}))
    counted_on = tokens or recipe.get("tokens", "content")
    against = control or recipe.get("control", "noun")
    counted: dict[str, dict[str, neuron.WfsAccumulator]] = {"cult": {}, "noun": {}}
    for culture in bench.cultures:
        pairs = bench.pairs(split, language, [culture])
        for side in ("cult", "noun"):
            prompts = [getattr(p, side) for p in pairs]
            if side == "noun" and against == "noun+neutral":
                prompts += [p.neutral for p in pairs if p.neutral is not None]
            found = capture.features(model, prompts, [saes.ref.site], _counted_tokens(side, counted_on))
            accumulator = neuron.WfsAccumulator(saes.ref.d_sae)
            accumulator.update(saes.encode(found.values[saes.ref.site], codes))
            counted[side][culture] = accumulator
    return neuron.build(
        counted["cult"],
        counted["noun"],
        saes.ref,
        languages=[bench.languages[c] for c in bench.cultures],
        split=split,
        benchmark_digest=bench.digest,
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


# ------------------------------------------------------------------------------------------------------------ measuring

Make = Callable[[NeuronSet], Intervention]


@dataclass(frozen=True)
class Trial:
    """What every experiment needs beside its intervention."""

    neurons: Neurons
    stage: Stage
    sets: int
    """Number of random control sets a culture."""

    @property
    def controls(self) -> dict[str, list[NeuronSet]]:
        """Matched control sets of every culture."""
        return {
            c: control_sets(self.neurons, c, self.sets, self.stage.seed) for c in dict.fromkeys(self.stage.cultures)
        }

    def plans(self, make: Make) -> list[Plan]:
        """Each sample under its own culture's set."""
        return [Plan.of(make(self.neurons[c])) for c in self.stage.cultures]

    def dealt(self, make: Make) -> tuple[list[Plan], list[int]]:
        """Each sample under one control set of its culture, dealt out in turn; and which."""
        controls, turn, plans, owner = self.controls, dict.fromkeys(self.stage.cultures, 0), [], []
        for culture in self.stage.cultures:
            number = turn[culture] % self.sets
            turn[culture] += 1
            plans.append(Plan.of(make(controls[culture][number])))
            owner.append(number)
        return plans, owner


def control_sets(neurons: Neurons, culture: str, count: int, seed: int = 0) -> list[NeuronSet]:
    """Random sets of the size of a culture's, matched on firing rate and magnitude, without any culture's latents."""
    row = neurons.cultures.index(culture)
    taken = {i for chosen in neurons.sets.values() for i in chosen.indices}
    picks = stats.match_controls(
        neurons[culture].indices,
        neurons.frequency[row].astype(float),
        neurons.magnitude[row].astype(float),
        count,
        seed + row,
        taken,
    )
    mu, rest = neurons.magnitude[row], neurons.baseline[row]
    return [
        NeuronSet(
            f"random {n} for {culture}",
            pick,
            tuple(mu[list(pick)].tolist()),
            tuple(rest[list(pick)].tolist()),
            neurons.sae,
        )
        for n, pick in enumerate(picks)
    ]


def trial(neurons: Neurons, random_control: bool | int = False, split: str = TEST, **options: Any) -> Trial:
    """Gather model, samples, judge and other metrics for neurons.

    Args:
        neurons: from `find_neurons`.
        random_control: number of matched random sets, or True for 20.
        split: the samples' split.
        options: of `stage_of`, but model and bench may be left out: neurons know theirs.

    Raises:
        InterpError: the split is the one the neurons were selected on, a culture has no neurons, or as `stage_of`.
    """
    if split == neurons.split:
        raise InterpError(
            f"the neurons were selected on split {split!r}; measure their effect on another, such as 'test'"
        )
    found = _bench_of(neurons, options.pop("bench", None))
    stage = stage_of(_model_of(neurons, options.pop("model", None)), found, split, **options)
    if empty := [c for c in dict.fromkeys(stage.cultures) if not neurons[c].indices]:
        raise InterpError(f"no neurons for {', '.join(empty)}: raise tau or k in find_neurons, or name other cultures")
    return Trial(neurons, stage, RANDOM_SETS if random_control is True else int(random_control))


def stage_of(
    model: Adapter,
    bench: Benchmark,
    split: str = TEST,
    per_culture: int | None = None,
    cultures: Collection[str] | None = None,
    judge: Judge | None = None,
    metrics: Sequence[str | Metric] = (),
    seed: int = 0,
    steps: int | None = None,
    progress: bool = True,
) -> Stage:
    """What all arms of one experiment share.

    Args:
        model: the adapter.
        bench: the benchmark.
        split: the samples' split.
        per_culture: samples a culture; all if None.
        cultures: only these; all if None.
        judge: the one that ships for the benchmark if None.
        metrics: what else every picture is measured by, named as in `interp.metrics.registry`.
        seed: of the pictures and the control sets.
        steps: of the sampler; the model's if None.
        progress: show bars.

    Raises:
        InterpError: an unknown split, culture or metric, too few samples, or no judge ships.
    """
    chosen = bench if per_culture is None else bench.subset(split, per_culture, seed)
    return Stage(
        model,
        judge or default_judge(bench),
        chosen.samples(split, cultures),
        seed,
        steps,
        cache=_arm_cache(model),
        progress=progress,
        metrics=tuple(registry.metrics(metrics, bench)),
    )


def effect_of(name: str, given: Trial, make: Make, kind: str, encoder_side: bool = True) -> Effect:
    """Baseline, treatment and, if asked for, random control: paired pictures of the same prompts and seeds.

    Args:
        name: of the effect; also the treatment arm's.
        given: neurons, model, samples.
        make: the intervention of a set.
        kind: `cult` or `noun` prompts.
        encoder_side: also measure every control set on all prompts by the shift of the conditioning.
    """
    stage = given.stage
    plans = given.plans(make)  # first, so that a bad strength is found before anything is drawn
    baseline, treated = stage.arm("baseline", kind), stage.arm(name, kind, plans)
    arms = {"baseline": baseline, name: treated}
    p, shift = float("nan"), {}
    settings: dict[str, Any] = {"intervention": repr(make(given.neurons[stage.cultures[0]])), "prompts": kind}
    settings["clusters"] = list(stage.clusters)
    if given.sets:
        dealt, owner = given.dealt(make)
        arms["random"] = stage.arm("random", kind, dealt)
        p, extra = _against_control(given, baseline.culture_hit, treated.culture_hit, arms["random"].culture_hit, owner)
        settings |= {"random_sets": given.sets, **extra}
        if encoder_side:
            shift = _set_shifts(given, make, kind)
    return _effect(name, stage, arms, p, settings, shift)


def _effect(
    name: str,
    stage: Stage,
    arms: dict[str, Arm],
    p: float,
    settings: dict[str, Any],
    shift: dict[str, tuple[float, ...]] | None = None,
) -> Effect:
    """Arms with their means, their differences to the baseline and the other measures."""
    baseline = arms["baseline"]
    others = {k: a for k, a in arms.items() if a is not baseline}
    return Effect(
        name=name,
        arms=arms,
        accuracy={k: stage.interval(a.culture_hit) for k, a in arms.items()},
        noun_fidelity={k: stage.interval(a.noun_hit) for k, a in arms.items()},
        difference={k: stage.difference(a.culture_hit, baseline.culture_hit) for k, a in others.items()},
        p_vs_control=p,
        per_culture={k: stage.by_culture(a.culture_hit) for k, a in arms.items()},
        cultures=stage.cultures,
        sample_ids=tuple(s.id for s in stage.samples),
        settings=settings,
        set_shift=shift or {},
        measures={m.name: Measure(m.unit, m.direction) for m in stage.metrics},
        measured={m.name: {k: stage.interval(a.scores[m.name]) for k, a in arms.items()} for m in stage.metrics},
    )


def _against_control(
    given: Trial, baseline: np.ndarray, treated: np.ndarray, random: np.ndarray, owner: list[int]
) -> tuple[float, dict[str, float]]:
    """(p of the effect among the sets' effects, paired sign-flip p): see `stats`."""
    number = np.array(owner)
    effects = [float(np.nanmean((random - baseline)[number == n])) for n in range(given.sets) if (number == n).any()]
    seen = float(np.nanmean(treated - baseline))
    direction = "less" if seen < 0 else "greater"
    flip = stats.paired_permutation_p(treated, random, given.stage.clusters)
    return stats.control_p(seen, effects, direction), {"paired_permutation_p": flip}


def _set_shifts(given: Trial, make: Make, kind: str) -> dict[str, tuple[float, ...]]:
    """Encoder side, on all prompts: mean shift of the conditioning under the treatment and under each control set."""
    stage = given.stage
    plain = stage.conditioning(kind, [Plan()] * len(stage.samples))

    def moved(plans: list[Plan]) -> float:
        edited = stage.conditioning(kind, plans)
        assert isinstance(edited, Conditioning) and isinstance(plain, Conditioning)
        return float(probe.shift(edited, plain).mean())

    controls = given.controls
    random = [moved([Plan.of(make(controls[c][n])) for c in stage.cultures]) for n in range(given.sets)]
    return {"treatment": (moved(given.plans(make)),), "random": tuple(random)}


def ablate(
    neurons: Neurons,
    random_control: bool | int = False,
    to: Literal["zero", "mean"] = "zero",
    codes: Codes = "topk",
    **options: Any,
) -> Effect:
    """Mask each culture's neurons on culture-style prompts and look for the culture in the pictures (Tables 1 and 5).

    Args:
        neurons: from `find_neurons`.
        random_control: matched random sets beside it; a number, or True for 20.
        to: zero or mean ablation.
        codes: the SAE's codes.
        options: of `trial`: split, per_culture, cultures, model, bench, judge, metrics, seed, steps, progress.
    """
    return effect_of("masked", trial(neurons, random_control, **options), lambda s: Mask(s, to, codes), "cult")


def amplify(
    neurons: Neurons,
    strength: float = 6.0,
    random_control: bool | int = False,
    codes: Codes = "topk",
    **options: Any,
) -> Effect:
    """Amplify each language's neurons by 1 + λ on noun-only prompts (Tables 2 and 3). Options as in `ablate`."""
    return effect_of(
        "amplified", trial(neurons, random_control, **options), lambda s: Amplify(s, strength, codes), "noun"
    )


def wake(
    neurons: Neurons, random_control: bool | int = False, recipe: dict[str, Any] | None = None, **options: Any
) -> Effect:
    """Noun-only prompts under the recipe's intervention, each by its own language's set."""
    given = trial(neurons, random_control, **options)
    chosen = dict(
        recipe or given.stage.model.recipe.get("wake", {"intervention": "amplify", "strength": 6, "codes": "topk"})
    )
    return effect_of("woken", given, maker(**chosen), "noun")


def enhance(
    model: Adapter,
    bench: Benchmark,
    enhancer: Enhance,
    controls: Mapping[str, Enhance] | None = None,
    prompts: str = "noun",
    **options: Any,
) -> Effect:
    """A trained enhancer on noun-only prompts, beside its controls (Table 3).

    Args:
        model: the adapter.
        bench: the benchmark.
        enhancer: trained at the culture layer.
        controls: by name, such as one trained at a random layer, or on shuffled references.
        prompts: `noun`, or `noun_en` for English ones.
        options: of `stage_of`.

    Raises:
        InterpError: an enhancer is another model's; the train split, which it learned from; as `stage_of`.
    """
    if options.get("split") == TRAIN:
        raise InterpError("enhancers learn from the train split; measure them on another, such as 'test'")
    stage = stage_of(model, bench, **options)
    arms = {"baseline": stage.arm("baseline", prompts)}
    for name, step in {"enhanced": enhancer, **(controls or {})}.items():
        arms[name] = stage.arm(name, prompts, [Plan.of(step)] * len(stage.samples))
    settings = {"intervention": repr(enhancer), "prompts": prompts, "clusters": list(stage.clusters)}
    settings["controls"] = {name: repr(step) for name, step in (controls or {}).items()}
    return _effect("enhanced", stage, arms, float("nan"), settings)


def maker(intervention: str, strength: float, codes: Codes = "topk", tokens: Where = "real") -> Make:
    """An intervention by name.

    Raises:
        InterpError: no intervention of that name.
    """
    if intervention == "amplify":
        return lambda s: Amplify(s, strength, codes, tokens)
    if intervention == "steer":
        return lambda s: Steer(s, strength, tokens)
    raise InterpError(f"intervention {intervention!r}; known: amplify, steer")


@dataclass(frozen=True)
class Sweep(Shown):
    """Dose and response."""

    strengths: tuple[float, ...]
    culture_vqa: tuple[Interval, ...]
    noun_fidelity: tuple[Interval, ...]
    intervention: str
    split: str

    @property
    def best(self) -> float:
        """The strength of the highest CultureVQA; the smallest of equals."""
        return self.strengths[int(np.argmax([i.estimate for i in self.culture_vqa]))]


def sweep(
    neurons: Neurons,
    strengths: Sequence[float] = tuple(range(9)),
    intervention: str = "amplify",
    codes: Codes = "topk",
    split: str = TRAIN,
    per_culture: int | None = 8,
    **options: Any,
) -> Sweep:
    """CultureVQA and noun fidelity of noun-only prompts at several strengths (Figure 11)."""
    given = trial(neurons, split=split, per_culture=per_culture, **options)
    arms = [given.stage.arm(f"λ = {s:g}", "noun", given.plans(maker(intervention, float(s), codes))) for s in strengths]
    return Sweep(
        tuple(float(s) for s in strengths),
        tuple(given.stage.interval(a.culture_hit) for a in arms),
        tuple(given.stage.interval(a.noun_hit) for a in arms),
        intervention,
        split,
    )


@dataclass(frozen=True)
class Steered:
    """Pictures of the same prompts and seeds, without and with a culture's set."""

    prompts: tuple[str, ...]
    culture: str
    baseline: generation.Images
    steered: generation.Images
    strength: float

    def grid(self) -> Grid:
        """The pictures side by side; shows itself in a notebook."""
        rows = [
            GridRow(prompt, "und", prompt, list(pair))
            for prompt, *pair in zip(self.prompts, self.baseline, self.steered, strict=True)
        ]
        return Grid(f"Steered to {self.culture}, strength {self.strength:g}.", ["plain", self.culture], rows)


def steer(
    neurons: Neurons,
    culture: str,
    prompts: Sequence[str],
    strength: float | None = None,
    seeds: Sequence[int] | None = None,
    model: Adapter | None = None,
) -> Steered:
    """Steer any prompts by one culture's set (Figure 13); additive, at the recipe's strength if none is named."""
    its_model = _model_of(neurons, model)
    recipe = its_model.recipe.get("steer", {})
    chosen = strength if strength is not None else float(recipe.get("strength", 1.0))
    plan = Plan.of(Steer(neurons[culture], chosen))
    fixed = list(seeds if seeds is not None else [seed_of(p) for p in prompts])
    pictures = [
        generation.render(its_model, generation.encode(its_model, list(prompts), p), fixed) for p in (Plan(), plan)
    ]
    return Steered(tuple(prompts), culture, pictures[0], pictures[1], chosen)


def steer_all(
    neurons: Neurons, make: Make, per_culture: int = 2, **options: Any
) -> tuple[dict[str, Interval], Interval]:
    """Neutral English noun-only prompts under each culture's set in turn: how often the judge says that culture.

    Returns:
        By culture, and over all of them.
    """
    given = trial(neurons, per_culture=per_culture, **options)
    stage, hit = given.stage, {}
    for culture in neurons.cultures:
        plans = [Plan.of(make(neurons[culture]))] * len(stage.samples)
        hit[culture] = stage.arm(f"steer {culture}", "noun_en", plans, [culture] * len(stage.samples)).culture_hit
    everything, cultures = np.concatenate(list(hit.values())), np.repeat(list(hit), len(stage.samples))
    mean = stats.interval(everything, list(stage.clusters) * len(hit), cultures.tolist())
    return {c: stage.interval(values) for c, values in hit.items()}, mean


def off_target(neurons: Neurons, per_culture: int = 6, **options: Any) -> np.ndarray:
    """Change of the row culture's CultureVQA, in points, when the column culture's set is masked."""
    given = trial(neurons, per_culture=per_culture, **options)
    stage = given.stage
    own = np.array(stage.cultures)
    base = stage.arm("baseline", "cult").culture_hit
    matrix = np.full((len(neurons.cultures),) * 2, np.nan)
    for column, culture in enumerate(neurons.cultures):
        hit = stage.arm(f"mask {culture}", "cult", [Plan.of(Mask(neurons[culture]))] * len(stage.samples)).culture_hit
        for row, other in enumerate(neurons.cultures):
            matrix[row, column] = float(np.nanmean((hit - base)[own == other]))
    return matrix


def tune_strength(
    neurons: Neurons, strengths: Sequence[float], intervention: str, codes: Codes = "topk", **options: Any
) -> Sweep:
    """A sweep on the train split; its `best` is the strength to use. The test split is refused."""
    _refuse_test(options.get("split", TRAIN))
    return sweep(neurons, strengths, intervention, codes, **options)


def load_sae(source: str | Path, layer: int | None = None, site: SiteKind = "resid") -> sae.LoadedSae:
    """Load an SAE: its folder; or a folder of several, or a shipped model's name, with a layer.

    Raises:
        InterpError: there is none.
    """
    if layer is None:
        return sae.load(source)
    root = Path(source) if Path(source).is_dir() else SHIPPED / str(source)
    return sae.load(root / sae.folder_name(Site(layer, site)))
