"""A tiny AltDiffusion of the real classes, random weights, in the hub's folder layout."""

import json
from pathlib import Path

import torch

from interp.models import alt_diffusion, pocket_text
from interp.pocket import ASSETS

LAYERS, HEADS, WIDTH, CONTEXT = 4, 4, 32, 24


def build(folder: Path, pre: bool = True, seed: int = 0) -> Path:
    """Write the folder; `pre` makes an m18, else an m9."""
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
    from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
        RobertaSeriesConfig,
        RobertaSeriesModelWithTransformation,
    )
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(seed)
    pieces = pocket_text.read_pieces((ASSETS / "text_encoder" / "pieces.json").read_text())
    config = RobertaSeriesConfig(
        vocab_size=len(pieces),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=64,
        max_position_embeddings=CONTEXT + 2,
        type_vocab_size=1,
        project_dim=16,
        has_pre_transformation=pre,
        initializer_range=0.3,
    )
    RobertaSeriesModelWithTransformation(config).save_pretrained(folder / "text_encoder")
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(pocket_text.tokenizer_json(pieces)),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=CONTEXT,
    ).save_pretrained(folder / "tokenizer")
    UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=8,
        sample_size=16,
    ).save_pretrained(folder / "vae")
    DPMSolverMultistepScheduler(steps_offset=1).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "AltDiffusionPipeline",
        "text_encoder": ["alt_diffusion", "RobertaSeriesModelWithTransformation"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def load(folder: Path, seed: int = 0, pre: bool = True) -> alt_diffusion.AltDiffusion:
    """Build and load."""
    from interp.models import folder_digest

    build(folder, pre, seed)
    return alt_diffusion.load(
        str(folder), folder, folder_digest(folder), folder_digest(folder / "text_encoder"), {}, steps=2, guidance=2.0
    )


def bench(folder: Path):
    """A small part of the pocket benchmark as a folder of its own."""
    from interp import benchmarks as benchmark
    from interp import pocket

    rows, seen = [], {}
    for row in pocket.samples():
        concepts = seen.setdefault((row["split"], row["culture"]), [])
        if row["category"] not in concepts and len(concepts) < 4:
            concepts.append(row["category"])
        if row["category"] in concepts and row["id"].endswith(("-0", "-1")) and row["split"] != "cross_domain":
            rows.append(row)
    card = benchmark._pocket_card(pocket.recipe()).model_copy(update={"name": "pocket-small"})
    by_image = {r["image"]: r for r in rows}
    rows = [{k: v for k, v in r.items() if k in benchmark.Row.model_fields} for r in rows]

    def place(row, path):
        benchmark._compose(by_image[row["image"]], path)

    benchmark.write(folder, rows, card, place)
    return benchmark.load(folder)
