"""Which device, dtype and offload a model gets, by its size and what is free, said aloud before anything is loaded."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch

from interp.errors import InterpError

Offload = Literal["none", "model", "sequential"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
OFFLOADS: tuple[Offload, ...] = get_args(Offload)

RESERVE = 0.1
"""Share of the free memory that is left free."""
TOGETHER = 8
"""Images whose decoding at once must fit, or the VAE decodes one after another."""
MOST_AT_ONCE = 64
"""Images drawn together at most."""


@dataclass(frozen=True)
class Placement:
    """Where a model goes."""

    device: str
    """`cpu`, `cuda:0`, `mps`."""
    dtype: torch.dtype
    offload: Offload
    """Weights stay on the device; whole parts, or single layers, move to it while they compute."""
    vae_slicing: bool
    """Whether the VAE decodes a batch one image after another."""
    weights_bytes: int = field(default=0, compare=False)
    """What `choose` counted; 0 if not said."""
    free_bytes: int = field(default=0, compare=False)
    """What `choose` found free on the device; 0 if not said."""
    images_at_once: int = field(default=MOST_AT_ONCE, compare=False)
    """Images drawn together: what fits beside the weights, at most 64."""

    def __str__(self) -> str:
        moved = {
            "none": "",
            "model": ", whole parts moved to the GPU one at a time",
            "sequential": ", single layers moved to the GPU one at a time",
        }[self.offload]
        sizes = f" ({sized(self.weights_bytes)} of weights, {sized(self.free_bytes)} free)" if self.free_bytes else ""
        slices = ", VAE in slices" if self.vae_slicing else ""
        return f"{self.device} in {_name(self.dtype)}{moved}{sizes}{slices}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def sized(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:,.1f} GiB" if count >= 0.1 * 2**30 else f"{count / 2**20:,.1f} MiB"


def choose(
    weights: Mapping[str, int],
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    offload: str | None = None,
    preferred: torch.dtype = torch.float16,
    activation_bytes: int = 0,
    free: Mapping[str, int] | None = None,
) -> Placement:
    """A placement that fits; what is named is kept.

    Nothing named: the GPU if there is one, in `preferred`; there all weights if they fit with the activations and
    `RESERVE`, else whole parts in turn if the largest fits, else single layers in turn. On the CPU float32, or
    bfloat16 where that does not fit. A named dtype or offload is refused only where the weights alone do not fit.

    Args:
        weights: parameters by component.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or that device.
        dtype: a name in `DTYPES`, or that dtype.
        offload: a name in `OFFLOADS`.
        preferred: the family's dtype on a GPU.
        activation_bytes: peak beside the weights.
        free: bytes by `cpu` and `cuda`, in place of what this machine says; without `cuda` there is no GPU.

    Raises:
        InterpError: a device that is not there, a dtype or an offload that is not known, an offload without a GPU;
            weights that do not fit.
    """
    where, named = resolve_device(device, free), named_dtype(dtype)
    if offload is not None and offload not in OFFLOADS:
        raise InterpError(f"offload {offload!r} is not known; known are {', '.join(OFFLOADS)}")
    if where.type == "cuda":
        dtypes, offloads, exact = (named or preferred,), (offload,) if offload else OFFLOADS, offload is not None
    elif offload in (None, "none"):
        usual = (preferred,) if where.type == "mps" else (torch.float32, torch.bfloat16)
        dtypes, offloads, exact = (named,) if named else usual, ("none",), named is not None
    else:
        raise InterpError(f"offload {offload!r} on {where}: there is no GPU memory to spare there; leave it out")
    for precision, option in product(dtypes, offloads):
        placement = _fitted(weights, where, precision, cast(Offload, option), exact, activation_bytes, free)
        if placement is not None:
            return placement
    raise _too_large(where, sum(weights.values()) * dtypes[-1].itemsize, dtypes[-1], activation_bytes, free)


def _fitted(
    weights: Mapping[str, int],
    where: torch.device,
    dtype: torch.dtype,
    offload: Offload,
    exact: bool,
    activations: int,
    free: Mapping[str, int] | None,
) -> Placement | None:
    """One placement, or None if it does not fit; `exact`: the weights alone have to."""
    room = _free(str(where), free)
    sizes = [count * dtype.itemsize for count in weights.values()]
    held = {"none": sum(sizes), "model": max(sizes, default=0), "sequential": 0}[offload]
    if offload != "none" and sum(sizes) > (1 - RESERVE) * _free("cpu", free):
        return None
    if held > room if exact else held + activations > (1 - RESERVE) * room:
        return None
    at_once = MOST_AT_ONCE
    if activations:
        at_once = min(max(int(((1 - RESERVE) * room - held) // activations), 1), MOST_AT_ONCE)
    slicing = sum(sizes) + TOGETHER * activations > (1 - RESERVE) * room
    return Placement(str(where), dtype, offload, slicing, sum(sizes), room, at_once)


def _too_large(
    where: torch.device, size: int, dtype: torch.dtype, activations: int, free: Mapping[str, int] | None
) -> InterpError:
    there = f"{sized(_free('cpu', free))}"
    if where.type == "cuda":
        there = f"{sized(_free(str(where), free))} on {where} and {there} in main memory"
    return InterpError(
        f"{where} in {_name(dtype)}: {sized(size)} of weights and about {sized(activations)} beside them are needed, "
        f"{there} free; free memory, make smaller images, or name another device, dtype or offload"
    )


def named_dtype(named: str | torch.dtype | None) -> torch.dtype | None:
    """The precision of a name; None for none.

    Raises:
        InterpError: it is not known.
    """
    if named is None or named in DTYPES.values():
        return cast(torch.dtype | None, named)
    if named not in DTYPES:
        raise InterpError(f"dtype {str(named)!r} is not known; known are {', '.join(DTYPES)}")
    return DTYPES[cast(str, named)]


def resolve_device(named: str | torch.device | None, free: Mapping[str, int] | None = None) -> torch.device:
    """The device that is meant, with its index where it is a GPU, so that it has one name.

    Args:
        named: as `device` of `choose`; None for the GPU if there is one, else the CPU.
        free: as of `choose`.

    Raises:
        InterpError: a device that is not known, or is not there.
    """
    count = torch.cuda.device_count() if free is None else int("cuda" in free)
    if named is None:
        return torch.device("cuda", _current(free)) if count else torch.device("cpu")
    named = str(named)
    kind, _, index = named.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdecimal())):
        raise InterpError(f"device {named!r} is not known; known are cpu, cuda, cuda:<number> and mps")
    if kind == "cuda":
        number = int(index) if index else _current(free) if count else 0
        if number >= count:
            raise InterpError(f"device {named!r}: torch sees {count} GPUs; name one below {count}, or cpu")
        return torch.device("cuda", number)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InterpError("device 'mps': torch sees none here; name cpu, or leave the device out")
    return torch.device(kind)


def _current(free: Mapping[str, int] | None) -> int:
    return torch.cuda.current_device() if free is None else 0


def _free(device: str, free: Mapping[str, int] | None) -> int:
    """Bytes free on a device, for mps in main memory: what `free` says, else the driver or the kernel."""
    kind = "cuda" if device.startswith("cuda") else "cpu"
    if free is not None and kind in free:
        return free[kind]
    if kind == "cuda":
        # what torch holds of freed tensors is free, too
        spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + spare
    return _main_memory()


def _main_memory(path: Path = Path("/proc/meminfo")) -> int:
    """Main memory available; all of it where the system does not say what is in use."""
    if not path.is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def apply(pipeline: Any, placement: Placement) -> None:
    """Put a diffusers pipeline, on the CPU and loaded in the placement's dtype, where it goes."""
    if placement.offload == "model":
        pipeline.enable_model_cpu_offload(device=placement.device)
        pipeline.maybe_free_model_hooks = partial(_rest, pipeline)
    elif placement.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=placement.device)
    else:
        pipeline.to(placement.device)
    if placement.vae_slicing:
        pipeline.vae.enable_slicing()


def _rest(pipeline: Any) -> None:
    """Every part back to main memory after an image; diffusers would also hook them anew.

    A text encoder that is hooked anew no longer gives its output to a trace: edits would work until the first image.
    """
    for hook in pipeline._all_hooks:
        hook.offload()
