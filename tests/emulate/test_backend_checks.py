"""Collective calls that c10d or NCCL rejects before anything is sent are rejected with the same messages."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as functional

from fakerun.errors import is_script_error
from fakerun.rank.simulation import Simulation


def on_gpu(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype, device="cuda")


def torchs_own(error: BaseException) -> bool:
    """Whether torch's code raised it."""
    return raised_in(error).startswith(str(Path(torch.__file__).parent))


def raised_in(error: BaseException) -> str:
    return traceback.extract_tb(error.__traceback__)[-1].filename


NO_BACKEND = "No backend type associated with device type cpu"
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a host tensor": (lambda: dist.all_reduce(torch.ones(2)), RuntimeError, NO_BACKEND),
    "a host tensor among others": (lambda: dist.all_gather([torch.ones(2), torch.ones(2)], on_gpu(2)), RuntimeError, NO_BACKEND),
    "gathered into too little": (
        lambda: dist.all_gather_into_tensor(on_gpu(3), on_gpu(2)),
        ValueError,
        "output tensor size must be equal to world_size times input tensor size",
    ),
    "gathered into another dtype": (
        lambda: dist.all_gather_into_tensor(on_gpu(4, dtype=torch.bfloat16), on_gpu(2)),
        TypeError,
        "output tensor must have the same type as input tensor",
    ),
    "scattered unevenly": (
        lambda: dist.reduce_scatter_tensor(on_gpu(3), on_gpu(7)),
        ValueError,
        "input tensor must be the same size as output size times world size",
    ),
    "scattered into another dtype": (
        lambda: dist.reduce_scatter_tensor(on_gpu(2, dtype=torch.bfloat16), on_gpu(4)),
        TypeError,
        "input tensor must be the same type as the output tensor.",
    ),
    "a list gathered into too little": (
        lambda: dist.all_gather([on_gpu(1), on_gpu(1)], on_gpu(2)),
        ValueError,
        "output tensor size must be equal to world_size times input tensor size",
    ),
    "a list of too few": (lambda: dist.all_gather([on_gpu(2)], on_gpu(2)), ValueError, "output tensor size must be equal to"),
    "parts of several sizes, the own one wrong": (
        lambda: dist.all_gather([on_gpu(3), on_gpu(1)], on_gpu(2)),
        ValueError,
        "Tensor input and output of _broadcast_oop must have the same number of elements",
    ),
    "a list of several dtypes": (
        lambda: dist.all_gather([on_gpu(2), on_gpu(2, dtype=torch.int32)], on_gpu(2)),
        ValueError,
        "Invalid usage of tensors with different dtypes",
    ),
    "no tensor": (lambda: dist.all_reduce([on_gpu(2)]), TypeError, "Invalid function argument"),
    "a list scattered into too much": (
        lambda: dist.reduce_scatter(on_gpu(3), [on_gpu(2), on_gpu(2)]),
        ValueError,
        "input tensor must be the same size as output size times world size",
    ),
    "a short list scattered": (lambda: dist.reduce_scatter(on_gpu(2), [on_gpu(2)]), ValueError, "input tensor must be the same size"),
    "scattered parts of several sizes, the own one wrong": (
        lambda: dist.reduce_scatter(on_gpu(2), [on_gpu(3), on_gpu(2)]),
        ValueError,
        "Tensor input and output of _reduce_oop must have the same number of elements",
    ),
    "strided": (lambda: dist.all_reduce(on_gpu(4, 4)[:, :2]), ValueError, "Tensors must be contiguous"),
    "strided, broadcast": (lambda: dist.broadcast(on_gpu(4, 3).t(), 0), ValueError, "Tensors must be contiguous"),
    "strided, gathered into": (
        lambda: dist.all_gather_into_tensor(on_gpu(4, 2).t(), on_gpu(2, 2)),
        ValueError,
        "Tensors must be contiguous",
    ),
    "a dtype that NCCL lacks": (
        lambda: dist.all_reduce(on_gpu(2, dtype=torch.int16)),
        TypeError,
        "Input tensor data type is not supported for NCCL process group: Short",
    ),
    "a dtype that NCCL lacks, sent": (lambda: dist.send(on_gpu(2, dtype=torch.uint32), 1), TypeError, "NCCL process group: UInt32"),
    "bits": (lambda: dist.all_reduce(on_gpu(2, dtype=torch.int32), dist.ReduceOp.BXOR), ValueError, "Cannot use ReduceOp.BXOR with NCCL"),
    "the average of truth values": (
        lambda: dist.all_reduce(on_gpu(2, dtype=torch.bool), dist.ReduceOp.AVG),
        TypeError,
        "Cannot use ReduceOp.AVG with boolean inputs",
    ),
    "the greatest complex number": (
        lambda: dist.all_reduce(on_gpu(2, dtype=torch.complex64), dist.ReduceOp.MAX),
        ValueError,
        "all_reduce does not support .* on complex tensors",
    ),
    "the average of truth values, scattered": (
        lambda: dist.reduce_scatter_tensor(on_gpu(1, dtype=torch.bool), on_gpu(2, dtype=torch.bool), dist.ReduceOp.AVG),
        TypeError,
        "Cannot use ReduceOp.AVG with boolean inputs",
    ),
    "from a rank that is not": (lambda: dist.broadcast(on_gpu(2), 5), dist.DistBackendError, "Broadcast : invalid root 5"),
    "from a rank that is not in the group": (
        lambda: dist.broadcast(on_gpu(2), group_src=5),
        dist.DistBackendError,
        "invalid root 5 \\(root should be in the 0..2 range\\)",
    ),
    "gathered by a rank that is not in the group": (
        lambda: dist.gather(on_gpu(2), None, group_dst=7),
        ValueError,
        "ProcessGroupNCCL::gather: invalid root rank: 7",
    ),
    "to itself": (lambda: dist.send(on_gpu(2), 0), ValueError, "Invalid destination rank"),
    "from anybody": (lambda: dist.recv(on_gpu(2)), NotImplementedError, "ProcessGroupNCCL does not support recvAnysource"),
    "gathered into a short list": (
        lambda: dist.gather(on_gpu(2), [on_gpu(2)], dst=0),
        ValueError,
        "gather: Incorrect output list size 1. Output list size should be 2, same as size of the process group.",
    ),
    "gathered into other sizes": (
        lambda: dist.gather(on_gpu(2), [on_gpu(2), on_gpu(3)], dst=0),
        ValueError,
        r"gather: invalid tensor size at index 1 \(expected \[2\], got \[3\]\)",
    ),
    "gathered into nothing": (
        lambda: dist.gather(on_gpu(2), None, dst=0),
        ValueError,
        "must be specified on destination",
    ),
    "scattered from a long list": (
        lambda: dist.scatter(on_gpu(2), [on_gpu(2)] * 3, src=0),
        ValueError,
        "scatter: Incorrect input list size 3. Input list size should be 2",
    ),
    "exchanged with too few": (
        lambda: dist.all_to_all([on_gpu(1)], [on_gpu(1)]),
        dist.DistBackendError,
        "ncclInvalidArgument: Invalid value for an argument",
    ),
    "exchanged, uneven": (
        lambda: dist.all_to_all_single(on_gpu(3), on_gpu(3)),
        RuntimeError,
        "Tensor's dim 0 does not divide equally across group size",
    ),
    "exchanged, several sizes": (
        lambda: dist.all_to_all_single(on_gpu(2), on_gpu(4)),
        RuntimeError,
        "Input and output tensors must have same size",
    ),
    "splits that do not add up": (
        lambda: dist.all_to_all_single(on_gpu(4), on_gpu(4), [2, 2], [1, 2]),
        RuntimeError,
        "Split sizes doesn't match total dim 0 size",
    ),
    "too many splits": (
        lambda: dist.all_to_all_single(on_gpu(4), on_gpu(4), [2, 2], [1, 2, 1]),
        RuntimeError,
        "Number of tensor splits not equal to group size",
    ),
    "functional splits that do not add up": (
        lambda: functional.all_to_all_single(on_gpu(4), [2, 2], [1, 2], dist.group.WORLD),  # type: ignore[arg-type]
        RuntimeError,
        "Split sizes doesn't match total dim 0 size",
    ),
    "functionally scattered unevenly": (
        lambda: functional.reduce_scatter_tensor(on_gpu(3), "sum", 0, dist.group.WORLD),  # type: ignore[arg-type]
        Exception,
        "input dimension 0 \\(3 must be a multiple of group_size 2",
    ),
    "a functional average of truth values": (
        lambda: functional.all_reduce(on_gpu(2, dtype=torch.bool), "avg", dist.group.WORLD),  # type: ignore[arg-type]
        TypeError,
        "Cannot use ReduceOp.AVG with boolean inputs",
    ),
    "coalesced lists": (
        lambda: dist.all_gather_coalesced([[on_gpu(2)], [on_gpu(2)]], [on_gpu(2)]),
        NotImplementedError,
        "ProcessGroupNCCL does not support allgather_coalesced",
    ),
    "gloo's barrier": (lambda: dist.monitored_barrier(), Exception, r"monitored_barrier .*GLOO"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_in_a_real_run(name: str, simulation: Simulation) -> None:
    call, error, message = REFUSED[name]
    dist.init_process_group("nccl")
    with pytest.raises(error, match=message) as raised:
        call()
    assert is_script_error(raised.value) or torchs_own(raised.value)
    assert not simulation.record(None).collectives


def test_host_tensors_travel_where_there_is_a_backend_for_them(simulation: Simulation) -> None:
    dist.init_process_group("cpu:gloo,cuda:nccl")
    dist.all_reduce(torch.ones(2))
    dist.all_reduce(on_gpu(2))
    dist.all_reduce(torch.ones(2), group=dist.new_group([0, 1], backend="gloo"))
    assert len(simulation.record(None).collectives) == 3


def test_objects_are_sent_over_every_backend(simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    gathered: list[Any] = [None, None]
    dist.gather_object("it", gathered)
    assert gathered == ["it", "it"]
    with pytest.raises(RuntimeError, match=NO_BACKEND):
        dist.broadcast(torch.ones(2), src=0)


def on_host(*shape: int) -> torch.Tensor:
    return torch.ones(shape)


REFUSED_BY_GLOO: dict[str, tuple[Callable[[], Any], str]] = {
    "gathered into too few": (
        lambda: dist.all_gather([on_host(3)], on_host(3)),
        "ProcessGroupGloo::allgather: invalid output tensor list at index 0 (expected length 2, got 1)",
    ),
    "reduced from too few": (lambda: dist.reduce_scatter(on_host(3), [on_host(3)]), "invalid input tensor list size, must be world size"),
    "scattered from too few": (
        lambda: dist.scatter(on_host(3), [on_host(3)]),
        "ProcessGroupGloo::scatter: Incorrect input list size 1. Input list size should be 2, same as size of the process group.",
    ),
    "gathered by the root into too few": (
        lambda: dist.gather(on_host(3), [on_host(3)]),
        "ProcessGroupGloo::gather: Incorrect output list size 1. Output list size should be 2, same as size of the process group.",
    ),
    "exchanged with too few": (
        lambda: dist.all_to_all([on_host(3)], [on_host(3)]),
        "ProcessGroupGloo::alltoall: input tensor list size 1 does not match world size 2",
    ),
    "exchanged in too many parts": (
        lambda: dist.all_to_all_single(on_host(4), on_host(4), [1, 1, 2], [2, 2]),
        "Number of tensor splits not equal to group size",
    ),
    "coalesced lists for too few ranks": (
        lambda: dist.all_gather_coalesced([[on_host(3)]], [on_host(3)]),
        "ProcessGroupGloo::allgather_coalesced: output lists should be equal to world size",
    ),
    "a coalesced list with too few": (
        lambda: dist.all_gather_coalesced([[on_host(3), on_host(2)], [on_host(3)]], [on_host(3), on_host(2)]),
        "ProcessGroupGloo::allgather_coalesced: invalid output size: (expected length 2, got 1)",
    ),
}
"""What gloo said under torchrun, torch 2.13."""


@pytest.mark.parametrize("name", REFUSED_BY_GLOO)
def test_refused_as_by_gloo(name: str, simulation: Simulation) -> None:
    call, message = REFUSED_BY_GLOO[name]
    dist.init_process_group("gloo")
    with pytest.raises(RuntimeError) as raised:
        call()
    assert str(raised.value) == message
    assert is_script_error(raised.value)
    assert not simulation.record(None).collectives
