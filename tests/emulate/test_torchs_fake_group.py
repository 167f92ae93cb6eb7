"""The same calls under torch's fake process group on the host and in a simulation on the device have the same outcome."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.distributed._functional_collectives as funcol
from torch._C._distributed_c10d import FakeProcessGroup
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.in_process import simulation_of

dist: Any = torch.distributed  # it re-exports its stores and groups unseen by type checkers
Options: Any = FakeProcessGroup.Options

Call = Callable[[Callable[..., torch.Tensor]], object]
"""A call on tensors that the argument makes: of ones, of a given shape."""


@contextmanager
def fake_group(options: Any = None) -> Iterator[None]:
    hook = sys.excepthook
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2, pg_options=options)
    try:
        yield
    finally:
        dist.destroy_process_group()
        sys.excepthook = hook  # torch leaves its own there


def outcome(call: Call, device: str) -> str:
    """The error, or nothing; operators of the host differ from those of the device in no more than the device."""
    try:
        call(lambda *shape: torch.ones(*shape, device=device))
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return ""


def same_outcome(call: Call, options: Callable[[], Any] = lambda: None) -> str:
    """How the call ends under both, which is the same."""
    with fake_group(options()):
        plain = outcome(call, "cpu")
    with simulation_of()[0], fake_group(options()):
        assert outcome(call, "cuda") == plain
    return plain


def _coalesced(ones: Callable[..., torch.Tensor]) -> None:
    with dist._coalescing_manager():
        dist.all_reduce(ones(2))


CALLS: dict[str, Call] = {
    "all_reduce": lambda ones: dist.all_reduce(ones(3)),
    "all_reduce_coalesced": lambda ones: dist.all_reduce_coalesced([ones(3), ones(2)]),
    "all_gather": lambda ones: dist.all_gather([ones(3), ones(3)], ones(3)),
    "all_gather_coalesced": lambda ones: dist.all_gather_coalesced([[ones(3), ones(2)], [ones(3), ones(2)]], [ones(3), ones(2)]),
    "all_gather_into_tensor": lambda ones: dist.all_gather_into_tensor(ones(6), ones(3)),
    "reduce_scatter": lambda ones: dist.reduce_scatter(ones(3), [ones(3), ones(3)]),
    "reduce_scatter_tensor": lambda ones: dist.reduce_scatter_tensor(ones(3), ones(6)),
    "coalescing": _coalesced,
    "reduce": lambda ones: dist.reduce(ones(3), 0),
    "broadcast": lambda ones: dist.broadcast(ones(3), 0),
    "scatter": lambda ones: dist.scatter(ones(3), [ones(3), ones(3)]),
    "gather": lambda ones: dist.gather(ones(3), [ones(3), ones(3)]),
    "all_to_all": lambda ones: dist.all_to_all([ones(3), ones(3)], [ones(3), ones(3)]),
    "all_to_all_single": lambda ones: dist.all_to_all_single(ones(4), ones(4)),
    "send": lambda ones: dist.send(ones(3), 1),
    "isend": lambda ones: dist.isend(ones(3), 1).wait(),
    "recv": lambda ones: dist.recv(ones(3), 1),
    "barrier": lambda ones: dist.barrier(),
    "objects": lambda ones: dist.broadcast_object_list([1], 0),
    "functional": lambda ones: funcol.all_reduce(ones(3), "sum", dist.group.WORLD),
    "a further group": lambda ones: dist.all_reduce(ones(3), group=dist.new_group([0, 1])),
}


@pytest.mark.parametrize("call", CALLS)
def test_calls_succeed(call: str) -> None:
    assert same_outcome(CALLS[call]) == ""


def _refusing() -> Any:
    options = Options()
    options.error_on_collective = True
    return options


@pytest.mark.parametrize("call", CALLS)
def test_a_group_with_error_on_collective_refuses_collectives(call: str) -> None:
    refused = same_outcome(CALLS[call], _refusing)
    one_to_one = call in ("send", "isend", "recv", "a further group")
    assert refused == ("" if one_to_one else "RuntimeError: FakeProcessGroup collective operation error (error_on_collective=true)")


WRONG_LISTS: dict[str, Call] = {
    "too few to reduce_scatter": lambda ones: dist.reduce_scatter(ones(3), [ones(3)]),
    "too few to scatter": lambda ones: dist.scatter(ones(3), [ones(3)]),
    "too few to gather into": lambda ones: dist.gather(ones(3), [ones(3)]),
    "too few in all_to_all": lambda ones: dist.all_to_all([ones(3), ones(3)], [ones(3)]),
    "too few out of all_to_all": lambda ones: dist.all_to_all([ones(3)], [ones(3), ones(3)]),
    "too many splits": lambda ones: dist.all_to_all_single(ones(4), ones(4), [1, 1, 2], [2, 2]),
    "splits of less": lambda ones: dist.all_to_all_single(ones(4), ones(4), [1, 1], [2, 2]),
    "too few ranks in all_gather_coalesced": lambda ones: dist.all_gather_coalesced([[ones(3)]], [ones(3)]),
    "a short rank in all_gather_coalesced": lambda ones: dist.all_gather_coalesced([[ones(3), ones(2)], [ones(3)]], [ones(3), ones(2)]),
}


@pytest.mark.parametrize("call", WRONG_LISTS)
@pytest.mark.skipif(torch.__version__ < "2.13", reason="torch 2.11's fake process group does not look at the lists")
def test_lists_of_the_wrong_length_are_refused_as_torch_refuses_them(call: str) -> None:
    assert same_outcome(WRONG_LISTS[call])


@pytest.mark.parametrize("call", WRONG_LISTS)
def test_lists_of_the_wrong_length_are_refused(call: str) -> None:
    with simulation_of()[0], fake_group():
        assert re.match("RuntimeError: .*(size|length)", outcome(WRONG_LISTS[call], "cuda"))


GROUP_CALLS: dict[str, tuple[Callable[[Any, Callable[..., torch.Tensor]], Any], str]] = {
    "allreduce": (lambda group, ones: group.allreduce([ones(3)]), "all_reduce"),
    "allreduce with options": (lambda group, ones: group.allreduce([ones(3)], dist.AllreduceOptions()), "all_reduce"),
    "broadcast": (lambda group, ones: group.broadcast([ones(3)], dist.BroadcastOptions()), "broadcast"),
    "reduce": (lambda group, ones: group.reduce([ones(3)], dist.ReduceOptions()), "reduce"),
    "allgather": (lambda group, ones: group.allgather([[ones(3), ones(3)]], [ones(3)]), "all_gather"),
    "_allgather_base": (lambda group, ones: group._allgather_base(ones(6), ones(3)), "all_gather_into_tensor"),
    "reduce_scatter": (lambda group, ones: group.reduce_scatter([ones(3)], [[ones(3), ones(3)]]), "reduce_scatter"),
    "_reduce_scatter_base": (lambda group, ones: group._reduce_scatter_base(ones(3), ones(6)), "reduce_scatter_tensor"),
    "scatter": (lambda group, ones: group.scatter([ones(3)], [[ones(3), ones(3)]], dist.ScatterOptions()), "scatter"),
    "gather": (lambda group, ones: group.gather([[ones(3), ones(3)]], [ones(3)], dist.GatherOptions()), "gather"),
    "alltoall": (lambda group, ones: group.alltoall([ones(3), ones(3)], [ones(3), ones(3)]), "all_to_all"),
    "alltoall_base": (lambda group, ones: group.alltoall_base(ones(4), ones(4), [], []), "all_to_all_single"),
    "send": (lambda group, ones: group.send([ones(3)], 1, 0), "send"),
    "recv": (lambda group, ones: group.recv([ones(3)], 1, 0), "recv"),
    "barrier": (lambda group, ones: group.barrier(), "barrier"),
}


@pytest.mark.parametrize("call", GROUP_CALLS)
def test_the_group_itself_may_be_called(call: str) -> None:
    run, op = GROUP_CALLS[call]
    with simulation_of()[0] as simulation, fake_group():
        assert run(dist.group.WORLD, lambda *shape: torch.ones(*shape, device="cuda")).wait()
        (record,) = simulation.record(None).collectives
    assert (record.op, record.group) == (op, "world")


def test_a_fake_group_may_be_created_without_registration() -> None:
    with simulation_of()[0]:
        made: Any = FakeProcessGroup._create_internal(1, 4)  # type: ignore[call-arg]
        gathered = [torch.zeros(2) for _ in range(4)]
        made.allgather([gathered], [torch.ones(2)]).wait()
        assert (made.rank(), made.size(), [part.tolist() for part in gathered]) == (1, 4, [[1.0, 1.0]] * 4)


HOST_RESULTS: dict[str, tuple[Callable[[torch.Tensor], object], list[float]]] = {
    "all_reduce": (lambda out: dist.all_reduce(out.copy_(torch.ones(4))), [2, 2, 2, 2]),
    "broadcast own": (lambda out: dist.broadcast(out.copy_(torch.ones(4)), 0), [1, 1, 1, 1]),
    "all_gather": (lambda out: dist.all_gather(list(out.chunk(2)), torch.arange(2.0)), [0, 1, 0, 1]),
    "all_gather_into_tensor": (lambda out: dist.all_gather_into_tensor(out, torch.arange(2.0)), [0, 1, 0, 1]),
    "gather": (lambda out: dist.gather(torch.arange(2.0), list(out.chunk(2))), [0, 1, 0, 1]),
    "scatter": (lambda out: dist.scatter(out[:2], [torch.arange(2.0), torch.ones(2)]), [0, 1, 0, 0]),
    "all_to_all": (lambda out: dist.all_to_all(list(out.chunk(2)), [torch.arange(2.0), torch.ones(2)]), [0, 1, 0, 1]),
    "reduce_scatter_tensor": (lambda out: dist.reduce_scatter_tensor(out[:2], torch.arange(4.0)), [0, 2, 0, 0]),
}
"""Every rank is taken to be like this one: what a rank sends to rank 0 is what rank 0 sends to itself."""


@pytest.mark.parametrize("call", HOST_RESULTS)
def test_host_tensors_get_what_like_ranks_would_send(call: str) -> None:
    run, expected = HOST_RESULTS[call]
    out = torch.zeros(4)
    with simulation_of()[0], fake_group():
        run(out)
    assert out.tolist() == expected
