"""Refuse a published folder that is not whole and unchanged: checksums, manifest, golden vectors."""

from pathlib import Path
from typing import Any

from interp import store
from interp.errors import InterpError
from interp.hub.golden import check_golden
from interp.hub.manifest import FORMAT, ROOT, VERSION, Kind, Part, Published
from interp.interventions import enhancer
from interp.latents import neurons, sae
from interp.models.files import read_json
from interp.store import MANIFEST
from interp.store.digests import SUMS

_HUBS_OWN = (".gitattributes", ".cache")
"""What the hub and its client put beside the files."""


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
    sums, manifest = read_root(root)
    parts = chosen(manifest, layer, str(root))
    _check_files(root, sums, [*ROOT, *belonging(sums, parts)])
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in sums and name != SUMS and name.split("/")[0] not in _HUBS_OWN:
            raise InterpError(f"{path}: not listed in {SUMS}; remove it, or load the folder anew")
    for part in parts:
        _check_part(root, part, manifest)
    return manifest


def read_root(root: Path) -> tuple[dict[str, str], Published]:
    """The checksums and the manifest, which fit each other."""
    if not (root / SUMS).is_file():
        raise InterpError(f"{root / SUMS}: no such file, so this is not published; publish it with interp.publish")
    sums = store.read_sums(root / SUMS, "load the folder anew")
    _check_files(root, sums, ROOT)
    record = read_json(root / MANIFEST, "load the folder anew")
    if (record.get("format"), record.get("version")) != (FORMAT, VERSION):
        found = f"format {record.get('format')!r}, version {record.get('version')!r}"
        raise InterpError(f"{root / MANIFEST}: {found}; only {FORMAT!r}, version {VERSION}, can be read: update interp")
    manifest = store.checked(Published, record, str(root / MANIFEST), "publish it again")
    for name in sorted(manifest.files.keys() | sums.keys() - set(ROOT)):
        if manifest.files.get(name) != sums.get(name):
            raise InterpError(f"{root}: {SUMS} and {MANIFEST} disagree about {name}; load the folder anew")
    return sums, manifest


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


def chosen(manifest: Published, layer: int | None, name: str) -> list[Part]:
    """The parts of one layer, or all.

    Raises:
        InterpError: there is none; `name` says where.
    """
    parts = [part for part in manifest.parts if layer in (None, part.site.layer)]
    if not parts:
        known = ", ".join(sorted({str(part.site.layer) for part in manifest.parts}, key=int))
        raise InterpError(f"{name}: nothing published for layer {layer}; it has {known or 'no layers'}")
    return parts


def belonging(sums: dict[str, str], parts: list[Part]) -> list[str]:
    """The files of parts, in order."""
    return sorted(name for part in parts for name in sums if name.startswith(f"{part.folder}/"))


def _check_part(root: Path, part: Part, manifest: Published) -> None:
    """Refuse a part that cannot be read, is another one than the manifest says, or behaves otherwise."""
    found: Any = _read_part(root / part.folder, part.kind)
    if (found.digest, found.site, found.encoder_digest) != (part.digest, part.site.site(), part.encoder_digest):
        raise InterpError(f"{root / part.folder}: holds another {part.kind} than {MANIFEST} says; load it anew")
    if part.kind != "neurons":
        check_golden(root, part)
    elif found.path not in [p.folder for p in manifest.parts if p.kind == "sae"]:
        raise InterpError(f"{root / part.folder}: its SAE {found.path!r} is not among the parts; publish it again")


def _read_part(folder: Path, kind: Kind) -> Any:
    """The reference of what lies in a folder; of neurons, their SAE's."""
    if kind == "sae":
        return sae.load(folder).ref
    return enhancer.read(folder) if kind == "enhancer" else neurons.load(folder).sae
