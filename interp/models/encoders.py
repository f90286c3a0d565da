"""Text encoders by architecture: XLM-R, CLIP, T5. Where their states are, for nnsight, and which tokens are which.

The layers of an encoder are found by the type of the module that holds them, never by a path: the same class serves
every family that has such an encoder.
"""

import warnings
from abc import ABC
from collections.abc import Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from interp.errors import InterpError, InterpWarning
from interp.models.records import EncoderSpec, States, Tokens


class TextEncoder(ABC):
    """One text encoder of a pipeline with its tokenizer.

    An architecture says where its layers are (`stack`) and, by paths from a layer, its attention, the value projection
    and the output projection, whose input is z.
    """

    stack: tuple[str, str]
    """The list of layers: the class that holds it, and its name there."""
    attention: str
    value: str
    project: str
    pattern_at: int
    """Which output of the attention the pattern is."""
    heads, width = "num_attention_heads", "hidden_size"
    """Their names in the configuration."""
    causal = False

    def __init__(
        self,
        name: str,
        module: nn.Module,
        tokenizer: Any,
        *,
        max_tokens: int | None = None,
        reach: int | None = None,
        masked: bool = True,
        penultimate: bool = False,
        lower: bool = False,
    ) -> None:
        """Args:
        name: in the pipeline, `text_encoder`, `text_encoder_2`, …
        module: the encoder, in eager attention.
        tokenizer: with character offsets.
        max_tokens: length of every prompt, padded; None for the tokenizer's.
        reach: the last layer that can affect the image; None for the last.
        masked: whether the pipeline hides padding from attention.
        penultimate: whether the family reads the residual stream before the last layer.
        lower: whether the pipeline puts prompts in lower case and strips them.
        """
        self.lower = lower
        self.module, self.tokenizer, self.masked, self.penultimate = module, tokenizer, masked, penultimate
        holder = next((path for path, part in module.named_modules() if type(part).__name__ == self.stack[0]), None)
        if holder is None:
            kind = type(module).__name__
            raise InterpError(f"{kind} holds no {self.stack[0]}; {type(self).__name__} does not fit it")
        self.path = f"{holder}.{self.stack[1]}".removeprefix(".")
        layers = len(module.get_submodule(self.path))  # type: ignore[arg-type]
        self.spec = EncoderSpec(
            name=name,
            layers=layers,
            heads=getattr(module.config, self.heads),
            d_model=getattr(module.config, self.width),
            reach=layers - 1 if reach is None else reach % layers,
            causal=self.causal,
            max_tokens=max_tokens or tokenizer.model_max_length,
        )

    @property
    def device(self) -> torch.device:
        """Where its inputs go, offloaded or not."""
        return _computes_on(self.module)

    # ------------------------------------------------------------------------------------------------------- tokens

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Tokenise and pad to the context; what does not fit is cut, with a warning that says how much.

        A cut that loses a noun or a modifier is refused where their spans are known, in `token_sets`.
        """
        read, places = zip(*(_lowered(text) if self.lower else (text, range(len(text))) for text in texts), strict=True)
        for text, ids in zip(texts, self.tokenizer(list(read))["input_ids"], strict=True):
            _warn_of_cut(self.spec, text, len(ids))
        batch = self.tokenizer(
            list(read),
            padding="max_length",
            max_length=self.spec.max_tokens,
            truncation=True,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        ids = batch["input_ids"].to(self.device)
        return Tokens(
            ids=ids,
            mask=self.real(ids).long(),
            special=self.is_special(ids),
            offsets=tuple(
                tuple((place[a], place[b - 1] + 1) if b > a else (0, 0) for a, b in row.tolist())
                for row, place in zip(batch["offset_mapping"], places, strict=True)
            ),
        )

    def real(self, ids: Int[Tensor, "prompt token"]) -> Bool[Tensor, "prompt token"]:
        """Which tokens are not padding; begin and end are real."""
        return ids != self.tokenizer.pad_token_id

    def is_special(self, ids: Int[Tensor, "prompt token"]) -> Bool[Tensor, "prompt token"]:
        """Which tokens are begin, end or padding."""
        known = [self.tokenizer.bos_token_id, self.tokenizer.eos_token_id]
        marks = torch.tensor([i for i in known if i is not None], device=ids.device)
        return torch.isin(ids, marks) | ~self.real(ids)

    # ---------------------------------------------------------------------------------------------------- in a trace

    @cached_property
    def envoy(self) -> Any:
        """The module wrapped by nnsight."""
        return _traceable(self.module)

    def inputs(self, tokens: Tokens) -> dict[str, Tensor]:
        """The module's keyword arguments."""
        return {"input_ids": tokens.ids} | ({"attention_mask": tokens.mask} if self.masked else {})

    def block(self, envoy: Any, layer: int) -> Any:
        """The envoy of one layer."""
        return attrgetter(self.path)(envoy)[layer]

    def resid(self, envoy: Any, layer: int) -> Any:
        """The residual stream after a layer, [prompt token d_model]."""
        return self.block(envoy, layer).output

    def set_resid(self, envoy: Any, layer: int, value: Any) -> None:
        """Replace the residual stream after a layer."""
        self.block(envoy, layer).output = value

    def values(self, envoy: Any, layer: int) -> Any:
        """The value projection's output, [prompt token d_model]."""
        return attrgetter(self.value)(self.block(envoy, layer)).output

    def z(self, envoy: Any, layer: int) -> Any:
        """The heads' outputs side by side before the output projection, [prompt token d_model] (hook_z)."""
        return attrgetter(self.project)(self.block(envoy, layer)).input

    def set_z(self, envoy: Any, layer: int, value: Any) -> None:
        """Replace the heads' outputs."""
        attrgetter(self.project)(self.block(envoy, layer)).input = value

    def pattern(self, envoy: Any, layer: int) -> Any:
        """The attention pattern, [prompt head token token]."""
        return attrgetter(self.attention)(self.block(envoy, layer)).output[self.pattern_at]

    def __call__(self, tokens: Tokens) -> States:
        """The untouched encoder, without a trace."""
        with torch.no_grad():
            out = self.module(**self.inputs(tokens), output_hidden_states=self.penultimate)
        return States(out, out.hidden_states[-2] if self.penultimate else None)


class XlmRoberta(TextEncoder):
    """XLM-R, bare or inside AltDiffusion's class; z is the attention's first output."""

    stack = ("XLMRobertaEncoder", "layer")
    attention, value, pattern_at = "attention.self", "attention.self.value", 1

    def z(self, envoy: Any, layer: int) -> Any:
        return self.block(envoy, layer).attention.self.output[0]

    def set_z(self, envoy: Any, layer: int, value: Any) -> None:
        module = self.block(envoy, layer).attention.self
        module.output = (value, *module.output[1:])


class Clip(TextEncoder):
    """The text side of CLIP, with or without its projection; tokens attend to the left alone."""

    stack = ("CLIPEncoder", "layers")
    attention, value, project = "self_attn", "self_attn.v_proj", "self_attn.out_proj"
    pattern_at = 1
    causal = True

    def real(self, ids: Int[Tensor, "prompt token"]) -> Bool[Tensor, "prompt token"]:
        """Up to the first end token: the padding of some CLIPs is that token again, of others an ordinary one."""
        ended = (ids == self.tokenizer.eos_token_id).cumsum(1)
        return (ended == 0) | ((ended == 1) & (ids == self.tokenizer.eos_token_id))


class T5(TextEncoder):
    """The encoder of T5; z is as wide as its heads together, which in small T5s is not d_model."""

    stack = ("T5Stack", "block")
    attention, value, project = (f"layer.0.SelfAttention{part}" for part in ("", ".v", ".o"))
    pattern_at = 2
    heads, width = "num_heads", "d_model"

    def resid(self, envoy: Any, layer: int) -> Any:
        return self.block(envoy, layer).output[0]

    def set_resid(self, envoy: Any, layer: int, value: Any) -> None:
        block = self.block(envoy, layer)
        block.output = (value, *block.output[1:])


def _lowered(text: str) -> tuple[str, Sequence[int]]:
    """A prompt in lower case without blanks around it, and which of the prompt's characters each of its own is."""
    place = [i for i, character in enumerate(text) for _ in character.lower()]
    lowered = text.lower()
    start = len(lowered) - len(lowered.lstrip())
    return lowered.strip(), place[start:]


def _warn_of_cut(spec: EncoderSpec, text: str, tokens: int) -> None:
    if over := max(tokens - spec.max_tokens, 0):
        warnings.warn(
            f"{text!r}: {tokens} tokens, {over} more than {spec.name} reads ({spec.max_tokens}); they were cut",
            InterpWarning,
            stacklevel=3,
        )


def _computes_on(module: nn.Module) -> torch.device:
    """The device of a module's forward pass, wherever offloading keeps its weights."""
    from diffusers.utils.torch_utils import get_module_execution_device

    return torch.device(get_module_execution_device(module))


def _traceable(module: nn.Module) -> Any:
    """The module wrapped by nnsight."""
    from nnsight import NNsight

    class Placed(NNsight):
        """Takes its inputs where the module computes; nnsight's own does where the weights wait, be it `meta`."""

        @property
        def device(self) -> torch.device:
            return _computes_on(self._module)

    with warnings.catch_warnings():
        # BERT-style layers have a submodule called `output`; the module's output is read here and never it
        warnings.filterwarnings("ignore", ".*has a submodule named 'output'", UserWarning)
        return Placed(module)


KNOWN: tuple[type[TextEncoder], ...] = (XlmRoberta, Clip, T5)


def wrap(
    name: str,
    module: nn.Module,
    tokenizer: Any,
    *,
    max_tokens: int | None = None,
    masked: bool = True,
    lower: bool = False,
) -> TextEncoder:
    """The encoder of whatever architecture `module` is, by the modules it holds; arguments as of `TextEncoder`.

    Raises:
        InterpError: it is none of those known.
    """
    held = {type(part).__name__ for part in module.modules()}
    for kind in KNOWN:
        if kind.stack[0] in held:
            return kind(name, module, tokenizer, max_tokens=max_tokens, masked=masked, lower=lower)
    known = ", ".join(f"{k.__name__} ({k.stack[0]})" for k in KNOWN)
    raise InterpError(f"{name} is a {type(module).__name__}, which is none of the encoders known: {known}")
