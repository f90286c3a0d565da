"""Pictures of a system on disk, and which sample each of them was made for."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from interp.benchmarks import images
from interp.benchmarks.images import Picture
from interp.benchmarks.names import SHOWN, id_problem
from interp.bounds import shown
from interp.errors import InterpError

KINDS = (".png", ".jpg", ".jpeg", ".webp")


class Pictures(Sequence[Picture]):
    """Files that are opened when they are asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> Picture:  # type: ignore[override]
        return np.asarray(images.read(self.files[at]))


def write(folder: Path, sample: str, picture: Picture, number: int | None = None) -> None:
    """A picture of a sample as `<sample>.png`, or `<sample>-<number>.png` if it is one of several.

    Raises:
        InterpError: the sample's name is no id, or a link leads out of the folder.
    """
    if problem := id_problem(sample):
        raise InterpError(f"no picture can be named after sample {shown(sample)}: its id {problem}")
    images.write(place(folder, sample, number), picture, folder)


def place(folder: Path, sample: str, number: int | None = None) -> Path:
    """Where `write` puts a picture."""
    return folder / (f"{sample}.png" if number is None else f"{sample}-{number}.png")


def check_numbers(drawn: Collection[str], ids: Collection[str], count: int) -> None:
    """Refuse to write several pictures of a sample where one of them would be named as another sample's.

    Args:
        drawn: ids of the samples that pictures are made of.
        ids: of all samples that `find` will know.
        count: pictures of each sample.

    Raises:
        InterpError: with the first two samples.
    """
    several = set(drawn) if count > 1 else set()
    for twin in ids:
        sample, _, number = twin.rpartition("-")
        if sample in several and number.isdecimal() and number == str(int(number)) and int(number) < count:
            raise InterpError(
                f"{count} pictures of each sample asked, and {twin}.png would be of {sample!r} and of {twin!r}; "
                "rename one of the two samples, or ask for one picture of each"
            )


def find(folder: Path, ids: Collection[str]) -> dict[str, list[Path]]:
    """The pictures of each sample, in the order of their numbers.

    A file is a sample's if it is called `<sample>.png`, `<sample>-<number>.png` (also with `_` or `.`) or lies at
    `<sample>/<number>.png`; jpg, jpeg and webp serve as well. A file that has the name of a sample is that sample's.

    Raises:
        InterpError: no such folder, a picture that is no sample's, two pictures of one number, or a picture that has
            the name of a sample and belongs to the numbered ones of another; all are named, the first 20 and the count.
    """
    if not folder.is_dir():
        raise InterpError(f"no folder of pictures at {folder}")
    found: dict[str, dict[int, Path]] = {}
    wrong, two = [], {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in KINDS and p.is_file()):
        place, other = _place(path.relative_to(folder), ids), _numbered(path.relative_to(folder), ids)
        if place is not None and other is not None and place != other:
            two[path] = other[0]
        if place is None:
            wrong.append(f"{path.relative_to(folder)} is no sample's")
        elif place[1] in found.setdefault(place[0], {}):
            wrong.append(f"{path.relative_to(folder)} and {found[place[0]][place[1]].name} are both picture {place[1]}")
        else:
            found[place[0]][place[1]] = path
    for path, other in two.items():
        if any(p not in two and _numbered(p.relative_to(folder), ids) for p in found.get(other, {}).values()):
            wrong.append(
                f"{path.relative_to(folder)} may be of sample {other}, whose pictures have numbers, or of its own"
            )
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
    return _numbered(path, ids)


def _numbered(path: Path, ids: Collection[str]) -> tuple[str, int] | None:
    """(sample, number) of a file that is named by both."""
    numbered = re.fullmatch(r"(.+)[-_./](\d+)", path.with_suffix("").as_posix())
    return (numbered[1], int(numbered[2])) if numbered and numbered[1] in ids else None
