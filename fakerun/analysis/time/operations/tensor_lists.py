"""Operators on lists of tensors: `_foreach_*`, fused optimizers, FSDP2's copies. One kernel takes a part of the lists."""

from collections.abc import Callable, Mapping

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation, distinct_bytes
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates
from fakerun.device_memory.kernels.operands import TensorOperand

SHARE = 0.9
"""Of the bandwidth that a copy of one tensor reaches: lists of 100 MB to 4 GB, H100 and H200, 0.82 to 0.94."""

_CHUNK_ELEMENTS = 65536
_MOST_CHUNKS = 320
_MOST_TENSORS = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
"""Of one launch, by the number of lists (`depth_to_max_tensors`, `depth_to_max_blocks`, aten/src/ATen/native/cuda/MultiTensorApply.cuh)."""

_FUSED_LAUNCH_S = 4e-6
"""Of a kernel with many lists among its arguments."""
_CHUNK_CAT_ELEMENTS_PER_CYCLE = 1.13
"""Of a multiprocessor, from bfloat16 to float32: 740 us for 218 million on the H100."""
_FUSED_ELEMENTS_PER_CYCLE = 0.65
"""Of a multiprocessor, fused Adam of 16-bit numbers, which is not limited by memory: 0.62 (H100) to 0.74 (H200)."""


def _of_lists(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Bytes of all lists, what is overwritten counted twice; kernels by tensors and chunks."""
    lists = operation.operands.tensor_lists
    first = tuple(each for each in lists[0] if not each.on_host) if lists else ()
    moved = operation.moved_bytes
    if operation.operator.startswith("_foreach_addcmul") and len(lists) > 2:  # Adam multiplies the gradients with themselves
        moved -= sum(map(distinct_bytes, lists[2]))
    depth = len(lists) + (0 if operation.is_in_place else 1)
    kernels = _launches(first, depth)
    seconds = moved / (rates.memory_bytes_per_s * SHARE) + kernels * LAUNCH_S
    optimizes = operation.operator.startswith(("_fused_", "_foreach_")) and not operation.operator.startswith("_foreach_copy")
    return OperationCost(
        kind=OperationKind.OPTIMIZER if optimizes else OperationKind.COPY,
        seconds=seconds,
        basis=Basis.ROOFLINE,
        kernels=kernels,
        moved_bytes=moved,
    )


def _launches(tensors: tuple[TensorOperand, ...], depth: int) -> int:
    """How many kernels `multi_tensor_apply` launches."""
    most_tensors = _MOST_TENSORS.get(depth, 30)
    chunks = sum(-(-each.numel // _CHUNK_ELEMENTS) for each in tensors)
    return max(-(-len(tensors) // most_tensors), -(-chunks // _MOST_CHUNKS), 1)


def _fused_optimizer(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Parameters, states and gradients are read; all but the gradients are written."""
    lists = [tuple(each for each in tensors if not each.on_host) for tensors in operation.operands.tensor_lists]
    sizes = [sum(map(distinct_bytes, tensors)) for tensors in lists]
    moved = 2 * sum(sizes) - (sizes[1] if len(sizes) > 1 else 0)
    kernels = _launches(lists[0], len(lists)) if lists else 1
    elements = sum(each.numel for each in lists[0]) if lists else 0
    computing_s = elements / (_FUSED_ELEMENTS_PER_CYCLE * rates.cycles_per_s) if len(lists) > 3 else 0.0
    return OperationCost(
        kind=OperationKind.OPTIMIZER,
        seconds=max(moved / (rates.memory_bytes_per_s * SHARE), computing_s) + kernels * _FUSED_LAUNCH_S,
        basis=Basis.ROOFLINE,
        kernels=kernels,
        moved_bytes=moved,
    )


def _copy_in(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """The shards of parameters, copied next to each other (`all_gather_copy_in`): a part of the output is written."""
    shards = operation.operands.tensor_lists[0] if operation.operands.tensor_lists else operation.inputs[:1]
    moved = 2 * sum(map(distinct_bytes, shards))
    kernels = _launches(shards, 2)
    seconds = moved / (rates.memory_bytes_per_s * SHARE) + kernels * LAUNCH_S
    return OperationCost(kind=OperationKind.COPY, seconds=seconds, basis=Basis.ROOFLINE, kernels=kernels, moved_bytes=moved)


def _chunk_cat(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Gradients, copied next to each other in another type; one kernel, which takes few elements a cycle."""
    moved = operation.moved_bytes
    elements = sum(each.numel for tensors in operation.operands.tensor_lists[:1] for each in tensors)
    computing_s = elements / (_CHUNK_CAT_ELEMENTS_PER_CYCLE * rates.cycles_per_s)
    seconds = max(moved / (rates.memory_bytes_per_s * SHARE), computing_s) + LAUNCH_S
    return OperationCost(kind=OperationKind.COPY, seconds=seconds, basis=Basis.ROOFLINE, moved_bytes=moved)


def rule_of(operator: str) -> Callable[[DescribedOperation, Rates], OperationCost] | None:
    """The rule for an operator on lists."""
    if operator.startswith("_fused_") and operator.endswith("_") and "rms" not in operator:
        return _fused_optimizer
    return _of_lists if operator.startswith(("_foreach_", "_amp_foreach_")) else RULES.get(operator)


RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {
    "split_with_sizes_copy": _of_lists,
    "all_gather_copy_in": _copy_in,
    "chunk_cat": _chunk_cat,
    "_chunk_cat": _chunk_cat,
}
