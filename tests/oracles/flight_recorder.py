"""torch's flight recorder analyser as an oracle: our records in the recorder's dump format, and what torch's own tool says of them.

The recorder keeps, on a real cluster, what each rank handed to its communication library; the tool matches the dumps of all ranks when
a job hangs. It comes with torch as `torch.distributed.flight_recorder`, in most versions that fakerun runs on.
"""

import gc
import logging
import pickle
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fakerun.call_site import CallSite
from fakerun.records.collective import P2P_OPS, CollectiveOp, CollectiveRecord
from fakerun.records.run import RankRecord

VERSION = "2.10"
"""Of the format, not of torch: the newest that the tool of torch 2.13 and 2.15 knows."""

MATCHED = "FULLY_MATCHED"
NOT_ALL_JOINING = "NOT_ALL_JOINING"
MESSAGES_DIFFER = "MESSAGES_DIFFER"
UNDECIDED = "UNDECIDED"
"""The names of torch's MatchState, and three for what the tool says without one of those."""


class Library(StrEnum):
    """Whose recorder wrote the dump: they call the same operations by other names, and the tool checks by name."""

    NCCL = "nccl"
    NCCLX = "ncclx"
    """As torchcomms' libraries do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the tool says of one collective of a group: `position` counts the group's collectives from 0, None: of its messages."""

    group: str
    group_ranks: tuple[int, ...]
    position: int | None
    state: str
    culprits: tuple[int, ...] = ()
    """Whom the tool blames: those that differ from the first rank, or that are missing."""


def verdicts(ranks: Sequence[RankRecord], library: Library = Library.NCCL) -> tuple[Verdict, ...]:
    """What the tool says of these ranks, group by group up to the first thing that is wrong there, behind which it compares nothing."""
    with TemporaryDirectory() as directory:
        write_dumps(ranks, Path(directory), library)
        database = _database(Path(directory))
    return tuple(_verdicts(database, ranks))


def write_dumps(ranks: Iterable[RankRecord], directory: Path, library: Library = Library.NCCL) -> None:
    """Write `rank_0`, `rank_1`, ..., as the recorder would when the ranks have come to their ends."""
    for rank in ranks:
        groups = {record.process_group: record for record in rank.collectives}
        dump = {
            "version": VERSION,
            "pg_config": {name: _config(record) for name, record in groups.items()},
            "pg_status": {},
            "comm_lib_version": "",
            "entries": list(_entries(rank, library)),
        }
        (directory / f"rank_{rank.rank}").write_bytes(pickle.dumps(dump))


# -- records as dumps --------------------------------------------------------------------------------------------------------------------


def _config(record: CollectiveRecord) -> Mapping[str, str]:
    return {"name": record.process_group, "desc": record.group or "undefined", "ranks": str(list(record.group_ranks))}


def _entries(rank: RankRecord, library: Library) -> Iterator[dict[str, Any]]:
    collectives, messages = Counter[str](), Counter[str]()
    record_id = 0
    for unit in _units(rank.collectives):
        first = unit[0]
        is_message = first.op in P2P_OPS
        (messages if is_message else collectives)[first.process_group] += 1
        shared: dict[str, Any] = {
            "collective_seq_id": collectives[first.process_group],
            "p2p_seq_id": messages[first.process_group],
            "is_p2p": is_message,
            "process_group": (first.process_group, first.group),
            "pg_id": 0,
        }
        for record, operation in _operations(rank.rank, unit, library):
            yield {**shared, **operation, **_circumstances(rank, record), "record_id": record_id, "op_id": record_id}
            record_id += 1


def _units(records: Iterable[CollectiveRecord]) -> Iterator[list[CollectiveRecord]]:
    """Calls that were issued as one have one sequence number."""
    for (batch, _), calls in groupby(records, lambda record: (record.coalesced, record.process_group)):
        issued = list(calls)
        yield from [issued] if batch is not None else ([call] for call in issued)


def _operations(rank: int, unit: Sequence[CollectiveRecord], library: Library) -> Iterator[tuple[CollectiveRecord, Mapping[str, Any]]]:
    """What is entered for calls issued as one; a last entry closes what is more than one operation."""
    last = unit[-1]
    parts = [(record, part) for record in unit for part in _parts(rank, record, library)]
    for record, (name, inputs, outputs) in parts:
        yield record, _operation(library, name, record, inputs, outputs)
    if last.op in P2P_OPS and last.coalesced is not None:
        yield last, _operation(library, "coalesced", last, (), ())
    elif len(parts) > 1:
        of_parts = {CollectiveOp.ALL_GATHER: "ALLGATHER_coalesced", CollectiveOp.REDUCE_SCATTER: "REDUCE_SCATTER_coalesced"}
        yield last, _operation(library, of_parts[last.op] if len(unit) == 1 else "coalesced", last, (), ())


_Sizes = Sequence[Sequence[int]]
_Part = tuple[str, _Sizes, _Sizes]


def _parts(rank: int, record: CollectiveRecord, library: Library) -> Iterable[_Part]:
    """One call by name, inputs and outputs: NCCL does a list of unequal tensors one by one, a list of equal ones in one buffer."""
    inputs, outputs = record.input_sizes, record.output_sizes
    match record.op:
        case CollectiveOp.SEND | CollectiveOp.RECV:
            return [(_message(rank, record), inputs or outputs, outputs or inputs)]
        case CollectiveOp.ALL_GATHER if len(inputs) == 1:
            if len(set(outputs)) > 1:
                return [("_broadcast_oop", [size], [size]) for size in outputs]
            return [("all_gather", inputs, _in_one_buffer(outputs))]
        case CollectiveOp.REDUCE_SCATTER if len(outputs) == 1:
            if len(set(inputs)) > 1:
                return [("_reduce_oop", [size], [size]) for size in inputs]
            return [("reduce_scatter", _in_one_buffer(inputs), outputs)]
        case CollectiveOp.BARRIER:
            return [("all_reduce_barrier", [(1,)], [(1,)])]
        case _:
            return [(_name(record, library), inputs, outputs)]


def _name(record: CollectiveRecord, library: Library) -> str:
    several = len(record.input_sizes) > 1
    ncclx = library is Library.NCCLX
    match record.op:
        case CollectiveOp.ALL_REDUCE:
            return "allreduce_coalesced" if several else "all_reduce"
        case CollectiveOp.ALL_GATHER_INTO_TENSOR:
            return "all_gather_into_tensor_coalesced" if several else "all_gather_single" if ncclx else "_all_gather_base"
        case CollectiveOp.REDUCE_SCATTER_TENSOR:
            return "reduce_scatter_tensor_coalesced" if several else "reduce_scatter_single" if ncclx else "_reduce_scatter_base"
        case CollectiveOp.ALL_TO_ALL_SINGLE if ncclx:
            return "all_to_all_v_single" if record.input_splits else "all_to_all_single"
        case CollectiveOp.ALL_TO_ALL_SINGLE:
            return "all_to_all"
        case op:
            return op.value


def _message(rank: int, record: CollectiveRecord) -> str:
    """`send 0->1`, `recv 1<-0`, by places in the group."""
    assert record.peer is not None, "NCCL receives from no unknown source"
    own, peer = record.group_ranks.index(rank), record.group_ranks.index(record.peer)
    return f"send {own}->{peer}" if record.op is CollectiveOp.SEND else f"recv {own}<-{peer}"


def _in_one_buffer(sizes: _Sizes) -> _Sizes:
    return [(len(sizes), *sizes[0])] if sizes else sizes


def _operation(library: Library, name: str, record: CollectiveRecord, inputs: _Sizes, outputs: _Sizes) -> Mapping[str, Any]:
    """A rank that gives or gets nothing has one tensor that is not there."""
    backend = "gloo" if record.device is None else library
    return {"profiling_name": f"{backend}:{name}", **_tensors("input", record, inputs), **_tensors("output", record, outputs)}


def _tensors(side: str, record: CollectiveRecord, sizes: _Sizes) -> Mapping[str, Any]:
    dtype = _DTYPES.get(record.dtype, record.dtype)
    return {f"{side}_sizes": [list(size) for size in sizes] or [[0]], f"{side}_dtypes": [dtype] * max(len(sizes), 1)}


_DTYPES = {
    "": "Float",  # a barrier reduces one number
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}
"""c10's names of dtypes, where they are not torch's."""


def _circumstances(rank: RankRecord, record: CollectiveRecord) -> Mapping[str, Any]:
    """Where the call was made, in which the tool gives back which call it was, and how far it came."""
    site = record.call_site or CallSite("?", 0)
    unfinished = rank.failure is not None and not record.waited
    return {
        "frames": [{"name": f"{rank.rank} {record.seq}", "filename": site.path, "line": site.line}],
        "state": "scheduled" if unfinished else "completed",
        "retired": not unfinished,
        "time_created_ns": record.seq,
        "time_discovered_started_ns": None,
        "time_discovered_completed_ns": None,
        "timeout_ms": 600_000,
        "thread_id": 0,
        "thread_name": "",
    }


# -- what the tool says ------------------------------------------------------------------------------------------------------------------


def _database(directory: Path) -> Any:
    """As the `torchfrtrace` command, but with the ranks in order: the tool compares with the first, which there is a matter of luck."""
    from torch.distributed.flight_recorder.components.builder import build_db
    from torch.distributed.flight_recorder.components.config_manager import JobConfig
    from torch.distributed.flight_recorder.components.loader import read_dir

    arguments = JobConfig().parse_args([str(directory), "--allow-incomplete-ranks", "--mismatch_cap", "1000000"])
    with _quiet(), _collecting_garbage():
        details, version = read_dir(arguments)
        in_order = dict(sorted(details.items(), key=lambda each: int(each[1]["rank"])))
        return build_db(in_order, arguments, version)


@contextmanager
def _quiet() -> Iterator[None]:
    """The tool writes each mismatch to the stderr that there was when it was imported, which a test may have closed."""
    logger = logging.getLogger("Flight Recorder")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _collecting_garbage() -> Iterator[None]:
    """torch 2.13's tool turns garbage collection off and leaves it so; 2.15's turns it on again."""
    was_enabled = gc.isenabled()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    ranks: tuple[int, ...]


def _verdicts(database: Any, ranks: Sequence[RankRecord]) -> Iterator[Verdict]:
    places = _places(ranks)
    matched: dict[int, set[int]] = defaultdict(set)
    for call in database.ncclcalls:
        if call.collective_id is not None:
            matched[call.collective_id].add(call.global_rank)
    dumped = {rank.rank for rank in ranks}
    faulty: set[_Group] = set()
    for collective in database.collectives:
        rank, seq = map(int, collective.collective_frames[0]["name"].split())
        group, position = places[rank, seq]
        if group in faulty:
            continue
        state, culprits = _said(collective, all_matched=matched[collective.id] >= set(group.ranks), all_dumped=dumped >= set(group.ranks))
        if state != MATCHED:
            faulty.add(group)
        yield Verdict(group=group.name, group_ranks=group.ranks, position=position, state=state, culprits=culprits)
    for group in sorted(_with_unmatched_messages(database, places) - faulty, key=str):
        yield Verdict(group=group.name, group_ranks=group.ranks, position=None, state=MESSAGES_DIFFER)


def _said(collective: Any, *, all_matched: bool, all_dumped: bool) -> tuple[str, tuple[int, ...]]:
    """`pass_check` is no verdict: it is true also of what was not compared, or has ranks missing."""
    if all_matched:
        return MATCHED, ()
    if collective.missing_ranks:
        return NOT_ALL_JOINING, tuple(sorted(collective.missing_ranks))
    if collective.mismatch_collectives:
        culprits = tuple(sorted(collective.mismatch_collectives))
        return collective.mismatch_collectives[culprits[0]].type_of_mismatch.state.name, culprits
    return MESSAGES_DIFFER if all_dumped else UNDECIDED, ()


def _with_unmatched_messages(database: Any, places: Mapping[tuple[int, int], tuple[_Group, int | None]]) -> set[_Group]:
    """Of messages issued as one that do not match, the tool keeps nothing but that they belong to no collective."""
    groups = {(rank, group.name): group for (rank, _), (group, _) in places.items()}
    return {groups[call.global_rank, call.group_id] for call in database.ncclcalls if call.collective_id is None}


def _places(ranks: Iterable[RankRecord]) -> Mapping[tuple[int, int], tuple[_Group, int | None]]:
    """The group of each call by rank and `seq`, and which of its collectives it is."""
    places: dict[tuple[int, int], tuple[_Group, int | None]] = {}
    for rank in ranks:
        made: Counter[_Group] = Counter()
        for record in rank.collectives:
            group = _Group(record.process_group, record.group_ranks)
            if record.op in P2P_OPS:
                places[rank.rank, record.seq] = group, None
            else:
                places[rank.rank, record.seq] = group, made[group]
                made[group] += 1
    return places
