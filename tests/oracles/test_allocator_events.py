"""The allocator asked what torch's was asked on a GPU, under its settings, with streams, private pools and graphs.

After each request the same address or the same message, after each event the same bytes allocated, active and reserved, the same segments
taken and given back, and in between and at the end the same counters, segments and blocks.
"""

import copy
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.oracles.allocator_events.replay import filled, peak_reserved_bytes, read, replay, version

MEASURED = Path(__file__).with_name("allocator_events") / "h200.json.gz"


@cache
def measured() -> dict[str, Any]:
    return read(MEASURED)


def programs() -> dict[str, dict[str, Any]]:
    return {f"{part['kind']} {part['seed']} {part['setting']}": part for part in measured()["parts"]}


@pytest.mark.parametrize("name", programs())
def test_the_allocator_does_what_a_gpu_s_did(name: str) -> None:
    part = programs()[name]
    result = replay(part, version(measured()))
    assert result.difference == ""
    assert result.events == len(part["events"])
    assert result.checks == len(part["checks"])


@pytest.mark.parametrize("setting", ["", "expandable_segments:True"])
def test_the_end_of_a_gpu_s_memory(setting: str) -> None:
    """All memory taken in ever smaller blocks, every second one freed, and more asked for than any of these had."""
    part = next(part for part in measured()["filled"] if part["setting"] == setting)
    capacity = max(step.get("reserved_bytes.all.current", 0) for step in part["steps"])
    steps = filled(setting, version(measured()), part["total_bytes"], capacity)
    assert [{name: step.get(name) for name in expected} for step, expected in zip(steps, part["steps"], strict=True)] == part["steps"]
    assert steps[-1]["num_ooms"] == 6
    assert steps[-1]["num_alloc_retries"] == 7


def test_what_is_told_for_cuda_s_asynchronous_allocator() -> None:
    """docs/findings.md, other-allocator: how much more it reserved than torch's own does for the same program."""
    more = []
    for part in measured()["asynchronous"]:
        peak = peak_reserved_bytes(part["events"], version(measured()), part["total_bytes"])
        more.append(part["peak_reserved_bytes"] / peak - 1)
    assert more == [pytest.approx(0.135, abs=0.005), pytest.approx(0.037, abs=0.005)]


def test_the_programs_are_of_use() -> None:
    """All that a program can do, uses that were over at the next request and uses that were not, retries, and each setting."""
    letters = Counter(event[0] for part in programs().values() for event in part["events"])
    assert letters.keys() == set("aofrbdDsemFpPxhgGyz")
    assert letters.total() > 30_000
    assert letters["o"] > 100
    waiting = over = 0
    for part in programs().values():
        for event, (allocated, active, _), (_, active_before, _) in zip(
            part["events"][1:], part["totals"][1:], part["totals"], strict=False
        ):
            if event[0] == "a":
                waiting += active > allocated
                over += active < active_before
    assert waiting > 1000
    assert over > 100
    counters = [part["checks"][-1]["statistics"] for part in programs().values()]
    assert sum(each["num_alloc_retries"] for each in counters) > 50
    assert sum(each["num_sync_all_streams"] for each in counters) > 100
    settings = {setting.partition(":")[0] for part in programs().values() for setting in part["setting"].split(",") if ":" in setting}
    assert settings >= {"expandable_segments", "max_split_size_mb", "roundup_power2_divisions", "garbage_collection_threshold"}
    assert "NVIDIA H200" in measured()["source"]


@pytest.mark.parametrize("what", ["address", "bytes", "counter", "block", "segment"])
def test_a_difference_is_seen(what: str) -> None:
    part = copy.deepcopy(programs()["streams 0 "])
    if what == "address":
        next(event for event in part["events"][500:] if event[0] == "a")[4] += 512
    elif what == "bytes":
        part["totals"][500][1] += 512
    elif what == "counter":
        part["checks"][-1]["statistics"]["inactive_split_bytes.all.peak"] += 1
    elif what == "block":
        part["checks"][-1]["segments"][0][-1][0][3] = "active_pending_free"
    else:
        next(entry for entry in part["trace"] if entry[0] == "segment_free")[2] += 512
    assert replay(part, version(measured())).difference
