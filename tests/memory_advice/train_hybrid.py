"""Train layers under FSDP2 that shards over a part of the ranks and replicates over the others; `--flat` shards over all."""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

WIDTH, LAYERS, TOKENS = 4096, 8, 4096


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--flat", action="store_true")
    args = parser.parse_args()

    ranks, device = int(os.environ["WORLD_SIZE"]), torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    if args.flat:
        mesh = init_device_mesh("cuda", (ranks,), mesh_dim_names=("dp",))
    else:
        mesh = init_device_mesh("cuda", (2, ranks // 2), mesh_dim_names=("dp_replicate", "dp_shard"))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    with torch.device("meta"):
        layers = [nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)) for _ in range(LAYERS)]
        model = nn.Sequential(*layers, nn.LayerNorm(WIDTH))
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    model.to_empty(device=device)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(4):
        model(torch.randn(TOKENS, WIDTH, device=device)).float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
