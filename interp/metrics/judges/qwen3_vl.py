"""A judge of open weights: Qwen3-VL, or an older Qwen VL, by transformers.

It generates nothing: one forward pass gives the probabilities of the option letters as the next token, so every picture
is scored and the same question always gets the same answer. Only still pictures are read, which needs no torchvision.
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
FETCHED = ("*.json", "*.jinja", "*.txt", "*.safetensors")
TEXTS = (".json", ".jinja", ".txt")
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
    """Makes tokens and patches of a conversation with a picture; pads on the left."""
    tokens: tuple[int, ...] = field(repr=False)
    """The id of each option's letter."""
    batch: int = BATCH
    """Pictures in one forward pass."""

    def __call__(self, pictures: Sequence[Picture], items: Sequence[str]) -> Verdicts:
        """Answer for every picture; '' and NaN only where the model's numbers overflow."""
        asked = list(zip(pictures, items, strict=True))
        chances = np.full((len(asked), len(self.labels)), np.nan)
        for start in range(0, len(asked), self.batch):
            part = asked[start : start + self.batch]
            chances[start : start + len(part)] = self._chances([p for p, _ in part], [i for _, i in part])
        cultures = [self.labels[int(row.argmax())] if np.isfinite(row).all() else "" for row in chances]
        return Verdicts(tuple(cultures), culture_probability=chances)

    @torch.no_grad()
    def _chances(self, pictures: Sequence[Picture], items: Sequence[str]) -> Float[np.ndarray, "sample culture"]:
        """Probability of each label, by the softmax over the option letters at the last position."""
        options = [rotated(self.labels, item) for item in items]
        inputs = self.inputs(pictures, options).to(self.model.device)
        logits = self.model(**inputs, logits_to_keep=1, use_cache=False).logits[:, -1]
        by_letter = logits[:, list(self.tokens)].float().softmax(-1).cpu().double().numpy()
        return np.stack([row[[own.index(k) for k in self.labels]] for row, own in zip(by_letter, options, strict=True)])

    def inputs(self, pictures: Sequence[Picture], options: Sequence[Sequence[str]]) -> "transformers.BatchFeature":
        """What the model reads.

        Args:
            pictures: they may differ in size.
            options: of each question, in the order of the letters.
        """
        conversations = []
        for picture, own in zip(pictures, options, strict=True):
            content = [{"type": "image", "image": Image.fromarray(picture)}, {"type": "text", "text": question(own)}]
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
        batch: pictures in one forward pass.

    Raises:
        InterpError: nothing of that name, another architecture, files missing or damaged, no memory for it, labels that
            cannot be asked, or a tokenizer that splits an option letter.
    """
    import transformers

    asked = question(labels)
    if twice := [label for label, n in Counter(labels).items() if n > 1]:
        raise InterpError(f"label {twice[0]!r} is given twice; give each once")
    place = _folder(str(name))
    family = _family(place)
    processor = _processor(place, FAMILIES[family])
    tokens = _letters(processor.tokenizer, len(labels), place)
    sizes = {"model": _parameters(place)}
    where = placement.choose(sizes, device=device, dtype=dtype, offload=_whole(device), preferred=torch.bfloat16)
    model: Any = files.load_module(getattr(transformers, family), place, ".", where.dtype)
    known = [PROTOCOL, QUESTION, asked, str(where.dtype), _files(place)]
    digest = sha256_bytes(json.dumps(known).encode())
    return Qwen3VlJudge(Path(name).name, tuple(labels), digest, model.to(where.device), processor, tokens, batch)


def _whole(device: str | torch.device | None) -> str | None:
    """The judge is not moved in parts: on a GPU that cannot hold it, it is refused."""
    return "none" if placement.resolve_device(device).type == "cuda" else None


def _folder(name: str) -> Path:
    """The folder of a model: a local one, or a repository of the hub, from its cache where it is there."""
    if Path(name).is_dir():
        return Path(name)
    if files.HUB_ID.fullmatch(name) is None:
        raise InterpError(f"{name}: neither a folder nor a hub id like org/name; give one of the two")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, allow_patterns=list(FETCHED)))
    except (HFValidationError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InterpError(f"{name}: no such folder, and the hub gives no such model ({why}); give a folder") from error


def _family(place: Path) -> str:
    named = files.read_json(place / "config.json").get("architectures") or ["none"]
    if named[0] not in FAMILIES:
        raise InterpError(f"{place}: its config.json names {named[0]}; known judges are {', '.join(FAMILIES)}")
    return named[0]


def _processor(place: Path, name: str) -> Any:
    """A processor without its part for videos, which needs torchvision.

    Pictures are prepared by Pillow whether or not torchvision is there, so that a judge has one answer.
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
    """The token of each option letter.

    Raises:
        InterpError: a letter is not exactly one token.
    """
    ids = {letter: tokenizer.encode(letter, add_special_tokens=False) for letter in LETTERS[:options]}
    if split := next((letter for letter, own in ids.items() if len(own) != 1), None):
        raise InterpError(
            f"{place}: its tokenizer makes {len(ids[split])} tokens of the letter {split!r}, so the letter's "
            "probability cannot be read in one step; take another model"
        )
    return tuple(own[0] for own in ids.values())


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
    texts = sorted(p for p in place.iterdir() if p.suffix in TEXTS)
    return [["weights", files.digest(place, ["."])], *([p.name, sha256_file(p)] for p in texts)]
