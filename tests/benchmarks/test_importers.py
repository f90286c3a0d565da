"""Importers: captions and their spans, cultures, splits, and every source in the columns it is published in."""

import csv
import hashlib
import io
import json
import os
import shutil
import sys
import unicodedata
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from interp.benchmarks import importers, pocket, reading
from interp.benchmarks.importers import captions, places, split
from interp.benchmarks.importers.captions import CaptionPair, Name, Sentence, UnfitError
from interp.benchmarks.importers.image_store import ImageStore
from interp.benchmarks.importers.log import Log
from interp.benchmarks.names import id_problem, same_name, unique_id
from interp.errors import InterpError

LANGUAGES = {c["language"]: c["name"] for c in pocket.recipe()["cultures"]}


@pytest.fixture(scope="module", autouse=True)
def _no_sync():
    """Pictures are not forced to the disk one by one, which is slow and is tested with `store`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@cache
def png(n):
    """A picture unlike all others."""
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(n).integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(data, "PNG")
    return data.getvalue()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def put_csv(path, header, rows):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([header, *rows])
    return put(path, text.getvalue())


def put_parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def imported(source, path, out, **options):
    """The report and the rows of an import whose folder loads without a finding of level error."""
    report = importers.run(source, path, out, seed=0, **options)
    assert [str(f) for f in reading.validate(out) if f.level == "error"] == []
    bench = reading.load(out)
    assert report.imported == len(bench.rows) == sum(report.cultures.values()) == sum(report.splits.values())
    assert report.cultures == Counter(s.culture for s in bench.rows)
    assert report.pictures == len(list((out / "images").iterdir()))
    assert {(s.culture, s.split) for s in bench.rows} == {
        (c, s) for c in bench.cultures for s in ("train", "test", "detection")
    }
    return report, {s.id: s for s in bench.rows}


def left(report):
    return {reason: out.count for reason, out in report.left_out.items()}


def words(prompt):
    """Text, modifier and noun of a prompt."""
    modifier, noun = (span and prompt.text[span[0] : span[1]] for span in (prompt.modifier, prompt.noun))
    return prompt.text, modifier, noun


# Captions

NOUNS = {
    "de": ["Ameise", "rote Ameise", "Straßenbahn", "Haus am See"],
    "ar": ["نملة", "بيت قديم", "مَلِك", "قهوة"],
    "zh": ["蚂蚁", "茶壶", "红色的茶壶", "房子"],
    "th": ["มด", "บ้าน", "น้ำชา", "ผู้หญิง"],
    "ja": ["アリ", "お茶", "赤い家"],
    "ko": ["개미", "찻주전자", "빨간 집"],
    "uk": ["мураха", "дім", "їжа"],
    "tr": ["karınca", "İğne", "çay"],
}
PHRASINGS = {c["language"]: [*c["native"], "{n}, " + c["mention"][c["language"]]] for c in pocket.recipe()["cultures"]}


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_a_modifier_that_was_put_in_is_cut_out_again(data):
    language = data.draw(st.sampled_from(sorted(NOUNS)))
    noun = data.draw(st.sampled_from(NOUNS[language]))
    frame = data.draw(st.sampled_from(["{x}", *pocket.recipe()["frames"][language]]))
    made = pocket.caption(noun, frame, data.draw(st.sampled_from(PHRASINGS[language])))
    plain = pocket.caption(noun, frame)
    cut = captions.difference(made.text, plain.text)
    modifier = made.text[slice(*made.modifier)].strip(" ,，、،")
    assert made.text[slice(*cut.modifier)] == modifier
    assert letters(made.text, cut.modifier) == letters(plain.text)
    assert made.text[slice(*cut.noun)] == plain.text[slice(*cut.noun_only)]


def letters(text, without=(0, 0)):
    return "".join(
        c
        for i, c in enumerate(text)
        if not without[0] <= i < without[1] and not c.isspace() and not unicodedata.category(c).startswith("P")
    )


# letters, some with their vowel signs, and what stands between words
piece = st.lists(st.sampled_from(["a", "b", "เ", "ก", "กี", "กี่", "น", "ة", "م", "مَ", "中", "国", " ", "-"]), max_size=9)


@given(before=piece, modifier=piece, after=piece, space=st.sampled_from(["", " "]))
@settings(max_examples=600, deadline=None)
def test_a_cut_leaves_the_noun_only_caption_and_whole_letters(before, modifier, after, space):
    before, modifier, after = ("".join(p) for p in (before, modifier, after))
    styled, plain = captions.tidy(space.join([before, modifier, after])), captions.tidy(space.join([before, after]))
    cut = captions.difference(styled, plain)
    if cut is None:
        assert not letters(modifier) or not letters(plain)  # there is nothing to cut, or to keep
        return
    start, end = cut.modifier
    assert letters(styled, (start, end)) == letters(plain)
    assert Counter(letters(styled[start:end])) == Counter(letters(modifier))
    assert styled[slice(*cut.noun)] and letters(styled[slice(*cut.noun)]) == letters(plain[slice(*cut.noun_only)])
    assert cut.noun[1] <= start or end <= cut.noun[0]
    for text, span in ((styled, cut.modifier), (styled, cut.noun), (plain, cut.noun_only)):
        assert not unicodedata.category(text[span[0]]).startswith("M")
        assert not unicodedata.category((text + " ")[span[1]]).startswith("M")


@pytest.mark.parametrize(
    ("styled", "plain", "modifier", "noun"),
    [
        ("Italian-style pizza on a table", "Pizza on a table", "Italian-style", "pizza on a table"),
        ("中国风格的中国象棋", "中国象棋", "中国风格的", "中国象棋"),
        ("a big big house", "a big house", "big", "big house"),
        ("(Thai) tea", "tea", "Thai", "tea"),
        ("tea house", "tea house", None, None),
        ("tea", "Thai tea", None, None),
        ("red Thai blue tea", "tea house", None, None),
        ("Thai", "!", None, None),
        ("น้ำชา", "นำชา", None, None),
    ],
)
def test_cuts(styled, plain, modifier, noun):
    cut = captions.difference(styled, plain)
    assert (cut and (styled[slice(*cut.modifier)], styled[slice(*cut.noun)])) == (modifier and (modifier, noun))


@pytest.mark.parametrize(
    ("culture", "text", "styled", "plain", "modifier"),
    [
        ("Korea", "a plate of rice cake.", "a plate of rice cake, South Korea", "a plate of rice cake", "South Korea"),
        ("Korea", "a Korean woman in hanbok", "a Korean woman in hanbok", "woman in hanbok", "a Korean"),
        ("Korea", "A street in South Korea, at night", "A street in South Korea, at night", "A street, at night", None),
        ("China", "Polish a China-style cup", "Polish a China-style cup", "Polish a cup", "China-style"),
        ("Turkey", "a roast turkey", "a roast turkey, Türkiye", "a roast turkey", "Türkiye"),
        ("Arab", "An Egyptian market", "An Egyptian market", "market", "An Egyptian"),
        ("Arab", "A market in the Arab world", "A market in the Arab world", "A market", "in the Arab world"),
        ("Netherlands", "the Netherlands's mills", "the Netherlands's mills", "mills", "the Netherlands's"),
    ],
)
def test_a_sentence_gives_the_words_that_name_its_culture(culture, text, styled, plain, modifier):
    row = captions.fields(Sentence(text), "en", places.place_of(culture))
    assert (row["culture_style"], row["noun_only"]) == (styled, plain)
    assert styled[slice(*row["modifier_span"])] == (modifier or "in South Korea")
    assert plain[slice(*row["noun_only_span"])] == styled[slice(*row["noun_span"])]


@pytest.mark.parametrize(
    ("wording", "problem"),
    [
        (Sentence("a wedding in Korea with Korean food"), "the noun-only caption names the culture"),
        (Name("Korean barbecue"), "the noun-only caption names the culture"),
        (Sentence("Korea."), "says nothing but its culture"),
    ],
)
def test_what_names_its_culture_without_a_modifier_is_unfit(wording, problem):
    with pytest.raises(UnfitError, match=problem):
        captions.fields(wording, "en", places.place_of("Korea"))


def test_names_are_built_into_captions():
    row = captions.fields(Name("  ピザ "), "ja", places.place_of("Japan"))
    assert row == {
        "culture_style": "ピザ、日本",
        "noun_only": "ピザ",
        "modifier_span": [3, 5],
        "noun_span": [0, 2],
        "noun_only_span": [0, 2],
    }
    assert (
        captions.fields(Name("pizza {n}"), "en", places.place_of("Italy"))["culture_style"] == "Italian-style pizza {n}"
    )
    with pytest.raises(InterpError, match="name of Brazil in language 'pt' is not known"):
        captions.fields(Name("pizza"), "pt", places.place_of("Brazil"))


def test_a_noun_that_comes_twice_is_the_one_beside_the_modifier():
    row = captions.fields(
        CaptionPair("image of ma from Japan", "image of ma", noun="ma"), "en", places.place_of("Japan")
    )
    assert (row["noun_span"], row["noun_only_span"]) == ([9, 11], [9, 11])
    row = captions.fields(CaptionPair("Thai tea or tea", "tea or tea", noun="tea"), "th", places.place_of("Thailand"))
    assert (row["noun_span"], row["noun_only_span"]) == ([5, 8], [0, 3])
    with pytest.raises(InterpError, match="the noun 'cup' is not in both captions"):
        captions.fields(CaptionPair("Thai tea", "tea", noun="cup"), "en", places.place_of("Thailand"))


def test_marks_of_direction_are_removed():
    assert captions.tidy("\u200fعلم\u202c  e\u0301 ") == "علم é"


# Cultures


def test_no_word_stands_for_two_cultures():
    owners = defaultdict(set)
    for cultures in json.loads(places.ASSET.read_text(encoding="utf-8")).values():
        for culture, words_by_kind in cultures.items():
            for word in [culture, *(w for some in words_by_kind.values() for w in some)]:
                owners[places.key_of(word)].add(culture)
    assert len(owners) > 200 and {name: c for name, c in owners.items() if len(c) > 1} == {}


def test_countries_codes_and_adjectives_lead_to_their_culture():
    asked = ["KOR", "kr", "South  Korea", "Korean", "Saudi_Arabia", "Arab", "The Netherlands", "türkiye", "NGA", "Mars"]
    known = ["Korea"] * 4 + ["Arab"] * 2 + ["Netherlands", "Turkey", "Nigeria", None]
    assert [places.culture_of(a) for a in asked] == known
    assert {places.culture_of(c) for c in pocket.cultures()} == set(pocket.cultures())
    assert set(json.loads(places.ASSET.read_text(encoding="utf-8"))["cultures"]) == set(pocket.cultures())


# Pictures


def test_pictures_become_upright_rgb_on_white_and_are_kept_once(tmp_path):
    clear = Image.new("RGBA", (4, 2), (255, 0, 0, 0))
    clear.putpixel((0, 0), (0, 0, 255, 255))
    clear.save(tmp_path / "clear.png")
    turned = Image.new("RGB", (4, 2), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    (tmp_path / "store").mkdir()
    store = ImageStore(tmp_path / "store", None)
    one = store.put(tmp_path / "clear.png")
    with Image.open(tmp_path / "store" / one) as image:
        assert (image.mode, image.getpixel((0, 0)), image.getpixel((1, 1))) == ("RGB", (0, 0, 255), (255, 255, 255))
    with Image.open(tmp_path / "store" / store.put(tmp_path / "turned.png")) as image:
        assert image.size == (2, 4)
    assert store.put((tmp_path / "clear.png").read_bytes()) == one
    assert len(list((tmp_path / "store" / "images").iterdir())) == 2
    with Image.open(tmp_path / "store" / ImageStore(tmp_path / "store", 12).put(png(0))) as image:
        assert image.size == (12, 12)


# Splitting

small = st.sampled_from("xyz")
row_of = st.fixed_dictionaries(
    {
        "culture": small,
        "category": st.sampled_from("abcdefgh"),
        "image": st.integers(0, 30).map(str),
        "culture_style": st.integers(0, 60).map(str),
    }
)


@given(rows=st.lists(row_of, max_size=40), alike=st.lists(st.tuples(*[st.integers(0, 30).map(str)] * 2), max_size=3))
@settings(max_examples=200, deadline=None)
def test_nothing_is_shared_between_splits_and_every_culture_has_all(rows, alike):
    log = Log()
    done = split.split(rows, alike, 1, log)
    assert len(done) + sum(out.count for out in log.left().values()) == len(rows)
    seen = defaultdict(set)
    for row in done:
        keys = [("cell", row["culture"], row["category"]), ("image", row["image"]), ("text", row["culture_style"])]
        keys += [("pair", pair) for pair in alike if row["image"] in pair]
        for key in keys:
            seen[key].add(row["split"])
        seen["culture", row["culture"]].add(row["split"])
    for key, found in seen.items():
        assert len(found) == (3 if key[0] == "culture" else 1) or key[0] == "pair", key
    for one, other in alike:
        assert len(seen["image", one] | seen["image", other]) <= 1


def cells(culture, categories):
    return [
        {"culture": culture, "category": c, "image": f"{culture}{c}", "culture_style": f"{culture}{c}"}
        for c in categories
    ]


def test_cultures_that_cannot_be_split_are_left_out():
    log = Log()
    rows = cells("x", "abc") + cells("y", "ab")
    assert {r["culture"] for r in split.split(rows, [], 0, log)} == {"x"}
    assert {r: n.count for r, n in log.left().items()} == {"its culture has fewer than three categories": 2}
    linked = cells("x", "abc")
    linked[2]["image"] = linked[1]["image"]
    assert split.split(linked, [], 0, Log()) == []
    assert split.split(cells("x", "abc"), [("xa", "xb")], 0, Log()) == []


# Sources

DISHES = ["carne", "paella", "tiramisu", "ramen", "sushi roll", "börek", "mate", "soufflé"]


def cube_rows():
    rows = []
    for country, people in (("France", "French"), ("Japan", "Japanese"), ("Brazil", "Brazilian")):
        for n, name in enumerate(DISHES):
            prompt = f"A high resolution image of {name} from {people} cuisine, realistic"
            if name == "mate":
                prompt = prompt.replace(f"{name} ", name)  # as published
            rows.append({"P31": "[]", "id": "LLM", "name": name, "country": country, "domain": "cuisine"})
            rows[-1] |= {"prompt": prompt, "P279": "nan" if n else "['Q2095']"}
    extra = [
        ("Carcassonne ", "A panoramic view of Carcassonne  in France, realistic"),
        ("Matsumoto Castle", "A panoramic view of Matsumoto Castlein Japan, realistic"),
        ("French toast", "A high resolution image of French toast from French cuisine, realistic"),
        ("beret", "Image of a person in beret from France, realistic"),
        ("kimono", "A kimono."),
    ]
    for name, prompt in extra:
        country = "Japan" if "Japan" in prompt or name == "kimono" else "France"
        rows.append({"id": "LLM", "name": name, "country": country, "domain": "landscapes", "prompt": prompt})
    return rows


def put_cube(folder, rows=None):
    rows = cube_rows() if rows is None else rows
    put(folder / "CUBE_1K.json", json.dumps(rows, ensure_ascii=False))
    for n in range(1, len(rows) + 1):
        put(folder / "mine" / f"cube-{n:04}.png", png(n))
    return folder


def test_cube(tmp_path):
    put_cube(tmp_path)
    (tmp_path / "mine" / "cube-0002.png").unlink()
    report, rows = imported("cube", tmp_path, tmp_path / "out", images=tmp_path / "mine")
    assert report.read == 29
    assert left(report) == {
        "no picture": 1,
        "not one of the 15 cultures": 8,
        "the noun-only caption names the culture": 1,
    }
    assert report.left_out["no picture"].examples == ("cube-0002",)
    assert report.cultures == {"France": 9, "Japan": 10}
    prompt = "A high resolution image of matefrom Japanese cuisine, realistic"
    assert words(rows["cube-0015"].native.culture_style) == (prompt, "from Japanese cuisine", "mate")
    assert words(rows["cube-0015"].english.noun_only) == ("A high resolution image of mate, realistic", None, "mate")
    assert words(rows["cube-0025"].english.culture_style)[1:] == ("in France", "Carcassonne")
    assert words(rows["cube-0026"].english.culture_style)[1:] == ("in Japan", "Matsumoto Castle")
    assert words(rows["cube-0028"].english.noun_only)[0] == "Image of a person in beret, realistic"
    assert words(rows["cube-0029"].english.culture_style) == ("Japanese-style kimono", "Japanese-style", "kimono")
    assert (rows["cube-0015"].language, rows["cube-0015"].category) == ("en", "mate")
    assert "cube: 29 rows read, 19 samples with 19 pictures" in str(report)
    assert "left out, not one of the 15 cultures: 8 (Brazil)" in str(report)


def test_every_country_can_be_a_culture_and_places_can_be_renamed(tmp_path):
    put_cube(tmp_path)
    mine = {"images": tmp_path / "mine"}
    report, rows = imported("cube", tmp_path, tmp_path / "all", labels="all", **mine)
    assert report.cultures == {"Brazil": 8, "France": 10, "Japan": 10}
    assert reading.load(tmp_path / "all").cultures == ("France", "Japan", "Brazil")
    assert words(rows["cube-0017"].native.culture_style)[1] == "from Brazilian cuisine"
    report, rows = imported("cube", tmp_path, tmp_path / "placed", places={"Brazil": "Portugal"}, **mine)
    assert report.cultures["Portugal"] == 8
    table = pq.read_table(tmp_path / "placed" / "samples.parquet").to_pylist()
    assert {r["region"] for r in table if r["culture"] == "Portugal"} == {"Brazil"}
    assert {r["review"] for r in table} == {"English in place of a native caption"}


def test_without_pictures_the_error_says_what_to_do(tmp_path):
    put_cube(tmp_path)
    with pytest.raises(
        InterpError, match=r"29 rows read, 0 remain.*left out, no picture: 20 .*option images.*cube-0001\.png"
    ):
        importers.run("cube", tmp_path / "CUBE_1K.json", tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()


def broken_cube():
    """Rows, and the problems they should be named with."""
    rows = cube_rows()
    del rows[2]["country"]
    rows[4]["prompt"] = 7
    rows[6]["name"] = " "
    return rows, [
        "row 3, field country: is missing",
        "row 5, field prompt: is no text",
        "row 7, field name: is no text",
    ]


def test_bad_rows_are_named_and_nothing_is_written(tmp_path):
    rows, problems = broken_cube()
    put_cube(tmp_path, rows)
    put(tmp_path / "mine" / "cube-0010.png", b"no picture")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InterpError) as caught:
        importers.run("cube", tmp_path, tmp_path / "deep" / "out", seed=0, images=tmp_path / "mine")
    for problem in [*problems, "row 10, field image: is no sound picture"]:
        assert f"CUBE_1K.json, {problem}" in str(caught.value)
    assert "4 problems" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    report, _ = imported("cube", tmp_path, tmp_path / "rest", images=tmp_path / "mine", bad="leave")
    assert {r: n for r, n in left(report).items() if "wrong" in r} == {
        f"something is wrong with {field}": 1 for field in ("country", "prompt", "name", "image")
    }
    assert report.left_out["something is wrong with country"].examples == ("CUBE_1K.json row 3: is missing",)
    put_cube(tmp_path, [{**r, "country": None} for r in cube_rows()])
    with pytest.raises(InterpError, match=r"29 problems(?s:.*)and 9 more"):
        importers.run("cube", tmp_path, tmp_path / "out", seed=0, images=tmp_path / "mine")


def test_what_cannot_be_asked_is_refused(tmp_path):
    put_cube(tmp_path)
    wrong = {
        "unknown source 'cub'; known: cube, cure": {"source": "cub"},
        "option seed=True: give a whole number": {"seed": True},
        "option labels: 'some' is not one of default, all": {"labels": "some"},
        "option captions: 'x' is not one of native": {"captions": "x"},
        "option images: there is no": {"images": tmp_path / "none"},
        "nothing does not exist": {"path": tmp_path / "nothing"},
        "exists; remove it or name another": {"out": tmp_path},
        "does not say its licence": {"source": "folder"},
    }
    for message, options in wrong.items():
        asked = {"source": "cube", "path": tmp_path, "out": tmp_path / "out", "seed": 0} | options
        with pytest.raises(InterpError, match=message):
            importers.run(**asked)
    put(tmp_path / "CUBE_1K.json", json.dumps([{"name": "x", "country": "France"}]))
    with pytest.raises(InterpError, match=r"column domain, prompt is missing; it has country, name; .* option columns"):
        importers.run("cube", tmp_path, tmp_path / "out", seed=0)
    for text in ("{", "{}", "[7]"):
        put(tmp_path / "CUBE_1K.json", text)
        with pytest.raises(InterpError, match=r"CUBE_1K\.json"):
            importers.run("cube", tmp_path, tmp_path / "out", seed=0)


CURE = ["Category", "Region", "Item", "Continent", "# Prolific Workers", "Wikimedia_Category", "Global North/South"]


CURE_ITEMS = [("Jalangkote", r"Jalangkote;Kue pastel"), ("Damper (Food)", r"Damper \(food\)"), ("Qatayef", "Qatayef")]


def test_cure(tmp_path):
    food = [["Dumpling", "Italy", item, "Europe", 9, wiki, "-"] for item, wiki in CURE_ITEMS]
    food += [
        ["Rice_Dish", "Poland", item, "Europe", 9, item, "-"] for item in ("Pierogi", "Uszka", "Kopytka", "Knedle")
    ]
    put_csv(tmp_path / "lists" / "food.csv", CURE, [*food, ["Dumpling", "Ghana", "Banku", "Africa", 1, "Banku", "-"]])
    put_csv(tmp_path / "lists" / "art.csv", CURE, [["Statue", "Italy", "David", "Europe", 9, "David", "-"]])
    shown = tmp_path / "gt_images" / "food" / "Dumpling"
    for n, name in enumerate(["Kue_pastel/a.png", "Damper_(food)/b.jpg", "Damper_(food)/c.PNG"]):
        put(shown / name, png(n))
    put(shown / "Damper_(food)" / "notes.txt", "x")
    for name in ("food-003", "food-004", "food-005", "food-006", "art-001"):
        put(tmp_path / "gt_images" / f"cure-{name}.png", png(10 + len(name) + int(name[-1])))
    report, rows = imported("cure", tmp_path / "lists", tmp_path / "out", images=tmp_path / "gt_images")
    assert (report.read, report.cultures) == (9, {"Italy": 5, "Poland": 3})
    assert {i for i in rows if "food-001" in i or "food-002" in i} == {
        "cure-food-001-1",
        "cure-food-002-1",
        "cure-food-002-2",
    }
    assert words(rows["cure-food-003"].native.culture_style) == ("Italian-style Qatayef", "Italian-style", "Qatayef")
    assert left(report) == {"no picture": 1, "not one of the 15 cultures": 1}


def test_ccub(tmp_path):
    sentences = ["a Korean woman in hanbok", "a plate of tteokbokki on a table", "a palace in Korea", "Korea in Korea"]
    header = ["country_code", "category_code", "url", "caption", "created_at"]
    rows = [["KOR", "FOOD", f"https://x/{n}.jpg", s, "2024-07-01"] for n, s in enumerate([*sentences, "a street."])]
    rows += [["CHN", "ARCH", f"https://x/c{n}.jpg", f"a {t} roof", "2024"] for n, t in enumerate(["red", "low", "old"])]
    rows += [["NGA", "FOOD", "https://x/n.jpg", "a bowl", "2024"]]
    put_csv(tmp_path / "ccub" / "all.csv", header, rows)
    for n, row in enumerate(rows):
        put(tmp_path / "mine" / f"{hashlib.sha256(row[2].encode()).hexdigest()}.jpg", png(n))
    report, found = imported("ccub", tmp_path / "ccub", tmp_path / "out", images=tmp_path / "mine")
    assert report.cultures == {"China": 3, "Korea": 4}
    assert left(report) == {"not one of the 15 cultures": 1, "the noun-only caption names the culture": 1}
    assert words(found["ccub-all-0001"].native.culture_style)[1:] == ("a Korean", "woman in hanbok")
    assert words(found["ccub-all-0003"].english.noun_only)[0] == "a palace"
    assert words(found["ccub-all-0005"].english.culture_style) == ("a street, South Korea", "South Korea", "a street")
    table = {r["id"]: r for r in pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()}
    assert table["ccub-all-0001"]["source_url"] == "https://x/0.jpg"
    assert (table["ccub-all-0001"]["region"], table["ccub-all-0001"]["language"]) == ("KOR", "en")


FOOD = ["Name", "Alias", "Cuisines", "Countries", "Region1", "Image1 License", "Image1 name / URL"]
FOOD += ["Image2 License", "Image2 name / URL"]
ALIASES = {"Onigiri": {"ja - Japanese": "おにぎり", "fr - French": "Onigiri"}, "Soba": {"ja - Japanese": "蕎麦"}}
ALIASES |= {
    "Unagi": {"ja - Japanese": "うなぎ"},
    "Crêpe": {"fr - French": "Crêpe"},
    "Cassoulet": {"fr - French": "Cassoulet"},
}
ALIASES |= {"Quiche": {"fr - French": "Quiche lorraine"}, "Udon": {"ko - Korean": "우동"}}


def put_food(folder):
    countries = {n: ["Japan"] if any("ja" in k for k in a) or n == "Udon" else ["France"] for n, a in ALIASES.items()}
    countries |= {"Sushi pizza": ["Japan", "Italy"], "Feijoada": ["Brazil"], "Nothing": []}
    rows = []
    for n, (name, where) in enumerate(countries.items()):
        second = ["CC0", f"https://w/{n}b.jpg"] if name == "Soba" else ["", ""]
        rows.append(
            [name, "[{'no_alias': True}]", "[]", json.dumps(where), "Asia", "CC-BY 2.0", f"https://w/{n}.jpg", *second]
        )
        put(folder / "mine" / f"world-cuisines-{n + 1:04}-1.png", png(n))
    put(folder / "mine" / "world-cuisines-0002-2.png", png(99))
    put_csv(folder / "final_data.csv", FOOD, rows)
    names = [[n, name, "https://wiki", json.dumps(alias)] for n, (name, alias) in enumerate(ALIASES.items())]
    put_csv(folder / "food_name_multiling.csv", ["", "Name", "Wikipedia Link", "json_aliases"], names)


def test_world_cuisines(tmp_path):
    put_food(tmp_path)
    report, rows = imported("world_cuisines", tmp_path, tmp_path / "out", images=tmp_path / "mine")
    assert report.read == 10
    assert report.cultures == {"France": 3, "Japan": 4}
    assert left(report) == {
        "no name in its culture's language": 1,
        "of several cultures": 1,
        "not one of the 15 cultures": 1,
        "of no country": 1,
    }
    assert words(rows["world-cuisines-0001-1"].native.culture_style) == ("おにぎり、日本", "日本", "おにぎり")
    assert words(rows["world-cuisines-0001-1"].english.culture_style)[0] == "Japanese-style Onigiri"
    assert rows["world-cuisines-0002-2"].language == "ja"
    table = {r["id"]: r for r in pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()}
    two = table["world-cuisines-0002-2"]
    assert (two["image_licence"], two["source_url"], two["review"]) == ("CC0", "https://w/1b.jpg", "not reviewed")
    report, rows = imported(
        "world_cuisines", tmp_path, tmp_path / "english", images=tmp_path / "mine", captions="english"
    )
    assert report.cultures == {"France": 3, "Japan": 5}
    assert rows["world-cuisines-0001-1"].native.culture_style == rows["world-cuisines-0001-1"].english.culture_style


def test_world_cuisines_names_bad_lists(tmp_path):
    put_food(tmp_path)
    text = (tmp_path / "final_data.csv").read_text().replace('"[""Brazil""]"', "Brazil")
    put(tmp_path / "final_data.csv", text)
    put_csv(tmp_path / "food_name_multiling.csv", ["Name", "json_aliases"], [["Soba", "{}"], ["Udon", "[1]"]])
    with pytest.raises(InterpError) as caught:
        importers.run("world_cuisines", tmp_path, tmp_path / "out", seed=0, images=tmp_path / "mine")
    assert "final_data.csv, row 9, field Countries: is no list" in str(caught.value)
    assert "food_name_multiling.csv, row 2, field json_aliases: is no record" in str(caught.value)
    (tmp_path / "food_name_multiling.csv").unlink()
    with pytest.raises(InterpError, match="no names in other languages; put the file there, or import with captions"):
        importers.run("world_cuisines", tmp_path, tmp_path / "out", seed=0, images=tmp_path / "mine")


def hub(n):
    return {"bytes": png(n), "path": f"{n}.png"}


def test_cultural_vqa(tmp_path):
    answers = {"China": ["tea", "lantern", "bao", "tea"], "Germany": ["Brezel", "Dirndl", "Maß"]}
    flat = [(c, a) for c, some in answers.items() for a in some]
    rows = [{"u_id": f"u{n}", "image": hub(n), "question": "What is it?"} for n in range(len(flat) + 1)]
    put_parquet(tmp_path / "data" / "test-00000-of-00002.parquet", rows[:4])
    put_parquet(tmp_path / "data" / "test-00001-of-00002.parquet", rows[4:])
    notes = put_csv(tmp_path / "notes.csv", ["u_id", "country", "answer"], [[f"u{n}", *f] for n, f in enumerate(flat)])
    report, found = imported("cultural_vqa", tmp_path / "data", tmp_path / "out", annotations=notes)
    assert report.cultures == {"China": 4, "Germany": 3}
    assert left(report) == {"no country and answer in the annotations": 1}
    assert words(found["cultural-vqa-u4"].native.culture_style) == ("German-style Brezel", "German-style", "Brezel")
    with pytest.raises(InterpError, match="have no country and no answer; give a CSV with the columns u_id, country"):
        importers.run("cultural_vqa", tmp_path / "data", tmp_path / "new", seed=0)


def frames():
    prompts = {"Poland": ["A Polish wedding", "a family at supper", "children in a park"]}
    prompts["Iran"] = ["a bazaar"]
    prompts["Japan"] = ["A garden in Japan", "people under a cherry tree", "a bento on a bench"]
    flat = [(c, p, m) for c, some in prompts.items() for p in some for m in ("flux", "sd3")]
    return [
        {"id": str(n // 2), "prompt": p, "image": hub(n), "country": c, "model": m} for n, (c, p, m) in enumerate(flat)
    ]


def test_cultural_frames(tmp_path):
    put_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", frames())
    report, rows = imported("cultural_frames", tmp_path / "data", tmp_path / "out")
    assert report.cultures == {"Japan": 6, "Poland": 6}
    assert left(report) == {"not one of the 15 cultures": 2}
    assert words(rows["cultural-frames-0-flux"].native.culture_style) == ("A Polish wedding", "A Polish", "wedding")
    assert words(rows["cultural-frames-4-sd3"].native.culture_style)[1] == "in Japan"
    table = pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert {r["image_author"] for r in table} == {"flux", "sd3"}


def test_bad_hub_rows_are_named(tmp_path):
    rows = frames()
    rows[1]["image"] = {"bytes": None, "path": "elsewhere.png"}
    rows[3]["image"] = {"bytes": b"GIF89a", "path": "3.png"}
    rows[5] |= {"id": rows[4]["id"], "model": rows[4]["model"]}
    put_parquet(tmp_path / "a.parquet", rows)
    with pytest.raises(InterpError) as caught:
        importers.run("cultural_frames", tmp_path, tmp_path / "out", seed=0)
    for problem in (
        "a.parquet, row 2, field image: holds no bytes",
        "a.parquet, row 4, field image: is no sound picture",
        "a.parquet, row 6, field id: 'cultural-frames-2-flux' is already the id of a.parquet row 5",
    ):
        assert problem in str(caught.value)


def test_mosaig(tmp_path):
    people = ["An old man", "A girl", "A woman"]
    flat = [(c, f"{p} before the Taj Mahal") for c in ("Germany", "Spain") for p in people]
    rows = [
        {"image": hub(n), "Prompt": p, "Country": c, "language": "English" if n else "German"}
        for n, (c, p) in enumerate([("Germany", "Ein Mann"), *flat])
    ]
    put_parquet(tmp_path / "train.parquet", rows)
    names = {"caption": "Prompt", "country": "Country"}
    report, found = imported("mosaig", tmp_path, tmp_path / "out", columns=names)
    assert report.cultures == {"Germany": 3, "Spain": 3}
    assert left(report) == {"its caption is not in English": 1}
    assert words(found["mosaig-train-00002"].native.culture_style)[1] == "Germany"
    with pytest.raises(InterpError, match="column caption, country is missing; it has Country, Prompt, image"):
        importers.run("mosaig", tmp_path / "train.parquet", tmp_path / "new", seed=0)


# A user's own data


def own_rows():
    """Rows in German and Thai with captions in both languages, and in English."""
    rows = []
    for language, place, phrase in (("de", "Germany", "{} im deutschen Stil"), ("th", "Thailand", "{}แบบไทย")):
        for n, noun in enumerate(NOUNS[language]):
            row = {"image": f"pictures/{language}{n}.png", "culture": place, "language": language, "category": noun}
            row |= {"culture_style": phrase.format(noun), "noun_only": noun, "noun_only_en": f"thing {n}"}
            row |= {"culture_style_en": f"{'German' if language == 'de' else 'Thai'} thing {n}", "annotator": "A. B."}
            rows.append(row)
    return rows


def put_own(folder, rows, kind):
    for n, row in enumerate(rows):
        put(folder / row["image"], png(n))
    if kind == "jsonl":
        return put(folder / "captions.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    header = sorted(set().union(*rows))
    cells = [[json.dumps(r[c]) if isinstance(r.get(c), list) else r.get(c, "") for c in header] for r in rows]
    return put_csv(folder / "captions.csv", header, cells)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_folder(tmp_path, kind):
    rows = own_rows()
    rows[1] |= {"modifier_span": [12, 29], "noun_span": [5, 11], "noun_only_span": [5, 11], "noun_en": "thing"}
    rows.append(
        {**rows[0], "image": "x.png", "language": "en", "culture_style": "a German door", "noun_only": "a door"}
    )
    rows[-1]["category"] = "door"
    put_own(tmp_path / "own", rows, kind)
    report, found = imported("folder", tmp_path / "own", tmp_path / "out", licence="CC0-1.0", name="mine")
    assert report.cultures == {"Germany": 5, "Thailand": 4}
    assert words(found["row-00001"].native.culture_style) == ("Ameise im deutschen Stil", "im deutschen Stil", "Ameise")
    assert words(found["row-00002"].native.culture_style)[1:] == (
        "im deutschen Stil"[:0] or "im deutschen Stil",
        "Ameise",
    )
    assert words(found["row-00002"].english.culture_style)[1:] == ("German", "thing")
    assert words(found["row-00007"].native.culture_style) == ("น้ำชาแบบไทย", "แบบไทย", "น้ำชา")
    assert words(found["row-00009"].english.culture_style)[1] == "German"
    card = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert (card["name"], card["licence"]) == ("mine", "CC0-1.0")
    assert card["languages"] == {"de": "Germany", "en": None, "th": "Thailand"}


def test_problems_of_a_folder_are_named(tmp_path):
    rows = own_rows()
    rows[0]["noun_only"] = "Biene"
    rows[1]["modifier_span"] = [0, 2]
    rows[2] |= {"modifier_span": [0, 999], "noun_span": [0, 3], "noun_only_span": [0, 3]}
    del rows[3]["culture_style_en"]
    rows[4]["noun_en"] = 5
    rows[5]["annotator"] = ["A"]
    rows[6]["modifier_span"] = "[1,"
    put_own(tmp_path, rows, "jsonl")
    (tmp_path / rows[7]["image"]).unlink()
    put(tmp_path.parent / "outside.png", png(0))
    text = (tmp_path / "captions.jsonl").read_text() + json.dumps({**own_rows()[7], "image": "../outside.png"})
    put(tmp_path / "captions.jsonl", text)
    with pytest.raises(InterpError) as caught:
        importers.run("folder", tmp_path, tmp_path / "out", seed=0, licence="CC0-1.0")
    for problem in (
        "row 1, field culture_style: without one piece",
        "row 2, field noun_span: is missing; give all three",
        "row 3, field modifier_span: is empty or outside culture_style",
        "row 4, field culture_style_en: is missing",
        "row 5, field noun_en: is no text (found 5)",
        "row 6, field annotator: Input should be a valid string",
        "row 7, field modifier_span: is no span such as [0, 5] (found '[1,')",
        "row 8, field image: there is no such file in the folder",
        "row 9, field image: there is no such file in the folder",
    ):
        assert f"captions.jsonl, {problem}" in str(caught.value)
    put(tmp_path / "captions.csv", "image\n")
    with pytest.raises(InterpError, match=r"one file captions\.csv or captions\.jsonl is needed; found 2"):
        importers.run("folder", tmp_path, tmp_path / "out", seed=0, licence="CC0-1.0")
    put(tmp_path / "captions.jsonl", "").unlink()
    columns = "image,culture,language,category,culture_style,noun_only"
    for text in (f"{columns},image\n", f"{columns}\na,b,c,d,e,f,g\n", f'{columns}\n"a'):
        put(tmp_path / "captions.csv", text)
        with pytest.raises(InterpError, match=r"captions\.csv: cannot be read"):
            importers.run("folder", tmp_path, tmp_path / "out", seed=0, licence="CC0-1.0")


def test_ids_of_a_source_become_ids_and_stay_apart(tmp_path):
    rows = own_rows()
    names = ["../../../x", "a/b", "a:b", "a-b", "A-B", "x" * 300, "CON", "\u202ex", "é" * 150]
    rows = [row | {"id": name} for row, name in zip(rows, names, strict=False)]
    put_own(tmp_path / "own", rows, "jsonl")
    _, found = imported("folder", tmp_path / "own", tmp_path / "out", licence="CC0-1.0")
    assert len({same_name(name) for name in found}) == len(rows) and "a-b" in found
    assert not [name for name in found if id_problem(name)]
    imported("folder", tmp_path / "own", tmp_path / "again", licence="CC0-1.0")
    assert [s.id for s in reading.load(tmp_path / "again").rows] == list(found)


@given(texts=st.lists(st.text(st.sampled_from("aA/\\:. \0é\u202e\ud800-"), max_size=5), unique=True, max_size=6))
def test_every_text_gives_an_id_of_its_own(texts):
    taken: dict[str, str] = {}
    names = [unique_id(text, taken) for text in texts]
    assert [id_problem(name) for name in names] == [None] * len(names)
    assert len({same_name(name) for name in names}) == len(names)
    assert all(name == text for name, text in zip(names, texts, strict=True) if "-" not in name)


HOSTILE = [10**30, -1, float("nan"), "\ud800", "a\0b", "\x1b[2J", "../../x", "x" * 5000, {"a": [1]}, [[0, 1]], True,
           json.loads("[" * 900 + "]" * 900), "[" * 10**5]  # fmt: skip
COLUMNS = [
    "id",
    "image",
    "culture",
    "language",
    "category",
    "culture_style",
    "noun_only",
    "noun",
    "modifier_span",
    "review",
]


@given(
    change=st.dictionaries(
        st.sampled_from([*COLUMNS, "\ud800", "a\nb"]), st.sampled_from(HOSTILE), min_size=1, max_size=2
    )
)
@settings(max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_source_holds_is_told_in_lines(tmp_path, change):
    own = tmp_path / "own"
    if not own.exists():
        put_own(own, own_rows(), "jsonl")
    rows = own_rows()
    rows[0] |= change
    put(own / "captions.jsonl", "".join(json.dumps(r) + "\n" for r in rows).encode())
    out = tmp_path / "out"
    try:
        said = str(importers.run("folder", own, out, seed=0, licence="CC0-1.0"))
        reading.load(out)
    except InterpError as error:
        said = str(error)
    shutil.rmtree(out, ignore_errors=True)
    assert all(line.isprintable() for line in said.split("\n"))


@pytest.mark.parametrize(
    "countries", ['{"Italy": 1}', '"Italy"', "[1]", "[[]]", "[" * 10**5, "7", "null", '["\\ud800"]']
)
def test_a_list_that_is_none_is_named(tmp_path, countries):
    put_csv(tmp_path / "final_data.csv", ["Name", "Countries", "Image1 name / URL"], [["x", countries, "u"]])
    put_csv(tmp_path / "food_name_multiling.csv", ["Name", "json_aliases"], [["x", "[" * 10**5]])
    with pytest.raises(InterpError) as caught:
        importers.run("world_cuisines", tmp_path, tmp_path / "out", seed=0)
    assert all(line.isprintable() for line in str(caught.value).split("\n"))


def test_annotations_that_are_no_text_are_passed_over(tmp_path):
    put_parquet(tmp_path / "a.parquet", [{"u_id": "a", "image": {"bytes": png(1)}, "question": "?"}])
    put(
        tmp_path / "b.jsonl",
        '{"u_id": "a", "country": "Italy", "answer": 7}\n{"u_id": ["a"], "country": 1, "answer": "x"}\n',
    )
    with pytest.raises(InterpError, match="no country and answer in the annotations"):
        importers.run(
            "cultural_vqa", tmp_path / "a.parquet", tmp_path / "out", seed=0, annotations=tmp_path / "b.jsonl"
        )


def test_a_list_does_not_lead_out_of_the_folder_of_pictures(tmp_path):
    put(tmp_path / "secret" / "1.png", png(1))
    (tmp_path / "images" / "food").mkdir(parents=True)
    header = ["Category", "Region", "Item", "Wikimedia_Category"]
    rows = [["../../secret", "Italy", "x", "."], ["x" * 300, "Italy", "y", "y"], ["a\0", "Italy", "z", "z"]]
    put_csv(tmp_path / "food.csv", header, rows)
    with pytest.raises(InterpError, match="3 rows read, 0 remain: left out, no picture: 3"):
        importers.run("cure", tmp_path / "food.csv", tmp_path / "out", seed=0, images=tmp_path / "images")


@pytest.mark.parametrize(
    ("option", "value"),
    [("seed", -1), ("seed", 10**30), ("side", 0), ("side", -5), ("side", 10**9), ("longest", 0), ("side", True)],
)
def test_numbers_out_of_bounds_are_refused(tmp_path, option, value):
    put_own(tmp_path / "own", own_rows(), "jsonl")
    with pytest.raises(InterpError, match=rf"^(option )?{option}.*whole number") as caught:
        importers.run("folder", tmp_path / "own", tmp_path / "out", **{"seed": 0, "licence": "x", option: value})
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [{"name": " "}, {"licence": "\ud800"}, {"places": {"Germany": "Unrecognisable"}}])
def test_a_card_that_cannot_be_is_refused(tmp_path, option):
    put_own(tmp_path / "own", own_rows(), "jsonl")
    with pytest.raises(InterpError, match="its card") as caught:
        importers.run("folder", tmp_path / "own", tmp_path / "out", seed=0, labels="all", **{"licence": "x", **option})
    assert str(caught.value).isprintable()


def test_a_column_that_comes_twice_is_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InterpError, match="a column is named twice: 'prompt'"):
        importers.run("cultural_frames", tmp_path / "a.parquet", tmp_path / "out", seed=0)


def test_unsound_rows_can_be_left_out(tmp_path):
    rows = own_rows()
    rows[0] |= {"modifier_span": [0, 999], "noun_span": [0, 3], "noun_only_span": [0, 3]}
    put_own(tmp_path / "own", rows, "jsonl")
    report, _ = imported("folder", tmp_path / "own", tmp_path / "out", licence="CC0-1.0", bad="leave")
    assert left(report) == {"something is wrong with modifier_span": 1}


def save_to_disk(folder, rows, part=None):
    """The files that `Dataset.save_to_disk` writes."""
    at = folder / part if part else folder
    at.mkdir(parents=True)
    table = pa.Table.from_pylist(rows)
    for n, piece in enumerate((table.slice(0, 5), table.slice(5))):
        with pa.ipc.new_stream(at / f"data-{n:05}-of-00002.arrow", table.schema) as stream:
            stream.write_table(piece)
    put(at / "state.json", json.dumps({"_data_files": []}))
    if part:
        put(folder / "dataset_dict.json", json.dumps({"splits": [part]}))


def hub_rows():
    return [{**{c: v for c, v in r.items() if c != "image"}, "photo": hub(n)} for n, r in enumerate(own_rows())]


def test_datasets(tmp_path):
    save_to_disk(tmp_path / "set", hub_rows(), "train")
    save_to_disk(tmp_path / "set", hub_rows()[:2], "test")
    asked = {"licence": "CC0-1.0", "columns": {"image": "photo"}}
    report, rows = imported("datasets", tmp_path / "set", tmp_path / "out", part="train", **asked)
    assert (report.read, report.cultures) == (8, {"Germany": 4, "Thailand": 4})
    assert words(rows["train-00001-00001"].native.culture_style)[0] == "บ้านแบบไทย"
    assert importers.run("datasets", tmp_path / "set", tmp_path / "both", seed=0, **asked).read == 10
    save_to_disk(tmp_path / "flat", hub_rows())
    report, rows = imported("datasets", tmp_path / "flat", tmp_path / "flat_out", **asked)
    assert "row-00000-00001" in rows
    with pytest.raises(InterpError, match="no part 'dev'; it has test, train"):
        importers.run("datasets", tmp_path / "set", tmp_path / "new", seed=0, part="dev", **asked)
    with pytest.raises(InterpError, match=r"no data set saved with save_to_disk.*state\.json"):
        importers.run("datasets", put(tmp_path / "none" / "x", "").parent, tmp_path / "new", seed=0, **asked)


# Tux Paint


def put_stamp(folder, path, names, data, kind="png"):
    """A stamp: its name in English, then in other languages; Chinese and Portuguese with their countries."""
    codes = {"zh": "zh_CN"}
    lines = [f"{codes.get(lang, lang)}.utf8={name}" for lang, name in names.items() if lang != "en"]
    extra = ["af.utf8='n Ding.", "pt_BR.utf8=Uma coisa.", "zh_TW.utf8=東西", "ca@valencia.utf8=Una cosa."]
    put(folder / f"{path}.txt", "\n".join([names["en"], *sorted(lines + extra), ""]))
    if data is not None:
        put(folder / f"{path}.{kind}", data)
    put(folder / f"{path}_desc_fr.ogg", b"OggS")
    put(folder / f"{path}.dat", "noflip\n")


def names_of(noun):
    spec = next(n for n in pocket.recipe()["nouns"] if n["id"] == noun)
    return {**spec["names"], "en": f"An {noun}." if noun == "ant" else f"A {noun}."}


STAMPS = ["ant", "cat", "dog", "banana"]


def put_stamps(folder):
    for n, noun in enumerate(STAMPS):
        names = names_of(noun)
        names["ar"] = f".{names['ar']}"  # as published
        put_stamp(folder, f"animals/{noun}", names, png(n))
    put_stamp(folder, "animals/cartoon/cat", names_of("cat"), png(9))
    put_stamp(folder, "symbols/letter", names_of("ant"), png(10))
    put_stamp(folder, "animals/half", {k: v for k, v in names_of("ant").items() if k != "th"}, png(11))
    put_stamp(folder, "animals/told", {**names_of("ant"), "de": "Eine Ameise. Sie ist klein!"}, png(12))
    put_stamp(folder, "animals/long", {**names_of("ant"), "fr": "x" * 61}, png(13))
    put_stamp(folder, "animals/drawn", names_of("ant"), b"<svg/>", "svg")
    put_stamp(folder, "animals/bare", names_of("ant"), None)
    put_stamp(folder, "animals/tea", {**names_of("ant"), "en": "A Japanese ant."}, png(14))


def test_tuxpaint(tmp_path):
    put_stamps(tmp_path / "stamps")
    report, rows = imported("tuxpaint", tmp_path / "stamps", tmp_path / "out")
    assert (report.read, report.pictures) == (12, 6)
    assert set(report.cultures) == set(pocket.cultures())
    assert report.cultures["Korea"] == 6 and report.cultures["Japan"] == 5
    assert left(report) == {
        "in a folder to skip (symbols)": 1,
        "not named in all 15 languages": 1,
        "described in sentences, not named": 1,
        "a name is longer than 60 characters": 1,
        "there as SVG only; draw it with the option svg": 1,
        "no picture beside it": 1,
        "the noun-only caption names the culture": 1,
    }
    assert report.left_out["not named in all 15 languages"].examples == ("animals/half.txt: th",)
    assert words(rows["tuxpaint-ar-animals-ant"].native.culture_style) == (
        "نملة، العالم العربي",
        "العالم العربي",
        "نملة",
    )
    assert words(rows["tuxpaint-zh-animals-ant"].native.noun_only)[0] == "蚂蚁"
    assert words(rows["tuxpaint-de-animals-cat"].english.culture_style) == ("German-style cat", "German-style", "cat")
    assert {s.language: s.culture for s in rows.values()} == LANGUAGES
    # one drawing of a thing and another, in all languages, are of one split
    assert len({s.split for s in rows.values() if s.category == "cat"}) == 1
    assert len({s.image for s in rows.values() if s.id.endswith("-animals-dog")}) == 1


def test_svg_stamps_need_their_package(tmp_path, monkeypatch):
    put_stamps(tmp_path / "stamps")
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(InterpError, match="pip install resvg-py"):
        importers.run("tuxpaint", tmp_path / "stamps", tmp_path / "out", seed=0, svg=True)


def test_a_stamp_that_is_no_text_is_named(tmp_path):
    put_stamps(tmp_path)
    put(tmp_path / "animals" / "ant.txt", b"\xff\xfe")
    with pytest.raises(InterpError, match=r"animals/ant\.txt: is not in UTF-8"):
        importers.run("tuxpaint", tmp_path, tmp_path / "out", seed=0)


def test_every_source_says_what_it_is():
    for name, module in importers.SOURCES.items():
        assert module.__name__ == f"interp.benchmarks.importers.{name}"
        assert module.__doc__ and module.COLUMNS and callable(module.read) and hasattr(module, "LICENCE")
    files = {p.stem for p in Path(importers.__file__).parent.glob("*.py")}
    helpers = {"__init__", "build", "captions", "image_store", "log", "options", "places", "source", "split"}
    assert files - helpers == set(importers.SOURCES)
