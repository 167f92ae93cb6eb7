"""Records and jobs survive encoding and decoding; other bytes are refused with a message."""

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.errors import UsageError
from fakerun.job.codec import decode_job, encode_job
from fakerun.job.mesh import MeshSpec
from fakerun.job.routing import Routing
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh
from fakerun.records.codec import EncodedRank, RankDecoder, encode_rank
from fakerun.records.collective import CollectiveOp, CollectiveRecord, Phase
from fakerun.records.device_program import (
    BlockUses,
    DeviceProgram,
    DeviceStream,
    Instruction,
    Opcode,
    Operation,
    PoolKind,
    PoolOrigin,
    program_of,
)
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category, MemoryBlock
from fakerun.records.rank_function import RankFunction, RankOperation, RankTest
from fakerun.records.run import FailureKind, GroupCreation, ModelInput, ProcessFailure, RankRecord
from tests.unit.records_by_hand import H100, collective, llama_8b_rank, site

FULL_RECORD = RankRecord(
    rank=3,
    mesh=Mesh.of({"pp": 2, "dp": 1, "tp": 2}),
    steps=2,
    collectives=(
        CollectiveRecord(
            seq=0,
            step=1,
            phase=Phase.BACKWARD,
            op=CollectiveOp.ALL_TO_ALL_SINGLE,
            group="tp",
            group_ranks=(2, 3),
            dtype="bfloat16",
            input_sizes=((4, 8), ()),
            output_sizes=((32,),),
            nbytes=64,
            reduce_op="SUM",
            root=2,
            peer=3,
            tag=7,
            input_splits=(1, 3),
            output_splits=(2, 2),
            is_async=True,
            coalesced=0,
            device=1,
            waited=True,
            waited_before=3,
            module="layers.0.attention",
            call_site=site("train.py:88"),
            process_group="5",
        ),
    ),
    group_creations=(
        GroupCreation(ranks=(2, 3), before=0, call_site=site("train.py:7")),
        GroupCreation(ranks=(0, 2, 1, 3), before=1, count=2, callers=(0, 1, 2, 3)),
    ),
    program=DeviceProgram(
        blocks=(
            MemoryBlock(
                nbytes=1024,
                requested_bytes=600,
                category=Category.ACTIVATION,
                phase=Phase.FORWARD,
                module=None,
                call_site=None,
                shape=(300,),
                dtype="float16",
                device=1,
                stream=1,
            ),
        ),
        operations=(Operation("aten.mm.default", "float16[3,4], float16[4,5]", "float16[3,5]"),),
        streams=(DeviceStream(device=0), DeviceStream(device=1, priority=-1, index=3)),
        settings=("expandable_segments:True",),
        uses=(BlockUses(reads=(0, 1), writes=(2,)), BlockUses(reads=(2,))),
        instructions=(
            Instruction(Opcode.ALLOCATE),
            Instruction(Opcode.EXECUTE, 0, 1),
            Instruction(Opcode.FREE),
            Instruction(Opcode.CHANGE_SETTINGS),
            Instruction(Opcode.USE_BLOCKS, 1),
        ),
        order=(0, 1, 4, 2, 0, 1, 2, 3),
        step_ends=(4, 7),
    ),
    devices=(3, 0),
    findings=(Finding(code=FindingCode.UNKNOWN_VALUE, message="a loss", ranks=(3,), call_site=site("train.py:9"), hint="none"),),
    failure=ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="naïve \U0001f600", traceback="Traceback\n"),
    torch_version="2.13.0",
    memory_variables={"PYTORCH_ALLOC_CONF": "expandable_segments:True"},
    model_inputs=(ModelInput(step=0, model=0, shape=(2, 8)), ModelInput(step=1, model=1, shape=(16,), calls=4)),
)

JOB = JobSpec(
    script=Path("dir/train.py"),
    args=("--lr", "1e-3", "${local_rank}"),
    env={"B": "2", "A": "1"},
    nnodes=2,
    nproc_per_node=4,
    mesh=MeshSpec(axes=("dp", "tp"), sizes=(2, 4), named=True),
    hardware=H100,
    routing=Routing.WORST,
    error_on_collective=(CollectiveOp.SEND,),
    ranks=(0, 7),
    timeout_s=60.0,
)


@pytest.mark.parametrize("record", [FULL_RECORD, RankRecord(rank=0)], ids=["full", "empty"])
def test_a_record_comes_back_as_it_was(record: RankRecord) -> None:
    back = decoded(encode_rank(record))
    assert back == record
    assert back.mesh == record.mesh


def test_equal_records_give_equal_bytes() -> None:
    assert encode_rank(FULL_RECORD) == encode_rank(decoded(encode_rank(FULL_RECORD)))


def test_a_program_of_an_older_version_has_no_results() -> None:
    encoded = encode_rank(FULL_RECORD)
    (name,) = (name for name in encoded.parts if name.startswith("program-"))
    program = json.loads(gzip.decompress(encoded.parts[name]))
    del program["operations"][0]["results"]
    older = {**encoded.parts, name: gzip.compress(json.dumps(program).encode())}
    operations = RankDecoder(older.__getitem__).decode(encoded.document).program.operations
    assert operations == (Operation("aten.mm.default", "float16[3,4], float16[4,5]"),)


def test_private_pools_come_back_and_programs_of_older_versions_have_none() -> None:
    kind = PoolKind(origin=PoolOrigin.HANDLE, no_split=True, call_site=site("train.py:3"))
    sequence = [Instruction(Opcode.NAME_POOL), Instruction(Opcode.HOLD_POOL)]
    program = program_of([], sequence, streams=(DeviceStream(device=0),), pools=(kind,))
    assert decoded(encode_rank(replace(FULL_RECORD, program=program))).program == program
    encoded = encode_rank(FULL_RECORD)
    (name,) = (name for name in encoded.parts if name.startswith("program-"))
    assert "pools" not in json.loads(gzip.decompress(encoded.parts[name]))
    assert decoded(encoded).program.pools == ()


def test_shared_parts_are_one_object() -> None:
    encoded = [encode_rank(llama_8b_rank(rank)) for rank in range(8)]
    parts = dict(part for each in encoded for part in each.parts.items())
    assert len(parts) == 3
    decoder = RankDecoder(parts.__getitem__)
    first, *others = (decoder.decode(each.document) for each in encoded)
    assert all(other.program is first.program for other in others)
    assert [decoder.decode(each.document) for each in encoded] == [llama_8b_rank(rank) for rank in range(8)]


@pytest.mark.parametrize(
    "ranks",
    [tuple(range(16384)), tuple(range(3, 16384, 8)), (0,), (3, 1), (5, 5), (0, 1, 8, 9, 16, 17), (7, 2, 9, 1)],
    ids=["world", "strided", "one", "backwards", "twice", "two dimensions", "any"],
)
def test_the_ranks_of_a_group_come_back(ranks: tuple[int, ...]) -> None:
    record = RankRecord(rank=ranks[0], collectives=(collective(group_ranks=ranks, group="dp"),))
    encoded = encode_rank(record)
    assert decoded(encoded).collectives[0].group_ranks == ranks
    assert len(encoded.document) < 500


def decoded(encoded: EncodedRank) -> RankRecord:
    return RankDecoder(encoded.parts.__getitem__).decode(encoded.document)


def _document(**changes: object) -> bytes:
    return gzip.compress(json.dumps(json.loads(gzip.decompress(encode_rank(RankRecord(rank=0)).document)) | changes).encode())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello", "rank.gz: not a fakerun record (Not a gzipped file (b'he')); run the job again"),
        (encode_rank(FULL_RECORD).document[:50], "rank.gz: not a fakerun record (Compressed file ended before"),
        (gzip.compress(b"hello"), "rank.gz: not a fakerun record; run the job again"),
        (gzip.compress(b"[]"), "rank.gz: schema version None, but this fakerun reads version 4; run the job again with this fakerun"),
        (_document(schema_version=1), "rank.gz: schema version 1, but this fakerun reads version 4; run the job again with this fakerun"),
        (_document(rank="three"), "rank.gz: the record is damaged: rank is not a whole number; run the job again with this fakerun"),
    ],
    ids=["no gzip", "cut off", "no json", "other json", "other version", "damaged"],
)
def test_other_bytes_are_not_a_record(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match="^" + re.escape(message)):
        RankDecoder(encode_rank(FULL_RECORD).parts.__getitem__).decode(data, source="rank.gz")


@pytest.mark.parametrize("job", [JOB, JobSpec(module="pkg.train", hardware=H100)], ids=["full", "least"])
def test_a_job_comes_back_as_it_was(job: JobSpec) -> None:
    back = decode_job(encode_job(job))
    assert back == job
    assert list(back.env) == list(job.env)


def test_a_job_whose_script_has_no_proper_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^the script's path, .* is not UTF-8 \('utf-8' codec .* position 2: .*\); rename it$"):
        encode_job(JobSpec(script=Path("tr\udce9.py"), hardware=H100))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello", "job.json: not the job file of a run directory; pass the directory you gave to --run-dir"),
        (b'{"job": {}}', "job.json: not the job file of a run directory; pass the directory you gave to --run-dir"),
        (b'{"fakerun_job": 1}', "job.json: schema version 1, but this fakerun reads version 2; run the job again"),
        (b'{"fakerun_job": 2, "job": {}}', "job.json: the job file is damaged: job.hardware is missing; run the job again"),
    ],
    ids=["no json", "another program's", "other version", "damaged"],
)
def test_other_bytes_are_not_a_job(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match="^" + re.escape(message)):
        decode_job(data, source="job.json")


def test_the_ranks_of_a_large_group_take_little_space() -> None:
    position = RankFunction(operation=RankOperation.GROUP_RANK, constants=tuple(range(3, 16_384 * 8, 8)))
    test = RankTest(function=position, outcome=5, call_site=site("train.py:9"))
    encoded = encode_rank(RankRecord(rank=43, rank_tests=(test,) * 10))
    (part,) = (part for name, part in encoded.parts.items() if name.startswith("uses"))
    assert len(part) < 300
    assert RankDecoder(encoded.parts.__getitem__).decode(encoded.document).rank_tests == (test,) * 10
