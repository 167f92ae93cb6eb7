"""DeviceMesh: its axes' groups, sub-meshes, flattened and unflattened meshes."""

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (2, 2), mesh_dim_names=("dp", "tp"))
    ones = torch.ones(4, device=device)
    for axis in ("dp", "tp"):
        dist.all_reduce(ones, group=mesh[axis].get_group())
    dist.all_reduce(ones, group=mesh.get_group(0))

    whole = mesh._flatten("world")
    dist.all_gather_into_tensor(torch.empty(16, device=device), ones, group=whole.get_group())
    assert mesh["world"].size() == dist.get_world_size()

    halves = whole._unflatten(0, (2, 2), ("replicate", "shard"))
    dist.reduce_scatter_tensor(ones[:2], ones.clone(), group=halves["shard"].get_group())
    dist.broadcast(ones, group_src=1, group=halves["replicate"].get_group())
    assert mesh.get_local_rank("tp") == dist.get_rank() % 2
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
