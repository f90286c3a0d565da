"""`interp bench …`: make, check and describe benchmarks in CultureBench format."""

from pathlib import Path
from typing import Annotated

import typer

from interp import store
from interp.benchmarks.names import SHOWN
from interp.errors import InterpError

app = typer.Typer(help=__doc__)

Folder = Annotated[str, typer.Argument(help="a folder in CultureBench format, or `pocket`")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="of everything random")]
New = Annotated[Path, typer.Option(help="folder to make; it must not be there yet")]


@app.command()
def validate(folder: Folder) -> None:
    """Name everything that is wrong or odd, pixels and leakage included; exit code 2 if anything is wrong."""
    from interp.benchmarks import reading

    path = reading.load(folder).folder if folder == "pocket" else Path(folder)
    findings = reading.validate(path, progress=True)
    for level in ("error", "warning"):
        if lines := [str(f) for f in findings if f.level == level]:
            more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
            typer.echo("\n  ".join([f"{len(lines)} {level}{'s' * (len(lines) > 1)}", *lines[:SHOWN], *more]))
    if any(f.level == "error" for f in findings):
        raise typer.Exit(2)
    typer.echo(f"{path}: in order")


@app.command()
def stats(folder: Folder, out: Annotated[Path | None, typer.Option(help="write the figure here, too")] = None) -> None:
    """Count samples by culture, split, language and category (Figure 3)."""
    from interp.benchmarks.census import census

    if out is not None:
        store.check_run_folder(out, "census")
    counted = census(folder)
    typer.echo(repr(counted))
    if out is not None:
        from interp.report.style import save

        with store.run_folder(out, store.new_manifest(f"interp bench stats {folder}", stage="census")):
            typer.echo(save(counted.figure(), out, "census")[0])


@app.command()
def split(
    folder: Folder,
    out: New,
    shares: Annotated[str, typer.Option(help="parts of train, test and detection")] = "7:2:1",
    seed: Seed = 0,
) -> None:
    """Split a benchmark anew, stratified by culture, into a folder of its own."""
    from interp.benchmarks.resplit import resplit

    parts = shares.split(":")
    if len(parts) != 3 or not all(p.isdecimal() for p in parts):
        raise InterpError(f"shares {shares!r}; write three numbers of parts, such as 7:2:1")
    train, test, detection = map(int, parts)
    typer.echo(repr(resplit(folder, out, (train, test, detection), seed)))


@app.command()
def card(folder: Folder) -> None:
    """Write the data card, README.md, into a benchmark's folder."""
    from interp.benchmarks.card import data_card, write_data_card

    typer.echo(data_card(folder) if folder == "pocket" else write_data_card(folder))


Pairs = list[str] | None


@app.command("import")
def import_(
    source: Annotated[
        str, typer.Argument(help="cube, cure, ccub, world_cuisines, cultural_vqa, … (docs/importers.md)")
    ],
    path: Annotated[Path, typer.Argument(help="its file or folder, as downloaded")],
    out: New,
    seed: Seed = 0,
    name: Annotated[str | None, typer.Option(help="of the benchmark")] = None,
    licence: Annotated[str | None, typer.Option(help="of the data, where the source does not say")] = None,
    labels: Annotated[str, typer.Option(help="default: the 15 cultures; all: every country is one")] = "default",
    captions: Annotated[str, typer.Option(help="native, or english in both")] = "native",
    images: Annotated[Path | None, typer.Option(help="your pictures, for a source that has none")] = None,
    place: Annotated[Pairs, typer.Option(help="SOURCE'S WORD=CULTURE; repeat for several")] = None,
    column: Annotated[Pairs, typer.Option(help="OUR COLUMN=SOURCE'S; repeat for several")] = None,
    part: Annotated[str | None, typer.Option(help="which split of a data set with several")] = None,
    annotations: Annotated[Path | None, typer.Option(help="CulturalVQA: the file with the answers")] = None,
    side: Annotated[int | None, typer.Option(min=1, max=2**15, help="longest side of the pictures in pixels")] = None,
) -> None:
    """Bring a published data set into CultureBench format; all of it, or nothing. Nothing is downloaded."""
    from interp.benchmarks import importers

    report = importers.run(
        source, path, out, seed=seed, name=name, licence=licence, labels=labels, captions=captions, images=images,
        places=_pairs("place", place), columns=_pairs("column", column), part=part, annotations=annotations, side=side,
    )  # fmt: skip
    typer.echo(str(report))


def _pairs(option: str, texts: Pairs) -> dict[str, str]:
    parts = [text.partition("=") for text in texts or []]
    if wrong := ["".join(p) for p in parts if not (p[0] and p[2])]:
        raise InterpError(f"--{option} {wrong[0]!r}; write A=B")
    return {a: b for a, _, b in parts}


@app.command()
def reliability(
    folder: Folder,
    judge: Annotated[str, typer.Option(help="pocket, qwen3-vl:<folder>, gemini, openai:<model>@<url>")] = "pocket",
    split: str = "test",
    answers: Annotated[Path | None, typer.Option(help="answers of people (docs/annotations.md)")] = None,
    questions: Annotated[Path | None, typer.Option(help="write the questions of the four-image task here")] = None,
    seed: Seed = 0,
) -> None:
    """A judge on real pictures: the four-image and the 16-way task, and its agreement with people (Table 4)."""
    import numpy as np

    from interp.benchmarks import reading
    from interp.metrics import registry
    from interp.metrics.judge_trust import four_image, reliability
    from interp.metrics.judge_trust.annotations import read_annotations

    bench = reading.load(folder)
    samples = bench.samples(split)
    task = four_image.four_image_task(samples, seed)
    if questions is not None:
        four_image.write_questions(questions, task)
    asked = registry.judge(judge, bench.cultures)
    people = read_annotations(answers, samples, asked.labels, task) if answers else ()
    typer.echo(str(reliability.reliability(asked, samples, lambda s: np.asarray(bench.image(s)), task, people)))
