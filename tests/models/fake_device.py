"""A device that no machine has: tensors on it compute on the CPU, and refuse to meet tensors of the CPU.

To torch they are on the device `meta`, so that `.numpy()` fails and `.cpu()` is needed, as on a GPU. An operation on
tensors of both devices raises as it does on a GPU, but for single values, which torch lets through.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")
_MAY_MEET = {
    torch.ops.aten._to_copy.default,
    torch.ops.aten.copy_.default,
    torch.ops.aten.index.Tensor,  # numbers of rows may be on the CPU
}
_ONLY_READ = {torch.ops.aten._to_copy.default, torch.ops.aten.detach.default, torch.ops.aten.lift_fresh.default}
"""What brings values from arrays."""


class OnDevice(torch.Tensor):
    """A tensor on the device; `held` has its values."""

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    def __repr__(self):
        return f"OnDevice({self.held!r})"

    def __tensor_flatten__(self):
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner, _meta, _size, _stride):
        return OnDevice(inner["held"])

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        return _run(function, arguments, keywords or {})


class _FromValues(TorchFunctionMode):
    """Values that torch itself would forget on `meta`: those of new tensors, and of lists that are an index."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = dict(keywords or {})
        if function in (torch.tensor, torch.as_tensor) and torch.device(keywords.get("device") or "cpu") == DEVICE:
            return function(*arguments, **{**keywords, "device": "cpu"}).to(DEVICE)
        if function is torch.Tensor.__getitem__ and isinstance(arguments[1], list):
            arguments = arguments[0], torch.tensor(arguments[1])
        return function(*arguments, **keywords)


class FakeDevice(TorchDispatchMode):
    """Within it, tensors can be made on the device; `elsewhere` counts the floats that were computed on the CPU."""

    def __init__(self):
        super().__init__()
        self.elsewhere = Counter()
        self._from_values = _FromValues()

    def __enter__(self):
        self._from_values.__enter__()
        return super().__enter__()

    def __exit__(self, *raised):
        super().__exit__(*raised)
        self._from_values.__exit__(*raised)

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        found = _run(function, arguments, keywords or {})
        given = tree_flatten((arguments, keywords))[0]
        if not any(isinstance(value, OnDevice) for value in given) and function not in _ONLY_READ:
            made = [
                value
                for value in tree_flatten(found)[0]
                if type(value) is torch.Tensor and value.dtype.is_floating_point
            ]
            self.elsewhere[function.overloadpacket.__name__] += sum(tensor.numel() for tensor in made if tensor.dim())
        return found


def _run(function, arguments, keywords):
    tensors = [value for value in tree_flatten((arguments, keywords))[0] if isinstance(value, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    if there and function not in _MAY_MEET:
        strangers = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.dim() > 0]
        if strangers:
            msg = f"{function} of tensors on the device and on the CPU, the latter of shape {strangers[0].shape}"
            raise RuntimeError(msg)
    asked = keywords.get("device")
    to_device = bool(there) if asked is None else torch.device(asked).type == DEVICE.type
    inner = tree_map_only(OnDevice, lambda tensor: tensor.held, (arguments, keywords))
    if asked is not None:
        inner[1]["device"] = torch.device("cpu")
    if inner[1].get("pin_memory") is not None:
        inner[1]["pin_memory"] = False
    found = function(*inner[0], **inner[1])
    if function is torch.ops.aten.copy_.default:
        return arguments[0]
    if to_device:
        found = tree_map_only(torch.Tensor, OnDevice, found)
        return return_and_correct_aliasing(function, arguments, keywords, found)
    return found
