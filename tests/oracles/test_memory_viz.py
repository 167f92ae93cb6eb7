"""The memory snapshot, read by torch's own tool (torch/cuda/_memory_viz.py): its sums are those of the report."""

import base64
import json
import pickle
import re
from typing import Any

import pytest
from torch.cuda import _memory_viz

from fakerun.report import Report, build_report
from fakerun.report.formats.memory_snapshot import render
from tests.unit.records_by_hand import llama_8b_job, llama_8b_rank, run


@pytest.fixture(scope="module")
def report() -> Report:
    return build_report(llama_8b_job(), run(llama_8b_rank()), with_history=True)


@pytest.fixture
def snapshot(report: Report) -> dict[str, Any]:
    read: dict[str, Any] = pickle.loads(render(report))
    return read


def test_the_summary_of_segments_has_what_is_reserved_and_allocated_at_the_end(report: Report, snapshot: dict[str, Any]) -> None:
    """The tool asserts that blocks add up to segments."""
    history = report.needed_history.devices[0]
    reserved = sum(segment.nbytes for segment in history.segments)
    requested = sum(block.requested_bytes for segment in history.segments for block in segment.blocks if block.state == "active_allocated")
    told = _memory_viz.segsum(snapshot)
    assert f"segments: {len(history.segments)}\n" in told
    assert f"total_reserved: {_memory_viz.Bytes(reserved)}\n" in told
    assert f"total_allocated: {_memory_viz.Bytes(requested)}\n" in told


def test_the_trace_has_every_entry(report: Report, snapshot: dict[str, Any]) -> None:
    entries = report.needed_history.devices[0].entries
    told = _memory_viz.trace(snapshot)
    assert f"{len(entries) + 1} entries" in told
    assert told.count("cudaMalloc(") == sum(entry.action == "segment_alloc" for entry in entries)
    assert len(re.findall(r"^del ", told, re.MULTILINE)) == sum(entry.action == "free_requested" for entry in entries)
    assert "MEM[" not in told, "each block lies in a segment that was allocated before"


def test_flame_graphs_lead_from_the_category_over_the_modules_to_the_line(snapshot: dict[str, Any]) -> None:
    lines = _memory_viz.memory(snapshot, format_flamegraph=lambda text: text).splitlines()
    weight = "category:0:parameter;module:0:layers;module:0:layers.31;module:0:layers.31.feed_forward;module:0:layers.31.feed_forward.w1"
    assert any(line.startswith(f"stream_0;active_allocated;{weight};llama.py:61:<module> ") for line in lines)
    in_use = sum(int(line.rpartition(" ")[2]) for line in lines if "active_allocated" in line)
    assert in_use == sum(segment["allocated_size"] for segment in snapshot["segments"])
    assert _memory_viz.segments(snapshot, format_flamegraph=lambda text: text).count("\n") == len(lines)


def test_pages_carry_the_snapshot(snapshot: dict[str, Any]) -> None:
    for page in (
        _memory_viz.trace_plot(snapshot),
        _memory_viz.segment_plot(snapshot),
        _memory_viz.trace_plot(snapshot, plot_segments=True),
    ):
        (files,) = re.findall(r"const local_files = (\[.*\])", page)
        assert pickle.loads(base64.b64decode(json.loads(files)[0]["base64"])) == snapshot


def test_what_is_freed_can_be_left_out(snapshot: dict[str, Any]) -> None:
    kept = [entry["action"] for entry in _memory_viz.filter_alloc_free_pairs(snapshot)["device_traces"][0]]
    in_use = sum(block["state"] == "active_allocated" for segment in snapshot["segments"] for block in segment["blocks"])
    assert kept.count("alloc") == in_use
    assert "free_requested" not in kept
