"""How much memory of a device is allocated while the host issues the measured step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fakerun.analysis.time.timeline.spans import RankTimeline
from fakerun.records.device_program import DeviceProgram, Opcode


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AllocatedOverStep:
    """What is allocated on one device, in bytes, a column each.

    `times` are of the host, `peaks` has the most that any allocation or free since the time before led to.
    """

    times: Sequence[float]
    peaks: Sequence[int]


def allocated_over_step(rank: RankTimeline, step: int) -> Mapping[int, AllocatedOverStep]:
    """By ordinal of the device; a sample for each operation before which something was allocated or freed, and one for the end.

    `step` is that of the timeline. Allocations are requests of the host: they happen when it issues, not when kernels run.
    """
    program = rank.program
    start, end = step_range(program, step)
    levels = _Levels(program)
    for number in program.order[:start]:
        levels.apply(number)
    samples: dict[int, tuple[list[float], list[int]]] = {device: ([rank.host_begin_s], [level]) for device, level in levels.now.items()}
    issued, following = rank.operations.issued, rank.operations.operations
    position = 0
    executes = [each.operand if each.opcode in (Opcode.EXECUTE, Opcode.REPLAY) else None for each in program.instructions]
    for number in program.order[start:end]:
        operation = executes[number]
        if operation is None:
            levels.apply(number)
        elif position < len(following) and operation == following[position]:
            _sample(samples, levels, issued[position], rank.host_begin_s)
            position += 1
    _sample(samples, levels, rank.host_end_s, rank.host_begin_s)
    return {device: AllocatedOverStep(times=times, peaks=peaks) for device, (times, peaks) in sorted(samples.items())}


def step_range(program: DeviceProgram, step: int) -> tuple[int, int]:
    """The positions in `order` of the first instruction of a completed step, and of the first one after it."""
    return (program.step_ends[step - 1] if step else 0), program.step_ends[step]


def _sample(samples: dict[int, tuple[list[float], list[int]]], levels: "_Levels", time: float, begin: float) -> None:
    for device, peak in levels.peaks.items():
        times, peaks = samples.setdefault(device, ([begin], [0]))
        times.append(time)
        peaks.append(peak)
    levels.peaks.clear()


class _Levels:
    """What is allocated on each device now, and the most since `peaks` was cleared, of devices on which that changed."""

    def __init__(self, program: DeviceProgram) -> None:
        self.now: dict[int, int] = {}
        self.peaks: dict[int, int] = {}
        self._program = program
        self._allocated: list[int] = []
        """The number of the block of each allocation."""

    def apply(self, number: int) -> None:
        instruction = self._program.instructions[number]
        if instruction.opcode is Opcode.ALLOCATE:
            self._allocated.append(instruction.operand)
            self._change(instruction.operand, 1)
        elif instruction.opcode is Opcode.FREE:
            self._change(self._allocated[len(self._allocated) - 1 - instruction.operand], -1)

    def _change(self, block: int, sign: int) -> None:
        kind = self._program.blocks[block]
        before = self.now.get(kind.device, 0)
        after = self.now[kind.device] = before + sign * kind.nbytes
        self.peaks[kind.device] = max(self.peaks.get(kind.device, 0), after)
