"""Pages of single latents on the pocket model, against one caption after another through a plain hook."""

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st

import interp
from interp.benchmarks import pocket
from interp.errors import InterpError
from interp.experiments import latent_images, parts
from interp.experiments.setup import seed_of
from interp.experiments.study import Study
from interp.interventions import generate
from interp.interventions.edits import Mask, Steer
from interp.latents import profiles
from interp.report import build
from interp.report.pages.latents import SHADES, columns, shade, share, write_pages
from interp.types import Caption, Histogram, Piece

CULTURES = ("Arab", "Germany", "Japan", "Thailand")
TOP = 5


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Any:
    """Three latents per culture of the pocket model, with their profiles and pictures of two steps."""
    bench = tiny.bench(tmp_path_factory.mktemp("bench") / "small", CULTURES)
    model, sae = interp.load("pocket"), interp.load_sae("pocket", 9)
    rule = interp.Rule(k=3, tau=0.5, filter="before")
    neurons = interp.find_neurons(model, sae, bench, rule, progress=False)
    known = profiles.profile(model, sae, bench, neurons, top=TOP, progress=False)
    shots = latent_images.latent_shots(model, bench, neurons, steps=2, progress=False)
    return SimpleNamespace(model=model, sae=sae, bench=bench, neurons=neurons, profiles=known, shots=shots)


@pytest.fixture(scope="module")
def pages(found, tmp_path_factory) -> Path:
    """The folder of the pages, with a page of a report above it."""
    out = tmp_path_factory.mktemp("report")
    (out / "report.html").write_text("<!DOCTYPE html>", encoding="utf-8")
    return write_pages(found.profiles, found.shots, found.neurons, out / "neurons").parent


@pytest.fixture(scope="module")
def codes(found) -> dict[str, torch.Tensor]:
    """Codes of the content tokens of every caption, [token d_sae], one caption after another."""
    return {text: _hooked(found, text) for text in _texts(found.bench)}


def _texts(bench) -> list[str]:
    rows = bench.samples("detection")
    pairs = [pair for row in rows for pair in (row.native, row.english)]
    prompts = [p for pair in pairs for p in (pair.culture_style, pair.noun_only, pair.neutral) if p is not None]
    return sorted({p.text for p in prompts})


def _hooked(found, text: str) -> torch.Tensor:
    """Codes of the content tokens of one caption, [token d_sae], read by torch's own hook."""
    encoder, kept = found.model.encoders["text_encoder"], []
    layer = encoder.module.get_submodule(encoder.path)[9]
    handle = layer.register_forward_hook(lambda *a: kept.append(a[-1][0] if isinstance(a[-1], tuple) else a[-1]))
    try:
        ids = encoder.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            encoder.module(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        handle.remove()
    return found.sae.encode(kept[0].reshape(-1, kept[0].shape[-1])[1:-1])


def test_a_profile_counts_what_a_plain_loop_counts(found, codes):
    every = torch.cat(list(codes.values()))
    assert found.profiles.keys() == {i for s in found.neurons.sets.values() for i in s.indices}
    for i, profile in found.profiles.items():
        fired = every[:, i][every[:, i] > 0].numpy()
        assert (profile.tokens, profile.fired) == (len(every), len(fired))
        assert profile.density == pytest.approx((every[:, i] > 0).float().mean().item())
        assert profile.histogram.edges[-1] == pytest.approx(fired.max(), rel=1e-4)
        edges = np.linspace(0, profile.histogram.edges[-1], profiles.BINS + 1)
        assert profile.histogram.edges == pytest.approx(edges)
        below = [int((fired <= edge + 1e-3).sum()) for edge in edges]
        above = [int((fired < edge - 1e-3).sum()) for edge in edges]
        summed = [0, *np.cumsum(profile.histogram.counts).tolist()]
        assert all(low <= s <= high for low, s, high in zip(above, summed, below, strict=True))
        row = found.neurons.cultures.index("Japan")
        assert profile.wfs["Japan"] == found.neurons.wfs[row, i]
        assert profile.wfs_noun["Japan"] == found.neurons.wfs_noun[row, i]
        assert profile.cultures == tuple(c for c in CULTURES if i in found.neurons[c].indices) != ()


def test_captions_come_strongest_first_with_the_codes_of_their_tokens(found, codes):
    for i, profile in found.profiles.items():
        most = sorted((own[:, i].max().item() for own in codes.values()), reverse=True)
        most = [value for value in most[:TOP] if value > 0]
        assert [c.activation for c in profile.captions] == pytest.approx(most, rel=1e-4)
        assert len({c.text for c in profile.captions}) == len(profile.captions)
        for caption in profile.captions[:2]:
            own = codes[caption.text][:, i]
            assert caption.activation == pytest.approx(own.max().item(), rel=1e-4)
            shown = [p.activation for p in caption.pieces if p.activation > 0]
            # tokens that share a character are one piece
            assert 0 < len(shown) <= int((own > 0).sum())
            assert all(min(abs(own - value)) < 1e-3 * value for value in shown)
            assert max(shown) == caption.activation


def test_a_caption_says_whose_it_is(found):
    for caption in (c for p in found.profiles.values() for c in p.captions):
        side = {v: k for k, v in profiles.KINDS.items()}[caption.kind]
        sides = [(s, getattr(pair, side)) for s in found.bench.samples("detection") for pair in (s.native, s.english)]
        rows = [s for s, prompt in sides if prompt is not None and prompt.text == caption.text]
        assert set(caption.cultures) >= {s.culture for s in rows} != set()
        assert caption.language in {"en", *(s.language for s in rows)}
        assert caption.english in {getattr(s.english, side).text for s in rows}


def test_the_pieces_of_every_language_are_the_caption(found):
    encoder = found.model.encoders["text_encoder"]
    texts = {}
    for row in pocket.samples():
        texts.setdefault(row["language"], row["culture_style"])
    assert len(texts) == 15
    for text in [*texts.values(), "  two  spaces ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🎻", "<b>bold</b>"]:
        tokens = encoder.tokenise([text])
        spans = [s for s, no in zip(tokens.offsets[0], tokens.special[0].tolist(), strict=True) if not no]
        cut = profiles.pieces(text, spans, [float(n + 1) for n in range(len(spans))])
        assert "".join(p.text for p in cut) == text
        assert all(p.text for p in cut)
        assert max(p.activation for p in cut if p.activation > 0) == len(spans)


@given(st.text(max_size=12), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4), st.floats(0, 9)), max_size=8))
def test_pieces_lose_neither_text_nor_the_largest_code(text, drawn):
    ordered = sorted((min(start, len(text)), length, value) for start, length, value in drawn)
    spans = [(start, min(start + length, len(text))) for start, length, _ in ordered]
    cut = profiles.pieces(text, spans, [value for *_, value in ordered])
    assert "".join(p.text for p in cut) == text
    if any(text[start:end].strip() for start, end in spans):
        assert max(p.activation for p in cut if p.activation >= 0) == max(value for *_, value in ordered)


def test_a_study_writes_the_pages_of_its_neurons(found, tmp_path):
    study = Study.named(found.model, found.bench, "quick", progress=False)
    # what a study finds for itself, found already
    study._measured.update({parts.neurons: found.neurons, parts.used_sae: found.sae})
    index = build.write_neuron_pages(study, tmp_path / "neurons")
    held = {i for chosen in found.neurons.sets.values() for i in chosen.indices}
    assert {p.name for p in index.parent.glob("*.html")} == {"index.html", *(f"{i}.html" for i in held)}


def test_pictures_are_those_of_one_latent_masked_or_added(found):
    codes = found.neurons.settings["codes"]
    assert found.shots.keys() == found.profiles.keys()
    for i, shots in list(found.shots.items())[:1]:
        chosen = found.neurons[shots.culture]
        assert i in chosen.indices
        at = chosen.indices.index(i)
        one = interp.NeuronSet("one", (i,), (chosen.magnitude[at],), (chosen.baseline[at],), chosen.sae)
        for grid, edit in ((shots.off, Mask(one, codes=codes)), (shots.up, Steer(one, shots.strength))):
            prompts = [row.prompt for row in grid.rows]
            named = {t: s for s in found.bench.samples("test", [shots.culture])
                     for t in (s.native.culture_style.text, s.native.noun_only.text)}  # fmt: skip
            assert len({named[p].category for p in prompts}) == latent_images.NOUNS
            for row, prompt in zip(grid.rows, prompts, strict=True):
                same = [
                    s
                    for s in found.bench.samples("test")
                    if prompt in (s.native.culture_style.text, s.native.noun_only.text)
                ]
                drawn = [
                    [generate.draw(found.model, generate.encode(found.model, [prompt], [plan]),
                                       [seed_of(s.id)], 2)[0] for plan in (None, edit)] for s in same
                ]  # fmt: skip
                # a batch rounds otherwise than a single picture: one level
                assert any(
                    all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(pair, row.pictures, strict=True))
                    for pair in drawn
                )
                assert (row.pictures[0] != row.pictures[1]).any()


def test_what_does_not_belong_together_is_refused(found, tmp_path):
    with pytest.raises(InterpError, match="selected on split 'detection'"):
        latent_images.latent_shots(found.model, found.bench, found.neurons, split="detection")
    other = replace(found.sae, ref=replace(found.sae.ref, digest="0" * 64))
    with pytest.raises(InterpError, match="not of 000000000000"):
        profiles.profile(found.model, other, found.bench, found.neurons)
    lost = {i: p for i, p in found.profiles.items() if i != found.neurons["Japan"].indices[0]}
    with pytest.raises(InterpError, match="no profile of latents"):
        write_pages(lost, {}, found.neurons, tmp_path)


class Nesting(HTMLParser):
    """Checks nesting; collects ids, links and the texts of elements with a language."""

    def __init__(self, page: str):
        super().__init__()
        self.stack, self.ids, self.links, self.said = [], [], [], []
        self.feed(page)
        assert self.stack == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named["href"]] if "href" in named else []
        assert tag != "img" or named["alt"]
        if tag not in ("meta", "img", "br", "link", "path", "rect"):
            self.stack.append((tag, named))
        if named.get("class") == "prompt":
            self.said.append([named["lang"], named["dir"], ""])

    def handle_startendtag(self, tag, attrs):
        assert tag in ("path", "rect")

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def handle_data(self, data):
        if any(named.get("class") == "prompt" for _, named in self.stack):
            self.said[-1][2] += data


def test_pages_are_well_formed_and_small_and_load_nothing(found, pages: Path):
    files = sorted(pages.glob("*.html"))
    assert [f.name for f in files] == sorted(["index.html", *(f"{i}.html" for i in found.profiles)])
    for file in files:
        page = file.read_text(encoding="utf-8")
        parsed = Nesting(page)
        assert not re.search(r"@import|url\(|https?:|<script|<iframe|\bon\w+=| style=", page)
        assert "default-src 'none'" in page
        assert [m for m in re.findall(r'src="([^"]{12})', page) if m != "data:image/w"] == []
        assert file.name == "index.html" or len(page.encode()) < 25_000
        for link in parsed.links:
            name, _, part = link.partition("#")
            assert not name or (pages / name).resolve().is_file()
            assert not part or part in parsed.ids
    styles = (pages / "neurons.css").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!data:font/woff;base64,)|https?:", styles)
    assert set(re.findall(r"\.prompt:lang\((\w+)\)", styles)) == {"ar", "ja", "th"}
    fonts = re.findall(r'"shipped (\w+)"; src: url\(data:font/woff;base64,([^)]+)\)', styles)
    letters = {language: TTFont(BytesIO(b64decode(data))).getBestCmap() for language, data in fonts}
    shown = [c for profile in found.profiles.values() for c in profile.captions if c.language in letters]
    assert shown and all(ord(x) in letters[c.language] for c in shown for x in c.text if not x.isascii())


def test_the_index_lists_the_latents_of_each_culture_in_their_order(found, pages: Path):
    index = (pages / "index.html").read_text(encoding="utf-8")
    for culture in CULTURES:
        part = index.split(f'id="{culture.lower()}"')[1].split("</section>")[0]
        assert re.findall(r'<a href="(\d+)\.html">\1</a>', part) == [str(i) for i in found.neurons[culture].indices]
        first = found.profiles[found.neurons[culture].indices[0]]
        assert f"WFS {first.wfs[culture]:.2f}" in part


def test_a_page_leads_to_its_neighbours_in_every_set(found, pages: Path):
    for culture in CULTURES:
        own = found.neurons[culture].indices
        for at, i in enumerate(own):
            page = (pages / f"{i}.html").read_text(encoding="utf-8")
            line = page.split(f"<li><span>{culture}: {at + 1} of {len(own)}")[1].split("</li>")[0]
            assert re.findall(r'href="(\d+)\.html"', line) == [str(n) for n in own[max(0, at - 1) : at + 2] if n != i]
            assert 'href="index.html"' in page and 'href="../report.html"' in page


def test_captions_keep_their_script_language_and_direction(found, pages: Path):
    for i, profile in found.profiles.items():
        said = Nesting((pages / f"{i}.html").read_text(encoding="utf-8")).said
        for caption in profile.captions:
            assert [caption.language, "rtl" if caption.language == "ar" else "ltr", caption.text] in said
        for grid in (found.shots[i].off, found.shots[i].up):
            assert all([row.language, row.direction, row.prompt] in said for row in grid.rows)


def test_what_a_caption_holds_is_escaped(found, tmp_path):
    i = found.neurons["Japan"].indices[0]
    nasty = (Piece("<b>", 2.0), Piece(" & ", float("nan")), Piece('"</b>', 0.0))
    caption = Caption(nasty, "ja", ("Japan",), "neutral", "<i>x</i>", 2.0)
    profiles = found.profiles | {i: replace(found.profiles[i], captions=(caption,))}
    write_pages(profiles, {}, found.neurons, tmp_path)
    page = (tmp_path / f"{i}.html").read_text(encoding="utf-8")
    assert ["ja", "ltr", '<b> & "</b>'] in Nesting(page).said
    assert re.search(r'<mark class="s\d" title="2.00">&lt;b&gt;</mark> &amp; ', page)
    assert "&lt;i&gt;x" in page and "<b> " not in page
    assert "&lt;b&gt;" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_shades_and_shares_and_bars():
    assert [shade(a, 10.0) for a in (float("nan"), 0.0, 0.01, 1.99, 2.01, 9.9, 10.0)] == [0, 0, 1, 1, 2, SHADES, SHADES]
    assert [share(v) for v in (0.0, 0.00012, 0.0123, 0.5)] == ["0\xa0%", "0.012\xa0%", "1.23\xa0%", "50.0\xa0%"]
    assert columns(Histogram((0.0, 1.0, 2.0, 3.0), (300, 0, 1))) == "M0 100v-100h9v100zM20 100v-1h9v1z"
