"""The whole method on one model, part by part: what the report and the paper's tables and figures are made from.

A part is measured when it is first asked for. Every stage keeps what it finished in the cache, so that an interrupted
run goes on where it stopped, and a part that two exhibits share is measured once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from interp import store, types
from interp.activations import find_layers
from interp.benchmarks import cross_domain
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import HELD_OUT, TRAIN
from interp.experiments import controls as trials
from interp.experiments import effects, inputs, layer_images, run
from interp.experiments.arms import Stage
from interp.experiments.images import Album
from interp.experiments.setup import default_judge
from interp.hub import load
from interp.interventions import enhancer_training
from interp.interventions.edits import Enhance, Intervention, Mask, Plan
from interp.interventions.enhancer import CULTURE_LAYER
from interp.latents import find, sae, sae_training
from interp.latents import scores as neuron
from interp.metrics import registry
from interp.metrics.judges.base import Judge
from interp.models.adapter import Adapter
from interp.types import Effect, Interval, LayerScores, Neurons, Site

PAPER = {"intervention": "amplify", "strength": 6.0, "codes": "topk"}
"""The paper's literal intervention."""

METRICS = ("lpips",)
"""What every arm is measured by, beside the judge."""
POCKET_METRICS = ("clipscore:pocket-clip", "clipscore:pocket-clip+culture_style")
"""What else on the benchmark `pocket`."""
SEEDS = 4
"""Pictures of one prompt whose diversity is measured."""
ENHANCED = "enhanced"


@dataclass(frozen=True)
class Sizes:
    """Samples a culture of each part; None is the whole split."""

    test: int | None
    """Gap, ablation, waking."""
    sweep: int
    steer: int
    """Neutral English prompts, taken from so many samples a culture; each is drawn under all 15 sets."""
    off_target: int
    variants: int
    held_out: int | None
    """Nouns outside the benchmark."""
    pairs: int
    """Prompt pairs of the attention contrast and the causal scan."""
    scan: int
    """Pictures of the causal scan."""
    random_sets: int
    sae_steps: int
    """Of SAEs that do not ship and are trained for the table of variants."""
    sae_samples: int
    """Train samples a culture that they see."""
    diverse: int = 1
    """Prompts a culture that are drawn with several seeds, for diversity."""
    brief: bool = False
    """Variants and scanned pictures at the paper's site and the recipe's alone, fewer strengths and English prompts."""
    steps: int | None = None
    """Of the sampler; None for the model's."""

    @staticmethod
    def named(name: str) -> "Sizes":
        """`quick` (minutes), `sample` (a stratified part of the test split) or `full` (all of it)."""
        return {
            "quick": Sizes(3, 1, 1, 1, 1, 1, 3, 1, 3, 60, 12, brief=True, steps=8),
            "sample": Sizes(16, 4, 2, 3, 2, 4, 12, 1, 20, 300, 60, diverse=1),
            "full": Sizes(None, 10, 4, 8, 8, None, 12, 6, 20, 600, 210, diverse=4),
        }[name]


def _judge(model: Adapter, bench: Benchmark, name: str | None) -> Judge:
    """The judge that is named, or the one that ships, where the model computes."""
    return registry.judge(name, bench.cultures, model.device) if name else default_judge(bench, model.device)


@dataclass(frozen=True)
class Study:
    """One run: model, benchmark, sizes, judge, seed."""

    model: Adapter
    bench: Benchmark
    sizes: Sizes
    judge: Judge
    seed: int = 0
    progress: bool = True
    training: bool = False
    """Train an enhancer and its controls where none ships: hours on a real model."""
    also: tuple[str, ...] = ()
    """Further metrics of every arm, named as in `interp.metrics.registry`."""

    @staticmethod
    def named(model: Adapter, bench: Benchmark, size: str, judge: str | None = None, **options: Any) -> "Study":
        """A study by the name of its size and judge.

        Args:
            model: the adapter.
            bench: the benchmark.
            size: `quick`, `sample` or `full`.
            judge: name as in `interp.metrics.registry`; None for the one that ships for the benchmark.
            options: seed, progress, training, also.

        Raises:
            InterpError: no judge ships for the benchmark and none is named.
        """
        chosen = _judge(model, bench, judge)
        return Study(model, bench, Sizes.named(size), chosen, **options)

    def options(self, per_culture: int | None) -> dict[str, Any]:
        """What every experiment is given."""
        return {
            "per_culture": per_culture,
            "model": self.model,
            "bench": self.bench,
            "judge": self.judge,
            "seed": self.seed,
            "steps": self.sizes.steps,
            "progress": self.progress,
        }

    @property
    def metrics(self) -> tuple[str, ...]:
        """What every arm of the test split is measured by, beside the judge."""
        return METRICS + (POCKET_METRICS if registry.is_pocket(self.bench) else ()) + self.also

    # --------------------------------------------------------------------------------------------- layer and neurons

    @cached_property
    def layers(self) -> LayerScores:
        """The attention contrast and the causal scan, with pictures at some of the layers."""
        scores = self.contrast
        last = self.model.spec("text_encoder").reach
        chosen = {scores.peak, self.site.layer} | (set() if self.sizes.brief else {0, last // 2, last})
        drawn = {
            "per_culture": self.sizes.scan,
            "steps": self.sizes.steps,
            "judge": self.judge,
            "progress": self.progress,
        }
        return layer_images.scan_pictures(self.model, self.bench, scores, sorted(chosen), **drawn)

    @cached_property
    def contrast(self) -> LayerScores:
        """The attention contrast and the causal scan on the encoder's side."""
        return find_layers.find_layers(self.model, self.bench, per_culture=self.sizes.pairs, progress=self.progress)

    @cached_property
    def site(self) -> Site:
        """The recipe's site, or the paper's on a model without one."""
        recipe = self.model.recipe
        return Site(int(recipe["layer"]) if "layer" in recipe else self.contrast.peak, recipe.get("site", "z"))

    @cached_property
    def dictionary(self) -> sae.LoadedSae:
        """The SAE at the site."""
        return self.sae_at(self.site)

    @cached_property
    def neurons(self) -> Neurons:
        """The neurons at the site, by the recipe's rule."""
        return self.neurons_at(self.site)

    def neurons_at(self, site: Site, rule: neuron.Rule | None = None) -> Neurons:
        """Neurons at a site by a rule; None for the recipe's."""
        return find.find_neurons(self.model, self.sae_at(site), self.bench, rule, progress=self.progress)

    def sae_at(self, site: Site) -> sae.LoadedSae:
        """The SAE of a site: shipped, in the cache, or trained now."""
        return self.found(site) or self.train([site])[site]

    def found(self, site: Site) -> sae.LoadedSae | None:
        """The SAE of a site if it ships or is in the cache."""
        for folder in (load.SHIPPED / Path(self.model.name).name, self.kept):
            if (folder / sae.folder_name(site) / "cfg.json").is_file():
                loaded = sae.load(folder / sae.folder_name(site))
                if loaded.ref.encoder_digest == self.model.encoder_digest and loaded.ref.site == site:
                    return loaded
        return None

    @property
    def kept(self) -> Path:
        """Where this study keeps the SAEs that it trains."""
        decide = [self.bench.digest, self.seed, self.sizes.sae_steps, self.sizes.sae_samples, self.model.identity]
        return store.cache_dir() / "saes" / f"{self.model.encoder_digest[:12]}-{store.sha256_record(decide)[:12]}"

    def train(self, sites: Sequence[Site]) -> dict[Site, sae.LoadedSae]:
        """SAEs at several sites, smaller runs than those that ship, from one pass."""
        settings = sae_training.SaeSettings(steps=self.sizes.sae_steps, batch=512, k=16, seed=self.seed)
        count = self.sizes.sae_samples
        return find.train_saes(
            self.model, self.bench, sites, settings, self.kept, per_culture=count, progress=self.progress
        )

    # ------------------------------------------------------------------------------------------------- interventions

    @cached_property
    def wake_recipe(self) -> dict[str, Any]:
        """The recipe's intervention, or the paper's on a model without one."""
        return dict(self.model.recipe.get("wake", PAPER))

    @cached_property
    def steer_recipe(self) -> dict[str, Any]:
        """What steers a neutral English prompt: the recipe's, or as for waking."""
        return dict(self.model.recipe.get("steer", self.wake_recipe))

    @cached_property
    def ablated(self) -> Effect:
        """Each culture's set masked on culture-style prompts (Tables 1 and 5)."""
        return run.ablate(self.neurons, self.sizes.random_sets, **self._measured)

    @cached_property
    def woken(self) -> Effect:
        """Noun-only prompts driven by their own language's set (Tables 2 and 3)."""
        return run.wake(self.neurons, self.sizes.random_sets, self.wake_recipe, **self._measured)

    @cached_property
    def enhanced(self) -> Effect | None:
        """Noun-only prompts under the trained enhancer, beside its controls (Table 3); None where there is none."""
        arms = self.enhancers
        if not arms:
            return None
        controls = {name: step for name, step in arms.items() if name != ENHANCED}
        given = {k: v for k, v in self._measured.items() if k not in ("model", "bench")}
        return run.enhance(self.model, self.bench, arms[ENHANCED], controls, **given)

    @cached_property
    def enhancers(self) -> dict[str, Enhance]:
        """The enhancer and its controls by the arm's name: shipped, or trained now if `training`."""
        shipped = load.shipped_enhancers(self.model.name)
        refs = {name: ref for name, ref in shipped.items() if ref.encoder_digest == self.model.encoder_digest}
        if not refs and self.training:
            site = self.site
            refs = enhancer_training.train_enhancers(
                self.model, self.bench, site.layer, site.kind, site.encoder, progress=self.progress
            )
        if CULTURE_LAYER not in refs:
            return {}
        own, arms = refs[CULTURE_LAYER], {ENHANCED: Enhance(refs[CULTURE_LAYER])}
        if other := refs.get(enhancer_training.RANDOM_LAYER):
            arms[f"moved to layer {other.site.layer}"] = Enhance(replace(own, site=other.site))
            arms[f"trained at layer {other.site.layer}"] = Enhance(other)
        if other := refs.get(enhancer_training.SHUFFLED):
            arms["shuffled pictures"] = Enhance(other)
        return arms

    @property
    def _measured(self) -> dict[str, Any]:
        return {**self.options(self.sizes.test), "metrics": self.metrics}

    @cached_property
    def swept(self) -> types.Sweep:
        """Dose and response on the train split (Figure 11)."""
        wake = self.wake_recipe
        given = {**self.options(self.sizes.sweep), "split": TRAIN}
        how = (wake["intervention"], wake.get("codes", "topk"))
        return run.sweep(self.neurons, self.strengths, *how, **given)

    @property
    def strengths(self) -> list[float]:
        """The paper's 0 to 8 for amplification; for steering, parts and multiples of the recipe's strength."""
        wake = self.wake_recipe
        if wake["intervention"] == "amplify":
            return [float(s) for s in range(9)]
        shares = (0, 0.5, 1, 1.5, 2) if self.sizes.brief else (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2)
        return [round(share * float(wake["strength"]), 3) for share in shares]

    @cached_property
    def steered(self) -> tuple[dict[str, Interval], Interval]:
        """Neutral English prompts under each culture's set (Figure 13), and their mean."""
        make = trials.maker(**self.steer_recipe)
        # the prompts are English and neutral: whose samples they come from does not matter
        some = self.neurons.cultures[::3] if self.sizes.brief else None
        return run.steer_all(self.neurons, make, cultures=some, **self.options(self.sizes.steer))

    @cached_property
    def off_target(self) -> Float[np.ndarray, "culture culture"]:
        """What masking the column culture's set does to the row culture."""
        return run.off_target(self.neurons, **self.options(self.sizes.off_target))

    @cached_property
    def held_out(self) -> Effect | None:
        """Nouns outside the benchmark: with modifier, alone, woken, enhanced (Table 6); None without such a split."""
        if HELD_OUT not in self.bench.splits:
            return None
        given = effects.trial(self.neurons, split=HELD_OUT, **self.options(self.sizes.held_out))
        stage = given.stage
        arms = {
            "baseline": stage.arm("held out", "noun_only"),
            "with modifier": stage.arm("held out, with modifier", "culture_style"),
            "woken": stage.arm("held out, woken", "noun_only", given.plans(trials.maker(**self.wake_recipe))),
        }
        if self.enhancers:
            plans = [Plan.of(self.enhancers[ENHANCED])] * len(stage.samples)
            arms[ENHANCED] = stage.arm("held out, enhanced", "noun_only", plans)
        return effects.effect_over("held out", stage, arms, float("nan"), {"clusters": list(stage.clusters)})

    @cached_property
    def out_of_domain(self) -> Effect:
        """The 100 captions outside every benchmark, dealt to the cultures: alone, woken, enhanced (Table 6)."""
        dealt = cross_domain.deal({c: self.bench.languages[c] for c in self.neurons.cultures}, self.seed)
        given = {k: v for k, v in self.options(None).items() if k not in ("model", "bench", "per_culture")}
        cache = inputs.arm_cache(self.model)
        samples = tuple(cross_domain.sample(case) for case in dealt)
        stage = Stage(self.model, samples=samples, cache=cache, **given)
        make = trials.maker(**self.wake_recipe)
        plans = {"baseline": [Plan()] * len(samples), "woken": [Plan.of(make(self.neurons[c])) for c in stage.cultures]}
        if self.enhancers:
            plans[ENHANCED] = [Plan.of(self.enhancers[ENHANCED])] * len(samples)
        arms = {name: stage.arm(name, "noun_only", own) for name, own in plans.items()}
        return effects.effect_over("out of domain", stage, arms, float("nan"), {"clusters": list(stage.clusters)})

    @cached_property
    def diversity(self) -> dict[str, Interval]:
        """Mean LPIPS among the pictures of one prompt, in every arm of masking, waking and enhancing."""
        given = effects.trial(self.neurons, 1, **self.options(self.sizes.diverse))
        stage, make = given.stage, trials.maker(**self.wake_recipe)
        metric = registry.metric("diversity", self.bench, self.model.device)
        plans: dict[str, tuple[str, list[Plan] | None]] = {
            "with modifier": ("culture_style", None),
            "masked": ("culture_style", given.plans(Mask)),
            "random masked": ("culture_style", given.dealt(Mask)[0]),
            "noun only": ("noun_only", None),
            "woken": ("noun_only", given.plans(make)),
            "random woken": ("noun_only", given.dealt(make)[0]),
        }
        if self.enhancers:
            plans[ENHANCED] = ("noun_only", [Plan.of(self.enhancers[ENHANCED])] * len(stage.samples))
        return {
            arm: stage.interval(stage.repeated(metric, kind, own, SEEDS))
            for arm, (kind, own) in tqdm(plans.items(), desc="diversity", disable=not self.progress, leave=False)
        }

    @cached_property
    def album(self) -> Album:
        """The pictures."""
        enhancer: Intervention | None = self.enhancers.get(ENHANCED)
        return Album(
            self.model,
            self.bench,
            self.neurons,
            self.wake_recipe,
            self.steer_recipe,
            self.judge,
            self.seed,
            self.sizes.steps,
            enhancer,
        )
