"""Towers that embed images and captions in one space, for CLIPScore: CLIP, and open_clip's with a multilingual XLM-R.

Weights are read without open_clip and torchvision, strictly: a parameter that is missing or left over is an error.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics.checkpoints import TEXTS, Part, converted, fetched, files_digest, pop_part, stack, texts_of
from interp.models import files

Languages = Literal["native", "english"]
OPENAI = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
"""Of the colours that CLIP was trained on; open_clip and ImageReward use the same."""
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
CONTEXT = 77
"""Tokens of a caption that open_clip reads, its start and end among them."""
SIZES = {
    "xlm-roberta-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "xlm-roberta-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
}
"""Of XLM-R: open_clip's files name the size and hold no configuration of it."""
XLM_R = {
    "model_type": "xlm-roberta",
    "vocab_size": 250002,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
"""Of every size."""
NAMES = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.": "vision_model.embeddings.patch_embedding.",
    "ln_pre.": "vision_model.pre_layrnorm.",
    "ln_post.": "vision_model.post_layernorm.",
    "transformer.resblocks.": "vision_model.encoder.layers.",
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.": "self_attn.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
"""Of open_clip's vision transformer → of transformers' CLIP."""
UNREAD = re.compile(r"logit_scale|text\.transformer\.(embeddings\.position_ids|pooler\.dense\.(weight|bias))")
"""The temperature, which no cosine needs; a table of positions; the pooler, in whose place stands a mean."""
QUOTES = {**dict.fromkeys(map(ord, "ʼ‘’‚‛"), "'"), **dict.fromkeys(map(ord, "“”„‟"), '"')}


@runtime_checkable
class Tower(Protocol):
    """Embeds images and captions in one space."""

    @property
    def name(self) -> str:
        """Short and unique, such as `clip-vit-large-patch14`."""
        ...

    @property
    def digest(self) -> str:
        """Changes whenever its embeddings could: weights and preprocessing."""
        ...

    @property
    def languages(self) -> Languages:
        """Whose captions it reads."""
        ...

    def images(self, images: Sequence[Picture]) -> Float[Tensor, "sample d_tower"]:
        """Of images, of unit length, on the CPU."""
        ...

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "sample d_tower"]:
        """Of captions, of unit length, on the CPU."""
        ...


@dataclass(frozen=True)
class ClipTower:
    """A CLIP of transformers, such as openai/clip-vit-large-patch14; it reads English captions."""

    name: str
    """Last part of the folder's name or of the hub id."""
    digest: str
    """Over its files and the number format."""
    model: Any
    tokenizer: Any
    processor: Any
    languages: Languages = "english"

    @classmethod
    def load(cls, name: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Self:
        """Load a folder or a repository of the hub.

        Raises:
            InterpError: no such model, another architecture (SigLIP is one), or files missing or damaged.
        """
        from transformers import CLIPImageProcessorPil, CLIPModel

        folder = fetched(str(name), TEXTS, ("model*.safetensors", "pytorch_model*.bin"))
        where = folder.parent, folder.name
        model = files.load_module(CLIPModel, *where, dtype).to(device)
        settings = files.read_json(folder / "preprocessor_config.json")
        kind = settings.get("image_processor_type") or settings.get("feature_extractor_type") or "CLIP"
        if not kind.startswith("CLIP"):
            raise InterpError(f"{folder}: pictures are prepared by {kind}; a CLIP's are by CLIPImageProcessor")
        digest = files_digest([*files.weights(*where), *texts_of(folder)], dtype)
        tokenizer = files.load_tokenizer(*where)
        return cls(Path(name).resolve().name, digest, model, tokenizer, CLIPImageProcessorPil.from_dict(settings))

    @torch.no_grad()
    def images(self, images: Sequence[Picture]) -> Float[Tensor, "sample d_tower"]:
        """Of images, resized and cropped as preprocessor_config.json says."""
        pixels = self.processor(images=[Image.fromarray(i) for i in images], return_tensors="pt")["pixel_values"]
        return _unit(self.model.get_image_features(pixels.to(self.model.device, self.model.dtype)).pooler_output)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "sample d_tower"]:
        """Of captions, cut at the model's context."""
        ids, mask = _tokens(
            self.tokenizer, texts, self.model.config.text_config.max_position_embeddings, self.model.device
        )
        return _unit(self.model.get_text_features(ids, mask).pooler_output)


@dataclass(frozen=True)
class XlmRobertaClipTower:
    """open_clip's CLIP with an XLM-R for captions; it reads native captions.

    Such as laion/CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k, whose text side PEA-Diffusion conditions on:
    a score by it is not independent of that system. text = W₂ gelu(W₁ mean(states over the caption's tokens)).
    """

    name: str
    """Last part of the folder's name or of the hub id."""
    digest: str
    """Over its files and the number format."""
    vision: Any
    text: Any
    projection: nn.Module
    tokenizer: Any
    preprocess: "Preprocess"
    languages: Languages = "native"

    @classmethod
    def load(cls, name: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Self:
        """Load a folder or a repository of the hub in open_clip's layout.

        Raises:
            InterpError: no such model, another architecture, or files missing, damaged or not fitting each other.
        """
        from transformers import CLIPVisionModelWithProjection, XLMRobertaModel

        folder = fetched(str(name), TEXTS, WEIGHTS)
        if not (weights := [folder / n for n in WEIGHTS if (folder / n).is_file()]):
            raise InterpError(f"{folder}: no {' or '.join(WEIGHTS)}; give the folder as published")
        prepared, configs = _configs(folder)
        place = converted(weights[0], lambda state: _parts(state, configs), UNREAD, json.dumps(configs))
        vision: Any = files.load_module(CLIPVisionModelWithProjection, place, "vision", dtype)
        text: Any = files.load_module(XLMRobertaModel, place, "text", dtype, add_pooling_layer=False)
        ends = text.config.hidden_size, vision.config.projection_dim
        widths = ends[0], sum(ends) // 2, ends[1]
        head = stack(place / "projection.safetensors", widths, (0, 2), nn.GELU(), bias=False).to(dtype)
        tokenizer = files.load_tokenizer(folder.parent, folder.name)
        digest = files_digest(texts_of(folder), dtype, place.name)
        vision, text, head = (m.to(device) for m in (vision, text, head))
        return cls(Path(name).resolve().name, digest, vision, text, head, tokenizer, prepared)

    @torch.no_grad()
    def images(self, images: Sequence[Picture]) -> Float[Tensor, "sample d_tower"]:
        """Of images, the centre square of each."""
        return _unit(self.vision(self.preprocess(images).to(self.vision.device, self.vision.dtype)).image_embeds)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "sample d_tower"]:
        """Of captions, cut at 77 tokens."""
        ids, mask = _tokens(self.tokenizer, [cleaned(t) for t in texts], CONTEXT, self.text.device)
        states = self.text(ids, mask).last_hidden_state
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return _unit(self.projection(pooled.to(states.dtype)))


def load_tower(
    name: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> ClipTower | XlmRobertaClipTower:
    """A folder or hub id: with an XLM-R if its open_clip_config.json names one of transformers' encoders, else a CLIP.

    Raises:
        InterpError: as the towers' own `load`.
    """
    config = fetched(str(name), TEXTS, ("*.json",)) / CONFIG
    model = files.read_json(config).get("model_cfg", {}) if config.is_file() else {}
    kind = XlmRobertaClipTower if "hf_model_name" in model.get("text_cfg", {}) else ClipTower
    return kind.load(name, device, dtype)


def cleaned(text: str) -> str:
    """A caption as open_clip's tokenizer is given it: entities resolved, typographic quotes plain, spaces single.

    open_clip also mends mojibake, which captions of a benchmark have none of. What else its ftfy changes (width,
    ligatures, composition) XLM-R's tokenizer normalises itself.
    """
    return " ".join(html.unescape(html.unescape(text.translate(QUOTES))).split())


def _tokens(tokenizer: Any, texts: Sequence[str], most: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and attention mask of captions, padded to the longest and cut at `most`."""
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt").to(device)
    return tokens["input_ids"], tokens["attention_mask"]


def _unit(vectors: Tensor) -> Float[Tensor, "sample d_tower"]:
    return nn.functional.normalize(vectors.float(), dim=-1).cpu()


@dataclass(frozen=True)
class Preprocess:
    """Images as torchvision prepares them: shortest side to `side`, bicubic, centre square, (x/255 − mean) / std."""

    side: int
    """Height and width of what comes out, pixels."""
    mean: tuple[float, float, float] = OPENAI["mean"]
    std: tuple[float, float, float] = OPENAI["std"]

    def __call__(self, images: Sequence[Picture]) -> Float[Tensor, "sample 3 h w"]:
        """Prepare images, which may differ in size."""
        pixels = torch.from_numpy(np.stack([self._square(i) for i in images])).permute(0, 3, 1, 2) / 255
        return (pixels - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]

    def _square(self, pixels: Picture) -> np.ndarray:
        image = Image.fromarray(pixels)
        short = min(image.size)
        width, height = (int(self.side * n / short) for n in image.size)
        # torchvision also rounds a half to the even number; transformers cuts it off.
        left, top = (round((n - self.side) / 2) for n in (width, height))
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(resized.crop((left, top, left + self.side, top + self.side)))


def _configs(folder: Path) -> tuple[Preprocess, dict[str, dict[str, Any]]]:
    """What open_clip_config.json says: how images are prepared, and the configurations of both sides."""
    config = files.read_json(folder / CONFIG)
    try:
        return _preprocess(folder, config), {"vision": _vision(folder, config), "text": _text(folder, config)}
    except KeyError as error:
        raise InterpError(f"{folder / CONFIG}: names no {error}; give the file as published") from error


def _preprocess(folder: Path, config: Mapping[str, Any]) -> Preprocess:
    """As open_clip_config.json says, if that is a way known here."""
    side = config["model_cfg"]["vision_cfg"]["image_size"]
    known = {"mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest", "size": side, "fill_color": 0}
    asked = OPENAI | config.get("preprocess_cfg", {})
    mean, std = tuple(asked.pop("mean")), tuple(asked.pop("std"))
    if other := {k: v for k, v in asked.items() if v not in (known.get(k), [side, side])}:
        raise InterpError(f"{folder / CONFIG}: preprocess_cfg asks for {other}; known is {known}; give another model")
    return Preprocess(side, mean, std)


def _vision(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the vision transformer, as transformers writes it."""
    model = config["model_cfg"]
    vit = {"head_width": 64, "mlp_ratio": 4.0, "patch_size": 16} | model["vision_cfg"]
    known = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"}
    if other := sorted(vit.keys() - known) or ["layers"] * (not isinstance(vit["layers"], int)):
        raise InterpError(f"{folder / CONFIG}: vision_cfg has {', '.join(other)}: not open_clip's plain ViT")
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu",
        "hidden_size": vit["width"],
        "image_size": vit["image_size"],
        "intermediate_size": int(vit["width"] * vit["mlp_ratio"]),
        "num_attention_heads": vit["width"] // vit["head_width"],
        "num_hidden_layers": vit["layers"],
        "patch_size": vit["patch_size"],
        "projection_dim": model["embed_dim"],
    }


def _text(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of XLM-R: of a published size, or in the folder that stands for its name."""
    text = config["model_cfg"]["text_cfg"]
    pooler = text.get("hf_pooler_type", text.get("pooler_type", "mean_pooler"))
    head = text.get("hf_proj_type", text.get("proj", "mlp"))
    name = str(text.get("hf_model_name"))
    if (pooler, head) != ("mean_pooler", "mlp") or (name not in SIZES and not Path(name).is_dir()):
        raise InterpError(
            f"{folder / CONFIG}: text_cfg asks for {name} with {pooler} and {head}; known are {' and '.join(SIZES)}, "
            "or a folder with the config.json of another, with mean_pooler and mlp"
        )
    made = {"architectures": ["XLMRobertaModel"]}
    if name not in SIZES:
        return files.read_json(Path(name) / "config.json") | made
    size = SIZES[name]
    return made | XLM_R | size | {"intermediate_size": 4 * size["hidden_size"]}


def _parts(state: dict[str, Tensor], configs: Mapping[str, dict[str, Any]]) -> dict[str, Part]:
    """open_clip's weights by part."""
    vision: dict[str, Tensor] = {}
    for key, value in pop_part(state, "visual.", NAMES).items():
        if "in_proj_" in key:
            vision |= {key.replace("in_proj_", f"{n}_proj."): v for n, v in zip("qkv", value.chunk(3), strict=True)}
        elif key == "proj":
            vision["visual_projection.weight"] = value.T
        else:
            vision[key] = value
    return {
        "vision": Part(vision, configs["vision"]),
        "text": Part(pop_part(state, "text.transformer."), configs["text"]),
        "projection": Part(pop_part(state, "text.proj.")),
    }
