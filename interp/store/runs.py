"""A run's own folder: refused before anything is computed, held while it runs, and never somebody else's."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from interp.errors import InterpError
from interp.store.folders import check_out, locked, orphan
from interp.store.manifests import MANIFEST, Manifest, read_manifest, write_manifest


def check_run_folder(out: Path, stage: str) -> None:
    """Refuse a folder that a run of a stage may not write into.

    It may be missing, empty, or an earlier run's of the same stage, whose manifest says so.

    Raises:
        InterpError: the place cannot be written, or holds other things.
    """
    check_out(out)
    if not out.is_dir():
        return
    there = sorted(p.name for p in out.iterdir() if not orphan(p))
    if there and MANIFEST not in there:
        raise InterpError(
            f"{out} holds {there[0]} and no {MANIFEST} of ours; nothing was written: name a new folder or an empty one"
        )
    if there and (found := read_manifest(out).stage) != stage:
        raise InterpError(
            f"{out} holds the results of {found or 'another stage'}, not of {stage}; nothing was written: name another "
            "folder"
        )


@contextmanager
def run_folder(out: Path, begun: Manifest) -> Iterator[Path]:
    """The folder of a run, held against others; its manifest lies there from the start, and says the time at the end.

    A run that fails before it wrote anything leaves no folder behind.

    Args:
        out: made if missing.
        begun: the run's manifest, with its stage.

    Raises:
        InterpError: as `check_run_folder`, or another run writes there.
    """
    check_run_folder(out, begun.stage)
    made = [p for p in (out, *out.parents) if not p.exists()]
    with locked(out):
        check_run_folder(out, begun.stage)
        empty = not any(out.iterdir())
        try:
            write_manifest(out, begun)
            yield out
        except BaseException:
            if empty and {p.name for p in out.iterdir()} <= {MANIFEST}:
                (out / MANIFEST).unlink(missing_ok=True)
                with suppress(OSError):  # another run has put something there
                    for folder in made:
                        folder.rmdir()
            raise
        write_manifest(out, begun.finished())
