"""A GPU that is not there: tensors on `cuda:0` whose numbers lie in main memory, so that device bugs show anywhere.

    with pretend_gpu.there():
        model = interp.load(folder, device="cuda")   # computes on the CPU, says `cuda:0` everywhere

Operations run on the CPU tensor inside. Where a tensor of the CPU with dimensions meets one of the GPU, where numpy
reads the GPU, where a generator of the CPU draws there, and where an operation has no CUDA kernel, `RuntimeError` or
`TypeError` is raised as a real GPU raises it. Not for speed, memory, streams or half-precision arithmetic.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")
MEMORY = 8 * 2**30
aten = torch.ops.aten

CROSSING = {aten._to_copy.default, aten.copy_.default}
"""These move numbers between devices."""
INDEXED = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._unsafe_index.Tensor,
    aten._index_put_impl_.default,
}
"""These take indices of the CPU for a tensor of the GPU."""
NO_KERNEL = {aten.histogram.bins_tensor, aten.histogram.bin_ct}
"""CUDA has none of these."""
READ = {torch.Tensor.numpy, torch.Tensor.__array__}
NUMBERS = {getattr(torch.Tensor, f"__{name}__") for name in ("index", "int", "float", "bool", "complex")}
NUMBERS |= {torch.Tensor.item, torch.Tensor.tolist}
"""These wait for the GPU and give numbers of Python."""


class OnGpu(torch.Tensor):
    """A tensor that says `cuda:0`; `inside` holds its numbers."""

    inside: torch.Tensor

    @staticmethod
    def __new__(cls, inside: torch.Tensor, requires_grad: bool = False) -> torch.Tensor:
        if inside.device.type == "meta":  # accelerate makes parameters of the class that was there before
            return torch.nn.Parameter(inside, requires_grad)
        inside = inside.inside if isinstance(inside, OnGpu) else inside
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inside.shape,
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            layout=inside.layout,
            device=CPU,
            requires_grad=requires_grad,
        )
        made.inside = inside
        return made

    def __repr__(self) -> str:
        return f"OnGpu({self.inside!r})"

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_cpu(self) -> bool:
        return False

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _called(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A function of Python, before it becomes operations: what C++ would do with the numbers themselves."""
    first = args[0] if args else None
    if func in (torch.Tensor.to, torch.Tensor.type_as):
        return _to(*args, **kwargs)
    if func is torch.Tensor.cuda:
        return _to(first, GPU)
    if func in (torch.tensor, torch.as_tensor):
        return _made(func, args, kwargs)
    if func == torch.Tensor.data.__set__:  # a new object at each look
        return _replaced(func, *args)
    if isinstance(first, OnGpu):
        if func in READ:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        if func in NUMBERS:
            return func(first.inside)
        if func is torch.Tensor.cpu:
            return _to(first, CPU)
        if _is(kwargs.get("device"), "cpu"):  # `zeros_like(x, device="cpu")` and its kin
            return func(first.inside, *args[1:], **kwargs)
    if func is not torch.device:
        args, kwargs = [_indexed(x) for x in args], {n: _indexed(x) for n, x in kwargs.items()}
    with torch._C.DisableTorchFunctionSubclass():
        return func(*args, **kwargs)


def _replaced(func: Any, tensor: torch.Tensor, value: torch.Tensor) -> None:
    """`tensor.data = value`."""
    if isinstance(tensor, OnGpu) != isinstance(value, OnGpu):
        raise RuntimeError(f"data of {tensor.device} set to some of {value.device}: not on the same device")
    if not isinstance(tensor, OnGpu):
        return func(tensor, value)
    tensor.inside = value.inside
    return None


def _made(func: Any, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
    """`torch.tensor` and `torch.as_tensor`, which write numbers into memory."""
    device = kwargs.get("device")
    there = _is(device, "cuda") or (device is None and isinstance(args[0], OnGpu))
    made = func(*_each(tuple(args), _inside), **(kwargs | {"device": CPU} if there else kwargs))
    return OnGpu(made) if there else made


class _Back(torch.autograd.Function):
    """To main memory, with gradients."""

    @staticmethod
    def forward(context: Any, tensor: OnGpu) -> torch.Tensor:
        return tensor.inside.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return OnGpu(gradient)


class _There(torch.autograd.Function):
    """To the GPU, with gradients."""

    @staticmethod
    def forward(context: Any, tensor: torch.Tensor) -> OnGpu:
        return OnGpu(tensor.detach().clone())

    @staticmethod
    def backward(context: Any, gradient: OnGpu) -> torch.Tensor:
        return gradient.inside


def _to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`Tensor.to`: to C++ every tensor here is one of the CPU."""
    if args and isinstance(args[0], torch.Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    device, dtype, *_ = torch._C._nn._parse_to(*map(_indexed, args), **{n: _indexed(x) for n, x in kwargs.items()})
    with torch._C.DisableTorchFunctionSubclass():
        made = tensor if dtype is None else tensor.to(dtype)
    if _is(device, "meta"):
        return made if _is(made.device, "meta") else torch.empty_like(_inside(made), device="meta")
    if device is None or _is(device, "cuda") == isinstance(made, OnGpu):
        return made
    return _There.apply(made) if _is(device, "cuda") else _Back.apply(made)


def _indexed(value: Any) -> Any:
    """`cuda` with its index: C++ would ask a driver for it."""
    if isinstance(value, torch.device) and value.type == "cuda":
        return GPU
    return GPU if isinstance(value, str) and value in ("cuda", "cuda:0") else value


def _is(device: Any, kind: str) -> bool:
    return device is not None and torch.device(device).type == kind


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation on the numbers inside."""
    flat = [*_leaves(args), *_leaves(kwargs.values())]
    if not any(isinstance(x, OnGpu) for x in flat) and not _is(kwargs.get("device"), "cuda"):
        return func(*args, **kwargs)
    _check(func, args, flat)
    out = func(*_each(args, _inside), **{name: _each(value, _inside) for name, value in kwargs.items()})
    if not func._schema.is_mutable:
        return _each(out, lambda x: OnGpu(x) if isinstance(x, torch.Tensor) else x)
    # what works in place returns what it was given, not a new tensor around the same numbers
    around = {id(x.inside): x for x in flat if isinstance(x, OnGpu)}
    return _each(out, lambda x: around.get(id(x), x))


def _inside(value: Any) -> Any:
    if isinstance(value, OnGpu):
        return value.inside
    return CPU if isinstance(value, torch.device) and value.type == "cuda" else value


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    """The arguments of an operation, lists of them parted; quicker than torch's own trees."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if type(value) in (list, tuple):
        return type(value)(_each(v, change) for v in value)
    return change(value)


def _check(func: Any, args: Any, flat: list[Any]) -> None:
    """Refuse what a GPU would."""
    if func in NO_KERNEL:
        raise NotImplementedError(f"{func} has no CUDA kernel")
    if any(isinstance(x, torch.Generator) and x.device.type == "cpu" for x in flat):
        raise RuntimeError(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")
    if func in CROSSING:
        return
    if func in INDEXED and isinstance(args[0], OnGpu):
        flat = [args[0], *_leaves(args[2:])]
    plain = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, OnGpu) and x.ndim > 0]
    if plain and any(isinstance(x, OnGpu) for x in flat):
        raise RuntimeError(
            f"{func}: expected all tensors to be on the same device, found cuda:0 and cpu {list(plain[0].shape)}"
        )


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Function(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})


@contextmanager
def there():
    """Within it, `cuda:0` is there, in every thread that is started."""
    cuda, run = torch.cuda, threading.Thread.run
    said = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "mem_get_info": lambda device=None: (MEMORY, MEMORY),
        "_lazy_init": lambda: None,
        "is_bf16_supported": lambda *a, **k: True,
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: None,
    }

    def in_modes(thread: threading.Thread) -> None:
        with _Function(), _Dispatch():
            run(thread)

    before = {name: getattr(cuda, name) for name in said}
    for name, value in said.items():
        setattr(cuda, name, value)
    threading.Thread.run = in_modes
    overwriting = torch.__future__.get_overwrite_module_params_on_conversion()
    # `Module.to` makes new parameters: one of the CPU cannot become one of the GPU in place
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Function(), _Dispatch():
            yield GPU
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwriting)
        threading.Thread.run = run
        for name, value in before.items():
            setattr(cuda, name, value)
