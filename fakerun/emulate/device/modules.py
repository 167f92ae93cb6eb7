"""Keeps the identity of parameters when a module moves between host and simulated accelerator.

On a GPU `module.cuda()` changes each parameter's data in place, so tied weights stay tied and an optimizer keeps its parameters.
The content of a real tensor cannot be set to a simulated one; it can be swapped. A swap leaves the autograd graph behind, with
the hooks on it.
"""

import copyreg
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.distributed.fsdp import FlatParameter

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.mode import DeviceMode
from fakerun.errors import as_script_error
from fakerun.patching import Patches
from fakerun.torch_private import CONVERTS_A_MODULE, FAKE_DEVICE_ATTRIBUTE, FakeTensor, TensorBase, swap_tensor_impl


@contextmanager
def preserved_parameter_identity(context: EmulationContext) -> Iterator[None]:
    """Let `Module._apply` swap the contents of parameters, whatever references to them exist."""
    with Patches() as patches:
        patches.set(torch.__future__, "get_swap_module_params_on_conversion", lambda: True)
        patches.set(torch.utils, "swap_tensors", _swap_tensors)
        patches.set(FakeTensor, "__deepcopy__", _deep_copy)
        data: Any = vars(TensorBase)["data"]
        patches.set(torch.Tensor, "data", property(data.__get__, partial(_set_data, context.mode, data)))
        yield


def _deep_copy(tensor: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
    """`copy.deepcopy` of a simulated tensor (an averaged model): torch's own reads its data (2.13)."""
    if id(tensor) in memo:
        return memo[id(tensor)]  # type: ignore[no-any-return]
    if not tensor.is_leaf:
        raise as_script_error(
            RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.")
        )
    copied = tensor.detach().clone().requires_grad_(tensor.requires_grad)
    if isinstance(tensor, torch.nn.Parameter):
        copied = torch.nn.Parameter(copied, tensor.requires_grad)
    memo[id(tensor)] = copied
    if tensor.grad is not None:
        copied.grad = _deep_copy(tensor.grad, memo)
    return copied


def _set_data(mode: DeviceMode, data: Any, tensor: torch.Tensor, value: torch.Tensor) -> None:
    """`tensor.data = value`, also between host and simulated accelerator: `p.data = p.data.cuda()`."""
    if isinstance(tensor, FakeTensor) and isinstance(tensor, FlatParameter):
        # FSDP1 with offloaded parameters moves them between host and device in every pass, and reduces gradients in a hook on the graph
        # between: once a flat parameter was on the accelerator, it is simulated on the host, too.
        value = mode.simulate(value)
    if isinstance(tensor, FakeTensor) is isinstance(value, FakeTensor):
        data.__set__(tensor, value)
        if isinstance(tensor, FakeTensor):  # C++ takes over everything but the device, which Python keeps
            vars(tensor)[FAKE_DEVICE_ATTRIBUTE] = value.device
        return
    content = value.detach()
    simulators = vars(tensor.detach()) if isinstance(tensor, FakeTensor) else ()
    attributes = {name: attribute for name, attribute in vars(tensor).items() if name not in simulators}
    if isinstance(tensor, torch.nn.Parameter):
        _swap(tensor, torch.nn.Parameter(content, tensor.requires_grad))
    else:
        _swap(tensor, content.requires_grad_(tensor.requires_grad))
    vars(tensor).update(attributes)  # FSDP keeps its own there


def _swap_tensors(first: torch.Tensor, second: torch.Tensor) -> None:
    """`torch.utils.swap_tensors`. On a GPU a converted module sets the data of a parameter instead, so that nothing keeps the old data."""
    _swap(first, second)
    if sys._getframe(1).f_code is CONVERTS_A_MODULE and type(first) is type(second) is FakeTensor:
        second.data = first.detach()


def _swap(first: torch.Tensor, second: torch.Tensor) -> None:
    """`torch.utils.swap_tensors` for tensors with weak references, as the simulator's."""
    first.__class__, second.__class__ = second.__class__, first.__class__
    first.__dict__, second.__dict__ = second.__dict__, first.__dict__
    for slot in copyreg._slotnames(type(first)):  # type: ignore[attr-defined]  # DTensor keeps its local tensor in one
        _swap_attribute(first, second, slot)
    swap_tensor_impl(first, second)


_ABSENT = object()


def _swap_attribute(first: Any, second: Any, name: str) -> None:
    values = getattr(first, name, _ABSENT), getattr(second, name, _ABSENT)
    for owner, value in ((first, values[1]), (second, values[0])):
        if value is not _ABSENT:
            setattr(owner, name, value)
        elif hasattr(owner, name):
            delattr(owner, name)
