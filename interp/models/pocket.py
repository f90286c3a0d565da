"""The model that ships: real classes at pocket size, unpacked once into the cache, where it is a diffusers folder.

First the model and its folder; below, its text encoder: an XLM-R in 4-bit blocks, its alignment in low-rank factors,
and the pieces of its tokenizer. Not for training it: that is `tools/pocket`.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from interp import store
from interp.benchmarks.pocket import ASSETS
from interp.models import alt_diffusion
from interp.models.diffusers_adapter import Request
from interp.models.records import Options
from interp.tensors import read_shipped

MODEL = ASSETS / "model"
_PARTS = ("text_encoder", "model")
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDINGS = {
    "word": "word_embeddings.weight",
    "pos": "position_embeddings.weight",
    "type": "token_type_embeddings.weight",
    "ln.w": "LayerNorm.weight",
    "ln.b": "LayerNorm.bias",
}
PADDING_INDEX = 1


def load(name: str = "pocket", **options: Unpack[Options]) -> alt_diffusion.AltDiffusion:
    """Load the pocket model; its denoiser has too few tokens for a fused attention kernel to pay."""
    from diffusers.models.attention_processor import AttnProcessor

    sampler = {k: settings()[k] for k in ("steps", "guidance")}
    digests = (digest(), digest(_PARTS[:1]))
    request = Request(name, unpack(), recipe=recipe(), sampler=sampler, digests=digests, **options)
    model = alt_diffusion.load(request)
    model.pipeline.unet.set_attn_processor(AttnProcessor())
    return model


def digest(parts: Sequence[str] = _PARTS) -> str:
    """SHA-256 over the names and bytes of the shipped weights and configurations."""
    sha = hashlib.sha256()
    paths = [path for part in parts for path in (ASSETS / part).rglob("*")]
    for path in sorted(path for path in paths if path.suffix in (".safetensors", ".json")):
        if path.name != "recipe.json":
            sha.update(path.relative_to(ASSETS).as_posix().encode() + store.sha256_file(path).encode())
    return sha.hexdigest()


def settings() -> dict[str, Any]:
    """Sampler and projection of the shipped model."""
    return json.loads((MODEL / "settings.json").read_text())


def recipe() -> dict[str, Any]:
    """What works best on this model, with where it was measured; empty before it was."""
    path = MODEL / "recipe.json"
    return json.loads(path.read_text()) if path.exists() else {}


def unpack() -> Path:
    """The model as a diffusers folder in full precision; made on first use, checked at every other."""
    return store.cached_folder(store.cache_dir() / "models" / f"pocket-{digest()[:12]}", _write)


def _write(folder: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    text = build(ASSETS / "text_encoder", settings()["project_dim"])
    text.save_pretrained(folder / "text_encoder")
    pieces = read_pieces((ASSETS / "text_encoder" / "pieces.json").read_text())
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer_json(pieces)),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=settings()["max_tokens"],
    ).save_pretrained(folder / "tokenizer")
    for name, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        kind.from_pretrained(MODEL / name).float().save_pretrained(folder / name)
    shutil.copytree(MODEL / "scheduler", folder / "scheduler")
    index = {
        "_class_name": "AltDiffusionPipeline",
        "text_encoder": ["alt_diffusion", "RobertaSeriesModelWithTransformation"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


# -------------------------------------------------------------------------------------------------- the text encoder


def build(folder: Path, project_dim: int, aligned: bool = True) -> Any:
    """`RobertaSeriesModelWithTransformation` with the weights of a folder.

    Args:
        folder: holds blocks.safetensors and, if `aligned`, alignment.safetensors: for a linear layer NAME the factors
            NAME.a [rank, in] and NAME.b [out, rank] of W + b·a, and other tensors as they are.
        project_dim: width of the projected states.
        aligned: whether to add the alignment.
    """
    from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
        RobertaSeriesConfig,
        RobertaSeriesModelWithTransformation,
    )
    from safetensors.numpy import load_file

    tensors = load_file(folder / "blocks.safetensors")
    state = {f"roberta.{k}": v for k, v in encoder_state(tensors).items()}
    width = tensors["emb.ln.w"].shape[0]
    config = RobertaSeriesConfig(
        vocab_size=state["roberta.embeddings.word_embeddings.weight"].shape[0],
        hidden_size=width,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=4 * width,
        max_position_embeddings=state["roberta.embeddings.position_embeddings.weight"].shape[0],
        type_vocab_size=1,
        layer_norm_eps=1e-12,
        project_dim=project_dim,
        has_pre_transformation=True,
    )
    model = RobertaSeriesModelWithTransformation(config).eval()
    if aligned:
        alignment = read_shipped(folder / "alignment.safetensors")
        for name in [key.removesuffix(".a") for key in alignment if key.endswith(".a")]:
            state[f"{name}.weight"] = state[f"{name}.weight"] + alignment.pop(f"{name}.b") @ alignment.pop(f"{name}.a")
        state |= alignment
    missing, unexpected = model.load_state_dict(state, strict=False)
    stray = [k for k in missing if not k.startswith(("transformation", "pre_LN", "roberta.pooler"))]
    if stray or unexpected:
        raise ValueError(f"{folder}: missing {stray}, unexpected {unexpected}")
    if aligned:
        # what nothing reads would be random, and the unpacked files another every time
        named = dict(model.named_parameters())
        for name in missing:
            named[name].data.zero_()
    return model


def dequantise(blocks: np.ndarray) -> Tensor:
    """4-bit blocks (a half-precision scale, then 16 bytes: low nibbles are the first 16 weights) to float32.

    w = (nibble − 8) · scale; shape [rows, blocks, 18] → [rows, 32·blocks].
    """
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    low, high = blocks[..., 2:] & 0x0F, blocks[..., 2:] >> 4
    nibbles = np.concatenate([low, high], axis=-1).astype(np.float32) - 8
    return torch.from_numpy((nibbles * scale).reshape(blocks.shape[0], -1))


def encoder_state(tensors: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The state dict of `XLMRobertaModel` (without its pooler) from the tensors of blocks.safetensors.

    BERT's positions 0, 1, … stand at XLM-R's padding_idx + 1, …; the rows before are never read for real tokens.
    """
    state = {}
    for name, value in tensors.items():
        part = dequantise(value) if value.dtype == np.uint8 else torch.from_numpy(np.array(value))
        head, rest = name.split(".", 1)
        if head == "emb":
            key = "embeddings." + _EMBEDDINGS[rest]
            if rest == "pos":
                part = torch.cat([torch.zeros(PADDING_INDEX + 1, part.shape[1]), part])
            if rest == "type":
                part = part.reshape(-1, tensors["emb.ln.w"].shape[0])[:1]
        else:
            module, kind = rest.rsplit(".", 1)
            key = f"encoder.layer.{head[1:]}.{_LAYER[module]}.{'weight' if kind == 'w' else 'bias'}"
        state[key] = part
    return state


def read_pieces(text: str) -> list[tuple[str, float]]:
    """Pieces and their scores from pieces.json."""
    return [(piece, float(score)) for piece, score in json.loads(text)]


def tokenizer_json(pieces: Sequence[tuple[str, float]]) -> str:
    """The XLM-R unigram tokenizer over `pieces`, as the JSON of the `tokenizers` library."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(list(pieces), unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer.to_str()
