"""A step as a trace of torch.profiler's: what readers of those go by. tests/e2e/test_trace.py reads it with HolisticTraceAnalysis."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fakerun.analysis.time.timeline import Timeline
from fakerun.records.collective import CollectiveOp
from fakerun.report import build_report
from fakerun.report.formats.trace import render, render_ranks
from fakerun.report.formats.trace.collective_args import collective_args, sequence_numbers
from fakerun.report.model import NoEstimate, Report
from tests.unit.records_by_hand import collective, in_order, job, run
from tests.unit.timelines_by_hand import MESH, detailed, first_stage, two_stages

Event = Mapping[str, Any]


def report(timeline: Timeline | NoEstimate) -> Report:
    records = [rank.record for rank in timeline.ranks] if isinstance(timeline, Timeline) else []
    found = detailed(timeline) if isinstance(timeline, Timeline) else timeline
    return replace(build_report(job(nproc_per_node=8), run(*records)), timeline=found, mesh=MESH)


def files(timeline: Timeline | NoEstimate) -> dict[str, str]:
    return {name: "".join(pieces) for name, pieces in render_ranks(report(timeline))}


@pytest.fixture(scope="module")
def first() -> dict[str, Any]:
    """The trace of the first stage."""
    return dict(json.loads(files(two_stages())["trace_rank0.json.gz"]))


def of(trace: Mapping[str, Any], category: str) -> list[Event]:
    return [each for each in trace["traceEvents"] if each.get("cat") == category]


def spans(events: Sequence[Event]) -> list[tuple[str, int, int, int]]:
    return [(each["name"], each["tid"], each["ts"], each["ts"] + each["dur"]) for each in events]


def test_each_class_of_ranks_has_a_file_in_the_directory() -> None:
    written = files(two_stages())
    assert list(written) == ["trace_rank0.json.gz", "trace_rank4.json.gz"]
    traces = [json.loads(text) for text in written.values()]
    assert [trace["distributedInfo"]["rank"] for trace in traces] == [0, 4]
    assert [trace["fakerun"]["ranks"] for trace in traces] == ["0-3", "4-7"]
    assert written == files(two_stages())


def test_one_file_is_that_of_the_slowest_class_in_pieces() -> None:
    pieces = list(render(report(two_stages())))
    assert "".join(pieces) == files(two_stages())["trace_rank0.json.gz"]
    assert max(map(len, pieces)) < 2000


def test_the_rank_is_on_a_line_that_hta_finds_before_others() -> None:
    text = files(two_stages())["trace_rank4.json.gz"]
    found = next(match for line in text.splitlines() if (match := re.search(r'"rank":\s+(\d+)', line)))
    assert found[1] == "4"


def test_the_header_says_whose_it_is_and_that_it_is_estimated(first: Mapping[str, Any]) -> None:
    assert first["schemaVersion"] == 1
    card = first["deviceProperties"][0]
    assert (card["name"], card["totalGlobalMem"], card["computeMajor"], card["numSms"]) == ("NVIDIA H100 80GB HBM3", 84_975_484_928, 9, 132)
    assert first["distributedInfo"] == {
        "backend": "nccl",
        "rank": 0,
        "world_size": 8,
        "pg_count": 2,
        "pg_config": [
            {"pg_name": "1", "pg_desc": "dp", "backend_config": "cuda:nccl", "pg_size": 4, "ranks": [0, 1, 2, 3]},
            {"pg_name": "7", "pg_desc": "pp", "backend_config": "cuda:nccl", "pg_size": 2, "ranks": [0, 4]},
        ],
    }
    assert first["fakerun"]["times"] == "estimated by fakerun: nothing ran on a device"
    assert (first["fakerun"]["step"], first["fakerun"]["step_seconds"]) == (1, 0.001)


def test_kernels_run_when_the_timeline_says_so_on_the_thread_of_their_stream(first: Mapping[str, Any]) -> None:
    assert spans([each for each in of(first, "kernel") if not each["name"].startswith("nccl")]) == [
        ("gemm_kernel aten::mm", 7, 60, 260),
        ("elementwise_kernel aten::add", 7, 260, 320),
        ("gemm_kernel aten::mm", 7, 520, 720),
        ("elementwise_kernel aten::add", 20, 540, 581),  # 540.4 to 580.6
        ("optimizer_kernel aten::_fused_adamw_", 7, 880, 1020),
    ]
    (copy,) = of(first, "gpu_memcpy")
    assert spans([copy]) == [("Memcpy HtoD (Host -> Device)", 7, 40, 45)]
    kernel = of(first, "kernel")[0]
    assert kernel["args"] == {
        "External id": 100_002,
        "device": 0,
        "stream": 7,
        "correlation": 100_002,
        "Estimate": "interpolated",
        "Kernels": 1,
        "flops": 34_359_738_368,
        "bytes": 0,
        "Module": "layers.0.w1",
        "Call site": "model.py:12",
    }
    slowed = [each["args"].get("Slowed by communication (us)") for each in of(first, "kernel")]
    assert [each for each in slowed if each] == [2.5]


def test_the_host_issues_operators_and_waits(first: Mapping[str, Any]) -> None:
    operators = of(first, "cpu_op")
    assert spans(operators)[:3] == [("aten::copy_", 100_000, 0, 30), ("aten::mm", 100_000, 30, 50), ("aten::add", 100_000, 50, 60)]
    assert operators[1]["args"] == {
        "External id": 100_002,
        "Phase": "forward",
        "Input Dims": [[4096, 4096], [4096, 1024]],
        "Input type": ["c10::BFloat16", "c10::BFloat16"],
        "Module": "layers.0.w1",
        "Call site": "model.py:12",
    }
    assert operators[-1]["args"]["Input type"] == ["TensorList"]
    assert operators[-1]["args"]["Input Dims"] == [[[8], [8], [8]]]
    waits = [each for each in of(first, "cuda_runtime") if each["name"] == "cudaStreamSynchronize"]
    assert spans(waits) == [("cudaStreamSynchronize", 100_000, 150, 570)]
    assert spans(operators)[-1] == ("aten::_fused_adamw_", 100_000, 570, 580), "the host goes on when its wait ends"


def test_an_arrow_leads_from_each_launch_to_its_kernel(first: Mapping[str, Any]) -> None:
    launches = {each["args"]["correlation"]: each for each in of(first, "cuda_runtime") if each["name"] != "cudaStreamSynchronize"}
    kernels = {each["args"]["correlation"]: each for each in (*of(first, "kernel"), *of(first, "gpu_memcpy"))}
    assert launches.keys() == kernels.keys()
    arrows: dict[int, dict[str, Event]] = defaultdict(dict)
    for each in of(first, "ac2g"):
        arrows[each["id"]][each["ph"]] = each
    assert arrows.keys() == kernels.keys()
    for number, ends in arrows.items():
        launch, kernel = launches[number], kernels[number]
        assert (ends["s"]["tid"], ends["s"]["ts"]) == (launch["tid"], launch["ts"])
        assert (ends["f"]["tid"], ends["f"]["ts"], ends["f"]["bp"]) == (kernel["tid"], kernel["ts"], "e")
        assert launch["ts"] + launch["dur"] <= kernel["ts"]


def test_communication_is_on_threads_of_its_own_from_its_arrival_on(first: Mapping[str, Any]) -> None:
    kernels = [each for each in of(first, "kernel") if each["name"].startswith("nccl")]
    assert spans(kernels) == [
        ("ncclDevKernel_SendRecv", 21, 320, 370),
        ("ncclDevKernel_SendRecv", 21, 370, 470),
        ("ncclDevKernel_SendRecv", 21, 470, 520),
        ("ncclDevKernel_AllReduce_Sum_bf16", 22, 620, 870),
    ]
    assert [each["args"]["Calls"] for each in kernels] == [1, 2, 1, 1], "what is issued as one is one kernel"
    assert [each["args"]["Waits for other ranks (us)"] for each in kernels] == [40, 50, 40, 10]
    operators = [each for each in of(first, "cpu_op") if each["name"] == "record_param_comms"]
    assert [each["args"]["Collective name"] for each in operators] == ["send", "send", "recv", "allreduce"]
    for operator, kernel in zip(operators, kernels, strict=True):
        assert operator["args"].items() <= kernel["args"].items()


def test_what_kineto_says_of_a_collective() -> None:
    call = collective(
        CollectiveOp.ALL_GATHER_INTO_TENSOR,
        group="tp",
        group_ranks=tuple(range(64)),
        process_group="3",
        dtype="float8_e4m3fn",
        input_sizes=((1024, 256),),
        output_sizes=((65536, 256),),
    )
    args = collective_args(call, 2, 7)
    assert args == {
        "Collective name": "_allgather_base",
        "In msg nelems": 262_144,
        "Out msg nelems": 16_777_216,
        "Group size": 64,
        "dtype": "Float8_e4m3fn",
        "In split size": "[]",
        "Out split size": "[]",
        "Process Group Name": "3",
        "Process Group Description": "tp",
        "Process Group Ranks": f"[{', '.join(map(str, range(30)))}, ..., 63]",
        "Rank": 2,
        "Is asynchronized op": False,
        "Seq": 7,
    }
    assert collective_args(collective(CollectiveOp.SEND, peer=3), 0, 1)["Dst Rank"] == 3
    assert collective_args(collective(CollectiveOp.RECV, peer=2), 0, 1)["Src Rank"] == 2


def test_calls_are_counted_by_process_group_and_kind() -> None:
    send, reduce = collective(CollectiveOp.SEND, process_group="a"), collective(process_group="a")
    calls = in_order([reduce, reduce, send, replace(reduce, process_group="b"), reduce, send])
    assert sequence_numbers(calls, range(6)) == {0: 1, 1: 2, 2: 1, 3: 1, 4: 3, 5: 2}
    assert sequence_numbers(calls, [4]) == {4: 3}


def test_the_step_and_its_phases_are_annotated(first: Mapping[str, Any]) -> None:
    assert spans(of(first, "user_annotation")) == [
        ("ProfilerStep#1", 100_000, 0, 590),
        ("other", 100_000, 0, 30),
        ("forward", 100_000, 30, 60),
        ("backward", 100_000, 60, 120),
        ("optimizer", 100_000, 120, 580),
    ]
    assert spans(of(first, "gpu_user_annotation")) == [
        ("other", 7, 40, 45),
        ("forward", 7, 60, 320),
        ("backward", 7, 520, 720),
        ("optimizer", 7, 880, 1020),
        ("backward", 20, 540, 581),
    ]


def test_memory_is_a_counter(first: Mapping[str, Any]) -> None:
    counters = [each for each in first["traceEvents"] if each["ph"] == "C"]
    found: dict[str, list[tuple[int, int]]] = {}
    for each in counters:
        found.setdefault(each["name"], []).append((each["ts"], each["args"]["bytes"] >> 20))
    assert found == {
        "allocated memory of GPU 0": [(0, 0), (50, 8), (60, 16), (590, 8)],
        "reserved memory of GPU 0": [(0, 0), (50, 52), (60, 52), (590, 52)],  # 20 MiB, and 32 of cuBLAS
    }


def test_threads_have_names_and_an_order(first: Mapping[str, Any]) -> None:
    about = {(each["name"], each["tid"]): each["args"] for each in first["traceEvents"] if each["ph"] == "M"}
    assert about["process_name", 0] == {"name": "rank 0 (pp=0,dp=0)"}
    assert [(thread, args["name"]) for (what, thread), args in about.items() if what == "thread_name"] == [
        (100_000, "host"),
        (7, "stream 7 (default)"),
        (20, "stream 20"),
        (21, "stream 21 (NCCL pp)"),
        (22, "stream 22 (NCCL dp)"),
    ]


def test_processes_of_ranks_differ_and_none_is_0() -> None:
    processes = [{each["pid"] for each in json.loads(text)["traceEvents"]} for text in files(two_stages()).values()]
    assert processes == [{100_000}, {100_004}]


def overlapping(events: Sequence[Event]) -> Iterator[tuple[Event, Event]]:
    """What overlaps and is not contained, of events as a reader lays them out: by time, and of equal ones by their place in the file."""
    open_events: list[Event] = []
    for each in sorted(events, key=lambda event: event["ts"]):
        while open_events and open_events[-1]["ts"] + open_events[-1]["dur"] <= each["ts"]:
            open_events.pop()
        if open_events and open_events[-1]["ts"] + open_events[-1]["dur"] < each["ts"] + each["dur"]:
            yield open_events[-1], each
        open_events.append(each)


@pytest.mark.parametrize("scale", [1, 0.37, 0.013, 1e-4])
def test_events_of_a_thread_nest_also_when_rounded(scale: float) -> None:
    timeline = two_stages()
    for text in files(replace(timeline, ranks=tuple(scaled(rank, scale) for rank in timeline.ranks))).values():
        threads: dict[int, list[Event]] = defaultdict(list)
        for each in json.loads(text)["traceEvents"]:
            if each["ph"] == "X":
                assert isinstance(each["ts"], int)
                assert each["ts"] >= 0
                assert each["dur"] >= 0
                threads[each["tid"]].append(each)
        assert len(threads) >= 4
        assert [pair for events in threads.values() for pair in overlapping(events)] == []


def scaled(rank: Any, scale: float) -> Any:
    """The timeline with all times shorter, so that several fall into a microsecond."""
    columns = {"issued", "arrived", "starts", "ends", "contended"}
    return replace(
        rank,
        **{name: getattr(rank, name) * scale for name in ("begin_s", "end_s", "host_begin_s", "host_end_s")},
        **{
            name: replace(part, **{column: [time * scale for time in getattr(part, column)] for column in columns & set(part.__slots__)})
            for name in ("operations", "calls", "waits")
            for part in [getattr(rank, name)]
        },
    )


def test_a_rank_that_starts_later_is_later_on_the_clock_of_all() -> None:
    late = replace(first_stage(), representative=4, ranks=(4,), begin_s=1e-3, host_begin_s=0.5e-3)
    trace = json.loads(files(Timeline(step=1, is_first_step=False, ranks=(first_stage(), late)))["trace_rank4.json.gz"])
    assert of(trace, "user_annotation")[0]["ts"] == 520, "the first host begins at -20"


def test_a_run_without_step_time_says_why() -> None:
    (text,) = files(NoEstimate(reason="no step was completed")).values()
    trace = json.loads(text)
    assert [each["name"] for each in trace["traceEvents"]] == ["no step time: no step was completed"]
    assert "".join(render(report(NoEstimate(reason="no step was completed")))) == text
