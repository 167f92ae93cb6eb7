"""A host tensor on a group without a backend for it: torch's exception, and a finding with the way out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from fakerun.records.finding_code import Severity
from tests.in_process import Simulate

GPU_ONLY = "No backend type associated with device type cpu"


def host() -> torch.Tensor:
    return torch.ones(2)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "on the default group": (lambda: dist.all_reduce(host()), "all_reduce on a host tensor in the default process group,"),
    "on a group": (lambda: dist.send(host(), 1, group=dist.new_group([0, 1])), "send on a host tensor in process group of 2 ranks,"),
    "on an axis of a mesh": (
        lambda: dist.broadcast(host(), 0, group=init_device_mesh("cuda", (2, 2), mesh_dim_names=("dp", "tp")).get_group("tp")),
        "broadcast on a host tensor in process group mesh_tp of 2 ranks,",
    ),
    "among others": (lambda: dist.all_gather([host()] * 4, host().cuda()), "all_gather on a host tensor in the default process group,"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_host_tensor_is_a_finding(name: str, simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=4)
    dist.init_process_group("nccl")
    call, says = REFUSED[name]
    with pytest.raises(RuntimeError, match=GPU_ONLY):
        call()
    (finding,) = simulation.seen().findings
    assert (finding.code, finding.severity) == ("cpu-tensor", Severity.ERROR)
    assert finding.message.startswith(f"the script calls {says}")
    assert 'backend="cpu:gloo,cuda:nccl"' in str(finding.hint)
    assert str(finding.call_site).startswith("tests/trace/test_host_tensors.py:")


@pytest.mark.parametrize("backend", ["gloo", "cpu:gloo,cuda:nccl"])
def test_a_host_tensor_on_a_group_for_the_host_is_no_finding(backend: str, simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group(backend)
    dist.all_reduce(host())
    dist.all_gather_object([None, None], "it")
    assert "cpu-tensor" not in [finding.code for finding in simulation.seen().findings]
    assert len(simulation.seen().collectives) == 3


def test_a_tensor_on_another_device_has_no_finding(simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    with pytest.raises(RuntimeError, match="device type meta"):
        dist.all_reduce(torch.ones(2, device="meta"))
    assert not simulation.seen().findings
