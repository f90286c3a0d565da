"""ImageReward: a tiny checkpoint under the published names against the published equations in plain torch."""

import json
import shutil

import families
import numpy as np
import pretend_gpu
import pytest
import torch
from torch.nn import functional as F

from interp import InterpError
from interp.metrics import image_reward
from interp.metrics.base import Metric
from interp.metrics.image_reward import ImageReward
from interp.types import Prompt, PromptPair, Sample

D, VIT_HEADS, VIT_DEPTH, PATCH, SIDE = 128, 2, 3, 8, 24
"""Of the picture side: width, heads, blocks, pixels of a patch and of a picture."""
H, HEADS, DEPTH, INNER, POSITIONS = 48, 4, 2, 80, 40
"""Of the text side: width, heads, layers, inner width, positions."""
MLP = (H, 1024, 128, 64, 16, 1)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS), "cat", "house", "at"]
CAPTIONS = ["a cat", "a house at night", "Cat " * 60]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))


def sample(n, english):
    def pair(text, language):
        return PromptPair(str(n), "Italy", "cat", Prompt(f"Italian {text}", language), Prompt(text, language))

    return Sample(str(n), "", "Italy", "it", "cat", "test", pair("un gatto", "it"), pair(english, "en"))


def pictures(number=3):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(number)]


SAMPLES = [sample(n, c) for n, c in enumerate(CAPTIONS)]


def shapes():
    """Names and shapes of ImageReward.pt."""
    vit = {"cls_token": [1, 1, D], "pos_embed": [1, (SIDE // PATCH) ** 2 + 1, D]}
    vit |= {"patch_embed.proj.weight": [D, 3, PATCH, PATCH], "patch_embed.proj.bias": [D]}
    for n in range(VIT_DEPTH):
        vit |= norm(f"blocks.{n}.norm1", D) | norm(f"blocks.{n}.norm2", D)
        vit |= linear(f"blocks.{n}.attn.qkv", D, 3 * D) | linear(f"blocks.{n}.attn.proj", D, D)
        vit |= linear(f"blocks.{n}.mlp.fc1", D, 4 * D) | linear(f"blocks.{n}.mlp.fc2", 4 * D, D)
    vit |= norm("norm", D)
    bert = {"word_embeddings.weight": [len(WORDS) + 2, H], "position_embeddings.weight": [POSITIONS, H]}
    bert = {f"embeddings.{k}": v for k, v in (bert | norm("LayerNorm", H)).items()}
    for n in range(DEPTH):
        for kind, seen in (("attention", H), ("crossattention", D)):
            at = f"encoder.layer.{n}.{kind}"
            bert |= linear(f"{at}.self.query", H, H) | linear(f"{at}.self.key", seen, H)
            bert |= linear(f"{at}.self.value", seen, H)
            bert |= linear(f"{at}.output.dense", H, H) | norm(f"{at}.output.LayerNorm", H)
        at = f"encoder.layer.{n}"
        bert |= linear(f"{at}.intermediate.dense", H, INNER) | linear(f"{at}.output.dense", INNER, H)
        bert |= norm(f"{at}.output.LayerNorm", H)
    found = {f"blip.visual_encoder.{k}": v for k, v in vit.items()}
    found |= {f"blip.text_encoder.{k}": v for k, v in bert.items()}
    found |= linear("blip.vision_proj", D, 16) | linear("blip.text_proj", H, 16)
    for place, into, out in zip((0, 2, 4, 6, 7), MLP[:-1], MLP[1:], strict=True):
        found |= linear(f"mlp.layers.{place}", into, out)
    return found


def linear(name, into, out):
    return {f"{name}.weight": [out, into], f"{name}.bias": [out]}


def norm(name, width):
    return {f"{name}.weight": [width], f"{name}.bias": [width]}


def checkpoint():
    """Random weights under which activations neither vanish nor grow; norms' gains are near 1."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes().items():
        value = torch.randn(shape, generator=generator)
        state[name] = value * (0.2 if len(shape) < 2 else np.prod(shape[1:]) ** -0.5)
        if len(shape) == 1 and name.endswith("weight"):
            state[name] += 1
    state["blip.text_encoder.embeddings.word_embeddings.weight"] *= H**0.5
    return state | {"blip.text_encoder.embeddings.position_ids": torch.arange(POSITIONS)[None]}


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """Folders of THUDM/ImageReward and of bert-base-uncased."""
    root = tmp_path_factory.mktemp("reward")
    config = {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": H,
        "initializer_range": 0.02,
        "intermediate_size": INNER,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "model_type": "bert",
        "num_attention_heads": HEADS,
        "num_hidden_layers": DEPTH,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": len(WORDS) + 2,
        "encoder_width": 768,
        "add_cross_attention": True,
    }
    families._json(root / "ImageReward" / "med_config.json", config)
    torch.save(checkpoint(), root / "ImageReward" / "ImageReward.pt")
    families._json(root / "bert" / "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 512})
    (root / "bert" / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return root


def load(root, **options):
    return ImageReward.load(root / "ImageReward", root / "bert", **options)


@pytest.fixture(scope="session")
def reward(published, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERP_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load(published)


@pytest.fixture
def copy(published, tmp_path):
    return shutil.copytree(published, tmp_path / "copy")


# The published forward pass


class Plain:
    """ImageReward.score, written from the equations."""

    def __init__(self, state):
        self.s = state

    def linear(self, x, at):
        return x @ self.s[f"{at}.weight"].T + self.s[f"{at}.bias"]

    def norm(self, x, at, eps):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * self.s[f"{at}.weight"] + self.s[f"{at}.bias"]

    def picture(self, picture):
        """A ViT: x + attention(norm(x)), x + mlp(norm(x)); every token of its last norm."""
        at = "blip.visual_encoder"
        mean, std = (
            torch.tensor([0.48145466, 0.4578275, 0.40821073]),
            torch.tensor([0.26862954, 0.26130258, 0.27577711]),
        )
        pixels = ((torch.from_numpy(picture) / 255 - mean) / std).permute(2, 0, 1)[None]
        patches = F.conv2d(
            pixels, self.s[f"{at}.patch_embed.proj.weight"], self.s[f"{at}.patch_embed.proj.bias"], PATCH
        )
        x = torch.cat([self.s[f"{at}.cls_token"], patches.flatten(2).transpose(1, 2)], 1)[0]
        x = x + self.s[f"{at}.pos_embed"][0]
        for n in range(VIT_DEPTH):
            block = f"{at}.blocks.{n}"
            q, k, v = self.linear(self.norm(x, f"{block}.norm1", 1e-6), f"{block}.attn.qkv").chunk(3, -1)
            x = x + self.linear(heads(q, k, v, VIT_HEADS), f"{block}.attn.proj")
            hidden = F.gelu(self.linear(self.norm(x, f"{block}.norm2", 1e-6), f"{block}.mlp.fc1"))
            x = x + self.linear(hidden, f"{block}.mlp.fc2")
        return self.norm(x, f"{at}.norm", 1e-6)

    def attend(self, x, seen, at, mask=None):
        q, k, v = (
            self.linear(x, f"{at}.self.query"),
            self.linear(seen, f"{at}.self.key"),
            self.linear(seen, f"{at}.self.value"),
        )
        return self.norm(
            x + self.linear(heads(q, k, v, HEADS, mask), f"{at}.output.dense"), f"{at}.output.LayerNorm", 1e-12
        )

    def score(self, caption, picture):
        """A BERT whose every layer attends to itself, then to the picture; its first token through the layers."""
        words = [WORDS.index(w) for w in pieces(caption)][:33]
        ids = [WORDS.index("[CLS]"), *words, WORDS.index("[SEP]")]
        mask = torch.tensor([0.0] * len(ids) + [-10000.0] * (35 - len(ids)))
        ids = torch.tensor(ids + [0] * (35 - len(ids)))
        at, seen = "blip.text_encoder.embeddings", self.picture(picture)
        x = self.s[f"{at}.word_embeddings.weight"][ids] + self.s[f"{at}.position_embeddings.weight"][:35]
        x = self.norm(x, f"{at}.LayerNorm", 1e-12)
        for n in range(DEPTH):
            at = f"blip.text_encoder.encoder.layer.{n}"
            x = self.attend(x, x, f"{at}.attention", mask)
            x = self.attend(x, seen, f"{at}.crossattention")
            inner = F.gelu(self.linear(x, f"{at}.intermediate.dense"))
            x = self.norm(x + self.linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm", 1e-12)
        x = x[0]
        for place in (0, 2, 4, 6, 7):
            x = self.linear(x, f"mlp.layers.{place}")
        return float((x[0] - 0.16717362830052426) / 1.0333394966054072)


def heads(q, k, v, number, mask=None):
    out = []
    for a, b, c in zip(*(x.chunk(number, -1) for x in (q, k, v)), strict=True):
        scores = a @ b.T / a.shape[-1] ** 0.5
        out.append((scores if mask is None else scores + mask).softmax(-1) @ c)
    return torch.cat(out, -1)


def pieces(caption):
    """WordPiece over letters, where a word that the vocabulary has is one piece."""
    found = []
    for word in caption.lower().split():
        found += [word] if word in WORDS else [c if n == 0 else f"##{c}" for n, c in enumerate(word)]
    return found


@torch.no_grad()
def test_rewards_equal_the_published_equations(reward):
    plain = Plain(checkpoint())
    for caption in (*CAPTIONS, "dog", ""):
        found = reward.measure(pictures(), [sample(0, caption)] * 3).values
        wanted = [plain.score(caption, p) for p in pictures()]
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)
    assert np.ptp(wanted) > 0.01, "the picture must show in the reward"
    assert abs(found[0] - reward.measure(pictures(1), SAMPLES[:1]).values[0]) > 0.01, "so must the caption"


def test_a_batch_equals_singles(reward):
    found = reward.measure(pictures(), SAMPLES).values
    singles = [reward.measure([p], [s]).values[0] for p, s in zip(pictures(), SAMPLES, strict=True)]
    np.testing.assert_allclose(found, singles, atol=1e-5, rtol=0)
    assert reward.measure([], []).values.shape == (0,)


def test_captions_are_cut_at_35_tokens(reward):
    same, cut, short = (sample(0, "cat " * n) for n in (33, 50, 32))
    assert len(reward.tokenizer(reward.key(same)).input_ids) == 35
    one, two, other = (reward.measure(pictures(1), [s]).values[0] for s in (same, cut, short))
    assert one == two
    assert abs(one - other) > 1e-4


def test_it_is_a_metric_that_reads_the_english_noun_only_caption(reward):
    assert isinstance(reward, Metric)
    assert (reward.unit, reward.direction, reward.grouped) == ("reward", "higher", False)
    assert reward.key(SAMPLES[1]) == "a house at night"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blip.visual_encoder.norm.bias"), "1 missing .post_layernorm.bias"),
        (lambda s: s.pop("blip.visual_encoder.pos_embed"), r"holds no blip\.visual_encoder"),
        (
            lambda s: s.pop("blip.text_encoder.encoder.layer.1.crossattention.self.key.bias"),
            "1 missing .encoder.layer.1",
        ),
        (lambda s: s.pop("mlp.layers.6.bias"), 'Missing key.s. in state_dict: "6.bias"'),
        (lambda s: s.update({"mlp.layers.1.bias": torch.ones(2)}), 'Unexpected key.s. in state_dict: "1.bias"'),
        (lambda s: s.update({"blip.itm.weight": torch.ones(2)}), "1 weights not known, such as blip.itm.weight"),
        (lambda s: s.update({"blip.visual_encoder.head.bias": torch.ones(2)}), "1 not known .head.bias"),
        (lambda s: s.update({"mlp.layers.7.weight": torch.ones(1, 5)}), "size mismatch for 7.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message, copy):
    state = checkpoint()
    change(state)
    torch.save(state, copy / "ImageReward" / "ImageReward.pt")
    with pytest.raises(InterpError, match=message):
        load(copy)


def test_what_pretraining_leaves_in_a_checkpoint_is_passed_over(copy, reward):
    state = checkpoint() | {
        "blip.text_decoder.cls.predictions.bias": torch.ones(3),
        "blip.visual_encoder_m.norm.bias": torch.ones(3),
        "blip.image_queue": torch.ones(2, 3),
        "blip.temp": torch.tensor(0.07),
    }
    torch.save(state, copy / "ImageReward" / "ImageReward.pt")
    assert (load(copy).measure(pictures(), SAMPLES).values == reward.measure(pictures(), SAMPLES).values).all()


def test_files_that_are_missing_or_of_another_model_are_refused(copy):
    words = copy / "bert" / "vocab.txt"
    words.write_text("\n".join(WORDS[:-1]) + "\n")
    with pytest.raises(InterpError, match="61 tokens; the model has 62; give bert-base-uncased"):
        load(copy)
    words.unlink()
    with pytest.raises(InterpError, match=r"no vocab\.txt"):
        load(copy)
    config = copy / "ImageReward" / "med_config.json"
    said = json.loads(config.read_text())
    families._json(config, {k: v for k, v in said.items() if k != "num_attention_heads"})
    with pytest.raises(InterpError, match="lacks num_attention_heads"):
        load(copy)
    (copy / "ImageReward" / "ImageReward.pt").unlink()
    with pytest.raises(InterpError, match=r"no ImageReward\.pt"):
        load(copy)


def test_a_checkpoint_that_would_run_code_is_refused(copy):
    class Bad:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"blip": Bad()}, copy / "ImageReward" / "ImageReward.pt")
    with pytest.raises(InterpError, match="unpickling it would call"):
        load(copy)


def test_it_is_converted_once_and_half_precision_is_near(copy, reward, monkeypatch):
    whole = load(copy)
    monkeypatch.setattr(image_reward, "_parts", None)
    half = load(copy, dtype=torch.bfloat16)
    found = half.measure(pictures(), SAMPLES).values
    np.testing.assert_allclose(found, reward.measure(pictures(), SAMPLES).values, atol=0.05)
    assert whole.digest == reward.digest != half.digest


def test_on_a_gpu_it_computes_there(published, reward):
    with pretend_gpu.there():
        there = load(published, device="cuda")
        found = there.measure(pictures(), SAMPLES).values
    parts = (there.vision, there.text, there.head)
    assert {p.device.type for part in parts for p in part.parameters()} == {"cuda"}
    assert np.array_equal(found, reward.measure(pictures(), SAMPLES).values)
    assert there.digest == reward.digest
