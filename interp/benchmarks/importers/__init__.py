"""Published data sets as benchmarks in CultureBench format: what is read, and from where, is in `docs/importers.md`.

Nothing is downloaded and nothing is translated. Start with `run`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from interp.benchmarks.importers import (
    ccub,
    cube,
    cultural_frames,
    cultural_vqa,
    cure,
    datasets,
    folder,
    mosaig,
    tuxpaint,
    world_cuisines,
)
from interp.benchmarks.importers.build import build
from interp.benchmarks.importers.log import Log
from interp.benchmarks.importers.log import Report as Report
from interp.benchmarks.importers.options import Options
from interp.benchmarks.importers.source import Source
from interp.errors import InterpError
from interp.store import check_new

_MODULES = (
    cube, cure, ccub, world_cuisines, cultural_vqa, cultural_frames, mosaig, folder, datasets, tuxpaint,
)  # fmt: skip
SOURCES: Mapping[str, ModuleType] = {module.__name__.rpartition(".")[2]: module for module in _MODULES}
"""Each has its LICENCE as published (None: the user gives it), the COLUMNS it needs, and `read`."""


def run(
    source: str,
    path: str | Path,
    out: str | Path,
    *,
    seed: int,
    name: str | None = None,
    licence: str | None = None,
    labels: str = "default",
    bad: str = "refuse",
    places: Mapping[str, str] | None = None,
    captions: str = "native",
    images: str | Path | None = None,
    side: int | None = None,
    columns: Mapping[str, str] | None = None,
    part: str | None = None,
    annotations: str | Path | None = None,
    longest: int = 60,
    skip: Sequence[str] = ("symbols",),
    svg: bool = False,
) -> Report:
    """Import a published data set as a benchmark; all of it, or nothing.

    Args:
        source: one of `SOURCES`.
        path: its file or folder, as downloaded by the user.
        out: the benchmark's folder, made here.
        seed: of the split; this and the others as the fields of `Options` say.

    Raises:
        InterpError: if the source is unknown, an option is out of bounds, something in the source is wrong (every
            problem is named with its file, row and field, and nothing is written), or too little remains for a
            benchmark.
    """
    if source not in SOURCES:
        raise InterpError(f"unknown source {source!r}; known: {', '.join(SOURCES)}")
    options = Options(
        seed, name, licence, labels, bad, places or {}, captions, None if images is None else Path(images), side,
        columns or {}, part, None if annotations is None else Path(annotations), longest, tuple(skip), svg,
    )  # fmt: skip
    check_new(Path(out))
    if not Path(path).exists():
        raise InterpError(f"{path} does not exist; give the file or folder of the source {source}")
    module = SOURCES[source]
    licence = licence or module.LICENCE
    if licence is None:
        raise InterpError(f"source {source} does not say its licence; give it with the option licence")
    read = Source(Path(path), options, Log())
    return build(module.read(read), source, licence, Path(out), options, read.log)
