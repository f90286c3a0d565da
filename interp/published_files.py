"""Published folders: read them, from disk or from a model hub, and refuse what is not what was published.

At the root lie manifest.json, README.md (the card) and SHA256SUMS; each part (an SAE, an enhancer, neurons) is a folder
below, with golden.safetensors beside an SAE's or an enhancer's weights: inputs and what came out when it was published.
Checksums find a file that changed on its way; golden vectors find code or a machine that reads the same file otherwise.
Not for writing them: `publish` does that.
"""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from interp import enhancer, neurons, sae, store
from interp.enhancer import EnhancerRef
from interp.errors import InterpError
from interp.models.folder import HUB_ID, read_json
from interp.store import MANIFEST, Settings
from interp.types import Neurons, Site, SiteKind

Kind = Literal["sae", "neurons", "enhancer"]
FORMAT, VERSION = "interp-published", 1
SUMS, CARD, GOLDEN = "SHA256SUMS", "README.md", "golden.safetensors"
ROOT = (MANIFEST, CARD, SUMS)
NEURONS = "neurons"
"""Folder of the neurons; the SAE that they are latents of lies beside it."""
SEED, INPUTS, CANDIDATES = 0, 8, 256
"""Of the golden inputs: those that are kept, of those that are drawn."""
TOLERANCE = 1e-4
"""Largest difference to a golden vector, as a share of its largest value: sums in another order stay below 1e-5."""
_LINE = re.compile(r"([0-9a-f]{64})  ([\w.-]+(?:/[\w.-]+)*)")
_HUBS_OWN = (".gitattributes", ".cache")
"""What the hub and its client put beside the files."""
_STRICT = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Where(BaseModel):
    """A `Site` as JSON."""

    model_config = _STRICT

    layer: int
    kind: SiteKind
    encoder: str

    def site(self) -> Site:
        """As the toolkit's record."""
        return Site(self.layer, self.kind, self.encoder)


class Part(BaseModel):
    """One thing that was published."""

    model_config = _STRICT

    folder: str = Field(pattern=r"^\w[\w-]*$")
    """Right below the root."""
    kind: Kind
    site: Where
    model_digest: str
    """SHA-256 over the text encoders' weights that it was made for."""
    digest: str | None
    """SHA-256 over the weights, as its reference gives it; of neurons, the digest of their SAE."""
    benchmark_digest: str | None
    """Of the prompts that it was made from; None where that was not recorded."""
    made: AwareDatetime | None
    """When its training began; None where that was not recorded."""
    details: Settings
    """Sizes, settings and measured figures, by kind."""


class Published(BaseModel):
    """manifest.json at the root of a published folder. The card says nothing that is not in it."""

    model_config = _STRICT

    format: Literal["interp-published"] = FORMAT
    version: Literal[1] = VERSION
    kind: Kind
    repo: str
    licence: str
    """SPDX identifier."""
    model: str | None
    """Name of the model that it was made for."""
    versions: dict[str, str]
    """Of Python and the packages that published it."""
    golden: Settings
    """Seed and number of the golden inputs, and the tolerance."""
    parts: tuple[Part, ...]
    files: dict[str, str]
    """SHA-256 of each part's files, by path."""


# ---------------------------------------------------------------------------------------------------- golden vectors


@torch.no_grad()
def golden_sae(value: sae.LoadedSae) -> dict[str, Tensor]:
    """Inputs, their Top-K codes and what is decoded from them.

    The inputs are b_dec + s·n: b_dec is about the median of the features, s its root mean square (1 where b_dec is 0),
    n normal. Of those drawn, the ones are kept whose k-th code stands farthest above the next, so that rounding does
    not decide which latents fire.
    """
    scale = float(value.b_dec.square().mean().sqrt()) or 1.0
    draw = torch.Generator().manual_seed(SEED)
    x = value.b_dec + scale * torch.randn(CANDIDATES, value.ref.d_in, generator=draw)
    codes = value.encode(x, "relu").sort(dim=-1, descending=True).values
    following = codes[:, value.k] if value.k < value.ref.d_sae else 0.0
    margin = (codes[:, value.k - 1] - following) / codes[:, 0].clamp(min=1e-12)
    inputs = x[margin.topk(INPUTS).indices].contiguous()
    return {"inputs": inputs} | _through_sae(value, inputs)


def _through_sae(value: sae.LoadedSae, inputs: Float[Tensor, "token d_in"]) -> dict[str, Tensor]:
    codes = value.encode(inputs)
    return {"codes": codes.float(), "outputs": value.decode(codes).float()}


@torch.no_grad()
def golden_enhancer(ref: EnhancerRef) -> dict[str, Tensor]:
    """Normal inputs h and h̃."""
    inputs = torch.randn(INPUTS, ref.d_model, generator=torch.Generator().manual_seed(SEED))
    return {"inputs": inputs, "outputs": enhancer.resolve(ref)(inputs).float()}


@torch.no_grad()
def _check_golden(folder: Path, part: Part) -> None:
    """Refuse a part that does not do what it did when it was published."""
    path = folder / part.folder / GOLDEN
    stored = load_file(path)
    if part.kind == "sae":
        found = _through_sae(sae.load(folder / part.folder), stored["inputs"])
    else:
        found = {"outputs": enhancer.resolve(enhancer.read(folder / part.folder))(stored["inputs"])}
    for name, values in found.items():
        compare(path, name, stored[name], values, part.kind)


def compare(path: Path, name: str, stored: Tensor, found: Tensor, what: str) -> None:
    """Refuse what is farther from the golden vectors than `TOLERANCE`.

    Raises:
        InterpError: naming the file.
    """
    if stored.shape != found.shape:
        raise InterpError(f"{path}: {name} of shape {list(stored.shape)}, found {list(found.shape)}; publish it again")
    allowed, far = TOLERANCE * float(stored.abs().max()), float((found - stored).abs().max())
    if not far <= allowed:
        raise InterpError(
            f"{path}: the {name} ({what}) differ by up to {far:.3g} from those that were published, {allowed:.3g} is "
            "allowed; load it anew, or publish it again from its source"
        )


# ------------------------------------------------------------------------------------------------------------ checks


def verify(folder: str | Path, layer: int | None = None) -> Published:
    """Refuse a published folder that is not whole and unchanged.

    Args:
        folder: the root.
        layer: check only what belongs to this layer, and ask for no other; all layers if None.

    Returns:
        Its manifest.

    Raises:
        InterpError: naming the file: one is missing, changed or not listed, the format's version is unknown, or what
            comes out differs from a golden vector by more than `TOLERANCE` of its largest value.
    """
    root = Path(folder)
    sums, manifest = _read_root(root)
    parts = _chosen(manifest, layer, str(root))
    _check_files(root, sums, [*ROOT, *_belonging(sums, parts)])
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in sums and name != SUMS and name.split("/")[0] not in _HUBS_OWN:
            raise InterpError(f"{path}: not listed in {SUMS}; remove it, or load the folder anew")
    for part in parts:
        _check_part(root, part, manifest)
    return manifest


def _read_root(root: Path) -> tuple[dict[str, str], Published]:
    """The checksums and the manifest, which fit each other."""
    sums = _read_sums(root / SUMS)
    _check_files(root, sums, ROOT)
    record = read_json(root / MANIFEST, "load the folder anew")
    if (record.get("format"), record.get("version")) != (FORMAT, VERSION):
        found = f"format {record.get('format')!r}, version {record.get('version')!r}"
        raise InterpError(f"{root / MANIFEST}: {found}; only {FORMAT!r}, version {VERSION}, can be read: update interp")
    try:
        manifest = Published.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InterpError(f"{root / MANIFEST}: {where}: {first['msg']}; publish it again") from error
    for name in sorted(manifest.files.keys() | sums.keys() - set(ROOT)):
        if manifest.files.get(name) != sums.get(name):
            raise InterpError(f"{root}: {SUMS} and {MANIFEST} disagree about {name}; load the folder anew")
    return sums, manifest


def _read_sums(path: Path) -> dict[str, str]:
    """Digest by path, as `sha256sum` writes it; a path may not lead out of the folder."""
    if not path.is_file():
        raise InterpError(f"{path}: no such file, so this is no published folder; publish it with interp.publish")
    sums: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None or set(PurePosixPath(match[2]).parts) & {"..", "."} or match[2] in sums:
            raise InterpError(f"{path}: {line[:80]!r} is no line of checksums; load the folder anew")
        sums[match[2]] = match[1]
    return sums


def _check_files(root: Path, sums: dict[str, str], names: list[str] | tuple[str, ...]) -> None:
    for name in (n for n in names if n != SUMS):
        if name not in sums:
            raise InterpError(f"{root / SUMS}: does not list {name}; load the folder anew")
        if not (root / name).is_file():
            raise InterpError(f"{root / name}: missing, though {SUMS} lists it; load the folder anew")
        if (found := store.sha256_file(root / name)) != sums[name]:
            raise InterpError(
                f"{root / name}: its SHA-256 is {found}, {SUMS} says {sums[name]}; remove the folder and load it anew"
            )


def _chosen(manifest: Published, layer: int | None, name: str) -> list[Part]:
    parts = [part for part in manifest.parts if layer in (None, part.site.layer)]
    if not parts:
        known = ", ".join(sorted({str(part.site.layer) for part in manifest.parts}, key=int))
        raise InterpError(f"{name}: nothing published for layer {layer}; it has {known or 'no layers'}")
    return parts


def _belonging(sums: dict[str, str], parts: list[Part]) -> list[str]:
    """The files of parts, in order."""
    return sorted(name for part in parts for name in sums if name.startswith(f"{part.folder}/"))


def _check_part(root: Path, part: Part, manifest: Published) -> None:
    """Refuse a part that cannot be read, is another one than the manifest says, or behaves otherwise."""
    try:
        found: Any = _read_part(root / part.folder, part.kind)
        if (found.digest, found.site, found.model_digest) != (part.digest, part.site.site(), part.model_digest):
            raise InterpError(f"{root / part.folder}: holds another {part.kind} than {MANIFEST} says; load it anew")
        if part.kind != "neurons":
            _check_golden(root, part)
        elif found.path not in [p.folder for p in manifest.parts if p.kind == "sae"]:
            raise InterpError(f"{root / part.folder}: its SAE {found.path!r} is not among the parts; publish it again")
    except InterpError:
        raise
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InterpError(f"{root / part.folder}: cannot be read as {part.kind} ({what}); publish it again") from error


def _read_part(folder: Path, kind: Kind) -> Any:
    """The reference of what lies in a folder; of neurons, their SAE's."""
    if kind == "sae":
        return sae.load(folder).ref
    return enhancer.read(folder) if kind == "enhancer" else neurons.load(folder).sae


# ----------------------------------------------------------------------------------------------------------- loading


def fetch(repo: str, layer: int | None = None, revision: str | None = None) -> Path:
    """A repository of the hub in the hub's cache, verified; only the files of one layer if one is named.

    Args:
        repo: `org/name`.
        layer: all layers if None.
        revision: a commit, tag or branch; the main branch if None.

    Raises:
        InterpError: no such repository or no access to it, the hub cannot be asked, or `verify` refuses it.
    """
    if HUB_ID.fullmatch(repo) is None:
        raise InterpError(f"{repo}: neither a folder nor a hub id like org/name; give one of the two")
    root = _download(repo, list(ROOT), revision)
    sums, manifest = _read_root(root)
    wanted = [*ROOT, *_belonging(sums, _chosen(manifest, layer, repo))]
    # the snapshot is named by its commit: a newer one that comes between the two calls is not mixed in
    folder = _download(repo, wanted, root.name)
    verify(folder, layer)
    return folder


def _download(repo: str, names: list[str], revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return Path(huggingface_hub.snapshot_download(repo, allow_patterns=names, revision=revision))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InterpError(
            f"{repo}: no such folder, and the hub has no such repository, or shows it only to others; mind the "
            "spelling, log in with `hf auth login` if it is private or gated, or give a folder"
        ) from error
    except (OfflineModeIsEnabled, HTTPError, LocalEntryNotFoundError) as error:
        why = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        raise InterpError(
            f"{repo}: no such folder, and the hub gave no files ({why}); connect, mind the revision, or give a folder"
        ) from error


def find(source: str | Path, layer: int | None = None, revision: str | None = None) -> Path:
    """A published folder, verified: a local one if there is one of that name, else fetched from the hub."""
    if not Path(source).is_dir():
        return fetch(str(source), layer, revision)
    verify(source, layer)
    return Path(source)


def load_sae(
    source: str | Path,
    layer: int | None = None,
    site: SiteKind = "resid",
    encoder: str = "text_encoder",
    revision: str | None = None,
) -> sae.LoadedSae:
    """A published SAE, verified.

    Args:
        source: a published folder, or `org/name` on the hub.
        layer: may be left out where there is one SAE only.
        site: `resid` or `z`.
        encoder: which text encoder.
        revision: of the repository on the hub.

    Raises:
        InterpError: there is none, or `verify` refuses it.
    """
    root = find(source, layer, revision)
    parts = [p for p in _read_root(root)[1].parts if p.kind == "sae"]
    if layer is not None:
        parts = [p for p in parts if p.site.site() == Site(layer, site, encoder)]
    if len(parts) != 1:
        asked = "an SAE without layer=" if layer is None else f"the SAE at {Site(layer, site, encoder)}"
        there = ", ".join(str(p.site.site()) for p in _read_root(root)[1].parts if p.kind == "sae") or "none"
        raise InterpError(f"{source}: asked for {asked}; published there: {there}")
    return sae.load(root / parts[0].folder)


def load_neurons(source: str | Path, revision: str | None = None) -> Neurons:
    """Published neurons with the SAE that was published beside them, verified.

    Raises:
        InterpError: there are none, or `verify` refuses them.
    """
    root = find(source, None, revision)
    _only(root, "neurons", source)
    value = neurons.load(root / NEURONS)
    return moved(value, str(root / value.sae.path))


def moved(value: Neurons, path: str) -> Neurons:
    """The same neurons with their SAE at another path."""
    sets = {name: replace(chosen, sae=replace(chosen.sae, path=path)) for name, chosen in value.sets.items()}
    return replace(value, sets=sets, sae=replace(value.sae, path=path))


def load_enhancer(source: str | Path, revision: str | None = None) -> EnhancerRef:
    """A published enhancer, verified; for `interp.Enhance`.

    Raises:
        InterpError: there is none, or `verify` refuses it.
    """
    root = find(source, None, revision)
    return enhancer.read(root / _only(root, "enhancer", source).folder)


def _only(root: Path, kind: Kind, source: str | Path) -> Part:
    manifest = _read_root(root)[1]
    parts = [part for part in manifest.parts if part.kind == kind]
    if len(parts) != 1:
        raise InterpError(f"{source}: asked for one of kind {kind!r}, but what was published there is {manifest.kind}")
    return parts[0]
