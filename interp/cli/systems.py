"""Commands about whole systems: draw a benchmark's prompts, measure folders of images, compare, publish."""

from pathlib import Path
from typing import Annotated, Any

import typer

from interp import store
from interp.cli.options import MOST, Bench, Guidance, Metrics, Model, Out, PerCulture, Seed, Steps, folders_of, names_of
from interp.cli.runs import device_option, load_model, run_on, write_value


def draw(
    model: Model = "pocket",
    bench: Bench = "pocket",
    prompts: Annotated[
        str, typer.Option(help="noun_only, culture_style, noun_only_en or culture_style_en")
    ] = "noun_only",
    split: str = "test",
    per_culture: PerCulture = None,
    neurons_folder: Annotated[Path | None, typer.Option("--neurons", help="drive these by the model's recipe")] = None,
    pictures: Annotated[int, typer.Option(min=1, max=MOST, help="of each sample")] = 1,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    out: Out = Path("runs/pictures"),
) -> None:
    """Draw a benchmark's prompts into a folder, as one system of a comparison; resumes where it stopped."""
    from interp.experiments import inputs, setup
    from interp.experiments.draw import draw as draw_folder
    from interp.hub.load import load_neurons

    setup.check_kind(prompts)
    store.check_run_folder(out, "draw")
    neurons = load_neurons(neurons_folder) if neurons_folder else None
    prompted = inputs.benchmark(bench)
    typer.echo(
        draw_folder(
            load_model(model), prompted, out, split, per_culture, prompts, neurons,
            pictures=pictures, seed=seed, steps=steps, guidance=guidance,
        )
    )  # fmt: skip


def measure(
    images: Annotated[str, typer.Option(help="folder of pictures named after samples, or `reference`")],
    bench: Bench = "pocket",
    metrics: Metrics = None,
    split: str = "test",
    real: Annotated[
        Path | None, typer.Option(help="what `--images reference` gave by the same judges: takes their errors out")
    ] = None,
    out: Out = Path("runs/measure"),
) -> None:
    """Measure a folder of pictures by CultureVQA, CLIPScore, ImageReward, LPIPS, diversity; no model of ours needed."""
    from interp.experiments import files
    from interp.metrics.evaluate import measure as measure_folder
    from interp.report.figures import confusion, figure
    from interp.report.pages.sheet import write_sheet
    from interp.types import Matrix

    known = files.read(real) if real else None
    with run_on("measure", out, None, bench) as run:
        names, cache = names_of(metrics), out / "scores.jsonl"
        measured = measure_folder(images, run.bench, names, split, cache=cache, real=known, **device_option())
        write_value(run, measured)
        rows = list(dict.fromkeys(measured.cultures))
        at = [measured.labels.index(culture) for culture in rows]
        answers = [confusion(Matrix(tuple(rows), measured.labels, m[at])) for m in measured.confusion.values()]
        heading = f"{measured.system} on {run.bench.name}"
        typer.echo(write_sheet(out / "measure.html", heading, measured, [figure(measured), *answers]))


def compare(
    systems: Annotated[list[str], typer.Argument(help="NAME=FOLDER of pictures, at least two")],
    bench: Bench = "pocket",
    metrics: Metrics = None,
    split: str = "test",
    reference: Annotated[
        str | None, typer.Option(help="hold the others against this one; the first if not given")
    ] = None,
    out: Out = Path("runs/compare"),
) -> None:
    """Several systems side by side on the same samples, with intervals and paired tests (Table 2, Figure 8)."""
    from interp.experiments.setup import texts
    from interp.grids import Grid
    from interp.metrics.compare import compare as compare_systems
    from interp.metrics.compare import pictures as shared_images
    from interp.metrics.evaluate import measure as measure_folder
    from interp.report.figures import figure
    from interp.report.pages.sheet import write_sheet
    from interp.report.style import save

    folders = folders_of(systems)
    with run_on("compare", out, None, bench) as run:
        kept: dict[str, Any] = {"cache": out / "scores.jsonl", **device_option()}
        measured = [
            measure_folder(folder, run.bench, names_of(metrics), split, name, **kept)
            for name, folder in folders.items()
        ]
        comparison = compare_systems(measured, reference)
        write_value(run, comparison)
        samples, shown = shared_images(folders, run.bench, split)
        title = "The same noun-only prompts, drawn by each system."
        native, english = (texts(samples, kind) for kind in ("noun_only", "noun_only_en"))
        grid = Grid.of(title, shown, native, [s.language for s in samples], english)
        save(figure(grid), out, "pictures")
        heading = f"{len(systems)} systems on {run.bench.name}"
        typer.echo(write_sheet(out / "compare.html", heading, comparison, [figure(comparison)], [grid]))


def publish(
    folder: Annotated[Path, typer.Argument(help="an SAE, a folder of several, neurons or an enhancer")],
    repo: Annotated[str, typer.Argument(help="org/name on the hub")],
    licence: Annotated[str, typer.Option(help="SPDX id, such as Apache-2.0")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="write the folder, upload nothing")] = False,
    out: Annotated[Path | None, typer.Option(help="where a dry run writes")] = None,
    private: bool = False,
    model_name: Annotated[str | None, typer.Option(help="of the model, for an enhancer's card")] = None,
) -> None:
    """Check, describe and upload SAEs, neurons or an enhancer, so that anyone can load them."""
    from interp.hub.publish import publish as publish_value
    from interp.interventions import enhancer
    from interp.latents import neurons, sae

    value: Any
    if (folder / "neurons.json").is_file():
        value = neurons.load(folder)
    elif (folder / enhancer.WEIGHTS).is_file():
        value = enhancer.read(folder)
    else:
        parts = sorted(p.parent for p in folder.glob("*/cfg.json"))
        value = [sae.load(part) for part in parts] or sae.load(folder)
    options = {"dry_run": dry_run, "folder": out, "private": private, "model_name": model_name}
    done = publish_value(value, repo, licence, **options)
    typer.echo(done.url or done.folder)
