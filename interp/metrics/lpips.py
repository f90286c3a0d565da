"""LPIPS: how far two images are apart for the activations of a network trained on photographs.

Zhang, Isola, Efros, Shechtman and Wang, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR
2018, Eq. 1, version 0.1 (the linear heads `lin`, mean over positions):

    d(x, y) = Σ_l 1/(H_l·W_l) Σ_hw Σ_c w_lc (x̂_lhwc − ŷ_lhwc)²

x̂_l is the activation of layer l, of unit length over the channels. As no w is negative, d is the squared Euclidean
distance between the vectors of all √(w_lc/(H_l·W_l))·x̂_lhwc: an image is embedded once, however often it is compared.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor, nn

from interp import store, tensors
from interp.benchmarks.images import Picture, digest
from interp.errors import InterpError
from interp.grouping import group
from interp.metrics.base import Direction, Scores
from interp.session import session
from interp.types import Sample

Reference = Callable[[Sample], Picture]
ASSETS = Path(__file__).parents[1] / "assets" / "lpips"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""What an image in [-1, 1] is brought to before the network, by channel."""
SMALLEST = {"alex": 31, "vgg": 16}
"""The smallest side that leaves something to the last layer, in pixels."""
PIXELS = 2**20
"""Pixels in one pass through the network."""
KEPT_BYTES = 2**28
"""Embedded references that a metric keeps; 2,100 of 64×64 pixels with `alex`."""
RULE = "LPIPS 0.1; reference cropped to the picture's shape from its centre, then Lanczos"


class LpipsNet(nn.Module):
    """The convolutions of AlexNet or VGG16 with a head per stage."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str) -> None:
        super().__init__()
        if net not in NETS:
            raise InterpError(f"no LPIPS network {net!r}; known: {', '.join(NETS)}")
        self.net = net
        self.stages = nn.ModuleList(NETS[net]())
        widths = [[m.out_channels for m in s.modules() if isinstance(m, nn.Conv2d)][-1] for s in self.stages]
        self.heads = nn.ParameterList([torch.ones(width) for width in widths])
        for name, value in (("shift", SHIFT), ("scale", SCALE)):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)

    def features(self, x: Float[Tensor, "sample 3 h w"]) -> list[Float[Tensor, "sample _ _ _"]]:
        """The activations of the five stages, of unit length over the channels; 0 where all of a position are 0.

        Raises:
            InterpError: images that are too small for the network.
        """
        height, width = x.shape[2:]
        if min(height, width) < (least := SMALLEST[self.net]):
            raise InterpError(
                f"lpips-{self.net} asked of pictures of {width}×{height} pixels; it needs {least} a side; enlarge them"
            )
        x, activations = (x - self.shift) / self.scale, []
        for stage in self.stages:
            x = stage(x)
            activations.append(x * x.square().sum(1, keepdim=True).clamp(min=1e-20).rsqrt())
        return activations

    def embed(self, x: Float[Tensor, "sample 3 h w"]) -> Float[Tensor, "sample feature"]:
        """Vectors whose squared Euclidean distance is LPIPS; 31,872 long for 64×64 pixels with `alex`."""
        pairs = zip(self.features(x), self.heads, strict=True)
        return torch.cat([(f * (w / f[0, 0].numel()).sqrt()[:, None, None]).flatten(1) for f, w in pairs], 1)

    def forward(self, a: Float[Tensor, "sample 3 h w"], b: Float[Tensor, "sample 3 h w"]) -> Float[Tensor, "sample"]:
        """Distances between images in [-1, 1]."""
        return (self.embed(a) - self.embed(b)).square().sum(1)

    @torch.no_grad()
    def embed_images(self, images: Sequence[Picture]) -> Float[Tensor, "sample feature"]:
        """Embeddings of images of one size, `PIXELS` at a time."""
        values = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        parts = values.split(_at_once(images[0]))
        return torch.cat([self.embed(part.to(self.shift.device).float() / 127.5 - 1) for part in parts])

    @property
    def digest(self) -> str:
        """Of the weights and of how images are brought to one size."""
        weights = {name: value.cpu().numpy() for name, value in self.state_dict().items()}
        return store.sha256_tensors({**weights, "rule": RULE.encode()})


def _alex() -> list[nn.Sequential]:
    """AlexNet (one-column version, as in torchvision) up to its fifth activation."""
    return [
        nn.Sequential(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(inplace=True)),
        nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(inplace=True)),
        nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(inplace=True)),
    ]


def _vgg() -> list[nn.Sequential]:
    """VGG16 up to the last activation of each of its five blocks."""
    stages, before = [], 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        parts: list[nn.Module] = [nn.MaxPool2d(2)] if stages else []
        for _ in range(depth):
            parts += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU(inplace=True)]
            before = width
        stages.append(nn.Sequential(*parts))
    return stages


NETS = {"alex": _alex, "vgg": _vgg}


def weights_path(net: str) -> Path:
    """Where the weights of a network are looked for: `alex` is shipped, `vgg` is made by tools/lpips_weights.py."""
    folder = ASSETS if net == "alex" else store.cache_dir() / "lpips"
    return folder / f"{net}.safetensors"


def load_net(net: str = "alex", weights: Path | None = None, device: str | torch.device = "cpu") -> LpipsNet:
    """A network with the published weights, frozen, in float32.

    `weights` is a file written by tools/lpips_weights.py; None for the one at `weights_path`.

    Raises:
        InterpError: if the file is missing or holds something else.
    """
    made, path = LpipsNet(net), weights or weights_path(net)
    command = f"in a checkout: python tools/lpips_weights.py {net} --out {path.parent}"
    if not path.is_file():
        raise InterpError(f"no weights of lpips-{net} at {path}; this makes them, {command}")
    state = tensors.read_shipped(path, f"make it again, {command}")
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in made.state_dict().items()}:
        raise InterpError(f"{path} does not hold the weights of lpips-{net}; make it again, {command}")
    made.load_state_dict(state)
    nn.utils.convert_conv2d_weight_memory_format(made, torch.channels_last)  # a sixth quicker on CPUs
    return made.eval().requires_grad_(False).to(device)


@session.remembers(4)
def _shipped(device: torch.device) -> LpipsNet:
    return load_net("alex", device=device)


def lpips(a: Float[Tensor, "sample 3 h w"], b: Float[Tensor, "sample 3 h w"]) -> Float[Tensor, "sample"]:
    """Distances by the shipped network between images in [-1, 1], on their device, with gradients."""
    return _shipped(a.device)(a, b)


def _at_once(image: Picture) -> int:
    """How many images of this size go through the network together."""
    height, width, _ = image.shape
    return max(1, PIXELS // (height * width))


def packs(units: Sequence[Sequence[int]], images: Sequence[Picture]) -> Iterator[list[Sequence[int]]]:
    """Units, each of positions of images of one size, put together as long as `PIXELS` holds; none is parted."""
    for same in group(units, lambda unit: images[unit[0]].shape).values():
        room, pack = _at_once(images[same[0][0]]), []
        for unit in same:
            if pack and sum(map(len, pack)) + len(unit) > room:
                yield pack
                pack = []
            pack.append(unit)
        yield pack


def fitted(reference: Picture, size: tuple[int, int]) -> Picture:
    """A reference at a size (height, width): cut to its aspect ratio from the centre, then resized by Lanczos."""
    if reference.shape[:2] == size:
        return reference
    height, width = size
    return np.asarray(ImageOps.fit(Image.fromarray(reference), (width, height), Image.Resampling.LANCZOS))


class Lpips:
    """Distance of an image to the reference image of its sample.

    A reference of another size than the image is brought to the image's by `fitted`. Embedded references are kept up to
    `KEPT_BYTES`, first come first served, so that several arms over the same samples share some of them however many
    there are.
    """

    unit = "distance"
    direction: Direction = "lower"
    grouped = False
    batch = 256

    def __init__(
        self,
        reference: Reference,
        net: str = "alex",
        weights: Path | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """Load a network, as `load_net`; `reference` always gives the same image of a sample."""
        self.name = f"lpips-{net}"
        self.reference = reference
        self.net = load_net(net, weights, device)
        self.digest = self.net.digest
        self._keys: dict[str, str] = {}
        self._kept: dict[tuple[str, tuple[int, int]], Tensor] = {}
        self._kept_bytes = 0

    def key(self, sample: Sample) -> str:
        """Digest of the reference image."""
        if sample.id not in self._keys:
            self._keys[sample.id] = digest(self.reference(sample))
        return self._keys[sample.id]

    @torch.no_grad()
    def measure(self, images: Sequence[Picture], samples: Sequence[Sample]) -> Scores:
        """Distances of images to the references of their samples.

        Raises:
            InterpError: for images that are too small for the network.
        """
        values = np.full(len(samples), np.nan)
        for pack in packs([[i] for i in range(len(images))], images):
            places = [i for unit in pack for i in unit]
            rows = self.net.embed_images([images[i] for i in places])
            references = self._references([samples[i] for i in places], images[places[0]].shape[:2])
            values[places] = (rows - references).square().sum(1).cpu().numpy()
        return Scores(values)

    def _references(self, samples: Sequence[Sample], size: tuple[int, int]) -> Float[Tensor, "sample feature"]:
        """The embedded references of samples at a size (height, width)."""
        rows = {s.id: self._kept[s.id, size] for s in samples if (s.id, size) in self._kept}
        if new := {s.id: s for s in samples if s.id not in rows}:
            embedded = self.net.embed_images([fitted(self.reference(s), size) for s in new.values()])
            for name, row in zip(new, embedded, strict=True):
                if self._kept_bytes + row.nbytes <= KEPT_BYTES:
                    row = self._kept[name, size] = row.clone()  # not the batch that it is a part of
                    self._kept_bytes += row.nbytes
                rows[name] = row
        return torch.stack([rows[s.id] for s in samples])
