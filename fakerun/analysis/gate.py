"""What a run must hold to pass besides having no error: `--max-memory`, `--strict`; and what does not count: `--ignore`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fakerun.analysis.memory.devices import PhysicalDevice, name_devices
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.finding_code import FindingCode, Severity
from fakerun.records.findings import Finding
from fakerun.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """A limit on the peak of each device, as it was asked for: in bytes, or as a share of the accelerator's usable memory."""

    text: str
    nbytes: int | None = None
    share: float | None = None

    def on(self, hardware: Accelerator) -> int:
        """The limit in bytes."""
        return self.nbytes if self.nbytes is not None else int(hardware.usable_bytes * (self.share or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What is asked of a run besides that it has no error."""

    max_memory: MemoryLimit | None = None
    ignored: frozenset[FindingCode] = frozenset()
    strict: bool = False

    @property
    def failing(self) -> frozenset[Severity]:
        """The severities that fail a run."""
        return frozenset({Severity.ERROR, Severity.WARNING} if self.strict else {Severity.ERROR})


def memory_limit_findings(devices: Sequence[PhysicalDevice], gate: Gate, hardware: Accelerator) -> Iterator[Finding]:
    """At most one `memory-limit`, for all devices whose peak is above the limit; it describes the one with the highest peak."""
    if gate.max_memory is None:
        return
    limit = gate.max_memory.on(hardware)
    over = [device for device in devices if device.peak_bytes > limit]
    if not over:
        return
    worst = max(over, key=lambda device: device.peak_bytes)
    share = max(worst.shares, key=lambda share: share.reserved.peak_bytes)
    block = share.footprint.peak_block
    others = [device.location for device in over if device is not worst]
    also = f"; also above it: {name_devices(others)}" if others else ""
    yield Finding(
        code=FindingCode.MEMORY_LIMIT,
        message=(
            f"{name_devices([worst.location])} has {format_bytes(worst.peak_bytes)} reserved at the peak, "
            f"{format_bytes(worst.peak_bytes - limit)} above the limit of {format_bytes(limit)} (--max-memory {gate.max_memory.text}){also}"
        ),
        ranks=tuple(sorted({share.rank for device in over for share in device.shares})),
        call_site=None if block is None else block.call_site,
    )


def without_ignored(findings: Iterable[Finding], gate: Gate) -> tuple[tuple[Finding, ...], Mapping[FindingCode, int]]:
    """The findings that count, and how many of each ignored code do not, by code."""
    findings = tuple(findings)
    ignored = Counter(finding.code for finding in findings if finding.code in gate.ignored)
    return tuple(finding for finding in findings if finding.code not in gate.ignored), dict(sorted(ignored.items()))
