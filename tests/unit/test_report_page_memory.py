"""The memory of ranks: pools at the peak, private ones by their name, and what is not included."""

import pickle

from fakerun.records.device_program import DeviceStream, Instruction, Opcode, Operation, PoolKind, PoolOrigin, program_of
from fakerun.records.run import RankRecord
from fakerun.report import Report, build_report
from fakerun.report.formats.json import as_document
from fakerun.report.formats.memory_snapshot import render as snapshot
from fakerun.report.formats.text import render
from tests.unit.records_by_hand import H100, MIB, block, job, run, site


def with_pools() -> Report:
    """64 MiB of the default pool, 128 of a MemPool, and of a graph's pool 256 on another stream."""
    kinds = (PoolKind(call_site=site("train.py:8")), PoolKind(origin=PoolOrigin.GRAPH, call_site=site("train.py:9")))
    names = Instruction(Opcode.NAME_POOL), Instruction(Opcode.NAME_POOL, 1)
    of_first = Instruction(Opcode.BEGIN_POOL, 1), Instruction(Opcode.SERVE_FROM, 2), 1, Instruction(Opcode.END_POOL, 1)
    of_second = Instruction(Opcode.BEGIN_CAPTURE), Instruction(Opcode.SERVE_FROM, 1), 2, Instruction(Opcode.END_POOL)
    asked = program_of(
        [block(64 * MIB), block(128 * MIB), block(256 * MIB, stream=1)],
        [0, *names, *of_first, *of_second],
        streams=(DeviceStream(device=0), DeviceStream(device=0, index=3)),
        pools=kinds,
    )
    return build_report(job(), run(RankRecord(rank=0, devices=(0,), program=asked)), with_history=True)


def test_pools_at_the_peak_are_named_with_the_line_that_made_them() -> None:
    page = render(with_pools())
    rows = ("stream 3, graph pool (1, 0) of train.py:9", "default stream, MemPool (0, 1) of train.py:8", "default stream ")
    places = [page.index(row) for row in rows]
    assert places == sorted(places)
    assert "a private pool serves nothing else" in " ".join(page.split())


def test_the_document_has_their_identities() -> None:
    (rank,) = as_document(with_pools())["ranks"]
    memory = rank["memory"]
    assert memory is not None
    pools = memory["devices"][0]["pools_at_peak"]
    assert [pool["private_pool"] for pool in pools] == [
        {"id": [1, 0], "made_by": "CUDAGraph", "call_site": {"path": "train.py", "line": 9, "function": None}},
        {"id": [0, 1], "made_by": "MemPool", "call_site": {"path": "train.py", "line": 8, "function": None}},
        None,
    ]


def test_a_memory_snapshot_has_the_pool_of_each_segment() -> None:
    segments = pickle.loads(snapshot(with_pools()))["segments"]
    assert {each["segment_pool_id"]: each["total_size"] // MIB for each in segments} == {(0, 0): 64, (0, 1): 128, (1, 0): 256}


def test_what_kernels_request_beside_the_prediction_is_named() -> None:
    """With its most where that is known; less than a MiB is in the document only."""
    operations = (
        Operation("aten.convolution.default", "float32[1,1], float32[1,1]", "float32[1024,1024]"),
        Operation("aten.mse_loss.default", "float32[8], float32[8]", "float32[]"),
        Operation("aten._cudnn_rnn.default", "float32[8]", "float32[8]"),
    )
    executed = (Instruction(Opcode.EXECUTE, number) for number in range(len(operations)))
    asked = program_of([block(64 * MIB)], [0, *executed], streams=(DeviceStream(device=0),), operations=operations)
    report = build_report(job(), run(RankRecord(rank=0, devices=(0,), program=asked)))
    page = " ".join(render(report).split())
    assert "not included workspaces of convolutions up to 17.2 MiB, recurrent layers of cuDNN at the end" in page
    (rank,) = as_document(report)["ranks"]
    memory = rank["memory"]
    assert memory is not None
    (device,) = memory["devices"]
    sizes = [each["high_bytes"] for each in device["not_included"]]
    assert sizes == [round(4.3 * 4 * MIB), None, 32]
    left = H100.usable_bytes - device["peak_reserved_bytes"] - device["outside_high_bytes"]
    assert device["headroom_bytes"] == left - round(4.3 * 4 * MIB) - 32
