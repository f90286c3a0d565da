"""Tiny models of the real classes, random weights, as their publishers' repositories on the Hugging Face hub hold them.

One builder a family writes folders, file names, weight names, number formats and JSON as published; only widths, depths
and vocabularies are small. Entries that mislead stay: CLIP's configs name 2 as the end token, which is the last of the
vocabulary; SDXL's name half precision for full-precision files. Beside the files to read lie some to pass over.

The index files and most other JSON of SDXL, SD 3.5, FLUX and SD 1.5 were held against published copies. Of
AltDiffusion, PixArt and the tower of PEA-Diffusion there was none at hand: theirs is what the libraries of the time
write.
"""

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from interp.benchmarks import pocket

HEADS = 4
CLIP_LAYERS, CLIP_WIDTHS = (3, 4), (32, 40)
"""Of the first CLIP encoder of a family and of its second."""
CONTEXT = 77
T5_LAYERS, T5_WIDTH, SD3_T5_WIDTH = 3, 32, 80
"""SD 3.5 pads the states of its two CLIPs, side by side, to the width of T5, which so cannot be less."""
XLMR_LAYERS, XLMR_WIDTH, POSITIONS = 4, 32, 514
M9_WIDTH = 24
"""Width of the conditioning of m9; of m18 it is the encoder's."""
LATENTS, PIXELS = 8, 16
"""Height and width of what a denoiser draws, and of the picture."""
PEA_BACKBONE = "backbone"
PEA_TOWER = "CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k"
PEA_TOWER_CONFIG = "xlm-roberta-large"
DECOY = b"not to be read"
CROSS = 3.0
"""How much more than other weights those of cross-attention are, so that a prompt shows in the picture."""

_MERGES = 600
_SPARE = 28
"""Rows of T5's embedding beyond its vocabulary: 32128 for 32100."""


def build_sdxl(folder: Path, seed: int = 0) -> Path:
    """stabilityai/stable-diffusion-xl-base-1.0."""
    parts = {
        "scheduler": "diffusers EulerDiscreteScheduler",
        "text_encoder": "transformers CLIPTextModel",
        "text_encoder_2": "transformers CLIPTextModelWithProjection",
        "tokenizer": "transformers CLIPTokenizer",
        "tokenizer_2": "transformers CLIPTokenizer",
        "unet": "diffusers UNet2DConditionModel",
        "vae": "diffusers AutoencoderKL",
    }
    version = {"_diffusers_version": "0.19.0.dev0"}
    _index(folder, "StableDiffusionXLPipeline", parts, **version, force_zeros_for_empty_prompt=True)
    named = {"torch_dtype": "float16", "transformers_version": "4.32.0.dev0"}
    for n, name in enumerate(("text_encoder", "text_encoder_2")):
        state = _clip(folder / name, parts[name].split()[1], n, seed, **named)
        _safetensors(folder / name / "model", state, half=True)
        (folder / name / "openvino_model.bin").write_bytes(DECOY)
    _clip_tokenizer(folder / "tokenizer")
    _clip_tokenizer(folder / "tokenizer_2", pad="!")
    unet = _UNET | version | _SDXL_UNET
    _safetensors(folder / "unet" / _DIFFUSION, _diffusers(folder / "unet", unet, seed), half=True)
    for name in ("vae", "vae_1_0"):
        vae = _vae(4, 0.13025, **version)
        _safetensors(folder / name / _DIFFUSION, _diffusers(folder / name, vae, seed), half=True)
    _json(folder / "scheduler" / "scheduler_config.json", _EULER)
    _decoys(
        folder, "sd_xl_base_1.0.safetensors", "sd_xl_offset_example-lora_1.0.safetensors", "unet/openvino_model.bin"
    )
    return folder


def build_sd1(folder: Path, seed: int = 0) -> Path:
    """stable-diffusion-v1-5/stable-diffusion-v1-5, with a real safety checker that finds nothing."""
    parts = {
        "feature_extractor": "transformers CLIPImageProcessor",
        "safety_checker": "stable_diffusion StableDiffusionSafetyChecker",
        "scheduler": "diffusers PNDMScheduler",
        "text_encoder": "transformers CLIPTextModel",
        "tokenizer": "transformers CLIPTokenizer",
        "unet": "diffusers UNet2DConditionModel",
        "vae": "diffusers AutoencoderKL",
    }
    version = {"_diffusers_version": "0.6.0"}
    _index(folder, "StableDiffusionPipeline", parts, **version)
    named = {"torch_dtype": "float32", "transformers_version": "4.22.0.dev0"}
    state = _clip(folder / "text_encoder", "CLIPTextModel", 0, seed, **named)
    state["text_model.embeddings.position_ids"] = torch.arange(CONTEXT)[None]
    _both(folder / "text_encoder", "model", "pytorch_model", state)
    _clip_tokenizer(folder / "tokenizer")
    # Before 0.9 a pipeline warns of a small `sample_size`.
    unet = _UNET | {"_diffusers_version": "0.17.0.dev0"}
    unet |= {"attention_head_dim": HEADS, "cross_attention_dim": CLIP_WIDTHS[0]}
    _both(folder / "unet", _DIFFUSION, _DIFFUSION, _diffusers(folder / "unet", unet, seed))
    vae = _former(_diffusers(folder / "vae", _vae(4, None, **version), seed))
    _both(folder / "vae", _DIFFUSION, _DIFFUSION, vae)
    _both(folder / "safety_checker", "model", "pytorch_model", _safety_checker(folder / "safety_checker", seed))
    _json(folder / "feature_extractor" / "preprocessor_config.json", _PREPROCESSOR)
    _json(folder / "scheduler" / "scheduler_config.json", _PNDM | version)
    _decoys(folder, "v1-5-pruned.ckpt", "v1-5-pruned-emaonly.safetensors", "unet/diffusion_pytorch_model.non_ema.bin")
    return folder


def build_sd3(folder: Path, seed: int = 0) -> Path:
    """stabilityai/stable-diffusion-3.5-large."""
    parts = {
        "scheduler": "diffusers FlowMatchEulerDiscreteScheduler",
        "text_encoder": "transformers CLIPTextModelWithProjection",
        "text_encoder_2": "transformers CLIPTextModelWithProjection",
        "text_encoder_3": "transformers T5EncoderModel",
        "tokenizer": "transformers CLIPTokenizer",
        "tokenizer_2": "transformers CLIPTokenizer",
        "tokenizer_3": "transformers T5TokenizerFast",
        "transformer": "diffusers SD3Transformer2DModel",
        "vae": "diffusers AutoencoderKL",
    }
    _index(folder, "StableDiffusion3Pipeline", parts, _diffusers_version="0.30.3.dev0")
    named = {"torch_dtype": "float16", "transformers_version": "4.41.2"}
    for n, name in enumerate(("text_encoder", "text_encoder_2")):
        state = _clip(folder / name, parts[name].split()[1], n, seed, **named)
        _safetensors(folder / name / "model", state, dtype=torch.float16)
    state = _t5(folder / "text_encoder_3", SD3_T5_WIDTH, seed, **named)
    _safetensors(folder / "text_encoder_3" / "model", state, shards=2, dtype=torch.float16)
    _clip_tokenizer(folder / "tokenizer", listed=True)
    _clip_tokenizer(folder / "tokenizer_2", pad="!", listed=True)
    _t5_tokenizer(folder / "tokenizer_3")
    state = _diffusers(folder / "transformer", _SD3, seed)
    _safetensors(folder / "transformer" / _DIFFUSION, state, shards=2, dtype=torch.bfloat16)
    vae = _vae(16, 1.5305, shift=0.0609, _diffusers_version="0.31.0.dev0")
    _safetensors(folder / "vae" / _DIFFUSION, _diffusers(folder / "vae", vae, seed), dtype=torch.bfloat16)
    _json(folder / "scheduler" / "scheduler_config.json", _FLOW | {"_diffusers_version": "0.29.0.dev0"})
    _decoys(
        folder, "sd3.5_large.safetensors", "text_encoders/clip_g.safetensors", "text_encoders/t5xxl_fp16.safetensors"
    )
    return folder


def build_flux(folder: Path, seed: int = 0) -> Path:
    """black-forest-labs/FLUX.1-dev."""
    parts = {
        "scheduler": "diffusers FlowMatchEulerDiscreteScheduler",
        "text_encoder": "transformers CLIPTextModel",
        "text_encoder_2": "transformers T5EncoderModel",
        "tokenizer": "transformers CLIPTokenizer",
        "tokenizer_2": "transformers T5TokenizerFast",
        "transformer": "diffusers FluxTransformer2DModel",
        "vae": "diffusers AutoencoderKL",
    }
    version = {"_diffusers_version": "0.30.0.dev0"}
    _index(folder, "FluxPipeline", parts, **version)
    named = {"torch_dtype": "bfloat16", "transformers_version": "4.43.3"}
    state = _clip(folder / "text_encoder", "CLIPTextModel", 0, seed, **named)
    _safetensors(folder / "text_encoder" / "model", state, dtype=torch.bfloat16)
    state = _t5(folder / "text_encoder_2", T5_WIDTH, seed, **named)
    _safetensors(folder / "text_encoder_2" / "model", state, shards=2, dtype=torch.bfloat16)
    _clip_tokenizer(folder / "tokenizer", listed=True)
    _t5_tokenizer(folder / "tokenizer_2", strip=False)
    state = _diffusers(folder / "transformer", _FLUX | version, seed)
    _safetensors(folder / "transformer" / _DIFFUSION, state, shards=3, dtype=torch.bfloat16)
    vae = _vae(16, 0.3611, shift=0.1159, **version)
    _safetensors(folder / "vae" / _DIFFUSION, _diffusers(folder / "vae", vae, seed), dtype=torch.bfloat16)
    shifting = {"base_image_seq_len": 256, "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15}
    _json(folder / "scheduler" / "scheduler_config.json", _FLOW | version | shifting | {"use_dynamic_shifting": True})
    _decoys(folder, "flux1-dev.safetensors", "ae.safetensors")
    return folder


def build_pixart(folder: Path, seed: int = 0) -> Path:
    """PixArt-alpha/PixArt-Sigma-XL-2-1024-MS, whose denoiser bears the name of a former class."""
    parts = {
        "scheduler": "diffusers DPMSolverMultistepScheduler",
        "text_encoder": "transformers T5EncoderModel",
        "tokenizer": "transformers T5Tokenizer",
        "transformer": "diffusers Transformer2DModel",
        "vae": "diffusers AutoencoderKL",
    }
    version = {"_diffusers_version": "0.28.0.dev0"}
    _index(folder, "PixArtSigmaPipeline", parts, **version)
    named = {"torch_dtype": "float32", "transformers_version": "4.39.3"}
    _safetensors(folder / "text_encoder" / "model", _t5(folder / "text_encoder", T5_WIDTH, seed, **named), shards=2)
    _t5_tokenizer(folder / "tokenizer", fast=False)
    state = _diffusers(folder / "transformer", _PIXART | version, seed)
    _safetensors(folder / "transformer" / _DIFFUSION, state)
    state = _diffusers(folder / "vae", _vae(4, 0.13025, **version), seed)
    _safetensors(folder / "vae" / _DIFFUSION, state)
    _json(folder / "scheduler" / "scheduler_config.json", _DPM | version)
    return folder


def build_alt_diffusion(folder: Path, pre: bool = True, seed: int = 0) -> Path:
    """BAAI/AltDiffusion-m18, or BAAI/AltDiffusion-m9 without `pre`: pickles, and a sentencepiece model alone."""
    parts = {
        "feature_extractor": "transformers CLIPFeatureExtractor",
        "safety_checker": "stable_diffusion StableDiffusionSafetyChecker",
        "scheduler": "diffusers PNDMScheduler",
        "text_encoder": "alt_diffusion RobertaSeriesModelWithTransformation",
        "tokenizer": "transformers XLMRobertaTokenizer",
        "unet": "diffusers UNet2DConditionModel",
        "vae": "diffusers AutoencoderKL",
    }
    version = {"_diffusers_version": "0.10.0.dev0"}
    _index(folder, "AltDiffusionPipeline", parts, **version)
    width = XLMR_WIDTH if pre else M9_WIDTH
    _pickle(folder / "text_encoder" / "pytorch_model.bin", _roberta_series(folder / "text_encoder", width, pre, seed))
    _xlmr_tokenizer(folder / "tokenizer", CONTEXT)
    unet = _UNET | version | {"attention_head_dim": HEADS, "cross_attention_dim": width}
    if pre:  # on Stable Diffusion 2
        unet |= {"attention_head_dim": [2, 4], "use_linear_projection": True}
    _pickle(folder / "unet" / f"{_DIFFUSION}.bin", _diffusers(folder / "unet", unet, seed))
    vae = _former(_diffusers(folder / "vae", _vae(4, None, **version), seed))
    _pickle(folder / "vae" / f"{_DIFFUSION}.bin", vae)
    _safety_checker(folder / "safety_checker", seed)
    _decoys(folder, "safety_checker/pytorch_model.bin")
    former = {"feature_extractor_type": "CLIPFeatureExtractor", "image_processor_type": "CLIPFeatureExtractor"}
    _json(folder / "feature_extractor" / "preprocessor_config.json", _PREPROCESSOR | former)
    _json(folder / "scheduler" / "scheduler_config.json", _PNDM | version)
    return folder


def build_pea(
    folder: Path, hidden: int = 48, backbone: Callable[[Path, int], Path] = build_sdxl, seed: int = 0
) -> Path:
    """OPPOer/PEA-Diffusion's adapter, and beside it, each in a folder, its backbone and its open_clip text tower.

    `open_clip_config.json` names the tower's XLM-R by folder, where the published one names a repository.
    """
    backbone(folder / PEA_BACKBONE, seed)
    _xlmr_tower(folder / PEA_TOWER, folder / PEA_TOWER_CONFIG, seed)
    pooled, context = CLIP_WIDTHS[1], sum(CLIP_WIDTHS)
    adapter = nn.Module()
    adapter.layernorm = nn.LayerNorm(XLMR_WIDTH)
    adapter.projector = nn.Sequential(
        nn.Linear(XLMR_WIDTH, hidden, bias=False),
        nn.GELU(),
        nn.Linear(hidden, hidden, bias=False),
        nn.GELU(),
        nn.Linear(hidden, pooled, bias=False),
    )
    adapter.fc = nn.Linear(pooled, context)
    _pickle(folder / "pytorch_model.bin", _random(adapter, f"{seed} adapter"))
    return folder


# Models


def _clip(folder: Path, name: str, which: int, seed: int, **named: str) -> dict[str, Tensor]:
    """A CLIP text encoder under the names of published files, which keep `text_model.` in front."""
    import transformers

    width = CLIP_WIDTHS[which]
    config = {
        "architectures": [name],
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "dropout": 0.0,
        "eos_token_id": 2,
        "hidden_act": ("quick_gelu", "gelu")[which],
        "hidden_size": width,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": 2 * width,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": CONTEXT,
        "model_type": "clip_text_model",
        "num_attention_heads": HEADS,
        "num_hidden_layers": CLIP_LAYERS[which],
        "pad_token_id": 1,
        "projection_dim": width,
        **named,
        "vocab_size": len(_clip_vocabulary()[0]),
    }
    _json(folder / "config.json", config)
    model = getattr(transformers, name)(transformers.CLIPTextConfig(**_plain(config)))
    prefix = "" if name == "CLIPTextModelWithProjection" else "text_model."
    return {prefix + k: v for k, v in _random(model, f"{seed} {folder.name}").items()}


def _t5(folder: Path, width: int, seed: int, **named: str) -> dict[str, Tensor]:
    from transformers import T5Config, T5EncoderModel

    config = {
        "architectures": ["T5EncoderModel"],
        "classifier_dropout": 0.0,
        "d_ff": 2 * width,
        "d_kv": width // HEADS,
        "d_model": width,
        "decoder_start_token_id": 0,
        "dense_act_fn": "gelu_new",
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu",
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "is_gated_act": True,
        "layer_norm_epsilon": 1e-06,
        "model_type": "t5",
        "num_decoder_layers": T5_LAYERS,
        "num_heads": HEADS,
        "num_layers": T5_LAYERS,
        "output_past": True,
        "pad_token_id": 0,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "tie_word_embeddings": False,
        **named,
        "use_cache": True,
        "vocab_size": len(_t5_pieces()) + len(_SENTINELS) + _SPARE,
    }
    _json(folder / "config.json", config)
    state = _random(T5EncoderModel(T5Config(**_plain(config))), f"{seed} {folder.name}")
    del state["encoder.embed_tokens.weight"]  # the same as `shared.weight`
    return state


def _roberta_series(folder: Path, width: int, pre: bool, seed: int) -> dict[str, Tensor]:
    from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
        RobertaSeriesConfig,
        RobertaSeriesModelWithTransformation,
    )

    added = {"learn_encoder": False, "pooler_fn": "cls", "project_dim": width, "use_attention_mask": True}
    config = _xlmr_config() | {"architectures": ["RobertaSeriesModelWithTransformation"]} | added
    config |= {"torch_dtype": "float32", "transformers_version": "4.24.0"}
    config |= {"has_pre_transformation": True} if pre else {}
    _json(folder / "config.json", config)
    model = RobertaSeriesModelWithTransformation(RobertaSeriesConfig(**_plain(config)))
    state = _random(model, f"{seed} {folder.name}")
    return state | {"roberta.embeddings.position_ids": torch.arange(POSITIONS)[None]}


def _xlmr_tower(folder: Path, config_folder: Path, seed: int) -> None:
    """laion's repository of the tower and, in `config_folder`, the one of xlm-roberta-large, without its weights."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    config = _xlmr_config() | {"architectures": ["XLMRobertaForMaskedLM"], "transformers_version": "4.17.0.dev0"}
    _json(config_folder / "config.json", config)
    text = _random(XLMRobertaModel(XLMRobertaConfig(**_plain(config)), add_pooling_layer=False), f"{seed} tower")
    text["embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    state = {"logit_scale": torch.tensor(4.6), **_visual(seed), **{f"text.transformer.{k}": v for k, v in text.items()}}
    for n in (0, 2):
        state[f"text.proj.{n}.weight"] = _noise(f"{seed} proj {n}", XLMR_WIDTH, XLMR_WIDTH)
    _pickle(folder / "open_clip_pytorch_model.bin", state)
    for place in (folder, config_folder):
        _xlmr_tokenizer(place, 512, fast=True)
    names = {"hf_model_name": str(config_folder), "hf_tokenizer_name": str(config_folder)}
    model = {
        "embed_dim": XLMR_WIDTH,
        "vision_cfg": {"image_size": 28, "layers": 1, "width": 16, "head_width": 8, "patch_size": 14},
        "text_cfg": names | {"hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"},
    }
    shades = {k: _PREPROCESSOR[f"image_{k}"] for k in ("mean", "std")}
    _json(folder / "open_clip_config.json", {"model_cfg": model, "preprocess_cfg": shades})


def _visual(seed: int) -> dict[str, Tensor]:
    """open_clip's vision transformer, which the text needs nothing of."""
    block = {"ln_1.weight": [16], "ln_1.bias": [16], "attn.in_proj_weight": [48, 16], "attn.in_proj_bias": [48]}
    block |= {"attn.out_proj.weight": [16, 16], "attn.out_proj.bias": [16], "ln_2.weight": [16], "ln_2.bias": [16]}
    block |= {
        "mlp.c_fc.weight": [64, 16],
        "mlp.c_fc.bias": [64],
        "mlp.c_proj.weight": [16, 64],
        "mlp.c_proj.bias": [16],
    }
    shapes = {"class_embedding": [16], "positional_embedding": [5, 16], "proj": [16, XLMR_WIDTH]}
    shapes |= {"conv1.weight": [16, 3, 14, 14], "ln_pre.weight": [16], "ln_pre.bias": [16]}
    shapes |= {f"transformer.resblocks.0.{k}": v for k, v in block.items()}
    shapes |= {"ln_post.weight": [16], "ln_post.bias": [16]}
    return {f"visual.{k}": _noise(f"{seed} visual {k}", *shape) for k, shape in shapes.items()}


def _safety_checker(folder: Path, seed: int) -> dict[str, Tensor]:
    """StableDiffusionSafetyChecker, its config written; thresholds no cosine exceeds, so that no picture is blanked."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = {
        "_name_or_path": "CompVis/stable-diffusion-safety-checker",
        "architectures": ["StableDiffusionSafetyChecker"],
        "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592,
        "model_type": "clip",
        "projection_dim": 8,
        "text_config": {"dropout": 0.0, "model_type": "clip_text_model", **sizes},
        "torch_dtype": "float32",
        "transformers_version": "4.22.0.dev0",
        "vision_config": {"dropout": 0.0, "model_type": "clip_vision_model", "patch_size": 14, **sizes},
    }
    _json(folder / "config.json", config)
    model = StableDiffusionSafetyChecker(CLIPConfig(**_plain(config)))
    state = _random(model, f"{seed} {folder.name}")
    state |= {k: torch.ones_like(v) for k, v in state.items() if k.endswith("embeds_weights")}
    own, double = "vision_model.", "vision_model.vision_model."
    return {k.replace(own, double) if k.startswith(own) and double not in k else k: v for k, v in state.items()}


def _diffusers(folder: Path, config: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    import diffusers

    _json(folder / "config.json", config)
    model = getattr(diffusers, _CLASSES.get(config["_class_name"], config["_class_name"])).from_config(dict(config))
    return _random(model, f"{seed} {folder.name}")


def _random(model: nn.Module, seed: str) -> dict[str, Tensor]:
    """A state dict of random weights under which activations neither vanish nor grow, so that edits show."""
    embeddings = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = _noise(f"{seed} {name}", *weight.shape)
            if name in embeddings:
                noise *= 0.3 * weight.shape[1] ** 0.5
            if ".attn2." in name and weight.ndim > 1:
                noise *= CROSS
            gain = weight.ndim == 1 and name.endswith("weight")
            weight.copy_(1 + noise if gain else noise)
    return {k: v.clone().contiguous() for k, v in model.state_dict().items()}


def _noise(seed: str, *shape: int) -> Tensor:
    """Normal noise, scaled by the number of inputs of one output, and small for a vector."""
    generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))
    noise = torch.randn(shape, generator=generator)
    return noise * (0.1 if len(shape) < 2 else noise[0].numel() ** -0.5)


def _former(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A VAE under the attention names of diffusers before 0.15, in which the files of that time still are."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    out = {}
    for key, value in state.items():
        for new, old in names.items():
            key = key.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
        out[key] = value
    return out


# Files


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _index(folder: Path, name: str, parts: Mapping[str, str], **settings: Any) -> None:
    _json(folder / "model_index.json", {"_class_name": name, **settings, **{k: v.split() for k, v in parts.items()}})


def _decoys(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(DECOY)


def _pickle(path: Path, state: Mapping[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), path)


def _both(folder: Path, stem: str, pickled: str, state: Mapping[str, Tensor]) -> None:
    """Pickle and safetensors side by side."""
    _safetensors(folder / stem, state, half=True)
    _pickle(folder / f"{pickled}.bin", state)


def _safetensors(
    stem: Path, state: Mapping[str, Tensor], shards: int = 1, half: bool = False, dtype: torch.dtype | None = None
) -> None:
    """One file, or shards and their index; `half` adds the fp16 variant, `dtype` is that of the main file."""
    from safetensors.torch import save_file

    stem.parent.mkdir(parents=True, exist_ok=True)
    if half:
        save_file(_cast(state, torch.float16), f"{stem}.fp16.safetensors", metadata={"format": "pt"})
    state = _cast(state, dtype) if dtype else dict(state)
    if shards == 1:
        save_file(state, f"{stem}.safetensors", metadata={"format": "pt"})
        return
    names, per = list(state), -(-len(state) // shards)
    where = {}
    for n in range(shards):
        part = {k: state[k] for k in names[n * per : (n + 1) * per]}
        file = f"{stem.name}-{n + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, stem.parent / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    size = sum(v.numel() * v.element_size() for v in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
    _json(stem.parent / f"{stem.name}.safetensors.index.json", index)


def _cast(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config, without what was noted when it was saved."""
    return {k: v for k, v in config.items() if k not in ("architectures", "torch_dtype", "transformers_version")}


# Tokenizers


def _clip_tokenizer(folder: Path, pad: str = "<|endoftext|>", listed: bool = False) -> None:
    """vocab.json and merges.txt; `listed` writes the special tokens as a table of ids, otherwise each in its place."""
    vocabulary, merges = _clip_vocabulary()
    ids = {token: n for n, token in enumerate(vocabulary)}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")
    start, end = (_token(t, normalized=True) for t in vocabulary[-2:])
    named = {"bos_token": start, "eos_token": end, "pad_token": pad, "unk_token": end}
    _json(folder / "special_tokens_map.json", named)
    config = {
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": True,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": CONTEXT,
        "tokenizer_class": "CLIPTokenizer",
    }
    if listed:
        tokens = {pad, *vocabulary[-2:]}
        table = {str(ids[t]): _token(t, special=True) for t in sorted(tokens, key=ids.__getitem__)}
        config |= {"added_tokens_decoder": table, **{k: _name(v) for k, v in named.items()}}
    else:
        config |= {k: v if isinstance(v, str) else {"__type": "AddedToken", **v} for k, v in named.items()}
    _json(folder / "tokenizer_config.json", dict(sorted(config.items())))


def _t5_tokenizer(folder: Path, fast: bool = True, strip: bool = True) -> None:
    """spiece.model; `fast` adds tokenizer.json; `strip` makes the sentinels take the spaces around them."""
    pieces = _t5_pieces()
    kinds = [_CONTROL, _CONTROL, _UNKNOWN]
    _sentencepiece(folder / "spiece.model", pieces, kinds, unk_id=2, eos_id=1, pad_id=0, bos_id=-1)
    sentinels = [f"<extra_id_{n}>" for n in _SENTINELS]
    ids = {token: len(pieces) + len(sentinels) - 1 - n for n, token in enumerate(sentinels)}
    named = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    spelt = {k: _token(v) for k, v in named.items()}
    _json(folder / "special_tokens_map.json", {"additional_special_tokens": sentinels, **spelt})
    table = {str(n): _token(p, special=True) for n, (p, _) in enumerate(pieces[:3])}
    table |= {str(ids[t]): _token(t, special=True, lstrip=strip, rstrip=strip) for t in reversed(sentinels)}
    config = {
        "add_prefix_space": True,
        "added_tokens_decoder": table,
        "additional_special_tokens": sentinels,
        "clean_up_tokenization_spaces": True,
        "eos_token": "</s>",
        "extra_ids": len(sentinels),
        "legacy": True,
        "model_max_length": 512,
        "pad_token": "<pad>",
        "sp_model_kwargs": {},
        "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>",
    }
    _json(folder / "tokenizer_config.json", config)
    if fast:
        from transformers import T5Tokenizer

        _backend(folder, T5Tokenizer(vocab=_extended(pieces, ids), _spm_precompiled_charsmap=_charsmap(), **named))
    else:
        _json(folder / "added_tokens.json", ids)


def _xlmr_tokenizer(folder: Path, context: int, fast: bool = False) -> None:
    """sentencepiece.bpe.model; `fast` adds tokenizer.json."""
    specials, pieces = _pieces()[:4], _pieces()[4:]
    own = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *pieces]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL]
    _sentencepiece(folder / "sentencepiece.bpe.model", own, kinds, unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
    named: dict[str, Any] = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    named |= {"sep_token": "</s>", "unk_token": "<unk>"}
    mask = _token("<mask>", lstrip=True, normalized=True)
    _json(folder / "special_tokens_map.json", named | {"mask_token": mask})
    config = named | {
        "mask_token": {"__type": "AddedToken", **mask},
        "model_max_length": context,
        "sp_model_kwargs": {},
    }
    _json(folder / "tokenizer_config.json", config | {"tokenizer_class": "XLMRobertaTokenizer"})
    if fast:
        from transformers import XLMRobertaTokenizer

        vocabulary = [*specials, *pieces, ("<mask>", 0.0)]
        _backend(folder, XLMRobertaTokenizer(vocab=vocabulary, _spm_precompiled_charsmap=_charsmap(), **named))


def _backend(folder: Path, tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))


def _token(content: str, normalized: bool = False, special: bool = False, lstrip: bool = False, rstrip: bool = False):
    token = {"content": content, "lstrip": lstrip, "normalized": normalized, "rstrip": rstrip, "single_word": False}
    return token | ({"special": True} if special else {})


def _name(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else token["content"]


def _extended(pieces: Sequence[tuple[str, float]], ids: Mapping[str, int]) -> list[tuple[str, float]]:
    return [*pieces, *((token, 0.0) for token in sorted(ids, key=ids.__getitem__))]


@cache
def _pieces() -> tuple[tuple[str, float], ...]:
    """The pocket model's unigram pieces, which cover the benchmark's languages; XLM-R's four specials first."""
    return tuple((p, float(s)) for p, s in json.loads((pocket.ASSETS / "text_encoder" / "pieces.json").read_text()))


@cache
def _t5_pieces() -> tuple[tuple[str, float], ...]:
    return (("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_pieces()[4:])


@cache
def _normaliser() -> bytes:
    from sentencepiece import SentencePieceNormalizer

    return SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_normalizer_spec()


def _charsmap() -> bytes:
    from sentencepiece.sentencepiece_model_pb2 import NormalizerSpec

    return NormalizerSpec.FromString(_normaliser()).precompiled_charsmap


def _sentencepiece(path: Path, pieces: Sequence[tuple[str, float]], kinds: Sequence[int], **ids: int) -> None:
    """A unigram model; `kinds` are those of the first pieces, the others are ordinary."""
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    model = ModelProto()
    model.trainer_spec.model_type = 1
    for name, value in ids.items():
        setattr(model.trainer_spec, name, value)
    model.normalizer_spec.ParseFromString(_normaliser())
    for n, (piece, score) in enumerate(pieces):
        model.pieces.add(piece=piece, score=score, type=kinds[n] if n < len(kinds) else 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


@cache
def _clip_vocabulary() -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Tokens in CLIP's order - bytes, bytes that end a word, merges, start, end - and the merges."""
    from transformers import CLIPTokenizer

    empty = CLIPTokenizer().backend_tokenizer
    captions = {row[k] for row in pocket.samples() for k in ("culture_style", "neutral_style", "culture_style_en")}
    words: Counter[tuple[str, ...]] = Counter()
    for text, count in Counter(word for caption in captions for word in caption.split()).items():
        for word, _ in empty.pre_tokenizer.pre_tokenize_str(empty.normalizer.normalize_str(text)):
            words[(*word[:-1], f"{word[-1]}</w>")] += count
    merges = _merges(words, _MERGES)
    letters = _letters()
    merged = ["".join(pair) for pair in merges]
    tokens = (*letters, *(f"{c}</w>" for c in letters), *merged, "<|startoftext|>", "<|endoftext|>")
    return tokens, tuple(merges)


def _letters() -> list[str]:
    """The characters that stand for the 256 bytes, in the order of CLIP's vocabulary: `!` is 0."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*map(chr, shown), *(chr(0x100 + n) for n in range(256 - len(shown)))]


def _merges(words: Mapping[tuple[str, ...], int], number: int) -> list[tuple[str, str]]:
    """Byte-pair encoding: the most frequent pair, the last in order among equals, again and again."""
    spelt, counts = [list(w) for w in words], list(words.values())
    pairs: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[int]] = defaultdict(set)

    def note(n: int, sign: int) -> None:
        for pair in zip(spelt[n], spelt[n][1:], strict=False):
            pairs[pair] += sign * counts[n]
            where[pair].add(n)

    for n in range(len(spelt)):
        note(n, 1)
    out = []
    for _ in range(number):
        best = max(pairs, key=lambda p: (pairs[p], p))
        out.append(best)
        for n in where.pop(best):
            note(n, -1)
            spelt[n] = list(_merged(spelt[n], best))
            note(n, 1)
        del pairs[best]
    return out


def _merged(parts: Sequence[str], pair: tuple[str, str]) -> Iterable[str]:
    skip = False
    for left, right in zip(parts, [*parts[1:], ""], strict=True):
        if skip:
            skip = False
        elif (left, right) == pair:
            skip = True
            yield left + right
        else:
            yield left


# Published JSON, with small numbers

_DIFFUSION = "diffusion_pytorch_model"
_SENTINELS = range(100)
_UNKNOWN, _CONTROL = 2, 3
_CLASSES = {"Transformer2DModel": "PixArtTransformer2DModel"}

_UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "",
    "act_fn": "silu",
    "block_out_channels": [16, 32],
    "center_input_sample": False,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 8,
    "out_channels": 4,
    "sample_size": LATENTS,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
_SDXL_UNET = {
    "addition_embed_type": "text_time",
    "addition_embed_type_num_heads": 64,
    "addition_time_embed_dim": 8,
    "attention_head_dim": [2, 4],
    "class_embed_type": None,
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_dim": sum(CLIP_WIDTHS),
    "cross_attention_norm": None,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "mid_block_only_cross_attention": None,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "num_attention_heads": None,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "projection_class_embeddings_input_dim": CLIP_WIDTHS[1] + 6 * 8,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "resnet_time_scale_shift": "default",
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
    "transformer_layers_per_block": [1, 2],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "upcast_attention": None,
    "use_linear_projection": True,
}
_SD3 = {
    "_class_name": "SD3Transformer2DModel",
    "_diffusers_version": "0.31.0.dev0",
    "attention_head_dim": 8,
    "caption_projection_dim": 8 * HEADS,
    "in_channels": 16,
    "joint_attention_dim": SD3_T5_WIDTH,
    "num_attention_heads": HEADS,
    "num_layers": 2,
    "out_channels": 16,
    "patch_size": 2,
    "pooled_projection_dim": sum(CLIP_WIDTHS),
    "pos_embed_max_size": LATENTS,
    "qk_norm": "rms_norm",
    "sample_size": LATENTS,
}
_FLUX = {
    "_class_name": "FluxTransformer2DModel",
    "_diffusers_version": "",
    "attention_head_dim": 8,
    "axes_dims_rope": [2, 2, 4],
    "guidance_embeds": True,
    "in_channels": 64,
    "joint_attention_dim": T5_WIDTH,
    "num_attention_heads": HEADS,
    "num_layers": 2,
    "num_single_layers": 2,
    "patch_size": 1,
    "pooled_projection_dim": CLIP_WIDTHS[0],
}
_PIXART = {
    "_class_name": "Transformer2DModel",
    "_diffusers_version": "",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_head_dim": 8,
    "attention_type": "default",
    "caption_channels": T5_WIDTH,
    "cross_attention_dim": 8 * HEADS,
    "double_self_attention": False,
    "dropout": 0.0,
    "in_channels": 4,
    "interpolation_scale": 2,
    "norm_elementwise_affine": False,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "norm_type": "ada_norm_single",
    "num_attention_heads": HEADS,
    "num_embeds_ada_norm": 1000,
    "num_layers": 2,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "out_channels": 8,
    "patch_size": 2,
    "sample_size": LATENTS,
    "upcast_attention": False,
    "use_additional_conditions": False,
    "use_linear_projection": False,
}
_NOISE = {"beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000}
_EULER = {
    "_class_name": "EulerDiscreteScheduler",
    "_diffusers_version": "0.19.0.dev0",
    **_NOISE,
    "clip_sample": False,
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
_PNDM = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "",
    **_NOISE,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
_FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
_DPM = {
    "_class_name": "DPMSolverMultistepScheduler",
    "_diffusers_version": "",
    "algorithm_type": "dpmsolver++",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "dynamic_thresholding_ratio": 0.995,
    "euler_at_final": False,
    "lambda_min_clipped": float("-inf"),
    "lower_order_final": True,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "solver_order": 2,
    "solver_type": "midpoint",
    "steps_offset": 0,
    "thresholding": False,
    "timestep_spacing": "linspace",
    "trained_betas": None,
    "use_karras_sigmas": False,
    "use_lu_lambdas": False,
    "variance_type": None,
}
_PREPROCESSOR = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}


def _vae(channels: int, scale: float | None, shift: float | None = None, **version: str) -> dict[str, Any]:
    """`scale` is left out of old configs, where the class's own holds; those that `shift` have no quantising layers."""
    config: dict[str, Any] = {
        "_class_name": "AutoencoderKL",
        **version,
        "act_fn": "silu",
        "block_out_channels": [8, 16],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "in_channels": 3,
        "latent_channels": channels,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "out_channels": 3,
        "sample_size": PIXELS,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
    }
    config |= {"scaling_factor": scale, "force_upcast": True} if scale else {}
    unquantised = {"mid_block_add_attention": True, "use_post_quant_conv": False, "use_quant_conv": False}
    return config | ({"shift_factor": shift, "latents_mean": None, "latents_std": None} | unquantised if shift else {})


def _xlmr_config() -> dict[str, Any]:
    return {
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": XLMR_WIDTH,
        "initializer_range": 0.02,
        "intermediate_size": 2 * XLMR_WIDTH,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": POSITIONS,
        "model_type": "xlm-roberta",
        "num_attention_heads": HEADS,
        "num_hidden_layers": XLMR_LAYERS,
        "output_past": True,
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "type_vocab_size": 1,
        "use_cache": True,
        "vocab_size": len(_pieces()) + 1,
    }


BUILDERS = {
    "alt_diffusion_m18": lambda folder: build_alt_diffusion(folder, pre=True),
    "alt_diffusion_m9": lambda folder: build_alt_diffusion(folder, pre=False),
    "pea_diffusion": build_pea,
    "sdxl": build_sdxl,
    "sd3": build_sd3,
    "flux": build_flux,
    "sd1": build_sd1,
    "pixart": build_pixart,
}
PREFIX = {"pea_diffusion": "pea-diffusion:"}
