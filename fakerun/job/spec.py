"""JobSpec: one job, fully validated, from the command line, a YAML file or both. Everything that runs a job starts from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fakerun.hardware.accelerator import Accelerator
from fakerun.job.budgets import Budgets
from fakerun.job.launcher import DEFAULT_LAUNCHER, Launcher
from fakerun.job.mesh import MeshSpec
from fakerun.job.out_of_memory import DEFAULT_OUT_OF_MEMORY, OutOfMemory
from fakerun.job.routing import DEFAULT_ROUTING, Routing
from fakerun.job.timing import Timing
from fakerun.job.torch_behaviour import TorchBehaviour
from fakerun.records.collective import CollectiveOp


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A distributed training job, as `launcher` starts it.

    Exactly one of `script` (a path as the user gave it) and `module` is set. `world_size == nnodes * nproc_per_node`. `ranks` are the
    ranks to simulate; with `auto_ranks` there are none, and fakerun selects them during the run: among them `samples` random ones, which
    `seed` chooses, or the job itself without one. `env` is added to the environment of every
    rank. `mesh` is None when the job requests none. After `steps` optimizer steps the script is stopped; with None it runs to its end.
    `error_on_collective` are the operations that the script must not issue. `alloc_conf` are settings of the caching allocator, as
    PYTORCH_ALLOC_CONF has them; None leaves them to the rank's environment. `oom` is what
    happens when a device has no memory left. `torch_behaviour` is the older torch to behave as; with None it is the one that runs.
    `workdir` is where the ranks start, an absolute path, and where a relative `script` is; None is fakerun's own directory.
    """

    script: Path | None = None
    module: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    nnodes: int = 1
    nproc_per_node: int = 1
    mesh: MeshSpec | None = None
    hardware: Accelerator
    steps: int | None = 2
    routing: Routing = DEFAULT_ROUTING
    launcher: Launcher = DEFAULT_LAUNCHER
    oom: OutOfMemory = DEFAULT_OUT_OF_MEMORY
    error_on_collective: tuple[CollectiveOp, ...] = ()
    error_on_collective_source: str = "--error-on-collective"
    """Where that is asked for: the option, or a job file and a line."""
    budgets: Budgets = field(default_factory=Budgets)
    """What a run of the job must keep, as its file says."""
    ranks: tuple[int, ...] = (0,)
    auto_ranks: bool = False
    samples: int = 4
    seed: int | None = None
    timeout_s: float | None = None
    alloc_conf: str | None = None
    torch_behaviour: TorchBehaviour | None = None
    timing: Timing = field(default_factory=Timing)
    workdir: Path | None = None

    @property
    def script_file(self) -> Path | None:
        """Where the script is, as seen from fakerun's own directory."""
        return self.script if self.workdir is None or self.script is None else self.workdir / self.script

    def without_limits(self) -> "JobSpec":
        """The job without what its run is held against, and timed with, afterwards: equal for jobs that run alike."""
        return replace(self, budgets=Budgets(), error_on_collective_source="", timing=Timing())

    @property
    def world_size(self) -> int:
        return self.nnodes * self.nproc_per_node

    @property
    def program(self) -> str:
        """The program as the report shows it: the script as given, or the module's name."""
        return str(self.script) if self.script is not None else f"-m {self.module}"
