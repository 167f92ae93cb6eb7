"""A step of two pipeline stages, built by hand: what runs on the host, two streams and two communicators of each rank."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from fakerun.analysis.time.costs import Basis, CallCost, OperationCost, OperationKind
from fakerun.analysis.time.step_time import step_time
from fakerun.analysis.time.timeline import HOST, CallSpans, HostWaits, OperationSpans, Player, RankTimeline, Timeline
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveOp, CollectiveRecord, Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, program_of
from fakerun.records.memory import Category, MemoryBlock
from fakerun.records.run import RankRecord
from fakerun.report.build_timeline import step_timeline
from fakerun.report.model import StepTimeline
from tests.unit.records_by_hand import MIB, block, collective, in_order, job

MICROSECOND = 1e-6
_PHASES = tuple(Phase)

MATMUL = Operation("aten.mm.default", "bfloat16[4096,4096], bfloat16[4096,1024]", "bfloat16[4096,1024]")
ADD = Operation("aten.add.Tensor", "bfloat16[4096,1024], bfloat16[4096,1024]", "bfloat16[4096,1024]")
TOKENS = Operation("aten.copy_.default", "int64[1,4096], int64[1,4096]@cpu")
ADAM = Operation("aten._fused_adamw_.default", "[float32[8] x 3]")
VIEW = Operation("aten.view.default", "bfloat16[4096,1024]", "bfloat16[4096,1024]")

COSTS = {
    MATMUL: OperationCost(kind=OperationKind.MATRIX_PRODUCT, seconds=80e-6, basis=Basis.INTERPOLATED, flops=34_359_738_368),
    ADD: OperationCost(kind=OperationKind.POINTWISE, seconds=10e-6, basis=Basis.ROOFLINE, moved_bytes=25_165_824),
    TOKENS: OperationCost(kind=OperationKind.HOST_COPY, seconds=5e-6, basis=Basis.ROOFLINE, moved_bytes=32_768),
    ADAM: OperationCost(kind=OperationKind.OPTIMIZER, seconds=40e-6, basis=Basis.ROOFLINE, kernels=2),
}
_CALL_COST = CallCost(seconds=100e-6, basis=Basis.MEASURED, multiprocessors=16)


@dataclass(frozen=True)
class Ran:
    """An operation: when the host had issued it, when its kernels ran, on which stream; all in microseconds."""

    operation: Operation
    issued: float
    start: float
    end: float
    phase: Phase
    stream: int = 0
    slowed: float = 0
    block: int = -1


@dataclass(frozen=True)
class Called:
    """A call: when it was issued, had arrived, transferred, on which communicator; all in microseconds."""

    call: CollectiveRecord
    issued: float
    arrived: float
    start: float
    end: float
    communicator: int


def rank_timeline(
    representative: int,
    ranks: Sequence[int],
    ran: Sequence[Ran],
    called: Sequence[Called],
    *,
    waits: Sequence[tuple[float, float]] = (),
    begin: float = 0,
    end: float,
    host: tuple[float, float],
    mesh: Mesh | None = None,
    blocks: tuple[MemoryBlock, ...] = (),
    devices: tuple[int, ...] = (0,),
) -> RankTimeline:
    calls = in_order(each.call for each in called)
    program = _program(ran, blocks)
    record = RankRecord(
        rank=representative, mesh=mesh, steps=2, collectives=calls, program=program, devices=devices, torch_version="2.13.0"
    )
    return RankTimeline(
        record=record,
        representative=representative,
        ranks=tuple(ranks),
        begin_s=begin * MICROSECOND,
        end_s=end * MICROSECOND,
        host_begin_s=host[0] * MICROSECOND,
        host_end_s=host[1] * MICROSECOND,
        last=len(ran) - 1,
        costs=[COSTS.get(operation) for operation in program.operations],
        operations=_operation_spans(ran, program),
        calls=_call_spans(called),
        waits=HostWaits(
            starts=[start * MICROSECOND for start, _ in waits],
            ends=[end * MICROSECOND for _, end in waits],
            operations_before=[sum(each.issued <= start for each in ran) for start, _ in waits],
            calls_before=[sum(each.issued <= start for each in called) for start, _ in waits],
            causes=[0] * len(waits),
        ),
    )


def _program(ran: Sequence[Ran], blocks: tuple[MemoryBlock, ...]) -> DeviceProgram:
    """Step 1 of two: each operation, after a view; the block of an operation is allocated before it, and freed at the end."""
    operations = tuple(dict.fromkeys((VIEW, *(each.operation for each in ran))))
    sequence: list[int | Instruction] = []
    allocated: list[MemoryBlock] = []
    for each in ran:
        if each.block >= 0:
            sequence.append(len(allocated))
            allocated.append(blocks[each.block])
        sequence.append(Instruction(Opcode.EXECUTE, 0, each.stream))
        sequence.append(Instruction(Opcode.EXECUTE, operations.index(each.operation), each.stream))
    sequence.extend(~number for number in range(len(allocated)))
    streams = (DeviceStream(device=0), DeviceStream(device=0, index=3))
    return program_of(allocated, sequence, operations=operations, streams=streams, step_ends=(0, len(sequence)))


def _operation_spans(ran: Sequence[Ran], program: DeviceProgram) -> OperationSpans:
    blocks = [number for number, _ in enumerate(program.blocks)]
    return OperationSpans(
        issued=[each.issued * MICROSECOND for each in ran],
        starts=[each.start * MICROSECOND for each in ran],
        ends=[each.end * MICROSECOND for each in ran],
        contended=[each.slowed * MICROSECOND for each in ran],
        operations=[program.operations.index(each.operation) for each in ran],
        streams=[each.stream for each in ran],
        phases=[_PHASES.index(each.phase) for each in ran],
        blocks=[each.block if each.block in blocks else -1 for each in ran],
        causes=[HOST] * len(ran),
    )


def _call_spans(called: Sequence[Called]) -> CallSpans:
    return CallSpans(
        seqs=list(range(len(called))),
        issued=[each.issued * MICROSECOND for each in called],
        arrived=[each.arrived * MICROSECOND for each in called],
        starts=[each.start * MICROSECOND for each in called],
        ends=[each.end * MICROSECOND for each in called],
        communicators=[each.communicator for each in called],
        firsts=_firsts(called),
        streams=[0] * len(called),
        causes=[HOST] * len(called),
        last_ranks=[0] * len(called),
        last_calls=list(range(len(called))),
        costs=[_CALL_COST] * len(called),
    )


def _firsts(called: Sequence[Called]) -> list[int]:
    """For each call the number of the first one that was issued with it."""
    batches = [each.call.coalesced for each in called]
    return [number if batch is None else batches.index(batch) for number, batch in enumerate(batches)]


MESH = Mesh.of({"pp": 2, "dp": 4})


def two_stages() -> Timeline:
    """Ranks 0-3 send to ranks 4-7, which work on what they get; the first stage then waits for what comes back."""
    return Timeline(step=1, is_first_step=False, ranks=(first_stage(), second_stage()))


def first_stage() -> RankTimeline:
    """Of 1000 microseconds 600 compute, in 100 of which communication runs; 150 expose it, 150 wait for a peer, 100 for the host."""
    module = block(8 * MIB, Category.ACTIVATION, module="layers.0.w1", call_site="model.py:12", phase=Phase.FORWARD)
    send = collective(CollectiveOp.SEND, group="pp", group_ranks=(0, 4), peer=4, process_group="7", dtype="bfloat16", module="layers.0")
    receive = collective(CollectiveOp.RECV, group="pp", group_ranks=(0, 4), peer=4, process_group="7", dtype="bfloat16")
    pair = (
        collective(CollectiveOp.SEND, group="pp", group_ranks=(0, 4), peer=4, process_group="7", coalesced=5),
        collective(CollectiveOp.RECV, group="pp", group_ranks=(0, 4), peer=4, process_group="7", coalesced=5),
    )
    reduce = collective(group_ranks=(0, 1, 2, 3), process_group="1", reduce_op="sum", is_async=True, dtype="bfloat16")
    return rank_timeline(
        0,
        (0, 1, 2, 3),
        [
            Ran(TOKENS, 10, 20, 25, Phase.OTHER),
            Ran(MATMUL, 30, 40, 240, Phase.FORWARD, block=0),
            Ran(ADD, 40, 240, 300, Phase.FORWARD, block=0),
            Ran(MATMUL, 90, 500, 700, Phase.BACKWARD),
            Ran(ADD, 100, 520.4, 560.6, Phase.BACKWARD, stream=1, slowed=2.5),
            Ran(ADAM, 560, 860, 1000, Phase.OPTIMIZER),
        ],
        [
            Called(send, 50, 300, 340, 350, communicator=0),
            Called(pair[0], 60, 350, 400, 450, communicator=0),
            Called(pair[1], 60, 350, 400, 450, communicator=0),
            Called(receive, 70, 450, 490, 500, communicator=0),
            Called(reduce, 120, 600, 610, 850, communicator=1),
        ],
        waits=[(130, 550)],
        end=1000,
        host=(-20, 570),
        mesh=MESH,
        blocks=(module,),
    )


def second_stage() -> RankTimeline:
    """Waits for the first stage, and computes."""
    receive = collective(CollectiveOp.RECV, group="pp", group_ranks=(0, 4), peer=0, process_group="7", dtype="bfloat16")
    gather = collective(
        CollectiveOp.ALL_GATHER_INTO_TENSOR,
        group_ranks=(4, 5, 6, 7),
        process_group="2",
        dtype="bfloat16",
        input_sizes=((1024, 256),),
        output_sizes=((4096, 256),),
        module="layers.1",
    )
    return rank_timeline(
        4,
        (4, 5, 6, 7),
        [Ran(MATMUL, 20, 350, 800, Phase.FORWARD), Ran(MATMUL, 30, 800, 950, Phase.BACKWARD)],
        [Called(gather, 5, 10, 10, 110, communicator=1), Called(receive, 10, 10, 340, 350, communicator=0)],
        end=960,
        host=(0, 40),
        mesh=MESH,
        devices=(4,),
    )


class _Played:
    """Stands for a player of which this timeline came."""

    labels = ()

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def timeline(self) -> Timeline:
        return self._timeline


def detailed(timeline: Timeline) -> StepTimeline:
    """What a report has of it."""
    return step_timeline(job(), *step_time(cast("Player", _Played(timeline))))
