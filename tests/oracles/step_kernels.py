"""Kernels of whole measured steps beside the operations that fakerun records of them: `tests/oracles/gpu_programs/*_times.json.gz`.

`step_operations.json.gz` has, by program, the operations of its second step and how often each is executed, as fakerun records them (torch
2.14, `python -m tests.oracles.step_kernels RUN_DIRECTORY...` writes it; a directory is named for its program). The measured programs ran
with torch 2.11 for CUDA 13, whose scaled_dot_product_attention is cuDNN's on these cards; a build of torch without CUDA has no cuDNN,
and takes FlashAttention-2: `operations_of_step` puts cuDNN's operators in its place.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fakerun.analysis.time.costs import OperationCost, OperationKind
from fakerun.records.device_program import Opcode, Operation
from fakerun.records.store import RecordStore

HERE = Path(__file__).parent / "gpu_programs"
OPERATIONS = HERE / "step_operations.json.gz"
TIMES = {"h100-80gb": HERE / "h100_times.json.gz", "h200": HERE / "h200_times.json.gz"}

COPIES_FOR_COLLECTIVES = (18, 22)
"""The streams of the measured programs on which copies stood for collectives: no kernels of the programs."""

LISTS = "lists of tensors"
_KERNELS = (
    # in the name of a kernel, its kind
    ("nvjet", "products"),
    ("gemm", "products"),
    ("splitK", "products"),
    ("sdpa", "attention"),
    ("cudnn::fusion", "attention"),
    ("layer_norm", "norms"),
    ("GammaBeta", "norms"),
    ("cunn_SoftMax", "losses"),
    ("nll_loss", "losses"),
    ("chunk_cat", LISTS),
    ("split_with_sizes", LISTS),
    ("multi_tensor", LISTS),
    ("sum_and_scatter", "embedding"),
    ("compute_grad_weight", "embedding"),
    ("cub::", "embedding"),
    ("krn_", "embedding"),
    ("gather_kernel", "embedding"),
    ("partial_segments", "embedding"),
    ("HtoD", "host copies"),
    ("DtoH", "host copies"),
)
_LIST_OPERATORS = ("all_gather_copy_in", "chunk_cat", "split_with_sizes_copy", "_foreach_copy_")
_KINDS = {
    OperationKind.MATRIX_PRODUCT: "products",
    OperationKind.ATTENTION: "attention",
    OperationKind.NORM: "norms",
    OperationKind.LOSS: "losses",
    OperationKind.EMBEDDING: "embedding",
    OperationKind.OPTIMIZER: LISTS,
    OperationKind.HOST_COPY: "host copies",
}
OTHERS = "pointwise operations and copies"


@cache
def measured_programs(card: str) -> Mapping[str, Any]:
    """The programs that were timed on a card, by name."""
    with gzip.open(TIMES[card], "rt") as file:
        programs: Mapping[str, Any] = json.load(file)["programs"]
    return programs


def measured_ms(card: str, program: str) -> Counter[str]:
    """Milliseconds of the kernels of a step by their kind."""
    found = measured_programs(card)[program]
    total: Counter[str] = Counter()
    for _, us, stream, name in found["kernels"]:
        if stream not in COPIES_FOR_COLLECTIVES:
            total[_kernel_kind(found["kernel_names"][name])] += us * 1e-3
    return total


def _kernel_kind(name: str) -> str:
    return next((kind for part, kind in _KERNELS if part in name), OTHERS)


def cost_kind(operation: Operation, cost: OperationCost) -> str:
    """The kind of kernels to which an operation belongs."""
    if operation.name.split(".")[1] in _LIST_OPERATORS:
        return LISTS
    return _KINDS.get(cost.kind, OTHERS)


def operations_of_step(program: str) -> Mapping[Operation, int]:
    """The operations of a program's step, and how often each is executed, with cuDNN's attention."""
    with gzip.open(OPERATIONS, "rt") as file:
        rows = json.load(file)[program]
    step: Counter[Operation] = Counter()
    for name, arguments, results, count in rows:
        step[_with_cudnn(Operation(name, arguments, results))] += count
    return step


def _with_cudnn(operation: Operation) -> Operation:
    """What cuDNN's operator would be recorded as; its forward pass has a flag before the one of causality."""
    if "_dot_product_flash_attention" not in operation.name:
        return operation
    name = operation.name.replace("_flash_", "_cudnn_")
    is_forward = "backward" not in name
    return replace(
        operation, name=name, arguments=operation.arguments.replace(", True", ", True, True") if is_forward else operation.arguments
    )


def write(directories: list[str]) -> None:
    """Keep the operations of the second step of these runs."""
    kept: dict[str, list[Any]] = {}
    for directory in map(Path, directories):
        record = RecordStore(directory).read(0)
        assert record is not None, directory
        program = record.program
        issued = [program.instructions[number] for number in program.order[program.step_ends[0] : program.step_ends[1]]]
        counts = Counter(each.operand for each in issued if each.opcode is Opcode.EXECUTE)
        operations = ((program.operations[number], count) for number, count in sorted(counts.items()))
        kept[directory.name] = [[each.name, each.arguments, each.results, count] for each, count in operations]
    OPERATIONS.write_bytes(gzip.compress(json.dumps(kept, separators=(",", ":")).encode(), mtime=0))


if __name__ == "__main__":
    write(sys.argv[1:])
