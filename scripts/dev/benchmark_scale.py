"""The cost of many ranks: complete jobs under the `fakerun` command, measured from outside.

all64    scripts/train_tp_fsdp.py, Llama 3 8B, tensor parallelism and FSDP2 on 16 x 4 ranks, two steps: all 64 ranks simulated.
auto16k  configs/llama3_405b_16k.yaml, Llama 3 405B on 16,384 ranks, two steps: the ranks that `--ranks auto` selects.
stages16k  the same job, the first rank of each of its 16 stages.

Per job: simulated ranks, classes in the report, wall-clock seconds, processor seconds of all processes (user and system), processor
seconds per rank, peak memory of all processes together, and the size of the run directory. The memory is the sum of proportional set sizes
(PSS in /proc/PID/smaps_rollup: a shared page is divided between the processes that map it) over the command and its descendants, sampled
every two seconds. Linux only.

    python scripts/dev/benchmark_scale.py                       # all jobs, some minutes on two cores
    python scripts/dev/benchmark_scale.py --jobs all64 --at-a-time 2

Processor seconds grow when other processes share the cores; compare figures of one idle machine.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES, RANKS_OF_A_STAGE = 16, 1024
JOBS = {
    "all64": ["scripts/train_tp_fsdp.py", "--world-size", "64", "--mesh", "16x4", "--ranks", "all"],
    "auto16k": ["configs/llama3_405b_16k.yaml", "--ranks", "auto"],
    "stages16k": ["configs/llama3_405b_16k.yaml", "--ranks", ",".join(str(stage * RANKS_OF_A_STAGE) for stage in range(STAGES))],
}
SAMPLE_INTERVAL_S = 2.0
"""Long, because adding up the pages of dozens of processes takes processor time from what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one job."""

    job: str
    ranks: int
    classes: int
    wall_s: float
    cpu_s: float
    memory_bytes: int
    directory_bytes: int

    def line(self) -> str:
        sizes = f"{self.memory_bytes / 2**30:>9.2f} GiB{self.directory_bytes / 2**20:>9.2f} MiB"
        return f"{self.job:<11}{self.ranks:>6}{self.classes:>9}{self.wall_s:>9.1f}{self.cpu_s:>9.1f}{self.cpu_s / self.ranks:>10.2f}{sizes}"


HEADING = f"{'job':<11}{'ranks':>6}{'classes':>9}{'wall s':>9}{'cpu s':>9}{'cpu/rank':>10}{'memory':>13}{'run dir':>13}"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time, processor time and memory of jobs with many ranks.")
    parser.add_argument("--jobs", type=lambda text: text.split(","), default=list(JOBS), help=",".join(JOBS))
    parser.add_argument("--at-a-time", type=int, help="ranks at a time; by default fakerun decides")
    args = parser.parse_args()
    if unknown := set(args.jobs) - set(JOBS):
        parser.error(f"no such job: {', '.join(sorted(unknown))}; known: {', '.join(JOBS)}")
    return args


def cost_of(job: str, at_a_time: int | None) -> Cost:
    """Run the job, sample the memory of its processes, and read its report and run directory."""
    limit = [] if at_a_time is None else ["--jobs", str(at_a_time)]
    with tempfile.TemporaryDirectory() as scratch:
        directory, table = Path(scratch) / "run", Path(scratch) / "table.txt"
        command = [*fakerun(), *JOBS[job], *limit, "--run-dir", str(directory), "-o", str(table)]
        cpu_before, began = cpu_of_children_s(), time.perf_counter()
        memory_bytes = largest_memory_of(command)
        wall_s, cpu_s = time.perf_counter() - began, cpu_of_children_s() - cpu_before
        report = report_of(directory)
        size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    failed = [rank["rank"] for rank in report["ranks"] if rank["status"] != "ok"]
    if failed:
        raise SystemExit(f"{job}: ranks {failed} failed")
    return Cost(
        job=job,
        ranks=len(report["ranks"]),
        classes=len(report["classes"]),
        wall_s=wall_s,
        cpu_s=cpu_s,
        memory_bytes=memory_bytes,
        directory_bytes=size,
    )


def fakerun() -> list[str]:
    return [sys.executable, "-m", "fakerun"]


def largest_memory_of(command: list[str]) -> int:
    """Run the command to its end and return the largest sum of its processes' proportional set sizes."""
    largest = 0
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as process:
        while True:
            largest = max(largest, sum(map(proportional_set_bytes, tree(process.pid))))
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(SAMPLE_INTERVAL_S)
                break
    if code not in (0, 1):  # 1: a finding of severity error, such as a job that does not fit
        raise SystemExit(f"{' '.join(command)}\nended with {code}")
    return largest


def tree(root: int) -> Iterator[int]:
    """A process and its descendants. A rank starts a new session, but the fork server stays its parent."""
    yield root
    with suppress(OSError):
        for task in Path(f"/proc/{root}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from tree(int(child))


def proportional_set_bytes(pid: int) -> int:
    """Its private pages and its part of the shared ones; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def cpu_of_children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def report_of(directory: Path) -> dict[str, list[dict[str, object]]]:
    """The report of the run in this directory."""
    done = subprocess.run([*fakerun(), "report", str(directory), "--format", "json"], stdout=subprocess.PIPE, text=True, check=False)
    report: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return report


def main() -> None:
    args = parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, torch {version('torch')}")
    print(HEADING, flush=True)
    for job in args.jobs:
        print(cost_of(job, args.at_a_time).line(), flush=True)


if __name__ == "__main__":
    main()
