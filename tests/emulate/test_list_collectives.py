"""Collectives of lists of tensors, which NCCL carries out on one tensor of its own."""

import pytest
import torch
import torch.distributed as dist

from tests.in_process import Simulate

COUNT = 2**20


def peak(collective: str, *, backend: str = "nccl", device: str = "cuda", last: int = COUNT) -> int:
    """What the collective allocates beside its arguments, in bytes."""
    dist.init_process_group(backend)
    parts = [torch.zeros(COUNT, device=device) for _ in range(3)] + [torch.zeros(last, device=device)]
    whole = torch.zeros(COUNT, device=device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    if collective == "all_gather":
        dist.all_gather(parts, whole)
    else:
        dist.reduce_scatter(whole, parts)
    assert torch.cuda.memory_allocated() == before
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.parametrize("collective", ["all_gather", "reduce_scatter"])
def test_nccl_has_one_tensor_for_the_list(collective: str, simulate: Simulate) -> None:
    simulate(nproc_per_node=4)
    assert peak(collective) == 4 * COUNT * 4


def test_other_lists_are_taken_as_they_are(simulate: Simulate) -> None:
    simulate(nproc_per_node=4)
    assert peak("all_gather", backend="gloo", device="cpu") == 0


def test_different_sizes_are_gathered_one_by_one(simulate: Simulate) -> None:
    simulate(nproc_per_node=4)
    assert peak("all_gather", last=COUNT // 2) == 0
