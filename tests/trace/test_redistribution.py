"""A DTensor resharded along another dimension: one all-to-all of equal parts for any number of rows, and its memory."""

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from tests.in_process import Simulate
from tests.trace.seen import watch

RANKS, COLUMNS = 2, 6


@pytest.mark.parametrize(("rows", "most_rows", "own_rows"), [(8, 4, (4, 4)), (5, 3, (3, 2)), (1, 1, (1, 0))])
@pytest.mark.parametrize("rank", range(RANKS))
def test_rows_become_columns_and_rows_again(simulate: Simulate, rank: int, rows: int, most_rows: int, own_rows: tuple[int, ...]) -> None:
    simulation = simulate(rank, nproc_per_node=RANKS)
    mesh = init_device_mesh("cuda", (RANKS,))
    by_row = distribute_tensor(torch.ones(rows, COLUMNS, device="cuda"), mesh, [Shard(0)])
    with watch(simulation) as seen:
        by_column = by_row.redistribute(mesh, [Shard(1)])
        again = by_column.redistribute(mesh, [Shard(0)])
    assert by_column.to_local().shape == (rows, COLUMNS // RANKS)
    assert again.to_local().shape == (own_rows[rank], COLUMNS)
    exchanged = ((RANKS, most_rows, COLUMNS // RANKS),)
    assert [(call.op, call.input_sizes, call.output_sizes) for call in seen.collectives] == 2 * [
        ("all_to_all_single", exchanged, exchanged)
    ]


@pytest.mark.parametrize(("gathered", "sharded", "tensors"), [(0, 1, 2), (1, 0, 2), (1, 2, 3)])
def test_the_exchange_takes_memory_for_each_copy(simulate: Simulate, gathered: int, sharded: int, tensors: int) -> None:
    """Parts of rows lie one after the other already; what arrives as rows lies right already. All else is copied."""
    simulation = simulate()
    mesh = init_device_mesh("cuda", (RANKS,))
    source = torch.ones(8, 8, 8, device="cuda")
    with watch(simulation) as seen:
        torch.ops._dtensor.shard_dim_alltoall(source, gathered, sharded, mesh.get_group().group_name)
    assert [block.nbytes for block in seen.blocks] == tensors * [4 * source.numel()]


def test_parts_that_are_not_equal_are_refused_as_by_torch(simulate: Simulate) -> None:
    simulate()
    group = init_device_mesh("cuda", (RANKS,)).get_group().group_name
    with pytest.raises(RuntimeError, match=r"shape '\[4, 2, 1\]' is invalid for input of size 12"):
        torch.ops._dtensor.shard_dim_alltoall(torch.ones(4, 3, device="cuda"), 0, 1, group)
