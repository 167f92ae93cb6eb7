"""Experts sharded twice, over the expert axis by number and over the data axis by FSDP2; a shared expert and the rest over both."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._functional_collectives import all_to_all_single_autograd
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

EXPERTS, DIM, TOKENS, LAYERS = 4, 16, 12, 2


class Routed(nn.Module):
    def __init__(self, group: dist.ProcessGroup) -> None:
        super().__init__()
        self.group = group
        self.weight = nn.Parameter(torch.randn(EXPERTS // group.size(), DIM, DIM))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        local, ranks = self.weight.shape[0], self.group.size()
        by_expert = tokens.view(-1, ranks, local, DIM).permute(1, 2, 0, 3).reshape(-1, DIM)
        splits = [by_expert.shape[0] // ranks] * ranks  # even, because token t goes to expert t modulo their number
        arrived = all_to_all_single_autograd(by_expert, splits, splits, self.group).view(ranks, local, -1, DIM)
        worked = torch.einsum("rlnd,lde->rlne", arrived, self.weight)
        back = all_to_all_single_autograd(worked.reshape(-1, DIM), splits, splits, self.group)
        return back.view(ranks, local, -1, DIM).permute(2, 0, 1, 3).reshape(-1, DIM)


class Block(nn.Module):
    def __init__(self, group: dist.ProcessGroup) -> None:
        super().__init__()
        self.norm, self.shared, self.routed = nn.LayerNorm(DIM), nn.Linear(DIM, DIM), Routed(group)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens + self.shared(tokens) + self.routed(self.norm(tokens))


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    mesh = init_device_mesh(device.type, (2, 2), mesh_dim_names=("dp", "ep"))
    everyone = mesh["dp", "ep"]._flatten("all")
    blocks = [Block(mesh.get_group("ep")).to(device) for _ in range(LAYERS)]
    for block in blocks:
        fully_shard(block.routed, mesh=mesh["dp"])
        fully_shard(block, mesh=everyone)
    model = nn.Sequential(*blocks)
    fully_shard(model, mesh=everyone)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=False)
    for _ in range(2):
        model(torch.randn(TOKENS, DIM, device=device)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
