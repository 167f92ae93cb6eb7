"""The play that takes down when each operation and each call of the measured step ran."""

from array import array
from collections.abc import Sequence
from itertools import accumulate, repeat

from fakerun.analysis.time.timeline.parts import Block, Part
from fakerun.analysis.time.timeline.play import Play, RankPlay
from fakerun.analysis.time.timeline.queues import Event, Queue
from fakerun.analysis.time.timeline.runs import Run
from fakerun.analysis.time.timeline.spans import HOST, HostWaits, OperationSpans


def _column(kind: str, length: int) -> array:  # type: ignore[type-arg]
    return array(kind, bytes(array(kind).itemsize * length))


class MeasuredRank(RankPlay):
    """A rank that keeps the spans of the measured step, on the clock of the play."""

    def __init__(self, play: "Play[MeasuredRank]", part: Part, factors: Sequence[float] | None) -> None:
        super().__init__(play, part, factors)
        program = part.program
        operations, calls = len(program.operation_column), len(program.measured_calls)
        self.issued, self.starts, self.ends, self.contended = (_column("d", operations) for _ in range(4))
        self.causes = _column("i", operations)
        self.call_times = tuple(_column("d", calls) for _ in range(4))
        """When each was issued, had arrived, started and ended."""
        self.call_firsts, self.call_communicators, self.call_streams, self.call_causes = (_column("i", calls) for _ in range(4))
        self.last_classes, self.last_calls = _column("i", calls), _column("i", calls)
        self.wait_starts, self.wait_ends = array("d"), array("d")
        self.operations_before, self.calls_before, self.wait_causes = array("i"), array("i"), array("i")
        self._first_call = program.measured_calls.start - program.first_call

    def waited(self, event: Event) -> None:
        step = self.part.program.measured_step
        if step - 1 in self.marks and step not in self.marks and event.time is not None:
            self.wait_starts.append(self.host)
            self.wait_ends.append(event.time)
            self.operations_before.append(self.part.operations_before[self.runs_issued])
            self.calls_before.append(self.calls_issued - self._first_call)
            self.wait_causes.append(event.cause)

    def cause_of(self, spec: Block) -> int:
        number = self.number_in_step(spec.calls[-1])
        return HOST if number is None else ~number

    def number_in_step(self, call: int) -> int | None:
        """The number of a call of the play among those of the measured step."""
        number = call - self._first_call
        return number if 0 <= number < len(self.call_firsts) else None

    def transferred(self, spec: Block, times: tuple[float, float, float, float], stream: int, cause: int, last: tuple[int, int]) -> None:
        super().transferred(spec, times, stream, cause, last)
        first = spec.calls[0] - self._first_call
        for call in spec.calls:
            number = call - self._first_call
            if 0 <= number < len(self.call_firsts):
                for column, time in zip(self.call_times, times, strict=True):
                    column[number] = time
                self.call_firsts[number] = first
                self.call_communicators[number] = spec.communicators[0]
                self.call_streams[number], self.call_causes[number] = stream, cause
                self.last_classes[number], self.last_calls[number] = last

    def execute(self, queue: Queue, run: Run, host: float, number: int) -> bool:
        base, end = self.part.operations_before[number : number + 2]
        if base == end or not run.durations_s:
            return super().execute(queue, run, host, number)
        factor = self.factors[number] if self.factors else 1.0
        durations = run.durations_s if factor == 1.0 else [duration * factor for duration in run.durations_s]
        launch_s = self.play.times.launch_s
        self.issued[base:end] = array("d", [host + issued - launch_s for issued in run.issued_s])
        if queue.free - host >= run.slack_s:
            self._run_behind_host(queue, durations, base)
        else:
            self._run_with_host(queue, run, durations, host, base)
        if factor != 1.0:
            self.contended[base:end] = array("d", [long - alone for long, alone in zip(durations, run.durations_s, strict=True)])
        queue.free, queue.cause = self.ends[end - 1], end - 1
        self.windows[number] = (self.starts[base], queue.free)
        return True

    def _run_behind_host(self, queue: Queue, durations: Sequence[float], base: int) -> None:
        """Each operation starts when the one before it ends."""
        end = base + len(durations)
        times = array("d", accumulate(durations, initial=queue.free))
        self.starts[base:end] = times[:-1]
        self.ends[base:end] = times[1:]
        self.causes[base:end] = array("i", range(base - 1, end - 1))
        self.causes[base] = queue.cause

    def _run_with_host(self, queue: Queue, run: Run, durations: Sequence[float], host: float, base: int) -> None:
        """Each operation starts when the one before it ends, or when it is issued."""
        starts, ends, causes = self.starts, self.ends, self.causes
        free, cause = queue.free, queue.cause
        for number, (duration, issued) in enumerate(zip(durations, run.issued_s, strict=True), base):
            start = host + issued
            if free > start:
                start = free
                causes[number] = cause
            else:
                causes[number] = HOST
            free = start + duration
            starts[number], ends[number], cause = start, free, number

    # -- what comes out, on a clock that is 0 at `zero` --------------------------------------------------------------------------------

    def operation_spans(self, zero: float) -> OperationSpans:
        program = self.part.program
        return OperationSpans(
            issued=moved(self.issued, zero),
            starts=moved(self.starts, zero),
            ends=moved(self.ends, zero),
            contended=self.contended,
            operations=program.operation_column,
            streams=program.stream_column,
            phases=program.phase_column,
            blocks=program.block_column,
            causes=self.causes,
        )

    def host_waits(self, zero: float) -> HostWaits:
        return HostWaits(
            starts=moved(self.wait_starts, zero),
            ends=moved(self.wait_ends, zero),
            operations_before=self.operations_before,
            calls_before=self.calls_before,
            causes=self.wait_causes,
        )


def moved(times: Sequence[float], zero: float) -> Sequence[float]:
    """The times on a clock that is 0 at `zero`."""
    return array("d", map(float.__sub__, times, repeat(zero))) if zero else times
