"""FSDP2 with CPU offload: shards, gradients and the optimizer's state stay on the host, and travel to the device to be gathered."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard


def main() -> None:
    on_cuda = torch.cuda.is_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")
    device = "cuda" if on_cuda else "cpu"
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8))
    for layer in (model[0], model[2]):
        fully_shard(layer, mesh=mesh, offload_policy=CPUOffloadPolicy(pin_memory=on_cuda))
    fully_shard(model, mesh=mesh, offload_policy=CPUOffloadPolicy(pin_memory=on_cuda))
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        model(torch.randn(4, 32, device=device)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
