"""The script's threads run device work in the simulation; threads of data loaders and multiprocessing stay outside."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate


def prefetched(batches: list[torch.Tensor]) -> list[torch.Tensor]:
    """What a thread puts on the device ahead of time, as scripts do."""
    ready: queue.Queue[torch.Tensor | None] = queue.Queue()

    def prefetch() -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for batch in batches:
                    ready.put(batch.pin_memory().cuda(non_blocking=True))
        finally:
            ready.put(None)

    thread = threading.Thread(target=prefetch, daemon=True)
    thread.start()
    taken = list(iter(ready.get, None))
    thread.join()
    return taken


def test_a_prefetching_thread(simulation: Simulation) -> None:
    taken = prefetched([torch.full((4,), value) for value in range(3)])
    assert all(tensor.is_cuda for tensor in taken)
    assert [tensor.tolist() for tensor in taken] == [[value] * 4 for value in range(3)]
    assert torch.cuda.memory_allocated() == 3 * 512


class Worker(threading.Thread):
    """A thread whose work is in its class."""

    def run(self) -> None:
        self.made = torch.ones(2, device="cuda") * 2


def test_a_thread_of_a_class_of_the_scripts(simulation: Simulation) -> None:
    worker = Worker()
    worker.start()
    worker.join()
    assert worker.made.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ThreadPool])
def test_pools_train_at_the_same_time(pool: Any, simulation: Simulation) -> None:
    models = [nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4)).cuda() for _ in range(4)]

    def train(model: nn.Module) -> list[Any]:
        for _ in range(20):
            model(torch.ones(2, 16, device="cuda")).sum().backward()
        return [parameter.grad.device for parameter in model.parameters() if parameter.grad is not None]

    with pool(4) as threads:
        assert list(threads.map(train, models)) == [[torch.device("cuda", 0)] * 4] * 4


def test_a_loaders_thread_stays_outside(simulation: Simulation) -> None:
    seen = []

    def collate(samples: list[Any]) -> torch.Tensor:
        return torch.stack([sample for (sample,) in samples])

    for batch in DataLoader(TensorDataset(torch.arange(8.0)), batch_size=2, num_workers=1, pin_memory=True, collate_fn=collate):
        seen += batch.tolist()
    assert seen == list(range(8))


def test_threads_are_as_they_were_when_it_ends(simulate: Simulate) -> None:
    before = threading.Thread.__dict__["_bootstrap_inner"]
    simulation = simulate()
    assert threading.Thread.__dict__["_bootstrap_inner"] is not before
    simulation.__exit__(None, None, None)
    assert threading.Thread.__dict__["_bootstrap_inner"] is before
