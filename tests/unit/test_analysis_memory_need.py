"""What a rank needs of a device, and whether it runs out."""

from dataclasses import replace

import pytest

from fakerun.analysis.memory.need import device_needs
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import GIB, H100, block, job, program

SMALL = replace(H100, usable_bytes=8 * GIB)


@pytest.mark.parametrize(
    ("events", "runs_out"),
    [
        pytest.param([0, ~0, 1, ~1, 2], False, id="what is cached makes room"),
        pytest.param([0, 1, 2], True, id="all are in use"),
    ],
)
def test_an_allocator_runs_out_where_giving_back_what_it_caches_is_not_enough(events: list[int], runs_out: bool) -> None:
    blocks = [block(size * GIB) for size in (3, 4, 5)]
    rank = RankRecord(rank=0, devices=(0,), program=program(blocks, events))
    (need,) = device_needs(job(hardware=SMALL), rank).values()
    assert need.reserved.peak_bytes == 12 * GIB
    assert need.runs_out is runs_out
    assert not device_needs(job(), rank)[0].runs_out
