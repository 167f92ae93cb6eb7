"""What each moment of a rank's step is spent on."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from fakerun.analysis.time.timeline.played_classes import label_of
from fakerun.analysis.time.timeline.spans import RankTimeline
from fakerun.records.collective import P2P_OPS, Phase

_OPTIMIZER = tuple(Phase).index(Phase.OPTIMIZER)


class TimeKind(StrEnum):
    """What a moment of a rank's step is spent on; the first that applies."""

    COMPUTE = "compute"
    """A kernel of an operation runs, on any stream; without what `OPTIMIZER` and `CONTENTION` have."""
    OPTIMIZER = "optimizer"
    """A kernel of the optimizer's step runs."""
    CONTENTION = "contention"
    """Kernels run longer because communication occupies multiprocessors."""
    EXPOSED_COMMUNICATION = "exposed communication"
    """No kernel runs, and a call transfers data."""
    BUBBLE = "bubble"
    """Nothing runs, and a call waits in a group with point-to-point calls: the pipeline is empty here, or drains."""
    WAITING = "waiting for other ranks"
    """Nothing runs, and a collective of another group waits for members that have not arrived."""
    HOST = "host"
    """Nothing runs and no call is there: the host has not issued what comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisTime:
    """The communication of one rank in groups with one label, in seconds of the step. Coalesced calls count as one.

    `seconds` are those of its calls, from their last member's arrival to their end: `exposed_s` and `hidden_s` together. Hidden is what
    runs beside kernels, or beside other calls that are counted as exposed. `waiting_s` is waiting for other members while nothing runs.
    """

    label: str
    calls: int
    seconds: float
    exposed_s: float
    waiting_s: float

    @property
    def hidden_s(self) -> float:
        return self.seconds - self.exposed_s


@dataclass(frozen=True, slots=True)
class _Transfer:
    """What was issued as one. `is_pipeline`: its group has point-to-point calls."""

    arrived: float
    start: float
    end: float
    label: str
    is_pipeline: bool


class TimeByKind:
    """The seconds of a rank's step by kind, which add up to the step, and its communication by label."""

    def __init__(self, rank: RankTimeline) -> None:
        self._rank = rank
        self.kinds: dict[TimeKind, float] = dict.fromkeys(TimeKind, 0.0)
        self._exposed: defaultdict[str, float] = defaultdict(float)
        self._waiting: defaultdict[str, float] = defaultdict(float)
        transfers = list(_transfers(rank))
        self._divide(list(self._gaps()), transfers)
        self.communication = self._by_label(transfers)

    def _gaps(self) -> Iterator[tuple[float, float]]:
        """When no kernel runs; what runs otherwise is added to its kind."""
        begin, end = self._rank.begin_s, self._rank.end_s
        operations, kinds = self._rank.operations, self.kinds
        starts, ends, contended, phases = operations.starts, operations.ends, operations.contended, operations.phases
        covered = begin
        for number in sorted(range(len(operations)), key=starts.__getitem__):
            start, until = max(starts[number], covered), min(ends[number], end)
            if until <= start:
                continue
            if start > covered:
                yield covered, start
            covered = until
            seconds = until - start
            longer = seconds * contended[number] / (ends[number] - starts[number])
            kinds[TimeKind.CONTENTION] += longer
            kinds[TimeKind.OPTIMIZER if phases[number] == _OPTIMIZER else TimeKind.COMPUTE] += seconds - longer
        if end > covered:
            yield covered, end

    def _divide(self, gaps: Sequence[tuple[float, float]], transfers: Sequence[_Transfer]) -> None:
        """Say of each time without a kernel what it is spent on."""
        pending = sorted(transfers, key=lambda each: -each.arrived)
        active: list[_Transfer] = []
        for begin, end in gaps:
            while pending and pending[-1].arrived < end:
                active.append(pending.pop())
            active = [each for each in active if each.end > begin]
            times = {time for each in active for time in (each.arrived, each.start, each.end) if begin < time < end}
            edges = (begin, *sorted(times), end)
            for start, until in pairwise(edges):
                self._spend(until - start, [each for each in active if each.arrived <= start and each.end >= until], start)

    def _spend(self, seconds: float, there: Sequence[_Transfer], start: float) -> None:
        """Seconds in which no kernel runs, and these calls are on the device."""
        transferring = [each for each in there if each.start <= start]
        if transferring:
            self.kinds[TimeKind.EXPOSED_COMMUNICATION] += seconds
            for each in transferring:
                self._exposed[each.label] += seconds / len(transferring)
        elif there:
            waiting = next((each for each in there if each.is_pipeline), there[0])
            self.kinds[TimeKind.BUBBLE if waiting.is_pipeline else TimeKind.WAITING] += seconds
            self._waiting[waiting.label] += seconds
        else:
            self.kinds[TimeKind.HOST] += seconds

    def _by_label(self, transfers: Sequence[_Transfer]) -> tuple[AxisTime, ...]:
        begin, end = self._rank.begin_s, self._rank.end_s
        calls: defaultdict[str, int] = defaultdict(int)
        seconds: defaultdict[str, float] = defaultdict(float)
        for each in transfers:
            calls[each.label] += 1
            seconds[each.label] += max(0.0, min(each.end, end) - max(each.start, begin))
        found = (
            AxisTime(
                label=label,
                calls=count,
                seconds=seconds[label],
                exposed_s=self._exposed[label],
                waiting_s=self._waiting[label],
            )
            for label, count in calls.items()
        )
        return tuple(sorted(found, key=lambda each: (-each.exposed_s, -each.seconds, each.label)))


def _transfers(rank: RankTimeline) -> Iterator[_Transfer]:
    calls, records = rank.calls, rank.record.collectives
    in_step = [records[seq] for seq in calls.seqs]
    pipelines = {label_of(record.group) for record in in_step if record.op in P2P_OPS}
    for number, record in enumerate(in_step):
        if calls.firsts[number] == number:
            label = label_of(record.group)
            yield _Transfer(calls.arrived[number], calls.starts[number], calls.ends[number], label, label in pipelines)
