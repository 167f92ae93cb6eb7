"""Simulations in the test process, set up as in a rank process: fixtures for the rooms that need torch."""

import gc
import os
import posix
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.request import parse_hardware
from fakerun.job.spec import JobSpec
from fakerun.launch.environment import worker_environment
from fakerun.rank.script import Program
from fakerun.rank.simulation import Simulation
from fakerun.rank.step_limit import StepLimitReached
from fakerun.records.run import RankRecord

__all__ = ["Simulate", "no_workspaces", "really", "record_of_script", "shared_simulation", "simulate", "simulation", "simulation_of"]

Simulate = Callable[..., Simulation]


def simulation_of(
    rank: int = 0, *, nproc_per_node: int = 2, hardware: str | Accelerator = "h100-80gb", steps: int = 1000, **options: Any
) -> tuple[Simulation, JobSpec]:
    """A simulation that has not started, and its job; `options` are fields of the job."""
    gc.freeze()  # a simulation begins with a garbage collection, which would traverse torch's and pytest's objects each time
    job = JobSpec(
        module="test",
        nproc_per_node=nproc_per_node,
        hardware=hardware if isinstance(hardware, Accelerator) else parse_hardware(hardware),
        steps=steps,
        **options,
    )
    return Simulation(job, rank), job


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Simulate]:
    """Starts a simulation, which ends with the test: `simulate(rank=3, nproc_per_node=4, hardware="a100-40gb")`."""
    with ExitStack() as stack:

        def start(rank: int = 0, **options: Any) -> Simulation:
            simulation, job = simulation_of(rank, **options)
            for name, value in worker_environment(job, rank, inherited={}, error_file=tmp_path / "error.json").items():
                monkeypatch.setenv(name, value)
            return stack.enter_context(simulation)

        yield start


@pytest.fixture
def simulation(simulate: Simulate) -> Simulation:
    """Rank 0 of 2."""
    return simulate()


NO_WORKSPACES = {"CUBLAS_WORKSPACE_CONFIG": ":0:0", "CUBLASLT_WORKSPACE_SIZE": "0"}


@pytest.fixture
def no_workspaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is allocated for cuBLAS: for tests that compare what tensors hold with a formula."""
    for name, value in NO_WORKSPACES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def shared_simulation() -> Iterator[Simulation]:
    """Rank 0 of 2, shared by all tests of a module: for many small cases that do not affect each other. cuBLAS has no workspaces."""
    with pytest.MonkeyPatch.context() as patch, simulation_of()[0] as simulation:
        for name, value in NO_WORKSPACES.items():
            patch.setenv(name, value)
        yield simulation


def record_of_script(job: JobSpec, rank: int) -> RankRecord:
    """What a rank does that runs the job's script, up to the job's last step, without rank processes: its peers know no values."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        directory = stack.enter_context(TemporaryDirectory())
        for name, value in worker_environment(job, rank, inherited={}, error_file=Path(directory, "error.json")).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", [])
        patch.setattr(sys, "path", [*sys.path])
        patch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        simulation = stack.enter_context(Simulation(job, rank))
        try:
            Program.of(job, rank).run()
        except StepLimitReached:  # whose traceback keeps what the script's names hold
            return simulation.seen()
        return simulation.seen()


def really(directory: Path) -> dict[str, bytes]:
    """The names in the directory, and the content of files, as they are outside of the simulation."""
    content = {}
    for name in sorted(posix.listdir(directory)):
        descriptor = os.open(directory / name, os.O_RDONLY)
        content[name] = b"" if stat.S_ISDIR(posix.fstat(descriptor).st_mode) else os.read(descriptor, 2**20)
        os.close(descriptor)
    return content
