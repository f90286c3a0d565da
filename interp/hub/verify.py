"""Refuse a published folder that is not whole and unchanged: checksums, manifest, golden vectors."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from interp import store
from interp.errors import InterpError
from interp.hub.golden import check_golden
from interp.hub.manifest import FORMAT, ROOT, VERSION, Part, Published
from interp.interventions import enhancer
from interp.latents import neurons, sae
from interp.store import MANIFEST, SUMS

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
    parts = parts_at(manifest, layer, str(root))
    _check_files(root, sums, files_of(parts, sums))
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in sums and name != SUMS and name.split("/")[0] not in _HUBS_OWN:
            raise InterpError(f"{path}: not listed in {SUMS}; remove it, or load the folder anew")
    for part in parts:
        _check_part(root, part, manifest)
    return manifest


def read_root(root: Path) -> tuple[dict[str, str], Published]:
    """The checksums by path and the manifest, which fit each other.

    Raises:
        InterpError: one is missing, damaged, of another format, or they disagree.
    """
    if not (root / SUMS).is_file():
        raise InterpError(f"{root / SUMS}: no such file, so this is not published; publish it with interp.publish")
    sums = store.read_sums(root / SUMS, "load the folder anew")
    _check_files(root, sums, [name for name in ROOT if name != SUMS])
    record = store.read_json(root / MANIFEST, "load the folder anew")
    if (record.get("format"), record.get("version")) != (FORMAT, VERSION):
        kind = f"format {record.get('format')!r}, version {record.get('version')!r}"
        raise InterpError(f"{root / MANIFEST}: {kind}; only {FORMAT!r}, version {VERSION}, can be read: update interp")
    manifest = store.checked(Published, record, str(root / MANIFEST), "publish it again")
    for name in sorted(manifest.files.keys() | sums.keys() - set(ROOT)):
        if manifest.files.get(name) != sums.get(name):
            raise InterpError(f"{root}: {SUMS} and {MANIFEST} disagree about {name}; load the folder anew")
    return sums, manifest


def _check_files(root: Path, sums: Mapping[str, str], names: Iterable[str]) -> None:
    for name in names:
        if name not in sums:
            raise InterpError(f"{root / SUMS}: does not list {name}; load the folder anew")
        if not (root / name).is_file():
            raise InterpError(f"{root / name}: missing, though {SUMS} lists it; load the folder anew")
        if (digest := store.sha256_file(root / name)) != sums[name]:
            raise InterpError(
                f"{root / name}: its SHA-256 is {digest}, {SUMS} says {sums[name]}; remove the folder and load it anew"
            )


def parts_at(manifest: Published, layer: int | None, where: str) -> list[Part]:
    """The parts of one layer, or all.

    Raises:
        InterpError: there is none; `where` says of which folder or repository.
    """
    parts = [part for part in manifest.parts if layer in (None, part.site.layer)]
    if not parts:
        known = ", ".join(map(str, sorted({part.site.layer for part in manifest.parts})))
        raise InterpError(f"{where}: nothing published for layer {layer}; it has {known or 'no layers'}")
    return parts


def files_of(parts: Sequence[Part], sums: Iterable[str]) -> list[str]:
    """The files of parts, in order, among those that have a checksum."""
    return sorted(name for part in parts for name in sums if name.startswith(f"{part.folder}/"))


def _check_part(root: Path, part: Part, manifest: Published) -> None:
    """Refuse a part that cannot be read, is another one than the manifest says, or behaves otherwise."""
    folder = root / part.folder
    if part.kind == "enhancer":
        ref = enhancer.read(folder)
    else:
        ref = sae.load(folder).ref if part.kind == "sae" else neurons.load(folder).sae
    if (ref.digest, ref.site, ref.encoder_digest) != (part.digest, part.site, part.encoder_digest):
        raise InterpError(f"{folder}: holds another {part.kind} than {MANIFEST} says; load it anew")
    if part.kind != "neurons":
        check_golden(root, part)
    elif ref.path not in [p.folder for p in manifest.parts if p.kind == "sae"]:
        raise InterpError(f"{folder}: its SAE {ref.path!r} is not among the parts; publish it again")
