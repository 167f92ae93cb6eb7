"""The checks of a run: what its budgets are, and what was measured."""

from collections.abc import Collection, Iterator, Sequence

from fakerun.analysis.budgets.check import Check
from fakerun.analysis.gate import Gate
from fakerun.analysis.memory.devices import PhysicalDevice, name_devices
from fakerun.hardware.accelerator import Accelerator
from fakerun.job.forbidden import EVERY_OPERATION
from fakerun.records.collective import CollectiveOp
from fakerun.records.finding_code import FindingCode, Severity
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from fakerun.units import format_bytes, join_words, name_ranks


def memory_limit_checks(
    devices: Sequence[PhysicalDevice], gate: Gate, hardware: Accelerator, findings: Sequence[Finding]
) -> Iterator[Check]:
    """What the device with the highest peak reserves, against `--max-memory`."""
    if gate.max_memory is None:
        return
    worst = max(devices, key=lambda device: device.peak_bytes, default=None)
    finding = next((found for found in findings if found.code is FindingCode.MEMORY_LIMIT), None)
    yield Check(
        name="peak_reserved",
        subject="" if worst is None else name_devices([worst.location]),
        limit=format_bytes(gate.max_memory.on(hardware)),
        measured=format_bytes(0 if worst is None else worst.peak_bytes),
        passed=finding is None,
        source="--max-memory",
        finding=finding,
    )


def forbidden_checks(ranks: Sequence[RankRecord], forbidden: Collection[CollectiveOp], findings: Sequence[Finding]) -> Iterator[Check]:
    """How many forbidden operations the rank with the most of them issues."""
    if not forbidden:
        return
    issued = max((sum(call.op in forbidden for call in rank.collectives) for rank in ranks), default=0)
    finding = next((found for found in findings if found.code is FindingCode.FORBIDDEN_COLLECTIVE), None)
    what = "collective" if set(forbidden) == set(EVERY_OPERATION) else join_words(list(forbidden))
    yield Check(
        name="error_on_collective",
        subject=name_ranks(rank.rank for rank in ranks),
        limit=f"no {what}",
        measured=f"{issued} call{'s' * (issued != 1)}",
        passed=finding is None,
        source="--error-on-collective",
        finding=finding,
    )


def agreement_checks(known: Collection[int], world_size: int, matching: Sequence[Finding]) -> Iterator[Check]:
    """Whether the ranks agree; nothing where some of them are not known and the others agree, or there is only one."""
    errors = [finding for finding in matching if finding.severity is Severity.ERROR]
    if world_size == 1 or (len(known) < world_size and not errors):
        return
    yield Check(
        name="ranks_agree",
        subject=name_ranks(known),
        limit="no mismatch",
        measured=f"{len(errors)} mismatch{'es' * (len(errors) != 1)}" if errors else f"{len(known)} ranks agree",
        passed=not errors,
        source="",
        finding=errors[0] if errors else None,
    )
