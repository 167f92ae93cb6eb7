"""Ragged experts: one grouped matrix product over the tokens that arrived, whose offsets follow from the counts."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._functional_collectives import all_to_all_single, all_to_all_single_autograd
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.functional import grouped_mm, silu

EXPERTS, TOP_K, DIM, HIDDEN, TOKENS = 8, 2, 32, 64, 40


class RaggedExperts(nn.Module):
    """This rank's experts in one tensor: gate and up projections, and down."""

    def __init__(self, local: int, device: torch.device) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(local, DIM, HIDDEN, device=device, dtype=torch.bfloat16))
        self.down = nn.Parameter(torch.randn(local, HIDDEN, DIM, device=device, dtype=torch.bfloat16))

    def forward(self, tokens: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        offsets = counts.cumsum(0, dtype=torch.int32)
        return grouped_mm(silu(grouped_mm(tokens, self.up, offs=offsets)), self.down, offs=offsets)


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    mesh = init_device_mesh(device.type, (int(os.environ["WORLD_SIZE"]),), mesh_dim_names=("ep",))
    group, ranks = mesh.get_group(), mesh.size()
    experts = RaggedExperts(EXPERTS // ranks, device)
    optimizer = torch.optim.AdamW(experts.parameters(), lr=1e-3)
    tokens = torch.randn(TOKENS, DIM, device=device, dtype=torch.bfloat16)
    # The batch says which experts its tokens need: a third of the choices are expert 0, the others are spread.
    choice = torch.arange(TOKENS * TOP_K)
    chosen = torch.where(choice % 3 == 0, 0, choice % EXPERTS).to(device)
    order = chosen.argsort(stable=True)
    counts = torch.histc(chosen.float(), bins=EXPERTS, min=0, max=EXPERTS - 1).long()
    for _ in range(2):
        arriving = all_to_all_single(counts, None, None, group).view(ranks, -1)
        sent, received = counts.view(ranks, -1).sum(1).tolist(), arriving.sum(1).tolist()
        routed = all_to_all_single_autograd(tokens[order // TOP_K], received, sent, group)
        local = torch.arange(EXPERTS // ranks, device=device).repeat(ranks).repeat_interleave(arriving.flatten())
        by_expert = local.argsort(stable=True)
        worked = experts(routed[by_expert], arriving.sum(0))[by_expert.argsort()]
        back = all_to_all_single_autograd(worked, sent, received, group)
        back.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
