"""What is proposed for programs by hand: only what saves enough, ranked; state that is carried from step to step is not to be deleted."""

from dataclasses import replace

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.advice import Advice, advice_for
from fakerun.analysis.memory.reserved import ReservedMemory, reserved_memory
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, program_of
from fakerun.records.memory import Category
from tests.unit.records_by_hand import MIB, block, site

HARDWARE = hardware_named("h100-80gb")
EXPANDABLE = AllocatorSettings.parse("expandable_segments:True")
LOGITS = block(512 * MIB, Category.ACTIVATION, phase=Phase.FORWARD, call_site="train.py:9")


def advice(program: DeviceProgram, settings: AllocatorSettings = EXPANDABLE) -> tuple[Advice, ...]:
    memory = reserved_memory(program, settings, HARDWARE).get(0, ReservedMemory())
    return advice_for(program, settings, HARDWARE, device=0, peak_bytes=memory.peak_bytes)


def loop(*, reads: str = "", logits_bytes: int = 512 * MIB) -> DeviceProgram:
    """Three steps: each makes logits, and frees those of the step before after that. `reads` is taken at the start of each step."""
    logits = block(logits_bytes, Category.ACTIVATION, phase=Phase.FORWARD, call_site="train.py:9")
    read = Instruction(Opcode.EXECUTE, 0, 0)
    sequence: list[int | Instruction] = [read, 0, read, 1, ~0, read, 2, ~1]
    return program_of(
        [logits] * 3, sequence, streams=(DeviceStream(device=0),), operations=[Operation("aten.mul.Tensor", reads)], step_ends=(2, 5, 8)
    )


def test_a_tensor_that_a_name_keeps_into_the_next_step() -> None:
    (only,) = advice(loop())
    assert only.what == f"deleting float32[{LOGITS.shape[0]}] of train.py:9"
    # Two at a time, in pages of 20 MiB, become one.
    assert only.peak_reserved_bytes == 520 * MIB
    assert only.saved_bytes == 520 * MIB


def test_state_that_the_next_step_reads_is_kept() -> None:
    assert not advice(loop(reads=f"float32[{LOGITS.shape[0]}]"))
    assert not advice(loop(reads=f"float32[2,{LOGITS.shape[0] // 2}]"))  # a view of it
    assert advice(loop(reads=f"bfloat16[{LOGITS.shape[0]}]"))


def test_what_saves_little_is_not_worth_a_change() -> None:
    assert advice(loop(logits_bytes=80 * MIB))
    assert not advice(loop(logits_bytes=60 * MIB))


def test_expandable_segments_are_proposed_with_the_other_settings() -> None:
    """Blocks of growing size, each too large for the segment of the one before."""
    sizes = [block(nbytes * MIB) for nbytes in (300, 400, 500)]
    growing = program_of(sizes, [0, ~0, 1, ~1, 2, ~2], streams=(DeviceStream(device=0),))
    (only,) = advice(growing, AllocatorSettings.parse("roundup_power2_divisions:4"))
    assert only.what == "expandable segments"
    assert "expandable_segments:True" in only.how
    assert "roundup_power2_divisions" in only.how
    assert only.peak_reserved_bytes < 600 * MIB
    assert not advice(growing)


def test_several_together_where_none_is_enough_by_itself() -> None:
    """The logits of two lines are kept."""
    kept = [replace(LOGITS, call_site=site(f"train.py:{line}")) for line in (8, 9)]
    sequence = [0, 1, 2, 3, ~0, ~1, 4, 5, ~2, ~3]
    program = program_of(kept * 3, sequence, streams=(DeviceStream(device=0),), step_ends=(2, 6, 10))
    now = reserved_memory(program, EXPANDABLE, HARDWARE)[0].peak_bytes
    first, second, both = advice_for(program, EXPANDABLE, HARDWARE, device=0, peak_bytes=now, capacity_bytes=1100 * MIB)
    assert not first.is_several
    assert first.peak_reserved_bytes > 1100 * MIB
    assert both.is_several
    assert both.what == "1 and 2 together"
    assert both.peak_reserved_bytes <= 1100 * MIB
    assert not both.runs_out
    assert second.runs_out
    enough = advice_for(program, EXPANDABLE, HARDWARE, device=0, peak_bytes=now, capacity_bytes=first.peak_reserved_bytes)
    assert not any(each.is_several for each in enough)


def test_several_that_cannot_be_enough_are_replayed_together() -> None:
    """The logits of three lines are kept; even without any of them the device is too small."""
    lines = (7, 8, 9)
    kept = [replace(LOGITS, call_site=site(f"train.py:{line}")) for line in lines]
    streams = (DeviceStream(device=0),)
    sequence = [0, 1, 2, 3, 4, 5, ~0, ~1, ~2, 6, 7, 8, ~3, ~4, ~5]
    program = program_of(kept * 3, sequence, streams=streams, step_ends=(3, 9, 15))
    two_freed = program_of(kept * 3, [0, 1, 2, ~0, ~1, 3, 4, 5, ~2, ~3, ~4, 6, 7, 8, ~5, ~6, ~7], streams=streams, step_ends=(5, 11, 17))
    now = reserved_memory(program, EXPANDABLE, HARDWARE)[0].peak_bytes
    first, second, both = advice_for(program, EXPANDABLE, HARDWARE, device=0, peak_bytes=now, capacity_bytes=100 * MIB)
    assert both.what == "1 and 2 together"
    assert both.peak_reserved_bytes == reserved_memory(two_freed, EXPANDABLE, HARDWARE)[0].peak_bytes
    assert first.runs_out
    assert second.runs_out
    assert both.runs_out


def test_a_program_without_allocations_gets_none() -> None:
    assert not advice(DeviceProgram())
