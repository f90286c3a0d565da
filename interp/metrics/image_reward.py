"""ImageReward (Xu et al. 2023, arXiv 2304.05977): people's preference for an image, learnt from rankings of images.

The published checkpoint THUDM/ImageReward in transformers' BLIP classes: a ViT-L/16, a BERT that attends to it, and a
stack of linear layers on BERT's first token. It reads English, 35 tokens at most, so it is given English captions.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics import base
from interp.metrics.base import Direction, Scores
from interp.metrics.checkpoints import Part, converted, fetched, files_digest, pop_part, stack, texts_of
from interp.metrics.towers import Preprocess
from interp.models import files
from interp.types import Sample

MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the rewards of the published model; reward = (mlp(state) − MEAN) / STD."""
CONTEXT = 35
"""Tokens of a caption, its start and end among them; shorter ones are padded, longer ones cut."""
WEIGHTS, CONFIG = "ImageReward.pt", "med_config.json"
HIDDEN, PLACES = (1024, 128, 64, 16, 1), (0, 2, 4, 6, 7)
"""Widths of the linear layers, and their places between the dropouts; there is no non-linearity."""
HEAD_WIDTH = 64
"""Of each of the ViT's heads; of BLIP's base and large alike."""
BERT = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
    "pad_token_id",
)
"""What is read of med_config.json; its encoder_width is not, as in the published code."""
NAMES = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj.": "embeddings.patch_embedding.",
    "norm.": "post_layernorm.",
    "blocks.": "encoder.layers.",
    "norm1.": "layer_norm1.",
    "norm2.": "layer_norm2.",
    "attn.qkv.": "self_attn.qkv.",
    "attn.proj.": "self_attn.projection.",
}
"""Of the published ViT, timm's → of transformers' BLIP."""
UNREAD = re.compile(
    r"blip\.(text_encoder\.embeddings\.position_ids|(vision|text)_proj(_m)?\..*|itm_head\..*|text_decoder\..*"
    r"|(visual|text)_encoder_m\..*|(image|text)_queue|queue_ptr|temp)"
)
"""A table of positions, and what BLIP's other tasks need: the contrastive projections, in the published file, and the
matching head, decoder, momentum encoders and queues, which a checkpoint of BLIP's pre-training also has."""


@dataclass(frozen=True)
class ImageReward:
    """The reward of each image for its sample's English noun-only caption; about 0 ± 1 over the training images."""

    digest: str
    """Over its files and the number format."""
    vision: Any
    text: Any
    head: nn.Module
    tokenizer: Any
    preprocess: Preprocess
    batch: int = 16
    """Images at once."""
    name: str = "image_reward"
    unit: str = "reward"
    direction: Direction = "higher"
    grouped: bool = False

    @classmethod
    def load(
        cls,
        name: str | Path = "THUDM/ImageReward",
        tokenizer: str | Path = "google-bert/bert-base-uncased",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load the published files.

        Args:
            name: folder or hub id with ImageReward.pt and med_config.json.
            tokenizer: folder or hub id with BERT's vocab.txt, which is not among them.
            device: where it computes.
            dtype: of both encoders; the linear layers stay in single precision.

        Raises:
            InterpError: files missing, damaged, not fitting each other, or another tokenizer.
        """
        from transformers import BlipTextModel, BlipVisionModel

        folder = fetched(str(name), (CONFIG,), (WEIGHTS,))
        vocabulary = fetched(str(tokenizer), ("*.json",), ("vocab.txt",))
        if not (folder / WEIGHTS).is_file():
            raise InterpError(f"{folder}: no {WEIGHTS}; give the folder as published")
        bert = _bert(folder)
        place = converted(folder / WEIGHTS, lambda state: _parts(folder, state, bert), UNREAD, json.dumps(bert))
        vision: Any = files.load_module(BlipVisionModel, place, "vision", dtype).to(device)
        text: Any = files.load_module(BlipTextModel, place, "text", dtype, add_pooling_layer=False).to(device)
        head = stack(place / "mlp.safetensors", (text.config.hidden_size, *HIDDEN), PLACES, nn.Identity(), bias=True)
        words = _tokenizer(vocabulary, text.config.vocab_size)
        digest = files_digest(texts_of(vocabulary), dtype, place.name)
        return cls(digest, vision, text, head.to(device), words, Preprocess(vision.config.image_size))

    def key(self, sample: Sample) -> str:
        """The English noun-only caption."""
        return base.caption(sample, "noun_only", "english")

    @torch.no_grad()
    def measure(self, images: Sequence[Picture], samples: Sequence[Sample]) -> Scores:
        """The reward of each image."""
        if not images:
            return Scores(np.empty(0))
        device = self.vision.device
        seen = self.vision(self.preprocess(images).to(device, self.vision.dtype)).last_hidden_state
        captions = [self.key(s) for s in samples]
        tokens = self.tokenizer(
            captions, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt"
        ).to(device)
        # The first token stays [CLS], though BLIP's own heads put [ENC] there: the published score does so.
        states = self.text(
            tokens.input_ids,
            attention_mask=tokens.attention_mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=device),
        ).last_hidden_state
        rewards = (self.head(states[:, 0].float())[:, 0] - MEAN) / STD
        return Scores(rewards.cpu().double().numpy())


def _tokenizer(folder: Path, words: int) -> Any:
    """BERT's with the two tokens that BLIP adds, which no caption has, so that the vocabulary is the published one."""
    from transformers import BertTokenizer

    if not (folder / "vocab.txt").is_file():
        raise InterpError(f"{folder}: no vocab.txt; give the folder of bert-base-uncased")
    tokenizer = BertTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    if len(tokenizer) != words:
        raise InterpError(
            f"{folder}: with [DEC] and [ENC] {len(tokenizer)} tokens; the model has {words}; give bert-base-uncased"
        )
    return tokenizer


def _bert(folder: Path) -> dict[str, Any]:
    """BERT's configuration, as transformers writes it."""
    config = files.read_json(folder / CONFIG)
    if missing := [k for k in BERT if k not in config]:
        raise InterpError(f"{folder / CONFIG}: lacks {', '.join(missing)}; give the published file")
    # is_decoder makes the layers that attend to the image; whether a token sees later ones is asked for when it runs.
    made = {"architectures": ["BlipTextModel"], "model_type": "blip_text_model", "is_decoder": True}
    return made | dict.fromkeys(("bos_token_id", "eos_token_id", "sep_token_id")) | {k: config[k] for k in BERT}


def _parts(folder: Path, state: dict[str, Tensor], bert: Mapping[str, Any]) -> dict[str, Part]:
    """The checkpoint by part."""
    vision = pop_part(state, "blip.visual_encoder.", NAMES)
    config = _vit(folder, vision)
    text = pop_part(state, "blip.text_encoder.")
    return {
        "vision": Part(vision, config),
        "text": Part(text, {**bert, "encoder_hidden_size": config["hidden_size"]}),
        "mlp": Part(pop_part(state, "mlp.layers.")),
    }


def _vit(folder: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The ViT's configuration, which no published file holds, from the shapes of its weights."""
    positions, patches, up = "embeddings.position_embedding", "embeddings.patch_embedding.weight", ".mlp.fc1.bias"
    depth = sum(k.endswith(up) for k in state)
    if depth == 0 or positions not in state or patches not in state:
        raise InterpError(f"{folder / WEIGHTS}: holds no blip.visual_encoder; give ImageReward's published file")
    width, patch = state[patches].shape[0], state[patches].shape[-1]
    return {
        "architectures": ["BlipVisionModel"],
        "model_type": "blip_vision_model",
        "hidden_act": "gelu",
        "hidden_size": width,
        "image_size": math.isqrt(state[positions].shape[1] - 1) * patch,
        "intermediate_size": state[f"encoder.layers.0{up}"].shape[0],
        "layer_norm_eps": 1e-6,
        "num_attention_heads": width // HEAD_WIDTH,
        "num_hidden_layers": depth,
        "patch_size": patch,
    }
