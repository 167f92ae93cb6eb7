"""A pipeline whose stages are sharded by FSDP2 over one axis and split by tensor parallelism over another: three axes, each optional."""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

DIM, MICROBATCHES, SAMPLES, STEPS = 16, 4, 2, 2


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    stages, data, tensor = map(int, sys.argv[1:])
    mesh = init_device_mesh(device.type, (stages, data, tensor), mesh_dim_names=("pp", "dp", "tp"))
    index = mesh["pp"].get_local_rank()
    module = nn.Sequential(nn.Linear(DIM, 4 * DIM), nn.ReLU(), nn.Linear(4 * DIM, DIM)).to(device)
    if tensor > 1:
        parallelize_module(module, mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    if data > 1:
        fully_shard(module, mesh=mesh["dp"], reshard_after_forward=False)
    sample = torch.empty(SAMPLES, DIM, device=device, requires_grad=True)
    stage = PipelineStage(module, index, stages, device, sample, sample, group=mesh.get_group("pp"))
    schedule = Schedule1F1B(stage, MICROBATCHES, loss_fn=nn.functional.mse_loss)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    for _ in range(STEPS):
        batch = torch.randn(MICROBATCHES * SAMPLES, DIM, device=device)
        schedule.step(*([batch] if index == 0 else []), target=batch if index == stages - 1 else None)
        norm = nn.utils.get_total_norm([parameter.grad for parameter in module.parameters() if parameter.grad is not None])
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        squares = norm.square()
        dist.all_reduce(squares, group=mesh.get_group("pp"))
        nn.utils.clip_grads_with_norm_(module.parameters(), 1.0, squares.sqrt())
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
