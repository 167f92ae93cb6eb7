"""Operators that are answered from an earlier run with the same metadata, without running them: the results belong to this call."""

import pytest
import torch
import torch.distributed.fsdp  # registers the operators

from fakerun.rank.simulation import Simulation

fsdp = torch.ops.fsdp


def gathered(elements_before: int) -> torch.Tensor:
    """A buffer for the shards of two ranks, somewhere in its storage."""
    return torch.zeros(elements_before + 12, device="cuda")[elements_before:]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_view_of_an_argument_is_one_of_this_call(rank: int, simulation: Simulation) -> None:
    shards = [torch.ones(2, device="cuda"), torch.ones(4, device="cuda")]
    for elements_before in (0, 5, 8):
        buffer = gathered(elements_before)
        own, whole = fsdp.all_gather_copy_in(shards, buffer, [2, 4], 6, rank)
        assert whole is buffer
        assert own.untyped_storage()._cdata == buffer.untyped_storage()._cdata
        assert (own.shape, own.stride(), own.storage_offset()) == ((6,), (1,), elements_before + 6 * rank)
        assert (own.dtype, own.device) == (buffer.dtype, buffer.device)


def test_what_does_not_fit_is_refused_each_time(simulation: Simulation) -> None:
    whole = torch.ones(2, 6, device="cuda")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="split_with_sizes"):
            fsdp.split_with_sizes_copy(whole, [2, 5], dim=1, out=[torch.empty(2, 2, device="cuda"), torch.empty(2, 4, device="cuda")])


def test_a_result_in_an_argument_is_in_that_of_this_call(simulation: Simulation) -> None:
    whole = torch.ones(2, 6, device="cuda")
    for _ in range(2):
        parts = [torch.empty(2, 2, device="cuda"), torch.empty(2, 4, device="cuda")]
        assert fsdp.split_with_sizes_copy(whole, [2, 4], dim=1, out=parts) is None
        assert [part.shape for part in parts] == [(2, 2), (2, 4)]
    for _ in range(2):
        reduced = torch.empty(2, 3, device="cuda")
        assert fsdp.chunk_cat([torch.ones(2, 3, device="cuda")], 0, 2, out=reduced) is None
