"""Train Llama 3 in four dimensions: a pipeline (pp) of stages, each sharded by FSDP2 (dp), with split sequences (cp) and matrices (tp).

Ranks are laid out as pp x dp x cp x tp. The layers are divided between stages, which pass activations on (1F1B). Within a stage, tp is
tensor and sequence parallelism, cp is ring attention over parts of the sequence, and FSDP shards parameters over dp and cp together.

torchrun --nnodes 8 --nproc-per-node 8 scripts/train_4d.py --model 70b --pp 4 --cp 2 --tp 4  # Llama 3 70B on 64 GPUs
torchrun --nproc-per-node 4 scripts/train_4d.py --pp 2 --tp 2 --model debug --seq-len 32  # a laptop, over gloo (ring attention needs GPUs)
"""

import argparse
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from llama3 import SHAPES, Llama3, Shape, checkpoint_activations, cross_entropy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.experimental import context_parallel
from train_tp_fsdp import init_distributed, parallelize, shard


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train Llama 3 on random tokens with pipeline, data, context and tensor parallelism.")
    parser.add_argument("--model", choices=SHAPES, default="70b")
    parser.add_argument("--pp", type=int, default=4, help="pipeline stages")
    parser.add_argument("--cp", type=int, default=1, help="parts of every sequence")
    parser.add_argument("--tp", type=int, default=4, help="ranks that split every matrix; divides heads and sequence")
    parser.add_argument("--seq-len", type=int, default=8192)
    parser.add_argument("--microbatches", type=int, default=8, help="sequences per dp rank and step, one in each microbatch")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of gathered parameters; shards stay float32")
    parser.add_argument("--activation-checkpointing", choices=("none", "selective", "full"), default="full")
    return parser.parse_args()


def stage_of(model: Llama3, stage: int, stages: int) -> Llama3:
    """The part of the model in one stage: its share of the layers; the first stage also has the embedding, the last the output."""
    count = len(model.layers)
    model.layers = model.layers[stage * count // stages : (stage + 1) * count // stages]
    if stage > 0:
        model.tok_embeddings = nn.Identity()  # type: ignore[assignment]
    if stage < stages - 1:
        model.norm = nn.Identity()  # type: ignore[assignment]
        model.output = nn.Identity()  # type: ignore[assignment]
    return model


def stage_tensors(shape: Shape, args: argparse.Namespace, stage: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Input and output of a stage for one microbatch, on the meta device: tokens, activations or logits.

    Between stages, sequence parallelism splits each rank's part of the sequence once more.
    """
    dtype = torch.bfloat16 if args.dtype == "bfloat16" else torch.float32
    part = args.seq_len // args.cp
    tokens = torch.empty(1, part, dtype=torch.int64, device="meta")
    hidden = torch.empty(1, part // args.tp, shape.dim, dtype=dtype, device="meta", requires_grad=True)
    logits = torch.empty(1, part, shape.vocab, dtype=dtype, device="meta", requires_grad=True)
    return tokens if stage == 0 else hidden, logits if stage == args.pp - 1 else hidden


def clip_gradients(model: nn.Module, pp_group: dist.ProcessGroup, max_norm: float) -> None:
    """Clip by the norm of the whole model's gradients: of this stage first, then over all stages."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    total = (norm.full_tensor() if isinstance(norm, DTensor) else norm) ** 2
    dist.all_reduce(total, group=pp_group)
    torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, total**0.5)


def main() -> None:
    args = parse_args()
    device = init_distributed()
    sizes = (args.pp, dist.get_world_size() // (args.pp * args.cp * args.tp), args.cp, args.tp)
    mesh = init_device_mesh(device.type, sizes, mesh_dim_names=("pp", "dp", "cp", "tp"))
    fsdp_mesh = mesh["dp", "cp"]._flatten("dp_cp")  # noqa: SLF001
    stage = mesh["pp"].get_local_rank()
    shape = SHAPES[args.model]

    torch.manual_seed(0)
    with torch.device("meta"):  # no memory yet: the whole model need not fit on one device
        model = stage_of(Llama3(shape, args.seq_len), stage, args.pp)
    parallelize(model, mesh["tp"])
    checkpoint_activations(model, args.activation_checkpointing)
    shard(model, fsdp_mesh, args.dtype)
    model.to_empty(device=device)
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)

    pp_group = mesh["pp"].get_group()
    inputs, outputs = stage_tensors(shape, args, stage, device)
    pipeline = PipelineStage(model, stage, args.pp, device, input_args=(inputs,), output_args=(outputs,), group=pp_group)
    schedule = Schedule1F1B(pipeline, n_microbatches=args.microbatches, loss_fn=cross_entropy)

    torch.manual_seed(1 + mesh["dp"].get_local_rank())  # the ranks of one cp and tp group work on the same tokens
    for step in range(args.steps):
        tokens = torch.randint(shape.vocab, (args.microbatches, args.seq_len + 1))
        inputs, labels = tokens[:, :-1].to(device), tokens[:, 1:].to(device)
        with sequence_parts(mesh["cp"], inputs, labels, model.rope):
            losses = run_step(schedule, stage, args.pp, inputs, labels)
        clip_gradients(model, pp_group, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        if losses and dist.get_rank() == dist.get_world_size() - 1:
            print(f"step {step + 1}: loss {torch.stack(losses).mean().item():.4f}", flush=True)

    dist.destroy_process_group()


def sequence_parts(cp_mesh: DeviceMesh, inputs: Tensor, labels: Tensor, rope: Tensor) -> AbstractContextManager[None]:
    """Within this context the tensors hold this rank's part of the sequence, and attention goes round the ring."""
    if cp_mesh.size() == 1:
        return nullcontext()
    tensors, dims = [inputs, labels, rope], [1, 1, 0]
    return context_parallel(cp_mesh, buffers=tensors, buffer_seq_dims=dims, no_restore_buffers={inputs, labels})


def run_step(schedule: Schedule1F1B, stage: int, stages: int, inputs: Tensor, labels: Tensor) -> list[Tensor]:
    """All microbatches forward and backward through this rank's stage; the losses, on the last stage."""
    losses: list[Tensor] = []
    mine = (inputs,) if stage == 0 else ()
    if stage == stages - 1:
        schedule.step(*mine, target=labels, losses=losses, return_outputs=False)  # the logits of all microbatches are 16 GiB and more
    else:
        schedule.step(*mine)
    return losses


if __name__ == "__main__":
    main()
