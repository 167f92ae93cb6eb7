"""The trace of one rank: everything that is observed, put together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveOp, CommunicationCall
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.observer import AutogradClock, Moment
from fakerun.trace.call_sites import CallSiteFinder
from fakerun.trace.collectives import CollectiveTrace
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.grad_mode import GradMode
from fakerun.trace.groups import GroupNames
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.modules import ModuleStack
from fakerun.trace.new_groups import NewGroups
from fakerun.trace.position import Position
from fakerun.trace.roles import Roles
from fakerun.trace.steps import StepCounter

if TYPE_CHECKING:
    from fakerun.call_site import CallSite

_GATHERS = frozenset({CollectiveOp.ALL_GATHER, CollectiveOp.ALL_GATHER_INTO_TENSOR})


class RankTrace:
    """Implements `OperationObserver` and `FindingSink` (fakerun.records.observer) for one rank, and keeps what it learns."""

    def __init__(self, clock: AutogradClock, groups: GroupNames, call_sites: CallSiteFinder, rank: int) -> None:
        self.steps = StepCounter()
        self.modules = ModuleStack(clock)
        self._grad_mode = GradMode()
        self.position = Position(clock, self._grad_mode, self.modules, self.steps, call_sites)
        self._devices = DeviceOrdinals()
        self.memory = MemoryTrace(self.position, self._devices)
        self.groups = groups
        self.collectives = CollectiveTrace(self.position, groups, self._devices)
        self.group_creations = NewGroups()
        self._roles = Roles(self.memory)
        self._rank = rank
        self.is_distributed = False
        """Whether the script initialised torch.distributed at any time."""
        self._findings: dict[tuple[FindingCode, str, CallSite | None], Finding] = {}
        self.modules.root_entered.append(self._roles.of_module)
        self.modules.root_given.append(self._roles.of_inputs)
        self.steps.started.append(lambda optimizer: self._roles.of_gradients([optimizer]))
        self.steps.stepped.append(self._roles.of_state)
        self.steps.ended.append(lambda completed: self.memory.step_ended())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Observe for as long as the context lasts."""
        with ExitStack() as stack:
            for part in (self.steps, self._grad_mode, self.modules, self.memory):
                stack.enter_context(part.watching())
            yield

    def finish(self) -> None:
        """Look at what is still there."""
        self._roles.of_all_modules()
        self._roles.of_gradients(self.steps.optimizers)

    @property
    def devices(self) -> tuple[int, ...]:
        """The CUDA indices, as the script counts them, of the devices that were used, in order of first use."""
        return tuple(self._devices)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._findings.values())

    # -- OperationObserver -----------------------------------------------------------------------------------------------------------

    def tensors_made(self, tensors: Sequence[torch.Tensor], *, derived: bool) -> None:
        self.memory.tensors_made(tensors, derived=derived)

    def communicated(self, call: CommunicationCall, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> int:
        number = self.collectives.add(call)
        for tensor in (*inputs, *outputs):
            self.memory.mark(tensor, Category.COMMUNICATION)
        if call.op in _GATHERS:
            self.communication_buffers(outputs)
        return number

    def waited_for(self, call: int) -> None:
        self.collectives.waited_for(call)

    def communication_buffers(self, tensors: Sequence[torch.Tensor]) -> None:
        for tensor in tensors:
            self.memory.mark(tensor, Category.COMMUNICATION, pin=True)

    def gradients_kept(self, tensors: Sequence[torch.Tensor]) -> None:
        for tensor in tensors:
            self.memory.mark(tensor, Category.GRADIENT)

    def moment(self) -> Moment:
        return Moment(calls=len(self.collectives), steps=self.steps.completed)

    def repeated(self, since: Moment, until: Moment) -> None:
        ended = since.steps
        for number in range(since.calls, until.calls):
            for _ in range(ended, step := self.collectives.step_of(number)):
                self.steps.end_step()
            ended = step
            self.collectives.repeat(number)
        for _ in range(ended, until.steps):
            self.steps.end_step()

    def process_group_made(self) -> None:
        self.is_distributed = True

    def groups_made(self, groups: Sequence[tuple[int, ...]], callers: tuple[int, ...] | None) -> None:
        self.group_creations.add(groups, callers, len(self.collectives), self.position.call_site())

    def mesh_made(self, mesh: Mesh | None, groups: Mapping[str, tuple[int, ...]]) -> None:
        self.groups.add_mesh(mesh, groups)

    # -- FindingSink -----------------------------------------------------------------------------------------------------------------

    def note(self, code: FindingCode, message: str, *, hint: str | None = None, subject: str = "") -> None:
        call_site = self.position.call_site()
        finding = Finding(code=code, message=message, ranks=(self._rank,), call_site=call_site, hint=hint)
        self._findings.setdefault((code, subject, call_site), finding)
