"""Images of a system on disk, and which sample each of them was made for."""

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


def write(folder: Path, sample: str, image: Picture, number: int | None = None) -> None:
    """An image of a sample as `<sample>.png`, or `<sample>-<number>.png` if it is one of several.

    Raises:
        InterpError: the sample's name is no id, or a link leads out of the folder.
    """
    if problem := id_problem(sample):
        raise InterpError(f"no picture can be named after sample {shown(sample)}: its id {problem}")
    images.write(place(folder, sample, number), image, folder)


def place(folder: Path, sample: str, number: int | None = None) -> Path:
    """Where `write` puts an image."""
    return folder / (f"{sample}.png" if number is None else f"{sample}-{number}.png")


def check_numbers(drawn: Collection[str], ids: Collection[str], count: int) -> None:
    """Refuse to write several images of a sample where one of them would be named as another sample's.

    Args:
        drawn: ids of the samples that images are made of.
        ids: of all samples that `find` will know.
        count: images of each sample.

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
    """The images of each sample, in the order of their numbers.

    A file is a sample's if it is called `<sample>.png`, `<sample>-<number>.png` (also with `_` or `.`) or lies at
    `<sample>/<number>.png`; jpg, jpeg and webp serve as well. A file that has the name of a sample is that sample's.

    Raises:
        InterpError: no such folder, a picture that is no sample's, two pictures of one number, or a picture that has
            the name of a sample and belongs to the numbered ones of another; all are named, the first 20 and the count.
    """
    if not folder.is_dir():
        raise InterpError(f"no folder of pictures at {folder}")
    numbered: dict[str, dict[int, Path]] = {}
    wrong: list[str] = []
    twofold: dict[str, str] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in KINDS and p.is_file()):
        name = path.relative_to(folder)
        other = _numbered(name, ids)
        whole = name.with_suffix("").as_posix()
        sample, number = (whole, 0) if whole in ids else other or ("", 0)
        if not sample:
            wrong.append(f"{name} is no sample's")
        elif number in numbered.setdefault(sample, {}):
            wrong.append(f"{name} and {numbered[sample][number].name} are both picture {number}")
        else:
            numbered[sample][number] = path
        if other is not None and whole in ids:
            twofold[str(name)] = other[0]
    for name, other in twofold.items():
        beside = [str(p.relative_to(folder)) for p in numbered.get(other, {}).values()]
        if any(b not in twofold and _numbered(Path(b), ids) for b in beside):
            wrong.append(f"{name} may be of sample {other}, whose pictures have numbers, or of its own")
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        advice = f"name them <sample>.png or <sample>-<number>.png; a sample is called, for example, {min(ids)}"
        raise InterpError(f"{folder}: {len(wrong)} pictures not understood: {'; '.join(wrong[:SHOWN])}{more}; {advice}")
    if not numbered:
        raise InterpError(f"{folder} holds no picture ({', '.join(KINDS)})")
    return {sample: [paths[n] for n in sorted(paths)] for sample, paths in numbered.items()}


def _numbered(path: Path, ids: Collection[str]) -> tuple[str, int] | None:
    """(sample, number) of a file that is named by both."""
    match = re.fullmatch(r"(.+)[-_./](\d+)", path.with_suffix("").as_posix())
    return (match[1], int(match[2])) if match and match[1] in ids else None
