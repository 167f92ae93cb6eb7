"""The recorder: it misses nothing, it counts nothing twice, and torch's own tool counts the same."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from tests.oracles.programs import PROGRAMS
from tests.oracles.recorder import OPERATORS
from tests.oracles.torchrun import RECORDER, RecordedCall, read_recording, torchrun, torchrun_that_forks

EVERY_CALL = Path(__file__).with_name("every_call.py")
UNDER_COMM_DEBUG_MODE = Path(__file__).with_name("under_comm_debug_mode.py")


def test_every_communicating_operator_of_torch_is_watched() -> None:
    names = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("c10d::")}
    communicating = {name.removeprefix("c10d::") for name in names if "ProcessGroup process_group" in str(torch._C._get_schema(name, ""))}
    assert communicating <= set(OPERATORS)


EVERY_CALL_OF_RANK_1 = """
all_reduce float32 [2] -> [2] reduce_op=max
all_gather float32 [1] -> [1] [1]
all_gather_into_tensor float32 [1] -> [2]
reduce float32 [2] -> [2] reduce_op=sum root=1
reduce_scatter float32 [1] [1] -> [1] reduce_op=sum
reduce_scatter_tensor float32 [2] -> [1] reduce_op=sum
broadcast float32 [2] -> [2] root=1
scatter float32 [1] [1] -> [1] root=1
gather float32 [1] -> [1] [1] root=1
all_to_all_single float32 [2] -> [2]
barrier None ->
all_reduce float32 [2] -> [2] reduce_op=sum
recv int64 -> [3] peer=0
send int64 [3] -> peer=0
all_gather int64 [1] -> [1] [1]
broadcast int64 [4] -> [4] root=0
broadcast float32 [2] -> [2] root=0
all_reduce float32 [2] -> [2] reduce_op=sum
""".strip().splitlines()

DIFFERENT_ON_RANK_0 = {
    "scatter float32 [1] [1] -> [1] root=1": "scatter float32 -> [1] root=1",
    "gather float32 [1] -> [1] [1] root=1": "gather float32 [1] -> root=1",
    "recv int64 -> [3] peer=0": "send int64 [3] -> peer=1",
    "send int64 [3] -> peer=0": "recv int64 -> [3]",  # from anyone, and the call does not tell from whom
}


def shown(call: RecordedCall) -> str:
    """A call in one line: what it is, what goes in, what comes out, and what else it has."""
    details = {"reduce_op": call.reduce_op, "root": call.root, "peer": call.peer}
    words = [call.op, call.dtype, *map(list, call.input_sizes), "->", *map(list, call.output_sizes)]
    return " ".join([*map(str, words), *(f"{name}={value}" for name, value in details.items() if value is not None)])


def test_every_kind_of_call_is_written_once_even_if_the_script_fails(tmp_path: Path) -> None:
    result = torchrun(2, str(RECORDER), str(tmp_path), str(EVERY_CALL))
    assert result.returncode != 0
    assert "fails on purpose" in result.stderr
    rank_0, rank_1 = read_recording(tmp_path, nproc=2).calls
    assert [shown(call) for call in rank_1] == EVERY_CALL_OF_RANK_1
    assert [shown(call) for call in rank_0] == [DIFFERENT_ON_RANK_0.get(line, line) for line in EVERY_CALL_OF_RANK_1]
    assert {call.group_ranks for call in rank_0 + rank_1} == {(0, 1)}


# How CommDebugMode names what the programs use: DTensor's functional collectives, and c10d's operators below FSDP.
COMM_DEBUG_NAMES = {
    "c10d_functional.all_reduce": "all_reduce",
    "c10d_functional.all_gather_into_tensor": "all_gather_into_tensor",
    "c10d_functional.reduce_scatter_tensor": "reduce_scatter_tensor",
    "c10d._allgather_base_": "all_gather_into_tensor",
    "c10d._reduce_scatter_base_": "reduce_scatter_tensor",
}


def test_comm_debug_mode_counts_the_same(tmp_path: Path) -> None:
    # One step, because in a second forward CommDebugMode's tracker of modules raises IndexError (torch 2.13).
    program = replace(next(program for program in PROGRAMS if program.id == "tp-fsdp-full-checkpointing"), steps=1)
    result = torchrun_that_forks(
        4, str(RECORDER), str(tmp_path), str(UNDER_COMM_DEBUG_MODE), str(tmp_path), str(program.path), *program.args
    )
    assert result.returncode == 0, result.stderr
    for rank, calls in enumerate(read_recording(tmp_path, nproc=4).calls):
        counted: Counter[str] = Counter()
        for name, count in json.loads((tmp_path / f"rank_{rank}.counts.json").read_text()).items():
            counted[COMM_DEBUG_NAMES[name]] += count
        assert counted == Counter(call.op for call in calls), f"rank {rank}"
