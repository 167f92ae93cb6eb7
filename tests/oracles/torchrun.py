"""Runs programs under the real torchrun, over gloo, with the recorder around them, and reads back what it wrote."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDER = Path(__file__).with_name("recorder.py")
RECORDER_OF_MANY = Path(__file__).with_name("recorder_of_many.py")
REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 180
_EACH_S = 30
"""Additional time for each program, where several are run in sequence."""

Sizes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class RecordedCall:
    """One line of the recorder, whose module documents the fields."""

    op: str
    group_ranks: tuple[int, ...]
    dtype: str | None
    input_sizes: Sizes
    output_sizes: Sizes
    reduce_op: str | None
    root: int | None
    peer: int | None


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What each rank issued, in order, and the storages that its optimizer held in the end, by kind; empty if it never took a step."""

    calls: tuple[tuple[RecordedCall, ...], ...]
    states: tuple[dict[str, list[int]], ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One program of many; `name` is unique, and the directory of its output."""

    name: str
    script: Path
    args: tuple[str, ...] = ()
    with_state: bool = False
    """Whether to record the state of the optimizer too."""


@dataclass(frozen=True, kw_only=True)
class Outcome(Recording):
    """What one program of many did: of each rank until its end; and `failure`, what the ranks printed if one of them failed."""

    failure: str | None


def record_many(runs: Sequence[Run], nproc: int) -> Mapping[str, Outcome]:
    """Run one program after the other on `nproc` processes, in one torchrun. Those that fail do not disturb the others."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        programs = [{"name": run.name, "script": str(run.script), "args": run.args, "with_state": run.with_state} for run in runs]
        (directory / "programs.json").write_text(json.dumps(programs))
        result = torchrun_that_forks(nproc, str(RECORDER_OF_MANY), name, timeout_s=TIMEOUT_S + len(runs) * _EACH_S)
        if result.returncode != 0:
            raise RuntimeError(f"the recorder failed under torchrun:\n{result.stderr}")
        return {run.name: read_outcome(directory / run.name, nproc) for run in runs}


def torchrun(nproc: int, *words: str, timeout_s: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """`--standalone` finds a free port, so that concurrent runs do not collide."""
    return _run(["torch.distributed.run", "--standalone", "--nproc-per-node", str(nproc), *words], timeout_s)


def torchrun_that_forks(nproc: int, *words: str, timeout_s: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """For scripts to which it makes no difference that their process has imported torch before they begin."""
    return _run(["tests.oracles.torchrun_that_forks", "--nproc-per-node", str(nproc), *words], timeout_s)


def _run(words: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)


def read_outcome(directory: Path, nproc: int) -> Outcome:
    codes = [int((directory / f"rank_{rank}.exit").read_text()) for rank in range(nproc)]
    logs = [f"rank {rank} ended with {code}:\n{(directory / f'rank_{rank}.log').read_text()}" for rank, code in enumerate(codes) if code]
    return Outcome(**vars(read_recording(directory, nproc)), failure="\n".join(logs) if logs else None)


def read_recording(directory: Path, nproc: int) -> Recording:
    return Recording(
        calls=tuple(read_calls(directory / f"rank_{rank}.jsonl") for rank in range(nproc)),
        states=tuple(read_state(directory / f"rank_{rank}.state.json") for rank in range(nproc)),
    )


def read_calls(path: Path) -> tuple[RecordedCall, ...]:
    return tuple(
        RecordedCall(**{name: tuples(value) for name, value in json.loads(line).items()}) for line in path.read_text().splitlines()
    )


def read_state(path: Path) -> dict[str, list[int]]:
    return json.loads(path.read_text()) if path.exists() else {}


def tuples(value: Any) -> Any:
    """JSON's lists as nested tuples."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value
