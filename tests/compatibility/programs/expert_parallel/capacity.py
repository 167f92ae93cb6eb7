"""Experts with a capacity, as in GShard: tokens are put into slots by einsum, those beyond are dropped, the all-to-all is even."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._functional_collectives import all_to_all_single_autograd
from torch.distributed.device_mesh import init_device_mesh

EXPERTS, DIM, TOKENS, CAPACITY_FACTOR = 4, 16, 30, 1.25
CAPACITY = int(CAPACITY_FACTOR * TOKENS / EXPERTS)


def slots(probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which slot of which expert each token has, as 0 and 1, and the loss that keeps the experts evenly used."""
    mask = nn.functional.one_hot(probabilities.argmax(-1), EXPERTS)
    balance = EXPERTS * (probabilities.mean(0) * mask.float().mean(0)).sum()
    position = (mask.cumsum(0) - 1) * mask
    kept = mask * (position < CAPACITY)
    place = nn.functional.one_hot((position * kept).sum(1), CAPACITY)
    return (kept.unsqueeze(-1) * place.unsqueeze(1)).float(), balance


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    mesh = init_device_mesh(device.type, (int(os.environ["WORLD_SIZE"]),), mesh_dim_names=("ep",))
    group, ranks = mesh.get_group(), mesh.size()
    router = nn.Linear(DIM, EXPERTS, bias=False, device=device)
    experts = nn.Parameter(torch.randn(EXPERTS // ranks, DIM, DIM, device=device))
    optimizer = torch.optim.AdamW([*router.parameters(), experts], lr=1e-3, foreach=False)
    splits = [EXPERTS // ranks] * ranks
    for _ in range(2):
        tokens = torch.randn(TOKENS, DIM, device=device)
        probabilities = router(tokens).softmax(-1)
        dispatch, balance = slots(probabilities)
        queued = torch.einsum("tec,td->ecd", dispatch, tokens)
        arrived = all_to_all_single_autograd(queued, splits, splits, group).view(ranks, -1, CAPACITY, DIM)
        worked = torch.einsum("rlcd,ldf->rlcf", arrived, experts).reshape(EXPERTS, CAPACITY, DIM)
        back = all_to_all_single_autograd(worked, splits, splits, group)
        combined = torch.einsum("tec,ecd->td", dispatch * probabilities.unsqueeze(-1), back)
        (combined.square().mean() + 0.01 * balance).backward()
        dist.all_reduce(router.weight.grad, op=dist.ReduceOp.SUM)
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
