"""The memory snapshot: torch's containers, what its page can read, and that equal reports have equal bytes."""

import copy
import pickle
import pickletools
from typing import Any

from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceStream, Instruction, Opcode, program_of
from fakerun.records.memory import Category
from fakerun.records.run import RankRecord
from fakerun.report import build_report
from fakerun.report.formats.memory_snapshot import render
from tests.unit.records_by_hand import MIB, block, job, llama_8b_job, llama_8b_rank, program, run

PAGE_READS = {
    *("APPEND", "APPENDS", "BINFLOAT", "BINGET", "BININT", "BININT1", "BININT2", "BINPUT", "BINUNICODE", "DICT", "EMPTY_DICT"),
    *("EMPTY_LIST", "EMPTY_TUPLE", "FRAME", "LIST", "LONG1", "LONG_BINGET", "LONG_BINPUT", "MARK", "MEMOIZE", "NEWFALSE", "NEWTRUE"),
    *("NONE", "PROTO", "SETITEM", "SETITEMS", "SHORT_BINUNICODE", "STOP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
}
"""The opcodes of `unpickle` in torch/utils/viz/MemoryViz.js."""
LARGEST_SAFE_INTEGER = 2**53 - 1


def written(*records: RankRecord) -> bytes:
    return render(build_report(job(), run(*records), with_history=True))


def read(*records: RankRecord) -> dict[str, Any]:
    snapshot: dict[str, Any] = pickle.loads(written(*records))
    return snapshot


def test_the_page_can_read_it() -> None:
    data = render(build_report(llama_8b_job(), run(llama_8b_rank()), with_history=True))
    assert {opcode.name for opcode, _, _ in pickletools.genops(data)} <= PAGE_READS
    snapshot = pickle.loads(data)
    assert max(entry["addr"] for entry in snapshot["device_traces"][0]) <= LARGEST_SAFE_INTEGER
    assert "unknown" in {entry.get("category") for entry in snapshot["device_traces"][0]}


def test_entries_have_torchs_keys_and_say_for_what() -> None:
    weight = block(
        5, Category.PARAMETER, phase=Phase.FORWARD, module="layers.0.wq", call_site="train.py:7", shape=(5,), dtype="int8", stream=1
    )
    streams = (DeviceStream(device=0), DeviceStream(device=0, priority=-1, index=3))
    forward = Instruction(Opcode.BEGIN_PHASE, list(Phase).index(Phase.FORWARD))
    asked = program_of([weight], [forward, 0, ~0], streams=streams)
    (trace,) = read(RankRecord(rank=0, devices=(0,), program=asked))["device_traces"]
    frames = [
        {"filename": "train.py", "line": 7, "name": "<module>"},
        {"filename": "module", "line": 0, "name": "layers.0.wq"},
        {"filename": "module", "line": 0, "name": "layers.0"},
        {"filename": "module", "line": 0, "name": "layers"},
        {"filename": "category", "line": 0, "name": "parameter"},
    ]
    told = {
        "stream": streams[1].cuda_stream,
        "frames": frames,
        "user_metadata": "step 0, forward: parameter int8[5]",
        "category": "parameter",
    }
    address = trace[0]["addr"]
    assert trace == [
        {"action": "segment_alloc", "addr": address, "size": 2 * MIB, **told},
        *({"action": action, "addr": address, "size": 5, **told} for action in ("alloc", "free_requested", "free_completed")),
        {"action": "snapshot", "addr": 0, "size": 0, "stream": 0, "frames": [], "category": "unknown"},
    ]


def test_blocks_tile_their_segments_and_those_in_use_say_for_what() -> None:
    data = render(build_report(llama_8b_job(), run(llama_8b_rank()), with_history=True))
    segments = pickle.loads(data)["segments"]
    assert segments
    for segment in segments:
        address = segment["address"]
        for each in segment["blocks"]:
            assert each["address"] == address
            assert bool(each["frames"]) == (each["state"] != "inactive")
            address += each["size"]
        assert address == segment["address"] + segment["total_size"]
        assert segment["frames"]


def test_each_device_has_its_cuda_index_and_addresses_of_its_own() -> None:
    two = program([block(64 * MIB), block(64 * MIB, device=1)], [0, 1])
    snapshot = read(RankRecord(rank=0, devices=(3, 1), program=two))
    assert [len(trace) for trace in snapshot["device_traces"]] == [0, 3, 0, 3]
    assert [segment["device"] for segment in snapshot["segments"]] == [1, 3]
    assert len({segment["address"] for segment in snapshot["segments"]}) == 2
    for segment in snapshot["segments"]:
        assert snapshot["device_traces"][segment["device"]][0]["addr"] == segment["address"]


def test_equal_records_have_equal_bytes() -> None:
    """Whichever of their equal texts and tuples are one object."""
    record = llama_8b_rank()
    copied = pickle.loads(pickle.dumps(record))
    assert written(record) == written(copied) == written(copy.deepcopy(copied))


def test_it_is_of_the_rank_to_show() -> None:
    small, large = (RankRecord(rank=rank, devices=(rank,), program=program([block(size)], [0])) for rank, size in ((0, MIB), (1, 64 * MIB)))
    snapshot = read(small, large)
    assert [len(trace) for trace in snapshot["device_traces"]] == [0, 3]


def test_a_rank_that_allocates_nothing_has_an_empty_snapshot() -> None:
    assert read(RankRecord(rank=0)) == {"segments": [], "device_traces": [[]], "allocator_settings": {}, "external_annotations": []}
    assert read() == read(RankRecord(rank=0))
