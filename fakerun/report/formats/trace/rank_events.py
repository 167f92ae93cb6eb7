"""The events of one rank in the order in which its host issued them: operators and launches, kernels, communication calls, waits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import merge
from itertools import groupby
from operator import itemgetter

from fakerun.call_site import CallSite
from fakerun.records.collective import CollectiveRecord, Phase
from fakerun.report.formats.trace import event
from fakerun.report.formats.trace.clock import Clock
from fakerun.report.formats.trace.collective_args import collective_args, sequence_numbers
from fakerun.report.formats.trace.names import input_args, kernel_name, nccl_kernel_name, operator_name
from fakerun.report.formats.trace.tracks import Tracks
from fakerun.report.model import OperationCost, OperationKind, RankTimeline, TracedRank

_PHASES = tuple(Phase)
_OPERATION, _CALLS, _WAIT = range(3)
_NUMBERED_FROM = 100_000
"""Correlation ids above this: HolisticTraceAnalysis 0.5 keeps the numbers of rows in the smallest type of integers that holds the ids."""
_LAUNCH, _COPY, _LAUNCH_OF_NCCL, _SYNCHRONIZE, _COMMUNICATION = (
    event.written(name)
    for name in ("cudaLaunchKernel", "cudaMemcpyAsync", "cudaLaunchKernelExC", "cudaStreamSynchronize", "record_param_comms")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _WrittenOperation:
    """What all launches of one operation have in common, as JSON: names, and members of `args`."""

    operator: str
    inputs: str
    kernel: str
    category: str
    launch: str
    cost: str


class RankEvents:
    """`at` is the clock of all ranks."""

    def __init__(self, traced: TracedRank, tracks: Tracks, at: Clock) -> None:
        rank = self._rank = traced.timeline
        self._inputs = traced.inputs
        self._tracks = tracks
        self._at = at
        self._host_free = at(rank.host_begin_s)
        """When the host is done with what it issued last."""
        self._correlation = _NUMBERED_FROM
        self._batches = tuple(_batches(rank))
        self._numbers = sequence_numbers(rank.record.collectives, rank.calls.seqs)
        self._operations = cache(self._written_operation)
        self._places = cache(self._written_place)

    def lines(self) -> Iterator[str]:
        """What lasts longer than one operator comes first, since readers lay events that begin together out in the order of the file."""
        for kind, _, number in self._issue_order():
            self._correlation += 1
            if kind == _OPERATION:
                yield from self._operation(number)
            elif kind == _CALLS:
                yield from self._calls(self._batches[number])
            else:
                yield self._wait(number)

    def _issue_order(self) -> Iterator[tuple[int, float, int]]:
        """The kind, the time and the number of what the host did; the number of calls that were issued as one is that of their batch."""
        rank = self._rank
        operations = ((_OPERATION, time, number) for number, time in enumerate(rank.operations.issued))
        calls = ((_CALLS, rank.calls.issued[batch[0]], number) for number, batch in enumerate(self._batches))
        waits = ((_WAIT, time, number) for number, time in enumerate(rank.waits.starts))
        return merge(operations, calls, waits, key=itemgetter(1))

    def _operation(self, number: int) -> Iterator[str]:
        spans, process = self._rank.operations, self._tracks.process
        stream, what = spans.streams[number], self._operations(spans.operations[number])
        thread, begin, end = self._tracks.streams[stream], self._at(spans.starts[number]), self._at(spans.ends[number])
        place, slowed = self._places(spans.blocks[number]), spans.contended[number]
        phase = f'"Phase": "{_PHASES[spans.phases[number]].value}"'
        slowed_by = f'"Slowed by communication (us)": {slowed * 1e6:.1f}' if slowed else ""
        on_device = self._on_device(self._tracks.devices[stream], thread)
        yield from self._launched(what.operator, what.launch, self._at(spans.issued[number]), phase, what.inputs, place)
        yield event.complete(what.category, what.kernel, process, thread, begin, end, on_device, what.cost, slowed_by, place)
        yield event.flow_end(self._correlation, process, thread, begin)

    def _on_device(self, device: int, thread: int) -> str:
        number = self._correlation
        return f'"External id": {number}, "device": {device}, "stream": {thread}, "correlation": {number}'

    def _launched(self, name: str, launch: str, issued: int, *args: str) -> Iterator[str]:
        """What the host does for one operator: its time since the last one, the second half of it in the launch."""
        process, host, number = self._tracks.process, self._tracks.host, self._correlation
        begin, end = min(self._host_free, issued), issued
        self._host_free = max(end, self._host_free)
        middle = (begin + end) // 2
        yield event.complete("cpu_op", name, process, host, begin, end, f'"External id": {number}', *args)
        yield event.complete("cuda_runtime", launch, process, host, middle, end, f'"External id": {number}, "correlation": {number}')
        yield event.flow_start(number, process, host, middle)

    def _calls(self, batch: Sequence[int]) -> Iterator[str]:
        """One call, or those that were issued as one: NCCL runs them in one kernel, named and described by the first."""
        spans, tracks, first = self._rank.calls, self._tracks, batch[0]
        call = _record(self._rank, first)
        thread = tracks.communicators[spans.communicators[first]]
        begin, end = self._at(spans.arrived[first]), self._at(spans.ends[first])
        args = event.members(self._args_of(call, first))
        kernel = {
            "Calls": len(batch),
            "Waits for other ranks (us)": self._at(spans.starts[first]) - begin,
            "Estimate": spans.costs[first].basis.value,
            "Multiprocessors": spans.costs[first].multiprocessors,
        }
        on_device = self._on_device(tracks.cuda_index, thread)
        yield from self._launched(_COMMUNICATION, _LAUNCH_OF_NCCL, self._at(spans.issued[first]), args)
        yield event.complete(
            "kernel", event.written(nccl_kernel_name(call)), tracks.process, thread, begin, end, on_device, event.members(kernel), args
        )
        yield event.flow_end(self._correlation, tracks.process, thread, begin)

    def _args_of(self, call: CollectiveRecord, number: int) -> dict[str, object]:
        seq = self._numbers[self._rank.calls.seqs[number]]
        args = collective_args(call, self._rank.representative, seq)
        return {**args, "Phase": call.phase.value, **_place_args(call.module, call.call_site)}

    def _wait(self, number: int) -> str:
        waits, tracks = self._rank.waits, self._tracks
        begin, end = self._at(waits.starts[number]), self._at(waits.ends[number])
        self._host_free = max(end, self._host_free)
        return event.complete("cuda_runtime", _SYNCHRONIZE, tracks.process, tracks.host, begin, end, f'"correlation": {self._correlation}')

    def _written_operation(self, number: int) -> "_WrittenOperation":
        operation, cost, inputs = self._rank.program.operations[number], self._rank.costs[number], self._inputs[number]
        kind = cost.kind if cost else OperationKind.OTHER
        is_copy = kind is OperationKind.HOST_COPY
        return _WrittenOperation(
            operator=event.written(operator_name(operation)),
            inputs=event.members(input_args(inputs.inputs)),
            kernel=event.written(kernel_name(operation, kind, inputs)),
            category="gpu_memcpy" if is_copy else "kernel",
            launch=_COPY if is_copy else _LAUNCH,
            cost=event.members(_cost_args(cost)) if cost else "",
        )

    def _written_place(self, number: int) -> str:
        if number < 0:
            return ""
        block = self._rank.program.blocks[number]
        return event.members(_place_args(block.module, block.call_site))


def _place_args(module: str | None, call_site: CallSite | None) -> dict[str, object]:
    return {**({"Module": module} if module else {}), **({"Call site": str(call_site)} if call_site else {})}


def _batches(rank: RankTimeline) -> Iterator[tuple[int, ...]]:
    """The numbers of calls, those together that were issued as one."""
    return (tuple(numbers) for _, numbers in groupby(range(len(rank.calls)), rank.calls.firsts.__getitem__))


def _record(rank: RankTimeline, number: int) -> CollectiveRecord:
    return rank.record.collectives[rank.calls.seqs[number]]


def _cost_args(cost: OperationCost) -> dict[str, object]:
    """What the duration is taken from, and how much work that is."""
    flops = {"flops": cost.flops} if cost.flops else {}
    return {"Estimate": cost.basis.value, "Kernels": cost.kernels, **flops, "bytes": cost.moved_bytes}
