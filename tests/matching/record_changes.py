"""Changes to a rank's records, each at one call, and the finding that each must cause."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fakerun.records.collective import P2P_OPS, CollectiveOp, CollectiveRecord
from fakerun.records.finding_code import FindingCode
from tests.unit.records_by_hand import site

Calls = tuple[CollectiveRecord, ...]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change to a rank's calls at a position, the positions that it applies to, and the code of the finding that it must cause."""

    code: str
    make: Callable[[Calls, int], Calls]
    where: Callable[[Calls, int], bool]


def in_place(calls: Calls, change: Change, position: int) -> Calls:
    """The calls with the change, renumbered; each is waited for before the same call as before."""
    new = change.make(calls, position)
    return tuple(replace(call, seq=seq, waited_before=_moved(call.waited_before, new)) for seq, call in enumerate(new))


def _moved(waited_before: int | None, new: Calls) -> int | None:
    if waited_before is None:
        return None
    return next((position for position, call in enumerate(new) if call.seq >= waited_before), len(new))


def of_groups(test: Callable[[CollectiveRecord], bool]) -> Callable[[Calls, int], bool]:
    return lambda calls, position: calls[position].op not in P2P_OPS and calls[position].group_size > 2 and test(calls[position])


def is_a(op: CollectiveOp) -> Callable[[Calls, int], bool]:
    return lambda calls, position: calls[position].op is op


def leave_out(calls: Calls, position: int) -> Calls:
    return (*calls[:position], *calls[position + 1 :])


def add(calls: Calls, position: int) -> Calls:
    """An all-reduce that no other rank issues, in the same group."""
    extra = replace(
        calls[position],
        op=CollectiveOp.ALL_REDUCE,
        dtype="float64",
        input_sizes=((77,),),
        output_sizes=((77,),),
        reduce_op="sum",
        root=None,
        is_async=False,
        call_site=site("extra.py:1"),
    )
    return (*calls[:position], extra, *calls[position:])


def swap(calls: Calls, position: int) -> Calls:
    return (*calls[:position], calls[position + 1], calls[position], *calls[position + 2 :])


def can_be_swapped(calls: Calls, position: int) -> bool:
    """Whether the next call is a different one on the same group."""
    one, other = calls[position], calls[min(position + 1, len(calls) - 1)]
    are_equal = (one.op, one.dtype, one.input_sizes, one.root) == (other.op, other.dtype, other.input_sizes, other.root)
    can_swap = one.group_ranks == other.group_ranks and not one.is_async and not other.is_async
    return any_collective(calls, position) and can_swap and not are_equal


def changed(change: Callable[[CollectiveRecord], CollectiveRecord]) -> Callable[[Calls, int], Calls]:
    return lambda calls, position: (*calls[:position], change(calls[position]), *calls[position + 1 :])


def twice_as_large(call: CollectiveRecord) -> CollectiveRecord:
    return replace(call, input_sizes=_twice(call.input_sizes), output_sizes=_twice(call.output_sizes))


def _twice(sizes: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    return tuple((2 * size[0], *size[1:]) if size else (2,) for size in sizes)


def other_dtype(call: CollectiveRecord) -> CollectiveRecord:
    return replace(call, dtype="float16")


def other_reduction(call: CollectiveRecord) -> CollectiveRecord:
    return replace(call, reduce_op="min" if call.reduce_op == "max" else "max")


def other_root(call: CollectiveRecord) -> CollectiveRecord:
    return replace(call, root=next(rank for rank in call.group_ranks if rank != call.root))


def other_operation(call: CollectiveRecord) -> CollectiveRecord:
    return replace(call, op=CollectiveOp.REDUCE, root=call.group_ranks[0])


any_collective = of_groups(lambda call: True)


def any_call(calls: Calls, position: int) -> bool:
    """A p2p call, or a collective of a group that has a majority."""
    return calls[position].op in P2P_OPS or any_collective(calls, position)


CHANGES = {
    "a call left out": Change(code=FindingCode.MISSING_COLLECTIVE, make=leave_out, where=any_collective),
    "a send left out": Change(
        code=FindingCode.RECV_WITHOUT_SEND, make=leave_out, where=lambda calls, position: calls[position].op is CollectiveOp.SEND
    ),
    "a receive left out": Change(code=FindingCode.SEND_WITHOUT_RECV, make=leave_out, where=is_a(CollectiveOp.RECV)),
    "a call added": Change(code=FindingCode.EXTRA_COLLECTIVE, make=add, where=any_collective),
    "two calls swapped": Change(code=FindingCode.SWAPPED_COLLECTIVES, make=swap, where=can_be_swapped),
    "twice as large": Change(code=FindingCode.SIZE_MISMATCH, make=changed(twice_as_large), where=any_call),
    "another dtype": Change(code=FindingCode.DTYPE_MISMATCH, make=changed(other_dtype), where=any_call),
    "another reduction": Change(
        code=FindingCode.REDUCE_OP_MISMATCH, make=changed(other_reduction), where=of_groups(lambda call: call.reduce_op is not None)
    ),
    "another root": Change(code=FindingCode.ROOT_MISMATCH, make=changed(other_root), where=of_groups(lambda call: call.root is not None)),
    "another operation": Change(
        code=FindingCode.OPERATION_MISMATCH, make=changed(other_operation), where=of_groups(lambda call: call.op is CollectiveOp.ALL_REDUCE)
    ),
}
