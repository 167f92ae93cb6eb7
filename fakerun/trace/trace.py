"""The trace of one rank: everything that is observed, put together."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from fakerun.device_memory.variables import MEMORY_VARIABLES
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.group_names import GroupNames
from fakerun.records.journal import Journal
from fakerun.records.observer import AutogradClock, CurrentStreams, Observers
from fakerun.trace.call_sites import CallSiteFinder
from fakerun.trace.categories import CategoryTracker
from fakerun.trace.collectives import CollectiveTrace
from fakerun.trace.compiled_code import CompiledCodeTrace
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.findings import FindingTrace
from fakerun.trace.grad_mode import GradMode
from fakerun.trace.live_allocators import LiveAllocators
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.model_inputs import ModelInputTrace
from fakerun.trace.modules import ModuleStack
from fakerun.trace.placeholder_reads import PlaceholderReads
from fakerun.trace.program import ProgramTrace
from fakerun.trace.program_point import ProgramPoint
from fakerun.trace.rank_uses import RankUseTrace
from fakerun.trace.steps import StepCounter
from fakerun.trace.topology import TopologyTrace


class RankTrace:
    """What is observed of one rank. `observers` is what the emulation reports to."""

    def __init__(
        self,
        clock: AutogradClock,
        streams: CurrentStreams,
        groups: GroupNames,
        call_sites: CallSiteFinder,
        rank: int,
        journal: Journal,
        hardware: Accelerator,
        *,
        memory_runs_out: bool,
    ) -> None:
        """With `memory_runs_out` an allocation that a device has no memory for fails."""
        self.steps = StepCounter()
        self.modules = ModuleStack(clock)
        self._grad_mode = GradMode()
        self.point = ProgramPoint(clock, self._grad_mode, self.modules, self.steps, call_sites)
        self._devices = DeviceOrdinals()
        self._program = ProgramTrace(self.point, self._devices, streams, journal)
        self.memory = MemoryTrace(self.point, self._program, self._devices, journal)
        self._allocators = LiveAllocators(self._program, self.memory, self._devices, self.point, hardware, raises=memory_runs_out)
        self.collectives = CollectiveTrace(self.point, groups, self.memory, self._program, self.steps, self._devices, journal)
        self.topology = TopologyTrace(self.point, groups, self.collectives, journal)
        self.findings = FindingTrace(self.point, rank, journal)
        self.rank_uses = RankUseTrace(call_sites)
        self.reads = PlaceholderReads(self.point)
        self._categories = CategoryTracker(self.memory)
        self.modules.root_entered.append(self._categories.categorise_module)
        self.modules.root_given.append(lambda root, given: self._categories.categorise_inputs(given))
        self.model_inputs = ModelInputTrace(self.point)
        self.modules.root_given.append(self.model_inputs.model_called)
        self.steps.started.append(lambda optimizer: self._categories.categorise_gradients([optimizer]))
        self.steps.stepped.append(self._categories.categorise_state)
        self.steps.taken_one.append(self.memory.optimizer_stepped)
        self.steps.taken_one.append(lambda: journal.training_steps(self.steps.training_steps().ends))
        self.device_first_used = self._devices.first_used
        self.memory_variables: Mapping[str, str] = {}
        """Those of the environment when a device was first used."""
        self.device_first_used.append(self._keep_memory_variables)

    @property
    def observers(self) -> Observers:
        return Observers(
            allocations=self.memory,
            execution=self._program,
            compiled_code=CompiledCodeTrace(self._program, self.memory),
            communication=self.collectives,
            topology=self.topology,
            findings=self.findings,
            rank_uses=self.rank_uses,
            reads=self.reads,
            allocators=self._allocators,
        )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Observe for as long as the context lasts."""
        with ExitStack() as stack:
            for part in (self.steps, self._grad_mode, self.modules, self.memory):
                stack.enter_context(part.watching())
            yield

    def finish(self) -> None:
        """Look at what is still there."""
        self._categories.categorise_all_modules()
        self._categories.categorise_gradients(self.steps.optimizers)
        self.memory.categorise_copies()

    def _keep_memory_variables(self, index: int) -> None:
        self.memory_variables = self.memory_variables or {name: os.environ[name] for name in MEMORY_VARIABLES if name in os.environ}

    @property
    def event_count(self) -> int:
        """Requests to the devices so far. May be asked from another thread."""
        return len(self._program)

    @property
    def devices(self) -> tuple[int, ...]:
        """The CUDA indices, as the script counts them, of the devices that were used, in order of first use."""
        return tuple(self._devices)
