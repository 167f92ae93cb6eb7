"""Simulations inside the test process, as a rank process would set them up."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakerun.job.hardware import hardware_named
from fakerun.job.spec import JobSpec
from fakerun.launch.environment import worker_environment
from fakerun.rank.simulation import Simulation

Simulate = Callable[..., Simulation]


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Simulate]:
    """Starts a simulation, which ends with the test: `simulate(rank=3, nproc_per_node=4, hardware="a100-40gb")`."""
    with ExitStack() as stack:

        def start(rank: int = 0, *, nproc_per_node: int = 2, nnodes: int = 1, hardware: str = "h100-80gb", steps: int = 1000) -> Simulation:
            job = JobSpec(module="test", nnodes=nnodes, nproc_per_node=nproc_per_node, hardware=hardware_named(hardware), steps=steps)
            for name, value in worker_environment(job, rank, inherited={}, error_file=tmp_path / "error.json").items():
                monkeypatch.setenv(name, value)
            return stack.enter_context(Simulation(job, rank))

        yield start


@pytest.fixture
def simulation(simulate: Simulate) -> Simulation:
    """Rank 0 of 2."""
    return simulate()
