"""The curve of memory over a program: its points, its layers, its peaks."""

import pytest

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.curve import KERNELS, LAYERS, MemoryCurve, memory_curve
from fakerun.analysis.memory.history import memory_histories
from fakerun.analysis.memory.reserved import reserved_memory
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, program_of
from fakerun.records.memory import Category
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import H100, MIB, block, job, llama_8b_rank, program


def curve_of(program: DeviceProgram, columns: int = 1000) -> MemoryCurve:
    (history,) = memory_histories(job(), RankRecord(rank=0, devices=(0,), program=program)).values()
    curve = memory_curve(history, columns=columns)
    assert curve is not None
    return curve


def layers(curve: MemoryCurve) -> list[tuple[int, dict[str, int]]]:
    """MiB reserved, and of each layer that has some, at each point."""
    return [
        (point.reserved_bytes // MIB, {name: nbytes // MIB for name, nbytes in zip(LAYERS, point.layers, strict=True) if nbytes})
        for point in curve.points
    ]


def test_every_category_has_a_layer() -> None:
    assert {*LAYERS} == {*Category, KERNELS}


def test_what_is_allocated_is_told_by_category() -> None:
    blocks = [block(64 * MIB, Category.PARAMETER), block(32 * MIB, Category.ACTIVATION), block(32 * MIB, Category.GRADIENT)]
    curve = curve_of(program(blocks, [0, 1, ~1, 2]))
    assert layers(curve) == [
        (64, {}),
        (64, {"parameter": 64}),
        (96, {"parameter": 64}),
        (96, {"parameter": 64, "activation": 32}),
        (96, {"parameter": 64}),
        (96, {"parameter": 64}),  # the free is complete
        (96, {"parameter": 64, "gradient": 32}),
    ]


def test_kernels_have_a_layer() -> None:
    product = Operation("aten.mm.default", "bfloat16[8,8], bfloat16[8,8]")
    executed = Instruction(Opcode.EXECUTE, 0, 0)
    curve = curve_of(program_of([], [executed], operations=(product,), streams=(DeviceStream(device=0),)))
    assert [names for _, names in layers(curve)] == [{}, {KERNELS: 32}]


def test_the_peaks_may_be_at_different_places() -> None:
    """40 MiB do not fit into the 64 that are free, of which 40 are in use: reserved peaks when less is allocated."""
    blocks = [block(64 * MIB), block(40 * MIB), block(40 * MIB)]
    streams = (DeviceStream(device=0), DeviceStream(device=0, index=0))
    other = program_of([blocks[0], block(30 * MIB, stream=1)], [0, ~0, 1], streams=streams, step_ends=(1, 3))
    curve = curve_of(other)
    assert (curve.allocated_peak.point.allocated_bytes, curve.allocated_peak.request.step) == (64 * MIB, 0)
    assert (curve.reserved_peak.point.reserved_bytes, curve.reserved_peak.request.step) == (94 * MIB, 1)
    assert curve.reserved_peak.point.allocated_bytes == 0


@pytest.mark.parametrize("columns", [1, 7, 100])
def test_few_points_keep_the_extremes_of_each_part(columns: int) -> None:
    trained = llama_8b_rank().program
    every, few = curve_of(trained, 10**6), curve_of(trained, columns)
    assert len(few.points) <= 3 * columns + 2
    assert set(few.points) <= set(every.points)
    assert (few.allocated_peak, few.reserved_peak) == (every.allocated_peak, every.reserved_peak)
    assert {few.allocated_peak.point, few.reserved_peak.point} <= set(few.points)
    for column in range(columns):
        part = range(column * every.entries // columns, (column + 1) * every.entries // columns)
        for value in ("allocated_bytes", "reserved_bytes"):
            whole = max(getattr(point, value) for point in every.points if point.entry - 1 in part)
            assert max(getattr(point, value) for point in few.points if point.entry - 1 in part) == whole


def test_peaks_are_those_of_reserved_memory() -> None:
    trained = llama_8b_rank().program
    curve, reserved = curve_of(trained), reserved_memory(trained, AllocatorSettings(), H100)[0]
    assert curve.allocated_peak.point.allocated_bytes == reserved.peak_allocated_bytes
    assert curve.reserved_peak.point.reserved_bytes == reserved.peak_bytes
