"""The cost of one training step: fakerun and its alternatives, measured in one run.

The step is that of scripts/train_fsdp.py: Llama 3 8B under FSDP2 over 8 ranks, one sequence of 8192 tokens, bfloat16, every block
recomputed in backward, gradients clipped, AdamW. Variants:

fake        torch's FakeTensorMode on device `cpu` over torch's fake process group; nothing is recorded. The baseline.
fakerun     the `fakerun` command on device `cuda`; every collective and allocation is recorded.
memtracker  `fake` under torch's MemTracker: memory only. Run once and for one step, which takes half a minute.
meta        meta tensors, no dispatch mode, no FSDP: only the model's operators on one rank. The lower bound.

Every run is its own process, and the variants alternate, so that other load affects all of them. One sample is the time from
the end of one optimizer step to the end of the next (`register_optimizer_step_post_hook`). Importing torch, building the model and the
first step, which fills caches, come before the first sample. AdamW has `foreach=True` everywhere, the default on CUDA only: all
variants then issue the operators that the script issues on a GPU.

    python scripts/dev/benchmark_step.py                                     # all variants
    python scripts/dev/benchmark_step.py --variants fake,fakerun --rounds 5

Compare ratios of one table, not seconds of two tables: seconds depend on the machine.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.distributed.device_mesh import DeviceMesh

SCRIPTS = Path(__file__).resolve().parents[1]
RANK, WORLD_SIZE = 0, 8
BASELINE = "fake"
SLOW = "memtracker"
VARIANTS = ("fake", "fakerun", SLOW, "meta")

Runs: TypeAlias = list[list[float]]
"""Seconds per step, run by run."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Seconds per training step under fakerun and its alternatives.")
    parser.add_argument("--model", default="8b", help="a shape of scripts/llama3.py")
    parser.add_argument("--seq-len", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3, help="runs of every variant")
    parser.add_argument("--steps", type=int, default=3, help="steps timed in each run, after the first, untimed one")
    parser.add_argument("--variants", type=lambda text: text.split(","), default=list(VARIANTS), help=",".join(VARIANTS))
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)  # set in the measured processes
    parser.add_argument("--samples", type=Path, help=argparse.SUPPRESS)  # where they write their samples
    args = parser.parse_args()
    if unknown := set(args.variants) - set(VARIANTS):
        parser.error(f"no such variant: {', '.join(sorted(unknown))}; known: {', '.join(VARIANTS)}")
    return args


# -- the measured process -----------------------------------------------------------------------------------------------------------


def work(args: argparse.Namespace) -> None:
    """Train one step and then `args.steps` more under the variant `args.worker`, and write the seconds that the latter took."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    sys.path.insert(0, str(SCRIPTS))  # as torchrun has it for scripts/train_fsdp.py
    stamps: list[float] = []
    register_optimizer_step_post_hook(lambda *_: stamps.append(time.perf_counter()))
    device = torch.device({"fakerun": "cuda", "meta": "meta"}.get(args.worker, "cpu"))
    mesh = None if args.worker == "meta" else join_group(device)
    with ExitStack() as stack:
        if args.worker in ("fake", "memtracker"):
            # Private, but it is what is measured. Entered after the mesh is created, which reads the values of a tensor of ranks.
            from torch._subclasses.fake_tensor import FakeTensorMode

            stack.enter_context(FakeTensorMode())
        model = build(args, device, mesh)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, foreach=True)
        if args.worker == "memtracker":
            stack.enter_context(mem_tracker(model, optimizer))
        train(args, device, model, optimizer)
    args.samples.write_text(json.dumps([end - start for start, end in pairwise(stamps)]))


def join_group(device: "torch.device") -> "DeviceMesh":
    """All ranks as one mesh: over fakerun's emulation of nccl, or over torch's fake process group."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    if device.type == "cuda":
        dist.init_process_group("nccl")
    else:
        dist.init_process_group("fake", rank=RANK, world_size=WORLD_SIZE)
    return init_device_mesh(device.type, (WORLD_SIZE,), mesh_dim_names=("dp",))


def build(args: argparse.Namespace, device: "torch.device", mesh: "DeviceMesh | None") -> "nn.Module":
    """The model of scripts/train_fsdp.py with its defaults; unsharded without a mesh."""
    import torch
    from llama3 import SHAPES, Llama3, checkpoint_activations
    from train_fsdp import shard

    with torch.device("meta"):
        model = Llama3(SHAPES[args.model], args.seq_len)
    checkpoint_activations(model, "full")
    if mesh is None:
        model.to(torch.bfloat16)  # the dtype in which FSDP computes
        model.rope = model.rope.float()
        return model
    shard(model, mesh, "bfloat16", "default")
    model.to_empty(device=device)
    model.init_weights()
    return model


def train(args: argparse.Namespace, device: "torch.device", model: "nn.Module", optimizer: "torch.optim.Optimizer") -> None:
    """The loop of scripts/train_fsdp.py without printing the loss, whose value only fakerun provides."""
    import torch
    from llama3 import SHAPES, cross_entropy

    for _ in range(1 + args.steps):
        tokens = torch.randint(SHAPES[args.model].vocab, (1, args.seq_len + 1))
        inputs, labels = tokens[:, :-1].to(device), tokens[:, 1:].to(device)
        loss = cross_entropy(model(inputs), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()


@contextmanager
def mem_tracker(model: "nn.Module", optimizer: "torch.optim.Optimizer") -> Iterator[None]:
    """MemTracker as in its documentation. It tracks only one iteration, so it is reset after each step."""
    from torch.distributed._tools.mem_tracker import MemTracker
    from torch.optim.optimizer import register_optimizer_step_post_hook

    tracker = MemTracker()
    tracker.track_external(model, optimizer)
    handle = register_optimizer_step_post_hook(lambda *_: tracker.reset_mod_stats())
    with tracker:
        yield
    handle.remove()


# -- the measuring process ----------------------------------------------------------------------------------------------------------


def measure(args: argparse.Namespace) -> dict[str, Runs]:
    """The runs of every variant; variants alternate."""
    runs: dict[str, Runs] = {variant: [] for variant in args.variants}
    for number in range(args.rounds):
        for variant in args.variants:
            if variant == SLOW and number > 0:
                continue
            print(f"round {number + 1} of {args.rounds}: {variant}", file=sys.stderr, flush=True)
            runs[variant].append(samples_of(variant, args))
    return runs


def samples_of(variant: str, args: argparse.Namespace) -> list[float]:
    """Seconds per step of one run."""
    steps = 1 if variant == SLOW else args.steps
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "samples.json"
        options = ["--model", args.model, "--seq-len", args.seq_len, "--steps", steps, "--worker", variant, "--samples", file]
        command = [*starter(variant, steps, directory), __file__, *map(str, options)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if not file.exists():
            raise SystemExit(f"{variant} failed:\n{done.stdout}")
        samples: list[float] = json.loads(file.read_text())
        return samples


def starter(variant: str, steps: int, directory: str) -> list[str]:
    """The command that starts the worker: Python, or `fakerun` with a step limit beyond the worker's steps."""
    if variant != "fakerun":
        return [sys.executable]
    beyond = str(steps + 2)
    options = ["--mesh", f"dp={WORLD_SIZE}", "--rank", str(RANK), "--steps", beyond, "--run-dir", f"{directory}/run"]
    return [sys.executable, "-m", "fakerun", *options]


def table(runs: dict[str, Runs]) -> str:
    """A line for each variant: the median step, its range, and its ratio to the baseline of the same round."""
    lines = [f"{'variant':<12}{'s/step':>8}{'min':>8}{'max':>8}{'steps':>7}{'/ ' + BASELINE:>9}"]
    for variant, rounds in runs.items():
        seconds = [sample for samples in rounds for sample in samples]
        ratios = [median(samples) / median(beside) for samples, beside in zip(rounds, runs.get(BASELINE, []), strict=False)]
        ratio = f"{median(ratios):.2f}" if ratios else "-"
        lines.append(f"{variant:<12}{median(seconds):>8.3f}{min(seconds):>8.3f}{max(seconds):>8.3f}{len(seconds):>7}{ratio:>9}")
    return "\n".join(lines)


def main() -> None:
    args = parse_args()
    if args.worker:
        work(args)
        return
    runs = measure(args)
    versions = f"Python {platform.python_version()}, torch {version('torch')}"
    print(f"Llama 3 {args.model}, FSDP2 over {WORLD_SIZE} ranks, 1 x {args.seq_len} tokens, {versions}")
    print(table(runs))


if __name__ == "__main__":
    main()
