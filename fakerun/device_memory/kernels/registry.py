"""The rules of all subjects by the name of the operator."""

from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels import (
    attention,
    copies,
    indexing,
    losses,
    matrix_products,
    reductions,
    softmax,
    sorting,
    staged_reductions,
)
from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform
from fakerun.device_memory.kernels.operands import Operands, operands_of
from fakerun.records.device_program import Operation

_RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    **matrix_products.RULES,
    **attention.RULES,
    **indexing.RULES,
    **sorting.RULES,
    **losses.RULES,
    **copies.RULES,
    **reductions.RULES,
    **softmax.RULES,
    **staged_reductions.RULES,
}

_NAMESPACES = ("aten", "fsdp")
"""FSDP2's own operators (torch/distributed/fsdp/_fully_shard/_fsdp_collectives.py) call those of the same name in torch."""


def kernel_memory(operation: Operation, platform: Platform) -> KernelMemory:
    """What an operation takes on this platform. An operator that writes in place, or to `out`, takes what the one that returns takes."""
    namespace, _, name = operation.name.partition(".")
    operator = name.partition(".")[0]
    rule = _RULES.get(operator) or _RULES.get(operator.removesuffix("_"))
    return NOTHING if rule is None or namespace not in _NAMESPACES else rule(operands_of(operation.arguments), platform)
