"""The pocket model: shipped weights, unpacked once into the cache as an ordinary folder in AltDiffusion's layout."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interp import store
from interp.models import alt_diffusion, pocket_text
from interp.models.pipeline import Request
from interp.pocket import ASSETS

MODEL = ASSETS / "model"
_PARTS = ("text_encoder", "model")


def digest(parts: Sequence[str] = _PARTS) -> str:
    """SHA-256 over the names and bytes of the shipped weights and configurations."""
    sha = hashlib.sha256()
    for path in sorted(
        p for part in parts for p in (ASSETS / part).rglob("*") if p.suffix in (".safetensors", ".json")
    ):
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

    text = pocket_text.build(ASSETS / "text_encoder", settings()["project_dim"])
    text.save_pretrained(folder / "text_encoder")
    pieces = pocket_text.read_pieces((ASSETS / "text_encoder" / "pieces.json").read_text())
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(pocket_text.tokenizer_json(pieces)),
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


def load(name: str = "pocket", **options: Any) -> alt_diffusion.AltDiffusion:
    """Load the pocket model; its denoiser has too few tokens for a fused attention kernel to pay."""
    from diffusers.models.attention_processor import AttnProcessor

    sampler = {k: settings()[k] for k in ("steps", "guidance")}
    digests = (digest(), digest(_PARTS[:1]))
    request = Request(name, unpack(), recipe=recipe(), sampler=sampler, digests=digests, **options)
    model = alt_diffusion.load(request)
    model.pipeline.unet.set_attn_processor(AttnProcessor())
    return model
