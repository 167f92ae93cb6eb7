"""Starts processes that work for real, and then its own ranks with multiprocessing.Process."""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch.distributed as dist


def worker(rank: int, world_size: int) -> None:
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="12399")
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    dist.barrier()


def answer(queue: Any) -> None:
    queue.put(3)


if __name__ == "__main__":
    context: Any = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    other = context.Process(target=answer, args=(queue,))
    other.start()
    assert queue.get() == 3
    other.join()
    assert other.exitcode == 0
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]
    print("they work")
    ranks = [context.Process(target=worker, args=(rank, 2)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
