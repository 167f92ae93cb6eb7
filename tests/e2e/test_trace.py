"""The command writes traces of a step: to a directory, to a file, to stdout; and what HolisticTraceAnalysis makes of them."""

import gzip
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fakerun.report import build_report
from fakerun.report.formats.trace import render_ranks
from tests.commands import TIMEOUT_S, fakerun
from tests.unit.records_by_hand import job, run
from tests.unit.timelines_by_hand import detailed, two_stages

SCRIPT = ("tests/programs/pipeline_by_schedule.py", "--world-size", "8", "--mesh", "pp=4,dp=2", "--ranks", "all")
ARGUMENTS = ("--", "Schedule1F1B", "0", "1", "2", "3")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the run directory `run`, its report, and its traces in `traces`."""
    directory = tmp_path_factory.mktemp("traces")
    outputs = (f"trace={directory / 'traces'}", f"json={directory / 'report.json'}")
    words = [word for output in outputs for word in ("--output", output)]
    result = fakerun(*SCRIPT, "--run-dir", str(directory / "run"), *words, *ARGUMENTS)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    return directory


def step_time(kept: Path) -> dict[str, Any]:
    return dict(json.loads((kept / "report.json").read_bytes())["step_time"])


def test_each_stage_of_a_pipeline_has_a_trace(kept: Path) -> None:
    files = sorted((kept / "traces").iterdir())
    assert [file.name for file in files] == [f"trace_rank{rank}.json.gz" for rank in (0, 2, 4, 6)]
    for rank, file in zip((0, 2, 4, 6), files, strict=True):
        trace = json.loads(gzip.decompress(file.read_bytes()))
        assert (trace["distributedInfo"]["rank"], trace["distributedInfo"]["world_size"]) == (rank, 8)
        assert trace["fakerun"]["ranks"] == f"{rank}-{rank + 1}"
        kernels = {event["name"] for event in trace["traceEvents"] if event.get("cat") == "kernel"}
        assert {"gemm_kernel aten::addmm", "ncclDevKernel_SendRecv", "ncclDevKernel_AllGather"} <= kernels


def test_a_file_and_stdout_have_that_of_the_slowest_ranks(kept: Path, tmp_path: Path) -> None:
    slowest = step_time(kept)["slowest_ranks"][0]
    file = kept / "traces" / f"trace_rank{slowest}.json.gz"
    outputs = ("--output", f"trace={tmp_path / 'step.json'}", "--output", f"trace={tmp_path / 'step.json.gz'}", "--output", "trace")
    result = fakerun("report", str(kept / "run"), *outputs)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "step.json.gz").read_bytes() == file.read_bytes()
    assert (tmp_path / "step.json").read_bytes() == gzip.decompress(file.read_bytes())
    assert result.stdout == (tmp_path / "step.json").read_text(encoding="utf-8")


def test_a_picture_of_the_step(kept: Path) -> None:
    drawn = fakerun("report", str(kept / "run"), "--format", "timeline").stdout
    words = [each.text or "" for each in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert words[0] == "tests/programs/pipeline_by_schedule.py Schedule1F1B 0 1 2 3"
    assert {"host", "default stream", "NCCL pp", "NCCL dp", "bubble", "exposed communication"} <= {*words}


ANALYSIS = """
import json, sys
from hta.trace_analysis import TraceAnalysis
analysis = TraceAnalysis(trace_dir=sys.argv[1])
by_rank = analysis.get_temporal_breakdown(visualize=False).set_index("rank")
overlap = analysis.get_comm_comp_overlap(visualize=False).set_index("rank")
idle = {rank: analysis.get_idle_time_breakdown(ranks=[rank], visualize=False)[0] for rank in by_rank.index}
kernels, _ = analysis.get_gpu_kernel_breakdown(visualize=False)
assert analysis.get_profiler_steps() == [1]
assert all(len(launches) for launches in analysis.get_cuda_kernel_launch_stats(visualize=False).values())
print(json.dumps({
    "times": by_rank.to_dict("index"), "overlap": overlap.to_dict("index"), "kinds": kernels.to_dict("records"),
    "idle": {rank: sorted(set(frame.idle_category)) for rank, frame in idle.items()},
}, default=float))
"""


needs_hta = pytest.mark.skipif(importlib.util.find_spec("hta") is None, reason="HolisticTraceAnalysis is not installed (.[libraries])")


def analysed(traces: Path) -> dict[str, Any]:
    """What it finds in a process of its own: it starts others, and pandas warns of it."""
    result = subprocess.run([sys.executable, "-c", ANALYSIS, str(traces)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout.splitlines()[-1]))


@needs_hta
def test_holistic_trace_analysis_finds_the_times_of_the_report(kept: Path) -> None:
    """Within a microsecond for each kernel: a trace has whole ones. It counts from the first kernel of a rank to the last."""
    found = analysed(kept / "traces")
    assert sorted(found["times"], key=int) == ["0", "2", "4", "6"]
    expected = step_time(kept)
    kinds = {kind: seconds * 1e6 for kind, seconds in expected["kinds_s"].items()}
    slowest = str(expected["slowest_ranks"][0])
    times = found["times"][slowest]
    communication = kinds["exposed communication"] + kinds["bubble"] + kinds["waiting for other ranks"]
    assert times["compute_time(us)"] == pytest.approx(kinds["compute"] + kinds["optimizer"] + kinds["contention"], abs=5)
    assert times["non_compute_time(us)"] == pytest.approx(communication, abs=10)
    assert 0 <= kinds["host"] - times["idle_time(us)"] < 60, "the host issues before the first kernel"
    assert found["overlap"][slowest]["comp_comm_overlap_pctg"] == 0, "all communication of this program is exposed"
    assert {each["kernel_type"] for each in found["kinds"]} >= {"COMPUTATION", "COMMUNICATION"}
    assert "host_wait" in found["idle"][slowest]


@needs_hta
def test_holistic_trace_analysis_finds_hidden_communication(tmp_path: Path) -> None:
    """Of 450 microseconds of communication, waiting included, 100 are beside kernels; a copy from the host takes 5."""
    timeline = two_stages()
    report = build_report(job(nproc_per_node=8), run(*(rank.record for rank in timeline.ranks)))
    for name, pieces in render_ranks(replace(report, timeline=detailed(timeline))):
        (tmp_path / name).write_bytes(gzip.compress("".join(pieces).encode()))
    found = analysed(tmp_path)
    assert found["overlap"]["0"]["comp_comm_overlap_pctg"] == 22.22
    times = {
        rank: [times[f"{kind}(us)"] for kind in ("compute_time", "non_compute_time", "idle_time")] for rank, times in found["times"].items()
    }
    assert times == {"0": [600, 350 + 5, 25], "4": [600, 340, 0]}
