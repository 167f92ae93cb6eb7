"""Functional collectives: they return their result, which is waited for when it is first used; gradients flow through the autograd ones."""

import os

import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as funcol


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    size, world = dist.get_world_size(), dist.group.WORLD
    assert world is not None
    ones = torch.ones(size * 2, 3, device=device)

    total = funcol.all_reduce(ones, "sum", world) + funcol.all_reduce(ones, "max", world)
    gathered = funcol.all_gather_tensor(total, 0, world)
    columns = funcol.all_gather_tensor(total, 1, world)  # along another dimension
    scattered = funcol.reduce_scatter_tensor(gathered, "sum", 0, world)
    halved = funcol.reduce_scatter_tensor(columns, "sum", 1, world)
    exchanged = funcol.all_to_all_single(scattered + halved, None, None, world)
    funcol.wait_tensor(funcol.broadcast(exchanged, 0, world))
    for part in funcol.all_gather_into_tensor_coalesced([ones, ones[0]], world):
        part.sum()
    for part in funcol.reduce_scatter_tensor_coalesced([ones, ones.T.reshape(-1)], "sum", [0, 0], world):
        part.sum()
    funcol.all_reduce_coalesced([ones, ones[0]], "sum", world)[1].sum()

    weight = torch.randn(size * 2, 3, device=device, requires_grad=True)
    spread = funcol.all_gather_tensor_autograd(weight, 0, world)
    summed = funcol.reduce_scatter_tensor_autograd(spread, "sum", 0, world)
    sent = funcol.all_to_all_single_autograd(summed, None, None, world)
    sent.square().sum().backward()
    dist.all_reduce(weight.grad)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
