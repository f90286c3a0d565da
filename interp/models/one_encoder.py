"""Any diffusers text-to-image pipeline with one text encoder, XLM-R, CLIP or T5, whose last states are the condition.

Stable Diffusion 1 and 2 and PixArt are such. Whether a folder truly is one, its certificate shows: the conditioning
must equal the pipeline's own.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from interp.errors import InterpError
from interp.models import encoders, files
from interp.models.diffusers_adapter import DiffusersAdapter, Request, assemble, class_of, place
from interp.models.records import Conditioning, States, Tokens

ENCODER = "text_encoder"


class SingleEncoder(DiffusersAdapter):
    """The encoder's last hidden states; with a mask, where the denoiser takes one."""

    @property
    def takes_mask(self) -> bool:
        """Whether padding is hidden from the denoiser."""
        return "prompt_attention_mask" in inspect.signature(self.pipeline.__call__).parameters

    def join(self, states: Mapping[str, States], tokens: Mapping[str, Tokens]) -> Conditioning:
        return Conditioning(states[ENCODER].output.last_hidden_state, tokens[ENCODER].mask)

    def reference(self, prompts: Sequence[str]) -> Mapping[str, Tensor]:
        names = ("embeds", "mask", "negative", "negative_mask") if self.takes_mask else ("embeds", "negative")
        with torch.no_grad():
            out = self.pipeline.encode_prompt(
                list(prompts), device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=True
            )
        by_name = dict(zip(names, out, strict=True))
        return {name: by_name[name] for name in ("embeds", "negative")}

    @property
    def always(self) -> Mapping[str, Any]:
        """PixArt would draw at the nearest of its own sizes, whatever was asked, and rewrite the prompt."""
        known = inspect.signature(self.pipeline.__call__).parameters
        return {n: False for n in ("use_resolution_binning", "clean_caption") if n in known}

    def arguments(self, conditioning: Conditioning) -> dict[str, Any]:
        arguments = super().arguments(conditioning)
        if self.takes_mask:
            empty = self.encoders[ENCODER].tokenise([""]).mask
            arguments["prompt_attention_mask"] = conditioning.mask
            arguments["negative_prompt_attention_mask"] = empty.expand(len(conditioning), -1)
            # its own call with a string has none either
            arguments["negative_prompt"] = None
        return arguments


def load(request: Request) -> SingleEncoder:
    """Load a folder whose index names one text encoder.

    Raises:
        InterpError: there are several, or its architecture is not known.
    """
    placement = place(request)
    kind = class_of("diffusers", files.read_index(request.folder)["_class_name"])
    checked = "requires_safety_checker" in inspect.signature(kind).parameters
    pipeline = assemble(request, placement, kind, **({"requires_safety_checker": False} if checked else {}))
    names = [n for n, part in pipeline.components.items() if n.startswith("text_encoder") and part is not None]
    if names != [ENCODER]:
        raise InterpError(
            f"{request.name}: {type(pipeline).__name__} has {', '.join(names) or 'no text encoder'}; without an "
            "adapter of its own only a pipeline with one can be loaded. CONTRIBUTING.md shows how to write one"
        )
    call = inspect.signature(pipeline.__call__).parameters
    masked = "prompt_attention_mask" in call
    length = call["max_sequence_length"].default if "max_sequence_length" in call else None
    lower = hasattr(pipeline, "_text_preprocessing")
    encoder = encoders.wrap(
        ENCODER, pipeline.text_encoder, pipeline.tokenizer, masked=masked, max_tokens=length, lower=lower
    )
    return SingleEncoder(request, placement, pipeline, [encoder])
