"""`interp report`: a whole study as one results file and one page."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from interp import store
from interp.benchmarks.splits import TEST
from interp.experiments import images, parts, run, summary
from interp.experiments.latent_images import latent_shots
from interp.experiments.study import Study
from interp.experiments.variants import variants
from interp.latents.profiles import profile
from interp.report.pages.latents import write_pages
from interp.report.pages.study import write_report
from interp.report.results import Enhancer, Results
from interp.report.targets import targets


def report(study: Study, out: Path, command: str, neuron_pages: bool = True) -> Path:
    """Run the whole method and write the page.

    Args:
        study: model, benchmark, judge and sizes.
        out: folder of the report.
        command: what was typed, for the manifest.
        neuron_pages: also a page for every neuron of every culture, below `neurons`.

    Returns:
        The page.

    Raises:
        InterpError: as a part of the study raises; the folder holds something else, or another run writes there.
    """
    config = {"sizes": asdict(study.sizes), "recipe": dict(study.model.recipe)}
    manifest = begun(study, command, "report", config, dict(study.model.certificate))
    with store.run_folder(out, manifest):
        results = results_of(study, manifest)
        if neuron_pages:
            write_neuron_pages(study, out / "neurons")
        return write_report(results, images.grids(study), out, neuron_pages)


def write_neuron_pages(study: Study, out: Path) -> Path:
    """A page for every neuron of every culture: what it fires on, and images with it off and up.

    Returns:
        Their index.
    """
    model, bench, neurons = study.model, study.bench, study.ask(parts.neurons)
    profiles = profile(model, study.ask(parts.used_sae), bench, neurons, progress=study.progress)
    shots = latent_shots(model, bench, neurons, seed=study.seed, steps=study.sizes.steps, progress=study.progress)
    return write_pages(profiles, shots, neurons, out)


def begun(
    study: Study, command: str, stage: str, config: dict[str, Any], certificate: dict[str, Any] | None = None
) -> store.Manifest:
    """The manifest of a run of a study that begins now."""
    return store.new_manifest(
        command,
        stage=stage,
        config=config,
        seeds={"images": study.seed},
        model_digest=study.model.model_digest,
        encoder_digest=study.model.encoder_digest,
        benchmark_digest=study.bench.digest,
        device=str(study.model.device),
        certificate=certificate,
    )


def results_of(study: Study, manifest: store.Manifest) -> Results:
    """Everything that a study measures."""
    steered, mean = study.ask(parts.steered)
    enhancers = study.ask(parts.enhancers)
    enhancer = enhancers[parts.ENHANCED].enhancer if enhancers else None
    digest = study.ask(parts.used_sae).ref.digest
    results = Results(
        model=study.model.name,
        manifest=manifest.model_copy(update={"sae_digest": digest}).finished(),
        split=TEST,
        split_size=len(study.bench.samples(TEST)),
        layers=study.ask(parts.layers),
        sae=study.ask(parts.sae_figures),
        neurons=study.ask(parts.neurons),
        ablate=study.ask(parts.ablated),
        wake=study.ask(parts.woken),
        recipe=run.wake_recipe(study.model),
        off_target=study.ask(parts.off_target),
        variants=study.ask(variants),
        sweep=study.ask(parts.swept),
        steer=steered,
        steer_mean=mean,
        noun_fidelity=study.ask(summary.noun_fidelity),
        measures=study.ask(summary.measures),
        enhance=study.ask(parts.enhanced),
        enhancer=Enhancer(enhancer.site, enhancer.width) if enhancer is not None else None,
        held_out=study.ask(parts.held_out),
        judge=study.ask(summary.judge_errors),
    )
    return replace(results, targets=targets(results), manifest=results.manifest.finished())
