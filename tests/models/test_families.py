import json
from functools import cache

import diffusers
import families
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

PROMPTS = ("ein Haus im deutschen Stil", "写真：日本らしいアリ")
UNET, CLIP = "diffusion_pytorch_model", "merges.txt special_tokens_map.json tokenizer_config.json vocab.json"
T5 = "special_tokens_map.json spiece.model tokenizer_config.json"
XLMR = "sentencepiece.bpe.model special_tokens_map.json tokenizer_config.json"
SHARDS = "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json"
ENCODER = "config.json model.fp16.safetensors model.safetensors openvino_model.bin"
VAE = f"config.json {UNET}.fp16.safetensors {UNET}.safetensors"
BOTH = "config.json model.fp16.safetensors model.safetensors pytorch_model.bin"
SDXL = {
    "": "model_index.json sd_xl_base_1.0.safetensors sd_xl_offset_example-lora_1.0.safetensors",
    "scheduler": "scheduler_config.json",
    "text_encoder": ENCODER,
    "text_encoder_2": ENCODER,
    "tokenizer": CLIP,
    "tokenizer_2": CLIP,
    "unet": f"{VAE} openvino_model.bin",
    "vae": VAE,
    "vae_1_0": VAE,
}
ALT = {
    "": "model_index.json",
    "feature_extractor": "preprocessor_config.json",
    "safety_checker": "config.json pytorch_model.bin",
    "scheduler": "scheduler_config.json",
    "text_encoder": "config.json pytorch_model.bin",
    "tokenizer": XLMR,
    "unet": f"config.json {UNET}.bin",
    "vae": f"config.json {UNET}.bin",
}
FILES = {
    "sdxl": SDXL,
    "sd1": {
        "": "model_index.json v1-5-pruned-emaonly.safetensors v1-5-pruned.ckpt",
        "feature_extractor": "preprocessor_config.json",
        "safety_checker": BOTH,
        "scheduler": "scheduler_config.json",
        "text_encoder": BOTH,
        "tokenizer": CLIP,
        "unet": f"{VAE} {UNET}.bin {UNET}.non_ema.bin",
        "vae": f"{VAE} {UNET}.bin",
    },
    "sd3": {
        "": "model_index.json sd3.5_large.safetensors",
        "scheduler": "scheduler_config.json",
        "text_encoder": "config.json model.safetensors",
        "text_encoder_2": "config.json model.safetensors",
        "text_encoder_3": f"config.json {SHARDS}",
        "text_encoders": "clip_g.safetensors t5xxl_fp16.safetensors",
        "tokenizer": CLIP,
        "tokenizer_2": CLIP,
        "tokenizer_3": f"{T5} tokenizer.json",
        "transformer": f"config.json {SHARDS.replace('model', UNET)}",
        "vae": f"config.json {UNET}.safetensors",
    },
    "flux": {
        "": "ae.safetensors flux1-dev.safetensors model_index.json",
        "scheduler": "scheduler_config.json",
        "text_encoder": "config.json model.safetensors",
        "text_encoder_2": f"config.json {SHARDS}",
        "tokenizer": CLIP,
        "tokenizer_2": f"{T5} tokenizer.json",
        "transformer": f"config.json {UNET}.safetensors.index.json "
        + " ".join(f"{UNET}-0000{n}-of-00003.safetensors" for n in (1, 2, 3)),
        "vae": f"config.json {UNET}.safetensors",
    },
    "pixart": {
        "": "model_index.json",
        "scheduler": "scheduler_config.json",
        "text_encoder": f"config.json {SHARDS}",
        "tokenizer": f"{T5} added_tokens.json",
        "transformer": f"config.json {UNET}.safetensors",
        "vae": f"config.json {UNET}.safetensors",
    },
    "m18": ALT,
    "m9": ALT,
    "pea": {
        "": "pytorch_model.bin",
        **{f"backbone/{k}".strip("/"): v for k, v in SDXL.items()},
        families.PEA_TOWER: f"{XLMR} open_clip_config.json open_clip_pytorch_model.bin tokenizer.json",
        families.PEA_TOWER_CONFIG: f"{XLMR} config.json tokenizer.json",
    },
}
PIPELINES = {
    "sdxl": "StableDiffusionXLPipeline",
    "sd1": "StableDiffusionPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
    "pixart": "PixArtSigmaPipeline",
}


def build(family, folder, seed=0):
    if family in ("m18", "m9"):
        return families.build_alt_diffusion(folder, pre=family == "m18", seed=seed)
    return getattr(families, f"build_{family}")(folder, seed=seed)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a family, written once."""

    @cache
    def folder(family):
        return build(family, tmp_path_factory.mktemp(family) / family)

    return folder


def draw(pipeline, **prompt):
    """One picture in two steps: some schedulers take a single one where next to no noise is left to take off."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    size = {"height": families.PIXELS, "width": families.PIXELS}
    out = pipeline(**prompt, **size, num_inference_steps=2, output_type="np", generator=generator)
    assert out.images.shape == (1, families.PIXELS, families.PIXELS, 3)
    return out.images[0]


def check(pictures):
    """Real pictures, each another."""
    assert all(np.isfinite(p).all() and p.std() > 0.1 for p in pictures)
    assert all(np.abs(p - pictures[0]).mean() > 0.01 for p in pictures[1:])


@pytest.mark.parametrize("family", FILES)
def test_files_are_the_published_ones(family, built):
    folder = built(family)
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert found == sorted(f"{k}/{name}".strip("/") for k, names in FILES[family].items() for name in names.split())


@pytest.mark.parametrize("family", PIPELINES)
def test_pipeline_loads_and_draws(family, built):
    folder = built(family)
    assert json.loads((folder / "model_index.json").read_text())["_class_name"] == PIPELINES[family]
    pipeline = getattr(diffusers, PIPELINES[family]).from_pretrained(folder, dtype=torch.float32)
    extra = {"use_resolution_binning": False, "clean_caption": False} if family == "pixart" else {}
    check([draw(pipeline, prompt=prompt, **extra) for prompt in PROMPTS])


@pytest.mark.parametrize("family", PIPELINES)
def test_every_weight_is_read(family, built):
    """A loader leaves no tensor at its initial value, and no file has one that the class has not."""
    folder = built(family)
    for name, part in json.loads((folder / "model_index.json").read_text()).items():
        weights = folder / name
        if name.startswith("_") or not isinstance(part, list) or not (weights / "config.json").is_file():
            continue
        library = diffusers if part[0] == "diffusers" else __import__("transformers")
        if part[0] == "stable_diffusion":
            from diffusers.pipelines import stable_diffusion as library
        model, info = getattr(library, part[1]).from_pretrained(weights, output_loading_info=True, dtype=torch.float32)
        assert not any(info[k] for k in ("missing_keys", "mismatched_keys", "error_msgs") if k in info), name
        assert not {k for k in info["unexpected_keys"] if "position_ids" not in k}, name
        assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", ["m18", "m9"])
def test_alt_diffusion_loads_only_by_component(family, built):
    from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
        RobertaSeriesModelWithTransformation,
    )
    from transformers import AutoTokenizer

    folder = built(family)
    with pytest.raises(ValueError, match="alt_diffusion"):
        diffusers.AltDiffusionPipeline.from_pretrained(folder, safety_checker=None, feature_extractor=None)
    pipeline = diffusers.AltDiffusionPipeline(
        vae=diffusers.AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=RobertaSeriesModelWithTransformation.from_pretrained(folder / "text_encoder"),
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        unet=diffusers.UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=diffusers.PNDMScheduler.from_pretrained(folder / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    assert pipeline.text_encoder.has_pre_transformation is (family == "m18")
    check([draw(pipeline, prompt=prompt) for prompt in PROMPTS])


def test_pea_draws(tmp_path):
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

    folder = families.build_pea(tmp_path / "pea", hidden=52)
    tower, prefix = folder / families.PEA_TOWER, "text.transformer."
    names = json.loads((tower / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    text = XLMRobertaModel(XLMRobertaConfig.from_pretrained(names["hf_model_name"]), add_pooling_layer=False).eval()
    state = torch.load(tower / "open_clip_pytorch_model.bin", weights_only=True)
    text.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, strict=False)
    adapter = torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert adapter["projector.0.weight"].shape == (52, families.XLMR_WIDTH) and len(adapter) == 7
    tokenizer = AutoTokenizer.from_pretrained(tower)
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(
        folder / families.PEA_BACKBONE, dtype=torch.float32, text_encoder=None, text_encoder_2=None
    )

    @torch.no_grad()
    def encode(prompt):
        batch = tokenizer(prompt, padding="max_length", max_length=families.CONTEXT, return_tensors="pt")
        x = text(**batch).last_hidden_state
        x = torch.layer_norm(x, x.shape[-1:], adapter["layernorm.weight"], adapter["layernorm.bias"])
        for n in (0, 2, 4):
            x = torch.nn.functional.gelu(x) if n else x
            x = x @ adapter[f"projector.{n}.weight"].T
        return torch.nn.functional.gelu(x) @ adapter["fc.weight"].T + adapter["fc.bias"], x.mean(1)

    def picture(prompt):
        (embeds, pooled), (negative, negative_pooled) = encode(prompt), encode("")
        return draw(
            pipeline,
            prompt_embeds=embeds,
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=negative,
            negative_pooled_prompt_embeds=negative_pooled,
        )

    check([picture(prompt) for prompt in PROMPTS])


@pytest.mark.parametrize("family", ["sd1", "m18", "pea"])
def test_seed_decides_the_weights(family, tmp_path):
    def read(path):
        return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)

    built = [build(family, tmp_path / str(n), seed) for n, seed in enumerate((0, 0, 1))]
    name = {"sd1": "text_encoder/model.safetensors", "m18": "unet/diffusion_pytorch_model.bin"}
    first, same, other = (read(folder / name.get(family, "pytorch_model.bin")) for folder in built)
    assert all(torch.equal(first[k], same[k]) for k in first)
    assert not any(torch.equal(first[k], other[k]) for k in first if "position_ids" not in k)


@pytest.mark.parametrize(
    ("family", "tokenizer"),
    [("sdxl", "tokenizer_2"), ("flux", "tokenizer_2"), ("pixart", "tokenizer"), ("m9", "tokenizer")],
)
def test_tokenizers_cover_the_benchmark(family, tokenizer, built):
    from transformers import AutoTokenizer

    from interp.benchmarks import pocket

    tokenizer = AutoTokenizer.from_pretrained(built(family) / tokenizer)
    rows = list(pocket.samples())[::29]
    batch = tokenizer([r["culture_style"] for r in rows], return_offsets_mapping=True)
    for row, ids, offsets in zip(rows, batch["input_ids"], batch["offset_mapping"], strict=True):
        assert len(ids) <= families.CONTEXT
        if tokenizer.unk_token_id != tokenizer.eos_token_id:
            assert tokenizer.unk_token_id not in ids
        start, end = row["noun_span"]
        noun = [(a, b) for a, b in offsets if a < end and b > start]
        assert noun and noun[0][0] <= start and noun[-1][1] >= end, row["culture_style"]
