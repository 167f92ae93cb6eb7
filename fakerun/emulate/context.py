"""The one object that every emulation of a rank is given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from fakerun.emulate.device.current_streams import CurrentStreams
from fakerun.emulate.device.devices import Devices
from fakerun.emulate.device.host_policy import HostPolicy
from fakerun.emulate.device.mode import DeviceMode
from fakerun.emulate.device.pinned_storages import PinnedStorages
from fakerun.emulate.device.torch_functions import TorchFunctions
from fakerun.errors import FakerunError
from fakerun.job.spec import JobSpec
from fakerun.records.mailbox import Mailbox
from fakerun.records.observer import (
    AllocationObserver,
    CachingAllocators,
    CommunicationObserver,
    CompiledCodeObserver,
    ExecutionObserver,
    FindingSink,
    Observers,
    RankUseObserver,
    ReadObserver,
    TopologyObserver,
)

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmulationContext:
    """The rank and job that are emulated, the observers to report to, and the parts that several emulations share.

    An emulation is a function of the context: one that registers handlers on `mode` or `functions`, or a context manager that changes
    what the script sees and undoes it. Each takes what it needs from here, so that a new need changes no signature.
    """

    job: JobSpec
    rank: int
    mailbox: Mailbox
    abort: Callable[[FakerunError], None]
    """Ends the rank from any thread, whatever the script is doing, with this error as the reason."""

    allocations: AllocationObserver
    execution: ExecutionObserver
    compiled_code: CompiledCodeObserver
    communication: CommunicationObserver
    topology: TopologyObserver
    findings: FindingSink
    rank_uses: RankUseObserver
    reads: ReadObserver
    allocators: CachingAllocators

    devices: Devices
    streams: CurrentStreams
    pinned: PinnedStorages
    mode: DeviceMode
    functions: TorchFunctions

    _parts: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        job: JobSpec,
        rank: int,
        mailbox: Mailbox,
        observers: Observers,
        streams: CurrentStreams,
        abort: Callable[[FakerunError], None],
    ) -> Self:
        """The context of rank `rank` of `job`, with new devices and modes."""
        streams.on_wait = observers.execution.waited_for_stream
        devices, pinned = Devices(job.nproc_per_node, observers.allocators.begin), PinnedStorages()
        return cls(
            job=job,
            rank=rank,
            mailbox=mailbox,
            abort=abort,
            allocations=observers.allocations,
            execution=observers.execution,
            compiled_code=observers.compiled_code,
            communication=observers.communication,
            topology=observers.topology,
            findings=observers.findings,
            rank_uses=observers.rank_uses,
            reads=observers.reads,
            allocators=observers.allocators,
            devices=devices,
            streams=streams,
            pinned=pinned,
            mode=DeviceMode(devices, observers.allocations, observers.execution, HostPolicy()),
            functions=TorchFunctions(),
        )

    def part(self, kind: Callable[["EmulationContext"], Part]) -> Part:
        """The one part of this kind, made of the context when it is first asked for.

        For what emulations of one room or of several share (streams, handles, unknown values): whoever asks first makes it, so that no
        order of construction has to be known.
        """
        if kind not in self._parts:
            self._parts[kind] = kind(self)
        part: Part = self._parts[kind]
        return part
