"""CultureBench folders: rows, tables, loading, splitting, leakage."""

import csv
import gzip
import io
import json
import os
import random
import shutil
import unicodedata
from collections import Counter, defaultdict
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from interp import escapes
from interp.benchmarks import checks, images, pocket, reading, schema, splits
from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.rows import KINDS, read_table, write_table
from interp.errors import InterpError

PER_CELL = 2
"""Rows of each culture and split in the small benchmark."""


@cache
def all_rows():
    return list(pocket.samples())


@cache
def few_rows():
    """A few rows of each culture and split, in the order of the whole."""
    taken = Counter()
    rows = []
    for row in all_rows():
        cell = row["culture"], row["split"]
        if taken[cell] < PER_CELL:
            taken[cell] += 1
            rows.append(row)
    return rows


@cache
def card():
    return reading._pocket_card(pocket.recipe())


def check(rows, warn=False):
    return checks.check_rows(rows, card(), "samples.csv", warn).findings


def changed(number, **fields):
    """The few rows with some fields of one of them (counted from 1) changed; None removes a field."""
    rows = [dict(r) for r in few_rows()]
    row = rows[number - 1] | fields
    rows[number - 1] = {f: v for f, v in row.items() if v is not None}
    return rows


@pytest.fixture(scope="module", autouse=True)
def _no_sync():
    """Pictures are not forced to the disk one by one, which is slow and is tested with `store`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small benchmark on disk, not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "small"
    reading.write(folder, few_rows(), card(), reading._compose)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the small benchmark, to be broken."""
    return Path(shutil.copytree(made, tmp_path / "small"))


@pytest.fixture(scope="module")
def bench(made):
    return reading.load(made)


def contents(folder):
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


# Rows


def test_every_row_of_pocket_is_in_order_and_nothing_is_odd():
    assert check(all_rows(), warn=True) == ()


BAD_IDS = (
    "../../../x", "/x", "a/b", "a\\b", "C:x", "a*", "a?", 'a"', "<a", "a>", "a|b", ".a", "a.", " a", "a ", "a\nb",
    "a\0b", "a\x7fb", "a\u202eb", "e\u0301", "", "\udc80", "é" * 101, "x" * 201, "CON", "nul.png", "com1", "LPT\u00b9",
    "..", ".",
)  # fmt: skip
GOOD_IDS = (
    "a",
    "é" * 100,
    "x" * 200,
    "a.b",
    "a b",
    "مَلِك",
    "ภาพ-1",
    "蚂蚁",
    "console",
    "com10",
    "-a",
    "a'b",
    "a(1)",
    "@a",
    "=a",
)


@pytest.mark.parametrize("name", GOOD_IDS)
def test_an_id_is_any_word(name):
    assert check(changed(1, id=name)[:1]) == ()


@pytest.mark.parametrize("name", ["U.S.", "Côte d'Ivoire", "Bosnia & Herzegovina", "می‌خواهم", "a:b", "<b>", "x" * 200])
def test_a_label_may_be_any_words(name):
    labels, spoken = (name, *card().labels[1:]), card().languages | {"ar": name}
    meta = checks.card_of(card().model_dump() | {"labels": labels, "languages": spoken}, "b")
    row = few_rows()[0] | {"culture": name}
    assert checks.check_rows([row], meta, "samples").findings == ()


@pytest.mark.parametrize("pair", [("a", "A"), ("straße", "STRASSE"), ("İx", "i\u0307x"), ("Σ", "ς")])
def test_ids_that_a_file_system_takes_for_one_are_refused(pair):
    one, other = (unicodedata.normalize("NFC", name) for name in pair)
    rows = [few_rows()[0] | {"id": one}, few_rows()[1] | {"id": other}]
    (finding,) = check(rows)
    assert (finding.row, finding.field) == (2, "id") and "row 1 only in case or Unicode form" in finding.message
    with pytest.raises(InterpError, match="differ only in case"):
        checks.card_of(card().model_dump() | {"labels": [*card().labels, "JAPAN"]}, "b")


def corruptions(row):
    """(fields to change, field to be named) of everything that can be wrong with a row."""
    captions = {"culture_style": ("noun_span", "modifier_span"), "noun_only": ("noun_only_span",)}
    for suffix in ("", "_en"):
        for caption, spans in captions.items():
            text = row[caption + suffix]
            yield {caption + suffix: " "}, caption + suffix
            yield {caption + suffix: 7}, caption + suffix
            yield {caption + suffix: text + "\udc80"}, caption + suffix
            yield {caption + suffix: text + "e\u0301"}, caption + suffix
            for span in (s + suffix for s in spans):
                start, end = row[span]
                wrong = [(start, len(text) + 1), (-1, end), (end, start), (start, start), (start,), (start, end, end)]
                wrong += [(start + 0.5, end), (True, end), f"{start}:{end}", {"start": start}]
                yield from (({span: list(w) if isinstance(w, tuple) else w}, span) for w in wrong)
        overlap = [
            min(row["noun_span" + suffix][0], row["modifier_span" + suffix][0]),
            len(row["culture_style" + suffix]),
        ]
        yield {"noun_span" + suffix: overlap}, "noun_span" + suffix
        yield {"neutral_noun_span" + suffix: None}, "neutral_noun_span" + suffix
        yield {"neutral_style" + suffix: None}, "neutral_modifier_span" + suffix
    yield from (({f: None}, f) for f in ("id", "image", "culture", "split", "noun_only", "noun_span", "noun_span_en"))
    for path in ("/etc/passwd", "../x.png", "images/../../x.png", "images\\x.png", "C:x.png", "."):
        yield {"image": path}, "image"
    for name in BAD_IDS:
        yield {"id": name}, "id"
    for name in ("a/b", "a\\b", "a\nb", "a\u202eb", " a", ".a", "a ", "é" * 101):
        yield {"culture": name}, "culture"
    for name in ("a\0b", "a\u2028b", "a\u200fb"):
        yield {"category": name}, "category"
    for name in ("../ar", "ar}", "a" * 40):
        yield {"language": name}, "language"
    for path in ("images/" + "x" * 300, "images/a\0.png", "a/" * 600 + "x.png"):
        yield {"image": path}, "image"
    yield {"culture": "Italia"}, "culture"
    yield {"culture": "Unrecognisable"}, "culture"
    yield {"language": "en"}, "language"
    yield {"split": "validation"}, "split"
    yield {"licence": "CC0"}, "licence"
    yield {"drawing": "1"}, "drawing"
    yield {"region": ""}, "region"


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_broken_row_is_always_found_and_named(data):
    number = data.draw(st.integers(1, 30))
    fields, name = data.draw(st.sampled_from(list(corruptions(few_rows()[number - 1]))))
    findings = check(changed(number, **fields)[:30])
    assert findings
    assert {(f.file, f.row, f.level) for f in findings} == {("samples.csv", number, "error")}
    assert name in {f.field.split(".")[0] for f in findings}


def test_each_kind_of_broken_row_is_found_and_named():
    for fields, name in corruptions(few_rows()[0]):
        findings = check(changed(1, **fields)[:1])
        assert name in {f.field.split(".")[0] for f in findings}, (fields, findings)


@given(
    start=st.integers(-3, 24),
    end=st.integers(-3, 24),
    text=st.sampled_from(["a big  ant", "รูปมด สีดำ", "مَلِك كبير", "大蟻"]),
)
@settings(deadline=None)
def test_a_span_is_taken_if_and_only_if_it_cuts_whole_characters_out(start, end, text):
    inside = 0 <= start < end <= len(text)
    marks = {i for i, c in enumerate(text) if unicodedata.category(c) in ("Mn", "Mc", "Me")}
    sound = inside and text[start:end].strip() != "" and start not in marks and end not in marks
    findings = check(changed(1, noun_only=text, noun_only_span=[start, end])[:1])
    assert (findings == ()) == sound
    assert {f.field for f in findings} <= {"noun_only_span"}


def test_the_same_id_twice_is_named_with_both_rows():
    (finding,) = check(changed(4, id=few_rows()[1]["id"]))
    assert (finding.row, finding.field) == (4, "id")
    assert "row 2" in finding.message


def test_no_rows_is_an_error():
    assert [str(f) for f in check([])] == ["samples.csv: holds no rows"]


def test_a_finding_reads_as_a_line():
    (finding,) = check(changed(3, culture="Italia")[:5])
    assert str(finding).startswith("samples.csv, row 3, field culture: unknown culture; known: Arab, China, France")
    assert str(finding).endswith("(found 'Italia')")


@pytest.mark.parametrize("count", [1, 2, 20, 21, 60])
def test_an_error_lists_the_first_twenty_and_the_count(count):
    findings = [checks.Finding("t", n, "id", "wrong") for n in range(1, count + 1)]
    odd = checks.Finding("t", 99, "id", "odd", "warning")
    with pytest.raises(InterpError) as caught:
        checks.refuse([odd, *findings], "benchmark b")
    text = str(caught.value)
    assert "odd" not in text
    assert text.count("wrong") == min(count, 20)
    assert ("\n" not in text) == (count == 1)
    assert (f"{count} problems" in text) == (count > 1)
    assert ("and 40 more" in text) == (count == 60)
    assert ("more" in text) == (count > 20)


def test_warnings_are_no_errors():
    checks.refuse([checks.Finding("t", 1, "id", "odd", "warning")], "benchmark b")


def odd(**fields):
    return [(f.row, f.field, f.level) for f in check(changed(2, **fields), warn=True)]


def test_a_caption_that_says_more_than_its_modifier_is_odd():
    row = few_rows()[1]
    assert odd(culture_style_en=row["culture_style_en"] + " at night") == [(2, "culture_style_en", "warning")]
    assert odd(neutral_style=row["neutral_style"] + " ليل") == [(2, "neutral_style", "warning")]
    assert odd(culture_style_en=row["culture_style_en"] + ".") == []
    assert odd(culture_style_en=row["culture_style_en"] + " !") == []


def test_a_culture_in_another_cultures_language_is_odd():
    assert odd(culture="Japan") == [(2, "language", "warning")]


# Tables

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).map(
    lambda s: unicodedata.normalize("NFC", s)
)
# what a spreadsheet would run, and what looks like it
formula = st.sampled_from(["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n", "'=1", "''=1", "'", "''", "'a", "-1.5",
                           "-1-1", "+1,000.5", "−1", "＝1", "=cmd|' /C calc'!A0", '=HYPERLINK(1)'])  # fmt: skip
optional = st.one_of(
    formula,
    st.tuples(st.sampled_from(["", "'", "''"]), st.sampled_from("=+-@\t\r\n＝＋－＠"), st.text(max_size=4))
    .map("".join)
    .map(lambda s: unicodedata.normalize("NFC", "".join(c for c in s if not "\ud800" <= c <= "\udfff"))),
    st.none(),
    st.sampled_from(["NA", "null", "1", "[1, 2]", ' "q", x', "a\nb", "a\r\nb", "\u2028", "مَلِك"]),
    text,
)


@pytest.mark.parametrize("kind", KINDS)
@given(regions=st.lists(optional, min_size=3, max_size=3), drawing=st.one_of(st.none(), st.integers(0, 9)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_comes_back_as_it_was(tmp_path, kind, regions, drawing):
    regions = [r if r and r.strip() else None for r in regions]
    values = [r | {"region": region, "drawing": drawing} for r, region in zip(few_rows(), regions, strict=False)]
    rows = [schema.Row.model_validate(v, context=card()) for v in values]
    path = tmp_path / f"samples.{kind}"
    write_table(path, rows)
    assert [schema.Row.model_validate(v, context=card()) for v in read_table(path)] == rows


@pytest.mark.parametrize("kind", KINDS)
def test_a_benchmark_is_the_same_in_every_kind_of_table(bench, tmp_path, kind):
    reading.write(tmp_path / kind, few_rows(), card(), reading._compose, table=kind)
    again = reading.load(tmp_path / kind)
    assert again.digest == bench.digest
    assert again.rows == bench.rows
    assert again.card == bench.card


def test_a_table_in_a_folder_named_like_a_partition_has_no_extra_column(folder):
    there = folder.rename(folder.with_name("culture=Italy"))
    assert {s.culture for s in reading.load(there).rows} == set(pocket.cultures())


def test_a_csv_from_a_spreadsheet_loads(folder):
    write_table(folder / "samples.csv", [schema.Row.model_validate(r) for r in few_rows()])
    raw = (folder / "samples.csv").read_bytes()
    (folder / "samples.csv").write_bytes(b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"))
    (folder / "samples.parquet").unlink()
    assert len(reading.load(folder).rows) == len(few_rows())


@given(cell=st.one_of(optional.filter(bool), st.text(max_size=6)))
@settings(max_examples=400)
def test_no_cell_is_run_and_every_cell_comes_back(cell):
    out = escapes.guarded(cell)
    assert escapes.unguarded(out) == cell
    if out[:1] and out[0] in "=+-@\t\r\n＝＋－＠":
        float(out.replace(",", "").rstrip(" %"))  # a number, which nothing runs


def test_a_formula_in_a_csv_table_is_text_and_a_number_stays_one(tmp_path):
    row = schema.Row.model_validate(
        few_rows()[0] | {"region": '=HYPERLINK("http://x")', "annotator": "-3.5", "drawing": -2}
    )
    write_table(tmp_path / "samples.csv", [row])
    cells = next(csv.DictReader(io.StringIO((tmp_path / "samples.csv").read_text(encoding="utf-8"), newline="")))
    assert (cells["region"], cells["annotator"], cells["drawing"]) == ('\'=HYPERLINK("http://x")', "-3.5", "-2")
    assert [schema.Row.model_validate(r) for r in read_table(tmp_path / "samples.csv")] == [row]


def test_a_long_cell_of_a_csv_is_read(tmp_path):
    row = schema.Row.model_validate(few_rows()[0] | {"source_url": "x" * 200_000})
    write_table(tmp_path / "samples.csv", [row])
    assert [schema.Row.model_validate(r) for r in read_table(tmp_path / "samples.csv")] == [row]


# Loading


def test_a_loaded_benchmark_says_what_it_holds(bench):
    assert bench.name == "pocket"
    assert bench.cultures == tuple(pocket.cultures())
    assert bench.languages == {c["name"]: c["language"] for c in pocket.recipe()["cultures"]}
    assert bench.splits == ("train", "test", "detection", "cross_domain")
    for name in bench.splits:
        rows = [r for r in few_rows() if r["split"] == name]
        assert [s.id for s in bench.samples(name)] == [r["id"] for r in rows]
        assert [p.id for p in bench.pairs(name, cultures=["Japan"])] == [
            r["id"] for r in rows if r["culture"] == "Japan"
        ]


def test_samples_hold_the_captions_and_spans_of_their_rows(bench):
    for sample, row in zip(bench.rows, few_rows(), strict=True):
        for pair, suffix, language in ((sample.native, "", row["language"]), (sample.english, "_en", "en")):
            assert (pair.id, pair.culture, pair.category) == (row["id"], row["culture"], row["category"])
            for prompt, caption, noun, modifier in (
                (pair.culture_style, "culture_style", "noun_span", "modifier_span"),
                (pair.noun_only, "noun_only", "noun_only_span", None),
                (pair.neutral, "neutral_style", "neutral_noun_span", "neutral_modifier_span"),
            ):
                assert (prompt.text, prompt.language) == (row[caption + suffix], language)
                assert prompt.noun == tuple(row[noun + suffix])
                assert prompt.modifier == (tuple(row[modifier + suffix]) if modifier else None)


def test_pairs_come_in_both_languages(bench):
    assert bench.pairs("test") == tuple(s.native for s in bench.samples("test"))
    assert bench.pairs("test", "english") == tuple(s.english for s in bench.samples("test"))


def test_a_row_without_neutral_captions_has_none(folder):
    rows = [{f: v for f, v in r.items() if not f.startswith("neutral")} for r in few_rows()]
    reading.write(folder / "new", rows, card(), reading._compose)
    assert {s.native.neutral for s in reading.load(folder / "new").rows} == {None}


def test_pictures_are_those_of_the_rows(bench):
    for sample, row in list(zip(bench.rows, few_rows(), strict=True))[::37]:
        picture = bench.image(sample)
        assert picture.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(picture), pocket.picture(row))


def test_unknown_names_list_the_known(bench):
    with pytest.raises(InterpError, match="unknown split 'valid'; known: train, test, detection, cross_domain"):
        bench.samples("valid")
    with pytest.raises(InterpError, match="unknown culture 'Italia'; known: Arab, China"):
        bench.samples("test", cultures=["Italy", "Italia"])
    with pytest.raises(InterpError, match="unknown language 'French'; known: native, english"):
        bench.pairs("test", "French")
    with pytest.raises(InterpError, match="unknown split 'valid'"):
        bench.subset("valid", 1, seed=0)
    with pytest.raises(InterpError, match="no benchmark 'no/such': it is neither a folder nor 'pocket'"):
        reading.load("no/such")


def test_only_the_splits_asked_for_are_loaded(made, bench):
    part = reading.load(made, splits=["detection"])
    assert part.splits == ("detection",)
    assert part.digest == bench.digest
    assert "only detection" in repr(part)
    with pytest.raises(InterpError, match="unknown split 'test'; known: detection"):
        part.samples("test")
    with pytest.raises(InterpError, match="unknown split 'valid'"):
        reading.load(made, splits=["valid"])


def test_a_benchmark_shows_itself(bench):
    cells = ", ".join(f"{s} {15 * PER_CELL}" for s in bench.splits)
    assert repr(bench) == f"Benchmark('pocket', 15 cultures, {cells})"
    assert f"<tr><td>Japan</td><td>ja</td>{f'<td>{PER_CELL}</td>' * 4}</tr>" in bench._repr_html_()


def test_html_is_escaped(folder):
    evil = "<img src=x onerror=alert(1)><script>"
    labels = (evil, *card().labels[1:])
    meta = card().model_copy(update={"name": evil, "labels": labels, "languages": card().languages | {"ar": evil}})
    rows = [r | {"culture": evil if r["culture"] == "Arab" else r["culture"]} for r in few_rows()]
    blank = Image.new("RGB", (1, 1))
    reading.write(folder / "new", rows, meta, lambda row, path: blank.save(path))
    assert "<script" not in reading.load(folder / "new")._repr_html_()
    assert "<img" not in reading.load(folder / "new")._repr_html_()


def edit_card(folder, **fields):
    path = folder / "benchmark.json"
    value = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({f: v for f, v in value.items() if v is not None}))


def put_rows(folder, rows):
    """Replace the table by a JSONL of any values."""
    (folder / "samples.parquet").unlink()
    (folder / "samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def put_text(folder, name, content):
    (folder / "samples.parquet").unlink()
    (folder / name).write_bytes(content)


def put_parquet(folder, table):
    pq.write_table(table, folder / "samples.parquet")


SPLIT = {"rule": "by hand", "shares": {"train": 7}, "seed": 0}
CARD = {
    "none": (lambda f: (f / "benchmark.json").unlink(), "benchmark.json: cannot be read"),
    "no JSON": (lambda f: (f / "benchmark.json").write_text("{"), "benchmark.json: Invalid JSON"),
    "not UTF-8": (lambda f: (f / "benchmark.json").write_bytes(b"\xff"), "benchmark.json: cannot be read"),
    "no licence": (lambda f: edit_card(f, licence=None), "benchmark.json, field licence: Field required"),
    "label twice": (lambda f: edit_card(f, labels=["A", "A"], languages={}), "a culture is listed twice"),
    "reserved": (lambda f: edit_card(f, labels=["A", "Unrecognisable"], languages={}), "leave it out"),
    "nobody's language": (lambda f: edit_card(f, languages={"xx": "Atlantis"}), "Atlantis not among the labels"),
    "unknown split": (lambda f: edit_card(f, split=SPLIT | {"shares": {"a": 1}}), "field split.shares.a"),
}
TABLE = {
    "none": (lambda f: (f / "samples.parquet").unlink(), "one table is needed"),
    "two": (lambda f: (f / "samples.csv").write_text(""), "found samples.parquet, samples.csv"),
    "parquet cut": (lambda f: (f / "samples.parquet").write_bytes(b"PAR1"), "samples.parquet: cannot be read"),
    "parquet of bytes": (lambda f: put_parquet(f, pa.table({"id": [b"x"]})), "row 1, field id: Input should be a"),
    "csv quote open": (lambda f: put_text(f, "samples.csv", b'id\n"a'), "samples.csv: cannot be read"),
    "csv not UTF-8": (lambda f: put_text(f, "samples.csv", b"id\n\xff"), "samples.csv: cannot be read"),
    "csv column twice": (lambda f: put_text(f, "samples.csv", b"id,id\n1,2\n"), "a column is named twice"),
    "csv cell too many": (lambda f: put_text(f, "samples.csv", b"id\na,b\n"), "field (cells beyond the header)"),
    "csv empty": (lambda f: put_text(f, "samples.csv", b""), "samples.csv: holds no rows"),
    "jsonl no object": (lambda f: put_rows(f, [*few_rows(), 7]), f"row {len(few_rows()) + 1}: Input should be"),
    "jsonl no JSON": (lambda f: put_text(f, "samples.jsonl", b"{\n"), "samples.jsonl, row 1: Input should be"),
    "jsonl too deep": (lambda f: put_text(f, "samples.jsonl", b"[" * 200_000), "samples.jsonl, row 1: Input"),
}
ROWS = {
    "one": (lambda f: put_rows(f, changed(5, noun_span=[0, 999])), "samples.jsonl, row 5, field noun_span: is empty"),
    "many": (lambda f: put_rows(f, [{"id": str(n)} for n in range(9)]), "and 115 more"),
    "no picture": (lambda f: (f / few_rows()[6]["image"]).unlink(), "row 7, field image: images/"),
    "changed": (lambda f: put_rows(f, changed(1, region="Lazio")), "the samples were changed"),
}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in ("CARD", "TABLE", "ROWS") for n in globals()[k]])
def test_a_broken_folder_gives_one_clear_error_and_is_left_as_it_is(folder, kind, name):
    damage, expected = globals()[kind][name]
    damage(folder)
    before = contents(folder.parent)
    with pytest.raises(InterpError) as caught:
        reading.load(folder)
    assert expected in str(caught.value)
    assert str(folder) in str(caught.value)
    assert any(f.level == "error" for f in reading.validate(folder))
    assert contents(folder.parent) == before


def test_the_digest_changes_with_rows_and_pictures(folder, bench):
    edit_card(folder, digests=None)
    assert reading.load(folder).digest == bench.digest
    recolour(folder / few_rows()[0]["image"])
    recoloured = reading.load(folder).digest
    put_rows(folder, changed(1, region="Lazio"))
    assert len({bench.digest, recoloured, reading.load(folder).digest}) == 3


def recolour(path):
    with Image.open(path) as file:
        pixels = np.asarray(file).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)


# Damage


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """A benchmark of six rows, in each kind of table."""
    folders = {}
    for kind in KINDS:
        folders[kind] = tmp_path_factory.mktemp("six") / kind
        reading.write(folders[kind], few_rows()[:6], card(), reading._compose, table=kind)
    return folders


FLIPS = 100
"""Of each kind of file; with 300 and other seeds the same holds."""


def flipped(raw, rng):
    at = rng.randrange(8 * len(raw))
    data = bytearray(raw)
    data[at // 8] ^= 1 << at % 8
    return bytes(data)


@pytest.mark.parametrize("name", ["benchmark.json", "samples.parquet", "samples.jsonl", "samples.csv"])
def test_no_flipped_bit_is_silent_or_a_traceback(six, tmp_path, name):
    kind = name.rpartition(".")[2]
    folder = Path(shutil.copytree(six["parquet" if kind == "json" else kind], tmp_path / "b"))
    whole, raw, rng = reading.load(folder), (folder / name).read_bytes(), random.Random(7)
    refused = []
    for _ in range(FLIPS):
        (folder / name).write_bytes(flipped(raw, rng))
        try:
            found = reading.load(folder)
        except InterpError as error:
            refused.append(str(error))
        else:
            assert (found.rows, found.card, found.digest) == (whole.rows, whole.card, whole.digest)
    assert len(refused) > FLIPS / 3
    assert all(line.isprintable() for message in refused for line in message.split("\n"))


def test_a_changed_card_is_found(folder):
    text = (folder / "benchmark.json").read_text()
    for old, new in (("CC-BY-4.0", "CC-BY-4.1"), ('"pocket"', '"packet"'), ('"seed": ', '"seed": 1'), ('"ar"', '"as"')):
        assert old in text
        (folder / "benchmark.json").write_text(text.replace(old, new, 1))
        with pytest.raises(InterpError, match=r"the card was changed.*remove digests\.card"):
            reading.load(folder)
    (folder / "benchmark.json").write_text(text)
    edit_card(folder, version="2", digests={k: v for k, v in json.loads(text)["digests"].items() if k != "card"})
    assert reading.load(folder).card.version == "2"


@pytest.mark.parametrize("digests", [{"sample": "0" * 64}, {"samples": "x"}, {"samples": 7}])
def test_digests_name_known_parts(folder, digests):
    edit_card(folder, digests=digests)
    with pytest.raises(InterpError, match="field digests"):
        reading.load(folder)


def test_a_card_that_could_not_be_read_is_not_written(tmp_path):
    meta = card().model_copy(update={"licence": " "})
    with pytest.raises(InterpError, match="its card, field licence: is blank"):
        reading.write(tmp_path / "new", few_rows()[:12], meta, reading._compose)
    assert not (tmp_path / "new").exists()


DEEP = json.loads("[" * 900 + "]" * 900)
values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just(DEEP), st.just("x" * 10**6),
    st.sampled_from([10**30, -1, float("nan"), "\ud800", "a\0b", "\x1b[2J", "a\nb", "../../x", {"bytes": [1]},
                     [[0, 1]], {}]),
)  # fmt: skip
fields = st.one_of(
    st.sampled_from([*schema.Row.model_fields]), st.sampled_from(["\ud800", "a\nb", "", "x" * 9999]), st.text()
)


def told(path):
    """What is said of a table: an error, or findings; each can be printed in a line."""
    try:
        said = [str(f) for f in checks.check_rows(read_table(path), card(), path.name, warn=True).findings]
    except InterpError as error:
        said = [str(error)]
    assert all(line.isprintable() and len(line) < 2000 for line in said), said[:1]
    return said


@given(change=st.dictionaries(fields, values, max_size=3))
@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_row_holds_is_told_in_lines(tmp_path, change):
    (tmp_path / "samples.jsonl").write_text(json.dumps(few_rows()[0] | change) + "\n")
    assert told(tmp_path / "samples.jsonl") or all(
        f in schema.Row.model_fields or value is None for f, value in change.items()
    )


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=60), before=st.sampled_from([b"", b"id\n", b'{"id":', b"PAR1", b'"', b"\xef\xbb\xbf"]))
@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_is_told_in_lines(tmp_path, kind, data, before):
    (tmp_path / f"samples.{kind}").write_bytes(before + data)
    assert told(tmp_path / f"samples.{kind}")


def odd_columns():
    """Columns that are no text: most of what Arrow has, some of it beyond what Python can hold."""
    yield pa.array([2**30], pa.date32())
    yield pa.array([2**62], pa.duration("ms"))
    yield pa.array([2**62], pa.timestamp("ms"))
    yield pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    yield pa.array([{"a": [{"b": 1}]}])
    yield pa.array([b"\xff"])
    yield pa.array([float("nan")])
    yield pa.array([["\0"]])
    yield pa.array([None])
    yield pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    yield pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0])), pa.py_buffer(b"\xff")]
    )


@pytest.mark.parametrize("column", list(odd_columns()), ids=lambda c: str(c.type)[:20])
def test_whatever_a_parquet_file_holds_is_told_in_lines(tmp_path, column):
    for field in ("id", "noun_span", "drawing"):
        pq.write_table(pa.table({field: column}), tmp_path / "samples.parquet")
        assert told(tmp_path / "samples.parquet")


def test_a_name_that_comes_twice_is_refused(tmp_path):
    rows = [schema.Row.model_validate(r) for r in few_rows()[:2]]
    write_table(tmp_path / "samples.parquet", rows)
    table = pq.ParquetFile(tmp_path / "samples.parquet").read()
    pq.write_table(table.append_column("id", pa.array(["x", "y"])), tmp_path / "samples.parquet")
    with pytest.raises(InterpError, match="a column is named twice: 'id'"):
        read_table(tmp_path / "samples.parquet")
    row = json.dumps(few_rows()[0])
    (tmp_path / "samples.jsonl").write_text(row.replace('{"id"', '{"id": "x", "id"') + "\n")
    assert "row 1" in told(tmp_path / "samples.jsonl")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_or_another_kind_of_file_is_told(folder, kind):
    path = folder / f"samples.{kind}"
    (folder / "samples.parquet").unlink()
    for make in (path.mkdir, lambda: os.mkfifo(path), lambda: path.write_bytes(gzip.compress(b"id\na\n"))):
        make()
        assert told(path)
        with pytest.raises(InterpError):
            reading.load(folder)
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda p: p.write_bytes(b"[" * 10**5), lambda p: p.write_text("7")]
)
def test_a_card_that_is_none_is_told(folder, make):
    (folder / "benchmark.json").unlink()
    make(folder / "benchmark.json")
    with pytest.raises(InterpError, match=r"benchmark\.json"):
        reading.load(folder)


def test_pages_of_parquet_have_checksums(tmp_path):
    write_table(tmp_path / "samples.parquet", [schema.Row.model_validate(r) for r in few_rows()[:12]])
    raw = (tmp_path / "samples.parquet").read_bytes()
    at = raw.index(b"train-arab-ant-0")
    (tmp_path / "samples.parquet").write_bytes(raw[:at] + b"T" + raw[at + 1 :])
    with pytest.raises(InterpError, match=r"samples\.parquet: cannot be read as a table: .*CRC"):
        read_table(tmp_path / "samples.parquet")


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_picture_is_an_error_or_a_picture(made, tmp_path_factory, data):
    raw = bytearray((made / few_rows()[0]["image"]).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    with suppress(InterpError):
        assert images.read(path).mode == "RGB"


# Validating


def found(folder):
    return [(f.file, f.row, f.field, f.level) for f in reading.validate(folder)]


def test_a_sound_folder_has_no_findings(made):
    assert reading.validate(made) == []


def test_validation_reads_the_pixels(folder):
    recolour(folder / few_rows()[3]["image"])
    assert found(folder) == [("benchmark.json", None, "digests.images", "error")]


def test_validation_names_a_picture_that_is_none(folder):
    (folder / few_rows()[3]["image"]).write_text("no picture")
    edit_card(folder, digests=None)
    assert found(folder) == [("samples.parquet", 4, "image", "error")]
    with pytest.raises(InterpError, match="is no sound picture"):
        reading.load(folder)


def test_validation_gives_warnings(folder):
    edit_card(folder, digests=None)
    put_rows(folder, changed(2, noun_only_en="picture: ant at night"))
    assert found(folder) == [("samples.jsonl", 2, f"{style}_style_en", "warning") for style in ("culture", "neutral")]
    reading.load(folder)


def first(split, culture="Italy"):
    """Number, counted from 1, of the first row of a split."""
    return next(n for n, r in enumerate(few_rows(), 1) if (r["split"], r["culture"]) == (split, culture))


def leaks(folder):
    edit_card(folder, digests=None)
    (finding,) = [f for f in reading.validate(folder) if f.level == "error"]
    assert "shares it with" in finding.message
    return finding


def test_a_picture_in_two_splits_is_found_by_its_pixels(folder):
    one, other = few_rows()[first("train") - 1], few_rows()[first("test") - 1]
    with Image.open(folder / one["image"]) as file:
        file.convert("RGBA").save(folder / other["image"], compress_level=1)
    finding = leaks(folder)
    assert (finding.row, finding.field) == (max(first("train"), first("test")), "image")
    assert one["id"] in finding.message
    assert other["id"] in finding.message


def test_a_pair_in_two_splits_is_found(folder):
    one = few_rows()[first("train") - 1]
    rows = changed(first("detection"), category=one["category"])
    put_rows(folder, rows)
    assert leaks(folder).field == "category"


def test_a_caption_in_two_splits_is_found(folder):
    one = few_rows()[first("train") - 1]
    fields = {f: one[f] for f in ("culture_style", "noun_span", "modifier_span")}
    put_rows(folder, changed(first("detection"), **fields))
    assert leaks(folder).field == "culture_style"


def test_what_one_split_shares_with_itself_is_no_leak(folder):
    one, other = few_rows()[first("train") - 1], few_rows()[first("train")]
    shutil.copyfile(folder / one["image"], folder / other["image"])
    edit_card(folder, digests=None)
    assert reading.validate(folder) == []


# Splitting

sizes = st.lists(st.integers(1, 6), min_size=3, max_size=14)


@given(cultures=st.lists(sizes, min_size=1, max_size=3), seed=st.integers(0, 2**32), shuffle=st.randoms())
@settings(max_examples=60, deadline=None)
def test_a_split_keeps_pairs_whole_and_fills_every_cell(cultures, seed, shuffle):
    rows = [
        {"id": f"{c}-{g}-{k}", "culture": str(c), "category": str(g)}
        for c, groups in enumerate(cultures)
        for g, size in enumerate(groups)
        for k in range(size)
    ]
    done = splits.split(rows, seed=seed)
    assert [{f: r[f] for f in ("id", "culture", "category")} for r in done] == rows
    pairs, cells = defaultdict(set), defaultdict(Counter)
    for row in done:
        pairs[row["culture"], row["category"]].add(row["split"])
        cells[row["culture"]][row["split"]] += 1
    assert all(len(splits) == 1 for splits in pairs.values())
    for culture, groups in enumerate(cultures):
        counts = cells[str(culture)]
        assert set(counts) == {"train", "test", "detection"}
        for name, share in (("train", 0.7), ("test", 0.2), ("detection", 0.1)):
            assert abs(counts[name] - share * sum(groups)) <= 2 * max(groups)
    mixed = list(rows)
    shuffle.shuffle(mixed)
    again = {r["id"]: r["split"] for r in splits.split(mixed, seed=seed)}
    assert again == {r["id"]: r["split"] for r in done}


def ten(cultures=("A", "B")):
    return [
        {"culture": c, "category": f"g{g}", "id": f"{c}{g}{k}"} for c in cultures for g in range(10) for k in range(3)
    ]


def test_ten_equal_categories_are_split_seven_two_one():
    for seed in range(5):
        counts = Counter((r["culture"], r["split"]) for r in splits.split(ten(), seed=seed))
        assert counts == {(c, s): 3 * n for c in "AB" for s, n in (("train", 7), ("test", 2), ("detection", 1))}


def test_the_seed_matters_and_a_new_culture_does_not():
    base = splits.split(ten(), seed=1)
    assert base != splits.split(ten(), seed=2)
    assert base == splits.split(ten(("A", "B", "C")), seed=1)[: len(base)]
    assert splits.split(ten(), (1, 1, 8), seed=1) != base


def test_a_split_that_cannot_be_is_refused():
    with pytest.raises(InterpError, match="culture A has 2 categories; three splits need three"):
        splits.split([{"culture": "A", "category": c} for c in "xy"], seed=0)
    with pytest.raises(InterpError, match="each must be a positive number"):
        splits.split(ten(), (7, 0, 1), seed=0)
    with pytest.raises(InterpError, match="row 2: field category is missing"):
        splits.split([ten()[0], {"culture": "A"}], seed=0)


def test_what_is_split_does_not_leak(tmp_path):
    rows = splits.split([r for r in all_rows() if r["culture"] == "Korea"][:90], seed=3)
    reading.write(tmp_path / "new", rows, card(), reading._compose)
    assert reading.validate(tmp_path / "new") == []


# Subsets


@cache
def whole():
    """Pocket in memory, without its pictures."""
    rows = checks.check_rows(all_rows(), card(), "samples").rows
    return Benchmark(card(), Path("none"), "", tuple(reading.sample_of(r) for r in rows))


@given(per_culture=st.integers(1, 119), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_a_subset_is_stratified_spread_and_nested(per_culture, seed):
    bench = whole()
    part = bench.subset("test", per_culture, seed)
    chosen = part.samples("test")
    assert set(Counter(s.culture for s in chosen).items()) == {(c, per_culture) for c in bench.cultures}
    clusters = Counter((s.culture, s.category) for s in chosen)
    assert len(clusters) == 15 * min(per_culture, 24)
    assert max(clusters.values()) - min(clusters.values()) <= 1
    ids = {s.id for s in chosen}
    assert [s for s in bench.samples("test") if s.id in ids] == list(chosen)
    assert ids <= {s.id for s in bench.subset("test", per_culture + 1, seed).samples("test")}
    assert part.samples("train") == bench.samples("train")


def test_a_subset_depends_on_the_seed_alone():
    bench = whole()
    rows = list(bench.rows)
    random.Random(0).shuffle(rows)
    mixed = Benchmark(bench.card, bench.folder, bench.digest, tuple(rows))
    ids = {s.id for s in bench.subset("test", 7, seed=1).samples("test")}
    assert ids == {s.id for s in mixed.subset("test", 7, seed=1).samples("test")}
    assert ids != {s.id for s in bench.subset("test", 7, seed=2).samples("test")}
    assert repr(bench.subset("test", 7, seed=1)).endswith("[test: 7 per culture, seed 1])")


@pytest.mark.parametrize("per_culture", [0, -1, 121])
def test_a_subset_that_cannot_be_is_refused(per_culture):
    with pytest.raises(InterpError, match="Arab has 120; ask for 1 to 120"):
        whole().subset("test", per_culture, seed=0)


@pytest.mark.parametrize("seed", [-1, 10**30, pytest.param(10**5000, id="huge"), True])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(InterpError, match=r"seed=.*: give a whole number from 0 to 18446744073709551615"):
        whole().subset("test", 3, seed)
    with pytest.raises(InterpError, match="seed"):
        splits.split(ten(), seed=seed)


@pytest.mark.parametrize("shares", [(-7, 2, 1), (10**5000, 1, 1), (10**30, 1, 1)])
def test_shares_have_bounds(shares):
    with pytest.raises(InterpError, match="each must be a positive number of parts, 1,000,000 at most"):
        splits.split(ten(), shares, seed=0)
    with pytest.raises(InterpError, match="samples per culture asked"):
        whole().subset("test", 10**5000, 0)


# Writing


def test_writing_never_leaves_a_part(tmp_path):
    def fail(row, path):
        if row["id"] == few_rows()[5]["id"]:
            raise RuntimeError("disk full")
        reading._compose(row, path)

    with pytest.raises(RuntimeError, match="disk full"):
        reading.write(tmp_path / "new", few_rows(), card(), fail)
    assert list(tmp_path.iterdir()) == []


def test_writing_refuses_what_loading_would(tmp_path):
    with pytest.raises(InterpError, match="row 5, field noun_span: is empty or outside"):
        reading.write(tmp_path / "new", changed(5, noun_span=[4, 4]), card(), reading._compose)
    with pytest.raises(InterpError, match=r"unknown kind of table; known: parquet, jsonl, csv"):
        reading.write(tmp_path / "new", few_rows(), card(), reading._compose, table="xlsx")
    with pytest.raises(InterpError, match="is no sound picture"):
        reading.write(tmp_path / "new", few_rows(), card(), lambda row, path: None)
    assert list(tmp_path.iterdir()) == []


def test_writing_leaves_a_folder_that_is_there(folder):
    before = contents(folder)
    with pytest.raises(InterpError, match="exists"):
        reading.write(folder, few_rows(), card(), reading._compose)
    assert contents(folder) == before


# Pocket


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_pocket(empty_cache, monkeypatch):
    """Pocket with a few samples only, so that it is composed in no time."""
    splits = {r["split"] for r in few_rows()}
    digests = {s: pocket.digest([r for r in few_rows() if r["split"] == s]) for s in splits}
    recipe = pocket.recipe() | {"digests": digests}
    monkeypatch.setattr(pocket, "samples", lambda: iter(few_rows()))
    monkeypatch.setattr(pocket, "recipe", lambda: recipe)
    return empty_cache


def test_pocket_is_composed_whole_on_first_use(empty_cache):
    bench = reading.load("pocket")
    (at,) = (empty_cache / "benchmarks").iterdir()
    assert bench.folder == at
    assert at.name.startswith("pocket-1.1-")
    assert [len(bench.samples(s)) for s in bench.splits] == [6300, 1800, 900, 600]
    for sample, row in list(zip(bench.rows, all_rows(), strict=True))[::601]:
        np.testing.assert_array_equal(np.asarray(bench.image(sample)), pocket.picture(row))


def test_pocket_is_composed_once(small_pocket, monkeypatch):
    bench = reading.load("pocket")
    monkeypatch.setattr(reading, "_fill", None)
    assert reading.load("pocket") == bench


def test_pocket_is_refused_if_a_pixel_is_off(small_pocket, monkeypatch):
    compose = pocket.compose

    def off_by_one(*args):
        picture = compose(*args)
        picture[5, 7, 1] ^= 1
        return picture

    monkeypatch.setattr(pocket, "compose", off_by_one)
    with pytest.raises(InterpError, match=r"is not what recipe\.json records; reinstall"):
        reading.load("pocket")
    assert not (small_pocket / "benchmarks").exists()


def test_a_damaged_cache_says_how_to_mend_it(small_pocket):
    bench = reading.load("pocket")
    (bench.folder / bench.rows[2].image).unlink()
    with pytest.raises(InterpError, match=r"delete the folder, and it is composed again\): samples\.parquet, row 3"):
        reading.load("pocket")
    shutil.rmtree(bench.folder)
    assert reading.load("pocket").digest == bench.digest


def test_two_processes_may_compose_at_once(small_pocket, monkeypatch):
    fill = reading._fill

    def other_first(folder, *args):
        monkeypatch.setattr(reading, "_fill", fill)
        reading.load("pocket")
        fill(folder, *args)

    monkeypatch.setattr(reading, "_fill", other_first)
    bench = reading.load("pocket")
    assert len(bench.rows) == len(few_rows())
    assert list((small_pocket / "benchmarks").iterdir()) == [bench.folder]


def test_another_recipe_has_another_folder(small_pocket, monkeypatch):
    one = reading.load("pocket").folder
    recipe = pocket.recipe() | {"seed": 1}
    monkeypatch.setattr(pocket, "recipe", lambda: recipe)
    assert reading.load("pocket").folder != one
