"""Holds fakerun's figures against a real GPU: one rank of each program runs on it, beside the prediction for that rank.

The rank runs the program's own code with real CUDA tensors over torch's fake process group, in which collectives return at once and move
nothing: what it allocates is what it would allocate among `--world-size` ranks. After the last step it writes every counter of
`torch.cuda.memory_stats` and the segments of `torch.cuda.memory_snapshot`. The prediction is that of the `fakerun` command for the same
script, arguments and number of steps.

    python scripts/dev/validate_on_gpu.py --out measured.json                   # all programs, a few minutes
    python scripts/dev/validate_on_gpu.py --programs fsdp-1b --out measured.json

It needs a GPU, a CUDA build of torch, and fakerun. The file has, for each program, what was measured and what was predicted; the table
shows the peaks and their difference. Exit status 1 if a peak of allocated memory differs by more than `--within`.
"""

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

SCRIPTS = Path(__file__).resolve().parents[1]
PROGRAMS = {
    "fsdp-1b": ["train_fsdp.py", "--model", "1b", "--seq-len", "8192"],
    "fsdp-8b": ["train_fsdp.py", "--model", "8b", "--seq-len", "4096"],
    "fsdp-8b-kept": ["train_fsdp.py", "--model", "8b", "--seq-len", "2048", "--activation-checkpointing", "none"],
    "tp-fsdp-8b": ["train_tp_fsdp.py", "--model", "8b", "--seq-len", "4096"],
}
"""Without DDP: the handles of the fake process group have no results, for which its reducer asks (torch 2.13)."""

DEVICES = {"H100": "h100-80gb", "H200": "h200", "A100": "a100-80gb"}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare predicted memory with that of one real GPU.")
    parser.add_argument("--programs", type=lambda text: text.split(","), default=list(PROGRAMS), help=",".join(PROGRAMS))
    parser.add_argument("--world-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--hardware", help="the accelerator for fakerun; by default that of the GPU's name")
    parser.add_argument("--within", type=float, default=0.002, help="allowed difference of the peaks of allocated memory, as a share")
    parser.add_argument("--out", type=Path, required=True, help="where the measured and predicted figures are written (JSON)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # in the measured process: where it writes
    args = parser.parse_args(argv)
    if unknown := set(args.programs) - set(PROGRAMS):
        parser.error(f"no such program: {', '.join(sorted(unknown))}; known: {', '.join(PROGRAMS)}")
    if args.steps < 1 or args.world_size < 1:
        parser.error("--steps and --world-size must be at least 1")
    return args


# -- the measured process -----------------------------------------------------------------------------------------------------------


def measure(program: Sequence[str], *, world_size: int, steps: int, out: Path) -> None:
    """Run rank 0 of a program for so many optimizer steps, and write what the allocator has counted."""
    import torch
    import torch.distributed as dist
    from torch.optim.optimizer import register_optimizer_step_post_hook

    ranks = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size, "MASTER_PORT": 1}
    os.environ.update({name: str(number) for name, number in ranks.items()}, MASTER_ADDR="localhost")
    join = dist.init_process_group

    def join_fake(*args: Any, **kwargs: Any) -> None:
        join("fake", rank=0, world_size=world_size)

    modules: tuple[Any, ...] = (dist, dist.distributed_c10d, dist.device_mesh)
    for module in modules:
        module.init_process_group = join_fake

    taken: list[None] = []

    def stop_after_last(*_: Any) -> None:
        taken.append(None)
        if len(taken) == steps:
            out.write_text(json.dumps({"stats": torch.cuda.memory_stats(), "segments": segments(torch.cuda.memory_snapshot())}))
            raise SystemExit(0)

    register_optimizer_step_post_hook(stop_after_last)
    sys.path.insert(0, str(SCRIPTS))
    sys.argv = list(program)
    runpy.run_path(str(SCRIPTS / program[0]), run_name="__main__")


def segments(snapshot: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The segments of a snapshot with sizes only: addresses differ from run to run."""
    return [
        {
            "stream": segment["stream"],
            "type": segment["segment_type"],
            "total_size": segment["total_size"],
            "blocks": [[block["size"], block["state"]] for block in segment["blocks"]],
        }
        for segment in snapshot
    ]


# -- the comparison -----------------------------------------------------------------------------------------------------------------


def measured(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """What a program takes on the GPU."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "measured.json")
        numbers = ("--world-size", str(args.world_size), "--steps", str(args.steps))
        command = [sys.executable, __file__, "--programs", name, *numbers, "--out", str(args.out), "--measure", str(out)]
        subprocess.run(command, check=True)
        document: dict[str, Any] = json.loads(out.read_text())
        return document


def predicted(name: str, args: argparse.Namespace, hardware: str) -> dict[str, Any]:
    """What fakerun says of the memory of rank 0."""
    script, *words = PROGRAMS[name]
    options = ("--world-size", str(args.world_size), "--steps", str(args.steps), "--hardware", hardware, "--format", "json")
    command = [sys.executable, "-m", "fakerun", str(SCRIPTS / script), *options, "--", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if not result.stdout:
        raise SystemExit(f"fakerun ended with {result.returncode}:\n{result.stderr}")
    memory: dict[str, Any] = json.loads(result.stdout)["ranks"][0]["memory"]
    return {key: memory[key] for key in ("peak_allocated_bytes", "peak_reserved_bytes", "per_step_peak_bytes", "at_peak")}


def hardware_of(device: str) -> str:
    """Fakerun's name of the GPU with this name."""
    for part, name in DEVICES.items():
        if part in device:
            return name
    raise SystemExit(f"{device}: not in {', '.join(DEVICES)}; pass --hardware")


def main() -> int:
    args = parse_args()
    if args.measure is not None:
        measure(PROGRAMS[args.programs[0]], world_size=args.world_size, steps=args.steps, out=args.measure)
        return 0
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no GPU here: run this on a machine with one, and a CUDA build of torch")
    device = torch.cuda.get_device_name(0)
    hardware = args.hardware or hardware_of(device)
    results = {name: {"measured": measured(name, args), "predicted": predicted(name, args, hardware)} for name in args.programs}
    about = {"device": device, "hardware": hardware, "torch": torch.__version__, "world_size": args.world_size, "steps": args.steps}
    args.out.write_text(json.dumps({**about, "programs": results}, indent=1) + "\n")
    rows, worst = [], 0.0
    for name, result in results.items():
        stats, prediction = result["measured"]["stats"], result["predicted"]
        real, ours = stats["allocated_bytes.all.peak"], prediction["peak_allocated_bytes"]
        worst = max(worst, abs(ours / real - 1))
        gib = [f"{number / 2**30:.3f}" for number in (real, ours)]
        rows.append((name, *gib, f"{100 * (ours / real - 1):+.2f} %", f"{stats['reserved_bytes.all.peak'] / 2**30:.3f}"))
    print(tabulate(rows, headers=("program", "allocated GiB", "predicted GiB", "difference", "reserved GiB"), disable_numparse=True))
    return int(worst > args.within)


if __name__ == "__main__":
    raise SystemExit(main())
