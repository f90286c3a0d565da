"""Pictures of a system on disk, and which sample each of them was made for."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from interp import pictures
from interp.errors import InterpError
from interp.pictures import Picture
from interp.schema import SHOWN

KINDS = (".png", ".jpg", ".jpeg", ".webp")


class Pictures(Sequence[Picture]):
    """Files that are opened when they are asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> Picture:  # type: ignore[override]
        return np.asarray(pictures.read(self.files[at]))


def write(folder: Path, sample: str, picture: Picture, number: int | None = None) -> None:
    """A picture of a sample as `<sample>.png`, or `<sample>-<number>.png` if it is one of several."""
    pictures.write(folder / (f"{sample}.png" if number is None else f"{sample}-{number}.png"), picture)


def find(folder: Path, ids: Collection[str]) -> dict[str, list[Path]]:
    """The pictures of each sample, in the order of their numbers.

    A file is a sample's if it is called `<sample>.png`, `<sample>-<number>.png` (also with `_` or `.`) or lies at
    `<sample>/<number>.png`; jpg, jpeg and webp serve as well.

    Raises:
        InterpError: no such folder, a picture that is no sample's, or two pictures of one number; all are named, the
            first 20 and the count.
    """
    if not folder.is_dir():
        raise InterpError(f"no folder of pictures at {folder}")
    found: dict[str, dict[int, Path]] = {}
    wrong = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in KINDS):
        place = _place(path.relative_to(folder), ids)
        if place is None:
            wrong.append(f"{path.relative_to(folder)} is no sample's")
        elif place[1] in found.setdefault(place[0], {}):
            wrong.append(f"{path.relative_to(folder)} and {found[place[0]][place[1]].name} are both picture {place[1]}")
        else:
            found[place[0]][place[1]] = path
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        advice = f"name them <sample>.png or <sample>-<number>.png; a sample is called, for example, {min(ids)}"
        raise InterpError(f"{folder}: {len(wrong)} pictures not understood: {'; '.join(wrong[:SHOWN])}{more}; {advice}")
    if not found:
        raise InterpError(f"{folder} holds no picture ({', '.join(KINDS)})")
    return {name: [own[n] for n in sorted(own)] for name, own in found.items()}


def _place(path: Path, ids: Collection[str]) -> tuple[str, int] | None:
    """(sample, number) of a file; None if it is no sample's."""
    whole = path.with_suffix("").as_posix()
    if whole in ids:
        return whole, 0
    numbered = re.fullmatch(r"(.+)[-_./](\d+)", whole)
    if numbered and numbered[1] in ids:
        return numbered[1], int(numbered[2])
    return None
