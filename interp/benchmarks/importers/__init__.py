"""Published data sets as benchmarks in CultureBench format: what is read, and from where, is in `docs/importers.md`.

Nothing is downloaded and nothing is translated. Start with `run`.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from interp.benchmarks.importers.drafts import Draft, LeftOut, Log, Options, Report, options
from interp.benchmarks.importers.finish import finish
from interp.errors import InterpError
from interp.store import check_new

SOURCES = (
    "cube",
    "cure",
    "ccub",
    "world_cuisines",
    "cultural_vqa",
    "cultural_frames",
    "mosaig",
    "folder",
    "datasets",
    "tuxpaint",
)
"""Each is a module here with SOURCE (its name in full), LICENCE as published, COLUMNS and `read`."""

__all__ = ["SOURCES", "Draft", "LeftOut", "Log", "Options", "Report", "run"]


def run(source: str, path: str | Path, out: str | Path, **given: Any) -> Report:
    """Import a published data set as a benchmark; all of it, or nothing.

    Args:
        source: one of `SOURCES`.
        path: its file or folder, as downloaded by the user.
        out: the benchmark's folder, made here.
        given: fields of `Options`; the seed is needed.

    Raises:
        InterpError: if the source or an option is unknown, something in the source is wrong (every problem is named
            with its file, row and field, and nothing is written), or too little remains for a benchmark.
    """
    if source not in SOURCES:
        raise InterpError(f"unknown source {source!r}; known: {', '.join(SOURCES)}")
    chosen = options(given)
    check_new(Path(out))
    if not Path(path).exists():
        raise InterpError(f"{path} does not exist; give the file or folder of the source {source}")
    module = import_module(f"{__name__}.{source}")
    licence = chosen.licence or module.LICENCE
    if licence is None:
        raise InterpError(f"source {source} does not say its licence; give it with the option licence")
    log = Log()
    return finish(module.read(Path(path), chosen, log), source, licence, Path(out), chosen, log)
