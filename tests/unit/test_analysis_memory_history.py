"""What is recorded of a program's allocations: for what, in which step and phase; on each device."""

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.history import MemoryHistory, MemoryRequest, memory_histories
from fakerun.analysis.memory.reserved import reserved_memory
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, program_of
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import H100, MIB, block, job, llama_8b_rank, program

BACKWARD = Instruction(Opcode.BEGIN_PHASE, list(Phase).index(Phase.BACKWARD))


def only(program: DeviceProgram) -> MemoryHistory:
    (history,) = memory_histories(job(), RankRecord(rank=0, devices=(0,), program=program)).values()
    return history


def test_each_allocation_is_for_a_block_in_a_step_and_a_phase() -> None:
    first, second = block(64 * MIB, module="a"), block(64 * MIB, module="b")
    history = only(program_of([first, second], [0, ~0, BACKWARD, 1], streams=(DeviceStream(device=0),), step_ends=(2,)))
    begun, later = MemoryRequest(0, None, first), MemoryRequest(1, Phase.BACKWARD, second)
    assert [(entry.action, entry.context) for entry in history.entries] == [
        ("segment_alloc", begun),
        ("alloc", begun),
        ("free_requested", begun),
        ("free_completed", begun),
        ("alloc", later),
    ]
    assert (history.step_ends, history.phases) == ((4,), ((4, Phase.BACKWARD),))
    (segment,) = history.segments
    assert (history.requests, history.segment_requests) == ({segment.address: later}, {segment.address: begun})


def test_what_a_kernel_takes_is_for_its_operation() -> None:
    product = Operation("aten.mm.default", "bfloat16[8,8], bfloat16[8,8]")
    executed = Instruction(Opcode.EXECUTE, 0, 0)
    history = only(program_of([], [executed, executed], operations=(product,), streams=(DeviceStream(device=0),)))
    assert [(entry.action, entry.context) for entry in history.entries] == [
        ("segment_alloc", MemoryRequest(0, None, product)),
        ("alloc", MemoryRequest(0, None, product)),
    ]


def test_each_device_has_a_history_with_its_own_ends_of_steps() -> None:
    two = program([block(64 * MIB), block(512, device=1)], [0, 1, ~0], [1, 2, 3])
    histories = memory_histories(job(), RankRecord(rank=0, devices=(4, 5), program=two))
    assert {device: (len(each.entries), each.step_ends) for device, each in histories.items()} == {0: (4, (2, 2, 4)), 1: (2, (0, 2, 2))}


def test_the_replay_is_that_of_reserved_memory() -> None:
    record = llama_8b_rank()
    history = only(record.program)
    reserved = reserved_memory(record.program, AllocatorSettings(), H100)[0]
    segments = [entry.nbytes for entry in history.entries if entry.action == "segment_alloc"]
    assert sum(segments) == reserved.peak_bytes == sum(segment.nbytes for segment in history.segments)


def test_what_follows_the_last_step_frees_its_own_blocks_after_repetitions() -> None:
    """A parameter from before the steps: after each repetition it is older by as many blocks as a step allocates."""
    parameter, batch = block(96 * MIB), block(32 * MIB)
    steps = program([parameter, batch, batch, batch], [0, 1, ~1, 2, ~2, 3, ~3, ~0], [3, 5, 7])
    record = RankRecord(rank=0, devices=(0,), program=steps)
    for repetitions in (0, 3):
        (history,) = memory_histories(job(), record, repetitions=repetitions).values()
        assert history.entries[-1].nbytes == parameter.nbytes
        assert history.requests == {}
