"""The simulation of one rank: the emulation and the trace, wired together around the script."""

import _thread
import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from fakerun.call_site import CallSite, CallSiteResolver
from fakerun.emulate.autograd_clock import EngineClock
from fakerun.emulate.device.current_streams import CurrentStreams
from fakerun.emulate.driver.visible_devices import VisibleDevices
from fakerun.emulate.emulation import emulation
from fakerun.errors import FakerunError, UsageError
from fakerun.job.out_of_memory import OutOfMemory
from fakerun.job.spec import JobSpec
from fakerun.rank.mailbox import NO_PEERS
from fakerun.rank.step_limit import StepLimitReached
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.group_names import GroupNames
from fakerun.records.journal import NO_JOURNAL, Event, Journal
from fakerun.records.mailbox import Mailbox
from fakerun.records.placeholder_read import PlaceholderRead
from fakerun.records.position import RankPosition
from fakerun.records.run import Blocked, Ending, Exited, ProcessFailure, RankRecord
from fakerun.syntax.dependence import Reads
from fakerun.torch_private import keep_registered
from fakerun.trace.call_sites import CallSiteFinder
from fakerun.trace.trace import RankTrace


def prepare_forks() -> None:
    """Do what would otherwise be done again in each process that is forked from this one to be a rank."""
    keep_registered()


class Simulation:
    """A context manager: inside it this process is rank `rank` of `job`, watched. `record` tells what was seen."""

    def __init__(
        self,
        job: JobSpec,
        rank: int,
        mailbox: Mailbox = NO_PEERS,
        abort: Callable[[FakerunError], None] | None = None,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        """`abort` ends the rank from another thread; without it the main thread is interrupted."""
        self._job = job
        self._abort = abort or _interrupt
        self._mailbox = mailbox
        self._rank = rank
        self._groups = GroupNames(rank, job.world_size, job.mesh)
        clock = EngineClock()
        self._streams = CurrentStreams(clock)
        call_sites = CallSiteFinder(CallSiteResolver(Path.cwd(), job.script))
        self._trace = RankTrace(
            clock,
            self._streams,
            self._groups,
            call_sites,
            rank,
            journal,
            job.hardware,
            memory_runs_out=job.oom is OutOfMemory.RAISE,
        )
        self._trace.steps.ended.append(self._on_step_ended)
        self._visible_devices = VisibleDevices()
        self._trace.device_first_used.append(lambda index: journal.event(Event.DEVICE, index, self._visible_devices.index_on_node(index)))
        journal.event(Event.VERSION, torch.__version__)
        self._stopped_at: CallSite | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(_the_only_one())
            stack.enter_context(_predictable_collection())
            stack.enter_context(self._trace.watching())
            stack.enter_context(emulation(self._job, self._rank, self._mailbox, self._trace.observers, self._streams, self._abort))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.close()

    def record(self, ending: Ending) -> RankRecord:
        """What the rank did, the script having ended like that."""
        self._mailbox.flush()
        seen = self.seen()
        if isinstance(ending, ProcessFailure):
            return replace(seen, failure=ending)
        if isinstance(ending, Blocked):
            return replace(seen, blocked=ending)
        exited_at = ending.call_site if isinstance(ending, Exited) else None
        return replace(seen, findings=(*seen.findings, *self._observations(exited_at)), exited_at=exited_at)

    def seen(self) -> RankRecord:
        """What the rank did up to now."""
        self._trace.finish()
        return RankRecord(
            rank=self._rank,
            mesh=self._groups.mesh,
            steps=self._trace.steps.completed,
            collectives=self._trace.collectives.records(),
            group_creations=self._trace.topology.group_creations.records(),
            program=self._trace.memory.program(),
            devices=tuple(map(self._visible_devices.index_on_node, self._trace.devices)),
            findings=self._trace.findings.records(),
            rank_tests=self._trace.rank_uses.tests(),
            unfollowed_uses=self._trace.rank_uses.unfollowed_uses(),
            stopped_at=self._stopped_at,
            torch_version=torch.__version__,
            memory_variables=self._trace.memory_variables,
            model_inputs=self._trace.model_inputs.records(),
        )

    def position(self, call_site: CallSite | None) -> RankPosition:
        """How far the rank has come, its main thread being at `call_site`. Called from another thread."""
        return RankPosition(steps=self._trace.steps.rounds, events=self._trace.event_count, call_site=call_site)

    def placeholder_reads(self) -> Reads[PlaceholderRead]:
        """The reads of values that nobody computed, up to now."""
        return self._trace.reads.records()

    def _on_step_ended(self, completed: int) -> None:
        gc.collect()
        if self._job.steps is not None and completed >= self._job.steps:
            self._stopped_at = self._trace.point.call_site() or CallSite(self._job.program, 0)
            raise StepLimitReached(completed)

    def _observations(self, exited_at: CallSite | None) -> Iterator[Finding]:
        """What is remarkable about a script that reached its end, or ended itself at that line."""
        if not self._trace.topology.is_distributed:
            yield Finding(
                code=FindingCode.NO_PROCESS_GROUP,
                message="the script never initialised torch.distributed: its ranks do not know of each other.",
                ranks=(self._rank,),
                hint="Call torch.distributed.init_process_group() or init_device_mesh(), or simulate it with --world-size 1.",
            )
        if self._trace.steps.completed == 0:
            yield Finding(
                code=FindingCode.NO_OPTIMIZER_STEP,
                message=f"the script ended{'' if exited_at is None else ' itself'} without an optimizer step: the report covers all of it "
                "as one unfinished step.",
                ranks=(self._rank,),
                call_site=exited_at,
            )


def _interrupt(error: FakerunError) -> None:
    _thread.interrupt_main()


_running: list[None] = []
"""As many as there are simulations in this process: one, or none."""


@contextmanager
def _the_only_one() -> Iterator[None]:
    if _running:
        raise UsageError("this process already simulates a rank; end that simulation before you start another")
    _running.append(None)
    try:
        yield
    finally:
        _running.pop()


@contextmanager
def _predictable_collection() -> Iterator[None]:
    """Collect cyclic garbage at the end of each step only.

    When Python would collect by itself depends on how many objects it made for reasons of its own (cold caches, hash seeds); the
    moment when device memory in a cycle is freed must not.
    """
    gc.collect()
    gc.freeze()  # what torch made while it was imported need not be looked at again
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
