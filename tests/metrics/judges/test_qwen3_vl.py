"""metrics/judges/qwen3_vl: real classes at tiny size in the hub's layout, against a plain forward pass."""

import dataclasses
import json
import shutil
import socket

import numpy as np
import pretend_gpu
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import pre_tokenizers

from interp.errors import InterpError
from interp.metrics.judges import qwen3_vl
from interp.metrics.judges.base import LETTERS, Judge, question, rotated
from interp.types import UNRECOGNISABLE

LABELS = ("France", "Japan", "Korea", "Poland", UNRECOGNISABLE)
ITEMS = ["ant-1", "bee-2", "cat-3", "dog-4", "eel-5", "fox-6"]
PAD, IMAGE, VIDEO, START, END = "<|endoftext|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"
SPECIAL = [PAD, "<|im_start|>", "<|im_end|>", START, END, IMAGE, VIDEO]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def put(folder, name, value):
    (folder / name).write_text(json.dumps(value))


def tokenizer(folder, without=""):
    """Bytes are its tokens, without merges; a letter that is left out of its words comes out as two."""
    words = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = transformers.Qwen2Tokenizer(vocab=words, merges=[], additional_special_tokens=SPECIAL[1:])
    if without:
        raw = json.loads(made.backend_tokenizer.to_str())
        split = {"type": "Replace", "pattern": {"String": without}, "content": without * 2}
        raw["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}, split]}
        made.save_pretrained(folder)
        put(folder, "tokenizer.json", raw)  # which only the plain class takes as it is
    else:
        made.save_pretrained(folder)
    ids = made.convert_tokens_to_ids(SPECIAL)
    put(folder, "vocab.json", words)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    named = {str(i): {"content": s, "special": True, "normalized": False} for i, s in zip(ids, SPECIAL, strict=True)}
    plain = {"lstrip": False, "rstrip": False, "single_word": False}
    settings = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {i: entry | plain for i, entry in named.items()},
        "additional_special_tokens": SPECIAL[1:],
        "bos_token": None,
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 262144,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "PreTrainedTokenizerFast" if without else "Qwen2Tokenizer",
        "unk_token": None,
    }
    put(folder, "tokenizer_config.json", settings)
    return dict(zip(SPECIAL, ids, strict=True))


def pictures_settings(patch, kind):
    mean = [0.5, 0.5, 0.5]
    return {
        "size": {"longest_edge": 16777216, "shortest_edge": 1024},
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": mean,
        "image_std": mean,
        "processor_class": f"{kind}Processor",
        "image_processor_type": "Qwen2VLImageProcessorFast",
    }


def text_settings(words):
    rope = {"mrope_section": [4, 2, 2], "rope_type": "default", "rope_theta": 5000000}
    return {
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "rope_parameters": rope,
    }


def save(folder, config, kind):
    """Random weights, large enough for the picture to be seen in the answer."""
    torch.manual_seed(0)
    model = kind(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.25 if "lm_head" in name else 0.15)
    model.save_pretrained(folder)


def published(folder, name, vision, **text):
    """A folder in the hub's layout without what prepares its pictures."""
    folder.mkdir()
    ids = tokenizer(folder)
    sizes = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    config = getattr(transformers, f"{name}Config")(
        text_config=text_settings(256 + len(SPECIAL)) | text,
        vision_config=sizes | vision,
        image_token_id=ids[IMAGE],
        video_token_id=ids[VIDEO],
        vision_start_token_id=ids[START],
        vision_end_token_id=ids[END],
    )
    save(folder, config, getattr(transformers, f"{name}ForConditionalGeneration"))


def qwen3(folder):
    rope = text_settings(0)["rope_parameters"] | {"mrope_interleaved": True}
    vision = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    published(folder, "Qwen3VL", vision, head_dim=16, rope_parameters=rope)
    put(folder, "preprocessor_config.json", pictures_settings(16, "Qwen3VL"))
    put(folder, "video_preprocessor_config.json", pictures_settings(16, "Qwen3VL"))
    put(folder, "chat_template.json", {"chat_template": TEMPLATE})
    return folder


def qwen2_5(folder):
    published(folder, "Qwen2_5_VL", {"fullatt_block_indexes": [1], "window_size": 56})
    settings = pictures_settings(14, "Qwen2_5_VL")
    del settings["size"]
    put(folder, "preprocessor_config.json", settings | {"min_pixels": 784, "max_pixels": 12845056})
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return qwen3(tmp_path_factory.mktemp("hub") / "Tiny-VL")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def judge(folder):
    return load(folder)


def load(folder, **settings):
    return qwen3_vl.load(folder, LABELS, **{"device": "cpu", "dtype": "float32", **settings})


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def patches(shown, side, mean=0.5):
    """Rows of patches as the model takes them, 2 × 2 neighbours together, each picture given as two frames."""
    height, width = shown.shape[0] // side, shown.shape[1] // side
    scaled = (shown / 255 - mean) / mean
    rows = []
    for top in range(0, height, 2):
        for left in range(0, width, 2):
            for y, x in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                patch = scaled[y * side : (y + 1) * side, x * side : (x + 1) * side]
                rows.append(np.repeat(patch.transpose(2, 0, 1)[:, None], 2, axis=1).reshape(-1))
    return torch.tensor(np.array(rows), dtype=torch.float32), torch.tensor([[1, height, width]])


def plainly(folder, kind, shown, item, side):
    """Probability by label from all logits of a plain forward pass of one picture, its tokens written by hand."""
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    words = json.loads((folder / "vocab.json").read_text())
    special = {s: i for i, s in enumerate(SPECIAL, len(words))}
    values, grid = patches(shown, side)
    options = rotated(LABELS, item)

    def ids(text):
        return [words[c] for piece, _ in pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
                .pre_tokenize_str(text) for c in piece]  # fmt: skip

    row = [special["<|im_start|>"], *ids("user\n"), special[START]]
    row += [special[IMAGE]] * (len(values) // 4)
    row += [special[END], *ids(question(options)), special["<|im_end|>"], *ids("\n")]
    row += [special["<|im_start|>"], *ids("assistant\n")]
    tokens = torch.tensor([row])
    seen = (tokens == special[IMAGE]).int()
    with torch.no_grad():
        logits = model(input_ids=tokens, pixel_values=values, image_grid_thw=grid, mm_token_type_ids=seen).logits
    by_letter = torch.tensor([logits[0, -1, words[letter]].item() for letter in LETTERS[: len(LABELS)]]).softmax(-1)
    return {label: by_letter[options.index(label)].item() for label in LABELS}


def named(row):
    return dict(zip(LABELS, row.tolist(), strict=True))


@pytest.mark.parametrize(("build", "name", "side"), [(qwen3, "Qwen3VL", 16), (qwen2_5, "Qwen2_5_VL", 14)])
def test_probabilities_are_the_softmax_over_the_letters_of_a_plain_forward_pass(build, name, side, tmp_path):
    place = build(tmp_path / "Tiny-VL")
    judge, kind = load(place), getattr(transformers, f"{name}ForConditionalGeneration")
    shown = [picture(4 * side, 6 * side, seed) for seed in range(3)]
    found = judge(shown, ITEMS[:3])
    assert isinstance(judge, Judge)
    for one, item, row, culture in zip(shown, ITEMS, found.culture_probability, found.culture, strict=False):
        expected = plainly(place, kind, one, item, side)
        assert named(row) == pytest.approx(expected, abs=1e-5)
        assert culture == max(expected, key=expected.__getitem__)


def test_the_picture_decides(judge):
    found = judge([picture(64, 64, 0), picture(64, 64, 1)], [ITEMS[0]] * 2).culture_probability
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_the_order_of_the_options_changes_the_question_and_not_the_labels(judge):
    orders = [rotated(LABELS, item) for item in ITEMS]
    assert len(set(orders)) > 1
    shown = [picture(64, 64)] * len(ITEMS)
    texts = judge.processor.tokenizer.batch_decode(judge.inputs(shown, orders)["input_ids"])
    for text, order in zip(texts, orders, strict=True):
        assert question(order) in text
        assert text.endswith("<|im_start|>assistant\n")
    # a model that always says B names whatever stands there
    always = judge.tokens[1]

    class SaysB(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, input_ids, **_):
            logits = torch.zeros(len(input_ids), 1, 300)
            logits[..., always] = 5.0
            return transformers.utils.ModelOutput(logits=logits)

    found = dataclasses.replace(judge, model=SaysB())(shown, ITEMS)
    assert found.culture == tuple(order[1] for order in orders)
    assert found.culture_probability.argmax(1).tolist() == [LABELS.index(order[1]) for order in orders]


def test_a_batch_of_different_sizes_equals_single_pictures(folder, judge):
    shown = [picture(*size, seed) for seed, size in enumerate([(64, 64), (32, 160), (96, 128), (40, 70)])]
    together = judge(shown, ITEMS[:4]).culture_probability
    padding = judge.inputs(shown, [LABELS] * 4)["attention_mask"]
    assert padding[:, -1].all() and not padding[:, 0].all()
    single = np.concatenate([judge([p], [i]).culture_probability for p, i in zip(shown, ITEMS, strict=False)])
    np.testing.assert_allclose(together, single, atol=1e-4)
    np.testing.assert_allclose(load(folder, batch=3)(shown, ITEMS[:4]).culture_probability, single, atol=1e-4)


def test_no_pictures_no_answers(judge):
    found = judge([], [])
    assert found.culture == ()
    assert found.culture_probability.shape == (0, 5)


def test_numbers_that_overflow_are_unscored(judge):
    head = judge.model.lm_head.weight
    before = head.detach().clone()
    try:
        with torch.no_grad():
            head.fill_(float("nan"))
        found = judge([picture(64, 64)], ITEMS[:1])
    finally:
        with torch.no_grad():
            head.copy_(before)
    assert found.culture == ("",)
    assert np.isnan(found.culture_probability).all()


def test_the_digest_follows_weights_template_labels_and_dtype(folder, judge, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    assert load(other).digest == judge.digest
    assert load(other, batch=1).digest == judge.digest
    digests = {judge.digest, load(other, dtype="bfloat16").digest}
    digests.add(qwen3_vl.load(other, (*LABELS[1:4], LABELS[0], UNRECOGNISABLE), device="cpu", dtype="float32").digest)
    put(other, "chat_template.json", {"chat_template": TEMPLATE + "So: "})
    digests.add(load(other).digest)
    put(other, "chat_template.json", {"chat_template": TEMPLATE})
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    digests.add(load(other).digest)
    assert len(digests) == 5
    assert (judge.name, judge.labels) == ("Tiny-VL", LABELS)


def test_a_tokenizer_may_split_letters_that_are_no_options(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    tokenizer(other, without="F")
    load(other)


def test_a_folder_is_read_without_the_network(folder, monkeypatch):
    import huggingface_hub.constants

    called = []

    def refuse(*where, **_):
        called.append(where)
        raise OSError("no network in this test")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    load(folder)
    assert called == []
    with pytest.raises(InterpError, match="the hub does not give it"):
        load("nobody/no-such-judge")
    assert called


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(InterpError, match="neither a folder nor a hub id"):
        load(tmp_path / "nowhere" / "at-all")


@pytest.mark.parametrize(
    ("labels", "message"),
    [(LABELS[:4], "lack 'Unrecognisable'"), ((*LABELS, "Japan"), "'Japan' is given twice")],
)
def test_labels_that_cannot_be_asked_are_refused(folder, labels, message):
    with pytest.raises(InterpError, match=message):
        qwen3_vl.load(folder, labels)


def another_architecture(place):
    config = json.loads((place / "config.json").read_text())
    put(place, "config.json", config | {"architectures": ["LlavaForConditionalGeneration"]})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda place: (place / "preprocessor_config.json").unlink(), "preprocessor_config"),
        (another_architecture, "names LlavaForConditionalGeneration; known judges are Qwen3VL"),
        (lambda place: tokenizer(place, without="C"), "makes 2 tokens of the letter 'C'"),
    ],
)
def test_a_folder_that_cannot_be_a_judge_is_refused(folder, tmp_path, spoil, message):
    other = shutil.copytree(folder, tmp_path / "other")
    spoil(other)
    with pytest.raises(InterpError, match=message):
        load(other)


def test_pillow_s_pictures_need_no_torchvision(judge):
    shown = picture(64, 64)
    made = judge.inputs([shown], [LABELS])
    expected, grid = patches(np.asarray(Image.fromarray(shown)), 16)
    torch.testing.assert_close(made["pixel_values"], expected, atol=1e-6, rtol=0)
    assert made["image_grid_thw"].tolist() == grid.tolist()
    assert type(judge.processor.image_processor).__name__ == "Qwen2VLImageProcessorPil"


def test_on_a_gpu_it_answers_from_there(folder, judge):
    shown = [picture(32, 64), picture(96, 32, 1)]
    with pretend_gpu.there():
        there = load(folder, device="cuda")
        assert {p.device.type for p in there.model.parameters()} == {"cuda"}
        found = there(shown, ITEMS[:2])
    assert np.array_equal(found.culture_probability, judge(shown, ITEMS[:2]).culture_probability)
    assert there.digest == judge.digest
