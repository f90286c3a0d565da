"""Top-K sparse autoencoders of text-encoder features: train several at once, store, find again, encode and decode.

    Z = relu(TopK((x − b_dec) W_enc + b_enc))        x̂ = Z W_dec + b_dec        (Gao et al. 2024, arXiv:2406.04093)

On disk an SAE is a folder in SAE-Lens files, `saes/<model>/layer_NN/{cfg.json, sae_weights.safetensors,
manifest.json}`, that plain `sae_lens.SAE.load_from_disk` reads and that works on the model's raw features. Reading goes
without sae_lens (its import takes ten seconds), training and saving with it. The paper (Appendix C.5): hidden width
4 × d_in, AdamW with a constant 4e-4, squared error, α = 1/32; it gives no k, batch or number of steps.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp import store, tensors
from interp.errors import InterpError
from interp.session import session
from interp.types import Codes, SaeRef, Site

if TYPE_CHECKING:
    from sae_lens import TopKSAE

Weights = Literal["float32", "float16"]
CFG, WEIGHTS, MANIFEST = "cfg.json", "sae_weights.safetensors", "manifest.json"
OWNED = store.Owned("SAEs", MANIFEST, "sae", (CFG, WEIGHTS, MANIFEST))
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
CHUNK = 4096
"""Tokens encoded at a time when measuring."""
READABLE = {
    "architecture": "topk",
    "apply_b_dec_to_input": True,
    "normalize_activations": "none",
    "reshape_activations": "none",
}
"""What cfg.json has to say."""
_PROJECT = Path(__file__).resolve().parents[2]


# ---------------------------------------------------------------------------------------------------- reading, using


@dataclass(frozen=True, eq=False)
class LoadedSae:
    """A Top-K SAE as plain float32 tensors, and where it comes from."""

    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]
    k: int
    """Latents that may fire on a token."""
    rescale: bool
    """Codes are multiplied by the decoder's row norms (sae_lens' rescale_acts_by_decoder_norm). Never set in SAEs made
    here: their decoder rows have norm 1, so a code is the length of the latent's contribution in the model's units."""
    ref: SaeRef

    def encode(self, x: Float[Tensor, "*batch d_in"], codes: Codes = "topk") -> Float[Tensor, "*batch d_sae"]:
        """Codes of features: the k largest, or with `relu` all positive ones (for latents that fire below the k-th)."""
        with in_float32(x.device):
            pre = (x.to(self.W_enc.dtype) - self.b_dec) @ self.W_enc + self.b_enc
        if self.rescale:
            pre = pre * self.W_dec.norm(dim=-1)
        if codes == "relu":
            return pre.relu()
        values, indices = pre.topk(self.k, dim=-1, sorted=False)
        return torch.zeros_like(pre).scatter_(-1, indices, values.relu())

    def decode(self, z: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """Features of codes, x̂ = Z W_dec + b_dec."""
        if self.rescale:
            z = z * (1 / self.W_dec.norm(dim=-1))
        with in_float32(z.device):
            return z @ self.W_dec + self.b_dec

    def to(self, device: str | torch.device) -> "LoadedSae":
        """The same SAE on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in NAMES})

    def rounded(self) -> "LoadedSae":
        """The SAE as it will be after storage with float16 matrices (biases stay float32): another digest.

        Raises:
            InterpError: a weight is too large for float16.
        """
        matrices = {name: getattr(self, name).half().float() for name in ("W_enc", "W_dec")}
        if not all(bool(matrix.isfinite().all()) for matrix in matrices.values()):
            raise InterpError("a weight of this SAE is too large for float16; store it as float32")
        sae = replace(self, **matrices)
        return replace(sae, ref=replace(sae.ref, digest=digest(sae)))


def in_float32(device: torch.device) -> AbstractContextManager[Any]:
    """No autocast, where the device knows one: a caller in mixed precision gets the numbers that every other gets."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def digest(sae: LoadedSae) -> str:
    """SHA-256 over the weights as float32 on the CPU, so that a file with float16 matrices has one digest too."""
    return store.sha256_tensors({name: getattr(sae, name).cpu().numpy() for name in NAMES})


def load(path: str | Path, device: str = "cpu") -> LoadedSae:
    """Read an SAE folder; its `ref.path` is the path as given.

    Raises:
        InterpError: there is no SAE, it is of another kind, or its weights are not those of its manifest.
    """
    folder, todo = Path(path), "restore it or train again"
    missing = [name for name in (CFG, WEIGHTS, MANIFEST) if not (folder / name).is_file()]
    if missing:
        raise InterpError(f"no SAE at {folder}: {', '.join(missing)} missing; make one with train_sae")
    cfg, record = store.read_json(folder / CFG, todo), store.read_sealed(folder / MANIFEST, todo)
    for name, value in READABLE.items():
        if cfg.get(name) != value:
            raise InterpError(f"the SAE at {folder} has {name} = {cfg.get(name)!r}; only {value!r} can be read")
    fields = record.get("ref")
    fields = {**fields, "path": str(path)} if isinstance(fields, dict) else fields
    ref = store.checked(SaeRef, fields, str(folder / MANIFEST), todo)
    check_ref(ref)
    if record.get("cfg") != store.sha256_record(cfg) or cfg.get("k") != ref.k:
        raise InterpError(f"{folder / CFG}: not the one that {MANIFEST} was written with; {todo}")
    shapes = {
        "W_enc": (ref.d_in, ref.d_sae), "b_enc": (ref.d_sae,), "W_dec": (ref.d_sae, ref.d_in), "b_dec": (ref.d_in,)
    }  # fmt: skip
    stored = tensors.expect(tensors.read(folder / WEIGHTS, todo), shapes, folder / WEIGHTS, todo)
    weights = {name: tensor.float() for name, tensor in stored.items()}
    sae = LoadedSae(**weights, k=ref.k, rescale=cfg.get("rescale_acts_by_decoder_norm", False), ref=ref)
    if digest(sae) != ref.digest:
        raise InterpError(f"the weights at {folder} are not those of its manifest; {todo}")
    return sae.to(device)


def check_ref(ref: SaeRef) -> None:
    """Refuse sizes that no SAE has.

    Raises:
        InterpError: naming them.
    """
    if not (0 < ref.k <= ref.d_sae and ref.d_in > 0 and ref.site.layer >= 0):
        sizes = f"{ref.d_in} → {ref.d_sae}, k {ref.k}, at layer {ref.site.layer}"
        raise InterpError(f"an SAE {ref.path} of {sizes}; there is none of such sizes")


def resolve(ref: SaeRef, device: str | torch.device = "cpu") -> LoadedSae:
    """The SAE of a reference, from memory or from its path (relative ones: below the working folder or the project).

    It moves to a device once, and every later call gets the same tensors.

    Raises:
        InterpError: the folder is gone or now holds another SAE.
    """
    sae = _resolved(ref.digest, find(ref), torch.device(device))
    if replace(sae.ref, path=ref.path) != ref:
        raise InterpError(f"asked for the SAE {ref}, found {sae.ref}; find the neurons again with the SAE of today")
    return replace(sae, ref=ref)


@session.remembers(64)
def _resolved(wanted: str, folder: Path, device: torch.device) -> LoadedSae:
    """Cached by digest: the digest was checked when read, so what is in memory is what was asked for."""
    sae = load(folder).to(device)
    if sae.ref.digest != wanted:
        raise InterpError(
            f"the SAE at {folder} has changed: asked for digest {wanted[:12]}, found {sae.ref.digest[:12]}; "
            "restore the old one or find the neurons again"
        )
    return sae


def find(ref: SaeRef) -> Path:
    """The folder of a reference.

    Raises:
        InterpError: it is neither below the working folder nor below the project.
    """
    places = [Path(ref.path), _PROJECT / ref.path]
    for place in places:
        if (place / WEIGHTS).is_file():
            return place
    raise InterpError(
        f"the SAE {ref.path} is gone (looked in {places[0].absolute()}, {places[1]}); restore or train it"
    )


def check_model(ref: SaeRef, encoder_digest: str) -> None:
    """Refuse an SAE on a model with other text encoders than those whose features it was trained on.

    Raises:
        InterpError: the digests differ.
    """
    check_encoder("SAE was made", ref.path, ref.encoder_digest, encoder_digest, "train_sae")


def check_encoder(what: str, path: str, made_for: str, encoder_digest: str, tool: str) -> None:
    """Refuse what was made for text encoders of another digest; `what` was made, and the tool, are for the error."""
    if made_for != encoder_digest:
        raise InterpError(
            f"this {what} for another model: {path} is for {made_for[:12]}, the model is {encoder_digest[:12]}; "
            f"train one with {tool}"
        )


# -------------------------------------------------------------------------------------------------- measuring, saving


@torch.no_grad()
def measure(sae: LoadedSae, x: Float[Tensor, "token d_in"]) -> dict[str, Any]:
    """Figures of an SAE on tokens it was not trained on.

    explained_variance = 1 − Σ‖x−x̂‖² / Σ‖x−mean‖²; l0 = mean number of latents that fire on a token; dead_fraction =
    share of latents that fire on none of the tokens; density = histogram of log10 of the share of tokens a latent
    fires on, the dead left out.
    """
    center, fired = mean(x), torch.zeros(sae.ref.d_sae, dtype=torch.float64)
    error = total = 0.0
    for chunk in x.split(CHUNK):
        # to main memory before float64, which some devices lack
        z, features = sae.encode(chunk.to(sae.W_enc.device)), chunk.cpu().double()
        error += float((features - sae.decode(z).cpu().double()).pow(2).sum())
        total += float((features - center).pow(2).sum())
        fired += (z > 0).sum(0).cpu()
    edges = [-6 + 0.25 * i for i in range(25)]
    shares = (fired[fired > 0] / len(x)).log10()
    counts = torch.histogram(shares, torch.tensor(edges, dtype=torch.float64)).hist
    return {
        "explained_variance": 1 - error / total if total > 0 else None,
        "l0": float(fired.sum()) / len(x),
        "dead_fraction": float((fired == 0).double().mean()),
        "density": {"log10_edges": edges, "latents": [int(count) for count in counts]},
        "tokens": len(x),
    }


def mean(x: Float[Tensor, "token d_in"]) -> Float[Tensor, " d_in"]:
    """Mean over tokens in float64, a chunk at a time."""
    return sum((chunk.cpu().double().sum(0) for chunk in x.split(CHUNK)), torch.zeros(())).div(len(x))


@torch.no_grad()
def parity(sae: LoadedSae, other: LoadedSae, x: Float[Tensor, "token d_in"]) -> dict[str, float]:
    """How far two versions of one SAE (float32 and rounded) are apart.

    reconstruction = ‖x̂ − x̂'‖ / ‖x̂ − mean x̂‖ over all tokens; latents = share of firing latents that fire in both.
    """
    z, z_other = sae.encode(x.to(sae.W_enc)), other.encode(x.to(sae.W_enc))
    out, out_other = sae.decode(z), other.decode(z_other)
    both = ((z > 0) & (z_other > 0)).sum() / (z > 0).sum().clamp(min=1)
    return {"reconstruction": float((out - out_other).norm() / (out - out.mean(0)).norm()), "latents": float(both)}


def folder_name(site: Site) -> str:
    """`layer_06`; what departs from `Site`'s defaults is appended: `layer_06_z`, `layer_06_z_text_encoder_2`."""
    extra = [part for part in (site.kind, site.encoder) if part not in (Site.kind, Site.encoder)]
    return "_".join([f"layer_{site.layer:02d}", *extra])


def save(sae: LoadedSae, manifest: Mapping[str, Any], *, model_name: str = "", weights: Weights = "float32") -> Path:
    """Write an SAE to `sae.ref.path` in SAE-Lens files, whole or not at all; an SAE already there is replaced.

    Args:
        sae: the SAE; for float16 one that is already `rounded()`, so that what was measured is what is stored.
        manifest: what to put beside the reference into manifest.json.
        model_name: for sae_lens' metadata.
        weights: type of the two matrices on disk; sae_lens reads both as float32.

    Raises:
        InterpError: float16 was asked for and the weights are not rounded, or the folder holds something else than an
            earlier SAE.
    """
    if weights == "float16" and digest(sae.rounded()) != digest(sae):
        raise InterpError(f"asked to store {sae.ref.path} as float16, but its weights are finer; pass sae.rounded()")
    with store.atomic_folder(Path(sae.ref.path), "replace", OWNED) as folder:
        as_sae_lens(sae, model_name).save_model(folder)
        if weights == "float16":
            stored = tensors.read(folder / WEIGHTS, "write it again")
            tensors.write(folder / WEIGHTS, {n: t.half() if t.ndim == 2 else t for n, t in stored.items()})
        ref = {name: value for name, value in asdict(sae.ref).items() if name != "path"}
        cfg = store.sha256_record(store.read_json(folder / CFG, "write it again"))
        store.write_sealed(
            folder / MANIFEST, {"kind": OWNED.kind, "ref": ref, "weights": weights, "cfg": cfg, **manifest}
        )
    return Path(sae.ref.path)


def as_sae_lens(sae: LoadedSae, model_name: str) -> "TopKSAE":
    """The same SAE as sae_lens' module."""
    from sae_lens import TopKSAE, TopKSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(model_name=model_name, hook_name=str(sae.ref.site), encoder_digest=sae.ref.encoder_digest)
    cfg = TopKSAEConfig(
        d_in=sae.ref.d_in, d_sae=sae.ref.d_sae, k=sae.k, rescale_acts_by_decoder_norm=sae.rescale, metadata=metadata,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        made = TopKSAE(cfg)
    made.load_state_dict({name: getattr(sae, name).cpu() for name in NAMES})
    return made
