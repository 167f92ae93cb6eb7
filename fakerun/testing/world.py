"""A fake world around a test: its process is one rank of a simulated job, with a process group, and what it does is recorded.

Thin over `fakerun.rank.simulation`, with the environment that the launcher would give the rank. Imports torch only when a world begins: the
pytest plugin is loaded into every run of pytest.
"""

import functools
import gc
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar, overload

from fakerun.analysis.memory import MemoryFootprint, footprint_of
from fakerun.errors import UsageError
from fakerun.hardware.catalogue import DEFAULT_HARDWARE
from fakerun.hardware.request import parse_hardware
from fakerun.job.mesh import MeshSpec, mesh_from_axes, parse_mesh
from fakerun.job.ranks import RankChoice
from fakerun.job.request import JobRequest
from fakerun.job.spec import JobSpec
from fakerun.launch.environment import worker_environment
from fakerun.patching import Patches
from fakerun.records.collective import CollectiveRecord
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from fakerun.rank.simulation import Simulation

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

DEFAULT_WORLD_SIZE = 2
"""The fewest ranks that have something to say to each other."""

DEFAULT_BACKEND = "cpu:gloo,cuda:nccl"
"""Tensors of the host and of the devices can both be communicated."""


class FakeWorld:
    """What happens in a fake world, and after its end what happened.

    `rank` is the one that this process is, of `world_size`. `mesh` is the mesh that was asked for, None if there was none.
    """

    def __init__(self, rank: int, world_size: int, simulation: "Simulation") -> None:
        self.rank = rank
        self.world_size = world_size
        self.mesh: DeviceMesh | None = None
        self._simulation = simulation
        self._ended: RankRecord | None = None

    @property
    def collectives(self) -> tuple[CollectiveRecord, ...]:
        """Every collective and point-to-point call up to now, in order."""
        return tuple(self._record().collectives)

    @property
    def memory(self) -> MemoryFootprint:
        """The memory of this rank up to now, on all its devices together: `peak_bytes`, `final_bytes` (now), `alive_at_peak` and more."""
        return footprint_of(self._record().memory)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What one should know before believing the rest: values that were made up, APIs that are not emulated."""
        return self._record().findings

    def _record(self) -> RankRecord:
        return self._ended or self._simulation.seen()

    def _end(self) -> None:
        self._ended = self._simulation.seen()


_current: list[FakeWorld] = []
"""The world that this process is in, if it is in one."""


def current_world() -> FakeWorld:
    """The world that the test is in: for the inside of a function that `with_fake_comms` decorates.

    Raises:
        UsageError: there is none.
    """
    if not _current:
        raise UsageError("no fake world has begun: use `with with_dist():`, `@with_fake_comms` or the fixture `fake_world`")
    return _current[-1]


@contextmanager
def with_dist(
    rank: int = 0,
    world_size: int | None = None,
    *,
    mesh: str | Mapping[str, int] | None = None,
    hardware: str = DEFAULT_HARDWARE,
    backend: str = DEFAULT_BACKEND,
) -> Iterator[FakeWorld]:
    """Be rank `rank` of `world_size` simulated ranks until the context ends; no GPU is used, and no other process.

    Inside, `torch.distributed` is initialised, `cuda` devices are there, torchrun's variables are set. At the end the process group is
    destroyed and everything is as before, also after an exception. The `FakeWorld` keeps the record of what the test did.

    Args:
        rank: The rank to be.
        world_size: The number of ranks; without it the mesh's, and without a mesh 2.
        mesh: A mesh to begin with, as `"2x4"`, `"dp=2,tp=4"` or `{"dp": 2, "tp": 4}`: it is `FakeWorld.mesh`. Other meshes may be made.
        hardware: What the devices are: what `fakerun --hardware` takes: `h100-80gb`, `h100-80gb,memory=94GiB`.
        backend: What `init_process_group` is given.

    Raises:
        UsageError: The arguments contradict each other, or the process is in a simulation or in a process group already.
    """
    shape = parse_mesh(mesh) if isinstance(mesh, str) else mesh_from_axes(mesh) if mesh is not None else None
    job = _job(rank, world_size, shape, hardware)

    import torch.distributed as dist

    from fakerun.rank.simulation import Simulation

    if dist.is_initialized():
        raise UsageError("this process is in a process group already: call torch.distributed.destroy_process_group() before with_dist()")
    gc.freeze()  # a simulation begins by collecting garbage: let it not look at all that torch and the tests hold, for each test
    with Simulation(job, rank) as simulation, _environment(worker_environment(job, rank, inherited={}, error_file=Path(os.devnull))):
        world = FakeWorld(rank, job.world_size, simulation)
        _current.append(world)
        try:
            dist.init_process_group(backend)
            if shape is not None:
                world.mesh = dist.device_mesh.init_device_mesh("cuda", shape.sizes, mesh_dim_names=shape.axes)
            yield world
        finally:
            world._end()  # noqa: SLF001
            _current.remove(world)


@overload
def with_fake_comms(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]: ...


@overload
def with_fake_comms(
    *,
    rank: int = 0,
    world_size: int | None = None,
    mesh: str | Mapping[str, int] | None = None,
    hardware: str = DEFAULT_HARDWARE,
    backend: str = DEFAULT_BACKEND,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]: ...


def with_fake_comms(
    function: Callable[Parameters, Result] | None = None,
    *,
    rank: int = 0,
    world_size: int | None = None,
    mesh: str | Mapping[str, int] | None = None,
    hardware: str = DEFAULT_HARDWARE,
    backend: str = DEFAULT_BACKEND,
) -> Callable[Parameters, Result] | Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorates a function or method: each call runs in a world of its own, as `with_dist` makes it, which `current_world()` returns.

    As `@with_fake_comms`, or with `with_dist`'s arguments: `@with_fake_comms(rank=1, world_size=8)`.

    Raises:
        TypeError: What is decorated is no function, or one whose body would run after the world's end (async, a generator).
        UsageError: On a call, as `with_dist`.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        _check_decorated(function)

        @functools.wraps(function)
        def in_a_world(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            with with_dist(rank, world_size, mesh=mesh, hardware=hardware, backend=backend):
                return function(*args, **kwargs)

        return in_a_world

    return decorate if function is None else decorate(function)


def _check_decorated(function: object) -> None:
    if not inspect.isroutine(function):
        raise TypeError(f"with_fake_comms decorates functions, not {function!r}: name its arguments, as in @with_fake_comms(rank=1)")
    for runs_later in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        if runs_later(function):
            raise TypeError(f"{function.__qualname__} would run after its world has ended: use `with with_dist():` inside it")


def _job(rank: int, world_size: int | None, mesh: MeshSpec | None, hardware: str) -> JobSpec:
    if world_size is None and mesh is None:
        world_size = DEFAULT_WORLD_SIZE
    request = JobRequest(
        module="test",
        world_size=world_size,
        mesh=mesh,
        hardware=parse_hardware(hardware),
        ranks=RankChoice.of([rank]),
        steps=sys.maxsize,
    )
    # The job's mesh would take the place of the meshes that the code under test makes.
    return replace(request.resolve(), mesh=None)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The variables are set until the context ends; then they are as before."""
    with Patches() as patches:
        for name, value in variables.items():
            patches.set_item(os.environ, name, value)
        yield
