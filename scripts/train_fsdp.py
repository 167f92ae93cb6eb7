"""Train Llama 3 with FSDP2: every rank holds a slice of each parameter, and gathers one block's parameters at a time.

torchrun --nproc-per-node 8 scripts/train_fsdp.py  # Llama 3 8B, one node of GPUs
torchrun --nproc-per-node 4 scripts/train_fsdp.py --model debug --seq-len 32  # a laptop, over gloo
"""

import argparse
import os

import torch
import torch.distributed as dist
from llama3 import SHAPES, Llama3, checkpoint_activations, cross_entropy
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train Llama 3 on random tokens with FSDP2.")
    parser.add_argument("--model", choices=SHAPES, default="8b")
    parser.add_argument("--seq-len", type=int, default=8192)
    parser.add_argument("--batch-size", type=int, default=1, help="sequences per rank and step")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of gathered parameters; shards stay float32")
    parser.add_argument("--activation-checkpointing", choices=("none", "selective", "full"), default="full")
    parser.add_argument(
        "--reshard-after-forward",
        choices=("default", "always", "never"),
        default="default",
        help="free a block's gathered parameters after its forward; default: of all blocks but the last, which backward needs at once",
    )
    return parser.parse_args()


def init_distributed() -> torch.device:
    """Join the process group and return this rank's device."""
    if not torch.cuda.is_available():
        dist.init_process_group("gloo")
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    dist.init_process_group("nccl")
    return device


def shard(model: Llama3, mesh: DeviceMesh, dtype: str, reshard_after_forward: str) -> None:
    """Make every block, and then what is left (embedding, last norm, output head), a unit that FSDP gathers and frees together."""
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if dtype == "bfloat16" else MixedPrecisionPolicy()
    for index, block in enumerate(model.layers):
        last = index == len(model.layers) - 1
        reshard = {"default": not last, "always": True, "never": False}[reshard_after_forward]
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=reshard)
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=reshard_after_forward == "always")


def main() -> None:
    args = parse_args()
    device = init_distributed()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),), mesh_dim_names=("dp",))
    rank = dist.get_rank()

    torch.manual_seed(0)
    with torch.device("meta"):  # no memory yet: the whole model need not fit on one device
        model = Llama3(SHAPES[args.model], args.seq_len)
    checkpoint_activations(model, args.activation_checkpointing)
    shard(model, mesh, args.dtype, args.reshard_after_forward)
    model.to_empty(device=device)
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)

    torch.manual_seed(1 + rank)  # every rank draws tokens of its own
    for step in range(args.steps):
        tokens = torch.randint(SHAPES[args.model].vocab, (args.batch_size, args.seq_len + 1))
        inputs, labels = tokens[:, :-1].to(device), tokens[:, 1:].to(device)
        loss = cross_entropy(model(inputs), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        if rank == 0:
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)

    dist.destroy_process_group()


if __name__ == "__main__":
    main()
