"""Starts processes that work for real, and then its own ranks with multiprocessing.Process, or with os.fork."""

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
    by_hand = sys.argv[1] == "os.fork"
    context: Any = multiprocessing.get_context("fork" if by_hand else sys.argv[1])
    queue = context.Queue()
    other = context.Process(target=answer, args=(queue,))
    other.start()
    assert queue.get() == 3
    other.join()
    assert other.exitcode == 0
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]
    print("they work")
    if by_hand:
        if working := os.fork():
            assert os.waitpid(working, 0)[1] == 0
        else:
            os._exit(0)
        for rank in range(2):
            if os.fork() == 0:
                worker(rank, 2)
                os._exit(0)
        os.wait()
    ranks = [] if by_hand else [context.Process(target=worker, args=(rank, 2)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
