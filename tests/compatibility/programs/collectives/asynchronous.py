"""async_op=True: communication overlaps with computation until the handle is waited for, or its future runs what comes next."""

import os

import torch
import torch.distributed as dist


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    size = dist.get_world_size()
    matrix = torch.randn(32, 32, device=device)

    handles = [dist.all_reduce(torch.ones(layer + 1, device=device), async_op=True) for layer in range(4)]
    matrix = matrix @ matrix
    for handle in reversed(handles):
        handle.wait()
    assert all(handle.is_completed() for handle in handles)

    gathered = torch.empty(size * 4, device=device)
    gathering = dist.all_gather_into_tensor(gathered, torch.ones(4, device=device), async_op=True)
    exchanged = torch.empty(size, device=device)
    exchange = dist.all_to_all_single(exchanged, torch.ones(size, device=device), async_op=True)
    gathering.wait()
    dist.broadcast(gathered.sum(), src=0, async_op=True).wait()
    exchange.wait()

    gradient = torch.ones(8, device=device)
    averaged = dist.all_reduce(gradient, async_op=True).get_future().then(lambda future: future.value()[0] / size)
    dist.all_reduce(averaged.wait())
    dist.barrier(async_op=True).wait()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
