"""metrics/pocket_clip: the shipped towers hold the figures of their card on a sample, and what they learned from."""

import json
import math
from pathlib import Path

import numpy as np
import pretend_gpu
import pytest
import torch
from safetensors import safe_open

from interp import store
from interp.benchmarks import pocket
from interp.errors import InterpError
from interp.metrics import pocket_clip
from interp.metrics.pocket_clip import PocketClip, load_pocket_clip

TOOLS = str(Path(__file__).parents[2] / "tools" / "pocket")
NAMES = {n["id"]: n["names"] for n in pocket.recipe()["nouns"]}
CULTURES = {c["name"]: c for c in pocket.recipe()["cultures"]}


@pytest.fixture(scope="module")
def clip():
    return load_pocket_clip()


@pytest.fixture(scope="module")
def rows():
    """Ten samples a culture of the test split."""
    return [r for r in pocket.samples() if r["split"] == "test"][::12]


@pytest.fixture(scope="module")
def training():
    """The script that trains it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        import train_clip

        yield train_clip


def matches(clip, row, candidates):
    """Whether the first of the candidates is the one nearest to a row's picture, by plain numpy."""
    picture = clip.images([pocket.picture(row)]).numpy()[0].astype(np.float64)
    scores = [float(np.dot(v, picture)) for v in clip.texts(candidates).numpy()]
    return scores.index(max(scores)) == 0


def named(row, language):
    """The noun-only caption of a row's noun, then those of the 119 others."""
    frame = pocket.recipe()["frames"][language][0]
    others = [n for n in pocket.nouns() if n != row["category"]]
    return [frame.replace("{x}", NAMES[n][language]) for n in (row["category"], *others)]


def styled(row, english):
    """The culture-style caption of a row's noun and culture, then those of the 14 other cultures."""
    out = []
    for culture in (row["culture"], *[c for c in CULTURES if c != row["culture"]]):
        spec = CULTURES[culture]
        language, phrasing = ("en", spec["english"][0]) if english else (spec["language"], spec["native"][0])
        out.append(phrasing.replace("{n}", NAMES[row["category"]][language]))
    return out


@pytest.mark.parametrize("english", [False, True])
def test_figures_of_the_card_hold_on_a_sample(clip, rows, english):
    said = PocketClip.card()["test"]["english" if english else "native"]["percent"]
    nouns = [matches(clip, r, named(r, "en" if english else r["language"])) for r in rows]
    cultures = [matches(clip, r, styled(r, english)) for r in rows]
    for found, figure in ((nouns, "noun_retrieval"), (cultures, "culture_discrimination")):
        p = said[figure] / 100
        # Three standard errors of a share of 150, and a picture for shares near one.
        margin = 3 * math.sqrt(p * (1 - p) / len(rows)) + 1 / len(rows)
        assert abs(np.mean(found) - p) <= margin, figure


def test_the_card_names_its_weights_and_meets_its_aims(clip):
    card = PocketClip.card()
    assert card["digest"] == clip.digest == store.sha256_file(pocket_clip.FOLDER / pocket_clip.WEIGHTS)
    for language in ("native", "english"):
        assert card["test"][language]["pictures"] == 1800
        assert card["test"][language]["percent"]["noun_retrieval"] >= 90
        assert card["test"][language]["percent"]["culture_discrimination"] >= 95


def test_a_noun_only_caption_measures_the_noun(clip, rows):
    captions = clip.texts([r["noun_only"] for r in rows])

    def cosines(noun_of, culture_of):
        made = [pocket.compose(noun_of(i), culture_of(r), r["drawing"], r["key"]) for i, r in enumerate(rows)]
        return (captions * clip.images(made)).sum(1)

    def own(i):
        return rows[i]["category"]

    def other(i):
        return pocket.nouns()[(pocket.nouns().index(own(i)) + 40) % 120]

    plain = cosines(own, lambda r: pocket.PLAIN)
    flag = cosines(own, lambda r: r["culture"])
    wrong = cosines(other, lambda r: pocket.PLAIN)
    assert flag.mean() < plain.mean()
    assert flag.mean() - wrong.mean() > 3 * (plain.mean() - flag.mean())
    said = PocketClip.card()["test"]["native"]["cosine"]["noun_only"]
    assert plain.mean() == pytest.approx(said["plain"], abs=0.05)
    assert flag.mean() == pytest.approx(said["own_flag"], abs=0.05)
    assert wrong.mean() == pytest.approx(said["other_noun_plain"], abs=0.05)


@pytest.mark.parametrize("language", ["ar", "zh", "ja", "ko", "th"])
def test_reads_scripts_without_spaces_and_from_right_to_left(clip, language):
    nouns = pocket.nouns()[::4]
    pictures = clip.images([pocket.compose(n, pocket.PLAIN, 0, f"test/{n}") for n in nouns])
    texts = clip.texts([NAMES[n][language] for n in nouns])
    assert ((pictures @ texts.T).argmax(1) == torch.arange(len(nouns))).float().mean() >= 0.9


def test_vectors_have_length_one_and_do_not_depend_on_their_batch(clip, rows):
    pictures, texts = [pocket.picture(r) for r in rows[:5]], [r["culture_style"] for r in rows[:5]]
    for many, alone in (
        (clip.images(pictures), clip.images(pictures[3:4])),
        (clip.texts(texts), clip.texts(texts[3:4])),
    ):
        assert many.shape == (5, pocket_clip.D_TOWER)
        torch.testing.assert_close(many.norm(dim=1), torch.ones(5))
        torch.testing.assert_close(many[3:4], alone, atol=1e-5, rtol=0)
    assert clip.images([]).shape == clip.texts([]).shape == (0, pocket_clip.D_TOWER)


def test_case_width_and_spaces_say_nothing(clip):
    one, two = clip.texts(["Italian-style cactus", " ITALIAN-style  ｃａｃｔｕｓ "])
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("text", ["ᚠᚢᚦᚨᚱᚲ", "𓀀𓂀", "🦒", "x", "ᚠ" * 500])
def test_unknown_letters_have_a_vector(clip, text):
    vector = clip.texts([text])
    assert vector.isfinite().all()
    torch.testing.assert_close(vector.norm(dim=1), torch.ones(1))


def test_what_it_cannot_measure_is_refused(clip):
    with pytest.raises(InterpError, match=r"64×64 pixels alone; found \(32, 64, 3\)"):
        clip.images([np.zeros((64, 64, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)])
    for empty in ("", " \n"):
        with pytest.raises(InterpError, match="caption 1 of 2 is empty"):
            clip.texts(["cactus", empty])


def test_the_file_is_small_and_says_where_it_comes_from():
    path = pocket_clip.FOLDER / pocket_clip.WEIGHTS
    assert path.stat().st_size <= 1.5e6
    with safe_open(path, "pt") as file:
        made = json.loads(file.metadata()["pocket-clip"])
        kinds = {file.get_tensor(k).dtype for k in file.keys()}  # noqa: SIM118
    assert made["split"] == "train"
    assert kinds == {torch.float16, torch.int64}


def test_it_learns_from_the_train_split_alone(training):
    kept = {(r["category"], r["culture"]) for r in pocket.samples() if r["split"] != "train"}
    pictures = {(n, c): torch.zeros(1, 3, 64, 64) for n, cs in training.flags().items() for c in (pocket.PLAIN, *cs)}
    made = [training.batch(pictures, i) for i in range(20)]
    seen = {what for b in made for what in (*b.shown, *b.said)}
    assert len(seen) > 800
    assert not seen & kept
    held_out = set(pocket.nouns(held_out=True))
    assert not held_out & {noun for noun, _ in seen}


def test_a_batch_depends_on_its_number_alone(training):
    pictures = {(n, c): torch.rand(4, 1) for n, cs in training.flags().items() for c in (pocket.PLAIN, *cs)}
    one, again, other = (training.batch(pictures, i) for i in (3, 3, 4))
    assert one.texts == again.texts != other.texts
    assert torch.equal(one.pictures, again.pictures)


def test_nothing_true_is_a_negative(training):
    shown = (("crown", "plain"), ("crown", "Italy"), ("crown", "Japan"), ("cactus", "Italy"), ("cactus", "plain"))
    said = (("crown", "plain"), ("crown", "Italy"), ("cactus", "Italy"))
    half = training.OVER_FLAG
    expected = [[1, half, half, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert training.fits(shown, said).tolist() == expected


def test_the_loss_is_the_mean_of_both_cross_entropies(training):
    rng = np.random.default_rng(0)
    cosines, weights = rng.uniform(-1, 1, (3, 4)), np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1.0]])
    total = []
    for logits, w in ((20 * cosines, weights), (20 * cosines.T, weights.T)):
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        total.append(np.mean([-(logs[i] * w[i] / w[i].sum()).sum() for i in range(len(w))]))
    loss = training.info_nce(torch.tensor(cosines), torch.tensor(weights), torch.tensor(math.log(20.0)))
    assert loss.item() == pytest.approx(np.mean(total))


def test_on_a_gpu_it_computes_there_and_gives_main_memory(clip, rows):
    shown, said = [pocket.picture(row) for row in rows[:3]], ["кіт", "a cat", "貓"]
    with pretend_gpu.there():
        there = load_pocket_clip(device="cuda")
        assert there.net.device.type == "cuda" and there is load_pocket_clip(device="cuda:0")
        images, texts = there.images(shown), there.texts(said)
        assert images.device.type == texts.device.type == "cpu"
    assert clip.net.device.type == "cpu" and there.digest == clip.digest
    assert torch.equal(images, clip.images(shown)) and torch.equal(texts, clip.texts(said))
