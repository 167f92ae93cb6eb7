"""What ranks that are matched in a call must agree on: operation, dtype, reduction, root, and the number of elements that each one moves.

Shapes may differ if the numbers of elements are equal; the list and the tensor form of an operation are one operation (c10d, NCCL).
Roots are group ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fakerun.records.collective import CollectiveOp, Payload
from fakerun.records.finding_code import FindingCode

_SAME_OPERATION = {
    CollectiveOp.ALL_GATHER_INTO_TENSOR: CollectiveOp.ALL_GATHER,
    CollectiveOp.REDUCE_SCATTER_TENSOR: CollectiveOp.REDUCE_SCATTER,
    CollectiveOp.ALL_TO_ALL_SINGLE: CollectiveOp.ALL_TO_ALL,
    CollectiveOp.RECV: CollectiveOp.SEND,
}

MISMATCHES = {
    "operation": FindingCode.OPERATION_MISMATCH,
    "root": FindingCode.ROOT_MISMATCH,
    "reduce-op": FindingCode.REDUCE_OP_MISMATCH,
    "dtype": FindingCode.DTYPE_MISMATCH,
    "size": FindingCode.SIZE_MISMATCH,
}
"""The finding's code by what `first_difference` tells."""

Counts = tuple[int, ...]
"""Elements for each member in group order; a single number if all members have the same."""


@dataclass(frozen=True, slots=True)
class CallSignature:
    """Equal on all ranks that are matched; otherwise the call hangs, fails or corrupts data. `counts` is empty where members may differ."""

    op: CollectiveOp
    dtype: str
    counts: Counts
    reduce_op: str | None
    root: int | None


def signature_of(call: Payload, root_group_rank: int | None) -> CallSignature:
    """The signature of one rank's call."""
    return CallSignature(_SAME_OPERATION.get(call.op, call.op), call.dtype, _counts(call), call.reduce_op, root_group_rank)


def first_difference(one: CallSignature, other: CallSignature) -> FindingCode:
    """The most informative property in which they differ."""
    if one.op is not other.op:
        return FindingCode.OPERATION_MISMATCH
    if one.root != other.root:
        return FindingCode.ROOT_MISMATCH
    if one.reduce_op != other.reduce_op:
        return FindingCode.REDUCE_OP_MISMATCH
    return FindingCode.DTYPE_MISMATCH if one.dtype != other.dtype else FindingCode.SIZE_MISMATCH


def size_error(call: Payload, group_size: int) -> str | None:
    """Why the sizes of a call are wrong by themselves: the whole must be one part for each member, one of them the rank's own."""
    match call.op:
        case CollectiveOp.ALL_GATHER | CollectiveOp.GATHER:
            return _own_part_error("output", _numels(call.output_sizes), "input", _numels(call.input_sizes), group_size)
        case CollectiveOp.REDUCE_SCATTER | CollectiveOp.SCATTER:
            return _own_part_error("input", _numels(call.input_sizes), "output", _numels(call.output_sizes), group_size)
        case CollectiveOp.ALL_GATHER_INTO_TENSOR:
            return _whole_error("output", sum(_numels(call.output_sizes)), "input", sum(_numels(call.input_sizes)), group_size)
        case CollectiveOp.REDUCE_SCATTER_TENSOR:
            return _whole_error("input", sum(_numels(call.input_sizes)), "output", sum(_numels(call.output_sizes)), group_size)
        case _:
            return None


def splits_of(call: Payload, group_size: int) -> tuple[Counts, Counts] | None:
    """Of an all-to-all the elements sent to, and received from, each member in group order; None for another operation."""
    if call.op is CollectiveOp.ALL_TO_ALL:
        return _numels(call.input_sizes), _numels(call.output_sizes)
    if call.op is not CollectiveOp.ALL_TO_ALL_SINGLE:
        return None
    return _elements(call.input_sizes, call.input_splits, group_size), _elements(call.output_sizes, call.output_splits, group_size)


def _own_part_error(parts_name: str, parts: Counts, own_name: str, own: Counts, group_size: int) -> str | None:
    if len(own) != 1 or len(parts) != group_size or own[0] in parts:
        return None
    return f"the {own_name} has {own[0]} elements, and no {parts_name} tensor has as many ({', '.join(map(str, parts))})"


def _whole_error(whole_name: str, whole: int, part_name: str, part: int, group_size: int) -> str | None:
    if whole == part * group_size:
        return None
    return f"the {whole_name} has {whole} elements, but {group_size} ranks times the {part_name}'s {part} elements is {part * group_size}"


def _elements(sizes: Sequence[Sequence[int]], splits: Sequence[int] | None, group_size: int) -> Counts:
    (shape,) = sizes
    if not splits:
        return (prod(shape) // group_size,) * group_size
    row = prod(shape[1:])
    return tuple(row * rows for rows in splits)


def _counts(call: Payload) -> Counts:
    match call.op:
        case CollectiveOp.ALL_GATHER if len(call.input_sizes) == 1:
            return _compressed(_numels(call.output_sizes))
        case CollectiveOp.REDUCE_SCATTER if len(call.output_sizes) == 1:
            return _compressed(_numels(call.input_sizes))
        case CollectiveOp.ALL_GATHER | CollectiveOp.ALL_GATHER_INTO_TENSOR | CollectiveOp.GATHER:
            return _numels(call.input_sizes)
        case CollectiveOp.REDUCE_SCATTER | CollectiveOp.REDUCE_SCATTER_TENSOR | CollectiveOp.SCATTER:
            return _numels(call.output_sizes)
        case CollectiveOp.ALL_REDUCE | CollectiveOp.REDUCE | CollectiveOp.BROADCAST:
            return _numels(call.input_sizes)
        case CollectiveOp.SEND | CollectiveOp.RECV:
            return (sum(_numels(call.input_sizes or call.output_sizes)),)
        case _:
            return ()


def _compressed(counts: Counts) -> Counts:
    return counts[:1] if len(set(counts)) == 1 else counts


def _numels(sizes: Sequence[Sequence[int]]) -> Counts:
    return tuple(map(prod, sizes))
