"""The out-of-domain captions: what every one of them must be, and how they are dealt to cultures."""

import json
import random
import re
import unicodedata
from collections import Counter, defaultdict

import pytest

from interp.benchmarks import cross_domain, pocket
from interp.errors import InterpError

CULTURES = {c["name"]: c["language"] for c in pocket.recipe()["cultures"]}
SCRIPTS = {
    "ar": {"ARABIC"},
    "zh": {"CJK"},
    "ja": {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"},
    "ko": {"HANGUL"},
    "th": {"THAI"},
    "ru": {"CYRILLIC"},
    "uk": {"CYRILLIC"},
}
OWN_LETTERS = {
    "de": "äöüßé", "es": "ñáéíóú", "fr": "éèêçûôîïœâà", "pl": "ąćęłńóśźż", "pt": "ãõçáàéíóúâêô", "tr": "ğışçöüâî",
    "it": "àèéìòù", "nl": "éëï", "en": "é", "uk": "іїєґ", "ru": "ыэъё",
}  # fmt: skip
UNSPACED = {"zh", "ja", "th"}


def captions():
    return [(n.id, code, prompt) for n in cross_domain.nouns() for code, prompt in n.prompts.items()]


def cut(prompt):
    return prompt.text[slice(*prompt.noun)]


def test_a_hundred_things_in_sixteen_languages():
    nouns = cross_domain.nouns()
    assert len(nouns) == len({n.id for n in nouns}) == 100
    assert set(cross_domain.languages()) == {*CULTURES.values(), "en"} == set(pocket.recipe()["languages"])
    assert {tuple(n.prompts) for n in nouns} == {cross_domain.languages()}
    assert all(p.language == code and p.modifier is None for _, code, p in captions())
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", n.id) for n in nouns)
    assert len({n.category for n in nouns}) >= 10


def test_the_list_says_whose_it_is_and_that_nobody_reviewed_it():
    head = json.loads(cross_domain.ASSET.read_text(encoding="utf-8"))
    assert {k: head[k] for k in ("version", "licence", "review")} == {
        "version": "1.0", "licence": "CC0-1.0", "review": "not reviewed by native speakers"
    }  # fmt: skip


def test_captions_are_clean_text():
    for name, code, prompt in captions():
        text = prompt.text
        assert unicodedata.is_normalized("NFC", text), (name, code)
        assert text == " ".join(text.split()), (name, code)
        assert not re.search(r"[0-9{}|.,;:!?\"“”«»()/]", text), (name, code)


def test_the_noun_occurs_once_and_cuts_whole_words():
    for name, code, prompt in captions():
        (start, end), text = prompt.noun, prompt.text
        assert text.count(text[start:end]) == 1, (name, code)
        assert text[start:end] == text[start:end].strip() != "", (name, code)
        marks = [c for c in (text[start], text[end : end + 1] or " ") if unicodedata.category(c).startswith("M")]
        assert not marks, (name, code)
        if code not in UNSPACED:
            article = text[:start].endswith("ال")
            assert start == 0 or article or not text[start - 1].isalpha(), (name, code)
            assert end == len(text) or not text[end].isalpha(), (name, code)


def test_no_two_captions_of_a_language_are_equal():
    for language in cross_domain.languages():
        counts = Counter(p.text for p in cross_domain.prompts(language))
        assert max(counts.values()) == 1, (language, counts.most_common(1))


@pytest.mark.parametrize("language", cross_domain.languages())
def test_captions_are_in_the_script_of_their_language(language):
    allowed = SCRIPTS.get(language, {"LATIN"})
    own = OWN_LETTERS.get(language, "")
    for prompt in cross_domain.prompts(language):
        for letter in filter(str.isalpha, prompt.text):
            assert unicodedata.name(letter).split()[0] in allowed, prompt.text
            if allowed == {"LATIN"}:
                assert letter.isascii() or letter.lower() in own, prompt.text
    everything = "".join(p.text for p in cross_domain.prompts(language))
    if language in ("ru", "uk"):
        other = OWN_LETTERS[{"ru": "uk", "uk": "ru"}[language]]
        assert not set(everything.lower()) & set(other)
    if language in ("ja", "de", "pl", "tr", "uk", "fr"):
        assert set(everything) & set(own or "のり")


def pocket_captions():
    found = defaultdict(set)
    for row in pocket.samples():
        for suffix, language in (("", row["language"]), ("_en", "en")):
            found[language] |= {row[c + suffix] for c in ("culture_style", "noun_only", "neutral_style")}
    for noun in pocket.recipe()["nouns"]:
        for language, name in noun["names"].items():
            found[language].add(name)
    return found


def test_no_caption_is_one_of_pocket():
    taken = pocket_captions()
    assert all(len(taken[language]) > 100 for language in cross_domain.languages())
    for name, code, prompt in captions():
        assert prompt.text not in taken[code], (name, code)


def test_head_nouns_are_not_those_of_pocket_but_for_one_of_the_papers_own():
    names = {
        language: {n["names"][language].casefold() for n in pocket.recipe()["nouns"]}
        for language in cross_domain.languages()
    }
    shared = {name for name, code, prompt in captions() if cut(prompt).casefold() in names[code]}
    assert shared == {"dress"}
    assert "dress" in pocket.nouns(held_out=True)


STEMS = {
    "ar": "عربي", "zh": "中国 中式 中华", "ja": "和風 日本", "ko": "한국", "th": "ไทย", "de": "deutsch",
    "ru": "русск российск", "it": "italian", "nl": "nederlands holland", "pl": "polsk", "tr": "türk",
    "uk": "українськ", "es": "español", "pt": "portugu", "fr": "français", "en": "",
}  # fmt: skip
"""How the words for a language's own culture begin."""


def cues(language):
    """The countries in a language, the cultures in English as whole words, and the stems of its own culture."""
    found = {c["mention"][language].casefold() for c in pocket.recipe()["cultures"]}
    found |= {c[field].casefold() + " " for c in pocket.recipe()["cultures"] for field in ("name", "demonym")}
    return found | set(STEMS[language].split())


def spoken(text, named):
    """Those that stand in a text: anywhere, but in Latin and Cyrillic only where a word begins."""
    found = re.findall(r"\w+", text.casefold())
    starts = f" {' '.join(found)} "
    cased = {c for c in named if c != c.upper()}
    return {c for c in named if (f" {c}" in starts if c in cased else c in text)}


@pytest.mark.parametrize("language", cross_domain.languages())
def test_no_caption_names_a_culture(language):
    named = cues(language)
    for prompt in cross_domain.prompts(language):
        assert not spoken(prompt.text, named), prompt.text


def test_a_named_culture_would_be_found():
    for culture in pocket.recipe()["cultures"]:
        language = culture["language"]
        assert spoken(culture["mention"][language], cues(language))
        found = [spoken(p.replace("{n}", "x"), cues(language)) for p in culture["native"]]
        assert sum(map(bool, found)) >= 2, found
        assert all(spoken(p.replace("{n}", "x"), cues("en")) for p in culture["english"])


def test_prompts_of_an_unknown_language_list_the_known():
    with pytest.raises(InterpError, match="no out-of-domain captions in hi; known: en, ar, zh"):
        cross_domain.prompts("hi")
    with pytest.raises(InterpError, match="captions in hi, vi; known"):
        cross_domain.deal({"India": "hi", "Vietnam": "vi", "Japan": "ja"}, seed=0)
    with pytest.raises(InterpError, match="no culture asked"):
        cross_domain.deal({}, seed=0)


def test_a_sample_has_the_captions_of_its_thing():
    for sample in cross_domain.deal(CULTURES, seed=0):
        noun = next(n for n in cross_domain.nouns() if n.id == sample.category)
        native, english = noun.prompts[CULTURES[sample.culture]], noun.prompts["en"]
        assert (sample.native.noun_only, sample.native.culture_style) == (native, native)
        assert (sample.english.noun_only, sample.english.culture_style) == (english, english)
        assert sample.id.endswith(f"-{noun.id}") and (sample.image, sample.split) == ("", "out_of_domain")


def within_one(counts):
    return max(counts) - min(counts) <= 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [1, 4, 15])
def test_a_deal_is_balanced(seed, n):
    cultures = dict(list(CULTURES.items())[:n])
    samples = cross_domain.deal(cultures, seed)
    kind = {noun.id: noun.category for noun in cross_domain.nouns()}
    assert len({s.id for s in samples}) == len(samples)
    assert sorted(s.category for s in samples) == sorted(kind)
    assert all(s.language == s.native.noun_only.language == cultures[s.culture] for s in samples)
    counts = Counter(s.culture for s in samples)
    assert within_one([counts[c] for c in cultures])
    by_kind = Counter((kind[s.category], s.culture) for s in samples)
    for name in set(kind.values()):
        assert within_one([by_kind[name, culture] for culture in cultures])


def test_a_deal_follows_from_its_seed_alone():
    first = cross_domain.deal(CULTURES, 3)
    items = list(CULTURES.items())
    random.Random(0).shuffle(items)
    assert cross_domain.deal(dict(items), 3) == first
    given = {seed: {s.category: s.culture for s in cross_domain.deal(CULTURES, seed)} for seed in range(40)}
    assert len({tuple(g.items()) for g in given.values()}) == 40
    # over seeds each thing goes to many cultures, and 15 seeds give about 15 · (1 − e^−1) of them
    assert min(len({g[noun.id] for g in given.values()}) for noun in cross_domain.nouns()) >= 9


@pytest.mark.parametrize(("text", "noun"), [("a hat on a hat", "hat"), ("a hat", "cap"), ("a hat", "")])
def test_a_damaged_list_is_named(tmp_path, monkeypatch, text, noun):
    broken = {
        "languages": ["en"],
        "nouns": [{"id": "hat", "category": "x", "texts": {"en": {"text": text, "noun": noun}}}],
    }
    path = tmp_path / "out_of_domain.json"
    path.write_text(json.dumps(broken))
    monkeypatch.setattr(cross_domain, "ASSET", path)
    for cached in (cross_domain._asset, cross_domain.nouns):
        cached.cache_clear()
    try:
        with pytest.raises(InterpError, match=r"out_of_domain\.json, hat, en: .* not once; reinstall"):
            cross_domain.nouns()
    finally:
        for cached in (cross_domain._asset, cross_domain.nouns):
            cached.cache_clear()


def test_a_sample_is_called_so_that_a_file_may_be():
    samples = cross_domain.deal({"../../a:b": "ja", "Côte d'Ivoire": "fr"}, seed=0)
    starts = {"../../a:b": "..-..-a-b-", "Côte d'Ivoire": "côte d'ivoire-"}
    assert all(s.id.startswith(starts[s.culture]) for s in samples)
    assert {s.culture for s in samples} == set(starts) and len({s.id for s in samples}) == 100


@pytest.mark.parametrize("cultures", [("Japan", "JAPAN"), ("a/b", "a-b")])
def test_cultures_whose_samples_would_be_called_alike_are_refused(cultures):
    with pytest.raises(InterpError, match="would give samples of the same names; rename one"):
        cross_domain.deal(dict.fromkeys(cultures, "ja"), seed=0)
