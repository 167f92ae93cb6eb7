"""Gradients that torch writes into the zeros it made for them.

The formulas of some gradients make zeros, and put values there. While a dispatch mode is active torch takes variants of them that do not
write in place (`areAnyTensorSubclassLike`, torch/csrc/autograd/FunctionsManual.cpp), and a second tensor of the size of the input is
allocated. On a GPU there is none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.cuda_checks import check_indices
from fakerun.emulate.device.mode import UNHANDLED, DeviceMode, Handler
from fakerun.torch_private import FakeTensor, current_autograd_node

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
