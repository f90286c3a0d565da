"""The layer enhancer: a small trained residual module at one layer of the text encoder (section 5.2, Eq. 10).

    h̃ = h + g(W₂ σ(W₁ h)),   σ = GELU, g = layer normalisation whose gain starts at 0

so that before training it is exactly the identity. What is here is the module and its files; `finetuning` trains it,
`interventions.Enhance` applies it. A folder holds enhancer.safetensors, cfg.json, manifest.json and a card.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from interp import sae, store
from interp.errors import InterpError
from interp.models import folder as files
from interp.types import Site

WEIGHTS, CONFIG = "enhancer.safetensors", "cfg.json"


class EnhancerNet(nn.Module):
    """g(W₂ σ(W₁ h)) beside the identity."""

    def __init__(self, d_model: int, width: int, seed: int = 0) -> None:
        """Args: size of the hidden state; size of the bottleneck; seed of W₁ and W₂."""
        super().__init__()
        self.down, self.up, self.norm = nn.Linear(d_model, width), nn.Linear(width, d_model), nn.LayerNorm(d_model)
        draw = torch.Generator().manual_seed(seed)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5, generator=draw)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.norm.weight)

    def forward(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """h̃; bit for bit h while the gain and the shift of g are 0."""
        return h + self.norm(self.up(nn.functional.gelu(self.down(h.float())))).to(h.dtype)


@dataclass(frozen=True)
class EnhancerRef:
    """Which enhancer: enough to find it again and to refuse another."""

    path: str
    """Folder with cfg.json and enhancer.safetensors."""
    digest: str
    """SHA-256 over the weights."""
    site: Site
    encoder_digest: str
    """SHA-256 over the text encoders' weights that it was trained beside."""
    d_model: int
    width: int


def write(folder: Path, net: EnhancerNet, site: Site, encoder_digest: str) -> EnhancerRef:
    """Write weights and configuration into a folder that exists; its card and manifest are the trainer's."""
    d_model, width = net.down.in_features, net.down.out_features
    state = {k: v.detach().float().cpu().contiguous() for k, v in net.state_dict().items()}
    store.atomic_write_bytes(folder / WEIGHTS, save(state, metadata={"format": "pt"}))
    digest = store.sha256_file(folder / WEIGHTS)
    ref = EnhancerRef(str(folder), digest, site, encoder_digest, d_model, width)
    record = {k: v for k, v in asdict(ref).items() if k != "path"}
    store.atomic_write_json(folder / CONFIG, record)
    return ref


def read(folder: str | Path) -> EnhancerRef:
    """The reference of a folder, its weights checked against their digest.

    Raises:
        InterpError: no enhancer there, or its files do not fit each other.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise InterpError(f"no enhancer at {folder}: {CONFIG} is missing; train one with interp.train_enhancer")
    record = files.read_json(folder / CONFIG, "train it again")
    missing = [f for f in ("digest", "site", "encoder_digest", "d_model", "width") if f not in record]
    if missing:
        raise InterpError(f"{folder / CONFIG}: {', '.join(missing)} missing; it is no enhancer's")
    ref = EnhancerRef(**{**record, "path": str(folder), "site": Site(**record["site"])})
    resolve(ref)
    return ref


def resolve(ref: EnhancerRef) -> EnhancerNet:
    """The module of a reference.

    Raises:
        InterpError: the folder is gone, damaged, or holds another enhancer.
    """
    return _resolved(ref)


@lru_cache(maxsize=16)
def _resolved(ref: EnhancerRef) -> EnhancerNet:
    path = Path(ref.path) / WEIGHTS
    if not path.is_file():
        raise InterpError(f"no enhancer at {ref.path}: {WEIGHTS} is missing")
    if (found := store.sha256_file(path)) != ref.digest:
        raise InterpError(
            f"the enhancer at {ref.path} has changed: asked for digest {ref.digest[:12]}, found {found[:12]}; "
            "restore the old one or load it anew"
        )
    net = EnhancerNet(ref.d_model, ref.width)
    try:
        net.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise InterpError(f"{path} does not fit its {CONFIG}: {str(error).splitlines()[0]}") from error
    return net.requires_grad_(False).eval()


def check_model(ref: EnhancerRef, encoder_digest: str) -> None:
    """Refuse an enhancer on a model that it was not trained for.

    Raises:
        InterpError: the digests differ.
    """
    sae.check_model(ref, encoder_digest, "enhancer was trained", "train_enhancer")
