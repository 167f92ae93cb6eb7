"""What members of a group must agree on in one collective: operation, dtype, reduction, root, and how much everybody gives and gets.

Shapes need not be equal, only numbers of elements; the list and tensor forms of an operation are one operation (c10d, NCCL).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fakerun.records.collective import CollectiveOp, CollectiveRecord

_FAMILY = {
    CollectiveOp.ALL_GATHER_INTO_TENSOR: CollectiveOp.ALL_GATHER,
    CollectiveOp.REDUCE_SCATTER_TENSOR: CollectiveOp.REDUCE_SCATTER,
    CollectiveOp.ALL_TO_ALL_SINGLE: CollectiveOp.ALL_TO_ALL,
}

Counts = tuple[int, ...]
"""Elements per member in group order; one number alone stands for all members."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Equal on all members of a group, or the call hangs, fails or corrupts. `counts` is empty where members may differ."""

    op: CollectiveOp
    dtype: str
    counts: Counts
    reduce_op: str | None
    root: int | None


def signature_of(record: CollectiveRecord) -> Signature:
    """The signature of one rank's call."""
    return Signature(
        op=_FAMILY.get(record.op, record.op),
        dtype=record.dtype,
        counts=_counts(record),
        reduce_op=record.reduce_op,
        root=record.root,
    )


def first_difference(one: Signature, other: Signature) -> str:
    """The most telling thing in which they differ: `operation`, `dtype`, `size`, `reduce-op` or `root`."""
    if one.op is not other.op:
        return "operation"
    if one.root != other.root:
        return "root"
    if one.reduce_op != other.reduce_op:
        return "reduce-op"
    return "dtype" if one.dtype != other.dtype else "size"


def own_law(record: CollectiveRecord) -> str | None:
    """What is wrong with the sizes of a call in itself: what a rank gives is what it is to get of itself."""
    if record.op not in (CollectiveOp.ALL_GATHER, CollectiveOp.REDUCE_SCATTER):
        return None
    whole, part = (
        (record.output_sizes, record.input_sizes) if record.op is CollectiveOp.ALL_GATHER else (record.input_sizes, record.output_sizes)
    )
    if len(part) != 1 or len(whole) != record.group_size:
        return None
    given = _numel(part[0])
    return None if any(_numel(size) == given for size in whole) else f"a part of {given} elements has no place among {_listed(whole)}"


def sent_and_received(record: CollectiveRecord) -> tuple[Counts, Counts] | None:
    """An all-to-all's tables: elements to, and from, each member in group order; None for another operation."""
    size = record.group_size
    if record.op is CollectiveOp.ALL_TO_ALL:
        return _numels(record.input_sizes), _numels(record.output_sizes)
    if record.op is not CollectiveOp.ALL_TO_ALL_SINGLE:
        return None
    return _table(record.input_sizes, record.input_splits, size), _table(record.output_sizes, record.output_splits, size)


def _table(sizes: Sequence[Sequence[int]], splits: Sequence[int] | None, size: int) -> Counts:
    (shape,) = sizes
    if not splits:
        return (_numel(shape) // size,) * size
    row = prod(shape[1:])
    return tuple(row * rows for rows in splits)


def _counts(record: CollectiveRecord) -> Counts:
    match record.op:
        case CollectiveOp.ALL_GATHER if len(record.input_sizes) == 1:
            return _compressed(_numels(record.output_sizes))
        case CollectiveOp.REDUCE_SCATTER if len(record.output_sizes) == 1:
            return _compressed(_numels(record.input_sizes))
        case CollectiveOp.ALL_GATHER | CollectiveOp.ALL_GATHER_INTO_TENSOR | CollectiveOp.GATHER:
            return _numels(record.input_sizes)
        case CollectiveOp.REDUCE_SCATTER | CollectiveOp.REDUCE_SCATTER_TENSOR | CollectiveOp.SCATTER:
            return _numels(record.output_sizes)
        case CollectiveOp.ALL_REDUCE | CollectiveOp.REDUCE | CollectiveOp.BROADCAST:
            return _numels(record.input_sizes)
        case _:
            return ()


def _compressed(counts: Counts) -> Counts:
    return counts[:1] if len(set(counts)) == 1 else counts


def _numels(sizes: Sequence[Sequence[int]]) -> Counts:
    return tuple(map(_numel, sizes))


def _numel(size: Sequence[int]) -> int:
    return prod(size)


def _listed(sizes: Sequence[Sequence[int]]) -> str:
    return ", ".join(str(_numel(size)) for size in sizes)
