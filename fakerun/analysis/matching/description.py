"""How findings describe calls and groups."""

from collections.abc import Iterable, Sequence

from fakerun.call_site import CallSite
from fakerun.records.collective import P2P_OPS, CollectiveOp, CollectiveRecord
from fakerun.units import join_words, name_ranks

_MAX_LABELS = 4
"""Groups that a sentence names."""


def describe_group(record: CollectiveRecord, *, with_name: bool = False) -> str:
    """`group dp (ranks 0 and 4)`, `the group of ranks 0 and 4`; `with_name` adds c10d's: `group dp (ranks 0 and 4, process group 2)`."""
    ranks = name_ranks(record.group_ranks)
    if record.group is None:
        return f"process group {record.process_group} of {ranks}" if with_name else f"the group of {ranks}"
    return f"group {record.group} ({ranks}{f', process group {record.process_group}' * with_name})"


def describe_label(label: str | None, ranks: Sequence[int]) -> str:
    """`dp`; `of ranks 0 and 4` for a group without a name."""
    return label or f"of {name_ranks(ranks)}"


def describe_groups(labels: Iterable[str]) -> str:
    """Groups by label: `group dp`, `groups dp and tp`, `group world and the group of ranks 0-2`."""
    distinct = set(labels)
    unnamed = {label for label in distinct if label.startswith("of ")}
    parts = ((distinct - unnamed, "group"), (unnamed, "the group"))
    return " and ".join(f"{word}{'s' * (len(some) > 1)} {list_labels(some)}" for some, word in parts if some)


def list_labels(labels: Iterable[str]) -> str:
    """Labels in order, each once: `dp and tp`; many are cut short."""
    distinct = sorted(set(labels))
    shown = distinct[:_MAX_LABELS]
    return join_words(shown) if len(distinct) <= _MAX_LABELS else f"{', '.join(shown)} and {len(distinct) - _MAX_LABELS} more"


def describe_call(record: CollectiveRecord) -> str:
    """`all_reduce float32[4,16] at train.py:20`, `send float32[8] to rank 1 at train.py:3`."""
    sizes = record.input_sizes or record.output_sizes
    tensor = f" {record.dtype}{_shape(sizes[0])}" if sizes else ""
    others = f" and {len(sizes) - 1} more tensor{'s' * (len(sizes) > 2)}" if len(sizes) > 1 else ""
    reduction = f" ({record.reduce_op})" if record.reduce_op not in (None, "sum") else ""
    return f"{record.op}{tensor}{others}{reduction}{_partner(record)}{at(record)}"


def at(record: CollectiveRecord) -> str:
    """` at train.py:20`, or nothing."""
    return f" at {record.call_site}" if record.call_site else ""


def describe_position(record: CollectiveRecord, position: int, *, with_name: bool = False) -> str:
    """`collective #3 of group dp (ranks 0 and 4)`."""
    return f"collective #{position} of {describe_group(record, with_name=with_name)}"


def _partner(record: CollectiveRecord) -> str:
    if record.op in P2P_OPS:
        word = "to" if record.op is CollectiveOp.SEND else "from"
        return f" {word} {'any rank' if record.peer is None else f'rank {record.peer}'}"
    if record.root is None:
        return ""
    return f" {'from' if record.op in (CollectiveOp.BROADCAST, CollectiveOp.SCATTER) else 'to'} root {record.root}"


def _shape(size: Sequence[int]) -> str:
    return f"[{','.join(map(str, size))}]"


def other_sites(own: CallSite | None, sites: Iterable[CallSite | None]) -> tuple[CallSite, ...]:
    """Each of the sites once, in order, that is known and is not the finding's own."""
    return tuple(dict.fromkeys(site for site in sites if site is not None and site != own))
