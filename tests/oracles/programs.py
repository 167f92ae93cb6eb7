"""The programs of scripts/ at small sizes: how to run each, and what the formulas expect of it.

Tests against real runs and tests against the formulas take their cases from here.
"""

import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.oracles.formulas import Collective, Footprint, Job, Shape, collectives_of_ddp, collectives_of_fsdp, ddp_footprint, fsdp_footprint
from tests.oracles.torchrun import Outcome, RecordedCall, Run, record_many

SCRIPTS = Path(__file__).parents[2] / "scripts"

CallIdentity = tuple[str, tuple[int, ...], str | None, tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]
"""What two records of one call must have in common: operation, global ranks of the group, dtype, input sizes, output sizes."""


@cache
def shapes() -> Mapping[str, Shape]:
    """The shapes that scripts/llama3.py offers. A function, because it imports torch."""
    return runpy.run_path(str(SCRIPTS / "llama3.py"))["SHAPES"]  # type: ignore[no-any-return]


@cache
def installed_torch() -> tuple[int, int]:
    """Major and minor version of the torch that the programs run on."""
    major, minor, *_ = version("torch").split(".")
    return int(major), int(minor)


@dataclass(frozen=True, kw_only=True)
class Program:
    """One run of a program on dp x tp ranks. The options have the programs' own defaults where there is no reason for another."""

    id: str
    script: str
    model: str
    dp: int
    tp: int = 1
    steps: int = 2
    seq_len: int = 16
    batch_size: int = 1
    dtype: str = "bfloat16"
    activation_checkpointing: str = "none"
    reshard_after_forward: str = "default"

    @property
    def world_size(self) -> int:
        return self.dp * self.tp

    @property
    def path(self) -> Path:
        return SCRIPTS / self.script

    @property
    def args(self) -> tuple[str, ...]:
        options: dict[str, Any] = {
            "--model": self.model,
            "--steps": self.steps,
            "--seq-len": self.seq_len,
            "--batch-size": self.batch_size,
            "--dtype": self.dtype,
            "--activation-checkpointing": self.activation_checkpointing,
        }
        if self.script == "train_fsdp.py":
            options["--reshard-after-forward"] = self.reshard_after_forward
        if self.script == "train_tp_fsdp.py":
            options["--tp"] = self.tp
        return tuple(str(word) for option in options.items() for word in option)

    # ---- What is expected, and what is real

    def job(self, device: str = "cpu") -> Job:
        """The job in numbers, as it is on `device`."""
        return Job(
            shape=shapes()[self.model],
            dp=self.dp,
            tp=self.tp,
            seq_len=self.seq_len,
            batch_size=self.batch_size,
            dtype=self.dtype,
            activation_checkpointing=self.activation_checkpointing,
            reshard_after_forward=self.reshard_after_forward,
            device=device,
            torch=installed_torch(),
        )

    def expected_collectives(self, rank: int, device: str = "cpu") -> list[Collective]:
        job = self.job(device)
        return collectives_of_ddp(job, self.steps) if self.script == "train_ddp.py" else collectives_of_fsdp(job, rank, self.steps)

    def expected_calls(self, rank: int, device: str = "cpu") -> list[CallIdentity]:
        """The same in the form of the recorder: with global ranks instead of the axis."""
        ranks = {axis: self.job().group_ranks(axis, rank) for axis in ("dp", "tp", "world")}
        collectives = self.expected_collectives(rank, device)
        return [(call.op, ranks[call.axis], call.dtype, call.input_sizes, call.output_sizes) for call in collectives]

    def expected_footprint(self, rank: int) -> Footprint:
        return ddp_footprint(self.job()) if self.script == "train_ddp.py" else fsdp_footprint(self.job(), rank)

    def words(self, ranks: str) -> tuple[str, ...]:
        """What fakerun is told to simulate these ranks of it."""
        return ("--nproc-per-node", str(self.world_size), "--steps", str(self.steps), "--ranks", ranks, str(self.path), *self.args)

    @property
    def run(self) -> Run:
        """How to record a real run of it, in processes of this machine, over gloo."""
        return Run(name=self.id, script=self.path, args=self.args, with_state=True)


def identity(call: RecordedCall) -> CallIdentity:
    return (call.op, call.group_ranks, call.dtype, call.input_sizes, call.output_sizes)


PROGRAMS = (
    # More than 26 MiB of parameters, so several buckets; a third step, so one that does not rebuild them.
    Program(id="ddp", script="train_ddp.py", model="small", dp=4, steps=3),
    Program(id="fsdp-uneven", script="train_fsdp.py", model="uneven", dp=4),
    Program(
        id="fsdp-float32-reshard-always",
        script="train_fsdp.py",
        model="debug",
        dp=4,
        dtype="float32",
        activation_checkpointing="selective",
        reshard_after_forward="always",
    ),
    Program(id="tp-fsdp-uneven", script="train_tp_fsdp.py", model="uneven", dp=2, tp=2, batch_size=3),
    Program(id="tp-fsdp-full-checkpointing", script="train_tp_fsdp.py", model="debug", dp=2, tp=2, activation_checkpointing="full"),
    Program(
        id="tp-only-selective-checkpointing", script="train_tp_fsdp.py", model="debug", dp=1, tp=4, activation_checkpointing="selective"
    ),
)


def real_runs() -> Mapping[str, Outcome]:
    """The recordings of all programs, by id: one torchrun for all, as they have the same world size."""
    (world_size,) = {program.world_size for program in PROGRAMS}
    outcomes = record_many([program.run for program in PROGRAMS], world_size)
    for id, outcome in outcomes.items():
        assert outcome.failure is None, f"{id}: {outcome.failure}"
    return outcomes


EIGHT_BILLION = (
    Program(id="8b-fsdp", script="train_fsdp.py", model="8b", dp=8, seq_len=8192, activation_checkpointing="full"),
    Program(id="8b-tp-fsdp", script="train_tp_fsdp.py", model="8b", dp=2, tp=4, seq_len=8192),
)
