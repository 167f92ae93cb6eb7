"""DTensor: weights initialised in shards, dropout on shards, and gradients, sums still to be made, brought to where the weights are."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module, distribute_tensor

SAMPLES, DIM = 4, 8


def shard_parameters(_: str, module: nn.Module, mesh: DeviceMesh) -> None:
    """Weights and biases sharded over one axis by their rows, before they have values."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        sharded = distribute_tensor(parameter, mesh, [Replicate(), Shard(0)])
        module.register_parameter(name, nn.Parameter(sharded))


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    mesh = init_device_mesh(device.type, (2, int(os.environ["WORLD_SIZE"]) // 2), mesh_dim_names=("dp", "tp"))
    with torch.device("meta"):
        model = nn.Linear(DIM, DIM)
    distribute_module(model, mesh, shard_parameters).to_empty(device=device)
    model.reset_parameters()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        own = torch.randn(SAMPLES, DIM, device=device)
        batch = DTensor.from_local(own, mesh, [Shard(0), Replicate()])
        nn.functional.dropout(model(batch), 0.1).square().mean().backward()
        for parameter in model.parameters():
            assert isinstance(parameter, DTensor)
            assert isinstance(parameter.grad, DTensor)
            parameter.grad = parameter.grad.redistribute(placements=parameter.placements)
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
