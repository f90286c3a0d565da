"""Commands of a whole study: the report, and the paper's tables and figures."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from interp import store
from interp.cli.options import Bench, Metrics, Model, Out, Seed, Size, folders_of, names_of
from interp.cli.runs import load_model
from interp.errors import InterpError


def report(
    model: Model = "pocket",
    bench: Bench = "pocket",
    out: Out = Path("reports/run"),
    size: Size = "sample",
    quick: Annotated[bool, typer.Option("--quick", help="the same as --size quick")] = False,
    seed: Seed = 0,
    judge: Annotated[str | None, typer.Option(help="pocket, qwen3-vl:<folder>, gemini, openai:<model>@<url>")] = None,
    neuron_pages: Annotated[bool, typer.Option(help="also a page for every latent; never with --quick")] = True,
) -> None:
    """The whole method, to one page with figures and a results file; resumes where it stopped."""
    from interp.report import build

    size = "quick" if quick else size
    command = command_line("report", model=model, bench=bench, size=size, seed=seed, judge=judge)
    store.check_run_folder(out, "report")
    study = _study(model, bench, size, judge, seed=seed)
    typer.echo(build.report(study, out, command, neuron_pages and size != "quick"))


def reproduce(
    names: Annotated[list[str] | None, typer.Argument(help="table1 … table6, fig3 … fig19, or all")] = None,
    model: Model = "pocket",
    bench: Bench = "pocket",
    out: Out = Path("reports/paper"),
    size: Size = "sample",
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
    from interp.report.paper.reproduce import asked_for
    from interp.report.paper.reproduce import reproduce as reproduce_paper

    asked_for(names or [])
    store.check_run_folder(out, "reproduce")
    folders = folders_of(systems, 1) if systems else {}
    study = _study(model, bench, size, judge, seed=seed, training=train, also=tuple(names_of(metrics) or ()))
    command = command_line("reproduce", *(names or []), model=model, bench=bench, size=size, seed=seed, judge=judge)
    typer.echo(reproduce_paper(names or [], study, out, command, folders, annotations))


def _study(model: str, bench: str, size: str, judge: str | None, **options: Any) -> Any:
    """A study; an unknown size or judge is refused before a model is loaded."""
    from interp.experiments import inputs
    from interp.experiments.study import Study
    from interp.metrics import registry

    if size not in ("quick", "sample", "full"):
        raise InterpError(f"size {size!r}; known: quick, sample, full")
    if judge is not None:
        registry.check_judge(judge)
    return Study.named(load_model(model), inputs.benchmark(bench), size, judge, **options)


def command_line(command: str, *names: str, **options: Any) -> str:
    """A command with the options that decide its result: where it writes is nobody else's business."""
    typed = [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]
    return shlex.join(["interp", command, *names, *typed])
