"""Which kind of run a job is, as far as the error of its step time goes: what is held against published runs of the same kind."""

from collections.abc import Iterable

from fakerun.analysis.time.published_error import RunFeature, RunKind
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.collective import P2P_OPS
from fakerun.records.device_program import Opcode
from fakerun.records.run import RankRecord

SMALL_PARAMETERS = 1e9
"""Below it launches, hosts and small kernels decide; published runs of such models are another kind."""

NO_GENERATION = 0
"""Of AMD's cards, none of which is in the published runs; their capabilities have the numbers of NVIDIA's generations."""

_FLOAT8 = ("_scaled_mm", "_scaled_grouped_mm")
_EXPERTS = ("_grouped_mm", "_scaled_grouped_mm")


def run_kind(records: Iterable[RankRecord], accelerator: Accelerator, flops_per_token: float) -> RunKind:
    """The kind of a run. `flops_per_token` are model FLOPs of forward and backward: six for each parameter, and attention's."""
    features = set().union(*map(_features, {id(record.program): record for record in records}.values()))
    if flops_per_token < 6 * SMALL_PARAMETERS:
        features.add(RunFeature.SMALL)
    generation = NO_GENERATION if accelerator.is_amd else accelerator.compute_capability[0]
    return RunKind(generation=generation, features=frozenset(features))


def _features(record: RankRecord) -> Iterable[RunFeature]:
    operators = {operation.name.split(".")[1] for operation in record.program.operations if "." in operation.name}
    if operators.intersection(_FLOAT8):
        yield RunFeature.FLOAT8
    if operators.intersection(_EXPERTS):
        yield RunFeature.EXPERTS
    if any(instruction.opcode is Opcode.BEGIN_COMPILED for instruction in record.program.instructions):
        yield RunFeature.COMPILED
    if any(call.op in P2P_OPS for call in record.collectives):
        yield RunFeature.PIPELINE
