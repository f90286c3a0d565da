"""A judge of open weights: Qwen3-VL, or an older Qwen VL, by transformers.

It generates nothing: one forward pass gives the probabilities of the option letters as the next token, so every image
is scored and the same question always gets the same answer. Only still images are read, which needs no torchvision.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics.checkpoints import fetched
from interp.metrics.judges.base import LETTERS, QUESTION, Verdicts, question, rotated
from interp.models import files, placement
from interp.store import sha256_bytes, sha256_file

if TYPE_CHECKING:
    import transformers

PROTOCOL = 1
"""Of the question and of how the answer is read; in the digest."""
FAMILIES = {
    "Qwen3VLForConditionalGeneration": "Qwen3VLProcessor",
    "Qwen2_5_VLForConditionalGeneration": "Qwen2_5_VLProcessor",
    "Qwen2VLForConditionalGeneration": "Qwen2VLProcessor",
}
"""Architecture → processor, both of transformers."""
TEXTS = ("*.json", "*.jinja", "*.txt")
BATCH = 8


@dataclass(frozen=True)
class Qwen3VlJudge:
    """Names the culture by the most likely option letter."""

    name: str
    """Of the folder, or of the repository without its owner."""
    labels: tuple[str, ...]
    digest: str
    """Of the weights, the files beside them, the dtype, the labels and the question."""
    model: Any = field(repr=False, compare=False)
    processor: Any = field(repr=False, compare=False)
    """Makes tokens and patches of a conversation with an image; pads on the left."""
    tokens: tuple[int, ...] = field(repr=False)
    """The id of each option's letter."""
    batch: int = BATCH
    """Images in one forward pass."""

    def __call__(self, images: Sequence[Picture], items: Sequence[str]) -> Verdicts:
        """Answer for every image; '' and NaN only where the model's numbers overflow."""
        chances = np.full((len(images), len(self.labels)), np.nan)
        for start in range(0, len(images), self.batch):
            rows = slice(start, start + self.batch)
            chances[rows] = self._chances(images[rows], items[rows])
        cultures = [self.labels[int(row.argmax())] if np.isfinite(row).all() else "" for row in chances]
        return Verdicts(tuple(cultures), culture_probability=chances)

    @torch.no_grad()
    def _chances(self, images: Sequence[Picture], items: Sequence[str]) -> Float[np.ndarray, "sample culture"]:
        """Probability of each label, by the softmax over the option letters at the last position."""
        asked = [rotated(self.labels, item) for item in items]
        inputs = self.inputs(images, asked).to(self.model.device)
        logits = self.model(**inputs, logits_to_keep=1, use_cache=False).logits[:, -1]
        by_letter = logits[:, list(self.tokens)].float().softmax(-1).cpu().double().numpy()
        places = [[options.index(label) for label in self.labels] for options in asked]
        return np.take_along_axis(by_letter, np.array(places), axis=1)

    def inputs(self, images: Sequence[Picture], options: Sequence[Sequence[str]]) -> "transformers.BatchFeature":
        """What the model reads.

        Args:
            images: they may differ in size.
            options: of each question, in the order of the letters.
        """
        conversations = []
        for image, asked in zip(images, options, strict=True):
            content = [{"type": "image", "image": Image.fromarray(image)}, {"type": "text", "text": question(asked)}]
            conversations.append([{"role": "user", "content": content}])
        return self.processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )


def load(
    name: str | Path,
    labels: Sequence[str],
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    batch: int = BATCH,
) -> Qwen3VlJudge:
    """Load a judge.

    Args:
        name: a folder in the hub's layout, which is read without the network, or a hub id such as
            Qwen/Qwen3-VL-8B-Instruct.
        labels: the cultures and Unrecognisable.
        device: `cpu`, `cuda`, …; None for what is there.
        dtype: None for bfloat16 on a GPU, and on the CPU float32 or, where that does not fit, bfloat16.
        batch: images in one forward pass.

    Raises:
        InterpError: nothing of that name, another architecture, files missing or damaged, no memory for it, labels that
            cannot be asked, or a tokenizer that splits an option letter.
    """
    import transformers

    asked = question(labels)
    if twice := [label for label, n in Counter(labels).items() if n > 1]:
        raise InterpError(f"label {twice[0]!r} is given twice; give each once")
    place = fetched(str(name), TEXTS, ("*.safetensors",))
    family = (files.read_json(place / "config.json").get("architectures") or ["none"])[0]
    if family not in FAMILIES:
        raise InterpError(f"{place}: its config.json names {family}; known judges are {', '.join(FAMILIES)}")
    processor = _processor(place, FAMILIES[family])
    tokens = _letters(processor.tokenizer, len(labels), place)
    # the judge is not moved in parts: on a GPU that cannot hold it, it is refused
    offload = "none" if placement.resolve_device(device).type == "cuda" else None
    sizes = {"model": _parameters(place)}
    where = placement.choose(sizes, device=device, dtype=dtype, offload=offload, preferred=torch.bfloat16)
    model: Any = files.load_module(getattr(transformers, family), place, ".", where.dtype)
    known = [PROTOCOL, QUESTION, asked, str(where.dtype), _files(place)]
    digest = sha256_bytes(json.dumps(known).encode())
    return Qwen3VlJudge(Path(name).name, tuple(labels), digest, model.to(where.device), processor, tokens, batch)


def _processor(place: Path, name: str) -> Any:
    """A processor without its part for videos, which needs torchvision.

    Images are prepared by Pillow whether or not torchvision is there, so that a judge has one answer.
    """
    import transformers

    kind: Any = getattr(transformers, name)
    tokenizer = files.load_tokenizer(place, ".")
    tokenizer.padding_side = "left"
    stored, _ = kind.get_processor_dict(place, local_files_only=True)
    template = stored.get("chat_template") or tokenizer.chat_template
    if template is None:
        raise InterpError(f"{place}: no chat_template.json, so nothing says how to ask; fetch the model again")
    try:
        images = transformers.AutoImageProcessor.from_pretrained(place, backend="pil", local_files_only=True)
    except (OSError, ValueError) as error:
        raise InterpError(f"{place}: its preprocessor_config.json cannot be read; fetch the model again") from error

    def still(self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        kind.__init__(self, image_processor, tokenizer, None, chat_template=chat_template)

    # transformers takes the parts that a processor has from the arguments of its __init__
    return type(f"Still{name}", (kind,), {"__init__": still})(images, tokenizer, chat_template=template)


def _letters(tokenizer: Any, options: int, place: Path) -> tuple[int, ...]:
    """The token of each option letter; refuses a tokenizer that splits one."""
    ids = {letter: tokenizer.encode(letter, add_special_tokens=False) for letter in LETTERS[:options]}
    if split := next((letter for letter, tokens in ids.items() if len(tokens) != 1), None):
        raise InterpError(
            f"{place}: its tokenizer makes {len(ids[split])} tokens of the letter {split!r}, so the letter's "
            "probability cannot be read in one step; take another model"
        )
    return tuple(tokens[0] for tokens in ids.values())


def _parameters(place: Path) -> int:
    """Numbers in the weight files, from their headers."""
    from safetensors import safe_open

    count = 0
    for path in files.weights(place, "."):
        if path.suffix != ".safetensors":
            raise InterpError(f"{path}: pickled weights; get the model as safetensors")
        with safe_open(path, framework="pt") as file:
            count += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118 - no dict
    return count


def _files(place: Path) -> list[list[str]]:
    """Names and SHA-256 of all that the judge is made of; that of the weights is remembered between runs."""
    texts = sorted(p for p in place.iterdir() if f"*{p.suffix}" in TEXTS)
    return [["weights", files.digest(place, ["."])], *([p.name, sha256_file(p)] for p in texts)]
