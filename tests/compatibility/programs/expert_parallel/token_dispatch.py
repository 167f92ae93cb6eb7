"""A learned router's top-2 experts: tokens are sorted by expert, sent where it is with an uneven all-to-all, and come back."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._functional_collectives import all_to_all_single, all_to_all_single_autograd
from torch.distributed.device_mesh import init_device_mesh

EXPERTS, TOP_K, DIM, TOKENS = 8, 2, 32, 37


class Experts(nn.Module):
    """This rank's share of the experts; all tokens are routed, wherever their experts are."""

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        super().__init__()
        self.group, self.ranks = group, group.size()
        self.router = nn.Linear(DIM, EXPERTS, bias=False, device=device)
        self.experts = nn.ModuleList(nn.Linear(DIM, DIM, device=device) for _ in range(EXPERTS // self.ranks))
        nn.init.eye_(self.router.weight)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores, chosen = self.router(tokens).softmax(-1).topk(TOP_K)
        order = chosen.flatten().argsort(stable=True)
        counts = torch.bincount(chosen.flatten(), minlength=EXPERTS)
        arriving = all_to_all_single(counts, None, None, self.group).view(self.ranks, -1)
        sent, received = counts.view(self.ranks, -1).sum(1).tolist(), arriving.sum(1).tolist()
        routed = all_to_all_single_autograd(tokens[order // TOP_K], received, sent, self.group)
        local = torch.arange(len(self.experts), device=tokens.device).repeat(self.ranks).repeat_interleave(arriving.flatten())
        by_expert = local.argsort(stable=True)
        parts = routed[by_expert].split(arriving.sum(0).tolist())
        worked = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        back = all_to_all_single_autograd(torch.empty_like(worked).index_copy(0, by_expert, worked), sent, received, self.group)
        weighted = back * scores.flatten()[order].unsqueeze(1)
        return torch.zeros_like(tokens).index_add(0, order // TOP_K, weighted)


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    mesh = init_device_mesh(device.type, (int(os.environ["WORLD_SIZE"]),), mesh_dim_names=("ep",))
    model = Experts(mesh.get_group(), device)
    optimizer = torch.optim.AdamW(model.experts.parameters(), lr=1e-3)
    # Tokens whose strongest features are those of experts 0 and 1, the next one's of 2 and 3: an evenly used model.
    place = torch.arange(TOKENS * TOP_K).view(TOKENS, TOP_K) % EXPERTS
    features = torch.zeros(TOKENS, DIM).scatter(1, place, torch.tensor([8.0, 4.0]).expand(TOKENS, TOP_K))
    for _ in range(2):
        tokens = features.to(device) + 0.01 * torch.randn(TOKENS, DIM, device=device)
        model(tokens).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
