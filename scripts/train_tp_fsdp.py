"""Train Llama 3 with tensor and sequence parallelism inside FSDP2, on a mesh of dp x tp ranks.

Neighbouring ranks (tp) split every matrix and, between matrices, the sequence; across such groups (dp) FSDP shards what each rank holds.

torchrun --nproc-per-node 8 scripts/train_tp_fsdp.py --tp 4  # Llama 3 8B, one node of GPUs
torchrun --nproc-per-node 4 scripts/train_tp_fsdp.py --tp 2 --model debug --seq-len 32  # a laptop, over gloo
"""

import argparse
import os

import torch
import torch.distributed as dist
from llama3 import SHAPES, Llama3, checkpoint_activations, cross_entropy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, PrepareModuleInput, RowwiseParallel, SequenceParallel, parallelize_module


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train Llama 3 on random tokens with tensor parallelism and FSDP2.")
    parser.add_argument("--model", choices=SHAPES, default="8b")
    parser.add_argument("--tp", type=int, default=4, help="ranks that split every matrix; divides heads and sequence")
    parser.add_argument("--seq-len", type=int, default=8192)
    parser.add_argument("--batch-size", type=int, default=1, help="sequences per tp group and step")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of gathered parameters; shards stay float32")
    parser.add_argument("--activation-checkpointing", choices=("none", "selective", "full"), default="none")
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


def parallelize(model: Llama3, tp_mesh: DeviceMesh) -> None:
    """Split every matrix over `tp_mesh`: the first of a pair by columns, the second by rows.

    Outside the pairs activations are split along the sequence, so the norms and the residual additions work on a part of it. Each pair
    gathers the whole sequence where it begins and scatters its summed result where it ends.
    """
    sequence, whole = Shard(1), Replicate()
    root_plan = {
        "tok_embeddings": RowwiseParallel(input_layouts=whole, output_layouts=sequence),
        "norm": SequenceParallel(),
        "output": ColwiseParallel(input_layouts=sequence, output_layouts=whole),
    }
    block_plan = {
        "attention_norm": SequenceParallel(),
        "attention": PrepareModuleInput(input_layouts=(sequence, None), desired_input_layouts=(whole, None)),
        "attention.wq": ColwiseParallel(),
        "attention.wk": ColwiseParallel(),
        "attention.wv": ColwiseParallel(),
        "attention.wo": RowwiseParallel(output_layouts=sequence),
        "ffn_norm": SequenceParallel(),
        "feed_forward": PrepareModuleInput(input_layouts=(sequence,), desired_input_layouts=(whole,)),
        "feed_forward.w1": ColwiseParallel(),
        "feed_forward.w3": ColwiseParallel(),
        "feed_forward.w2": RowwiseParallel(output_layouts=sequence),
    }
    there = {name: style for name, style in root_plan.items() if not isinstance(model.get_submodule(name), nn.Identity)}
    parallelize_module(model, tp_mesh, there)  # a pipeline stage (train_4d.py) does not have all of them
    for block in model.layers:
        parallelize_module(block, tp_mesh, block_plan)


def shard(model: Llama3, dp_mesh: DeviceMesh, dtype: str) -> None:
    """Shard each rank's part of the model over `dp_mesh`, block by block. The last block stays gathered: backward starts there."""
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if dtype == "bfloat16" else MixedPrecisionPolicy()
    for index, block in enumerate(model.layers):
        fully_shard(block, mesh=dp_mesh, mp_policy=policy, reshard_after_forward=index < len(model.layers) - 1)
    fully_shard(model, mesh=dp_mesh, mp_policy=policy, reshard_after_forward=False)


def main() -> None:
    args = parse_args()
    device = init_distributed()
    mesh = init_device_mesh(device.type, (dist.get_world_size() // args.tp, args.tp), mesh_dim_names=("dp", "tp"))

    torch.manual_seed(0)
    with torch.device("meta"):  # no memory yet: the whole model need not fit on one device
        model = Llama3(SHAPES[args.model], args.seq_len)
    parallelize(model, mesh["tp"])
    checkpoint_activations(model, args.activation_checkpointing)
    shard(model, mesh["dp"], args.dtype)
    model.to_empty(device=device)
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)

    torch.manual_seed(1 + mesh["dp"].get_local_rank())  # the ranks of one tp group work on the same tokens
    for step in range(args.steps):
        tokens = torch.randint(SHAPES[args.model].vocab, (args.batch_size, args.seq_len + 1))
        inputs, labels = tokens[:, :-1].to(device), tokens[:, 1:].to(device)
        loss = cross_entropy(model(inputs), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        if dist.get_rank() == 0:
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)

    dist.destroy_process_group()


if __name__ == "__main__":
    main()
