"""The layer enhancer: a small trained residual module at one layer of the text encoder (section 5.2, Eq. 10).

    h̃ = h + g(W₂ σ(W₁ h)),   σ = GELU, g = layer normalisation whose gain starts at 0

so that before training it is exactly the identity. What is here is the module and its files; `enhancer_training`
trains it, `edits.Enhance` applies it. A folder holds enhancer.safetensors, cfg.json, manifest.json and a card.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp import store, tensors
from interp.errors import InterpError
from interp.latents import sae
from interp.session import session
from interp.types import RECORD, Site

WEIGHTS, CONFIG, KIND = "enhancer.safetensors", "cfg.json", "enhancer"
CARD, CURVE = "README.md", "losses.json"
OWNED = store.Owned("enhancers", CONFIG, KIND, (CONFIG, WEIGHTS, CARD, CURVE, store.MANIFEST))
CULTURE_LAYER = "culture_layer"
"""The enhancer to use; those beside it are its controls."""


class EnhancerNet(nn.Module):
    """g(W₂ σ(W₁ h)) beside the identity."""

    def __init__(self, d_model: int, width: int, seed: int = 0) -> None:
        """Args: size of the hidden state; size of the bottleneck; seed of W₁ and W₂."""
        super().__init__()
        self.down, self.up, self.norm = nn.Linear(d_model, width), nn.Linear(width, d_model), nn.LayerNorm(d_model)
        rng = torch.Generator().manual_seed(seed)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5, generator=rng)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.norm.weight)

    def forward(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """h̃ in the precision of h; bit for bit h where g is 0."""
        # in float32, whatever the precision around it: the same in training and in use
        with sae.in_float32(h.device):
            by = self.norm(self.up(nn.functional.gelu(self.down(h.float()))))
        moved = (h + by).to(h.dtype)
        # −0.0 + 0.0 is 0.0; but a choice would hide g, which begins at 0, from its gradient
        return moved if by.requires_grad else torch.where(by != 0, moved, h)


@dataclass(frozen=True)
class EnhancerRef:
    """Which enhancer: enough to find it again and to refuse another."""

    __pydantic_config__ = RECORD

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
    tensors.write(folder / WEIGHTS, state, {"format": "pt"})
    digest = store.sha256_file(folder / WEIGHTS)
    ref = EnhancerRef(str(folder), digest, site, encoder_digest, d_model, width)
    record = {k: v for k, v in asdict(ref).items() if k != "path"}
    store.write_sealed(folder / CONFIG, {"kind": KIND, **record})
    return ref


def read(folder: str | Path) -> EnhancerRef:
    """The reference of a folder, its weights checked against their digest.

    Raises:
        InterpError: no enhancer there, its files are damaged, or do not fit each other.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise InterpError(f"no enhancer at {folder}: {CONFIG} is missing; train one with interp.train_enhancer")
    todo = "restore it or train it again"
    record = store.read_sealed(folder / CONFIG, todo)
    if record.pop("kind", None) != KIND:
        raise InterpError(f"{folder / CONFIG}: is no enhancer's; give an enhancer's folder")
    ref = store.checked(EnhancerRef, {**record, "path": str(folder)}, str(folder / CONFIG), todo)
    if min(ref.d_model, ref.width) < 1 or ref.site.layer < 0:
        sizes = f"{ref.d_model} × {ref.width} at layer {ref.site.layer}"
        raise InterpError(f"{folder / CONFIG}: an enhancer of {sizes}; there is none of such sizes")
    resolve(ref)
    return ref


def resolve(ref: EnhancerRef, device: str | torch.device = "cpu") -> EnhancerNet:
    """The module of a reference, one per device: it moves there once and is never moved again.

    Raises:
        InterpError: the folder is gone, damaged, or holds another enhancer.
    """
    return _resolved(ref, torch.device(device))


@session.remembers(16)
def _resolved(ref: EnhancerRef, device: torch.device) -> EnhancerNet:
    path = Path(ref.path) / WEIGHTS
    if not path.is_file():
        raise InterpError(f"no enhancer at {ref.path}: {WEIGHTS} is missing")
    digest, todo = store.sha256_file(path), "restore the old one or load it anew"
    if digest != ref.digest:
        raise InterpError(
            f"the enhancer at {ref.path} has changed: asked for digest {ref.digest[:12]}, found {digest[:12]}; {todo}"
        )
    layers = {"down": (ref.width, ref.d_model), "up": (ref.d_model, ref.width), "norm": (ref.d_model,)}
    shapes = {f"{name}.weight": shape for name, shape in layers.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in layers.items()}
    # before the module is made: sizes that nobody checked could ask for any amount of memory
    state = tensors.expect(tensors.read(path, todo), shapes, path, f"its {CONFIG} asks for another")
    net = EnhancerNet(ref.d_model, ref.width)
    net.load_state_dict(state)
    return net.requires_grad_(False).eval().to(device)
