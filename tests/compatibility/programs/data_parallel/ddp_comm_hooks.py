"""DDP communication hooks: gradients compressed to 16 bits, by PowerSGD, and by a hook of the script's own."""

import os
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel


def scaled(group: dist.ProcessGroup, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
    """The mean in float64."""
    buffer = bucket.buffer().double().div_(group.size())
    future = dist.all_reduce(buffer, group=group, async_op=True).get_future()
    return future.then(lambda done: done.value()[0].to(bucket.buffer().dtype))  # type: ignore[no-any-return]


def register(name: str, ddp: DistributedDataParallel) -> None:
    state: Any = dist.group.WORLD
    if name == "power_sgd":
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=2, start_powerSGD_iter=2, min_compression_rate=1)
    hooks: dict[str, Any] = {"fp16": default_hooks.fp16_compress_hook, "power_sgd": powerSGD_hook.powerSGD_hook, "own": scaled}
    ddp.register_comm_hook(state, hooks[name])


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32)).to(device)
    ddp = DistributedDataParallel(model, bucket_cap_mb=0.02)
    register(sys.argv[1], ddp)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1)
    for _ in range(4):
        ddp(torch.randn(8, 64, device=device)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.barrier()  # what the hooks left to other threads ends before the group does
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
