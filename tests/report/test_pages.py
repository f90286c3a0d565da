import json
import re
import subprocess
import sys
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser
from importlib import resources
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from report_values import PROMPTS, Draws, grid, intervals_in, numbers_in, text_of

from interp.benchmarks import cross_domain, pocket
from interp.errors import InterpError
from interp.grids import Grid, GridRow, Shots
from interp.report import webfonts
from interp.report.pages.latents import write_pages
from interp.report.pages.sheet import write_sheet
from interp.report.pages.study import write_report
from interp.report.results import Results, read_results
from interp.report.text import interval, number
from interp.types import Caption, Histogram, Neurons, Piece, Profile


def test_a_report_is_a_page_its_figures_and_its_numbers(report: Path, results: Results):
    folder = report.parent
    assert sorted(p.name for p in folder.iterdir()) == ["figures", "report.html", "results.json"]
    names = {p.stem for p in (folder / "figures").iterdir()}
    assert names >= {"gap", "layers", "wfs", "elbow", "ablate", "wake", "sweep", "steer", "off_target", "density",
                     "confusion", "overlap", "grid-wake", "grid-sweep", "grid-odd"}  # fmt: skip
    assert all((folder / "figures" / f"{n}.{kind}").stat().st_size > 1000 for n in names for kind in ("png", "pdf"))
    assert read_results(folder / "results.json") == json.loads(json.dumps(results.to_dict()))


def test_the_page_says_every_number(report: Path, results: Results):
    page = report.read_text(encoding="utf-8")
    words, numbers = text_of(page), json.loads(json.dumps(results.to_dict()))
    estimates = intervals_in(numbers)
    assert len(estimates) > 130
    assert [interval(e) for e in estimates if interval(e) not in words] == []
    for values, digits in ((numbers["layers"]["scores"], 4), (numbers["sweep"]["noun_fidelity"], 1)):
        assert all(number(n, digits) in words for n in values)
    assert all(number(n) in words for row in numbers["ablate"]["off_target"]["values"] for n in row)
    assert all(", ".join(map(str, latents)) in words for latents in numbers["neurons"].values())
    appendix = re.search(r"<pre>(.*?)</pre>", page, re.S)
    assert appendix
    assert numbers_in(json.loads(unescape(appendix[1]))) == numbers_in(numbers)


def test_the_page_tells_what_was_missed_and_what_the_numbers_mean(report: Path, results: Results):
    words = text_of(report.read_text(encoding="utf-8"))
    assert "1 of 2 targets met. Missed: waking." in words
    assert "model organism" in words
    assert "12 answers could not be scored" in words
    assert "a sample of 1,500 of the 1,800 samples of the test split" in words
    assert "uncommitted changes" in words
    assert str(results.manifest.model_digest) in words
    assert "attention contrast and causal effect do not agree; the recipe uses layer 3" in words
    assert "paper's literal choice (z, layer 10, topk codes, amplify, strength 6)" in words
    assert "Masking each culture's own latents lowers CultureVQA" in words
    assert "latents of the SAE" in words and "dictionary" not in words


def test_the_page_shows_an_enhancer_and_nouns_outside_the_benchmark(results: Results, report: Path, tmp_path: Path):
    without = text_of(report.read_text(encoding="utf-8"))
    assert "The trained enhancer" not in without and "Nouns outside the benchmark" not in without
    whole = Draws(6).with_enhancer(results)
    words = text_of(write_report(whole, {}, tmp_path).read_text(encoding="utf-8"))
    assert "A residual module of width 64 on resid of layer 3" in words
    assert "Controls against the baseline: moved to layer 6" in words
    assert "Nouns outside the benchmark" in words
    numbers = json.loads(json.dumps(whole.to_dict()))
    estimates = intervals_in([numbers["enhance"], numbers["held_out"]])
    assert len(estimates) > 60
    assert [interval(e) for e in estimates if interval(e) not in words] == []
    assert (tmp_path / "figures" / "enhance.pdf").is_file()
    for name, paper, arm in (
        ("enhancer", "32.66 36.63", "enhanced"),
        (", random", "21.04 22.34", "trained at layer 6"),
    ):
        assert whole.enhance
        assert f"{name} {paper} {number(whole.enhance.accuracy[arm].estimate)} " in words


def test_the_page_loads_nothing_and_is_well_formed(report: Path):
    page = report.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href|action)\s*=\s*["'](?!data:image/(?:png|webp);base64,|#)""", page)
    assert not re.search(r"@import|url\((?!data:font/woff;base64,)|https?:|<script|<link|<iframe", page)
    assert "default-src 'none'" in page

    class Nesting(HTMLParser):
        def __init__(self):
            super().__init__()
            self.stack, self.ids = [], []

        def handle_starttag(self, tag, attrs):
            self.ids += [value for name, value in attrs if name == "id" and value]
            self.stack += [] if tag in ("meta", "img", "br") else [tag]

        def handle_endtag(self, tag):
            assert self.stack.pop() == tag

    parser = Nesting()
    parser.feed(page)
    assert parser.stack == []
    assert len(set(parser.ids)) == len(parser.ids)
    assert {target for target in re.findall(r'href="#([^"]+)"', page)} <= set(parser.ids)


def test_prompts_are_escaped_and_named_by_language_and_direction(report: Path):
    page = report.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;Bold&lt;/b&gt; &amp; more." in page
    for language, prompt in PROMPTS.values():
        direction = "rtl" if language == "ar" else "ltr"
        assert f'lang="{language}" dir="{direction}">{prompt}</span>' in page
    assert page.count("<img") == page.count('alt="')
    assert page.count('class="plot ') == 13


def test_shipped_fonts_have_every_letter_of_the_captions():
    folder = Path(str(resources.files("interp.report"))) / "fonts"
    letters: dict[str, set[int]] = {p.stem: set() for p in folder.glob("*.woff")}
    assert letters.keys() == {"ar", "ja", "ko", "th", "zh"}
    for row in pocket.samples():
        if row["language"] in letters:
            letters[row["language"]] |= {ord(c) for c in row["culture_style"] + row["noun_only"] if not c.isascii()}
    for language, wanted in letters.items():
        wanted |= {ord(c) for prompt in cross_domain.prompts(language) for c in prompt.text if ord(c) > 0x2FF}
        assert wanted <= TTFont(folder / f"{language}.woff").getBestCmap().keys()


def test_the_page_carries_the_fonts_of_its_languages_alone(report: Path):
    page = report.read_text(encoding="utf-8")
    languages = set(re.findall(r'class="prompt" lang="(\w+)"', page))
    carried = set(re.findall(r"\.prompt:lang\((\w+)\)", page))
    assert carried == languages & {"ar", "ja", "ko", "th", "zh"} != set()
    assert page.count("@font-face") == len(carried)
    for font in re.findall(r"data:font/woff;base64,([A-Za-z0-9+/=]+)", page):
        assert len(TTFont(BytesIO(b64decode(font))).getBestCmap()) < 60, "cut down to what is on the page"


def test_a_font_is_cut_to_its_text_and_keeps_how_letters_join():
    [font] = re.findall(r"base64,([A-Za-z0-9+/=]+)", webfonts.css([("ar", "رسم: فيل")]))
    cut = TTFont(BytesIO(b64decode(font)))
    assert {ord(c) for c in "رسمفيل"} <= cut.getBestCmap().keys() <= {ord(c) for c in "رسم: فيل"}
    assert {"init", "medi", "fina"} <= {r.FeatureTag for r in cut["GSUB"].table.FeatureList.FeatureRecord}
    assert webfonts.css([("tr", "resim"), ("und", "x")]) == ""


def test_another_model_is_not_called_an_organism(bare: Results, tmp_path: Path):
    page = write_report(bare, {}, tmp_path, neuron_pages=True).read_text(encoding="utf-8")
    assert "model organism" not in page
    assert 'href="neurons/index.html"' in page
    assert "some/&lt;model&gt;" in page
    assert "no record of the judge" in page
    assert "uncommitted" not in page
    assert "No targets were set" in page


def test_pages_of_neurons_are_linked_only_where_they_are(report: Path):
    assert "neurons/index.html" not in report.read_text(encoding="utf-8")


def test_a_grid_whose_name_is_no_file_name_is_refused(results: Results, tmp_path: Path):
    with pytest.raises(InterpError, match=r"'\.\./up'"):
        write_report(results, {"../up": grid(["a"])}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_importing_the_report_does_not_import_torch():
    script = (
        "import sys, interp.report; print(*[m for m in ('torch', 'nnsight', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_sheet_shows_names_as_text(tmp_path: Path):
    evil = '</title><script>alert(1)</script>" onerror="x'
    grid = Grid(evil, [evil], [GridRow(evil, 'x" onload="y', evil, [np.zeros((4, 4, 3), dtype=np.uint8)])])
    page = write_sheet(tmp_path / "a.html", evil, grid, [], [grid]).read_text(encoding="utf-8")
    assert "<script" not in page and 'onload="y' not in page and '" onerror="x' not in page
    assert unescape(page).count(evil) >= 5


def test_a_latent_has_a_page_with_its_images_and_a_place_in_the_index(neurons: Neurons, tmp_path: Path):
    owners: dict[int, list[str]] = {}
    for culture, members in neurons.sets.items():
        for i in members.indices:
            owners.setdefault(i, []).append(culture)
    caption = Caption((Piece("写真", 2.0), Piece("：", 0.0)), "ja", ("Japan",), "neutral", "photo", 2.0)
    profiles = {
        i: Profile(
            i, tuple(cultures), 5, 100, Histogram((0.0, 1.0, 2.0), (4, 1)),
            dict(zip(neurons.cultures, neurons.wfs[:, i].tolist(), strict=True)),
            dict(zip(neurons.cultures, neurons.wfs_noun[:, i].tolist(), strict=True)), (caption,),
        )
        for i, cultures in owners.items()
    }  # fmt: skip
    first = neurons["Japan"].indices[0]
    pair = grid(["culture-style, off", "latent off"], ("Japan", "Arab"))
    shots = {first: Shots("Japan", 6.0, pair, grid(["noun-only, up", "latent up"], ("Japan", "Arab")))}
    index = write_pages(profiles, shots, neurons, tmp_path / "neurons")
    assert {p.name for p in index.parent.iterdir()} == {"index.html", "neurons.css", *(f"{i}.html" for i in owners)}
    page = (index.parent / f"{first}.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/webp') == 8 and page.count("<img") == 8
    assert page.count('alt="latent off: violin, Japan" width="128" height="128"') == 1
    assert "added at 6 times its usual magnitude" in page
    assert 'lang="ar" dir="rtl">صورة: كمان</span>' in page
    other = (index.parent / f"{neurons['Spain'].indices[0]}.html").read_text(encoding="utf-8")
    assert "<img" not in other
    listing = index.read_text(encoding="utf-8")
    assert listing.count('src="data:image/webp') == 2 * len(owners[first])
    assert 'width="48" height="48"' in listing
    styles = (index.parent / "neurons.css").read_text(encoding="utf-8")
    assert set(re.findall(r"\.prompt:lang\((\w+)\)", styles)) == {"ja", "ar"}
