"""Train Llama 3 with DistributedDataParallel: every rank holds the whole model, gradients are averaged in buckets during backward.

torchrun --nproc-per-node 8 scripts/train_ddp.py  # Llama 3 1B, one node of GPUs
torchrun --nproc-per-node 4 scripts/train_ddp.py --model debug --seq-len 32  # a laptop, over gloo
"""

import argparse
import os

import torch
import torch.distributed as dist
from llama3 import SHAPES, Llama3, checkpoint_activations, cross_entropy
from torch.nn.parallel import DistributedDataParallel


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train Llama 3 on random tokens with DDP.")
    parser.add_argument("--model", choices=SHAPES, default="1b")
    parser.add_argument("--seq-len", type=int, default=4096)
    parser.add_argument("--batch-size", type=int, default=1, help="sequences per rank and step")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="what to compute in; parameters stay float32")
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


def main() -> None:
    args = parse_args()
    device = init_distributed()
    rank = dist.get_rank()

    torch.manual_seed(0)
    model = Llama3(SHAPES[args.model], args.seq_len)
    model.init_weights()
    checkpoint_activations(model, args.activation_checkpointing)
    ddp_model = DistributedDataParallel(model.to(device), device_ids=[device.index] if device.type == "cuda" else None)
    optimizer = torch.optim.AdamW(ddp_model.parameters(), lr=args.lr)

    torch.manual_seed(1 + rank)  # every rank draws tokens of its own
    for step in range(args.steps):
        tokens = torch.randint(SHAPES[args.model].vocab, (args.batch_size, args.seq_len + 1))
        inputs, labels = tokens[:, :-1].to(device), tokens[:, 1:].to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=args.dtype == "bfloat16"):
            loss = cross_entropy(ddp_model(inputs), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(ddp_model.parameters(), max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        if rank == 0:
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)

    dist.destroy_process_group()


if __name__ == "__main__":
    main()
