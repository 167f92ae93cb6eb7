"""How findings speak of calls, groups and ranks."""

from collections.abc import Iterable, Sequence

from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.units import format_ranks

_LONG = 60
"""Characters that a list of ranks may take."""


def who(ranks: Iterable[int]) -> str:
    """`rank 3`, `ranks 0-3`, `128 ranks (0,8,16,...,1016)`."""
    numbers = sorted(set(ranks))
    listed = format_ranks(numbers)
    if len(listed) > _LONG:
        return f"{len(numbers)} ranks ({','.join(map(str, numbers[:3]))},...,{numbers[-1]})"
    return f"rank{'s' * (len(numbers) > 1)} {listed}"


def named(record: CollectiveRecord) -> str:
    """`group dp (ranks 0,4)`, `group of ranks 0,4`."""
    ranks = who(record.group_ranks)
    return f"group of {ranks}" if record.group is None else f"group {record.group} ({ranks})"


def call(record: CollectiveRecord) -> str:
    """`all_reduce of float32[250] at train.py:20`."""
    sizes = record.input_sizes or record.output_sizes
    of = f" of {record.dtype}{', '.join(_size(size) for size in sizes[:1])}{' ...' * (len(sizes) > 1)}" if sizes else ""
    reduction = f" ({record.reduce_op})" if record.reduce_op not in (None, "sum") else ""
    root = f" from root {record.root}" if record.root is not None and record.op in (CollectiveOp.BROADCAST, CollectiveOp.SCATTER) else ""
    to = f" to root {record.root}" if record.root is not None and not root else ""
    return f"{record.op}{reduction}{of}{root}{to}{at(record)}"


def at(record: CollectiveRecord) -> str:
    """` at train.py:20`, or nothing."""
    return f" at {record.call_site}" if record.call_site else ""


def on(record: CollectiveRecord, position: int) -> str:
    """`collective 3 of group dp (ranks 0,4)`."""
    return f"collective {position} of {named(record)}"


def _size(size: Sequence[int]) -> str:
    return f"[{','.join(map(str, size))}]"
