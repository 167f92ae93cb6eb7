"""Bytes of each call against torch's own account, `torch.distributed._tools.fake_collectives.CollectiveOp`, for every operator it knows."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed._tools.fake_collectives import CollectiveOp, collective_ops, sync_ops
from torch.utils._python_dispatch import TorchDispatchMode

from fakerun.rank.simulation import Simulation
from tests.trace.seen import watch

SIZE = 2
FUNCTIONAL = torch.ops._c10d_functional


class TorchsAccount(TorchDispatchMode):
    """What torch says of the size of each call that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in collective_ops and func not in sync_ops:
            self.sizes[operator_name(func)] = CollectiveOp.get_comm_tensor_size(func, result, args, kwargs)
        return result


def operator_name(operator: Any) -> str:
    return str(operator).removesuffix(".default")


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(shape, device="cuda")


def group_name() -> str:
    return dist.distributed_c10d._get_default_group().group_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A call, and by what factor torch counts more than fakerun: if it is not 1, why."""

    call: Callable[[], Any]
    factor: Fraction = Fraction(1)
    because: str = ""


SENT_AND_RECEIVED: dict[str, Any] = {
    "factor": Fraction(2),
    "because": "torch adds what is sent and what is received; fakerun takes the larger",
}
RECEIVED_ONLY: dict[str, Any] = {
    "factor": Fraction(1, SIZE),
    "because": "torch counts what is received; what is sent is SIZE times that",
}

CASES: dict[str, Case] = {
    "c10d.allreduce_": Case(call=lambda: dist.all_reduce(ones(8))),
    "c10d.broadcast_": Case(call=lambda: dist.broadcast(ones(8), 0)),
    "c10d.reduce_": Case(call=lambda: dist.reduce(ones(8), 0)),
    "c10d.allgather_": Case(call=lambda: dist.all_gather([ones(8), ones(8)], ones(8))),
    "c10d._allgather_base_": Case(call=lambda: dist.all_gather_into_tensor(ones(16), ones(8))),
    "c10d.reduce_scatter_": Case(call=lambda: dist.reduce_scatter(ones(8), [ones(8), ones(8)])),
    "c10d._reduce_scatter_base_": Case(call=lambda: dist.reduce_scatter_tensor(ones(8), ones(16))),
    "c10d.gather_": Case(call=lambda: dist.gather(ones(8), [ones(8), ones(8)], dst=0)),
    "c10d.scatter_": Case(call=lambda: dist.scatter(ones(8), [ones(8), ones(8)], src=0)),
    "c10d.alltoall_": Case(call=lambda: dist.all_to_all([ones(4), ones(4)], [ones(4), ones(4)])),
    "c10d.alltoall_base_": Case(call=lambda: dist.all_to_all_single(ones(8), ones(6), [4, 4], [2, 4])),
    "c10d.send": Case(call=lambda: dist.send(ones(8), 1)),
    "c10d.recv_": Case(call=lambda: dist.recv(ones(8), 1)),
    "_c10d_functional.all_reduce": Case(call=lambda: FUNCTIONAL.all_reduce(ones(8), "sum", group_name())),
    "_c10d_functional.all_reduce_": Case(call=lambda: FUNCTIONAL.all_reduce_(ones(8), "sum", group_name())),
    "_c10d_functional.all_reduce_coalesced": Case(call=lambda: FUNCTIONAL.all_reduce_coalesced([ones(8), ones(4)], "sum", group_name())),
    "_c10d_functional.all_reduce_coalesced_": Case(call=lambda: FUNCTIONAL.all_reduce_coalesced_([ones(8)], "sum", group_name())),
    "_c10d_functional.broadcast": Case(call=lambda: FUNCTIONAL.broadcast(ones(8), 0, group_name())),
    "_c10d_functional.broadcast_": Case(call=lambda: FUNCTIONAL.broadcast_(ones(8), 0, group_name())),
    "_c10d_functional.all_gather_into_tensor": Case(call=lambda: FUNCTIONAL.all_gather_into_tensor(ones(8), SIZE, group_name())),
    "_c10d_functional.all_gather_into_tensor_coalesced": Case(
        call=lambda: FUNCTIONAL.all_gather_into_tensor_coalesced([ones(8), ones(4)], SIZE, group_name())
    ),
    "_c10d_functional.reduce_scatter_tensor": Case(call=lambda: FUNCTIONAL.reduce_scatter_tensor(ones(8), "sum", SIZE, group_name())),
    "_c10d_functional.reduce_scatter_tensor_coalesced": Case(
        call=lambda: FUNCTIONAL.reduce_scatter_tensor_coalesced([ones(8), ones(4)], "sum", SIZE, group_name()), **RECEIVED_ONLY
    ),
    "_c10d_functional.all_to_all_single": Case(
        call=lambda: FUNCTIONAL.all_to_all_single(ones(8), [4, 4], [4, 4], group_name()), **SENT_AND_RECEIVED
    ),
    "_dtensor.shard_dim_alltoall": Case(
        call=lambda: torch.ops._dtensor.shard_dim_alltoall(ones(8, 8), 0, 1, group_name()), **SENT_AND_RECEIVED
    ),
    "_c10d_functional.batch_p2p_ops": Case(
        call=lambda: FUNCTIONAL.batch_p2p_ops(["isend"], [1], [0], [ones(8)], group_name()),
    ),
}

NOT_MEASURED = {
    "c10d.recv_any_source_": "NCCL has no such call",
    "_c10d_functional.all_gather_into_tensor_out": "torch looks for the output among the positional arguments, where it cannot be",
    "_c10d_functional.reduce_scatter_tensor_out": "torch says that it does not know the operator",
    "_c10d_functional.isend": "torch says that it does not know the operator",
    "_c10d_functional.irecv": "torch says that it does not know the operator",
    **dict.fromkeys(
        (f"_c10d_functional_autograd.{name}" for name in ("all_gather_into_tensor", "all_to_all_single", "reduce_scatter_tensor")),
        "it calls the operator without autograd, which is measured",
    ),
}
"""Operators that torch's account has, and why they are not compared."""

KNOWN = {operator_name(operator) for operator in collective_ops - sync_ops}


@pytest.mark.parametrize("name", sorted(CASES.keys() & KNOWN))
def test_torch_counts_as_many_bytes(name: str, simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    case, account = CASES[name], TorchsAccount()
    with watch(simulation) as seen, account:
        case.call()
    (recorded,) = seen.collectives
    assert account.sizes[name] == recorded.nbytes * case.factor
    assert bool(case.because) == (case.factor != 1)


def test_of_a_view_torch_counts_the_whole_storage(simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    account = TorchsAccount()
    with watch(simulation) as seen, account:
        dist.all_reduce(ones(8)[:2])
    assert (account.sizes["c10d.allreduce_"], seen.collectives[0].nbytes) == (32, 8)


def test_every_operator_that_torch_counts_is_compared() -> None:
    assert CASES.keys() | NOT_MEASURED.keys() >= KNOWN
