"""Gradients that torch changes in place.

The formulas of some gradients make zeros, and put values there; and where a tensor was used more than once, each further gradient is added
to the first. While a dispatch mode is active torch takes variants that do not write in place (`areAnyTensorSubclassLike`,
torch/csrc/autograd/FunctionsManual.cpp; `isTensorSubclassLike`, torch/csrc/autograd/input_buffer.cpp), and a second tensor is allocated. On
a GPU there is none.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.cuda_checks import check_indices
from fakerun.emulate.device.mode import UNHANDLED, DeviceMode, Handler
from fakerun.torch_private import (
    ENGINE_FUNCTION,
    USES_OF_AN_UNSHARED_GRADIENT,
    USES_OF_AN_UNSHARED_STORAGE,
    FakeTensor,
    current_autograd_node,
    current_graph_task,
    storage_uses,
    tensor_uses,
)

aten = torch.ops.aten

_SELECTING = frozenset(
    f"{name}Backward{number}"
    for name, number in (
        *(("Kthvalue", 0), ("Max", 0), ("Median", 1), ("Min", 0), ("Mode", 0), ("Nanmedian", 1)),
        *(("Sort", 0), ("Topk", 0)),
    )
)

_WRITTEN: Mapping[Any, tuple[Any, frozenset[str]]] = {
    aten.index_put.default: (aten.index_put_.default, frozenset({"IndexBackward0"})),
    aten.index_add.default: (aten.index_add_.default, frozenset({"IndexSelectBackward0"})),
    aten.put.default: (aten.put_.default, frozenset({"TakeBackward0"})),
    aten.scatter_add.default: (aten.scatter_add_.default, frozenset({"GatherBackward0", "CummaxBackward0", "CumminBackward0"})),
    aten.scatter.src: (aten.scatter_.src, _SELECTING),
}
"""By the operator that makes a second tensor: the one that writes into the zeros, and the nodes whose formulas have it."""


def gradients_in_place(context: EmulationContext) -> None:
    """Register a handler for each of them."""
    context.mode.handle(aten.add.Tensor, _accumulated(context.mode))
    for operator, (in_place, nodes) in _WRITTEN.items():
        context.mode.handle(operator, _written(context.mode, in_place, nodes))


def _written(mode: DeviceMode, in_place: Any, nodes: frozenset[str]) -> Handler:
    def answer(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if func is aten.index_put.default:
            check_indices(func, args, kwargs)
        node = current_autograd_node()
        # A recomputation of checkpointed layers inside of a node has gradients enabled.
        if node is None or torch.is_grad_enabled() or type(args[0]) is not FakeTensor or node.name() not in nodes:
            return UNHANDLED
        return mode.simulate_call(in_place, (), args, dict(kwargs))

    return answer


def _accumulated(mode: DeviceMode) -> Handler:
    """The sum of two gradients of one tensor: the engine adds the second to the first, if nothing else uses the first.

    A formula of C++ that adds to an intermediate result of its own looks the same; those of linear algebra do.
    """

    def answer(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if current_graph_task() == -1 or torch.is_grad_enabled() or sys._getframe(3).f_code.co_name != ENGINE_FUNCTION:
            return UNHANDLED
        total, gradient = args[:2]
        if type(total) is not FakeTensor or type(gradient) is not FakeTensor or sys.getrefcount(total) > sys.getrefcount(gradient):
            return UNHANDLED  # Python, which knows the first one, may use it later
        return mode.simulate_call(aten.add_.Tensor, (), args, dict(kwargs)) if _is_unshared(total) else UNHANDLED

    return answer


def _is_unshared(gradient: torch.Tensor) -> bool:
    """Whether the engine alone holds a gradient and its storage, each element of which is one of the gradient's."""
    if tensor_uses(gradient) != USES_OF_AN_UNSHARED_GRADIENT or storage_uses(gradient) != USES_OF_AN_UNSHARED_STORAGE:
        return False
    return gradient.is_contiguous() or _is_dense(gradient)


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements fill a piece of memory, each once, in some order of the dimensions."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
