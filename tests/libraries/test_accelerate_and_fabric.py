"""Libraries that wrap torch.distributed, unmodified, on small random models: what they communicate and keep is what closed formulas say.

A case whose library is not installed is skipped: `pip install '.[test,libraries]'` has them.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import pytest

from tests.commands import REPOSITORY, TIMEOUT_S

PROGRAMS = Path(__file__).parent / "programs"
MOST_LINES = 60
RANK, WORLD_SIZE = 5, 8
SMALL_BYTES = 1024
"""Below: norms of gradients, losses, counters and votes, which are not what the formulas are about."""

Shapes = Sequence[tuple[int, ...]]
Traffic = Mapping[tuple[str, str], int]
"""Bytes of a step, by operation and dtype."""

# ---- Models: the shapes of their parameters

LAYERS = [(64, 64), (32, 64), (32, 64), (64, 64), (128, 64), (128, 64), (64, 128), (64,), (64,)] * 2
QWEN_BIASES = [(64,), (32,), (32,)] * 2
EMBEDDING, HEAD = [(512, 64)], [(64,), (512, 64)]
LLAMA = [*EMBEDDING, *LAYERS, *HEAD]
GPT2_LAYERS = [(64,), (64,), (64, 192), (192,), (64, 64), (64,), (64,), (64,), (64, 256), (256,), (256, 64), (64,)] * 2
GPT2 = [*EMBEDDING, (64, 64), *GPT2_LAYERS, (64,), (64,)]  # the head is tied to the embedding
CLASSIFIER = [(64, 32), (64,), (10, 64), (10,)]
BLOCKS = [(256, 64), (256,), (64, 256), (64,)] * 4
HALF_BLOCKS = [(128, 64), (128,), (64, 128), (64,)] * 4

# ---- What parallelism makes of them


def elements(shapes: Shapes) -> int:
    return sum(map(prod, shapes))


def ddp(shapes: Shapes) -> Traffic:
    """Every gradient is reduced once."""
    return {("all_reduce", "float32"): 4 * elements(shapes)}


def sharded(*, twice: Shapes, once: Shapes = (), dtype: str = "float32") -> Traffic:
    """What is freed after forward is gathered again for backward, the rest once; every gradient is reduced to its shard."""
    size = {"float32": 4, "bfloat16": 2}[dtype]
    return {
        ("all_gather_into_tensor", dtype): size * (elements(once) + 2 * elements(twice)),
        ("reduce_scatter_tensor", dtype): size * (elements(once) + elements(twice)),
    }


def blocks(nbytes: int) -> int:
    """As the allocator hands them out."""
    return -(-nbytes // 512) * 512


def parameters(shapes: Shapes, ranks: int = 1) -> int:
    """float32, of every parameter a part."""
    return sum(blocks(4 * -(-prod(shape) // ranks)) for shape in shapes)


def adam(shapes: Shapes, ranks: int = 1, *, fused: bool = False) -> int:
    """Two moments of each parameter, and fused a count of steps on the device."""
    return 2 * parameters(shapes, ranks) + (blocks(4) * len(shapes) if fused else 0)


# ---- The cases


@dataclass(frozen=True, kw_only=True)
class Case:
    """A program and its arguments, and what is expected of the second step. `memory` has the categories that do not depend on how
    flat parameters are cut.
    """

    program: str
    libraries: tuple[str, ...]
    traffic: Traffic
    args: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.program} {self.args}".strip()


def trainer(args: str, traffic: Traffic, **more: Any) -> Case:
    return Case(program="trainer", libraries=("transformers", "accelerate"), args=args, traffic=traffic, **more)


def accelerate_fsdp(args: str, traffic: Traffic, **more: Any) -> Case:
    return Case(program="accelerate_fsdp", libraries=("transformers", "accelerate"), args=args, traffic=traffic, **more)


def fabric(args: str, traffic: Traffic, **more: Any) -> Case:
    return Case(program="fabric", libraries=("lightning",), args=args, traffic=traffic, **more)


OFFLOADED = {"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"}
"""What `accelerate launch` sets, so that accelerate asks for a backend for host tensors, too."""

WHOLE_LLAMA = {"parameter": parameters(LLAMA), "optimizer_state": adam(LLAMA, fused=True)}
LLAMA_SHARD = {"parameter": parameters(LLAMA, 8), "optimizer_state": adam(LLAMA, 8)}
FUSED_LLAMA_SHARD = {"parameter": parameters(LLAMA, 8), "optimizer_state": adam(LLAMA, 8, fused=True)}

FSDP1_LLAMA = sharded(twice=LAYERS, once=[*EMBEDDING, *HEAD])
FSDP1_LLAMA_BF16 = sharded(twice=LAYERS, once=[*EMBEDDING, *HEAD], dtype="bfloat16")
FSDP2_LLAMA = sharded(twice=[*EMBEDDING, *LAYERS], once=HEAD)
FSDP2_LLAMA_BF16 = sharded(twice=[*EMBEDDING, *LAYERS], once=HEAD, dtype="bfloat16")
FSDP2_QWEN_BF16 = sharded(twice=[*EMBEDDING, *LAYERS, *QWEN_BIASES], once=HEAD, dtype="bfloat16")

CASES = (
    trainer("--evaluate --save", ddp(LLAMA), memory=WHOLE_LLAMA),
    trainer("--bf16 --checkpointing --accumulate 2", ddp(LLAMA), memory=WHOLE_LLAMA),
    trainer("--model gpt2", ddp(GPT2), memory={"parameter": parameters(GPT2), "optimizer_state": adam(GPT2, fused=True)}),
    trainer("--fsdp 1 --bf16 --evaluate --save", FSDP1_LLAMA_BF16),
    trainer("--fsdp 2 --evaluate --save", FSDP2_LLAMA, memory=FUSED_LLAMA_SHARD),
    trainer("--fsdp 2 --bf16 --checkpointing --model qwen", FSDP2_QWEN_BF16),
    Case(program="accelerate_ddp", libraries=("accelerate",), args="--mixed-precision bf16 --accumulate 2 --save", traffic=ddp(CLASSIFIER)),
    accelerate_fsdp("--save SHARDED_STATE_DICT", FSDP2_LLAMA_BF16, memory=LLAMA_SHARD),
    accelerate_fsdp("--cpu-offload --checkpointing", FSDP2_LLAMA_BF16, env=OFFLOADED, memory={"parameter": 0, "optimizer_state": 0}),
    accelerate_fsdp("--fsdp-version 1 --mixed-precision no --save FULL_STATE_DICT", FSDP1_LLAMA),
    accelerate_fsdp("--fsdp-version 1 --mixed-precision no --cpu-offload", FSDP1_LLAMA, env=OFFLOADED),
    fabric("--strategy ddp --save", ddp(BLOCKS), memory={"parameter": parameters(BLOCKS), "optimizer_state": adam(BLOCKS)}),
    fabric("--strategy fsdp --save", sharded(twice=BLOCKS)),
    fabric(
        "--strategy 2d --save",
        # the outputs of four blocks, and the gradients of what goes into the last three
        {**sharded(twice=HALF_BLOCKS), ("all_reduce", "float32"): (4 + 3) * 4 * 8 * 64},
        memory={"parameter": parameters(HALF_BLOCKS, 4), "optimizer_state": adam(HALF_BLOCKS, 4)},
    ),
)

# ---- Every case


@cache
def simulated(program: str, args: str, env: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """What the report says of the rank."""
    words = ("--world-size", str(WORLD_SIZE), "--rank", str(RANK), "--steps", "9", "--format", "json", "--", *args.split())
    command = (sys.executable, "-m", "fakerun", str(PROGRAMS / f"{program}.py"), *words)
    environment = {**os.environ, **dict(env)}
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert result.returncode == 0, f"{' '.join(command[2:])} ended with {result.returncode}:\n{result.stderr}"
    (rank,) = (one for one in json.loads(result.stdout)["ranks"] if one["rank"] == RANK)
    return dict(rank)


@pytest.fixture
def rank(case: Case) -> dict[str, Any]:
    for library in case.libraries:
        pytest.importorskip(library)
    return simulated(case.program, case.args, tuple(case.env.items()))


def each(cases: Iterable[Case]) -> list[Any]:
    return [pytest.param(case, id=case.id, marks=pytest.mark.xdist_group(case.id)) for case in cases]


@pytest.mark.parametrize("case", each(CASES))
def test_collectives_of_a_step_are_those_of_the_formulas(case: Case, rank: dict[str, Any]) -> None:
    traffic: Counter[tuple[str, str]] = Counter()
    for call in rank["collectives"]:
        if call["step"] == 1 and call["nbytes"] >= SMALL_BYTES:
            traffic[call["op"], call["dtype"]] += call["nbytes"]
    assert traffic == case.traffic


@pytest.mark.parametrize("case", each(case for case in CASES if case.memory))
def test_parameters_and_optimizer_state_have_the_bytes_of_the_formulas(case: Case, rank: dict[str, Any]) -> None:
    at_peak = rank["memory"]["at_peak"]
    assert {category: at_peak[category] for category in case.memory} == case.memory


@pytest.mark.parametrize("program", sorted(PROGRAMS.glob("*.py")), ids=lambda path: path.stem)
def test_a_program_is_short(program: Path) -> None:
    assert len(program.read_text().splitlines()) < MOST_LINES
