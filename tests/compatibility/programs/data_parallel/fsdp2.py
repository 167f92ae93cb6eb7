"""FSDP2 under each reshard_after_forward policy: gathered once more in backward, kept, or kept within smaller groups."""

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

POLICIES = {"default": None, "always": True, "never": False, "pairs": 2}


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (int(sys.argv[2]),), mesh_dim_names=("dp",))
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 24)) for _ in range(3))).to(device)
    for block in model:
        fully_shard(block, mesh=mesh, reshard_after_forward=POLICIES[sys.argv[1]])
    fully_shard(model, mesh=mesh, reshard_after_forward=POLICIES[sys.argv[1]])
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        model(torch.randn(4, 24, device=device)).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
