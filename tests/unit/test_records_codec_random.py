"""Records of all kinds, made by chance: they come back from their schedule and from the disk as they were, and ranks that do the same,
under whatever numbers, share what can be shared.
"""

import random
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from fakerun.call_site import CallSite
from fakerun.mesh import Mesh
from fakerun.records.codec import RankDecoder, encode_rank
from fakerun.records.collective import CollectiveOp, CollectiveRecord, Phase, PlacedCall
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.rank_function import RankFunction, RankOperation, RankTest, UnfollowedUse
from fakerun.records.run import FailureKind, GroupCreation, ProcessFailure, RankRecord
from fakerun.records.schedule import ProcessGroup, calls_of
from fakerun.records.store import RecordStore
from tests.unit.records_by_hand import block, program

SEEDS = range(40)
WORLD = 12
MESSAGES = (CollectiveOp.SEND, CollectiveOp.RECV)


def group_by_chance(chance: random.Random, rank: int) -> ProcessGroup:
    """In any order of ranks; named or not by c10d, called something or after its ranks; now and then one that the rank is not in."""
    members = chance.sample(range(WORLD), chance.randint(1, WORLD))
    if rank not in members and chance.random() < 0.8:
        members[chance.randrange(len(members))] = rank
    ranks = tuple(members)
    label = chance.choice(("dp", "world", "my group", "", None))
    return ProcessGroup(label, chance.choice(("", "0", "7", "mesh_tp")), ranks)


def sizes(chance: random.Random) -> tuple[tuple[int, ...], ...]:
    """No tensor, a number, an empty one, many."""
    return tuple(tuple(chance.choice((0, 1, 3, 4096)) for _ in range(chance.randint(0, 3))) for _ in range(chance.randint(0, 3)))


def maybe(chance: random.Random, value: Any) -> Any:
    return value if chance.random() < 0.5 else None


def call_by_chance(chance: random.Random, seq: int, group: ProcessGroup) -> CollectiveRecord:
    op = chance.choice(list(CollectiveOp))
    return CollectiveRecord(
        seq=seq,
        step=chance.randint(0, 3),
        phase=chance.choice(list(Phase)),
        op=op,
        group=group.label,
        group_ranks=group.ranks,
        process_group=group.name,
        dtype=chance.choice(("", "float32", "float8_e4m3fn")),
        input_sizes=sizes(chance),
        output_sizes=sizes(chance),
        nbytes=chance.choice((0, 1, 2**62)),
        reduce_op=maybe(chance, chance.choice(("", "sum", "max"))),
        root=maybe(chance, chance.choice(group.ranks)),
        peer=maybe(chance, chance.choice(group.ranks)) if op in MESSAGES else None,
        tag=maybe(chance, chance.choice((0, 5))),
        input_splits=maybe(chance, chance.choice(((), (0, 3)))),
        output_splits=maybe(chance, chance.choice(((), (3, 0)))),
        is_async=chance.random() < 0.5,
        device=maybe(chance, chance.choice((0, 1))),
        coalesced=maybe(chance, chance.choice((0, 1))),
        waited=chance.random() < 0.5,
        waited_before=maybe(chance, chance.randint(0, 9)),
        module=maybe(chance, chance.choice(("", "layers.0"))),
        call_site=maybe(
            chance, chance.choice((CallSite("train.py", 1, "main"), CallSite("dé/tr\0n.py", 2, "f.<locals>.<lambda>"), CallSite("a:b", 0)))
        ),
    )


SITES = (CallSite("train.py", 1, "main"), CallSite("dé/tr\0n.py", 2, "f.<locals>.<lambda>"), CallSite("a:b", 0))


def function_by_chance(chance: random.Random, depth: int = 3) -> RankFunction:
    """Of numbers as they come: ranks in progressions, out of order, negative, fractions among them."""
    operands = tuple(function_by_chance(chance, depth - 1) for _ in range(chance.randint(0, 2) if depth else 0))
    constants: tuple[int | float, ...] = chance.choice(((), tuple(range(0, 12, 3)), (5, -1, 2**70), (0.5,), (1, 2.0, 3)))
    return RankFunction(operation=chance.choice(list(RankOperation)), operands=operands, constants=constants)


def rank_test_by_chance(chance: random.Random) -> RankTest:
    return RankTest(function=function_by_chance(chance), outcome=chance.choice((0, 1, 2.5)), call_site=maybe(chance, chance.choice(SITES)))


def record_by_chance(seed: int) -> RankRecord:
    chance = random.Random(seed)
    rank = chance.randrange(WORLD)
    groups = [group_by_chance(chance, rank) for _ in range(chance.randint(1, 5))]
    blocks = [
        block(chance.choice((1, 512, 2**40)), chance.choice(list(Category)), device=chance.randint(0, 1))
        for _ in range(chance.randint(0, 4))
    ]
    made = GroupCreation(
        ranks=(3, 1, 0, 2), before=chance.randint(0, 9), count=2, callers=maybe(chance, (3, 1)), call_site=maybe(chance, CallSite("a", 1))
    )
    return RankRecord(
        rank=rank,
        mesh=maybe(chance, Mesh.of(dict(chance.sample([("tp", 2), ("dp", 6), ("a b", 1)], chance.randint(0, 3))))),
        steps=chance.randint(0, 3),
        collectives=tuple(call_by_chance(chance, seq, chance.choice(groups)) for seq in range(chance.randint(0, 30))),
        group_creations=(made,) * chance.randint(0, 2),
        program=program(blocks, range(len(blocks)), maybe(chance, (len(blocks),)) or ()),
        devices=tuple(chance.sample(range(8), 2)),
        findings=(Finding(code=chance.choice(list(FindingCode)), message="½", ranks=(0,)),) * chance.randint(0, 2),
        rank_tests=tuple(rank_test_by_chance(chance) for _ in range(chance.randint(0, 3))),
        unfollowed_uses=(UnfollowedUse(kind="seed", call_site=maybe(chance, SITES[1]), count=2),) * chance.randint(0, 1),
        failure=maybe(chance, ProcessFailure(kind=chance.choice(list(FailureKind)), exception=None, message="")),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_records_come_back_from_their_schedule(seed: int) -> None:
    record = record_by_chance(seed)
    calls = calls_of(record.rank, record.collectives)
    assert tuple(calls) == record.collectives
    assert all(calls[i] == each == calls[i - len(calls)] for i, each in enumerate(record.collectives))
    assert calls[3:7] == record.collectives[3:7]


@pytest.mark.parametrize("seed", SEEDS)
def test_records_come_back_from_bytes(seed: int) -> None:
    record = record_by_chance(seed)
    encoded = encode_rank(record)
    back = RankDecoder(encoded.parts.__getitem__).decode(encoded.document)
    assert back == record
    assert tuple(back.collectives) == record.collectives
    assert back.mesh == record.mesh
    assert repr(back.rank_tests) == repr(record.rank_tests)  # 2 is not 2.0
    assert encode_rank(back) == encoded


def test_records_come_back_from_a_directory(tmp_path: Path) -> None:
    """Other ranks' records beside them, some written twice, as by a rank that is simulated again."""
    records = {record.rank: record for record in map(record_by_chance, SEEDS)}
    RecordStore(tmp_path).begin()
    for seed in SEEDS:
        record = record_by_chance(seed)
        RecordStore(tmp_path).directory(record.rank).mkdir(exist_ok=True)
        RecordStore(tmp_path).write(record)
    store = RecordStore(tmp_path)
    assert {rank: store.read(rank) for rank in store.ranks()} == records
    assert store.read(WORLD) is None


def renamed(record: RankRecord, names: Mapping[int, int]) -> RankRecord:
    """The same rank in a world where all ranks have other numbers."""

    def of(call: CollectiveRecord) -> CollectiveRecord:
        ranks = tuple(names[rank] for rank in call.group_ranks)
        return replace(
            call,
            group_ranks=ranks,
            process_group=f"another {call.process_group}",
            root=None if call.root is None else names[call.root],
            peer=None if call.peer is None else names[call.peer],
        )

    return replace(record, rank=names[record.rank], collectives=tuple(map(of, record.collectives)))


@pytest.mark.parametrize("seed", SEEDS)
def test_other_numbers_make_no_other_schedule(seed: int) -> None:
    record = record_by_chance(seed)
    names = list(range(100, 100 + WORLD))
    random.Random(seed).shuffle(names)
    other = renamed(record, dict(enumerate(names)))
    one, two = calls_of(record.rank, record.collectives), calls_of(other.rank, other.collectives)
    assert one.schedule == two.schedule
    assert encode_rank(record).parts == encode_rank(other).parts
    assert tuple(two) == other.collectives


CALL = replace(call_by_chance(random.Random(0), 0, ProcessGroup("dp", "0", (0, 1))), op=CollectiveOp.GATHER)
OTHERWISE: dict[str, Any] = {
    "op": CollectiveOp.BARRIER,
    "dtype": "int4",
    "input_sizes": ((77,),),
    "output_sizes": ((77,), (1,)),
    "nbytes": 5,
    "reduce_op": "min",
    "tag": 77,
    "input_splits": (77,),
    "output_splits": (77,),
    "is_async": not CALL.is_async,
    "device": 77,
    "coalesced": 77,
    "seq": 77,
    "step": 77,
    "phase": next(phase for phase in Phase if phase is not CALL.phase),
    "waited": not CALL.waited,
    "waited_before": 77,
    "module": "another",
    "call_site": CallSite("another", 1),
}


@pytest.mark.parametrize("name", [field.name for field in fields(PlacedCall)])
def test_every_field_of_a_call_distinguishes_schedules(name: str) -> None:
    """What defines a call is all in here: a new field fails this test until it is."""
    other = replace(CALL, **{name: OTHERWISE[name]})
    assert calls_of(0, [CALL]).schedule != calls_of(0, [other]).schedule
    assert encode_rank(RankRecord(rank=0, collectives=(CALL,))).parts != encode_rank(RankRecord(rank=0, collectives=(other,))).parts


@pytest.mark.parametrize("text", ["caf\udce9.py:3", "\ud800", "\\udce9"], ids=["file name in Latin-1", "half a pair", "an escape"])
def test_text_that_utf8_cannot_hold_comes_back_readable(text: str) -> None:
    record = RankRecord(
        rank=0,
        collectives=(replace(CALL, call_site=CallSite(text, 3)),),
        program=program([block(1, module=text)], [0]),
        findings=(Finding(code=FindingCode.UNKNOWN_VALUE, message=text),),
    )
    encoded = encode_rank(record)
    back = RankDecoder(encoded.parts.__getitem__).decode(encoded.document)
    readable = text.encode("utf-8", "backslashreplace").decode()
    here = back.collectives[0].call_site
    assert here is not None
    assert (here.path, back.program.blocks[0].module, back.findings[0].message) == (readable,) * 3
