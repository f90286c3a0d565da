"""PEA-Diffusion: open_clip's multilingual XLM-R and a small trained adapter in front of an SDXL-class denoiser.

A folder holds the adapter (`pytorch_model.bin` of OPPOer/PEA-Diffusion), and beside it, each in a folder of its own,
the backbone (`backbone`, such as stable-diffusion-xl-base-1.0), the tower
(`CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k`) and the configuration of its XLM-R (`xlm-roberta-large`).
Of the tower the text side alone is read, so that open_clip itself is not needed. open_clip would also mend broken
Unicode in prompts; that would move their spans and is not done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from jaxtyping import Float
from torch import Tensor, nn

from interp import store, tensors
from interp.errors import InterpError
from interp.models import files
from interp.models.diffusers_adapter import DiffusersAdapter, Request, assemble, place
from interp.models.encoders import XlmRoberta
from interp.models.records import Conditioning, Options, States, Tokens

PARTS = {
    "pytorch_model.bin": "the adapter, from OPPOer/PEA-Diffusion",
    "backbone": "an SDXL-class pipeline, such as stabilityai/stable-diffusion-xl-base-1.0",
    "CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k": "the text tower, from laion",
    "xlm-roberta-large": "config.json of FacebookAI/xlm-roberta-large",
}
ADAPTER, BACKBONE, TOWER, CONFIG = PARTS
ENCODER = "text_encoder"
PREFIX = "text.transformer."
"""Of the text tower's weights among open_clip's."""
CONTEXT = 77


class PeaAdapter(nn.Module):
    """From the encoder's states to the denoiser's: x = W₃ gelu(W₂ gelu(W₁ norm(t))), tokens = W gelu(x) + b.

    The pooled state is the mean of x over all tokens, padding included, as published.
    """

    def __init__(self, width: int, hidden: int, pooled: int, context: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(width)
        self.projector = nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            nn.GELU(),
            nn.Linear(hidden, hidden, bias=False),
            nn.GELU(),
            nn.Linear(hidden, pooled, bias=False),
        )
        self.fc = nn.Linear(pooled, context)

    def forward(
        self, states: Float[Tensor, "prompt token d_model"]
    ) -> tuple[Float[Tensor, "prompt token d_cond"], Float[Tensor, "prompt d_pooled"]]:
        """(tokens, pooled)."""
        x = self.projector(self.layernorm(states))
        return self.fc(nn.functional.gelu(x)), x.mean(1)


class PeaDiffusion(DiffusersAdapter):
    """XLM-R's last states through the adapter; the empty negative prompt goes the same way."""

    steps = 30
    guidance = 7.5
    adapter: PeaAdapter

    def join(self, states: Mapping[str, States], tokens: Mapping[str, Tokens]) -> Conditioning:
        embeds, pooled = self.adapter(states[ENCODER].output.last_hidden_state)
        return Conditioning(embeds, tokens[ENCODER].mask, pooled=pooled)

    def reference(self, prompts: Sequence[str]) -> Mapping[str, Tensor]:
        return {}


def backbone(name: str, folder: str) -> Path:
    """The diffusers folder inside `pea-diffusion:<folder>`, nearly all of its size.

    Raises:
        InterpError: a part is missing.
    """
    root = Path(folder)
    if missing := [f"{part} ({what})" for part, what in PARTS.items() if not (root / part).exists()]:
        raise InterpError(f"{name}: {folder or 'no folder'} has no {', no '.join(missing)}")
    return root / BACKBONE


def load(name: str, folder: str, **options: Unpack[Options]) -> PeaDiffusion:
    """Load `pea-diffusion:<folder>`.

    Raises:
        InterpError: a part is missing or broken.
    """
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
    from transformers import XLMRobertaModel

    root = Path(folder)
    request = Request(name, backbone(name, folder), **options)
    placement = place(request)
    tower = _tower(root)
    text = files.load_module(
        XLMRobertaModel, tower, ENCODER, placement.dtype, attn_implementation="eager", add_pooling_layer=False
    )
    adapter = _adapter(root / ADAPTER).to(placement.device, placement.dtype)
    scheduler = DPMSolverMultistepScheduler.from_config(files.load_scheduler(root / BACKBONE).config)
    absent = dict.fromkeys(("text_encoder_2", "tokenizer", "tokenizer_2"))
    # the pipeline never runs the tower, but it places it: moved, or offloaded as the other parts are
    pipeline = assemble(request, placement, StableDiffusionXLPipeline, scheduler=scheduler, text_encoder=text, **absent)
    wanted = pipeline.unet.config.cross_attention_dim
    if adapter.fc.out_features != wanted:
        raise InterpError(
            f"{name}: the adapter gives states {adapter.fc.out_features} wide, the backbone's denoiser reads {wanted}"
        )
    encoder = XlmRoberta(ENCODER, text, files.load_tokenizer(root, TOWER), max_tokens=CONTEXT)
    encoder_digest = files.digest(tower, [ENCODER])
    digests = [encoder_digest, store.sha256_file(root / ADAPTER), files.digest(root / BACKBONE, ["unet", "vae"])]
    request = replace(request, digests=(store.sha256_bytes("".join(digests).encode()), encoder_digest))
    model = PeaDiffusion(request, placement, pipeline, [encoder])
    model.adapter = adapter
    return model


def _tower(root: Path) -> Path:
    """The text side of the tower as a folder of safetensors, made once in the cache."""
    weights = root / TOWER / "open_clip_pytorch_model.bin"
    if not weights.is_file():
        raise InterpError(f"{root / TOWER} has no {weights.name}; give the tower's folder as published")

    def fill(folder: Path) -> None:
        state = {k.removeprefix(PREFIX): v for k, v in files.unpickle(weights).items() if k.startswith(PREFIX)}
        if not state:
            raise InterpError(f"{weights} holds no {PREFIX}*; it is not an open_clip model with an XLM-R text tower")
        config = files.read_json(root / CONFIG / "config.json") | {"architectures": ["XLMRobertaModel"]}
        store.atomic_write_json(folder / ENCODER / "config.json", config)
        tensors.write(folder / ENCODER / "model.safetensors", state)

    digest = store.sha256_record([store.sha256_file(weights), store.sha256_file(root / CONFIG / "config.json")])
    return store.cached_folder(store.cache_dir() / "converted" / f"{digest[:32]}-text", fill)


def _adapter(path: Path) -> PeaAdapter:
    """The adapter, its widths read from its weights."""
    state = files.unpickle(path)
    try:
        hidden, width = state["projector.0.weight"].shape
        context, pooled = state["fc.weight"].shape
    except KeyError as error:
        raise InterpError(f"{path} holds no {error}; it is not PEA-Diffusion's adapter") from error
    adapter = PeaAdapter(width, hidden, pooled, context)
    wanted, stored = ({k: v.shape for k, v in tensors.items()} for tensors in (adapter.state_dict(), state))
    if wrong := sorted(k for k in wanted.keys() | stored.keys() if wanted.get(k) != stored.get(k)):
        raise InterpError(f"{path} is not PEA-Diffusion's adapter: {', '.join(wrong[:3])} missing or of another shape")
    adapter.load_state_dict(state)
    return adapter.eval().requires_grad_(False)
