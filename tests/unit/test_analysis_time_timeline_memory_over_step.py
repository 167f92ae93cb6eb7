"""How much memory is allocated, and how much reserved, while the host issues the step."""

from dataclasses import replace

import pytest

from fakerun.analysis.time.timeline.memory_over_step import memory_over_step, step_range
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, program_of
from tests.unit.records_by_hand import MIB, block, job
from tests.unit.timelines_by_hand import ADD, MATMUL, VIEW, Ran, rank_timeline

EXECUTE_VIEW, EXECUTE_ADD, EXECUTE_MATMUL = (Instruction(Opcode.EXECUTE, number) for number in range(3))


def program() -> DeviceProgram:
    """Step 0 leaves 3 MiB; step 1 has 8 MiB at its first kernel, 40 MiB for a moment before the second one, and ends with 2 MiB."""
    blocks = [block(size * MIB, device=device) for size, device in ((3, 0), (5, 0), (32, 0), (1, 1))]
    order: list[int | Instruction] = [0, EXECUTE_ADD, 1, EXECUTE_VIEW, EXECUTE_ADD, 2, ~2, 3, EXECUTE_MATMUL, ~1, ~0]
    return program_of(
        blocks, order, operations=(VIEW, ADD, MATMUL), streams=(DeviceStream(device=0), DeviceStream(device=1)), step_ends=(2, len(order))
    )


def test_peaks_between_the_operations_of_the_step() -> None:
    ran = [Ran(ADD, 10, 20, 30, Phase.FORWARD), Ran(MATMUL, 50, 60, 70, Phase.FORWARD)]
    rank = rank_timeline(0, (0,), ran, [], end=100, host=(0, 80), devices=(0, 1))
    spans = replace(rank.operations, operations=[1, 2])
    rank = replace(rank, record=replace(rank.record, program=program()), operations=spans)
    first, second = memory_over_step(job(), rank, 1).values()
    assert list(first.times) == pytest.approx([0, 10e-6, 50e-6, 80e-6])
    assert [peak // MIB for peak in first.allocated] == [3, 8, 40, 3]
    assert list(second.times) == pytest.approx([0, 50e-6])
    assert [peak // MIB for peak in second.allocated] == [0, 1]

    # 3 and 5 MiB share a segment of 20 MiB; what 32 MiB leave is cuBLAS's workspace.
    assert [reserved // MIB for reserved in first.reserved] == [20, 20, 52, 52]
    assert [reserved // MIB for reserved in second.reserved] == [0, 2]


def test_range_of_a_step() -> None:
    assert [step_range(program(), step) for step in range(2)] == [(0, 2), (2, 11)]
