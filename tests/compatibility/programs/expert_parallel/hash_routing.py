"""Experts chosen by token id, as in hash layers: the splits of each all-to-all follow from the batch."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

EXPERTS, DIM, VOCABULARY, TOKENS = 4, 16, 50, 24


class Exchange(torch.autograd.Function):
    """Rows to other ranks; in backward their gradients go the way back."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, sent: list[int], received: list[int]) -> torch.Tensor:
        ctx.splits = sent, received
        output = rows.new_empty(sum(received), *rows.shape[1:])
        dist.all_to_all_single(output, rows, received, sent)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        sent, received = ctx.splits
        rows = gradient.new_empty(sum(sent), *gradient.shape[1:])
        dist.all_to_all_single(rows, gradient.contiguous(), sent, received)
        return rows, None, None


def exchanged_counts(counts: torch.Tensor) -> torch.Tensor:
    arriving = torch.empty_like(counts)
    dist.all_to_all_single(arriving, counts)
    return arriving


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    rank, ranks = dist.get_rank(), dist.get_world_size()
    embedding, expert = nn.Embedding(VOCABULARY, DIM, device=device), nn.Linear(DIM, DIM, device=device)
    optimizer = torch.optim.AdamW([*embedding.parameters(), *expert.parameters()], lr=1e-3)
    for step in range(2):
        ids = (torch.arange(TOKENS).roll(rank) ** 2 + step).to(device) % VOCABULARY
        order = (ids % EXPERTS).argsort(stable=True)
        counts = torch.bincount(ids % EXPERTS, minlength=EXPERTS).view(ranks, -1)
        sent, received = counts.sum(1).tolist(), exchanged_counts(counts).sum(1).tolist()
        routed = Exchange.apply(embedding(ids)[order], sent, received)
        back = Exchange.apply(expert(routed).relu(), received, sent)
        back[order.argsort()].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
