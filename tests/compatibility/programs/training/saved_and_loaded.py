"""A checkpoint of FSDP2's whole state, gathered to rank 0, saved, loaded again and scattered back to the shards."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))  # it chooses the rank's GPU
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)).to(device)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(8, 64, device=device)).square().mean().backward()
    optimizer.step()
    file = Path(sys.argv[1]) / "model.pt"
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if dist.get_rank() == 0:
        torch.save(state, file)
    dist.barrier()
    loaded = torch.load(file, map_location="cpu", weights_only=True) if dist.get_rank() == 0 else {}
    set_model_state_dict(model, loaded, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))
    model(torch.randn(8, 64, device=device)).square().mean().backward()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
