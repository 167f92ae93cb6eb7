"""CallShape: what of a communication call its cost depends on, in nccl-tests' terms."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fakerun.hardware.collective_times import CollectiveKind
from fakerun.records.collective import P2P_OPS, CollectiveOp, CollectiveRecord

_KINDS = {
    CollectiveOp.ALL_REDUCE: CollectiveKind.ALL_REDUCE,
    CollectiveOp.ALL_GATHER: CollectiveKind.ALL_GATHER,
    CollectiveOp.ALL_GATHER_INTO_TENSOR: CollectiveKind.ALL_GATHER,
    CollectiveOp.REDUCE: CollectiveKind.REDUCE,
    CollectiveOp.REDUCE_SCATTER: CollectiveKind.REDUCE_SCATTER,
    CollectiveOp.REDUCE_SCATTER_TENSOR: CollectiveKind.REDUCE_SCATTER,
    CollectiveOp.BROADCAST: CollectiveKind.BROADCAST,
    CollectiveOp.SCATTER: CollectiveKind.SCATTER,
    CollectiveOp.GATHER: CollectiveKind.GATHER,
    CollectiveOp.ALL_TO_ALL: CollectiveKind.ALL_TO_ALL,
    CollectiveOp.ALL_TO_ALL_SINGLE: CollectiveKind.ALL_TO_ALL,
    CollectiveOp.SEND: CollectiveKind.SEND_RECV,
    CollectiveOp.RECV: CollectiveKind.SEND_RECV,
    CollectiveOp.BARRIER: CollectiveKind.ALL_REDUCE,
}
"""How each call is measured. NCCL has no barrier: torch all-reduces one element (ProcessGroupNCCL.cpp, `barrier`)."""

_BARRIER_BYTES = 4

_MULTICAST_DTYPES = {
    "sum": frozenset({"float16", "bfloat16", "float32", "float64", "int32", "uint32", "int64", "uint64"}),
    "min": frozenset({"float16", "bfloat16", "int32", "uint32", "int64", "uint64"}),
    "max": frozenset({"float16", "bfloat16", "int32", "uint32", "int64", "uint64"}),
}
"""What NVSwitch reduces by itself (NCCL 2.27, src/device/generate.py and `ncclNvlsSupported`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallShape:
    """A call among global ranks `members`: of `nbytes` as nccl-tests counts them for `kind`.

    `may_multicast`: the switch can reduce these elements by itself (NVLS). For sends and receives `members` are the two ends, in any
    order.
    """

    kind: CollectiveKind
    nbytes: int
    members: tuple[int, ...]
    may_multicast: bool = False


def call_shape(
    op: CollectiveOp,
    nbytes: int,
    group_ranks: Sequence[int],
    *,
    dtype: str = "",
    reduce_op: str | None = "sum",
    peer: int | None = None,
    rank: int | None = None,
) -> CallShape:
    """The shape of a call of evenly split messages: `nbytes` in all, among `group_ranks`.

    `rank` is who issues it; a send or receive of an unknown rank is taken to be between `peer` and the nearest other member.
    """
    members = tuple(group_ranks)
    if op in P2P_OPS and peer is not None:
        members = _ends(members, peer, rank)
    return CallShape(
        kind=_KINDS[op],
        nbytes=_BARRIER_BYTES if op is CollectiveOp.BARRIER else nbytes,
        members=members,
        may_multicast=op is CollectiveOp.BARRIER or (op is CollectiveOp.ALL_REDUCE and may_multicast(dtype, reduce_op)),
    )


def shape_of(call: CollectiveRecord, rank: int | None = None) -> CallShape:
    """The shape of a recorded call of `rank`. Uneven messages count as if all were as large as the largest."""
    return call_shape(
        call.op,
        _whole_bytes(call),
        call.group_ranks,
        dtype=call.dtype,
        reduce_op=call.reduce_op,
        peer=call.peer,
        rank=rank,
    )


def may_multicast(dtype: str, reduce_op: str | None) -> bool:
    """Whether NVSwitch can reduce such elements; it does not average, for example. Of an unknown dtype it is taken that it can."""
    dtypes = _MULTICAST_DTYPES.get(reduce_op or "sum", frozenset())
    return bool(dtypes) and (not dtype or dtype in dtypes)


def _ends(members: tuple[int, ...], peer: int, rank: int | None) -> tuple[int, ...]:
    if rank is None:
        others = [member for member in members if member != peer]
        rank = min(others, key=lambda member: abs(member - peer), default=peer)
    return (rank, peer) if rank != peer else (peer,)


def _whole_bytes(call: CollectiveRecord) -> int:
    """`nbytes` of the whole operation: a rank that is not the root of a gather or scatter has only its part of it.

    The exchange of an uneven all-to-all takes as long as its largest pair in every place would: NCCL's rounds wait for each other.
    """
    if call.op in (CollectiveOp.GATHER, CollectiveOp.SCATTER):
        is_root = len(call.output_sizes if call.op is CollectiveOp.GATHER else call.input_sizes) > 1
        return call.nbytes if is_root else call.nbytes * call.group_size
    if call.op in (CollectiveOp.ALL_TO_ALL, CollectiveOp.ALL_TO_ALL_SINGLE):
        return max(call.nbytes, round(_largest_pair_share(call) * call.group_size * call.nbytes))
    return call.nbytes


def _largest_pair_share(call: CollectiveRecord) -> float:
    """The largest message of an all-to-all, as a share of all that this rank sends or receives, whichever is more."""
    sent, received = (_pairs(*side) for side in ((call.input_splits, call.input_sizes), (call.output_splits, call.output_sizes)))
    whole = max(sum(sent), sum(received))
    return max((*sent, *received)) / whole if whole else 0.0


def _pairs(splits: tuple[int, ...] | None, sizes: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Elements of the message to, or from, each rank. Splits are of the first dimension of the one tensor."""
    if splits:
        (size,) = sizes
        return tuple(split * prod(size[1:]) for split in splits)
    return tuple(prod(size) for size in sizes)
