"""Which samples go where: the split of a benchmark, what crosses it, and small subsets of it.

What each split serves: layers and neurons are selected on `detection`; SAEs and enhancers are trained and strengths
tuned on `train`; effects are measured on `test`; `cross_domain` holds nouns that are in no other split, for what
carries over to them.

Every order here comes from hashes of seed and names, so it does not depend on the order of the rows or on a library.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from interp import bounds
from interp.benchmarks.checks import Finding
from interp.benchmarks.images import Looks, near_pairs
from interp.benchmarks.schema import SPLITS
from interp.bounds import shown
from interp.errors import InterpError
from interp.grouping import group
from interp.types import Sample

DETECTION, TRAIN, TEST, HELD_OUT = "detection", "train", "test", "cross_domain"
LARGEST_SHARE = 1_000_000
LARGEST_SEED = 2**64 - 1


def refuse_test(split: str) -> None:
    """Refuse to select anything on the samples that effects are measured on."""
    if split == TEST:
        raise InterpError("selection may not see the test split; use 'detection' (or 'train')")


def check_seed(seed: object) -> None:
    """Refuse what is no seed of a split: it is hashed in decimals, and stands in `benchmark.json`.

    Raises:
        InterpError: it is no whole number from 0 to `LARGEST_SEED`.
    """
    bounds.seed(seed, most=LARGEST_SEED)


def split(
    rows: Sequence[Mapping[str, Any]], shares: tuple[int, int, int] = (7, 2, 1), *, seed: int
) -> list[dict[str, Any]]:
    """The rows with their `split` set to train, test or detection.

    Every culture is split by itself, whole categories at a time, so that no category × culture pair crosses splits.
    Each split gets one category, then each category goes where most samples are lacking.

    Args:
        rows: with at least culture and category.
        shares: of train, test and detection.
        seed: the same seed splits the same rows alike, in whatever order they come.

    Raises:
        InterpError: if a share or the seed is out of bounds, a row lacks a field, or a culture has fewer than three
            categories.
    """
    check_seed(seed)
    if not all(isinstance(share, int) and 0 < share <= LARGEST_SHARE for share in shares):
        raise InterpError(f"shares {shown(shares)}: each must be a positive number of parts, {LARGEST_SHARE:,} at most")
    for number, row in enumerate(rows, 1):
        if missing := [f for f in ("culture", "category") if f not in row]:
            raise InterpError(f"row {number}: field {missing[0]} is missing, which the split goes by")
    names: dict[tuple[str, str], str] = {}
    for culture, members in group(rows, lambda r: r["culture"]).items():
        sizes = Counter(r["category"] for r in members)
        if len(sizes) < len(shares):
            raise InterpError(
                f"culture {culture} has {len(sizes)} categories; three splits need three; merge or add some"
            )
        order = sorted(sizes, key=lambda category: rank(seed, culture, category))
        lacking = [len(members) * share / sum(shares) for share in shares]
        for turn, category in enumerate(order):
            to = turn if turn < len(shares) else lacking.index(max(lacking))
            lacking[to] -= sizes[category]
            names[culture, category] = SPLITS[to]
    return [{**r, "split": names[r["culture"], r["category"]]} for r in rows]


def rank(seed: int, *key: str) -> str:
    """A position in an order that depends on the seed and the key alone, not on the order of what is ordered."""
    return hashlib.sha256("\0".join([str(seed), *key]).encode()).hexdigest()


def in_rounds(samples: Iterable[Sample], seed: int) -> list[Sample]:
    """Samples of one culture, the first of each category, then the second of each, and so on."""
    placed: list[tuple[int, str, Sample]] = []
    for category, members in group(samples, lambda s: s.category).items():
        order = sorted(members, key=lambda s: rank(seed, s.id))
        placed += [(turn, rank(seed, s.culture, category), s) for turn, s in enumerate(order)]
    return [s for _, _, s in sorted(placed, key=lambda p: p[:2])]


def leaks(samples: Sequence[Sample], pixels: Mapping[str, str], file: str) -> list[Finding]:
    """What two splits share: a picture, a category × culture pair, or a culture-style caption.

    Args:
        samples: in the table's order.
        pixels: path of a picture → digest of its pixels.
        file: named in the findings.
    """
    first: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    findings: list[Finding] = []
    for number, sample in enumerate(samples, 1):
        shared = {
            "image": (pixels.get(sample.image, sample.image),),
            "category": (sample.culture, sample.category),
            "culture_style": (sample.native.culture_style.text,),
        }
        for field, key in shared.items():
            id_by_split = first[field, *key]
            if id_by_split and sample.split not in id_by_split:
                others = ", ".join(f"{name} of {split}" for split, name in id_by_split.items())
                message = f"{sample.id} of {sample.split} shares it with {others}"
                findings.append(Finding(file, number, field, message))
            id_by_split.setdefault(sample.split, sample.id)
    return findings


def near_leaks(
    samples: Sequence[Sample], looks: Mapping[str, Looks], pixels: Mapping[str, str], file: str
) -> list[Finding]:
    """Pictures of two splits that look the same without being the same (those are in `leaks`).

    Args:
        samples: in the table's order.
        looks: path of a picture → what it looks like.
        pixels: path of a picture → digest of its pixels.
        file: named in the findings.
    """
    first = {s.image: (number, s) for number, s in reversed(list(enumerate(samples, 1)))}
    names = list(looks)
    findings: list[Finding] = []
    for i, j in near_pairs(list(looks.values())):
        (_, one), (number, other) = sorted((first[names[i]], first[names[j]]), key=lambda numbered: numbered[0])
        if one.split != other.split and pixels[one.image] != pixels[other.image]:
            message = f"{other.id} of {other.split} looks the same as {one.id} of {one.split}"
            findings.append(Finding(file, number, "image", message))
    return findings
