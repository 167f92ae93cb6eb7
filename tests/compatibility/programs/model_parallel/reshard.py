"""DTensor: rows become columns and rows again, with uneven rows and with fewer rows than ranks."""

import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

COLUMNS = 6


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    mesh = init_device_mesh(device.type, (int(os.environ["WORLD_SIZE"]),), mesh_dim_names=("tp",))
    rank, ranks = mesh.get_local_rank(), mesh.size()
    for rows in (8, 5, 1):
        whole = torch.arange(rows * COLUMNS, device=device).view(rows, COLUMNS)
        by_row = distribute_tensor(whole, mesh, [Shard(0)])
        by_column = by_row.redistribute(placements=[Shard(1)])
        assert by_column.to_local().tolist() == whole.chunk(ranks, dim=1)[rank].tolist()
        again = by_column.redistribute(placements=[Shard(0)])
        assert again.to_local().tolist() == by_row.to_local().tolist()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
