"""Device programs and calls of ranks, written line by line, and prices that are written into them.

An operation takes as many seconds as its arguments say, a call as many as it has bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fakerun.analysis.time.costs import Basis, CallCost, OperationCost, OperationKind
from fakerun.analysis.time.host_times import HostTimes
from fakerun.analysis.time.step_time import StepTime, step_time
from fakerun.analysis.time.timeline import NoTimeline, Prices, Timeline, player_of
from fakerun.records.collective import CollectiveOp, CollectiveRecord, Phase
from fakerun.records.device_program import DeviceStream, Instruction, Opcode, Operation, program_of
from fakerun.records.memory import MemoryBlock
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import block, collective

NO_HOST = HostTimes(operation_s=0.0, view_s=0.0, call_s=0.0, event_s=0.0, launch_s=0.0)
VIEW = "view"
"""The name of operations without a kernel."""


class RankByHand:
    """A rank under construction. Streams are numbers; `None` as a wait means that nobody waits for the call."""

    def __init__(self, rank: int = 0, *, group: Sequence[int] = (0, 1), streams: int = 4) -> None:
        self.rank = rank
        self._group = tuple(group)
        self._streams = streams
        self._sequence: list[int | Instruction] = []
        self._operations: dict[Operation, int] = {}
        self._blocks = list[MemoryBlock]()
        self._calls: list[CollectiveRecord] = []
        self._events = 0
        self._ends: list[int] = []

    def phase(self, phase: Phase) -> None:
        self._sequence.append(Instruction(Opcode.BEGIN_PHASE, tuple(Phase).index(phase)))

    def op(self, seconds: float, stream: int = 0, *, name: str = "op", module: str | None = None, opcode: Opcode = Opcode.EXECUTE) -> None:
        if module is not None:
            self._blocks.append(block(512, module=module, call_site=f"{module}.py:1"))
            self._sequence.append(len(self._blocks) - 1)
        self._execute(Operation(name, str(seconds)), opcode, stream)

    def operation(self, name: str, arguments: str, results: str = "") -> None:
        """An operation as it is recorded, of which a card says what it costs."""
        self._execute(Operation(name, arguments, results), Opcode.EXECUTE, 0)

    def _execute(self, operation: Operation, opcode: Opcode, stream: int) -> None:
        number = self._operations.setdefault(operation, len(self._operations))
        self._sequence.append(Instruction(opcode, number, stream))

    def call(
        self,
        seconds: int,
        op: CollectiveOp = CollectiveOp.ALL_REDUCE,
        stream: int = 0,
        *,
        group: Sequence[int] | None = None,
        label: str = "dp",
        peer: int | None = None,
        coalesced: int | None = None,
        wait: bool = True,
    ) -> int:
        """Issue a call; its number. The stream waits for it at once, unless `wait` is False."""
        ranks = self._group if group is None else tuple(group)
        number = len(self._calls)
        self._calls.append(
            collective(
                op,
                seq=number,
                nbytes=seconds,
                group=label,
                group_ranks=ranks,
                process_group=f"{label}{ranks}",
                peer=peer,
                coalesced=coalesced,
                is_async=not wait,
                waited=wait,
                call_site="train.py:9",
            )
        )
        self._sequence.append(Instruction(Opcode.COMMUNICATE, stream=stream))
        if wait:
            self.wait(number, stream)
        return number

    def send(self, seconds: int, peer: int, **fields: object) -> int:
        return self.call(seconds, CollectiveOp.SEND, peer=peer, **fields)  # type: ignore[arg-type]

    def recv(self, seconds: int, peer: int, **fields: object) -> int:
        return self.call(seconds, CollectiveOp.RECV, peer=peer, **fields)  # type: ignore[arg-type]

    def wait(self, call: int, stream: int = 0) -> None:
        self._sequence.append(Instruction(Opcode.WAIT_FOR_CALL, len(self._calls) - 1 - call, stream))

    def record_event(self, stream: int = 0) -> int:
        self._sequence.append(Instruction(Opcode.RECORD_EVENT, stream=stream))
        self._events += 1
        return self._events - 1

    def wait_event(self, event: int, stream: int | None) -> None:
        """A stream waits for an event, or the host if it is None."""
        opcode = Opcode.SYNCHRONIZE_EVENT if stream is None else Opcode.WAIT_FOR_EVENT
        self._sequence.append(Instruction(opcode, self._events - 1 - event, stream or 0))

    def wait_stream(self, other: int, stream: int) -> None:
        self._sequence.append(Instruction(Opcode.WAIT_FOR_STREAM, other, stream))

    def synchronize(self, stream: int | None = None) -> None:
        """The host waits for a stream, or for the device."""
        self._sequence.append(Instruction(Opcode.SYNCHRONIZE) if stream is None else Instruction(Opcode.SYNCHRONIZE_STREAM, stream=stream))

    def begin_replay(self) -> None:
        self._sequence.append(Instruction(Opcode.BEGIN_REPLAY))

    def end_replay(self) -> None:
        self._sequence.append(Instruction(Opcode.END_REPLAY))

    def end_step(self) -> None:
        self._ends.append(len(self._sequence))

    def record(self) -> RankRecord:
        return RankRecord(
            rank=self.rank,
            steps=len(self._ends),
            collectives=tuple(self._calls),
            devices=(0,),
            program=program_of(
                self._blocks,
                self._sequence,
                operations=tuple(self._operations),
                streams=[DeviceStream(device=0, index=number or None) for number in range(self._streams)],
                step_ends=self._ends,
            ),
        )


class WrittenPrices:
    """The seconds that operations have written into them."""

    def of(self, operation: Operation) -> OperationCost | None:
        if operation.name == VIEW:
            return None
        return OperationCost(kind=OperationKind.OTHER, seconds=float(operation.arguments), basis=Basis.MEASURED, flops=1, full_flops=2)


@dataclass(frozen=True)
class WrittenCallPrices:
    """The seconds that calls have written into them; all occupy as many multiprocessors."""

    multiprocessors: int = 0

    def of(self, call: CollectiveRecord, rank: int) -> CallCost:
        return CallCost(seconds=float(call.nbytes), basis=Basis.MEASURED, multiprocessors=self.multiprocessors)

    def of_coalesced(self, calls: Sequence[CollectiveRecord], rank: int) -> CallCost:
        return CallCost(seconds=float(max(call.nbytes for call in calls)), basis=Basis.MEASURED, multiprocessors=self.multiprocessors)


def prices(host: HostTimes = NO_HOST, multiprocessors: int = 0) -> Prices:
    """`multiprocessors` of 100 are what calls occupy."""
    return Prices(operations=WrittenPrices(), calls=WrittenCallPrices(multiprocessors), host=host, multiprocessors=100, ranks_per_node=8)


def played(*ranks: RankByHand | RankRecord, host: HostTimes = NO_HOST, multiprocessors: int = 0) -> tuple[Timeline, StepTime]:
    records = [each if isinstance(each, RankRecord) else each.record() for each in ranks]
    player = player_of(records, (), prices(host, multiprocessors))
    assert not isinstance(player, NoTimeline), player.reason
    return step_time(player)
