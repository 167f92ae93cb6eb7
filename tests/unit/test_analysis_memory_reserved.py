"""Reserved memory of a program: pools by stream, what is cached, steps, devices."""

from dataclasses import replace

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.footprint import footprint_of
from fakerun.analysis.memory.reserved import ReservedMemory, peak_within, reserved_memory
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, PoolKind, PoolOrigin, check_program, program_of
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


def test_the_last_step_is_repeated_until_it_needs_no_more() -> None:
    """The block that lives on until the next step moves from the segment of one size to that of another."""
    memory = only(program([block(64 * MIB), block(128 * MIB), block(64 * MIB)], [0, ~0, 1, ~1, 2, ~2], [2, 4, 6]))
    assert memory.per_step_peak_bytes == (64 * MIB, 192 * MIB, 192 * MIB)
    assert (memory.repeated_step_peak_bytes, memory.has_settled) == ((192 * MIB,), True)
    kept = [block(64 * MIB), block(64 * MIB), block(64 * MIB), block(64 * MIB)]  # each step frees what the one before has left
    memory = only(program(kept, [0, 1, ~0, 2, ~1], [1, 3, 5]))
    assert memory.per_step_peak_bytes == (64 * MIB, 128 * MIB, 128 * MIB)
    assert memory.has_settled


def test_what_follows_the_last_step_frees_its_own_blocks_after_repetitions() -> None:
    """Parameters live through all steps and are freed at the end; what the last step has left is freed with them, and room is reused."""
    sizes = [block(512 * MIB), *(block(64 * MIB) for _ in range(4)), block(500 * MIB)]
    memory = only(program(sizes, [0, 1, 2, ~1, 3, ~2, ~0, ~3, 5], [2, 4, 6]))
    assert len(memory.repeated_step_peak_bytes) == 1
    assert memory.peak_bytes == (512 + 2 * 64) * MIB


def test_what_reserves_more_when_it_is_repeated_is_told() -> None:
    """When each block is freed differs from step to step, so that the first repetition of the last one still reserves more."""
    sizes = 2 * [40 * MIB, 12 * MIB, 20 * MIB]
    memory = only(program(map(block, sizes), [0, 1, 2, 3, 4, ~1, ~0, 5, ~2], [3, 9]))
    assert (memory.per_step_peak_bytes, memory.repeated_step_peak_bytes) == ((72 * MIB, 124 * MIB), (164 * MIB, 164 * MIB))
    assert (memory.peak_bytes, memory.peak_step, memory.has_settled) == (164 * MIB, 2, True)


def test_a_last_step_that_cannot_follow_itself_is_not_repeated() -> None:
    leaking = only(program([block(64 * MIB), block(64 * MIB)], [0, 1], [1, 2]))
    assert (leaking.repeated_step_peak_bytes, leaking.has_settled) == ((), None)
    shrinking = only(program([block(64 * MIB), block(64 * MIB)], [0, ~0], [1, 2]))
    assert (shrinking.repeated_step_peak_bytes, shrinking.has_settled) == ((), None)
    assert only(program([block(64 * MIB)], [0, ~0], [2])).has_settled is None


def within(program: DeviceProgram, most_bytes: float) -> int | None:
    return peak_within(program, DEFAULTS, HARDWARE, 0, most_bytes, variables={})


def test_the_peak_alone_is_the_same_and_none_where_it_exceeds_what_is_of_interest() -> None:
    kept = [block(size * MIB) for size in (64, 64, 64, 64, 64)]
    equal_steps = program(kept, [0, 1, ~0, 2, ~1, 3, ~2, 4], [1, 3, 5, 7])  # what follows frees nothing of the steps left out
    for each in (equal_steps, program([block(64 * MIB), block(128 * MIB)], [0, ~0, 1, ~1], [2, 4]), llama_8b_rank().program):
        peak = only(each).peak_bytes
        assert within(each, peak) == peak
        assert within(each, peak - 1) is None


def test_what_follows_equal_steps_frees_what_the_last_has_left() -> None:
    """The third step is left out, as the second needed no more than the first; what it would have kept is what the second keeps."""
    kept = [block(64 * MIB) for _ in range(5)]
    ended = program([*kept, block(64 * MIB)], [0, 1, ~0, 2, ~1, 3, ~2, 4, ~3, ~4, 5], [1, 3, 5, 7, 9])
    assert within(ended, 1e12) == only(ended).peak_bytes == 128 * MIB


def test_equal_steps_that_leave_something_are_all_replayed() -> None:
    """Two tensors of 8 MiB share a segment of 20 MiB: every second step takes another one."""
    leaking = program([block(8 * MIB) for _ in range(6)], range(6), range(1, 7))
    assert within(leaking, 1e12) == only(leaking).peak_bytes == 60 * MIB


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


def test_a_block_larger_than_the_device_is_reserved_nevertheless() -> None:
    """A program that does not fit is told what it would need."""
    enormous = program([block(2 * HARDWARE.usable_bytes)], [0])
    for text in ("", "expandable_segments:True"):
        assert only(enormous, AllocatorSettings.parse(text)).peak_bytes >= 2 * HARDWARE.usable_bytes


# -- private pools ---------------------------------------------------------------------------------------------------------------------

NAME, HOLD, BEGIN, CAPTURE = map(Instruction, (Opcode.NAME_POOL, Opcode.HOLD_POOL, Opcode.BEGIN_POOL, Opcode.BEGIN_CAPTURE))
END, RELEASE, DELETE, EMPTY = map(Instruction, (Opcode.END_POOL, Opcode.RELEASE_POOL, Opcode.DELETE_POOL, Opcode.EMPTY_CACHE))
SERVE, SERVE_DEFAULT = Instruction(Opcode.SERVE_FROM, 1), Instruction(Opcode.SERVE_FROM)
GRAPH = PoolKind(origin=PoolOrigin.GRAPH)


def with_pools(sizes: list[int], sequence: list[int | Instruction], *kinds: PoolKind, step_ends: tuple[int, ...] = ()) -> DeviceProgram:
    """Sizes are in MiB."""
    made = program_of(
        [block(size * MIB) for size in sizes],
        sequence,
        streams=(DeviceStream(device=0),),
        pools=kinds or (PoolKind(),),
        step_ends=step_ends,
    )
    check_program(made)
    return made


def test_what_a_private_pool_caches_serves_no_one_else() -> None:
    program = with_pools([64, 64], [NAME, HOLD, BEGIN, SERVE, 0, ~0, END, RELEASE, 1])
    assert only(program).peak_bytes == 128 * MIB
    deleted = with_pools([64, 64], [NAME, HOLD, BEGIN, SERVE, 0, ~0, END, RELEASE, DELETE, 1])
    assert only(deleted).peak_bytes == 64 * MIB


def test_pools_at_the_peak_are_told_by_their_identity() -> None:
    kinds = (PoolKind(no_split=True), GRAPH)
    name_graph = Instruction(Opcode.NAME_POOL, 1)
    of_first = Instruction(Opcode.SERVE_FROM, 2)
    begin_first, end_first = Instruction(Opcode.BEGIN_POOL, 1), Instruction(Opcode.END_POOL, 1)
    program = with_pools([4, 64, 32], [NAME, name_graph, begin_first, of_first, 0, end_first, CAPTURE, SERVE, 1, END, 2], *kinds)
    found = [(pool.pool_id, pool.private, pool.reserved_bytes // MIB) for pool in only(program).pools_at_peak]
    assert found == [((1, 0), GRAPH, 64), ((0, 0), None, 32), ((0, 1), kinds[0], 20)]


def test_a_graph_s_segments_survive_an_emptied_cache_until_it_is_released() -> None:
    captured = (NAME, CAPTURE, SERVE, 0, ~0, END)
    kept = with_pools([64, 128], [*captured, EMPTY, 1], GRAPH)
    assert only(kept).peak_bytes == 192 * MIB
    released = with_pools([64, 128], [*captured, RELEASE, EMPTY, 1], GRAPH)
    assert only(released).peak_bytes == 128 * MIB


def test_two_graphs_share_a_pool() -> None:
    handle = PoolKind(origin=PoolOrigin.HANDLE)
    capture = (CAPTURE, SERVE)
    program = with_pools([64, 64, 64], [NAME, *capture, 0, ~0, END, *capture, 1, ~1, END, RELEASE, EMPTY, 2], handle)
    assert {pool.pool_id: pool.reserved_bytes // MIB for pool in only(program).pools_at_peak} == {(0, 1): 64, (0, 0): 64}


def test_what_is_allocated_outside_of_a_pool_s_thread_is_served_by_the_default_one() -> None:
    program = with_pools([64, 32, 16], [NAME, BEGIN, SERVE, 0, SERVE_DEFAULT, 1, SERVE, 2, END])
    assert {pool.pool_id: pool.reserved_bytes // MIB for pool in only(program).pools_at_peak} == {(0, 1): 80, (0, 0): 32}


def test_other_settings_may_leave_a_pool_what_it_had_given_back() -> None:
    """A pool that is used again after its release is another one then, where torch would have stopped."""
    program = with_pools([64, 1, 128], [NAME, CAPTURE, SERVE, 0, 1, ~0, END, RELEASE, EMPTY, CAPTURE, SERVE, 2, END], GRAPH)
    assert {pool.pool_id for pool in only(program).pools_at_peak} == {(1, 0), (2, 0)}


def test_a_step_that_uses_a_pool_is_repeated_and_one_that_makes_one_is_not() -> None:
    step: list[int | Instruction] = [BEGIN, SERVE, 0, ~0, END, RELEASE]
    again: list[int | Instruction] = [BEGIN, SERVE, 1, ~1, END, RELEASE]
    memory = only(with_pools([64, 64], [NAME, HOLD, *step, *again], step_ends=(8, 14)))
    assert (memory.per_step_peak_bytes, memory.repeated_step_peak_bytes, memory.has_settled) == ((64 * MIB,) * 2, (64 * MIB,), True)
    made: list[int | Instruction] = [NAME, HOLD, *step, DELETE, NAME, HOLD, *again, DELETE]
    assert only(with_pools([64, 64], made, step_ends=(9, 18))).has_settled is None
    held: list[int | Instruction] = [NAME, HOLD, *step, HOLD, *again, HOLD]
    assert only(with_pools([64, 64], held, step_ends=(9, 16))).has_settled is None
