"""The recorder: it misses nothing, it counts nothing twice, and torch's own tool counts the same."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.oracles.programs import PROGRAMS
from tests.oracles.recorder import OPERATORS
from tests.oracles.torchrun import RECORDER, RecordedCall, read_recording, torchrun

EVERY_CALL = Path(__file__).with_name("every_call.py")
UNDER_COMM_DEBUG_MODE = Path(__file__).with_name("under_comm_debug_mode.py")


def test_every_communicating_operator_of_torch_is_watched() -> None:
    import torch

    names = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("c10d::")}
    communicating = {name.removeprefix("c10d::") for name in names if "ProcessGroup process_group" in str(torch._C._get_schema(name, ""))}
    assert communicating == set(OPERATORS)


# op, dtype, input sizes, output sizes; then, where it has them, reduce_op and root or peer
EVERY_CALL_OF_RANK_1 = """
    all_reduce             float32 [2]     [2]     max
    all_gather             float32 [1]     [1] [1]
    all_gather_into_tensor float32 [1]     [2]
    reduce                 float32 [2]     [2]     sum 1
    reduce_scatter         float32 [1] [1] [1]     sum
    reduce_scatter_tensor  float32 [2]     [1]     sum
    broadcast              float32 [2]     [2]     1
    scatter                float32 [1] [1] [1]     1
    gather                 float32 [1]     [1] [1] 1
    all_to_all_single      float32 [2]     [2]
    barrier                -
"""


def shown(call: RecordedCall) -> str:
    """A call in one line: what it is, what goes in, what comes out, and what else it has."""
    sizes = f"{[list(size) for size in call.input_sizes]} -> {[list(size) for size in call.output_sizes]}"
    details = {"reduce_op": call.reduce_op, "root": call.root, "peer": call.peer}
    extra = "".join(f" {name}={value}" for name, value in details.items() if value is not None)
    return f"{call.op} {call.dtype} {sizes}{extra}"


@pytest.fixture(scope="module")
def every_call(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[RecordedCall, ...], ...]:
    directory = tmp_path_factory.mktemp("every_call")
    result = torchrun(2, RECORDER, str(directory), str(EVERY_CALL))
    assert "told to fail" in result.stderr
    return read_recording(directory, nproc=2).calls
