"""How findings speak of calls, groups and ranks."""

from collections.abc import Iterable, Sequence

from fakerun.analysis.matching.cast import Group
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


def named(group: Group) -> str:
    """`group dp (ranks 0,4)`."""
    return f"group {group.label} ({who(group.ranks)})"


def alike(groups: Sequence[Group]) -> str:
    """What to add where the same holds for further groups: ` (in 127 other groups alike: dp)`."""
    labels = sorted({group.label for group in groups[1:]})
    shown = ", ".join(labels[:3]) + ", ..." * (len(labels) > 3)
    return f" (in {len(groups) - 1} other group{'s' * (len(groups) > 2)} alike: {shown})" if len(groups) > 1 else ""


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


def on(group: Group, record: CollectiveRecord, position: int) -> str:
    """`collective 3 of group dp (ranks 0,4)`."""
    return f"collective {position} of group {record.group} ({who(group.ranks)})"


def _size(size: Sequence[int]) -> str:
    return f"[{','.join(map(str, size))}]"
