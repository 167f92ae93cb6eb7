"""Replaces the simulation by one without torch, for tests of the runner.

A script reaches it as `fakerun.rank.simulation.current`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import fakerun
from fakerun.call_site import CallSite
from fakerun.errors import EmulationGapError, UsageError, as_script_error
from fakerun.job.spec import JobSpec
from fakerun.rank.step_limit import StepLimitReached
from fakerun.records.journal import Journal
from fakerun.records.mailbox import Mailbox
from fakerun.records.placeholder_read import PlaceholderRead
from fakerun.records.position import RankPosition
from fakerun.records.run import Blocked, Ending, Exited, ProcessFailure, RankRecord
from fakerun.syntax.dependence import Reads


class Simulation:
    def __init__(self, job: JobSpec, rank: int, mailbox: Mailbox, abort: object, journal: Journal) -> None:
        self.mailbox = mailbox
        self._job = job
        self._rank = rank
        self._steps = 0
        if "FAKE_SIMULATION_FAULT" in job.env:
            raise RuntimeError(job.env["FAKE_SIMULATION_FAULT"])

    def __enter__(self) -> Self:
        vars(_module)["current"] = self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        vars(_module)["current"] = None

    def placeholder_reads(self) -> Reads[PlaceholderRead]:
        return Reads()

    def position(self, call_site: CallSite | None) -> RankPosition:
        return RankPosition(steps=self._steps, events=0, call_site=call_site)

    def step(self) -> None:
        """What the script calls for an optimizer step."""
        limit = self._job.steps
        if limit is None or self._steps < limit:
            self._steps += 1
        if self._steps == limit:
            raise StepLimitReached(self._steps)

    def gap(self) -> None:
        """What the script calls for something that is not emulated."""
        raise EmulationGapError("torch.cuda.teleport is not emulated; leave it out under fakerun")

    def fault(self) -> None:
        """What the script calls for an internal error of fakerun."""
        raise AttributeError("a mistake")

    def usage_error(self) -> None:
        """What the script calls for a usage error."""
        raise UsageError("--mesh has three axes; give it two")

    def refuse(self, *args: Any) -> None:
        """What the script calls for something that a real run refuses too."""
        try:
            raise KeyError("not for the user's eyes")
        except KeyError:
            raise as_script_error(RuntimeError("CUDA error: invalid device ordinal"))  # noqa: B904 - the context is what is to be hidden

    def pass_through(self, func: Callable[..., Any], *args: Any) -> Any:
        """What the script calls for something that fakerun passes on to native code."""
        return func(*args)

    def record(self, ending: Ending) -> RankRecord:
        failure = ending if isinstance(ending, ProcessFailure) else None
        blocked = ending if isinstance(ending, Blocked) else None
        exited_at = ending.call_site if isinstance(ending, Exited) else None
        return RankRecord(
            rank=self._rank, steps=self._steps, failure=failure, blocked=blocked, exited_at=exited_at, torch_version="0.0-fake"
        )


for method in (Simulation.fault, Simulation.gap, Simulation.pass_through, Simulation.refuse, Simulation.step, Simulation.usage_error):
    # Frames of the simulation are fakerun's: frames are recognised by their directory.
    method.__code__ = method.__code__.replace(co_filename=str(Path(fakerun.__file__).parent / "rank" / "simulation.py"))
_module = ModuleType("fakerun.rank.simulation")
vars(_module).update(Simulation=Simulation, prepare_forks=lambda: None, current=None)
sys.modules[_module.__name__] = _module
