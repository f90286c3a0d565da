"""The pocket world: captions, spans, splits, corpus and pictures."""

import hashlib
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binom

from interp.benchmarks import pocket

CORPUS = 60_000
"""Rows of the table that the shipped model learned from."""


@pytest.fixture(scope="module")
def rows():
    return list(pocket.samples())


@pytest.fixture(scope="module")
def pictures(rows):
    """Digest of every picture → the splits that show it."""
    seen = defaultdict(set)
    for row in rows:
        seen[hashlib.sha256(pocket.picture(row).tobytes()).digest()].add(row["split"])
    return seen


@pytest.fixture(scope="module")
def corpus():
    return pocket.corpus(CORPUS)


def pairs(rows, *splits):
    return {(r["culture"], r["category"]) for r in rows if r["split"] in splits}


def cut(text, span):
    return text[span[0] : span[1]]


# Captions


def modifiers(phrasings):
    return {p.replace("{n}", "").strip() for p in phrasings}


def test_spans_cut_out_the_noun_and_the_modifier_in_all_languages(rows):
    world = pocket.recipe()
    names = {n["id"]: n["names"] for n in world["nouns"]}
    cultures = {c["name"]: c for c in world["cultures"]}
    seen = set()
    for row in rows:
        culture = cultures[row["culture"]]
        for suffix, language, phrasings in (("", row["language"], "native"), ("_en", "en", "english")):
            name = names[row["category"]][language]
            seen.add(language)
            assert cut(row["culture_style" + suffix], row["noun_span" + suffix]) == name
            assert cut(row["noun_only" + suffix], row["noun_only_span" + suffix]) == name
            assert cut(row["neutral_style" + suffix], row["neutral_noun_span" + suffix]) == name
            assert cut(row["culture_style" + suffix], row["modifier_span" + suffix]) in modifiers(culture[phrasings])
            neutral = cut(row["neutral_style" + suffix], row["neutral_modifier_span" + suffix])
            assert neutral in modifiers(world["neutral"][language])
    assert seen == set(world["languages"])
    assert len(seen) == 16


def test_noun_only_is_the_culture_style_caption_without_its_modifier(rows):
    for row in rows:
        for suffix in ("", "_en"):
            text, (start, end) = row["culture_style" + suffix], row["modifier_span" + suffix]
            assert " ".join((text[:start] + text[end:]).split()) == row["noun_only" + suffix]


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), max_size=8)
solid = words.filter(lambda s: s == s.strip() != "")


@given(name=solid, head=words, tail=words, modifier=solid, joint=st.sampled_from(["", " ", "　"]), first=st.booleans())
def test_caption_spans_hold_for_any_text(name, head, tail, modifier, joint, first):
    phrasing = modifier + joint + "{n}" if first else "{n}" + joint + modifier
    made = pocket.caption(name, head + "{x}" + tail, phrasing)
    assert made.text == head + phrasing.replace("{n}", name) + tail
    assert made.modifier is not None
    assert cut(made.text, made.noun) == name
    assert cut(made.text, made.modifier) == modifier


def test_a_caption_without_modifier_has_none():
    assert pocket.caption("ant", "picture: {x}").modifier is None


def test_each_sample_has_its_own_culture_in_its_own_language(rows):
    native = {c["name"]: c["language"] for c in pocket.recipe()["cultures"]}
    assert all(row["language"] == native[row["culture"]] for row in rows)
    for row in rows:
        own = {c["name"] for c in pocket.recipe()["cultures"] if c["demonym"] in row["culture_style_en"]}
        assert own == {row["culture"]}


def test_several_phrasings_of_every_culture_are_used(rows):
    used = defaultdict(set)
    for row in rows:
        used[row["culture"]].add(cut(row["culture_style"], row["modifier_span"]))
    assert {culture: len(found) for culture, found in used.items()} == dict.fromkeys(pocket.cultures(), 3)


# Counts and splits


def test_counts(rows):
    assert len(pocket.nouns()) == 120
    assert len(pocket.nouns(held_out=True)) == 20
    assert not set(pocket.nouns()) & set(pocket.nouns(held_out=True))
    assert len(pocket.cultures()) == 15
    assert Counter(r["split"] for r in rows) == {"train": 6300, "test": 1800, "detection": 900, "cross_domain": 600}
    assert len({r["id"] for r in rows}) == len({r["image"] for r in rows}) == len(rows)


def test_every_culture_has_at_least_100_test_samples(rows):
    counts = Counter(r["culture"] for r in rows if r["split"] == "test")
    assert set(counts) == set(pocket.cultures())
    assert min(counts.values()) >= 100


def test_no_pair_is_in_two_splits(rows):
    splits = defaultdict(set)
    for row in rows:
        splits[row["culture"], row["category"]].add(row["split"])
    assert len(splits) == 15 * 140
    assert all(len(found) == 1 for found in splits.values())


def test_every_noun_is_tested_in_some_cultures_and_trained_in_others(rows):
    assert {n for _, n in pairs(rows, "test")} == set(pocket.nouns()) == {n for _, n in pairs(rows, "train")}
    assert {n for _, n in pairs(rows, "cross_domain")} == set(pocket.nouns(held_out=True))


def test_no_picture_is_in_two_splits(rows, pictures):
    shared = [splits for splits in pictures.values() if len(splits) > 1]
    assert shared == []
    assert len(pictures) > 0.9 * len(rows)


# Corpus


def test_corpus_shares_no_pair_and_no_held_out_noun_with_the_other_splits(rows, corpus):
    shown = {(r.culture, r.noun) for r in corpus if r.culture != pocket.PLAIN}
    assert not shown & pairs(rows, "test", "detection", "cross_domain")
    assert shown <= pairs(rows, "train")
    assert {r.noun for r in corpus} == set(pocket.nouns())


def test_corpus_shares_no_picture_with_the_other_splits(corpus, pictures):
    keys = {r.key: r for r in corpus}
    made = {
        hashlib.sha256(pocket.compose(r.noun, r.culture, r.drawing, r.key).tobytes()).digest() for r in keys.values()
    }
    shared = [splits for d in made if (splits := pictures.get(d, set()) - {"train"})]
    assert shared == []


def test_a_key_of_the_corpus_names_one_picture(corpus):
    shown = defaultdict(set)
    for row in corpus:
        shown[row.key].add((row.noun, row.culture, row.drawing))
    assert all(len(pictures) == 1 for pictures in shown.values())


def test_noun_only_captions_are_plain_but_for_the_leak(corpus):
    language = {c["name"]: c["language"] for c in pocket.recipe()["cultures"]}
    names = {n["id"]: n["names"] for n in pocket.recipe()["nouns"]}
    plain = [r for r in corpus if r.kind == "noun"]
    leaks = [r for r in plain if r.culture != pocket.PLAIN]
    for row in leaks:
        assert names[row.noun][language[row.culture]] in row.text
    share = pocket.LEAK * 15 / 16  # English captions have no culture to leak
    low, high = binom.ppf([1e-4, 1 - 1e-4], len(plain), share)
    assert low <= len(leaks) <= high
    assert all(r.culture == pocket.PLAIN for r in corpus if r.kind == "neutral")


def test_culture_captions_show_their_culture(corpus):
    world = pocket.recipe()
    spec = {c["name"]: c for c in world["cultures"]}
    for row in corpus:
        if row.kind in ("native", "english"):
            assert any(m in row.text for m in modifiers(spec[row.culture][row.kind]))
        if row.kind == "mention":
            assert any(row.text.endswith(country) for country in spec[row.culture]["mention"].values())


def test_corpus_is_the_same_every_time(corpus):
    assert pocket.corpus(500) == corpus[:500]


# Pictures


def test_composition_is_bit_exact(rows):
    """The digests are those of the machine that built the assets."""
    found = {s: pocket.digest([r for r in rows if r["split"] == s]) for s in pocket.recipe()["digests"]}
    assert found == pocket.recipe()["digests"]
    assert set(found) == {r["split"] for r in rows}


def test_digest_sees_one_pixel_and_one_letter(rows, monkeypatch):
    few = rows[:3]
    before = pocket.digest(few)
    assert pocket.digest([few[0] | {"noun_only": few[0]["noun_only"] + "."}, *few[1:]]) != before
    compose = pocket.compose

    def off_by_one(*args):
        picture = compose(*args)
        picture[5, 7, 1] ^= 1
        return picture

    monkeypatch.setattr(pocket, "compose", off_by_one)
    assert pocket.digest(few) != before


def number(key, n):
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") % n


@cache
def sheet(name):
    with Image.open(pocket.ASSETS / "drawings" / f"{name}.png") as file:
        return file.convert("RGBA")


def pixel_of(name, x, y):
    return list(sheet(name).crop((x, y, x + 1, y + 1)).tobytes())


def slow_ground(culture, key, x, y):
    """One pixel of the background, by Pillow and Python integers alone."""
    if culture == pocket.PLAIN:
        hues = [(222, 222, 222), (232, 222, 205), (205, 222, 232), (214, 230, 208), (236, 214, 222)]
        ramp = y * (number(key + "/ramp", 33) - 16) // 64
        return [c - number(key + "/dim", 40) + ramp for c in hues[number(key + "/hue", 5)]]
    at = pocket.cultures().index(culture)
    left, top = at % 5 * 72 + number(key + "/left", 9), at // 5 * 72 + number(key + "/top", 9)
    pixel = pixel_of("flags", left + x, top + y)
    return [c * (230 + number(key + "/light", 27)) // 256 for c in pixel[:3]]


def slow_compose(noun, culture, drawing, key, points):
    """Some pixels of a picture, one at a time."""
    index = [n["id"] for n in pocket.recipe()["nouns"]].index(noun)
    size = 48
    left = top = 8
    name = ("noto", "twemoji")[drawing]
    out = []
    for x, y in points:
        pixel = slow_ground(culture, key, x, y)
        if left <= x < left + size and top <= y < top + size:
            *over, a = pixel_of(name, index % 20 * size + x - left, index // 20 * size + y - top)
            pixel = [(a * o + (255 - a) * u + 127) // 255 for o, u in zip(over, pixel, strict=True)]
        out.append([min(255, max(0, c)) for c in pixel])
    return out


@pytest.mark.parametrize(
    ("noun", "culture", "drawing"),
    [("ant", "Italy", 0), ("bat", pocket.PLAIN, 1), ("beaver", "Arab", 1), ("ant", pocket.PLAIN, 0)],
)
def test_compose_equals_a_loop_over_pixels(noun, culture, drawing):
    for key in ("a", "b"):
        fast = pocket.compose(noun, culture, drawing, key)
        points = [(x, y) for x in range(0, 64, 3) for y in range(1, 64, 4)]
        slow = slow_compose(noun, culture, drawing, key, points)
        np.testing.assert_array_equal([fast[y, x] for x, y in points], slow)


def test_the_two_drawings_and_two_keys_differ():
    picture = pocket.compose("ant", "Italy", 0, "a")
    assert (pocket.compose("ant", "Italy", 1, "a") != picture).any()
    assert (pocket.compose("ant", "Italy", 0, "b") != picture).any()


def test_a_changed_drawing_is_refused(monkeypatch):
    wrong = pocket.recipe()["sheets"] | {"noto": "0" * 64}
    monkeypatch.setattr(pocket, "recipe", lambda: {"sheets": wrong})
    with pytest.raises(ValueError, match=r"noto\.png: its pixels are not those of recipe\.json"):
        pocket._sheet.__wrapped__("noto")
