"""A second device on a machine that has none: tensors that lie in main memory and say that they don't.

PyTorch lets a backend be written in Python (`torch.utils.backend_registration`). This one computes with the CPU's own
kernels and keeps a GPU's rule: an operation on tensors of two devices is an error, but for the few that PyTorch itself
allows. So code that forgets to move a tensor fails here as it would on a GPU. What it can't show: files that a library
loads onto a device by itself, weights in few bits, and how much memory and time a GPU takes (tests/gpu).

It holds for the whole process, so that it belongs into one of its own (`on_second_device`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from actor_core.model import LoadedModel

__all__ = ["Mixed", "begin", "moved"]

NAME = "second"
aten = torch.ops.aten
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
COPIES = (aten.copy_.default, aten._to_copy.default)


class Mixed(RuntimeError):
    """An operation on tensors of two devices."""


class Elsewhere(Tensor):
    """A tensor on the second device; ``held`` is what it holds, in main memory."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=NAME,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def __repr__(self) -> str:
        return f"Elsewhere({self.held})"


class _Making(TorchDispatchMode):
    """Takes calls that no tensor of the second device is in, such as ``torch.zeros(3, device=...)``."""

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def begin() -> None:
    """From here on the process has a second device. Once a process, before `actor_core` is imported."""
    # A tensor of a class of its own cannot be viewed in inference mode.
    torch.inference_mode = torch.no_grad  # type: ignore[assignment,misc]
    _setup_privateuseone_for_python_backend(NAME)
    torch._C._set_only_lift_cpu_tensors(True)
    torch._C._set_multithreading_enabled(False)  # of autograd, whose threads know no such device
    _Making().__enter__()


def moved(model: LoadedModel) -> LoadedModel:
    """``model`` on the second device."""
    there: dict[int, Tensor] = {}
    for module in model.model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                held = there.setdefault(id(parameter), nn.Parameter(Elsewhere(parameter.data), requires_grad=False))
                module._parameters[name] = held
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = Elsewhere(buffer)
    model.device = torch.device(NAME, 0)
    return model


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    values, spec = tree_flatten((args, kwargs))
    there = [value for value in values if isinstance(value, Elsewhere)]
    here = [value for value in values if isinstance(value, Tensor) and not isinstance(value, Elsewhere) and value.dim()]
    _require_one_device(func, args, here, there)
    args, kwargs = tree_unflatten([value.held if isinstance(value, Elsewhere) else value for value in values], spec)
    goes_there = bool(there)
    if kwargs.get("device") is not None:
        goes_there = torch.device(kwargs["device"]).type == NAME
        kwargs["device"] = torch.device("cpu")
    elif func is aten.copy_.default:
        goes_there = isinstance(values[0], Elsewhere)
    if kwargs.get("pin_memory"):
        kwargs["pin_memory"] = False
    found = func(*args, **kwargs)
    if not goes_there:
        return found
    written = {id(value.held): value for value in there}  # what an operation in place gives back is what it was given

    def there_too(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return written[id(value)] if id(value) in written else Elsewhere(value)

    return tree_map(there_too, found)


def _require_one_device(func: Any, args: Any, here: list[Tensor], there: list[Elsewhere]) -> None:
    """As PyTorch does: a tensor may be indexed by one in main memory, and a single number may lie anywhere."""
    if not here or not there or func in COPIES:
        return
    if func in INDEXING:
        written = args[2:3]
        if isinstance(args[0], Elsewhere) and not any(value is put for value in here for put in written):
            return
    raise Mixed(
        f"{func}: {[tuple(value.shape) for value in here]} in main memory, "
        f"{[tuple(value.shape) for value in there]} on the second device"
    )
