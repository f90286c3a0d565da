"""`interp report`: a whole study as one results file and one page."""

import shlex
from dataclasses import asdict
from pathlib import Path

from interp import findings, sae, store, workspace
from interp.models.base import Adapter
from interp.report import results as parts
from interp.report.page import write_report
from interp.study import Study
from interp.variants import variants
from interp.workspace import TEST


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
    study = Study.named(model, workspace.benchmark(bench), size, judge, seed=seed, progress=progress)
    results = results_of(study, begun(study, command))
    return write_report(results, study.album.grids(), study.layers, study.neurons, out)


def begun(study: Study, command: str) -> store.Manifest:
    """The manifest of a run that begins now."""
    return store.new_manifest(
        command,
        config={"sizes": asdict(study.sizes), "recipe": dict(study.model.recipe)},
        seeds={"images": study.seed},
        model_digest=study.model.digest,
        benchmark_digest=study.bench.digest,
        device=str(study.model.device),
        certificate=dict(study.model.certificate),
    )


def results_of(study: Study, manifest: store.Manifest) -> parts.Results:
    """Everything that a study measures."""
    ablated, woken, wake = study.ablated, study.woken, study.wake_recipe
    judged = findings.judge(study.judge)
    steered, mean = study.steered
    cultures, sets = study.neurons.cultures, study.sizes.random_sets
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
        ablate=parts.Ablate.of(ablated, sets, parts.Matrix.of(study.off_target, cultures, cultures)),
        wake=parts.Wake.of(woken, wake["intervention"], float(wake["strength"]), sets),
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
    update = {"targets": findings.targets(results), "manifest": _finished(manifest, study.dictionary)}
    return results.model_copy(update=update)


def _finished(manifest: store.Manifest, dictionary: sae.LoadedSae) -> store.Manifest:
    """The manifest with the SAE's digest and the time until now."""
    return manifest.model_copy(update={"sae_digest": dictionary.ref.digest}).finished()
