"""Tiny components of the real classes, folders of them in diffusers' layout, and how tests read and damage these."""

import json
import os

import torch

from interp.models import files, passes

UNET = {
    "sample_size": 8,
    "block_out_channels": [16, 32],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": 8,
    "norm_num_groups": 8,
}
SDXL = UNET | {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 6 * 4 + 10,
}
LCM = UNET | {"time_cond_proj_dim": 12}
VAE = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "sample_size": 16,
}
CLIP = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 12,
    "projection_dim": 10,
}
XLMR = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 14,
    "type_vocab_size": 1,
    "project_dim": 16,
    "has_pre_transformation": True,
}
T5 = {"vocab_size": 60, "d_model": 16, "d_kv": 4, "d_ff": 20, "num_layers": 2, "num_heads": 3}
SD3 = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 16,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 10,
    "pos_embed_max_size": 8,
}
FLUX = {
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 16,
    "pooled_projection_dim": 16,
    "guidance_embeds": True,
    "axes_dims_rope": [4, 4, 8],
}
PIXART = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 3,
    "cross_attention_dim": 24,
    "caption_channels": 16,
    "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False,
    "use_additional_conditions": True,
}


def real(kind, config, seed=0):
    """A module of the class with random weights on the CPU."""
    torch.manual_seed(seed)
    made = passes.class_of(kind)
    if kind in passes.ENCODERS:
        return made(made.config_class.from_dict(config)).eval()
    return made.from_config(config).eval()


def save(folder, pipeline, components):
    """A folder in diffusers' layout; returns its modules by name."""
    modules = {name: real(kind, config) for name, (kind, config) in components.items()}
    for name, module in modules.items():
        module.save_pretrained(folder / name)
    index = {name: ["library", kind] for name, (kind, _) in components.items()}
    others = {"safety_checker": ["x", "Checker"], "image_encoder": [None, None], "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, **others, **index}))
    return modules


def make():
    """One of each class, every tensor random so that a tensor that was not loaded shows."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
        RobertaSeriesConfig,
        RobertaSeriesModelWithTransformation,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

    clip = CLIPTextConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        projection_dim=8,
    )
    roberta = RobertaSeriesConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=14,
        type_vocab_size=1,
        project_dim=8,
        has_pre_transformation=True,
    )
    models = {
        "text_encoder": RobertaSeriesModelWithTransformation(roberta),
        "clip": CLIPTextModel(clip),
        "clip_projection": CLIPTextModelWithProjection(clip),
        "t5": T5EncoderModel(T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)),
        "unet": UNet2DConditionModel(
            sample_size=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(8, 16),
            layers_per_block=1,
            cross_attention_dim=8,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(4, 8),
            norm_num_groups=4,
            sample_size=16,
        ),
    }
    torch.manual_seed(0)
    for model in models.values():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape))
    return models


def single(place):
    """The component's one file of weights."""
    return next(place.glob("*model.safetensors"))


def assert_same(module, original):
    got, want = module.state_dict(), original.state_dict()
    assert got.keys() == want.keys()
    different = [k for k in want if not torch.equal(got[k], want[k])]
    assert not different


def load(whole, folder, component, **options):
    return files.load_module(type(whole.models[component]), folder, component, **options)


def flip(path, at=-1):
    """Change one byte; a file system may not tell two times of change apart that are milliseconds apart."""
    data, stat = bytearray(path.read_bytes()), path.stat()
    data[at] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
