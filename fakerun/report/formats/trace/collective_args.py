"""What Kineto says of a communication call, in its operator and in its kernel (torch/csrc/profiler/util.cpp, `saveNcclMeta`)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from fakerun.records.collective import P2P_OPS, CollectiveOp, CollectiveRecord
from fakerun.report.formats.trace.names import collective_name, scalar_type

_LONGEST_LIST = 30
"""Elements of a list that Kineto writes down; of a longer one it writes these and the last."""


def collective_args(call: CollectiveRecord, rank: int, number: int | None) -> Mapping[str, object]:
    """`rank` is the one that calls, `number` that of the call among those of its process group, None if it is coalesced with others."""
    args: dict[str, object] = {
        "Collective name": collective_name(call),
        "In msg nelems": _elements(call.input_sizes),
        "Out msg nelems": _elements(call.output_sizes),
        "Group size": call.group_size,
        "dtype": scalar_type(call.dtype),
        "In split size": _listed(call.input_splits or ()),
        "Out split size": _listed(call.output_splits or ()),
        "Process Group Name": call.process_group,
        "Process Group Description": call.group or "undefined",
        "Process Group Ranks": _listed(call.group_ranks),
        "Rank": call.group_ranks.index(rank) if rank in call.group_ranks else -1,
        "Is asynchronized op": call.is_async,
    }
    if call.op is CollectiveOp.SEND:
        args["Dst Rank"] = call.peer
    if call.op is CollectiveOp.RECV:
        args["Src Rank"] = call.peer
    if number is not None:
        args["Seq"] = number
    return args


def sequence_numbers(calls: Sequence[CollectiveRecord], seqs: Iterable[int]) -> Mapping[int, int]:
    """For each index of `seqs` into a rank's calls, which collective, or which send or receive, of its process group it is, from 1."""
    wanted = set(seqs)
    counts: Counter[tuple[str, bool]] = Counter()
    numbers = {}
    for index in range(max(wanted, default=-1) + 1):
        call = calls[index]
        key = (call.process_group, call.op in P2P_OPS)
        counts[key] += 1
        if index in wanted:
            numbers[index] = counts[key]
    return numbers


def _elements(sizes: Iterable[tuple[int, ...]]) -> int:
    return sum(map(math.prod, sizes))


def _listed(numbers: Sequence[int]) -> str:
    """As Kineto does: a list as text."""
    if len(numbers) <= _LONGEST_LIST:
        return str(list(numbers))
    return f"[{', '.join(map(str, numbers[:_LONGEST_LIST]))}, ..., {numbers[-1]}]"
