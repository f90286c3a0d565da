"""CLIPScore and its towers: against open_clip's own code, the same equations in plain torch, and transformers."""

import importlib.util
import json
import shutil
import sys
from fnmatch import fnmatch
from types import ModuleType

import families
import huggingface_hub
import numpy as np
import pretend_gpu
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from interp import InterpError
from interp.metrics import towers
from interp.metrics.base import Metric
from interp.metrics.clipscore import ClipScore
from interp.metrics.towers import ClipTower, Preprocess, Tower, XlmRobertaClipTower
from interp.types import Prompt, PromptPair, Sample

D, HEADS, DEPTH, SIDE, PATCH, OUT = 32, 4, 3, 28, 14, 24
"""Of the tiny vision transformer: width, heads, layers, pixels, pixels of a patch, width of the embeddings."""
TEXT = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
CAPTIONS = ["un gatto di notte", "夜の猫", "ein Haus am See, gemalt von einem Kind mit vielen Farben", "кіт"]
LONG = " ".join(f"casa numero {n}" for n in range(60))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))


def pictures(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes or [(50, 32)] * 3]


def sample(n, native="кіт", english="a cat"):
    def pair(text, language):
        styled, plain = Prompt(f"{text} !", language), Prompt(text, language)
        return PromptPair(str(n), "Ukraine", "cat", styled, plain)

    return Sample(str(n), "", "Ukraine", "uk", "cat", "test", pair(native, "uk"), pair(english, "en"))


# A tower in open_clip's layout


def noise(seed, **shapes):
    """Random weights under which activations neither vanish nor grow."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        found[name] = value * (shape[-1] ** -0.5 if len(shape) > 1 else 0.2)
        if name.endswith("weight") and len(shape) == 1:
            found[name] += 1
    return found


def visual():
    shapes = {"class_embedding": [D], "positional_embedding": [(SIDE // PATCH) ** 2 + 1, D], "proj": [D, OUT]}
    shapes["conv1.weight"] = [D, 3, PATCH, PATCH]
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"{norm}.weight": [D], f"{norm}.bias": [D]}
    for n in range(DEPTH):
        at = f"transformer.resblocks.{n}"
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{at}.{norm}.weight": [D], f"{at}.{norm}.bias": [D]}
        shapes |= {f"{at}.attn.in_proj_weight": [3 * D, D], f"{at}.attn.in_proj_bias": [3 * D]}
        for name, out, into in (("attn.out_proj", D, D), ("mlp.c_fc", 4 * D, D), ("mlp.c_proj", D, 4 * D)):
            shapes |= {f"{at}.{name}.weight": [out, into], f"{at}.{name}.bias": [out]}
    return {f"visual.{k}": v for k, v in noise(1, **shapes).items()}


def xlmr_config():
    return families._xlmr_config() | TEXT


def text():
    from transformers import XLMRobertaConfig, XLMRobertaModel

    made = XLMRobertaModel(XLMRobertaConfig(**xlmr_config()), add_pooling_layer=False)
    shapes = {k: list(v.shape) for k, v in made.state_dict().items()}
    state = {f"text.transformer.{k}": v for k, v in noise(2, **shapes).items()}
    width, middle = TEXT["hidden_size"], (TEXT["hidden_size"] + OUT) // 2
    return state | noise(3, **{"text.proj.0.weight": [middle, width], "text.proj.2.weight": [OUT, middle]})


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A folder in laion's layout; open_clip_config.json names a folder where the published one names a repository."""
    root = tmp_path_factory.mktemp("xlmr")
    folder, of_text = root / "CLIP-tiny", root / "xlm-roberta-tiny"
    families._json(of_text / "config.json", xlmr_config() | {"architectures": ["XLMRobertaForMaskedLM"]})
    families._xlmr_tokenizer(folder, 512, fast=True)
    vision = {"image_size": SIDE, "layers": DEPTH, "width": D, "head_width": D // HEADS, "patch_size": PATCH}
    named = {"hf_model_name": str(of_text), "hf_tokenizer_name": str(of_text)}
    shades = {"mean": list(towers.OPENAI["mean"]), "std": list(towers.OPENAI["std"])}
    model = {"embed_dim": OUT, "vision_cfg": vision, "text_cfg": named}
    families._json(folder / towers.CONFIG, {"model_cfg": model, "preprocess_cfg": shades})
    unread = {"logit_scale": torch.tensor(4.6), "text.transformer.embeddings.position_ids": torch.arange(514)[None]}
    torch.save({**visual(), **text(), **unread}, folder / "open_clip_pytorch_model.bin")
    return folder


@pytest.fixture(scope="session")
def tower(published, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERP_CACHE", str(tmp_path_factory.mktemp("tower")))
        return XlmRobertaClipTower.load(published)


@pytest.fixture
def copy(published, tmp_path):
    return shutil.copytree(published, tmp_path / "copy")


# What it has to equal


def plain_image(pixels):
    """A ViT whose blocks are x + attention(norm(x)), x + mlp(norm(x)); the class token, normed and projected."""
    s = {k.removeprefix("visual."): v for k, v in visual().items()}

    def norm(x, at):
        return F.layer_norm(x, (D,), s[f"{at}.weight"], s[f"{at}.bias"], 1e-5)

    def linear(x, at):
        return x @ s[f"{at}.weight"].T + s[f"{at}.bias"]

    patches = F.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2) @ s["conv1.weight"].flatten(1).T
    x = torch.cat([s["class_embedding"].expand(len(pixels), 1, D), patches], 1) + s["positional_embedding"]
    x = norm(x, "ln_pre")
    for n in range(DEPTH):
        at = f"transformer.resblocks.{n}"
        mixed = norm(x, f"{at}.ln_1") @ s[f"{at}.attn.in_proj_weight"].T + s[f"{at}.attn.in_proj_bias"]
        q, k, v = mixed.unflatten(-1, (3, HEADS, D // HEADS)).permute(2, 0, 3, 1, 4)
        heads = (q @ k.mT / (D // HEADS) ** 0.5).softmax(-1) @ v
        x = x + linear(heads.transpose(1, 2).flatten(2), f"{at}.attn.out_proj")
        hidden = linear(norm(x, f"{at}.ln_2"), f"{at}.mlp.c_fc")
        x = x + linear(hidden * (1 + torch.erf(hidden / 2**0.5)) / 2, f"{at}.mlp.c_proj")
    return norm(x[:, 0], "ln_post") @ s["proj"]


def plain_text(ids, folder):
    """XLM-R, the mean over what is not padding, and two linear layers. XLM-R itself is transformers' own."""
    from transformers import AutoConfig, XLMRobertaModel

    s = text()
    config = AutoConfig.from_pretrained(
        json.loads((folder / towers.CONFIG).read_text())["model_cfg"]["text_cfg"]["hf_model_name"]
    )
    model = XLMRobertaModel(config, add_pooling_layer=False).eval()
    model.load_state_dict({k.removeprefix("text.transformer."): v for k, v in s.items() if "transformer" in k})
    rows = []
    for row in ids:
        own = row[row != config.pad_token_id]
        mean = model(own[None]).last_hidden_state[0].mean(0)
        rows.append(s["text.proj.2.weight"] @ F.gelu(s["text.proj.0.weight"] @ mean))
    return torch.stack(rows)


def open_clip(monkeypatch, folder):
    """open_clip's own model, imported without the parts of the package that need torchvision, ftfy or timm."""
    package = ModuleType("open_clip")
    package.__path__ = list(importlib.util.find_spec("open_clip").submodule_search_locations)
    monkeypatch.setitem(sys.modules, "open_clip", package)
    for name in ("torchvision", "torchvision.ops", "torchvision.ops.misc"):
        stub = ModuleType(name)
        stub.FrozenBatchNorm2d = nn.BatchNorm2d
        monkeypatch.setitem(sys.modules, name, stub)
    config = json.loads((folder / towers.CONFIG).read_text())["model_cfg"]
    config["text_cfg"]["hf_model_pretrained"] = False
    model = importlib.import_module("open_clip.model").CustomTextCLIP(**config).eval()
    state = torch.load(folder / "open_clip_pytorch_model.bin", weights_only=True)
    left = model.load_state_dict(state, strict=False)
    assert (left.missing_keys, left.unexpected_keys) == ([], ["text.transformer.embeddings.position_ids"])
    return model


@pytest.mark.parametrize("against", ["plain torch", "open_clip"])
@torch.no_grad()
def test_both_sides_equal(against, published, tower, monkeypatch):
    pixels = tower.preprocess(pictures())
    texts = [*CAPTIONS, LONG]
    ids = tower.tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
    if against == "open_clip":
        other = open_clip(monkeypatch, published)
        seen, read = other.encode_image(pixels), other.encode_text(ids)
    else:
        seen, read = plain_image(pixels), plain_text(ids, published)
    assert (tower.images(pictures()) - F.normalize(seen, dim=-1)).abs().max() < 1e-5
    assert (tower.texts(texts) - F.normalize(read, dim=-1)).abs().max() < 1e-5
    assert (seen[0] - seen[1]).abs().max() > 0.1 and (read[0] - read[1]).abs().max() > 0.1


def test_a_batch_equals_singles(tower):
    for embed, all_of in ((tower.images, pictures()), (tower.texts, CAPTIONS)):
        singles = torch.cat([embed([x]) for x in all_of])
        torch.testing.assert_close(embed(all_of), singles, atol=1e-6, rtol=0)
        torch.testing.assert_close(singles.norm(dim=-1), torch.ones(len(all_of)))


def test_captions_are_cut_at_77_tokens_and_cleaned(tower):
    ids = tower.tokenizer(LONG).input_ids
    kept = tower.tokenizer.decode(ids[1:76])
    assert len(ids) > 77
    torch.testing.assert_close(tower.texts([LONG]), tower.texts([kept + " e altro " + LONG]), atol=1e-6, rtol=0)
    # What open_clip's cleaning makes of it, with ftfy 6.3.1.
    given, cleaned = " п’ять  пʼять “кіт” &amp;amp; l‘eau\n", "п'ять п'ять \"кіт\" & l'eau"
    assert towers.cleaned(given) == cleaned
    assert torch.equal(tower.texts([given]), tower.texts([cleaned]))


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((28, 31, 3), (0, 28), (2, 30)), ((29, 28, 3), (0, 28), (0, 28)), ((28, 32, 3), (0, 28), (2, 30))],
)
def test_the_centre_is_cut_as_torchvision_cuts_it(shape, rows, columns):
    (picture,) = pictures(shape[:2])
    pixels = Preprocess(28, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))([picture])[0].permute(1, 2, 0) * 255
    np.testing.assert_allclose(pixels.numpy(), picture[slice(*rows), slice(*columns)], atol=1e-4)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (512, 512), (224, 224), (1024, 768)])
def test_pixels_equal_transformers(size):
    from PIL import Image
    from transformers import CLIPImageProcessorPil

    given = pictures(size, size)
    wanted = CLIPImageProcessorPil()(images=[Image.fromarray(p) for p in given], return_tensors="pt")["pixel_values"]
    assert ((Preprocess(224)(given) - wanted) * torch.tensor(towers.OPENAI["std"])[:, None, None]).abs().max() < 1e-5


# What is refused


def rewrite(folder, change):
    path = folder / "open_clip_pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("visual.ln_post.bias"), "1 missing .vision_model.post_layernorm.bias"),
        (lambda s: s.pop("text.proj.2.weight"), 'Missing key.s. in state_dict: "2.weight"'),
        (lambda s: s.pop("text.transformer.encoder.layer.1.output.dense.bias"), "1 missing .encoder.layer.1.output"),
        (lambda s: s.update({"visual.ln_mid.bias": torch.ones(2)}), "1 not known .ln_mid.bias"),
        (lambda s: s.update({"text.ln_final.bias": torch.ones(2)}), "1 weights not known, such as text.ln_final.bias"),
        (lambda s: s.update({"visual.proj": torch.ones(D, 5)}), r"visual_projection.weight: \[5, 32\] for \[24, 32\]"),
        (lambda s: s.update({"text.proj.0.weight": torch.ones(5, 48)}), "size mismatch for 0.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message, copy):
    rewrite(copy, change)
    with pytest.raises(InterpError, match=message):
        XlmRobertaClipTower.load(copy)


def set_config(folder, part, changes):
    config = json.loads((folder / towers.CONFIG).read_text())
    at = config if part == "preprocess_cfg" else config["model_cfg"]
    at[part] |= changes or {}
    if changes is None:
        del at[part]
    (folder / towers.CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_cfg": {"timm_model_name": "vit"}}, "vision_cfg has timm_model_name"),
        ({"vision_cfg": {"layers": [3, 4, 6, 3]}}, "vision_cfg has layers"),
        ({"text_cfg": {"hf_pooler_type": "cls_pooler"}}, "with cls_pooler and mlp"),
        ({"text_cfg": {"proj": "linear"}}, "with mean_pooler and linear"),
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "asks for roberta-base"),
        ({"vision_cfg": None}, "names no 'vision_cfg'"),
        ({"preprocess_cfg": {"resize_mode": "squash"}}, "preprocess_cfg asks for {'resize_mode': 'squash'}"),
        ({"preprocess_cfg": {"size": [336, 336]}}, "preprocess_cfg asks for {'size'"),
    ],
)
def test_another_architecture_is_refused(changes, message, copy):
    for part, change in changes.items():
        set_config(copy, part, change)
    with pytest.raises(InterpError, match=message):
        XlmRobertaClipTower.load(copy)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(InterpError, match=r"no open_clip_model\.safetensors or open_clip_pytorch_model\.bin"):
        XlmRobertaClipTower.load(tmp_path)
    with pytest.raises(InterpError, match="neither a folder nor a hub id"):
        ClipTower.load(tmp_path / "none")
    with pytest.raises(InterpError, match="org/none: no such folder, and the hub does not give it"):
        ClipTower.load("org/none")


def test_of_the_hub_only_what_is_needed_is_fetched(copy, tmp_path, monkeypatch):
    (copy / "README.md").write_text("of no use")
    place = tmp_path / "snapshots" / "0123abcd"
    place.mkdir(parents=True)

    def snapshot(name, allow_patterns):
        assert name == "org/CLIP-tiny"
        for file in (f for f in copy.iterdir() if any(fnmatch(f.name, p) for p in allow_patterns)):
            shutil.copyfile(file, place / file.name)
        return str(place)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    fetched = towers.load_tower("org/CLIP-tiny")
    assert fetched.name == "CLIP-tiny"
    assert fetched.digest == XlmRobertaClipTower.load(copy).digest
    assert {f.name for f in copy.iterdir()} - {f.name for f in place.iterdir()} == {"README.md"}
    (copy / "open_clip_pytorch_model.bin").unlink()
    (place / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(
        InterpError, match=r"has no open_clip_model\.safetensors and no open_clip_pytorch_model\.bin on"
    ):
        towers.load_tower("org/CLIP-tiny")


def test_safetensors_say_the_same_and_half_precision_nearly(copy, tower):
    state = torch.load(copy / "open_clip_pytorch_model.bin", weights_only=True)
    (copy / "open_clip_pytorch_model.bin").unlink()
    save_file(state, copy / "open_clip_model.safetensors")
    whole, half = XlmRobertaClipTower.load(copy), XlmRobertaClipTower.load(copy, dtype=torch.bfloat16)
    assert torch.equal(whole.images(pictures()), tower.images(pictures()))
    assert torch.equal(whole.texts(CAPTIONS), tower.texts(CAPTIONS))
    assert (half.texts(CAPTIONS) - tower.texts(CAPTIONS)).abs().max() < 0.05
    assert (half.images(pictures()) - tower.images(pictures())).abs().max() < 0.05
    assert len({tower.digest, whole.digest, half.digest}) == 3
    (copy / "open_clip_model.safetensors").write_bytes(b"cut")
    with pytest.raises(InterpError, match="damaged or cut short"):
        XlmRobertaClipTower.load(copy)


def test_the_published_sizes(tmp_path):
    """Millions of parameters, of open_clip's table of models."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, XLMRobertaConfig, XLMRobertaModel

    vision = {"image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14}
    named = {"hf_model_name": "xlm-roberta-large", "proj": "mlp", "pooler_type": "mean_pooler"}
    config = {"model_cfg": {"embed_dim": 1024, "vision_cfg": vision, "text_cfg": named}}
    see, read = towers._vision(tmp_path, config), towers._text(tmp_path, config)
    with torch.device("meta"):
        seeing = CLIPVisionModelWithProjection(CLIPVisionConfig(**see))
        reading = XLMRobertaModel(XLMRobertaConfig(**read), add_pooling_layer=False)
    millions = [sum(p.numel() for p in m.parameters()) / 1e6 for m in (seeing, reading)]
    assert np.round(millions + np.array([0, 2 * 1024**2 / 1e6]), 2).tolist() == [632.08, 560.94]
    assert (see["num_attention_heads"], read["num_attention_heads"], see["hidden_act"]) == (16, 16, "gelu")


# CLIP of transformers


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """As published: old names of preprocessing, and tables of positions among the weights."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip") / "clip-vit-tiny"
    families._clip_tokenizer(folder)
    words = len(families._clip_vocabulary()[0])
    both = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1}
    config = CLIPConfig(
        text_config=both | ends | {"vocab_size": words, "max_position_embeddings": 77, "projection_dim": 24},
        vision_config=both | {"image_size": 28, "patch_size": 14, "projection_dim": 24},
        projection_dim=24,
    )
    model = CLIPModel(config).eval()
    model.load_state_dict(noise(4, **{k: list(v.shape) for k, v in model.state_dict().items()}))
    model.save_pretrained(folder)
    positions = {f"{side}_model.embeddings.position_ids": torch.arange(5)[None] for side in ("text", "vision")}
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state | positions, folder / "model.safetensors", metadata={"format": "pt"})
    prepared = families._PREPROCESSOR | {"size": 32, "crop_size": 28}
    families._json(folder / "preprocessor_config.json", prepared)
    return folder


@pytest.fixture(scope="session")
def clip(clip_folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERP_CACHE", str(tmp_path_factory.mktemp("clip-cache")))
        return ClipTower.load(clip_folder)


@torch.no_grad()
def test_clip_equals_its_parts(clip):
    model, given = clip.model, pictures()
    for picture, row in zip(given, clip.images(given), strict=True):
        pixels = clip.processor(images=[picture], input_data_format="channels_last", return_tensors="pt")
        assert pixels["pixel_values"].shape == (1, 3, 28, 28)
        pooled = model.vision_model(**pixels).pooler_output[0]
        torch.testing.assert_close(row, F.normalize(model.visual_projection.weight @ pooled, dim=0), atol=1e-6, rtol=0)
    texts = ["a cat", "a cat at night, painted", LONG]
    for text, row in zip(texts, clip.texts(texts), strict=True):
        ids = clip.tokenizer(text).input_ids
        ids = torch.tensor(ids if len(ids) <= 77 else [*ids[:76], ids[-1]])
        state = model.text_model(ids[None]).last_hidden_state[0, -1]
        torch.testing.assert_close(row, F.normalize(model.text_projection.weight @ state, dim=0), atol=1e-6, rtol=0)


def test_siglip_is_refused(clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "siglip")
    config = json.loads((folder / "config.json").read_text())
    families._json(folder / "config.json", config | {"architectures": ["SiglipModel"], "model_type": "siglip"})
    with pytest.raises(InterpError, match=r"its config\.json names SiglipModel, to load is CLIPModel"):
        ClipTower.load(folder)


def test_another_preparation_is_refused(clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    families._json(folder / "preprocessor_config.json", {"image_processor_type": "ViTImageProcessor"})
    with pytest.raises(InterpError, match="pictures are prepared by ViTImageProcessor"):
        ClipTower.load(folder)


def test_a_tower_is_told_by_its_files(published, clip_folder, tmp_path):
    assert isinstance(towers.load_tower(published), XlmRobertaClipTower)
    assert isinstance(towers.load_tower(clip_folder), ClipTower)
    both = shutil.copytree(clip_folder, tmp_path / "both")  # as laion's English models are published
    families._json(both / towers.CONFIG, {"model_cfg": {"text_cfg": {"width": 512}}})
    assert isinstance(towers.load_tower(both), ClipTower)


# The metric


class Counted:
    """A tower that remembers what it was asked."""

    name, digest, languages = "counted", "d", "english"

    def __init__(self, tower):
        self.tower, self.asked = tower, []
        self.images = tower.images

    def texts(self, texts):
        self.asked += texts
        return self.tower.texts(texts)


@pytest.mark.parametrize("which", ["clip", "tower"])
@pytest.mark.parametrize("caption", ["noun_only", "culture_style"])
def test_a_score_is_the_cosine_with_the_samples_caption(which, caption, request):
    own = request.getfixturevalue(which)
    metric = ClipScore(own, caption)
    samples = [sample(0), sample(1, "дім", "a house"), sample(2)]
    assert isinstance(own, Tower) and isinstance(metric, Metric)
    found = metric.measure(pictures(), samples).values
    for value, picture, given in zip(found, pictures(), samples, strict=True):
        pair = given.english if which == "clip" else given.native
        text = pair.noun_only.text if caption == "noun_only" else pair.culture_style.text
        a, b = own.images([picture])[0].double(), own.texts([text])[0].double()
        assert metric.key(given) == text
        assert abs(value - float(a @ b / (a.norm() * b.norm()))) < 1e-6
    assert len(set(np.round(found, 4))) == 3 and (found < 0).any() | (found < 0.4).all()
    assert metric.measure([], []).values.shape == (0,)


class Opposed:
    """A tower whose pictures and captions point away from each other."""

    name, digest, languages = "opposed", "d", "english"

    def images(self, pictures):
        return torch.tensor([[0.6, 0.8]]).repeat(len(pictures), 1)

    def texts(self, texts):
        return torch.tensor([[-1.0, 0.0]]).repeat(len(texts), 1)


def test_a_negative_cosine_stays_negative():
    found = ClipScore(Opposed()).measure(pictures(), [sample(n) for n in range(3)]).values
    np.testing.assert_allclose(found, [-0.6] * 3, rtol=1e-6)


def test_each_caption_is_embedded_once_a_call(clip):
    counted = Counted(clip)
    ClipScore(counted).measure(pictures(), [sample(0), sample(1, english="a house"), sample(2)])
    assert counted.asked == ["a cat", "a house"]


def test_names_and_digests_tell_metrics_apart(clip, tower):
    metrics = [ClipScore(t, c) for t in (clip, tower) for c in ("noun_only", "culture_style")]
    assert [m.name for m in metrics] == [
        "clipscore:clip-vit-tiny",
        "clipscore:clip-vit-tiny:culture_style",
        "clipscore:CLIP-tiny",
        "clipscore:CLIP-tiny:culture_style",
    ]
    assert len({m.digest for m in metrics}) == 4
    assert {(m.unit, m.direction, m.grouped) for m in metrics} == {("cosine", "higher", False)}


def test_towers_on_a_gpu_compute_there_and_give_main_memory(tower, clip, published, clip_folder):
    shown, said = pictures((50, 32), (30, 60)), CAPTIONS[:2]
    for here, folder in ((tower, published), (clip, clip_folder)):
        with pretend_gpu.there():
            there = towers.load_tower(folder, "cuda")
            held = [*there.__dict__.values()]
            assert {p.device.type for m in held if isinstance(m, nn.Module) for p in m.parameters()} == {"cuda"}
            scores = ClipScore(there).measure(shown, [sample(0), sample(1)]).values
            assert there.images(shown).device.type == there.texts(said).device.type == "cpu"
        assert there.digest == here.digest
        # threads share the sums of a matrix product otherwise, so the last bit may differ
        np.testing.assert_allclose(scores, ClipScore(here).measure(shown, [sample(0), sample(1)]).values, atol=1e-6)
