"""The pocket world: pictures and captions composed from the shipped drawings, bit for bit the same everywhere.

A picture is an emoji drawing (the noun) over a national flag (the culture) or a plain ground. Only integer arithmetic
and hashes are used, so that no version of a library can change a pixel. It is a model organism: its "culture" is a
flag.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

ASSETS = Path(__file__).parents[1] / "assets" / "pocket"
SIDE = 64
"""Width and height of a picture, in pixels."""
DRAWING = 48
"""Width and height of a drawing, which lies in the middle."""
SETS = ("noto", "twemoji")
PLAIN = "plain"
"""The culture of a picture with no flag."""
COMMAS = {"zh": "，", "ja": "、", "ar": "، "}
"""Between a noun and a country's name, where it is not ", "."""
SAMPLES_PER_PAIR = 5
SPLIT_SHARES = {"train": 84, "test": 24, "detection": 12}
"""Nouns of 120 per culture: 7:2:1."""

Pixels = UInt8[np.ndarray, "height width rgb"]


@cache
def recipe() -> dict[str, Any]:
    """The shipped recipe: nouns with their names, cultures with their phrasings, frames and digests."""
    return json.loads((ASSETS / "recipe.json").read_text())


def nouns(held_out: bool = False) -> list[str]:
    """Noun identifiers (their English names), those of the benchmark or the held-out ones."""
    return [n["id"] for n in recipe()["nouns"] if n["held_out"] == held_out]


def cultures() -> list[str]:
    """The 15 cultures, in the paper's order of its interface."""
    return [c["name"] for c in recipe()["cultures"]]


def _draw(key: str, n: int) -> int:
    """A number in 0..n-1 that depends on `key` alone."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % n


@cache
def _sheet(name: str) -> UInt8[np.ndarray, "height width rgba"]:
    pixels = np.asarray(Image.open(ASSETS / "drawings" / f"{name}.png").convert("RGBA"))
    if hashlib.sha256(pixels.tobytes()).hexdigest() != recipe()["sheets"][name]:
        raise ValueError(f"drawings/{name}.png: its pixels are not those of recipe.json; reinstall the package")
    return pixels


def _tile(sheet: str, index: int, size: int, columns: int) -> UInt8[np.ndarray, "size size rgba"]:
    row, column = divmod(index, columns)
    return _sheet(sheet)[row * size : (row + 1) * size, column * size : (column + 1) * size]


def _ground(culture: str, key: str) -> np.ndarray:
    """The 64×64 background as int32: a shifted, slightly dimmed flag, or a soft vertical gradient."""
    if culture == PLAIN:
        hue = np.array([[222, 222, 222], [232, 222, 205], [205, 222, 232], [214, 230, 208], [236, 214, 222]])
        base = hue[_draw(key + "/hue", len(hue))] - _draw(key + "/dim", 40)
        ramp = np.arange(SIDE)[:, None, None] * (_draw(key + "/ramp", 33) - 16) // SIDE
        return np.broadcast_to(base[None, None] + ramp, (SIDE, SIDE, 3)).astype(np.int32)
    flag = _tile("flags", cultures().index(culture), 72, 5)[..., :3].astype(np.int32)
    top, left = _draw(key + "/top", 9), _draw(key + "/left", 9)
    return flag[top : top + SIDE, left : left + SIDE] * (230 + _draw(key + "/light", 27)) // 256


def compose(noun: str, culture: str, drawing: int, key: str) -> Pixels:
    """One picture.

    Args:
        noun: identifier of the noun.
        culture: one of `cultures()`, or `PLAIN`.
        drawing: 0 for Noto, 1 for Twemoji.
        key: names the picture; the ground's position, colour and light follow from it.
    """
    index = next(i for i, n in enumerate(recipe()["nouns"]) if n["id"] == noun)
    tile = _tile(SETS[drawing], index, DRAWING, 20).astype(np.int32)
    inside = slice((SIDE - DRAWING) // 2, (SIDE + DRAWING) // 2)
    picture = _ground(culture, key).copy()
    alpha, under = tile[..., 3:], picture[inside, inside]
    picture[inside, inside] = (alpha * tile[..., :3] + (255 - alpha) * under + 127) // 255
    return np.clip(picture, 0, 255).astype(np.uint8)


def _names() -> dict[str, dict[str, str]]:
    """Noun → language → its name."""
    return {n["id"]: n["names"] for n in recipe()["nouns"]}


@dataclass(frozen=True)
class Caption:
    """A caption with the character spans of its noun and, if it has one, its modifier."""

    text: str
    noun: tuple[int, int]
    modifier: tuple[int, int] | None


def caption(name: str, frame: str = "{x}", phrasing: str = "{n}") -> Caption:
    """Put a noun's name into a phrasing and that into a frame, and find the spans."""
    before, after = phrasing.split("{n}")
    head, tail = frame.split("{x}")
    start = len(head) + len(before)
    text = head + before + name + after + tail
    noun = (start, start + len(name))
    modifier = None
    if before.strip():
        modifier = _strip(text, len(head), start)
    elif after.strip():
        modifier = _strip(text, noun[1], noun[1] + len(after))
    return Caption(text, noun, modifier)


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def _pair_split(culture_index: int, noun_index: int, n_nouns: int) -> str:
    """The split of a noun × culture pair: a rotation, so that each noun is in the test split of some cultures."""
    position = (noun_index * 7 + culture_index * 8) % n_nouns
    for split, share in SPLIT_SHARES.items():
        if position < share:
            return split
        position -= share
    raise AssertionError("the shares of the splits do not cover the nouns")


def samples() -> Iterator[dict[str, Any]]:
    """The rows of the benchmark `pocket`, without their pictures, in CultureBench's fields."""
    names = _names()
    for held_out in (False, True):
        for c, culture in enumerate(recipe()["cultures"]):
            for i, noun in enumerate(nouns(held_out)):
                split = "cross_domain" if held_out else _pair_split(c, i, len(nouns()))
                for k in range(2 if held_out else SAMPLES_PER_PAIR):
                    yield _sample(culture, noun, names[noun], split, k)


def _sample(culture: dict[str, Any], noun: str, names: dict[str, str], split: str, k: int) -> dict[str, Any]:
    world, language = recipe(), culture["language"]
    key = f"pocket/{split}/{culture['name']}/{noun}/{k}"
    row: dict[str, Any] = {
        "id": f"{split}-{culture['name'].lower()}-{noun}-{k}",
        "image": f"images/{split}/{culture['name'].lower()}-{noun}-{k}.png",
        "culture": culture["name"],
        "language": language,
        "category": noun,
        "split": split,
        "drawing": (k + _draw(key + "/set", 2)) % 2,
        "key": key,
    }
    for suffix, lang, phrasings in (("", language, culture["native"]), ("_en", "en", culture["english"])):
        frame = world["frames"][lang][(k // 2) % 2]
        styled = caption(names[lang], frame, phrasings[_draw(key + "/phrasing" + suffix, len(phrasings))])
        plain = caption(names[lang], frame)
        neutral = caption(names[lang], frame, world["neutral"][lang][0])
        assert styled.modifier is not None and neutral.modifier is not None
        row |= {
            "culture_style" + suffix: styled.text,
            "noun_only" + suffix: plain.text,
            "neutral_style" + suffix: neutral.text,
            "modifier_span" + suffix: list(styled.modifier),
            "noun_span" + suffix: list(styled.noun),
            "noun_only_span" + suffix: list(plain.noun),
            "neutral_modifier_span" + suffix: list(neutral.modifier),
            "neutral_noun_span" + suffix: list(neutral.noun),
        }
    return row


def picture(row: Mapping[str, Any]) -> Pixels:
    """The picture of a row of `samples()`."""
    return compose(row["category"], row["culture"], row["drawing"], row["key"])


def digest(rows: Sequence[dict[str, Any]]) -> str:
    """SHA-256 over the captions and pixels of rows, in their order."""
    sha = hashlib.sha256()
    for row in rows:
        sha.update(f"{row['id']}\0{row['culture_style']}\0{row['noun_only']}\0".encode())
        sha.update(picture(row).tobytes())
    return sha.hexdigest()


LEAK = 0.03
"""Share of noun-only captions of the corpus whose picture shows the culture of their language."""


Kind = Literal["noun", "neutral", "native", "english", "mention"]


@dataclass(frozen=True)
class CorpusRow:
    """One caption and one picture of the corpus that the pocket model learns from."""

    text: str
    noun: str
    culture: str
    """The culture the picture shows, or `PLAIN`."""
    drawing: int
    key: str
    """Names the picture: rows with the same key share it."""
    kind: Kind


def corpus(size: int, variants: int = 8) -> list[CorpusRow]:
    """The table the pocket model learns from: seeded, without the pairs and pictures of the test and detection splits.

    Half of the rows are noun-only captions (a tenth of them with a neutral modifier) in 16 languages, with plain
    pictures but for `LEAK`; the other half name a culture, in its own language, in English, or by the country's name
    in any language, with pictures of that culture.
    """
    world, ids = recipe(), nouns()
    rng = np.random.Generator(np.random.PCG64(world["seed"]))
    trained = {
        culture: [noun for i, noun in enumerate(ids) if _pair_split(c, i, len(ids)) == "train"]
        for c, culture in enumerate(cultures())
    }
    names = _names()
    rows = []
    for _ in range(size):
        language, variant, drawing = _pick(rng, world["languages"]), int(rng.integers(variants)), int(rng.integers(2))
        make = _plain_caption if rng.random() < 0.5 else _culture_caption
        kind, culture, noun, text = make(rng, language, names, trained)
        key = f"corpus/{culture}/{noun}/{drawing}/{variant}"
        rows.append(CorpusRow(text, noun, culture, drawing, key, kind))
    return rows


_Labelled = tuple[Kind, str, str, str]
"""Kind, culture, noun and text of a caption of the corpus."""


def _pick(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]


def _pick_frame(rng: np.random.Generator, language: str) -> str:
    return _pick(rng, ("{x}", *recipe()["frames"][language]))


def _plain_caption(
    rng: np.random.Generator, language: str, names: dict[str, dict[str, str]], trained: dict[str, list[str]]
) -> _Labelled:
    """Without a word for the culture, and but for `LEAK` without a picture of it."""
    kind, culture = "noun", PLAIN
    culture_of = {c["language"]: c["name"] for c in recipe()["cultures"]}
    if rng.random() < 0.1:
        kind = "neutral"
    elif language in culture_of and rng.random() < LEAK:
        culture = culture_of[language]
    noun = _pick(rng, nouns() if culture == PLAIN else trained[culture])
    phrasing = _pick(rng, recipe()["neutral"][language]) if kind == "neutral" else "{n}"
    return kind, culture, noun, caption(names[noun][language], _pick_frame(rng, language), phrasing).text


def _culture_caption(
    rng: np.random.Generator, language: str, names: dict[str, dict[str, str]], trained: dict[str, list[str]]
) -> _Labelled:
    """A noun of a culture's train split, with a word for the culture."""
    spec = _pick(rng, recipe()["cultures"])
    share = rng.random()
    noun = _pick(rng, trained[spec["name"]])
    if share < 0.8:
        kind, language = ("native", spec["language"]) if share < 0.55 else ("english", "en")
        frame = _pick_frame(rng, language)
        phrasing = _pick(rng, spec[kind])
    else:
        kind, frame = "mention", _pick_frame(rng, language)
        phrasing = "{n}" + COMMAS.get(language, ", ") + spec["mention"][language]
    return kind, spec["name"], noun, caption(names[noun][language], frame, phrasing).text
