"""A call on a group that the rank is not in acts as in torch: a warning or an exception. The warning is a finding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import _functional_collectives as functional
from torch.nn.parallel import DistributedDataParallel

from fakerun.records.finding_code import Severity
from tests.in_process import Simulate

THE_WARNING = r"^Running {} on global rank 0 which does not belong to the given group\.$"


def ones() -> torch.Tensor:
    return torch.ones(4, device="cuda")


def in_a_batch(group: Any) -> dist.P2POp:
    return dist.P2POp(dist.irecv, ones(), 1, group=group)


DOES_NOTHING: dict[str, Callable[[Any], Any]] = {
    "all_reduce": lambda group: dist.all_reduce(ones(), group=group),
    "broadcast": lambda group: dist.broadcast(ones(), 1, group=group),
    "barrier": lambda group: dist.barrier(group),
    "isend": lambda group: dist.isend(ones(), 1, group=group),
    "irecv": lambda group: dist.batch_isend_irecv([in_a_batch(group)]),
    "all_gather_object": lambda group: dist.all_gather_object([None, None], "it", group=group),
    "broadcast_object_list": lambda group: dist.broadcast_object_list([None], 1, group=group),
}
"""By the name that torch gives the call."""


@pytest.mark.parametrize("name", DOES_NOTHING)
def test_a_call_that_does_nothing_is_a_finding(name: str, simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=4)
    dist.init_process_group("nccl")
    group = dist.new_group([1, 2])
    with pytest.warns(UserWarning, match=THE_WARNING.format(name)) as warned:
        DOES_NOTHING[name](group)
    assert [warning.filename for warning in warned] == [dist.distributed_c10d.__file__]
    seen = simulation.seen()
    assert not seen.collectives
    (finding,) = seen.findings
    assert (finding.code, finding.severity, finding.ranks) == ("non-member", Severity.WARNING, (0,))
    assert finding.message.startswith(f"{name} is called on a group that does not contain this rank")
    assert str(finding.call_site).startswith("tests/trace/test_non_members.py:")


RAISES: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "a functional collective": (lambda group: functional.all_reduce(ones(), "sum", group), ValueError, "Unsupported group type"),
    "DDP": (lambda group: DistributedDataParallel(nn.Linear(4, 4).cuda(), process_group=group), TypeError, "incompatible function"),
}


@pytest.mark.parametrize("name", RAISES)
def test_a_call_that_raises_raises_as_torch_does(name: str, simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=4)
    dist.init_process_group("nccl")
    group = dist.new_group([1, 2])
    call, kind, says = RAISES[name]
    with pytest.raises(kind, match=says) as raised:
        call(group)
    assert Path(raised.traceback[-1].path).is_relative_to(Path(torch.__file__).parent)
    assert not simulation.seen().collectives
    assert not simulation.seen().findings
