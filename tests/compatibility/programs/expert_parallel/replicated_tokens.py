"""Experts without all-to-all: every rank has all tokens, its experts work on all of them, and a mask keeps those that chose them."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce

EXPERTS, TOP_K, DIM, TOKENS = 4, 2, 16, 20


class MaskedExperts(nn.Module):
    """The experts `first`, `first + 1`, ... of a model whose ranks have some each."""

    def __init__(self, first: int, local: int) -> None:
        super().__init__()
        self.first = first
        self.router = nn.Linear(DIM, EXPERTS, bias=False)
        self.experts = nn.ModuleList(nn.Linear(DIM, DIM) for _ in range(local))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores, chosen = self.router(tokens).softmax(-1).topk(TOP_K)
        weights = torch.zeros(len(tokens), EXPERTS, device=tokens.device).scatter(1, chosen, scores)
        output = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts, start=self.first):
            output = output + expert(tokens) * weights[:, number, None]
        return all_reduce(output)


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    local = EXPERTS // dist.get_world_size()
    torch.manual_seed(0)  # the same router and the same tokens everywhere
    model = MaskedExperts(dist.get_rank() * local, local).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        tokens = torch.randn(TOKENS, DIM, device=device)
        model(tokens).square().mean().backward()
        dist.all_reduce(model.router.weight.grad)
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
