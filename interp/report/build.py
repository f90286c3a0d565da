"""`interp report`: a whole study as one results file and one page."""

from dataclasses import asdict
from pathlib import Path

from interp import store
from interp.benchmarks.splits import TEST
from interp.experiments import latent_images
from interp.experiments.study import Study
from interp.experiments.variants import variants
from interp.latents import profiles as dashboards
from interp.latents import sae
from interp.report import findings, targets
from interp.report import results as parts
from interp.report.pages.latents import write_pages
from interp.report.pages.study import write_report


def report(study: Study, out: Path, command: str, neuron_pages: bool = True) -> Path:
    """Run the whole method and write the page.

    Args:
        study: model, benchmark, judge and sizes.
        out: folder of the report.
        command: what was typed, for the manifest.
        neuron_pages: also a page for every latent of every set, below `neurons`.

    Returns:
        The page.

    Raises:
        InterpError: as a part of the study raises; the folder holds something else, or another run writes there.
    """
    manifest = begun(study, command)
    with store.run_folder(out, manifest):
        results = results_of(study, manifest)
        if neuron_pages:
            write_neuron_pages(study, out / "neurons")
        return write_report(results, study.album.grids(), study.layers, study.neurons, out, neuron_pages)


def write_neuron_pages(study: Study, out: Path) -> Path:
    """A page for every latent of every culture's set: what it fires on, and pictures with it off and up.

    Returns:
        Their index.
    """
    model, bench, found = study.model, study.bench, study.neurons
    profiles = dashboards.profile(model, study.dictionary, bench, found, progress=study.progress)
    given = {"seed": study.seed, "steps": study.sizes.steps, "progress": study.progress}
    return write_pages(profiles, latent_images.pictures(model, bench, found, **given), found, out)


def begun(study: Study, command: str) -> store.Manifest:
    """The manifest of a run that begins now."""
    return store.new_manifest(
        command,
        stage="report",
        config={"sizes": asdict(study.sizes), "recipe": dict(study.model.recipe)},
        seeds={"images": study.seed},
        model_digest=study.model.model_digest,
        encoder_digest=study.model.encoder_digest,
        benchmark_digest=study.bench.digest,
        device=str(study.model.device),
        certificate=dict(study.model.certificate),
    )


def results_of(study: Study, manifest: store.Manifest) -> parts.Results:
    """Everything that a study measures."""
    ablated, woken, wake = study.ablated, study.woken, study.wake_recipe
    judged = findings.judge(study.judge)
    steered, mean = study.steered
    cultures = study.neurons.cultures
    confusion = judged.confusion if judged is not None else None
    permuted = {e.name: e.settings["paired_permutation_p"] for e in (ablated, woken)}
    results = parts.Results(
        model=study.model.name,
        manifest=_finished(manifest, study.dictionary),
        sizes=parts.Sizes(samples=len(ablated.sample_ids), of=len(study.bench.samples(TEST)), split=TEST),
        layers=parts.Layers.of(study.layers),
        sae=findings.dictionary(study.dictionary),
        neurons=parts.indices(study.neurons),
        neuron_curves=parts.curves(study.neurons),
        neuron_overlap=parts.overlap(study.neurons),
        gap=findings.gap(ablated, woken),
        ablate=parts.Ablate.of(
            ablated, ablated.settings["random_sets"], parts.Matrix.of(study.off_target, cultures, cultures)
        ),
        wake=parts.Wake.of(woken, wake["intervention"], float(wake["strength"]), woken.settings["random_sets"]),
        enhance=findings.enhanced(study.enhanced, study.enhancers),
        variants=variants(study),
        sweep=findings.sweep(study.swept, float(wake["strength"])),
        steer={c: parts.Estimate.of(i) for c, i in steered.items()},
        steer_mean=parts.Estimate.of(mean),
        held_out=findings.held_out(study.held_out),
        noun_fidelity=findings.fidelity(ablated, woken, study.enhanced),
        measures=findings.measures(ablated, woken, study.enhanced, study.diversity, confusion),
        judge=judged,
        settings={"permutation_p": {"ablate": permuted["masked"], "wake": permuted["woken"]}},
    )
    update = {"targets": targets.targets(results), "manifest": _finished(manifest, study.dictionary)}
    return results.model_copy(update=update)


def _finished(manifest: store.Manifest, dictionary: sae.LoadedSae) -> store.Manifest:
    """The manifest with the SAE's digest and the time until now."""
    return manifest.model_copy(update={"sae_digest": dictionary.ref.digest}).finished()
