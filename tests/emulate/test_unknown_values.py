"""Values of device tensors that a script reads: exact if they follow from the host, else placeholders with a note."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._functional_collectives import all_gather_tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from fakerun.emulate.cluster.contributions import Contribution, decode, encode
from fakerun.emulate.device.known_values import UNWRITTEN
from fakerun.rank.simulation import Simulation

KNOWN: dict[str, tuple[Callable[[], Any], Any]] = {
    "from the host": (lambda: torch.tensor(5, device="cuda").item(), 5),
    "copied from the host": (lambda: torch.arange(4).cuda().tolist(), [0, 1, 2, 3]),
    "there and back": (lambda: torch.tensor([1.5, 2.5]).to("cuda").cpu().tolist(), [1.5, 2.5]),
    "made on the device": (lambda: torch.zeros(3, device="cuda").tolist(), [0.0, 0.0, 0.0]),
    "arithmetic": (lambda: (torch.tensor([2, 3], device="cuda") * 2 + 1).tolist(), [5, 7]),
    "a view": (lambda: torch.arange(6).cuda().view(2, 3)[1, 2].item(), 5),
    "a transposed view": (lambda: torch.arange(6).view(2, 3).cuda().t().contiguous().tolist(), [[0, 3], [1, 4], [2, 5]]),
    "changed in place": (lambda: torch.zeros(2, device="cuda").add_(1).tolist(), [1.0, 1.0]),
    "changed through a view": (lambda: _changed_through_view(), [0, 9, 2]),
    "a host scalar mixed in": (lambda: (torch.tensor([1, 2], device="cuda") + torch.tensor(10)).tolist(), [11, 12]),
    "a branch": (lambda: bool((torch.tensor([3, 1], device="cuda") > 2).any()), True),
    "a comparison of tensors": (lambda: torch.equal(torch.ones(2, device="cuda"), torch.ones(2, device="cuda")), True),
    "overwritten": (lambda: torch.randn(2, device="cuda").fill_(3).zero_().tolist(), [0.0, 0.0]),
    "put together from parts": (lambda: _put_together(), [7, 8, 9]),
    "an inverse permutation": (lambda: _inverse(torch.tensor([2, 0, 1], device="cuda")), [1, 2, 0]),
    "into `out=`": (lambda: _cumulative_lengths([2, 3]), [0, 2, 5]),
    "a list of device scalars": (lambda: torch.tensor([torch.tensor(5, device="cuda"), 3]).tolist(), [5, 3]),
    "a nested list, brought back": (lambda: torch.as_tensor([[torch.tensor(5.0).cuda()], [2]], device="cuda").tolist(), [[5.0], [2.0]]),
    "a new tensor of device scalars": (lambda: torch.ones(1, device="cuda").new_tensor([torch.tensor(5).cuda()]).tolist(), [5.0]),
    "beside a part that is not known": (lambda: _with_unknown_first(torch.zeros(3, device="cuda"))[1:].tolist(), [0.0, 0.0]),
    "a large index": (lambda: torch.arange(2**20, device="cuda")[-1].item(), 2**20 - 1),
    "a batch of tokens": (lambda: (torch.arange(2**20).cuda() == 5).nonzero().item(), 5),
    "large and the same everywhere": (lambda: torch.ones(2**12, 2**12, dtype=torch.bool, device="cuda")[3, 5].item(), True),
    "a histogram of integers": (lambda: torch.histc(torch.tensor([0, 1, 1, 3], device="cuda"), 4, 0, 3).tolist(), [1, 2, 0, 1]),
    "one-hot": (lambda: nn.functional.one_hot(torch.tensor([0, 2], device="cuda"), 3).tolist(), [[1, 0, 0], [0, 0, 1]]),
    "repeated by known counts": (lambda: torch.randn(2, 4, device="cuda").repeat_interleave(torch.tensor([2, 1]).cuda(), 0).shape[0], 3),
    "unknown values selected by a known mask": (lambda: torch.randn(3, device="cuda").masked_select(_mask(3)).shape[0], 2),
    "unknown values split by known sizes": (lambda: [len(x) for x in torch.randn(5, device="cuda").split(_sizes())], [2, 3]),
    "which documents may see each other": (lambda: _same_document([2, 3, 1]).sum().item(), 14),
    "sorted": (lambda: torch.tensor([3, 1, 2], device="cuda").argsort(stable=True).tolist(), [1, 2, 0]),
    "distinct": (lambda: torch.unique(torch.tensor([3, 1, 1], device="cuda"), return_counts=True)[1].tolist(), [2, 1]),
    "the step of a fused optimizer": (lambda: _step_of_adamw(), 1.0),
    "gathered into parts": (lambda: _gathered_into_parts(), [1, 2, 1, 2]),
    "several gathered at once": (lambda: _several_gathered_at_once(), [[[5], [6, 7]], [[5], [6, 7]]]),
    "waited for": (lambda: all_gather_tensor(torch.arange(2, device="cuda"), 0, _world()).tolist(), [0, 1, 0, 1]),
    "sharded": (lambda: _sharded(torch.arange(4)).to_local().tolist(), [0, 1]),
    "chosen by known scores": (lambda: torch.tensor([1.0, 3.0, 2.0], device="cuda").topk(2).indices.tolist(), [1, 2]),
    "nonzero": (lambda: torch.tensor([0, 7, 0, 8], device="cuda").nonzero().flatten().tolist(), [1, 3]),
    "boolean mask": (lambda: _masked().shape[0], 2),
    "summed over two equal ranks": (lambda: _all_reduced(torch.tensor(3, device="cuda")), 6),
    "truth summed over two equal ranks": (lambda: _all_reduced(torch.tensor([True, False], device="cuda")), [True, False]),
}

UNKNOWN: dict[str, tuple[Callable[[], Any], Any]] = {
    "float": (lambda: torch.randn(3, device="cuda").sum().item(), 1.0),
    "int": (lambda: torch.randint(9, (), device="cuda").item(), 1),
    "bool": (lambda: bool((torch.randn((), device="cuda") > 0).item()), False),
    "uninitialised, like a known one": (lambda: torch.empty_like(torch.tensor(5, device="cuda")).item(), 1),
    "a list of unknown scalars": (lambda: torch.tensor([[torch.randn(3, device="cuda").norm()]]).item(), 1.0),
    "a part that is not known": (lambda: _with_unknown_first(torch.zeros(3, device="cuda"))[0].item(), 1.0),
    "changed by a custom operator": (lambda: _changed_by_custom_operator(torch.zeros(2, device="cuda")).tolist(), [1.0, 1.0]),
    "uninitialised": (lambda: torch.empty((), device="cuda").item(), 1.0),
    "written over with unknown values": (lambda: torch.zeros((), device="cuda").normal_().item(), 1.0),
    "received": (lambda: _sent_by_rank_1(lambda value: dist.recv(value, src=1), "cuda"), [1, 1]),
    "received on the host": (lambda: _sent_by_rank_1(lambda value: dist.recv(value, src=1), "cpu"), [1, 1]),
    "scattered": (lambda: _sent_by_rank_1(lambda value: dist.scatter(value, src=1), "cuda"), [1, 1]),
    "known and unknown together": (lambda: (torch.ones((), device="cuda") + torch.randn((), device="cuda")).item(), 1.0),
}


def _changed_through_view() -> Any:
    base = torch.arange(3).cuda()
    base[1].fill_(9)
    return base.tolist()


def _put_together() -> Any:
    whole = torch.empty(3, dtype=torch.int64, device="cuda")
    whole[0] = 7
    whole[1:] = torch.tensor([8, 9], device="cuda")
    return whole.tolist()


def _inverse(permutation: torch.Tensor) -> Any:
    inverse = torch.empty_like(permutation)
    inverse[permutation] = torch.arange(len(permutation), device="cuda")
    return inverse.tolist()


def _cumulative_lengths(lengths: list[int]) -> Any:
    offsets = torch.zeros(len(lengths) + 1, dtype=torch.int32, device="cuda")
    torch.cumsum(torch.tensor(lengths, device="cuda"), 0, dtype=torch.int32, out=offsets[1:])
    return offsets.tolist()


def _with_unknown_first(values: torch.Tensor) -> torch.Tensor:
    values[0] = torch.randn((), device="cuda")
    return values


@torch.library.custom_op("fakerun_tests::change", mutates_args=("values",))
def _change(values: torch.Tensor) -> None:
    raise AssertionError("a custom operator's kernel is never run on simulated tensors")


@_change.register_fake
def _change_nothing(values: torch.Tensor) -> None:
    pass


def _changed_by_custom_operator(values: torch.Tensor) -> torch.Tensor:
    _change(values)
    return values


def _mask(length: int) -> torch.Tensor:
    return torch.arange(length, device="cuda") != 1


def _sizes() -> Any:
    return torch.tensor([2, 3], device="cuda").tolist()


def _same_document(lengths: list[int]) -> torch.Tensor:
    documents = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).cuda()
    return documents[:, None] == documents[None, :]


def _step_of_adamw() -> Any:
    parameter = _with_gradient()
    optimizer = torch.optim.AdamW([parameter], fused=True)
    optimizer.step()
    return optimizer.state[parameter]["step"].item()


def _world() -> dist.ProcessGroup:
    dist.init_process_group("nccl")
    return dist.group.WORLD  # type: ignore[return-value]


def _several_gathered_at_once() -> Any:
    """On the host: a list for each rank, in it a tensor for each input, which are of different sizes here."""
    _world()
    host = dist.new_group(backend="gloo")
    mine = [torch.tensor([5]), torch.tensor([6, 7])]
    gathered = [[torch.zeros_like(tensor) for tensor in mine] for _ in range(2)]
    dist.all_gather_coalesced(gathered, mine, group=host)
    return [[tensor.tolist() for tensor in of_one_rank] for of_one_rank in gathered]


def _gathered_into_parts() -> Any:
    _world()
    whole = torch.empty(4, dtype=torch.int64, device="cuda")
    dist.all_gather(list(whole.chunk(2)), torch.tensor([1, 2], device="cuda"))
    return whole.tolist()


def _sharded(values: torch.Tensor) -> DTensor:
    return distribute_tensor(values, init_device_mesh("cuda", (2,)), [Shard(0)])


def _masked() -> torch.Tensor:
    values = torch.tensor([1, 5, 3], device="cuda")
    return values[values > 2]


def _all_reduced(value: torch.Tensor) -> Any:
    dist.init_process_group("nccl")
    dist.all_reduce(value)
    return value.tolist()


def _sent_by_rank_1(receive: Callable[[torch.Tensor], Any], device: str) -> Any:
    dist.init_process_group("cpu:gloo,cuda:nccl")
    value = torch.zeros(2, dtype=torch.int64, device=device)
    receive(value)
    return value.tolist()


def notes(simulation: Simulation) -> list[str]:
    return [finding.code for finding in simulation.record(None).findings if finding.code == "unknown-value"]


@pytest.mark.parametrize("name", KNOWN)
def test_what_the_host_knows_is_exact(simulation: Simulation, name: str) -> None:
    ask, expected = KNOWN[name]
    assert ask() == expected
    assert not notes(simulation)


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_values_are_placeholders_and_noted(simulation: Simulation, name: str) -> None:
    ask, placeholder = UNKNOWN[name]
    answers = [ask()]  # what a check reads, it passes
    assert answers == [placeholder]
    assert notes(simulation) == ["unknown-value"]


DECIDES = {
    "item": lambda x: x.sum().item() > 0,
    "float": lambda x: float(x.sum()) > 0,
    "bool": lambda x: bool(x.sum() > 0),
    "a copy to the host": lambda x: x.cpu().sum() > 0,
    "tolist": lambda x: x.tolist()[0] > 0,
    "a shape": lambda x: x.nonzero().shape,
}


@pytest.mark.parametrize("name", DECIDES)
def test_a_read_of_an_unknown_value_is_noted_as_unverified(simulation: Simulation, name: str) -> None:
    DECIDES[name](torch.randn(4, device="cuda"))
    (note,) = simulation.seen().findings
    assert note.code == "unknown-value"
    assert "unverified" in str(note.hint)
    assert "ranks may take different branches" in str(note.hint)


def test_a_printed_value_has_its_own_hint(simulation: Simulation) -> None:
    str(torch.randn(4, device="cuda"))
    (note,) = simulation.seen().findings
    assert (note.code, note.hint) == ("unknown-value", "A real run prints other values.")


FINITE: dict[str, Callable[[], Any]] = {
    "a scalar": lambda: bool(torch.isfinite(torch.randn((), device="cuda"))),
    "the method": lambda: torch.randn((), device="cuda").isfinite().item(),
    "all of a small tensor": lambda: bool(torch.isfinite(torch.randn(4, device="cuda")).all()),
    "all of a tensor too large to be remembered": lambda: bool(torch.all(torch.isfinite(torch.randn(2048, 2048, device="cuda")))),
    "the norm of gradients": lambda: bool(torch.isfinite(torch.nn.utils.clip_grad_norm_([_with_gradient()], 1.0))),
}


def _with_gradient() -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.randn(8, device="cuda"))
    parameter.grad = torch.randn_like(parameter)
    return parameter


@pytest.mark.parametrize("name", FINITE)
def test_unknown_values_are_taken_to_be_finite_and_that_is_noted(simulation: Simulation, name: str) -> None:
    assert FINITE[name]() is True
    assert "assumed-finite" in [finding.code for finding in simulation.record(None).findings]


def test_known_values_are_finite_or_not(simulation: Simulation) -> None:
    values = torch.tensor([1.0, float("inf"), float("nan")], device="cuda")
    assert torch.isfinite(values).tolist() == [True, False, False]
    assert not bool(torch.isfinite(values).all())
    assert not {"unknown-value", "assumed-finite"} & {finding.code for finding in simulation.record(None).findings}


def test_gradients_sharded_over_ranks_are_finite_too(simulation: Simulation) -> None:
    mesh = init_device_mesh("cuda", (2,), mesh_dim_names=("dp",))
    model = torch.nn.Linear(8, 8, device="cuda")
    fully_shard(model, mesh=mesh)
    model(torch.randn(2, 8, device="cuda")).sum().backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert bool(torch.isfinite(norm))
    assert "all_reduce" in [record.op for record in simulation.record(None).collectives]


# -- memory that nobody has written ---------------------------------------------------------------------------------------------


def test_integers_that_were_never_written_are_zero_with_a_warning(simulation: Simulation) -> None:
    """A message in a buffer of fixed size, of which the reader takes what is not zero."""
    buffer = torch.empty(2**20, dtype=torch.int32, device="cuda")
    buffer[:3] = torch.tensor([3, 5, 8])
    assert buffer[:3].tolist() == [3, 5, 8]
    assert simulation.seen().findings == ()
    assert buffer[buffer.nonzero()].flatten().tolist() == [3, 5, 8]
    (finding,) = simulation.seen().findings
    assert finding.code == "unwritten-memory"


def test_memory_that_was_written_with_unknown_values_is_not_new(simulation: Simulation) -> None:
    buffer = torch.empty(4, dtype=torch.int64, device="cuda")
    buffer[:2] = torch.randint(9, (2,), device="cuda")
    buffer[2:] = 7
    assert buffer.tolist() == [1, 1, 7, 7]  # placeholders for the unknown ones
    assert {finding.code for finding in simulation.seen().findings} == {"unknown-value"}
    assert buffer[2:].tolist() == [7, 7]


def test_floating_point_memory_that_was_never_written_is_unknown(simulation: Simulation) -> None:
    assert torch.empty(2, device="cuda").tolist() == [1.0, 1.0]
    assert {finding.code for finding in simulation.seen().findings} == {"unknown-value"}


def test_large_contributions_to_a_call_come_back() -> None:
    values = torch.zeros(2**20, dtype=torch.int32)
    values[:2] = torch.tensor([4, 5])
    encoded = encode(Contribution(values=[values], assumed=UNWRITTEN))
    assert len(encoded) < 2**16
    back = decode(encoded)
    assert torch.equal(back.values[0], values)
    assert back.assumed == UNWRITTEN
