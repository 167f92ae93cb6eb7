"""What the ranks that meet in a call must agree on: operation, dtype, reduction, root, and how much everybody gives and gets.

Shapes need not be equal, only numbers of elements; the list and tensor forms of an operation are one operation (c10d, NCCL). Roots are
places in the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fakerun.records.collective import CollectiveOp, Payload
from fakerun.records.finding_code import FindingCode

MESSAGES = frozenset({CollectiveOp.SEND, CollectiveOp.RECV})

_FAMILY = {
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
"""Elements per member in group order; one number alone stands for all members."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Equal for all that meet, or the call hangs, fails or corrupts. `counts` is empty where members may differ."""

    op: CollectiveOp
    dtype: str
    counts: Counts
    reduce_op: str | None
    root: int | None


def signature_of(call: Payload, root_group_rank: int | None) -> Signature:
    """The signature of one rank's call."""
    return Signature(_FAMILY.get(call.op, call.op), call.dtype, _counts(call), call.reduce_op, root_group_rank)


def first_difference(one: Signature, other: Signature) -> str:
    """The most telling thing in which they differ: `operation`, `dtype`, `size`, `reduce-op` or `root`."""
    if one.op is not other.op:
        return "operation"
    if one.root != other.root:
        return "root"
    if one.reduce_op != other.reduce_op:
        return "reduce-op"
    return "dtype" if one.dtype != other.dtype else "size"


def own_law(call: Payload, group_size: int) -> str | None:
    """What is wrong with the sizes of a call in itself: the whole is as many parts as there are members, one of them the rank's own."""
    match call.op:
        case CollectiveOp.ALL_GATHER | CollectiveOp.GATHER:
            return _own_part(_numels(call.output_sizes), _numels(call.input_sizes), group_size)
        case CollectiveOp.REDUCE_SCATTER | CollectiveOp.SCATTER:
            return _own_part(_numels(call.input_sizes), _numels(call.output_sizes), group_size)
        case CollectiveOp.ALL_GATHER_INTO_TENSOR:
            return _whole(sum(_numels(call.output_sizes)), sum(_numels(call.input_sizes)), group_size)
        case CollectiveOp.REDUCE_SCATTER_TENSOR:
            return _whole(sum(_numels(call.input_sizes)), sum(_numels(call.output_sizes)), group_size)
        case _:
            return None


def sent_and_received(call: Payload, group_size: int) -> tuple[Counts, Counts] | None:
    """An all-to-all's tables: elements to, and from, each member in group order; None for another operation."""
    if call.op is CollectiveOp.ALL_TO_ALL:
        return _numels(call.input_sizes), _numels(call.output_sizes)
    if call.op is not CollectiveOp.ALL_TO_ALL_SINGLE:
        return None
    return _table(call.input_sizes, call.input_splits, group_size), _table(call.output_sizes, call.output_splits, group_size)


def _own_part(whole: Counts, part: Counts, group_size: int) -> str | None:
    if len(part) != 1 or len(whole) != group_size or part[0] in whole:
        return None
    return f"a part of {part[0]} elements has no place among {', '.join(map(str, whole))}"


def _whole(whole: int, part: int, group_size: int) -> str | None:
    return None if whole == part * group_size else f"{group_size} parts of {part} elements do not make {whole}"


def _table(sizes: Sequence[Sequence[int]], splits: Sequence[int] | None, group_size: int) -> Counts:
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
