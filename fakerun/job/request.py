"""JobRequest: what one source (command line, environment, job file) specifies of a job; sources are merged and resolved to a JobSpec."""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

from fakerun.errors import UsageError
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.calibration import NO_CALIBRATION, Calibration
from fakerun.hardware.catalogue import DEFAULT_HARDWARE, hardware_named
from fakerun.job.alloc_conf import checked_alloc_conf
from fakerun.job.budgets import Budgets
from fakerun.job.launcher import DEFAULT_LAUNCHER, launcher_named
from fakerun.job.mesh import MeshSpec
from fakerun.job.out_of_memory import DEFAULT_OUT_OF_MEMORY, out_of_memory_named
from fakerun.job.ranks import RankChoice
from fakerun.job.routing import DEFAULT_ROUTING, routing_named
from fakerun.job.spec import JobSpec
from fakerun.job.steps import ALL_STEPS, AllSteps
from fakerun.job.timing import Timing, checked_interconnect
from fakerun.job.torch_behaviour import torch_behaviour_named
from fakerun.job.world import resolve_world
from fakerun.records.collective import CollectiveOp
from fakerun.spelling import did_you_mean

DEFAULT_STEPS = 2
"""Two steps: the first, which creates lazy state, and a steady one."""

DEFAULT_SAMPLES = 4
"""Ranks that `--ranks auto` simulates at random, to test what it assumes."""

MOST_JUDGED_RANKS = 131_072
"""With more, a rank takes a minute to list its peers alone (torch makes a tensor for each), and so does the comparison of all ranks."""

_MOST_FILES = 1000
"""Of a directory, in which a name like a mistyped one is looked for."""

_FIRST_RANK = RankChoice.of([0])


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """The parts of a job that one source specifies; None (or empty) for the others."""

    script: Path | None = None
    module: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    world_size: int | None = None
    nnodes: int | None = None
    nproc_per_node: int | None = None
    mesh: MeshSpec | None = None
    hardware: Accelerator | None = None
    steps: int | AllSteps | None = None
    ranks: RankChoice | None = None
    samples: int | None = None
    seed: int | None = None
    routing: str | None = None
    launcher: str | None = None
    oom: str | None = None
    error_on_collective: tuple[CollectiveOp, ...] | None = None
    error_on_collective_source: str | None = None
    budgets: Budgets | None = None
    timeout_s: float | None = None
    alloc_conf: str | None = None
    torch_behaviour: str | None = None
    tokens_per_step: int | None = None
    interconnect: str | None = None
    calibration: Calibration | None = None
    workdir: Path | None = None

    def over(self, below: "JobRequest") -> "JobRequest":
        """This request, with `below` where it specifies nothing.

        Arguments of the script are concatenated instead, `below`'s first: in argparse and similar parsers the last one wins.
        """
        given: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        sums = {"args": below.args + self.args, "env": {**below.env, **self.env}}
        return replace(self._without_contradicted_sizes(below), **given | sums)

    def _without_contradicted_sizes(self, below: "JobRequest") -> "JobRequest":
        """`below` without the sizes that follow from this request's: a world size decides nodes x processes, and both decide it."""
        if self.world_size is not None:
            return replace(below, nnodes=None, nproc_per_node=None)
        nnodes_known = self.nnodes is not None or below.nnodes is not None
        nproc_known = self.nproc_per_node is not None or below.nproc_per_node is not None
        if (self.nnodes is not None or self.nproc_per_node is not None) and nnodes_known and nproc_known:
            return replace(below, world_size=None)
        return below

    def resolve(self) -> JobSpec:
        """The job, with defaults filled in and every number checked.

        Raises:
            UsageError: the request is incomplete or contradicts itself.
        """
        world = resolve_world(world_size=self.world_size, nnodes=self.nnodes, nproc_per_node=self.nproc_per_node, mesh=self.mesh)
        choice = self.ranks or _FIRST_RANK
        steps = self.steps if self.steps is not None else DEFAULT_STEPS
        if steps != ALL_STEPS and steps < 1:
            raise UsageError(f"steps {steps}: must be at least 1, or all")
        if self.timeout_s is not None and not 0 < self.timeout_s < inf:
            raise UsageError(f"timeout {self.timeout_s:g} s: must be a finite number above 0")
        samples = self.samples if self.samples is not None else DEFAULT_SAMPLES
        for name, number in (("samples", samples), ("seed", self.seed)):
            if number is not None and number < 0:
                raise UsageError(f"{name} {number}: must be at least 0")
        ranks = choice.resolve(world.size)
        judged = world.size if choice.auto else len(ranks)
        if judged > MOST_JUDGED_RANKS:
            raise UsageError(
                f"ranks {choice}: at most {MOST_JUDGED_RANKS} ranks can be judged together, and these are {judged}; simulate some of "
                "them by number, as in --ranks 0,4-7"
            )
        workdir = self._workdir()
        hardware = self.hardware or hardware_named(DEFAULT_HARDWARE)
        calibration = self.calibration or NO_CALIBRATION
        calibration.check_hardware(hardware)
        return JobSpec(
            script=self.script if workdir is None or self.script is None else _seen_from(workdir, self.script),
            module=self.module,
            args=self.args,
            env=self.env,
            nnodes=world.nnodes,
            nproc_per_node=world.nproc_per_node,
            mesh=self.mesh,
            hardware=hardware,
            steps=None if steps == ALL_STEPS else steps,
            ranks=ranks,
            auto_ranks=choice.auto,
            samples=samples,
            seed=self.seed,
            routing=routing_named(self.routing or DEFAULT_ROUTING),
            launcher=launcher_named(self.launcher or DEFAULT_LAUNCHER),
            oom=out_of_memory_named(self.oom or DEFAULT_OUT_OF_MEMORY),
            error_on_collective=self.error_on_collective or (),
            error_on_collective_source=self.error_on_collective_source or "--error-on-collective",
            budgets=self.budgets or Budgets(),
            timeout_s=self.timeout_s,
            alloc_conf=None if self.alloc_conf is None else checked_alloc_conf(self.alloc_conf),
            torch_behaviour=None if self.torch_behaviour is None else torch_behaviour_named(self.torch_behaviour),
            timing=Timing(
                tokens_per_step=self.tokens_per_step,
                interconnect=None if self.interconnect is None else checked_interconnect(self.interconnect),
                calibration=calibration,
            ),
            workdir=workdir,
        )

    def _workdir(self) -> Path | None:
        """Where the ranks start, absolute; None if that is the current directory."""
        if self.workdir is None:
            return None
        check_workdir(self.workdir)
        workdir = Path(os.path.normpath(self.workdir.absolute()))
        return None if workdir.samefile(Path.cwd()) else workdir


def check_script(script: Path) -> None:
    """Refuse a script that cannot be run, before anything runs."""
    try:
        mode = script.stat().st_mode
    except FileNotFoundError as error:
        raise UsageError(_not_there(script)) from error
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long, a null byte
        raise UsageError(f"{script}: {getattr(error, 'strerror', error)}; pass the path of a script") from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"{script}: is a directory; pass the script in it, or -m for a package")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{script}: is a device or a pipe, which cannot be read by every rank; pass a file")
    if not os.access(script, os.R_OK):
        raise UsageError(f"{script}: cannot be read: {os.strerror(errno.EACCES)}; change its permissions")


def check_workdir(workdir: Path) -> None:
    """Refuse a directory that no rank could start in."""
    try:
        is_directory = workdir.is_dir()
    except (OSError, ValueError) as error:
        raise UsageError(f"{workdir}: {getattr(error, 'strerror', error)}; pass the path of a directory") from error
    if not is_directory:
        raise UsageError(f"{workdir}: {'is no directory' if workdir.exists() else f'no such directory{near_files(workdir)}'}")
    if not os.access(workdir, os.X_OK):
        raise UsageError(f"{workdir}: cannot be entered: {os.strerror(errno.EACCES)}; change its permissions")


def _seen_from(workdir: Path, script: Path) -> Path:
    """The path of the script for a process that starts in `workdir`: relative if it is in there."""
    absolute = Path(os.path.normpath(script.absolute()))
    return absolute.relative_to(workdir) if absolute.is_relative_to(workdir) else absolute


def _not_there(script: Path) -> str:
    if script.is_symlink():
        return f"{script}: is a link to {script.readlink()}, which does not exist"
    return f"no such script: {script}{near_files(script)}"


def near_files(path: Path) -> str:
    """` (did you mean 'train.py'?)`, where the directory of a file that is missing has one with a name like that."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, _MOST_FILES)]
    except OSError:
        return ""
    return did_you_mean(path.name, sorted(names))


def check_module(module: str) -> None:
    """Refuse what cannot be the name of a module. Only the rank process can find whether it exists: it has the script's `sys.path`."""
    if module.endswith(".py") and Path(module).is_file():
        raise UsageError(f"{module} is a file, not a module; drop -m (in a job file: use script, not module)")
    if not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(f"{module!r} is not a module name; write it as in package.module")
