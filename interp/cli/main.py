"""`interp <stage>`: thin commands over the public functions; bad input is one line and exit code 2."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.exceptions import TyperException

from interp import bounds, store
from interp.cli import benchmark
from interp.errors import InterpError
from interp.store import one_line
from interp.types import Codes

_placed: dict[str, Any] = {}
"""The options before the command."""
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(benchmark.app, name="bench")

Model = Annotated[str, typer.Option(help="`pocket`, a model folder, a hub id, `pea-diffusion:<folder>`")]
Encoder = Annotated[str, typer.Option(help="which text encoder, as the pipeline names it")]
Bench = Annotated[str, typer.Option(help="`pocket`, or a folder in CultureBench format")]
Out = Annotated[Path, typer.Option(help="folder to write; made if missing")]
NeuronFolder = Annotated[Path, typer.Option("--neurons", help="folder written by `interp neurons`, or published")]
NeuronModel = Annotated[
    str | None, typer.Option("--model", help="the model to measure on; may be left out for neurons of `pocket`")
]
PerCulture = Annotated[int | None, typer.Option(min=1, help="samples a culture; all of the test split if not given")]
MOST = 2**31 - 1
"""The largest seed and the largest count."""
Seed = Annotated[int, typer.Option(min=0, max=MOST, help="of everything random")]
Steps = Annotated[int | None, typer.Option(min=1, max=MOST, help="of the sampler")]


def _known_codes(codes: str) -> str:
    if codes not in get_args(Codes):
        raise InterpError(f"codes {codes!r}; known: {', '.join(get_args(Codes))}")
    return codes


CodesOption = Annotated[str, typer.Option("--codes", help="topk or relu", callback=_known_codes)]
Metrics = Annotated[
    str | None,
    typer.Option(help="with commas, such as culture_vqa:gemini,lpips,clipscore:<folder>; those that ship if not given"),
]
Sets = Annotated[int, typer.Option(min=0, max=1000, help="matched random control sets; 0 for none")]


def _finite(value: float | None) -> float | None:
    if value is not None:
        bounds.finite("guidance", value)
    return value


@app.callback()
def options(
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; chosen from what is there if not given")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16")] = None,
    offload: Annotated[str | None, typer.Option(help="none, model or sequential")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, max=2**15, help="side of the pictures in pixels")] = None,
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
    seed: Seed = 0,
    judge: Annotated[str | None, typer.Option(help="pocket, qwen3-vl:<folder>, gemini, openai:<model>@<url>")] = None,
    neuron_pages: Annotated[bool, typer.Option(help="also a page for every latent; never with --quick")] = True,
) -> None:
    """The whole method, to one page with figures and a results file; resumes where it stopped."""
    from interp.report import build

    chosen = "quick" if quick else size
    said = _said("report", model=model, bench=bench, size=chosen, seed=seed, judge=judge)
    store.check_run_folder(out, "report")
    study = _study(model, bench, chosen, judge, seed=seed)
    typer.echo(build.report(study, out, said, neuron_pages and chosen != "quick"))


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
    seed: Seed = 0,
) -> None:
    """The paper's tables and figures on any model, with its numbers beside ours; resumes where it stopped."""
    from interp.report.paper import reproduce as reproduction

    reproduction.asked_for(names or [])
    store.check_run_folder(out, "reproduce")
    folders = _folders(systems, 1) if systems else {}
    study = _study(model, bench, size, judge, seed=seed, training=train, also=tuple(_names(metrics) or ()))
    said = _said("reproduce", *(names or []), model=model, bench=bench, size=size, seed=seed, judge=judge)
    typer.echo(reproduction.reproduce(names or [], study, out, said, folders, annotations))


@app.command()
def layers(
    model: Model = "pocket", bench: Bench = "pocket", encoder: Encoder = "text_encoder", out: Out = Path("runs/layers")
) -> None:
    """ΔCA and the causal scan of every layer."""
    from interp.activations import find_layers

    with _run("layers", out, model, bench) as run:
        _write(run, find_layers.find_layers(run.model, run.bench, encoder=encoder))


@app.command()
def sae(
    layer: Annotated[list[int], typer.Option(help="layer; repeat for several, trained in one pass")],
    model: Model = "pocket",
    bench: Bench = "pocket",
    site: Annotated[str, typer.Option(help="z or resid")] = "resid",
    encoder: Encoder = "text_encoder",
    steps: Annotated[int, typer.Option(min=1, max=MOST, help="of the training")] = 2000,
    k: Annotated[int, typer.Option(min=1, max=MOST, help="latents that may fire on a token")] = 32,
    seed: Seed = 0,
    out: Out = Path("runs/saes"),
) -> None:
    """Train Top-K SAEs and store them in SAE-Lens files."""
    from interp.experiments import inputs
    from interp.latents import find
    from interp.latents import sae as saes
    from interp.latents.sae_training import SaeSettings
    from interp.types import Site

    if site not in ("z", "resid"):
        raise InterpError(f"site {site!r}; an SAE is trained on z or resid")
    settings = SaeSettings(steps=steps, k=k, seed=seed)
    for number in layer:
        store.check_replaceable(out / saes.folder_name(Site(number, site, encoder)), saes.OWNED)  # type: ignore[arg-type]
    loaded, marks = _load(model), inputs.benchmark(bench)
    made = find.train_sae(loaded, marks, layer, site, encoder, settings, out)  # type: ignore[arg-type]
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
    from interp.experiments import files, inputs
    from interp.latents import find
    from interp.latents import neurons as neuron
    from interp.latents import sae as saes

    store.check_replaceable(out, neuron.OWNED)
    loaded, marks = _load(model), inputs.benchmark(bench)
    begun = files.manifest(_command(), "neurons", loaded, marks)
    found = find.find_neurons(loaded, saes.load(sae_folder), marks)
    neuron.save(found, out, begun.model_copy(update={"sae_digest": found.sae.digest}).finished())
    typer.echo(neuron.to_table(found).to_string(index=False))


@app.command()
def ablate(
    folder: NeuronFolder,
    model: NeuronModel = None,
    out: Out = Path("runs/ablate"),
    per_culture: PerCulture = None,
    random_sets: Sets = 20,
) -> None:
    """Mask the neurons on culture-style prompts."""
    _effect("ablate", folder, model, out, per_culture, random_control=random_sets)


@app.command()
def amplify(
    folder: NeuronFolder,
    strength: float = 6.0,
    codes: CodesOption = "topk",
    model: NeuronModel = None,
    out: Out = Path("runs/amplify"),
    per_culture: PerCulture = None,
    random_sets: Sets = 20,
) -> None:
    """Amplify the neurons by 1 + strength on noun-only prompts."""
    _effect("amplify", folder, model, out, per_culture, strength=strength, codes=codes, random_control=random_sets)


@app.command()
def wake(
    folder: NeuronFolder,
    model: NeuronModel = None,
    out: Out = Path("runs/wake"),
    per_culture: PerCulture = None,
    random_sets: Sets = 20,
) -> None:
    """The recipe's intervention on noun-only prompts."""
    _effect("wake", folder, model, out, per_culture, random_control=random_sets)


@app.command()
def sweep(
    folder: NeuronFolder,
    strength: Annotated[list[float], typer.Option(help="repeat for several")] = [0, 1, 2, 3, 4, 5, 6, 7, 8],  # noqa: B006
    intervention: str = "amplify",
    codes: CodesOption = "topk",
    split: str = "train",
    per_culture: PerCulture = 8,
    model: NeuronModel = None,
    out: Out = Path("runs/sweep"),
) -> None:
    """CultureVQA over strengths."""
    from interp.experiments import run as experiment

    with _run_on("sweep", out, folder, model) as run:
        given = (strength, intervention, codes, split, per_culture)
        _write(run, experiment.sweep(run.neurons, *given, model=run.model))  # type: ignore[arg-type]


@app.command()
def steer(
    folder: NeuronFolder,
    culture: str,
    prompt: Annotated[list[str], typer.Argument(help="prompts to steer")],
    strength: float | None = None,
    model: NeuronModel = None,
    out: Out = Path("runs/steer"),
) -> None:
    """Draw prompts without and with a culture's neurons."""
    from interp.benchmarks import images as pictures
    from interp.experiments import run as experiment

    with _run_on("steer", out, folder, model) as run:
        # an earlier, longer run's would stand beside this one's manifest
        for old in (p for p in out.iterdir() if re.fullmatch(r"\d{2,}-(baseline|steered)\.png", p.name)):
            old.unlink()
        done = experiment.steer(run.neurons, culture, prompt, strength, model=run.model)
        for name, drawn in (("baseline", done.baseline), ("steered", done.steered)):
            for number, picture in enumerate(drawn):
                pictures.write(out / f"{number:02d}-{name}.png", picture)
    typer.echo(out)


@app.command()
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
    guidance: Annotated[float | None, typer.Option(min=0, callback=_finite, help="1 for none")] = None,
    seed: Seed = 0,
    out: Out = Path("runs/pictures"),
) -> None:
    """Draw a benchmark's prompts into a folder, as one system of a comparison; resumes where it stopped."""
    from interp.experiments import draw as drawing
    from interp.experiments import inputs
    from interp.hub import load as workspace

    drawing.check_prompts(prompts)
    store.check_run_folder(out, "draw")
    found = workspace.load_neurons(neurons_folder) if neurons_folder else None
    given = {"prompts": prompts, "neurons": found, "pictures": pictures, "seed": seed, "steps": steps}
    marks = inputs.benchmark(bench)
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
    from interp.experiments import files
    from interp.metrics import evaluate
    from interp.report.figures import confusion, figure
    from interp.report.pages.sheet import write_sheet
    from interp.report.results import Matrix

    known = files.load(real) if real else None
    with _run("measure", out, None, bench) as run:
        names, cache = _names(metrics), out / "scores.jsonl"
        found = evaluate.measure(images, run.bench, names, split, cache=cache, real=known, **_device())
        _write(run, found)
        rows = list(dict.fromkeys(found.cultures))
        at = [found.labels.index(culture) for culture in rows]
        answers = [confusion(Matrix.of(m[at], rows, found.labels)) for m in found.confusion.values()]
        heading = f"{found.system} on {run.bench.name}"
        typer.echo(write_sheet(out / "measure.html", heading, found, [figure(found), *answers]))


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
    from interp.grids import Grid
    from interp.metrics import compare as evaluation
    from interp.metrics import evaluate
    from interp.report.figures import figure
    from interp.report.pages.sheet import write_sheet
    from interp.report.style import save

    folders = _folders(systems)
    with _run("compare", out, None, bench) as run:
        given = {"cache": out / "scores.jsonl", **_device()}
        measured = [
            evaluate.measure(folder, run.bench, _names(metrics), split, name, **given)
            for name, folder in folders.items()
        ]
        found = evaluation.compare(measured, reference)
        _write(run, found)
        samples, shown = evaluation.pictures(folders, run.bench, split)
        title = "The same noun-only prompts, drawn by each system."
        prompts = [[getattr(s, side).noun.text for s in samples] for side in ("native", "english")]
        grid = Grid.of(title, shown, prompts[0], [s.language for s in samples], prompts[1])
        save(figure(grid), out, "pictures")
        heading = f"{len(systems)} systems on {run.bench.name}"
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
    from interp.hub import publish as publishing
    from interp.interventions import enhancer
    from interp.latents import neurons as neuron
    from interp.latents import sae

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
    from interp.cli import doctor as check

    for line in check.lines(model, load, **_placed):
        typer.echo(line)


def _names(metrics: str | None) -> list[str] | None:
    return None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]


def _study(model: str, bench: str, size: str, judge: str | None, **options: Any) -> Any:
    """A study; an unknown size or judge is refused before a model is loaded."""
    from interp.experiments import inputs
    from interp.experiments.study import Study
    from interp.metrics import registry

    if size not in ("quick", "sample", "full"):
        raise InterpError(f"size {size!r}; known: quick, sample, full")
    if judge is not None:
        registry.check_judge(judge)
    return Study.named(_load(model), inputs.benchmark(bench), size, judge, **options)


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
    from interp.experiments import inputs

    return inputs.load(model, **_placed)


def _device() -> dict[str, Any]:
    """Where judges and metrics compute, if it was said."""
    return {"device": _placed.get("device")}


@dataclass(frozen=True)
class _Run:
    """A command while it runs: its folder, and what it works on."""

    out: Path
    model: Any
    bench: Any
    neurons: Any = None


@contextmanager
def _run(stage: str, out: Path, model: str | None, bench: str) -> Iterator[_Run]:
    """The folder of a stage, refused before anything is loaded, and held while it runs."""
    from interp.experiments import files, inputs

    store.check_run_folder(out, stage)
    marks = inputs.benchmark(bench)
    loaded = _load(model) if model is not None else None
    with store.run_folder(out, files.manifest(_command(), stage, loaded, marks)):
        yield _Run(out, loaded, marks)


@contextmanager
def _run_on(stage: str, out: Path, folder: Path, model: str | None) -> Iterator[_Run]:
    """The same for a stage that works on neurons."""
    from interp.experiments import files
    from interp.hub import load as workspace

    store.check_run_folder(out, stage)
    found = workspace.load_neurons(folder)
    loaded = _model_of(found, model)
    with store.run_folder(out, files.manifest(_command(), stage, loaded, neurons=found)):
        yield _Run(out, loaded, None, found)


def _model_of(found: Any, model: str | None) -> Any:
    """The model to measure neurons on: the one named, else theirs if it is the one that ships."""
    from interp.experiments import inputs

    if model is not None:
        return inputs.model_of(found, _load(model))
    named = str(found.settings.get("model"))
    return inputs.model_of(found, _load(named) if named == inputs.SHIPPED_MODEL else None)


def _effect(stage: str, folder: Path, model: str | None, out: Path, per_culture: int | None, **options: Any) -> None:
    from interp.experiments import run as experiment

    with _run_on(stage, out, folder, model) as run:
        measure = getattr(experiment, stage)
        _write(run, measure(run.neurons, per_culture=per_culture, model=run.model, **options))


def _write(run: _Run, value: Any) -> None:
    """value.json and figure; then the table on the screen."""
    from interp.experiments import files
    from interp.report.figures import figure
    from interp.report.style import save

    files.write_json(run.out / files.FILE, value)
    save(figure(value), run.out, "figure")
    typer.echo(repr(value))


def _command() -> str:
    return shlex.join(["interp", *sys.argv[1:]])


def _out_of_memory(error: Exception) -> bool:
    """Of the GPU, of the main memory, or of torch's own allocator there."""
    own = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return own or "not enough memory" in str(error) or "can't allocate memory" in str(error)


def _told(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, OSError) and not isinstance(error, InterpError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    if _out_of_memory(error):
        return f"{one_line(error)}; try a smaller --image-size, --dtype bfloat16 or --offload model"
    return error.format_message() if isinstance(error, TyperException) else str(error)  # type: ignore[attr-defined]


def main() -> None:
    """Entry point: what a user can cause is one line and exit code 2."""
    # its notices of optional packages that the toolkit does not use would stand between the user and the answer
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    alone = sys.argv[1:] in ([], ["bench"])
    try:
        code = app([*sys.argv[1:], *["--help"] * alone], standalone_mode=False)
    except typer.Abort:
        raise SystemExit(130) from None
    except (InterpError, TyperException, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _out_of_memory(error):
            raise
        line = " ".join(_told(error).split())
        typer.echo(f"interp: {line.encode('utf-8', 'backslashreplace').decode()}", err=True)
        raise SystemExit(2) from None
    raise SystemExit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
