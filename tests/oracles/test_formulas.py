"""The formulas against published numbers, against sums done by hand, and against real processes."""

from collections import Counter

import pytest
import torch
from torch._C._distributed_c10d import _compute_bucket_assignment_by_size

from tests.oracles.formulas import Job, fsdp_footprint, parameter_count
from tests.oracles.formulas.ddp import BROADCAST_BYTES, BUCKET_BYTES, FIRST_BUCKET_BYTES, fill_buckets, sizes_in_order_of_gradients
from tests.oracles.formulas.model import chunk_rows
from tests.oracles.programs import PROGRAMS, Program, identity, real_runs, shapes
from tests.shared_results import SharedResults


@pytest.mark.parametrize(("model", "published"), [("8b", 8_030_261_248), ("70b", 70_553_706_496)])
def test_parameter_count_is_the_published_one(model: str, published: int) -> None:
    assert parameter_count(shapes()[model]) == published


@pytest.mark.parametrize(
    ("rows", "parts", "sizes"),
    [(8, 4, [2, 2, 2, 2]), (30, 4, [8, 8, 8, 6]), (6, 4, [2, 2, 2, 0]), (5, 8, [1, 1, 1, 1, 1, 0, 0, 0])],
)
def test_chunks_are_as_large_as_the_first_until_the_rows_run_out(rows: int, parts: int, sizes: list[int]) -> None:
    assert [chunk_rows(rows, parts, index) for index in range(parts)] == sizes


def test_a_bucket_is_closed_once_it_has_reached_its_limit() -> None:
    assert fill_buckets([(2,), (1,), (3,), (4,), (1,)], limits=(4, 16)) == [[(2,)], [(1,), (3,)], [(4,)], [(1,)]]


@pytest.mark.parametrize("limits", [(FIRST_BUCKET_BYTES, BUCKET_BYTES), (BROADCAST_BYTES,)], ids=["gradients", "broadcast"])
def test_buckets_of_a_large_model_are_those_of_torch(limits: tuple[int, ...]) -> None:
    sizes = sizes_in_order_of_gradients(shapes()["1b"])
    tensors = [torch.empty(size, device="meta") for size in sizes]
    indices, _ = _compute_bucket_assignment_by_size(tensors, list(limits), [False] * len(tensors))
    assert fill_buckets(sizes, limits) == [[sizes[index] for index in bucket] for bucket in indices]


def test_8b_on_eight_ranks_divides_evenly() -> None:
    footprint = fsdp_footprint(Job(shape=shapes()["8b"], dp=8, seq_len=8192), rank=0)
    eighth = 8_030_261_248 * 4 // 8
    assert sum(footprint.parameters) == sum(footprint.gradients) == sum(footprint.optimizer_state) // 2 == eighth


@pytest.mark.parametrize("program", [pytest.param(program, id=program.id) for program in PROGRAMS])
def test_a_real_run_communicates_and_holds_what_is_expected_on_every_rank(program: Program, shared_results: SharedResults) -> None:
    recording = shared_results.get("programs", real_runs)[program.id]
    for rank, calls in enumerate(recording.calls):
        assert [identity(call) for call in calls] == program.expected_calls(rank), f"rank {rank}"
    for rank, state in enumerate(recording.states):
        expected = program.expected_footprint(rank)
        for kind in ("parameters", "gradients", "optimizer_state", "step_counts"):
            assert Counter(state[kind]) == Counter(getattr(expected, kind)), f"{kind} of rank {rank}"
