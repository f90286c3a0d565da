"""census, resplit, card and `interp bench`: counts, new splits, data cards, sub-regions, near-duplicates."""

import io
import json
import shutil
from collections import Counter

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image
from typer.testing import CliRunner

from interp import InterpError, escapes
from interp.benchmarks import census, reading, resplit
from interp.benchmarks.card import write_data_card
from interp.benchmarks.rows import find_table, read_table
from interp.benchmarks.schema import Card
from interp.cli.main import app
from interp.report.figures import figure
from interp.report.tables import html


@pytest.fixture
def folder(small_bench, tmp_path):
    """A benchmark that may be changed."""
    return shutil.copytree(small_bench.folder, tmp_path / "bench")


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def _card(folder, **changes):
    path = folder / "benchmark.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")


def test_the_census_counts_every_row(small_bench):
    found = census.census(small_bench.folder)
    rows = small_bench.rows
    assert {c: dict(n) for c, n in found.counts.items()} == {
        c: dict(Counter(s.split for s in rows if s.culture == c)) for c in small_bench.cultures
    }
    assert found.languages == dict(Counter(s.language for s in rows))
    assert found.categories == dict(Counter(s.category for s in rows))
    own = sorted(len(s.native.noun_only.text) for s in rows if s.language == "th")
    assert found.lengths["th"]["noun_only"] == (own[len(own) // 2 - 1] + own[len(own) // 2]) / 2
    assert "360 samples" in repr(found) and "Japan" in html(found) and figure(found).axes


def test_a_new_split_keeps_rows_and_pictures(small_bench, tmp_path):
    new = resplit.resplit(small_bench.folder, tmp_path / "new", (5, 3, 2), seed=3)
    assert {s.id: s.native for s in new.rows} == {s.id: s.native for s in small_bench.rows}
    assert new.card.digests["images"] == small_bench.card.digests["images"]
    assert new.card.digests["samples"] != small_bench.card.digests["samples"]
    again = resplit.resplit(small_bench.folder, tmp_path / "again", (5, 3, 2), seed=3)
    assert [s.split for s in again.rows] == [s.split for s in new.rows]
    other = resplit.resplit(small_bench.folder, tmp_path / "other", (5, 3, 2), seed=4)
    assert [s.split for s in other.rows] != [s.split for s in new.rows]
    assert not [f for f in reading.validate(tmp_path / "new") if f.level == "error"]
    with pytest.raises(InterpError, match="exists"):
        resplit.resplit(small_bench.folder, tmp_path / "new")


def test_the_data_card_is_what_hubs_read(folder):
    text = write_data_card(folder).read_text(encoding="utf-8")
    _, header, body = text.split("---\n", 2)
    found = yaml.safe_load(header)
    assert found["license"] == "CC-BY-4.0" and "th" in found["language"] and "en" in found["language"]
    assert "360 pictures" in body and "| Japan | 8 | 8 | 8 |" in body
    assert json.loads((folder / "benchmark.json").read_text())["digests"]["images"] in body


def test_sub_regions_belong_to_a_culture(folder):
    rows = read_table(find_table(folder))
    for row in rows:
        if row["culture"] == "Spain" and row["id"].endswith("-1"):
            row["culture"] = "Galicia"
    (folder / "samples.parquet").unlink()
    (folder / "samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    labels = json.loads((folder / "benchmark.json").read_text())["labels"]
    _card(folder, labels=[*labels, "Galicia"], parents={"Galicia": "Spain"}, digests={})
    bench = reading.load(folder)
    assert Counter(s.culture for s in bench.rows)["Galicia"] == 12
    coarse = bench.coarse()
    assert coarse.cultures == tuple(labels) and Counter(s.culture for s in coarse.rows)["Spain"] == 24
    for wrong, said in (
        ({"Galicia": "Mars"}, "Mars not among"),
        ({"Galicia": "Spain", "Spain": "Italy"}, "one level"),
    ):
        _card(folder, parents=wrong)
        with pytest.raises(InterpError, match=said):
            reading.load(folder)


def test_forty_labels_are_data(small_bench):
    card = json.loads(small_bench.card.model_dump_json())
    more = Card.model_validate(card | {"labels": [*card["labels"], *(f"Region {n}" for n in range(25))]})
    assert len(more.labels) == 40


def test_a_reworked_picture_in_another_split_is_a_leak(folder):
    bench = reading.load(folder)
    source = next(s for s in bench.rows if s.split == "train")
    target = next(s for s in bench.rows if s.split == "test" and s.culture != source.culture)
    file = io.BytesIO()
    bench.image(source).resize((90, 90)).save(file, "JPEG", quality=80)
    Image.open(file).save(folder / target.image)
    _card(folder, digests={})
    errors = [str(f) for f in reading.validate(folder) if f.level == "error"]
    assert [e for e in errors if f"{target.id} of test looks the same as {source.id} of train" in e]
    done = run("validate", folder)
    assert done.exit_code == 2 and "looks the same as" in done.stdout


def test_what_is_odd_is_told_and_does_not_fail(folder):
    _card(folder, image_licence=None)
    rows = read_table(find_table(folder))
    rows[3]["noun_only"] = "\u200f" + rows[3]["noun_only"]
    (folder / "samples.parquet").unlink()
    (folder / "samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    _card(folder, digests={}, image_licence=None)
    done = run("validate", folder)
    assert done.exit_code == 0, done.stdout
    assert "marks of direction (U+200F)" in done.stdout and "image_licence" in done.stdout
    assert "and 343 more" in done.stdout and "in order" in done.stdout


def test_the_commands(folder, tmp_path):
    stats = run("stats", folder, "--out", tmp_path / "figures")
    assert stats.exit_code == 0 and "360 samples" in stats.stdout and (tmp_path / "figures" / "census.png").is_file()
    split = run("split", folder, "--out", tmp_path / "new", "--shares", "6:2:2")
    assert split.exit_code == 0 and "pocket-small" in split.stdout
    assert run("card", folder).exit_code == 0 and (folder / "README.md").is_file()
    wrong = run("split", folder, "--out", tmp_path / "x", "--shares", "7:2")
    assert isinstance(wrong.exception, InterpError) and not (tmp_path / "x").exists()
    missing = run("validate", tmp_path / "none")
    assert missing.exit_code == 2


HOSTILE = (
    "](javascript:alert(1))", "</td><script>alert(1)</script>", "![x](http://x/y.png)", "a | b \\| c", "`x` ``y``",
    "---\nlicense: mit\n---", "- x", "+ x", "1. x", "12) x", "=====", "**b** _i_ ~~s~~", "&lt;b&gt; &amp;", "<b>",
    "a\\",
    "[x]: http://x", "\u202etxt.exe", "a\u2028b", "$x$", "<http://x.y>", "x #", "# x",
    "no",
)  # fmt: skip


def shown(text):
    """What is left of a text in one line, without what shows nothing."""
    return " ".join("".join(c if c.isprintable() or c in "\u200c\u200d" else " " for c in text).split())


def tokens(source):
    """Every token of a Markdown text, by the reader that GitHub's dialect is checked with here."""
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source)
    return [*parsed, *(child for token in parsed for child in token.children or ())]


def seen(source):
    """The text that a reader sees, and the kinds of the tokens that it is made of."""
    found = tokens(source)
    words = "".join(t.content for t in found if t.type in ("text", "text_special", "code_inline"))
    return words, {t.type for t in found}


PLAIN = {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}
TABLE = {f"{part}_{end}" for part in ("table", "thead", "tbody", "tr", "th", "td") for end in ("open", "close")}


@given(text=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12), st.text("[]()<>`|\\*_#-+=~!&1. \n", max_size=12)))
def test_any_text_shows_as_it_is_in_markdown(text):
    expected = shown(text)
    words, kinds = seen(escapes.markdown(text))
    assert words == expected and kinds <= (PLAIN if expected else set())
    words, kinds = seen(f"| a | b |\n| --- | --- |\n| {escapes.markdown(text)} | c |\n")
    assert words == f"ab{expected}c" and kinds <= PLAIN | TABLE
    words, kinds = seen(f"- {escapes.markdown(text)}: 1")
    assert words == f"{expected}: 1" and "bullet_list_open" in kinds and "heading_open" not in kinds
    if expected:
        words, kinds = seen(f"at {escapes.code(text)}, x")
        assert words == f"at {expected}, x" and kinds <= PLAIN | {"code_inline"}


@given(text=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12)))
def test_any_text_is_a_value_of_a_yaml_header(text):
    assert yaml.safe_load(f"x: {escapes.quoted(text)}\n") == {"x": text}


def test_a_data_card_shows_what_a_benchmark_says_as_text(folder):
    rows = read_table(find_table(folder))
    for row, text in zip(rows, HOSTILE, strict=False):
        row |= {"image_licence": shown(text) + " ", "review": text, "annotator": text}
    (folder / "samples.parquet").unlink()
    (folder / "samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    card = json.loads((folder / "benchmark.json").read_text())
    evil = "<img src=x onerror=alert(1)> ](javascript:x) `|`"
    labels = [evil if c == "Japan" else c for c in card["labels"]]
    rows = [r | {"culture": evil if r["culture"] == "Japan" else r["culture"]} for r in rows]
    (folder / "samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    name, licence = 'x"\n---\n# evil\n<script>', "mit\nlicense: other"
    split = card["split"] | {"rule": "<b>by</b> [hand](http://x)"}
    languages = card["languages"] | {"ja": evil}
    _card(folder, name=name, licence=licence, labels=labels, languages=languages, split=split, digests={})
    text = write_data_card(folder).read_text(encoding="utf-8")
    _, header, body = text.split("---\n", 2)
    found = yaml.safe_load(header)
    assert (found["pretty_name"], found["license"]) == (name, licence)
    words, kinds = seen(body)
    assert not kinds & {
        "html_inline",
        "html_block",
        "link_open",
        "image",
        "ordered_list_open",
        "hr",
        "s_open",
        "em_open",
    }
    assert evil in words and "<b>by</b> [hand](http://x)" in words and all(shown(t) in words for t in HOSTILE)
    assert sum(t.type == "heading_open" for t in tokens(body)) == 9
    norwegian = yaml.safe_load(f"- {escapes.quoted('no')}")
    assert norwegian == ["no"]


def test_a_readme_of_somebody_else_is_kept(folder):
    """The card replaces its own earlier text, and neither a README of the user's nor an edited card."""
    path = write_data_card(folder)
    assert write_data_card(folder) == path
    card = path.read_text(encoding="utf-8")
    for text in ("# My benchmark\n", card + "A note.\n", "x" + card):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InterpError, match=r"README\.md is no data card of ours, or was edited"):
            write_data_card(folder)
        assert path.read_text(encoding="utf-8") == text
