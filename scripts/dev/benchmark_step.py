"""What one training step costs: fakerun beside its alternatives, measured in one run.

The step is that of scripts/train_fsdp.py: Llama 3 8B under FSDP2 over 8 ranks, one sequence of 8192 tokens, bfloat16, every block
recomputed in backward, gradients clipped, AdamW. Variants:

fake        torch's FakeTensorMode on device `cpu` over torch's fake process group: nothing is recorded. The yardstick.
fakerun     the `fakerun` command on device `cuda`: every collective and every byte recorded.
memtracker  `fake`, watched by torch's own MemTracker: memory alone.
meta        meta tensors, no dispatch mode, no FSDP: the model's own operators on one rank. The floor.

Every run is a process of its own, and the variants take turns, so that whatever else the machine does meets all of them. A clock hangs on
the optimizer (`register_optimizer_step_post_hook`): from the end of one optimizer step to the end of the next is one sample. Importing
torch, building the model and the first step, which fills caches, are before the first sample. AdamW is told `foreach=True`
everywhere, which is its default on CUDA and not on the CPU: all variants then issue the operators that the script issues on a GPU.

    python scripts/dev/benchmark_step.py                                     # all four; MemTracker takes most of the time
    python scripts/dev/benchmark_step.py --variants fake,fakerun --rounds 5

Compare the ratios of one table, not the seconds of two: those are the machine's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from torch.distributed.device_mesh import DeviceMesh

SCRIPTS = Path(__file__).resolve().parents[1]
RANK, WORLD_SIZE = 0, 8
YARDSTICK = "fake"
VARIANTS = ("fake", "fakerun", "memtracker", "meta")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Seconds per training step under fakerun and under its alternatives.")
    parser.add_argument("--model", default="8b", help="a shape of scripts/llama3.py")
    parser.add_argument("--seq-len", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3, help="how often every variant is run")
    parser.add_argument("--steps", type=int, default=3, help="steps timed in each run, after a first that is not")
    parser.add_argument("--variants", type=lambda text: text.split(","), default=list(VARIANTS), help=",".join(VARIANTS))
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)  # set in the processes that are measured
    parser.add_argument("--samples", type=Path, help=argparse.SUPPRESS)  # where they write what they measured
    args = parser.parse_args()
    if unknown := set(args.variants) - set(VARIANTS):
        parser.error(f"no such variant: {', '.join(sorted(unknown))}; known: {', '.join(VARIANTS)}")
    return args


# -- the process that is measured ----------------------------------------------------------------------------------------------------


def work(args: argparse.Namespace) -> None:
    """Train for one step and then `args.steps` more under the variant, and write the seconds that those took."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    stamps: list[float] = []
    register_optimizer_step_post_hook(lambda optimizer, args, kwargs: stamps.append(time.perf_counter()))
    device = torch.device({"fakerun": "cuda", "meta": "meta"}.get(args.worker, "cpu"))
    with ExitStack() as stack:
        mesh = None if args.worker == "meta" else join_group(device)
        if args.worker in ("fake", "memtracker"):
            # Private, and what is measured. Entered after the mesh was made, because a mesh reads the values of a tensor of ranks.
            from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: PLC2701

            stack.enter_context(FakeTensorMode())
        model = build(args, device, mesh)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, foreach=True)
        if args.worker == "memtracker":
            stack.enter_context(mem_tracker(model, optimizer))
        train(args, device, model, optimizer)
    args.samples.write_text(json.dumps([end - start for start, end in zip(stamps, stamps[1:], strict=False)]))
