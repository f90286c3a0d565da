"""A command while it runs: its folder, what it works on, and what it says at the end."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from interp import store
from interp.session import session


@dataclass(frozen=True)
class Run:
    """A command while it runs: its folder, and what it works on."""

    out: Path
    model: Any
    bench: Any
    neurons: Any = None


@contextmanager
def run_on(stage: str, out: Path, model: str | None, bench: str) -> Iterator[Run]:
    """The folder of a stage, refused before anything is loaded, and held while it runs."""
    from interp.experiments import files, inputs

    store.check_run_folder(out, stage)
    prompted = inputs.benchmark(bench)
    loaded = load_model(model) if model is not None else None
    with store.run_folder(out, files.manifest(typed(), stage, loaded, prompted)):
        yield Run(out, loaded, prompted)


@contextmanager
def run_on_neurons(stage: str, out: Path, folder: Path, model: str | None) -> Iterator[Run]:
    """The same for a stage that works on neurons."""
    from interp.experiments import files
    from interp.hub.load import load_neurons

    store.check_run_folder(out, stage)
    neurons = load_neurons(folder)
    loaded = model_for(neurons, model)
    with store.run_folder(out, files.manifest(typed(), stage, loaded, neurons=neurons)):
        yield Run(out, loaded, None, neurons)


def model_for(neurons: Any, model: str | None) -> Any:
    """The model to measure neurons on: the one named, else theirs if it is the one that ships."""
    from interp.experiments import inputs

    if model is not None:
        return inputs.model_of(neurons, load_model(model))
    named = str(neurons.settings.get("model"))
    return inputs.model_of(neurons, load_model(named) if named == inputs.SHIPPED_MODEL else None)


def load_model(model: str) -> Any:
    """A model where and how the options before the command say."""
    from interp.experiments import inputs

    return inputs.load(model, **session.placed)


def device_option() -> dict[str, Any]:
    """Where judges and metrics compute, if it was said."""
    return {"device": session.placed.get("device")}


def write_value(run: Run, value: Any) -> None:
    """value.json and figure; then the table on the screen."""
    from interp.experiments import files
    from interp.report.figures import figure
    from interp.report.style import save

    files.write_value(run.out, value)
    save(figure(value), run.out, "figure")
    typer.echo(repr(value))


def typed() -> str:
    """The command line."""
    return shlex.join(["interp", *sys.argv[1:]])
