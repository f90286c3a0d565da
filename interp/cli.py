"""`interp <stage>`: thin commands over the public functions; bad input is one line and exit code 2."""

import json
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from interp import cli_bench
from interp.errors import InterpError
from interp.types import Codes

_placed: dict[str, Any] = {}
"""The options before the command."""
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(cli_bench.app, name="bench")

Model = Annotated[str, typer.Option(help="`pocket`, a model folder, a hub id, `pea-diffusion:<folder>`")]
Encoder = Annotated[str, typer.Option(help="which text encoder, as the pipeline names it")]
Bench = Annotated[str, typer.Option(help="`pocket`, or a folder in CultureBench format")]
Out = Annotated[Path, typer.Option(help="folder to write; made if missing")]
NeuronFolder = Annotated[Path, typer.Option("--neurons", help="folder written by `interp neurons`")]
PerCulture = Annotated[int | None, typer.Option(help="samples a culture; all of the test split if not given")]


def _known_codes(codes: str) -> str:
    if codes not in get_args(Codes):
        raise InterpError(f"codes {codes!r}; known: {', '.join(get_args(Codes))}")
    return codes


CodesOption = Annotated[str, typer.Option("--codes", help="topk or relu", callback=_known_codes)]
Metrics = Annotated[
    str | None,
    typer.Option(help="with commas, such as culture_vqa:gemini,lpips,clipscore:<folder>; those that ship if not given"),
]
Sets = Annotated[int, typer.Option(help="matched random control sets; 0 for none")]


@app.callback()
def options(
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; chosen from what is there if not given")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16")] = None,
    offload: Annotated[str | None, typer.Option(help="none, model or sequential")] = None,
    image_size: Annotated[int | None, typer.Option(help="side of the pictures in pixels")] = None,
) -> None:
    """Where a model is loaded, and how; before the command: `interp --device cuda report …`."""
    _placed.update(device=device, dtype=dtype, offload=offload, size=image_size)


@app.command()
def report(
    model: Model = "pocket",
    bench: Bench = "pocket",
    out: Out = Path("reports/run"),
    size: Annotated[str, typer.Option(help="quick, sample or full: how much of the test split")] = "sample",
    quick: Annotated[bool, typer.Option("--quick", help="the same as --size quick")] = False,
    seed: int = 0,
    judge: Annotated[str | None, typer.Option(help="pocket, qwen3-vl:<folder>, gemini, openai:<model>@<url>")] = None,
    neuron_pages: Annotated[bool, typer.Option(help="also a page for every latent; never with --quick")] = True,
) -> None:
    """The whole method, to one page with figures and a results file; resumes where it stopped."""
    from interp import reporting

    chosen = "quick" if quick else size
    said = _said("report", model=model, bench=bench, size=chosen, seed=seed, judge=judge)
    typer.echo(
        reporting.report(_study(model, bench, chosen, judge, seed=seed), out, said, neuron_pages and chosen != "quick")
    )


@app.command()
def reproduce(
    names: Annotated[list[str] | None, typer.Argument(help="table1 … table6, fig3 … fig19, or all")] = None,
    model: Model = "pocket",
    bench: Bench = "pocket",
    out: Out = Path("reports/paper"),
    size: Annotated[str, typer.Option(help="quick, sample or full: how much of the test split")] = "sample",
    judge: Annotated[
        str | None, typer.Option(help="as in report; the one that ships for the benchmark if none")
    ] = None,
    metrics: Metrics = None,
    systems: Annotated[
        list[str] | None, typer.Option("--system", help="NAME=FOLDER: another model's pictures, as `interp draw` makes")
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help="people's answers, for Table 4")] = None,
    train: Annotated[bool, typer.Option(help="train an enhancer and its controls where none ships")] = False,
    seed: int = 0,
) -> None:
    """The paper's tables and figures on any model, with its numbers beside ours; resumes where it stopped."""
    from interp import reproduction

    reproduction.asked_for(names or [])
    folders = _folders(systems, 1) if systems else {}
    study = _study(model, bench, size, judge, seed=seed, training=train, also=tuple(_names(metrics) or ()))
    said = _said("reproduce", *(names or []), model=model, bench=bench, size=size, seed=seed, judge=judge)
    typer.echo(reproduction.reproduce(names or [], study, out, said, folders, annotations))


@app.command()
def layers(
    model: Model = "pocket", bench: Bench = "pocket", encoder: Encoder = "text_encoder", out: Out = Path("runs/layers")
) -> None:
    """ΔCA and the causal scan of every layer."""
    from interp import discovery, values, workspace

    loaded, marks = _load(model), workspace.benchmark(bench)
    found = discovery.find_layers(loaded, marks, encoder=encoder)
    _write(found, out, values.manifest(_command(), loaded, marks))


@app.command()
def sae(
    layer: Annotated[list[int], typer.Option(help="layer; repeat for several, trained in one pass")],
    model: Model = "pocket",
    bench: Bench = "pocket",
    site: Annotated[str, typer.Option(help="z or resid")] = "resid",
    encoder: Encoder = "text_encoder",
    steps: int = 2000,
    k: int = 32,
    seed: int = 0,
    out: Out = Path("runs/saes"),
) -> None:
    """Train Top-K SAEs and store them in SAE-Lens files."""
    from interp import discovery, workspace
    from interp.sae import SaeSettings

    if site not in ("z", "resid"):
        raise InterpError(f"site {site!r}; an SAE is trained on z or resid")
    loaded, marks = _load(model), workspace.benchmark(bench)
    settings = SaeSettings(steps=steps, k=k, seed=seed)
    made = discovery.train_sae(loaded, marks, layer, site, encoder, settings, out)  # type: ignore[arg-type]
    for trained in made.values():
        typer.echo(trained.ref.path)


@app.command()
def neurons(
    sae_folder: Annotated[Path, typer.Option("--sae", help="an SAE's folder")],
    model: Model = "pocket",
    bench: Bench = "pocket",
    out: Out = Path("runs/neurons"),
) -> None:
    """Find each culture's neurons."""
    from interp import discovery, values, workspace
    from interp import neurons as neuron
    from interp import sae as saes

    loaded, marks = _load(model), workspace.benchmark(bench)
    found = discovery.find_neurons(loaded, saes.load(sae_folder), marks)
    neuron.save(found, out)
    values.write_manifest(out, values.manifest(_command(), loaded, marks))
    typer.echo(neuron.to_table(found).to_string(index=False))


@app.command()
def ablate(
    folder: NeuronFolder, out: Out = Path("runs/ablate"), per_culture: PerCulture = None, random_sets: Sets = 20
) -> None:
    """Mask the neurons on culture-style prompts."""
    _effect("ablate", folder, out, per_culture, random_control=random_sets)


@app.command()
def amplify(
    folder: NeuronFolder,
    strength: float = 6.0,
    codes: CodesOption = "topk",
    out: Out = Path("runs/amplify"),
    per_culture: PerCulture = None,
    random_sets: Sets = 20,
) -> None:
    """Amplify the neurons by 1 + strength on noun-only prompts."""
    _effect("amplify", folder, out, per_culture, strength=strength, codes=codes, random_control=random_sets)


@app.command()
def wake(
    folder: NeuronFolder, out: Out = Path("runs/wake"), per_culture: PerCulture = None, random_sets: Sets = 20
) -> None:
    """The recipe's intervention on noun-only prompts."""
    _effect("wake", folder, out, per_culture, random_control=random_sets)


@app.command()
def sweep(
    folder: NeuronFolder,
    strength: Annotated[list[float], typer.Option(help="repeat for several")] = [0, 1, 2, 3, 4, 5, 6, 7, 8],  # noqa: B006
    intervention: str = "amplify",
    codes: CodesOption = "topk",
    split: str = "train",
    per_culture: PerCulture = 8,
    out: Out = Path("runs/sweep"),
) -> None:
    """CultureVQA over strengths."""
    from interp import experiment, values
    from interp import neurons as neuron

    found = neuron.load(folder)
    model = _load(str(found.settings["model"]))
    swept = experiment.sweep(found, strength, intervention, codes, split, per_culture, model=model)  # type: ignore[arg-type]
    values.write_json(out / "sweep.json", swept)
    typer.echo(json.dumps(asdict(swept), indent=1))


@app.command()
def steer(
    folder: NeuronFolder,
    culture: str,
    prompt: Annotated[list[str], typer.Argument(help="prompts to steer")],
    strength: float | None = None,
    out: Out = Path("runs/steer"),
) -> None:
    """Draw prompts without and with a culture's neurons."""
    from PIL import Image

    from interp import experiment
    from interp import neurons as neuron

    found = neuron.load(folder)
    done = experiment.steer(found, culture, prompt, strength, model=_load(str(found.settings["model"])))
    out.mkdir(parents=True, exist_ok=True)
    for name, pictures in (("baseline", done.baseline), (culture.lower(), done.steered)):
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(out / f"{number:02d}-{name}.png")
    typer.echo(out)


@app.command()
def draw(
    model: Model = "pocket",
    bench: Bench = "pocket",
    prompts: Annotated[str, typer.Option(help="noun, cult, noun_en or cult_en")] = "noun",
    split: str = "test",
    per_culture: PerCulture = None,
    neurons_folder: Annotated[Path | None, typer.Option("--neurons", help="drive these by the model's recipe")] = None,
    pictures: Annotated[int, typer.Option(help="of each sample")] = 1,
    steps: Annotated[int | None, typer.Option(help="of the sampler")] = None,
    guidance: Annotated[float | None, typer.Option(help="1 for none")] = None,
    seed: int = 0,
    out: Out = Path("runs/pictures"),
) -> None:
    """Draw a benchmark's prompts into a folder, as one system of a comparison; resumes where it stopped."""
    from interp import drawing, workspace
    from interp import neurons as neuron

    drawing.check_prompts(prompts)
    found = neuron.load(neurons_folder) if neurons_folder else None
    given = {"prompts": prompts, "neurons": found, "pictures": pictures, "seed": seed, "steps": steps}
    marks = workspace.benchmark(bench)
    typer.echo(drawing.draw(_load(model), marks, out, split, per_culture, guidance=guidance, **given))


@app.command()
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
    from interp import benchmarks, evaluation, store, values
    from interp.report.figures import confusion, figure
    from interp.report.results import Matrix
    from interp.report.sheet import write_sheet

    marks = benchmarks.load(bench)
    known = values.load(real) if real else None
    found = evaluation.measure(images, marks, _names(metrics), split, cache=out / "scores.jsonl", real=known)
    _write(found, out, store.new_manifest(_command(), benchmark_digest=marks.digest))
    rows = list(dict.fromkeys(found.cultures))
    at = [found.labels.index(culture) for culture in rows]
    answers = [confusion(Matrix.of(m[at], rows, found.labels)) for m in found.confusion.values()]
    typer.echo(write_sheet(out / "measure.html", f"{found.system} on {marks.name}", found, [figure(found), *answers]))


@app.command()
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
    from interp import benchmarks, evaluation, store
    from interp.report.figures import figure
    from interp.report.grids import Grid
    from interp.report.sheet import write_sheet
    from interp.report.style import save

    marks = benchmarks.load(bench)
    folders = _folders(systems)
    measured = [
        evaluation.measure(folder, marks, _names(metrics), split, name, cache=out / "scores.jsonl")
        for name, folder in folders.items()
    ]
    found = evaluation.compare(measured, reference)
    _write(found, out, store.new_manifest(_command(), benchmark_digest=marks.digest))
    samples, shown = evaluation.pictures(folders, marks, split)
    title = "The same noun-only prompts, drawn by each system."
    prompts = [[getattr(s, side).noun.text for s in samples] for side in ("native", "english")]
    grid = Grid.of(title, shown, prompts[0], [s.language for s in samples], prompts[1])
    save(figure(grid), out, "pictures")
    heading = f"{len(systems)} systems on {marks.name}"
    typer.echo(write_sheet(out / "compare.html", heading, found, [figure(found)], [grid]))


@app.command()
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
    from interp import enhancer, publishing, sae
    from interp import neurons as neuron

    found: Any
    if (folder / "neurons.json").is_file():
        found = neuron.load(folder)
    elif (folder / enhancer.WEIGHTS).is_file():
        found = enhancer.read(folder)
    else:
        parts = sorted(p.parent for p in folder.glob("*/cfg.json"))
        found = [sae.load(part) for part in parts] or sae.load(folder)
    options = {"dry_run": dry_run, "folder": out, "private": private, "model_name": model_name}
    done = publishing.publish(found, repo, licence, **options)
    typer.echo(done.url or done.folder)


@app.command()
def doctor(
    model: Annotated[str | None, typer.Argument(help="a model to estimate, load and certify")] = None,
    load: Annotated[bool, typer.Option(help="load it; else the estimate alone")] = True,
) -> None:
    """Versions, device, what can be loaded; with a model, what it will need, then its certificate."""
    from interp import doctor as check

    for line in check.lines(model, load, **_placed):
        typer.echo(line)


def _names(metrics: str | None) -> list[str] | None:
    return None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]


def _study(model: str, bench: str, size: str, judge: str | None, **options: Any) -> Any:
    """A study; an unknown size or judge is refused before a model is loaded."""
    from interp import workspace
    from interp.metrics import registry
    from interp.study import Study

    if size not in ("quick", "sample", "full"):
        raise InterpError(f"size {size!r}; known: quick, sample, full")
    if judge is not None:
        registry.check_judge(judge)
    return Study.named(_load(model), workspace.benchmark(bench), size, judge, **options)


def _said(command: str, *names: str, **options: Any) -> str:
    """A command with the options that decide its result: where it writes is nobody else's business."""
    given = [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]
    return shlex.join(["interp", command, *names, *given])


def _folders(systems: list[str], least: int = 2) -> dict[str, Path]:
    """NAME=FOLDER, in order."""
    parts = [system.partition("=") for system in systems]
    if wrong := [system for system, (name, _, folder) in zip(systems, parts, strict=True) if not name or not folder]:
        raise InterpError(f"system {wrong[0]!r}; write NAME=FOLDER, such as ours=runs/pictures")
    named = {name: Path(folder) for name, _, folder in parts}
    if len(systems) < least or len(named) < len(systems):
        raise InterpError(
            f"systems asked: {', '.join(systems)}; give at least {('one', 'two')[least - 1]}, each with its own name"
        )
    return named


def _load(model: str) -> Any:
    from interp import workspace

    return workspace.load(model, **_placed)


def _effect(name: str, folder: Path, out: Path, per_culture: int | None, **options: Any) -> None:
    from interp import experiment, values
    from interp import neurons as neuron

    found = neuron.load(folder)
    model = _load(str(found.settings["model"]))
    effect = getattr(experiment, name)(found, per_culture=per_culture, model=model, **options)
    _write(effect, out, values.manifest_of(_command(), found))


def _write(value: Any, out: Path, manifest: Any) -> None:
    """value.json, figure and manifest; then the table on the screen."""
    from interp import values
    from interp.report.figures import figure
    from interp.report.style import save

    values.save(value, out, manifest)
    save(figure(value), out, "figure")
    typer.echo(repr(value))


def _command() -> str:
    return " ".join(["interp", *sys.argv[1:]])


def main() -> None:
    """Entry point."""
    # its notices of optional packages that the toolkit does not use would stand between the user and the answer
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        app()
    except InterpError as error:
        typer.echo(f"interp: {' '.join(str(error).split())}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
