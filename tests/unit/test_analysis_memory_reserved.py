"""Reserved memory of a program: pools by stream, what is cached, steps, devices."""

from dataclasses import replace

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.footprint import footprint_of
from fakerun.analysis.memory.reserved import ReservedMemory, reserved_memory
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, program_of
from tests.unit.records_by_hand import MIB, block, llama_8b_rank, program

HARDWARE = hardware_named("h100-80gb")
DEFAULTS = AllocatorSettings()


def only(program: DeviceProgram, settings: AllocatorSettings = DEFAULTS) -> ReservedMemory:
    (memory,) = reserved_memory(program, settings, HARDWARE).values()
    return memory


def test_small_and_large_requests_take_segments_of_their_own() -> None:
    """2 MiB for requests of at most 1 MiB, 20 MiB for those below 10 MiB, and the size in steps of 2 MiB above."""
    assert only(program([block(512)], [0])).peak_bytes == 2 * MIB
    assert only(program([block(2 * MIB)], [0])).peak_bytes == 20 * MIB
    assert only(program([block(11 * MIB)], [0])).peak_bytes == 12 * MIB
    assert only(program([block(512), block(2 * MIB), block(19 * MIB)], [0, 1, 2])).peak_bytes == 42 * MIB
    assert only(program([block(2 * MIB), block(18 * MIB)], [0, 1])).peak_bytes == 20 * MIB  # the rest of the segment serves


def test_what_is_free_stays_reserved_and_serves_its_stream_only() -> None:
    sizes = [block(64 * MIB), block(64 * MIB)]
    assert only(program(sizes, [0, ~0, 1])).peak_bytes == 64 * MIB
    streams = (DeviceStream(device=0), DeviceStream(device=0, priority=-1, index=0))
    other = program_of([sizes[0], replace(sizes[1], stream=1)], [0, ~0, 1], streams=streams)
    assert only(other).peak_bytes == 128 * MIB


def test_a_use_on_another_stream_is_over_at_the_next_request() -> None:
    blocks = [block(64 * MIB), block(64 * MIB)]
    streams = (DeviceStream(device=0), DeviceStream(device=0, index=0))
    used = program_of(blocks, [0, Instruction(Opcode.RECORD_STREAM, 0, 1), ~0, 1], streams=streams)
    assert only(used).peak_bytes == 64 * MIB


def test_emptying_the_cache_gives_back_what_is_free() -> None:
    blocks = [block(64 * MIB), block(128 * MIB)]
    emptied = program_of(blocks, [0, ~0, Instruction(Opcode.EMPTY_CACHE), 1], streams=(DeviceStream(device=0),))
    assert only(emptied).peak_bytes == 128 * MIB
    assert only(program(blocks, [0, ~0, 1])).peak_bytes == 192 * MIB


def test_steps_settle_when_one_takes_no_more_than_the_one_before() -> None:
    growing = program([block(64 * MIB), block(128 * MIB), block(64 * MIB)], [0, ~0, 1, ~1, 2, ~2], [2, 4, 6])
    memory = only(growing)
    assert memory.per_step_peak_bytes == (64 * MIB, 192 * MIB, 192 * MIB)
    assert memory.has_settled
    assert not only(program([block(64 * MIB), block(128 * MIB)], [0, ~0, 1], [2, 3])).has_settled


def test_each_device_has_an_allocator() -> None:
    memory = reserved_memory(program([block(64 * MIB), block(512, device=1)], [0, 1]), DEFAULTS, HARDWARE)
    assert {device: each.peak_bytes for device, each in memory.items()} == {0: 64 * MIB, 1: 2 * MIB}


def test_allocated_is_that_of_the_footprint_and_reserved_no_less() -> None:
    trained = llama_8b_rank().program
    footprint = footprint_of(timeline_of(trained))
    for text in ("", "expandable_segments:True"):
        memory = only(trained, AllocatorSettings.parse(text))
        # A large request that leaves at most 1 MiB of a block keeps it: that counts as allocated, too.
        assert footprint.peak_bytes <= memory.peak_allocated_bytes <= 1.01 * footprint.peak_bytes
        assert memory.peak_bytes >= memory.peak_allocated_bytes
        assert len(memory.per_step_peak_bytes) == 2
