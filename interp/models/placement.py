"""Which device, dtype and offload a model gets, by its size and what is free, said aloud before anything is loaded."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch

from interp.errors import InterpError

Offload = Literal["none", "model", "sequential"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
OFFLOADS = ("none", "model", "sequential")

RESERVE = 0.1
"""Share of the free memory that is left free."""
TOGETHER = 8
"""Images whose decoding at once must fit, or the VAE decodes one after another."""
MOST_AT_ONCE = 64
"""Pictures drawn together at most."""


@dataclass(frozen=True)
class Placement:
    """Where a model goes."""

    device: str
    """`cpu`, `cuda:0`, `mps`."""
    dtype: torch.dtype
    offload: Offload
    """Weights stay on the device; whole parts, or single layers, move to it while they compute."""
    vae_slicing: bool
    """Whether the VAE decodes a batch one picture after another."""
    weights_bytes: int = field(default=0, compare=False)
    """What `choose` counted; 0 if not said."""
    free_bytes: int = field(default=0, compare=False)
    """What `choose` found free on the device; 0 if not said."""
    images_at_once: int = field(default=MOST_AT_ONCE, compare=False)
    """Pictures drawn together: what fits beside the weights, at most 64."""

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
    where, kept = resolve_device(device, free), named_dtype(dtype)
    if offload is not None and offload not in OFFLOADS:
        raise InterpError(f"offload {offload!r} is not known; known are {', '.join(OFFLOADS)}")
    if where.type == "cuda":
        named = cast(Offload | None, offload)
        return _on_gpu(weights, where, kept or preferred, named, activation_bytes, free)
    if offload not in (None, "none"):
        raise InterpError(f"offload {offload!r} on {where}: there is no GPU memory to spare there; leave it out")
    free_bytes, total = _free("cpu", free), sum(weights.values())
    usual = (preferred,) if where.type == "mps" else (torch.float32, torch.bfloat16)
    for option in (kept,) if kept else usual:
        size = total * option.itemsize
        if size <= free_bytes if kept else size + activation_bytes <= (1 - RESERVE) * free_bytes:
            slicing = size + TOGETHER * activation_bytes > (1 - RESERVE) * free_bytes
            together = _together(free_bytes, size, activation_bytes)
            return Placement(str(where), option, "none", slicing, size, free_bytes, together)
    raise _too_large(where, total * (kept or usual[-1]).itemsize, kept or usual[-1], activation_bytes, {"": free_bytes})


def _on_gpu(
    weights: Mapping[str, int],
    where: torch.device,
    dtype: torch.dtype,
    named: Offload | None,
    activations: int,
    free: Mapping[str, int] | None,
) -> Placement:
    gpu, main = _free(str(where), free), _free("cpu", free)
    total = sum(weights.values()) * dtype.itemsize
    largest = max(weights.values(), default=0) * dtype.itemsize
    held: dict[Offload, int] = {"none": total, "model": largest, "sequential": 0}
    for option in (named,) if named else held:
        if option != "none" and total > (1 - RESERVE) * main:
            continue
        if held[option] <= gpu if named else held[option] + activations <= (1 - RESERVE) * gpu:
            tight = total + TOGETHER * activations > (1 - RESERVE) * gpu
            together = _together(gpu, held[option], activations)
            return Placement(str(where), dtype, option, tight, total, gpu, together)
    raise _too_large(where, total, dtype, activations, {f" on {where}": gpu, " in main memory": main})


def _together(free: int, held: int, activations: int) -> int:
    """How many pictures fit beside the weights that a device holds."""
    if activations == 0:
        return MOST_AT_ONCE
    return min(max(int(((1 - RESERVE) * free - held) // activations), 1), MOST_AT_ONCE)


def _too_large(
    where: torch.device, size: int, dtype: torch.dtype, activations: int, free: Mapping[str, int]
) -> InterpError:
    there = " and ".join(f"{sized(count)}{place}" for place, count in free.items())
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
        named: as of `choose`, or that device; None for the GPU if there is one, else the CPU.
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
    """Bytes free on a device: what was given, else what the driver or the kernel says."""
    kind = device.partition(":")[0]
    if free is not None and kind in free:
        return free[kind]
    if kind == "cuda":
        place = torch.device(device)
        # what torch holds of freed tensors is free, too
        spare = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
        return torch.cuda.mem_get_info(place)[0] + spare
    return _main_memory()


def _main_memory(path: Path = Path("/proc/meminfo")) -> int:
    """Main memory available; all of it where the system does not say what is in use."""
    if not path.is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def apply(pipeline: Any, placement: Placement) -> None:
    """Put a pipeline that was loaded in the placement's dtype where it goes.

    Args:
        pipeline: of diffusers, on the CPU.
        placement: as chosen.
    """
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
    """Every part back to main memory after a picture; diffusers would also hook them anew.

    A text encoder that is hooked anew no longer gives its output to a trace: edits would work until the first picture.
    """
    for hook in pipeline._all_hooks:
        hook.offload()
