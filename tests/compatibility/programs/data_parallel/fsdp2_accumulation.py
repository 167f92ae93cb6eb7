"""FSDP2 with gradient accumulation: micro-batches without reduction, without resharding, and a prefetch that the script orders."""

import itertools

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

MICRO_BATCHES = 3


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (2,))
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(16, 16) for _ in range(4))).to(device)
    layers = [fully_shard(layer, mesh=mesh) for layer in model]
    root = fully_shard(model, mesh=mesh)
    assert isinstance(root, FSDPModule)
    for layer, later in itertools.pairwise(layers):
        layer.set_modules_to_forward_prefetch([later])
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        for micro_batch in range(MICRO_BATCHES):
            last = micro_batch == MICRO_BATCHES - 1
            root.set_requires_gradient_sync(last)
            root.set_is_last_backward(last)
            root.set_reshard_after_backward(last)
            (model(torch.randn(4, 16, device=device)).mean() / MICRO_BATCHES).backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
