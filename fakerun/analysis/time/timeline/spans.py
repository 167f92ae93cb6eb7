"""Timeline: when the last step of a job ran, by class of ranks; a column of numbers for each property, since a step has some 10^5 spans.

All times are seconds on one clock, on which the earliest rank's step begins at 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fakerun.analysis.time.costs import CallCost, OperationCost
from fakerun.records.device_program import DeviceProgram
from fakerun.records.run import RankRecord


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OperationSpans:
    """The operations with kernels of one rank in the order in which the host issued them, a column each.

    `issued` is when the host had issued it; `starts` and `ends` are those of its kernels on the device, and `contended` (seconds) how much
    longer than alone these took, because communication occupied multiprocessors. `operations` and `streams` are numbers in the rank's
    `DeviceProgram`, `phases` positions in `Phase`, `blocks` numbers in `DeviceProgram.blocks`: the memory allocated for the result, or else
    for what was made last, which tells module and line; -1 if there is none. `causes` tells what the operation waited for last: the number
    of another operation of the rank; `~k` for its call k in `CallSpans`; `HOST` if it started once it was issued.
    """

    issued: Sequence[float]
    starts: Sequence[float]
    ends: Sequence[float]
    contended: Sequence[float]
    operations: Sequence[int]
    streams: Sequence[int]
    phases: Sequence[int]
    blocks: Sequence[int]
    causes: Sequence[int]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def kernel_s(self) -> float:
        """Seconds of all kernels together."""
        return sum(self.ends) - sum(self.starts)


HOST = -(2**31)
"""As a cause: the host, or what was there before the step."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CallSpans:
    """The communication calls of one rank in the order in which it issued them, a column each.

    `seqs` are indices into `RankRecord.collectives`. A call is `issued` by the host; it has `arrived` when the work that its stream had
    and the calls before it on its communicator are done: its kernel is on the device from then on, and transfers from the time when the
    last member has arrived, in `starts`, to `ends`. `communicators` numbers the queues (NCCL streams) of the rank on which they run,
    `streams` the streams on which they were issued. `causes` is as in `OperationSpans`, for its arrival. `last_ranks` is the representative
    of the class whose member arrived last, and `last_calls` the number of the call there, or `HOST` if that is not in its step. Coalesced
    calls start and end together; `firsts` is the number of the first call that was issued with each: its own if it was issued
    alone.
    """

    seqs: Sequence[int]
    issued: Sequence[float]
    arrived: Sequence[float]
    starts: Sequence[float]
    ends: Sequence[float]
    communicators: Sequence[int]
    firsts: Sequence[int]
    streams: Sequence[int]
    causes: Sequence[int]
    last_ranks: Sequence[int]
    last_calls: Sequence[int]
    costs: Sequence[CallCost]

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostWaits:
    """When the host of a rank waited for its device, a column each; what it did else is issuing. `causes` is as in `OperationSpans`.

    `operations_before` and `calls_before` are how many it had issued of each in the step until then.
    """

    starts: Sequence[float]
    ends: Sequence[float]
    operations_before: Sequence[int]
    calls_before: Sequence[int]
    causes: Sequence[int]

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankTimeline:
    """The measured step of one class of ranks, whose `representative` was played for all of `ranks` (ascending, assumed ones included).

    The step begins at `begin_s`, when the device had done all that was issued before, and ends at `end_s`, when it has done all of it. The
    host issues it from `host_begin_s` to `host_end_s`, ahead of the device.
    """

    record: RankRecord
    """Of the simulated rank whose programs and calls were played: `representative`, or the rank that is simulated in its place."""
    representative: int
    ranks: tuple[int, ...]
    begin_s: float
    end_s: float
    host_begin_s: float
    host_end_s: float
    last: int
    """What ended last, as a cause in `OperationSpans`."""
    costs: Sequence[OperationCost | None]
    """Of each operation of the program, by its number; None if it has no kernel."""
    operations: OperationSpans
    calls: CallSpans
    waits: HostWaits

    @property
    def seconds(self) -> float:
        return self.end_s - self.begin_s

    @property
    def program(self) -> DeviceProgram:
        return self.record.program


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """One step of all ranks: `step` is its number. `ranks` has the classes by their representatives, ascending."""

    step: int
    is_first_step: bool
    """The job completed only one step: what is done once, as making the optimizer's states, is in it."""
    ranks: tuple[RankTimeline, ...]
    unknown_members: tuple[str, ...] = ()
    """Labels of groups with members that were neither simulated nor assumed: those are taken to arrive in time."""
    joins_programs: bool = False
    """Ranks of a class may differ in what they do besides their calls; the one with the longest program was played."""

    @property
    def slowest(self) -> RankTimeline:
        """The class whose step takes longest. In a pipeline all take the same: the one whose kernels run longest, on which others wait."""
        longest = max(rank.seconds for rank in self.ranks)
        return max((rank for rank in self.ranks if rank.seconds >= (1 - _EQUAL) * longest), key=lambda rank: rank.operations.kernel_s)


_EQUAL = 0.02
"""The share of a step by which two that are equally long may differ: it takes some steps until those of all stages are."""


@dataclass(frozen=True, slots=True)
class NoTimeline:
    """A run that has no step time. `reason` completes "no step time: "."""

    reason: str
