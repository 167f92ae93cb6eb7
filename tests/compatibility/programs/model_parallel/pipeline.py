"""A pipeline under each schedule, with shapes given or inferred: activations go forward, gradients come back, point to point."""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.pipelining import PipelineStage, schedules

DIM, MICROBATCHES, SAMPLES, STEPS = 16, 8, 2, 2
ONE_STAGE = ("ScheduleGPipe", "Schedule1F1B")
IN_A_V = ("ScheduleZBVZeroBubble", "ScheduleDualPipeV")


def stages_of(rank: int, ranks: int, schedule: str) -> list[int]:
    """One stage, or two: the second a round later, or in a V, where the first rank has the first stage and the last."""
    if schedule in ONE_STAGE:
        return [rank]
    return [rank, 2 * ranks - 1 - rank] if schedule in IN_A_V else [rank, rank + ranks]


def main() -> None:
    name, shapes = sys.argv[1:]
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    mesh = init_device_mesh(device.type, (int(os.environ["WORLD_SIZE"]),), mesh_dim_names=("pp",))
    indices = stages_of(mesh.get_local_rank(), mesh.size(), name)
    last = mesh.size() * len(indices) - 1
    sample = torch.empty(SAMPLES, DIM, device=device, requires_grad=True)
    given = sample if shapes == "static" else None
    modules = [nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU()).to(device) for _ in indices]
    stages = [
        PipelineStage(module, index, last + 1, device, given, given, group=mesh.get_group())
        for module, index in zip(modules, indices, strict=True)
    ]
    schedule_of = getattr(schedules, name)
    schedule = schedule_of(stages[0] if name in ONE_STAGE else stages, MICROBATCHES, loss_fn=nn.functional.mse_loss)
    optimizer = torch.optim.AdamW([parameter for module in modules for parameter in module.parameters()], lr=1e-3)
    for _ in range(STEPS):
        batch = torch.randn(MICROBATCHES * SAMPLES, DIM, device=device)
        schedule.step(*([batch] if 0 in indices else []), target=batch if last in indices else None)
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
