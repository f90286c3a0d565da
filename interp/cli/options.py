"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from interp import bounds
from interp.errors import InterpError
from interp.types import Codes

MOST = 2**31 - 1
"""The largest seed and the largest count."""


def known_codes(codes: str) -> str:
    """Refuse unknown codes."""
    if codes not in get_args(Codes):
        raise InterpError(f"codes {codes!r}; known: {', '.join(get_args(Codes))}")
    return codes


def finite(value: float | None) -> float | None:
    """Refuse what is no number for guidance."""
    if value is not None:
        bounds.finite("guidance", value)
    return value


Model = Annotated[str, typer.Option(help="`pocket`, a model folder, a hub id, `pea-diffusion:<folder>`")]
Encoder = Annotated[str, typer.Option(help="which text encoder, as the pipeline names it")]
Bench = Annotated[str, typer.Option(help="`pocket`, or a folder in CultureBench format")]
Out = Annotated[Path, typer.Option(help="folder to write; made if missing")]
Size = Annotated[str, typer.Option(help="quick, sample or full: how much of the test split")]
NeuronFolder = Annotated[Path, typer.Option("--neurons", help="folder written by `interp neurons`, or published")]
NeuronModel = Annotated[
    str | None, typer.Option("--model", help="the model to measure on; may be left out for neurons of `pocket`")
]
PerCulture = Annotated[int | None, typer.Option(min=1, help="samples per culture; all of the test split if not given")]
Seed = Annotated[int, typer.Option(min=0, max=MOST, help="of everything random")]
Steps = Annotated[int | None, typer.Option(min=1, max=MOST, help="of the sampler")]
CodesOption = Annotated[str, typer.Option("--codes", help="topk or relu", callback=known_codes)]
Guidance = Annotated[float | None, typer.Option(min=0, callback=finite, help="1 for none")]
Metrics = Annotated[
    str | None,
    typer.Option(help="with commas, such as culture_vqa:gemini,lpips,clipscore:<folder>; those that ship if not given"),
]
Sets = Annotated[int, typer.Option(min=0, max=1000, help="matched random control sets; 0 for none")]


def names_of(metrics: str | None) -> list[str] | None:
    """The metrics of an option with commas."""
    return None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]


def folders_of(systems: list[str], least: int = 2) -> dict[str, Path]:
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
