"""The streams of a real step of Llama 3 8B on one GPU, played with the seconds that the profiler saw on each of them.

What is held against the GPU is how streams, events and host fit together, not what operations cost. Of the operations of a stream only the
sum is taken from the GPU: kernels are recorded without the operation that they belong to. The GPU ran the program as one of eight ranks on
torch's fake process group, whose collectives copy what is local.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

import pytest

from fakerun.analysis.time.costs import Basis, CallCost, OperationCost
from fakerun.analysis.time.host_times import HostTimes
from fakerun.analysis.time.operations import OperationCosts
from fakerun.analysis.time.step_time import step_time
from fakerun.analysis.time.timeline import NoTimeline, Prices, player_of
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.device_program import Opcode, Operation
from fakerun.records.run import RankRecord
from tests.commands import dry_run
from tests.oracles.programs import EIGHT_BILLION
from tests.oracles.step_kernels import TIMES, measured_programs
from tests.shared_results import SharedResults

PROGRAM, RANK = EIGHT_BILLION[0], 7
GATHER, SCATTER = CollectiveOp.ALL_GATHER_INTO_TENSOR, CollectiveOp.REDUCE_SCATTER_TENSOR


@pytest.fixture
def record(shared_results: SharedResults) -> RankRecord:
    return shared_results.get(f"exact/{PROGRAM.id}", lambda: dry_run(*PROGRAM.words(str(RANK))))[RANK].record


class RecordedOperations:
    """Operations of a stream take together what its kernels took; to each other they are as on an H100."""

    def __init__(self, record: RankRecord, main_s: float, copies_s: float) -> None:
        self._costs = OperationCosts(hardware_named("h100-80gb"))
        self._is_main: dict[Operation, bool] = {}
        sums: Counter[bool] = Counter()
        program = record.program
        for number in program.order[program.step_ends[-2] : program.step_ends[-1]]:
            instruction = program.instructions[number]
            if instruction.opcode is Opcode.EXECUTE:
                operation = program.operations[instruction.operand]
                self._is_main[operation] = program.streams[instruction.stream].index is None
                cost = self._costs.of(operation)
                sums[self._is_main[operation]] += 0 if cost is None else cost.seconds  # type: ignore[assignment]
        self._factors = {True: main_s / sums[True], False: copies_s / sums[False]}

    def of(self, operation: Operation) -> OperationCost | None:
        cost = self._costs.of(operation)
        return cost and replace(cost, seconds=cost.seconds * self._factors[self._is_main.get(operation, True)])


class RecordedCalls:
    """Calls of a kind take together what the kernels of their stream took, each by its bytes; the small others take no time."""

    def __init__(self, record: RankRecord, seconds: Mapping[CollectiveOp, float]) -> None:
        last = [call for call in record.collectives if call.step == record.steps - 1]
        self._per_byte = {op: seconds[op] / sum(call.nbytes for call in last if call.op is op) for op in seconds}

    def of(self, call: CollectiveRecord, rank: int) -> CallCost:
        return CallCost(seconds=call.nbytes * self._per_byte.get(call.op, 0.0), basis=Basis.MEASURED, multiprocessors=0)

    def of_coalesced(self, calls: Sequence[CollectiveRecord], rank: int) -> CallCost:
        raise AssertionError("the program coalesces no calls")


@pytest.mark.parametrize("card", TIMES)
def test_a_step_takes_what_its_streams_took_on_a_gpu(card: str, record: RankRecord) -> None:
    """What is played is 2 to 3 % shorter: the GPU is idle for 3 us between two kernels, 11 ms of a step, and products do not start while a
    copy of another stream occupies it, 13 ms.
    """
    real = measured_programs(card)["fsdp-8b"]
    by_stream: Counter[int] = Counter()
    for _, duration_us, stream, _ in real["kernels"]:
        by_stream[stream] += duration_us
    main_s, copies_s, gathers_s, scatters_s = (by_stream[stream] / 1e6 for stream in sorted(by_stream))
    prices = Prices(
        operations=RecordedOperations(record, main_s, copies_s),
        calls=RecordedCalls(record, {GATHER: gathers_s, SCATTER: scatters_s}),
        host=HostTimes(),
        multiprocessors=132,
        ranks_per_node=8,
    )
    player = player_of([record], (), prices)
    assert not isinstance(player, NoTimeline), player.reason
    _, step = step_time(player)
    measured_s = median(real["step_ms"]) / 1e3
    assert sum(by_stream.values()) / 1e6 > 1.02 * measured_s  # so that a step without any overlap would not pass
    assert 0.96 * measured_s < step.seconds < 1.01 * measured_s
