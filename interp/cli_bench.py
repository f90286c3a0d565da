"""`interp bench …`: make, check and describe benchmarks in CultureBench format."""

from pathlib import Path
from typing import Annotated

import typer

from interp.errors import InterpError
from interp.schema import SHOWN

app = typer.Typer(no_args_is_help=True, help=__doc__)

Folder = Annotated[str, typer.Argument(help="a folder in CultureBench format, or `pocket`")]
New = Annotated[Path, typer.Option(help="folder to make; it must not be there yet")]


@app.command()
def validate(folder: Folder) -> None:
    """Name everything that is wrong or odd, pixels and leakage included; exit code 2 if anything is wrong."""
    from interp import benchmarks

    path = benchmarks.load(folder).folder if folder == "pocket" else Path(folder)
    found = benchmarks.validate(path, progress=True)
    for level in ("error", "warning"):
        some = [str(f) for f in found if f.level == level]
        if some:
            typer.echo(f"{len(some)} {level}{'s' * (len(some) > 1)}")
            for line in some[:SHOWN]:
                typer.echo(f"  {line}")
            if len(some) > SHOWN:
                typer.echo(f"  and {len(some) - SHOWN} more")
    if any(f.level == "error" for f in found):
        raise typer.Exit(2)
    typer.echo(f"{path}: in order")


@app.command()
def stats(folder: Folder, out: Annotated[Path | None, typer.Option(help="write the figure here, too")] = None) -> None:
    """Count samples by culture, split, language and category (Figure 3)."""
    from interp import curation

    found = curation.census(folder)
    typer.echo(repr(found))
    if out is not None:
        from interp.report.style import save

        typer.echo(save(found.figure(), out, "census")[0])


@app.command()
def split(
    folder: Folder,
    out: New,
    shares: Annotated[str, typer.Option(help="parts of train, test and detection")] = "7:2:1",
    seed: int = 0,
) -> None:
    """Split a benchmark anew, stratified by culture, into a folder of its own."""
    from interp import curation

    parts = shares.split(":")
    if len(parts) != 3 or not all(p.isdecimal() for p in parts):
        raise InterpError(f"shares {shares!r}; write three numbers of parts, such as 7:2:1")
    train, test, detection = map(int, parts)
    typer.echo(repr(curation.resplit(folder, out, (train, test, detection), seed)))


@app.command()
def card(folder: Folder) -> None:
    """Write the data card, README.md, into a benchmark's folder."""
    from interp import curation

    if folder == "pocket":
        typer.echo(curation.data_card(folder))
    else:
        typer.echo(curation.write_data_card(folder))
