"""CollectiveRecord: one collective or point-to-point call of one rank, with the terms of c10d and nccl-tests."""

from dataclasses import dataclass
from enum import StrEnum

from fakerun.call_site import CallSite


class CollectiveOp(StrEnum):
    """torch.distributed's own operation names, without underscores or overloads."""

    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    ALL_GATHER_INTO_TENSOR = "all_gather_into_tensor"
    REDUCE = "reduce"
    REDUCE_SCATTER = "reduce_scatter"
    REDUCE_SCATTER_TENSOR = "reduce_scatter_tensor"
    BROADCAST = "broadcast"
    SCATTER = "scatter"
    GATHER = "gather"
    ALL_TO_ALL = "all_to_all"
    ALL_TO_ALL_SINGLE = "all_to_all_single"
    SEND = "send"
    RECV = "recv"
    BARRIER = "barrier"


P2P_OPS = frozenset({CollectiveOp.SEND, CollectiveOp.RECV})
"""Operations between two members of a group; the others are collectives, which all members issue."""


class Phase(StrEnum):
    """What the rank was doing: `other` is everything outside forward, backward and the optimizer (setup, data, logging, clipping)."""

    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a communication call transfers, and how: everything about it except its peers and its position in the program.

    Sizes are per tensor, in elements; `nbytes` is the nccl-tests message size: the larger of the payload this rank sends
    and the payload it receives, in bytes. `dtype` is torch's name without `torch.`, "" for a barrier.

    No field of a call has a default: code that builds a call from another names all fields, and the type checker reports a missing one.
    """

    op: CollectiveOp
    dtype: str
    input_sizes: tuple[tuple[int, ...], ...]
    output_sizes: tuple[tuple[int, ...], ...]
    nbytes: int
    reduce_op: str | None
    tag: int | None
    input_splits: tuple[int, ...] | None
    output_splits: tuple[int, ...] | None
    is_async: bool
    coalesced: int | None
    """Calls of a rank with the same number were issued as one (`batch_isend_irecv`, a coalescing manager); None if issued alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunicationCall(Payload):
    """A communication call as the process group received it, before it is placed in the program.

    `root` and `peer` are global ranks. `cuda_index` is the device that it runs on (NCCL), as the script numbers devices; None for
    the host (gloo).
    """

    cuda_index: int | None
    group_ranks: tuple[int, ...]
    group_description: str
    """torch's description of the process group: "default_pg", "mesh_tp", "undefined"."""
    process_group: str
    """c10d's name of it ("0", "1", ...): the same on all its ranks if they create their groups in the same order."""
    root: int | None
    peer: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedCall(Payload):
    """A call in the program of a rank: `seq` counts the rank's calls from 0, `call_site` is the line in the user's code.

    `device` is an ordinal into the rank's `RankRecord.devices`, so that ranks that issue the same calls, each on its own device,
    have equal schedules; None for a call that runs on the host (gloo).
    """

    seq: int
    step: int
    phase: Phase
    device: int | None
    waited: bool
    """Whether the script, or torch for it, waited: on the handle, on its future, or by using the result. True if the call is not async."""
    waited_before: int | None
    """For an asynchronous call that was waited for: the `seq` of the first call that was issued after the wait."""
    module: str | None
    call_site: CallSite | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveRecord(PlacedCall):
    """One communication call of one rank: what it transfers, where in the program, and with which ranks.

    `group` is the mesh axis whose ranks the group has, else "world" for all ranks, else torch's description of the group, None if it
    has none. `group_ranks` are global ranks in group order; `root` and `peer` are global ranks.
    """

    group: str | None
    group_ranks: tuple[int, ...]
    process_group: str
    """c10d's name of the process group: the same on all its ranks if they create their groups in the same order."""
    root: int | None
    peer: int | None

    @property
    def group_size(self) -> int:
        return len(self.group_ranks)

    @property
    def bus_bytes(self) -> int:
        """Bytes that cross this rank's links: `nbytes` times the bus factor of the operation, rounded down."""
        numerator, denominator = bus_factor(self.op, self.group_size)
        return self.nbytes * numerator // denominator


_HALF_RING = frozenset(
    {
        CollectiveOp.ALL_GATHER,
        CollectiveOp.ALL_GATHER_INTO_TENSOR,
        CollectiveOp.REDUCE_SCATTER,
        CollectiveOp.REDUCE_SCATTER_TENSOR,
        CollectiveOp.ALL_TO_ALL,
        CollectiveOp.ALL_TO_ALL_SINGLE,
    }
)


def bus_factor(op: CollectiveOp, group_size: int) -> tuple[int, int]:
    """The nccl-tests bus factor of `op` over `group_size` ranks, as (numerator, denominator).

    Source: NVIDIA nccl-tests, doc/PERFORMANCE.md, "Bus Bandwidth".
    """
    if group_size == 1:
        return 0, 1
    if op is CollectiveOp.ALL_REDUCE:
        return 2 * (group_size - 1), group_size
    if op in _HALF_RING:
        return group_size - 1, group_size
    return 1, 1
