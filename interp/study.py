"""The whole method on one model, from the layer to the page: what `interp report` runs.

Every stage keeps what it finished in the cache, so that an interrupted run goes on where it stopped.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from interp import discovery, experiment, findings, sae, store, trials, workspace
from interp import neurons as neuron
from interp.album import Album
from interp.arms import default_judge
from interp.benchmarks import Benchmark
from interp.interventions import Mask
from interp.metrics import registry
from interp.metrics.judges.base import Judge
from interp.models.base import Adapter
from interp.report import results as parts
from interp.report.page import write_report
from interp.types import Codes, Interval, LayerScores, Neurons, Site
from interp.workspace import HELD_OUT, TEST, TRAIN

PAPER = {"intervention": "amplify", "strength": 6.0, "codes": "topk"}
"""The paper's literal intervention."""

METRICS = ("lpips",)
"""What every arm is measured by, beside the judge."""
POCKET_METRICS = ("clipscore:pocket-clip", "clipscore:pocket-clip+culture_style")
"""What else on the benchmark `pocket`."""
SEEDS = 4
"""Pictures of one prompt whose diversity is measured."""


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


@dataclass(frozen=True)
class Study:
    """One run: model, benchmark, sizes, seed."""

    model: Adapter
    bench: Benchmark
    sizes: Sizes
    judge: Judge
    seed: int = 0
    progress: bool = True

    # ---------------------------------------------------------------------------------------------------- the parts

    def layers(self) -> LayerScores:
        """The attention contrast and the causal scan, with pictures at some of the layers."""
        scores = discovery.find_layers(self.model, self.bench, per_culture=self.sizes.pairs, progress=self.progress)
        last = self.model.spec("text_encoder").reach
        chosen = {scores.peak, self.recipe_site(scores).layer} | (set() if self.sizes.brief else {0, last // 2, last})
        drawn = {
            "per_culture": self.sizes.scan,
            "steps": self.sizes.steps,
            "judge": self.judge,
            "progress": self.progress,
        }
        return discovery.scan_pictures(self.model, self.bench, scores, sorted(chosen), **drawn)

    def dictionary(self, site: Site) -> sae.LoadedSae:
        """The SAE of a site: shipped, in the cache, or trained now."""
        return self.found(site) or self.train([site])[site]

    def found(self, site: Site) -> sae.LoadedSae | None:
        """The SAE of a site if it ships or is in the cache."""
        for folder in (workspace.SHIPPED / Path(self.model.name).name, self.kept):
            if (folder / sae.folder_name(site) / "cfg.json").is_file():
                loaded = sae.load(folder / sae.folder_name(site))
                if loaded.ref.model_digest == self.model.encoder_digest and loaded.ref.site == site:
                    return loaded
        return None

    @property
    def kept(self) -> Path:
        """Where this study keeps the SAEs that it trains."""
        return store.cache_dir() / "saes" / f"{self.model.encoder_digest[:12]}-{self.sizes.sae_steps}"

    def train(self, sites: Sequence[Site]) -> dict[Site, sae.LoadedSae]:
        """SAEs for the table of variants, smaller runs than those that ship, from one pass."""
        settings = sae.SaeSettings(steps=self.sizes.sae_steps, batch=512, k=16, seed=self.seed)
        count = self.sizes.sae_samples
        return discovery.train_saes(
            self.model, self.bench, sites, settings, self.kept, per_culture=count, progress=self.progress
        )

    def neurons(self, site: Site, rule: neuron.Rule | None = None) -> Neurons:
        """Neurons at a site by a rule; None for the recipe's."""
        return discovery.find_neurons(self.model, self.dictionary(site), self.bench, rule, progress=self.progress)

    def recipe_site(self, scores: LayerScores) -> Site:
        """The recipe's site, or the paper's on a model without one."""
        return Site(int(self.model.recipe.get("layer", scores.peak)), self.model.recipe.get("site", "z"))

    def wake_recipe(self) -> dict[str, Any]:
        """The recipe's intervention, or the paper's on a model without one."""
        return dict(self.model.recipe.get("wake", PAPER))

    def steer_recipe(self) -> dict[str, Any]:
        """What steers a neutral English prompt: the recipe's, or as for waking."""
        return dict(self.model.recipe.get("steer", self.wake_recipe()))

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

    def variants(self, scores: LayerScores, of_recipe: Neurons) -> list[parts.Variant]:
        """Site × codes × intervention on a part of the test split, the paper's literal choice among them.

        Args:
            scores: of the layers.
            of_recipe: the neurons at the recipe's site.
        """
        recipe, wake = self.recipe_site(scores), self.wake_recipe()
        literal = Site(scores.peak, "z")
        others = [] if self.sizes.brief else [Site(scores.peak, "resid"), Site(recipe.layer, "z")]
        sites = dict.fromkeys([literal, *others, recipe])
        if missing := [site for site in sites if self.found(site) is None]:
            self.train(missing)
        rows = []
        for site in tqdm(list(sites), desc="variants", disable=not self.progress, leave=False):
            # the literal row keeps the paper's rule; a set that its noun-side filter empties is filled before ranking
            rule = neuron.Rule(filter="before") if site == literal else None
            found = of_recipe if site == recipe and rule is None else self.neurons(site, rule)
            rows += self._variants_at(found, recipe, wake, site == literal)
        return rows

    def _variants_at(self, found: Neurons, recipe: Site, wake: Mapping[str, Any], literal: bool) -> list[parts.Variant]:
        site = found.sae.site
        given = trials.trial(found, 1, **self.options(self.sizes.variants))
        stage = given.stage
        masked = stage.interval(stage.arm("masked", "cult", given.plans(Mask)).culture_hit)
        plans, _ = given.dealt(Mask)
        masked_random = stage.interval(stage.arm("random masked", "cult", plans).culture_hit)
        choices: list[tuple[str, Codes, float]] = [
            ("amplify", "topk", 6.0),
            ("amplify", "relu", 6.0),
            ("steer", "topk", 1.0),
        ]
        own: tuple[str, Codes, float] = (wake["intervention"], wake.get("codes", "topk"), wake["strength"])
        if site == recipe and own not in choices:
            choices.append(own)
        rows = []
        for intervention, codes, strength in choices:
            make = trials.maker(intervention, strength, codes)
            woken = stage.arm("woken", "noun", given.plans(make))
            random = stage.arm("random", "noun", given.dealt(make)[0])
            rows.append(
                parts.Variant(
                    site=site.kind,
                    layer=site.layer,
                    codes=codes if intervention == "amplify" else "none",
                    intervention=intervention,
                    strength=strength,
                    masked=parts.Estimate.of(masked),
                    masked_random=parts.Estimate.of(masked_random),
                    woken=parts.Estimate.of(stage.interval(woken.culture_hit)),
                    random=parts.Estimate.of(stage.interval(random.culture_hit)),
                    literal=literal and (intervention, codes) == ("amplify", "topk"),
                    recipe=site == recipe and (intervention, codes, strength) == own,
                )
            )
        return rows

    def held_out(self, neurons: Neurons) -> dict[str, parts.Estimate]:
        """Waking nouns outside the benchmark (Table 6); nothing where the benchmark has none."""
        if HELD_OUT not in self.bench.splits:
            return {}
        given = trials.trial(neurons, split=HELD_OUT, **self.options(self.sizes.held_out))
        stage, make = given.stage, trials.maker(**self.wake_recipe())
        arms = {
            "with modifier": stage.arm("held out, with modifier", "cult"),
            "noun only": stage.arm("held out", "noun"),
            "woken": stage.arm("held out, woken", "noun", given.plans(make)),
        }
        return {name: parts.Estimate.of(stage.interval(arm.culture_hit)) for name, arm in arms.items()}

    def diversity(self, neurons: Neurons) -> dict[str, Interval]:
        """Mean LPIPS among the pictures of one prompt, in every arm of masking and waking."""
        given = trials.trial(neurons, 1, **self.options(self.sizes.diverse))
        stage, make = given.stage, trials.maker(**self.wake_recipe())
        metric = registry.metric("diversity", self.bench)
        plans = {
            "with modifier": ("cult", None),
            "masked": ("cult", given.plans(Mask)),
            "random masked": ("cult", given.dealt(Mask)[0]),
            "noun only": ("noun", None),
            "woken": ("noun", given.plans(make)),
            "random woken": ("noun", given.dealt(make)[0]),
        }
        return {
            arm: stage.interval(stage.repeated(metric, kind, own, SEEDS))
            for arm, (kind, own) in tqdm(plans.items(), desc="diversity", disable=not self.progress, leave=False)
        }

    # ------------------------------------------------------------------------------------------------------- the run

    def run(self, out: Path, command: str) -> Path:
        """Everything, to a page.

        Args:
            out: folder of the report.
            command: what was typed, for the manifest.
        """
        manifest = store.new_manifest(
            command,
            config={"sizes": asdict(self.sizes), "recipe": dict(self.model.recipe)},
            seeds={"images": self.seed},
            model_digest=self.model.digest,
            benchmark_digest=self.bench.digest,
            device=str(self.model.device),
            certificate=dict(self.model.certificate),
        )
        scores = self.layers()
        site, wake = self.recipe_site(scores), self.wake_recipe()
        dictionary = self.dictionary(site)
        neurons = self.neurons(site)
        full = self.options(self.sizes.test)
        measured = {**full, "metrics": METRICS + (POCKET_METRICS if registry.is_pocket(self.bench) else ())}
        ablated = experiment.ablate(neurons, self.sizes.random_sets, **measured)
        woken = experiment.wake(neurons, self.sizes.random_sets, wake, **measured)
        swept = experiment.sweep(
            neurons,
            self._strengths(wake),
            wake["intervention"],
            wake.get("codes", "topk"),
            **{**self.options(self.sizes.sweep), "split": TRAIN},
        )
        steered, mean = self._steered(neurons)
        matrix = experiment.off_target(neurons, **self.options(self.sizes.off_target))
        finished = replace_digest(manifest, dictionary).finished()
        judged = findings.judge(self.judge)
        results = parts.Results(
            model=self.model.name,
            manifest=finished,
            sizes=parts.Sizes(samples=len(ablated.sample_ids), of=len(self.bench.samples(TEST)), split=TEST),
            layers=parts.Layers.of(scores),
            sae=findings.dictionary(dictionary),
            neurons=parts.indices(neurons),
            neuron_curves=parts.curves(neurons),
            neuron_overlap=parts.overlap(neurons),
            gap=findings.gap(ablated, woken),
            ablate=parts.Ablate.of(
                ablated, self.sizes.random_sets, parts.Matrix.of(matrix, neurons.cultures, neurons.cultures)
            ),
            wake=parts.Wake.of(woken, wake["intervention"], float(wake["strength"]), self.sizes.random_sets),
            variants=self.variants(scores, neurons),
            sweep=findings.sweep(swept, float(wake["strength"])),
            steer={c: parts.Estimate.of(i) for c, i in steered.items()},
            steer_mean=parts.Estimate.of(mean),
            held_out=self.held_out(neurons),
            noun_fidelity=findings.fidelity(ablated, woken),
            measures=findings.measures(
                ablated, woken, self.diversity(neurons), judged.confusion if judged is not None else None
            ),
            judge=judged,
            settings={
                "permutation_p": {
                    "ablate": ablated.settings["paired_permutation_p"],
                    "wake": woken.settings["paired_permutation_p"],
                }
            },
        )
        results = results.model_copy(
            update={"targets": findings.targets(results), "manifest": replace_digest(manifest, dictionary).finished()}
        )
        album = Album(
            self.model, self.bench, neurons, wake, self.steer_recipe(), self.judge, self.seed, self.sizes.steps
        )
        return write_report(results, album.grids(), scores, neurons, out)

    def _strengths(self, wake: Mapping[str, Any]) -> list[float]:
        """The paper's 0 to 8 for amplification; for steering, parts and multiples of the recipe's strength."""
        if wake["intervention"] == "amplify":
            return [float(s) for s in range(9)]
        shares = (0, 0.5, 1, 1.5, 2) if self.sizes.brief else (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2)
        return [round(share * float(wake["strength"]), 3) for share in shares]

    def _steered(self, neurons: Neurons) -> tuple[dict[str, Interval], Interval]:
        make = trials.maker(**self.steer_recipe())
        # the prompts are English and neutral: whose samples they come from does not matter
        some = neurons.cultures[::3] if self.sizes.brief else None
        return experiment.steer_all(neurons, make, cultures=some, **self.options(self.sizes.steer))


def replace_digest(manifest: store.Manifest, dictionary: sae.LoadedSae) -> store.Manifest:
    """The manifest with the SAE's digest."""
    return manifest.model_copy(update={"sae_digest": dictionary.ref.digest})


def report(
    model: Adapter, bench: str, out: Path, size: str, seed: int = 0, judge: str | None = None, progress: bool = True
) -> Path:
    """Run the whole method and write the page.

    Args:
        model: the adapter.
        bench: name or folder.
        out: folder of the report.
        size: `quick`, `sample` or `full`.
        seed: of the pictures and the control sets.
        judge: name as in `interp.metrics.registry`; None for the one that ships for the benchmark.
        progress: show bars.

    Raises:
        InterpError: no judge ships for the benchmark and none is named, or as a stage raises.
    """
    options = {"model": model.name, "bench": bench, "size": size, "seed": str(seed)} | (
        {"judge": judge} if judge else {}
    )
    command = shlex.join(
        ["interp", "report", *[part for name, value in options.items() for part in (f"--{name}", value)]]
    )
    found = workspace.benchmark(bench)
    named = registry.judge(judge, found.cultures) if judge else default_judge(found)
    study = Study(model, found, Sizes.named(size), named, seed, progress)
    return study.run(out, command)
