"""The method's stages as commands: layers, SAEs, neurons, and what they do to images."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from interp import store
from interp.cli.options import (
    MOST,
    Bench,
    CodesOption,
    Encoder,
    Model,
    NeuronFolder,
    NeuronModel,
    Out,
    PerCulture,
    Seed,
    Sets,
)
from interp.cli.runs import load_model, run_on, run_on_neurons, typed, write_value
from interp.errors import InterpError


def layers(
    model: Model = "pocket", bench: Bench = "pocket", encoder: Encoder = "text_encoder", out: Out = Path("runs/layers")
) -> None:
    """ΔCA and the causal scan of every layer."""
    from interp.activations import find_layers

    with run_on("layers", out, model, bench) as run:
        write_value(run, find_layers.find_layers(run.model, run.bench, encoder=encoder))


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
    from interp.latents.sae import OWNED, folder_name
    from interp.latents.sae_training import SaeSettings
    from interp.types import Site

    if site not in ("z", "resid"):
        raise InterpError(f"site {site!r}; an SAE is trained on z or resid")
    settings = SaeSettings(steps=steps, k=k, seed=seed)
    for number in layer:
        store.check_replaceable(out / folder_name(Site(number, site, encoder)), OWNED)  # type: ignore[arg-type]
    loaded, prompted = load_model(model), inputs.benchmark(bench)
    made = find.train_sae(loaded, prompted, layer, site, encoder, settings, out)  # type: ignore[arg-type]
    for trained in made.values():
        typer.echo(trained.ref.path)


def neurons(
    sae_folder: Annotated[Path, typer.Option("--sae", help="an SAE's folder")],
    model: Model = "pocket",
    bench: Bench = "pocket",
    out: Out = Path("runs/neurons"),
) -> None:
    """Find each culture's neurons."""
    from interp.experiments import files, inputs
    from interp.latents import find, sae
    from interp.latents import neurons as neuron_files

    store.check_replaceable(out, neuron_files.OWNED)
    loaded, prompted = load_model(model), inputs.benchmark(bench)
    manifest = files.manifest(typed(), "neurons", loaded, prompted)
    culture_neurons = find.find_neurons(loaded, sae.load(sae_folder), prompted)
    neuron_files.save(
        culture_neurons, out, manifest.model_copy(update={"sae_digest": culture_neurons.sae.digest}).finished()
    )
    typer.echo(neuron_files.to_table(culture_neurons).to_string(index=False))


def ablate(
    folder: NeuronFolder,
    model: NeuronModel = None,
    out: Out = Path("runs/ablate"),
    per_culture: PerCulture = None,
    random_sets: Sets = 20,
) -> None:
    """Mask the neurons on culture-style prompts."""
    _effect("ablate", folder, model, out, per_culture, random_control=random_sets)


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


def wake(
    folder: NeuronFolder,
    model: NeuronModel = None,
    out: Out = Path("runs/wake"),
    per_culture: PerCulture = None,
    random_sets: Sets = 20,
) -> None:
    """The recipe's intervention on noun-only prompts."""
    _effect("wake", folder, model, out, per_culture, random_control=random_sets)


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
    from interp.experiments import run as experiments

    with run_on_neurons("sweep", out, folder, model) as run:
        swept = experiments.sweep(run.neurons, strength, intervention, codes, split, per_culture, model=run.model)  # type: ignore[arg-type]
        write_value(run, swept)


def steer(
    folder: NeuronFolder,
    culture: str,
    prompt: Annotated[list[str], typer.Argument(help="prompts to steer")],
    strength: float | None = None,
    model: NeuronModel = None,
    out: Out = Path("runs/steer"),
) -> None:
    """Draw prompts without and with a culture's neurons."""
    from interp.benchmarks import images
    from interp.experiments import run as experiments

    with run_on_neurons("steer", out, folder, model) as run:
        # an earlier, longer run's would stand beside this one's manifest
        for old in (p for p in out.iterdir() if re.fullmatch(r"\d{2,}-(baseline|steered)\.png", p.name)):
            old.unlink()
        done = experiments.steer(run.neurons, culture, prompt, strength, model=run.model)
        for name, drawn in (("baseline", done.baseline), ("steered", done.steered)):
            for number, image in enumerate(drawn):
                images.write(out / f"{number:02d}-{name}.png", image)
    typer.echo(out)


def _effect(stage: str, folder: Path, model: str | None, out: Path, per_culture: int | None, **options: Any) -> None:
    from interp.experiments import run as experiments

    with run_on_neurons(stage, out, folder, model) as run:
        measure = getattr(experiments, stage)
        write_value(run, measure(run.neurons, per_culture=per_culture, model=run.model, **options))
