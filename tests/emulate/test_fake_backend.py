"""The API of torch's fake process group on the simulated device: its backend, stores and operations."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.distributed._functional_collectives as funcol
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from fakerun.errors import EmulationGapError
from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate

dist: Any = torch.distributed  # it re-exports its stores and groups unseen by type checkers

STORES: dict[str, Callable[[Path], Any]] = {
    "fake": lambda path: FakeStore(),
    "hash": lambda path: dist.HashStore(),
    "prefix": lambda path: dist.PrefixStore("prefix", dist.HashStore()),
    "file": lambda path: dist.FileStore(str(path / "store"), 2),
}

DEVICES = {"fake": ("cpu", "cuda"), "nccl": ("cuda",), "gloo": ("cpu",), "cpu:gloo,cuda:nccl": ("cpu", "cuda")}
"""Where a group of each backend communicates."""


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("backend", DEVICES)
def test_a_group_accepts_any_store(simulation: Simulation, tmp_path: Path, backend: str, store: str) -> None:
    dist.init_process_group(backend, store=STORES[store](tmp_path), rank=0, world_size=2)
    assert (dist.get_backend(), dist.get_rank(), dist.get_world_size()) == (backend, 0, 2)
    for device in DEVICES[backend]:
        dist.all_reduce(torch.ones(3, device=device))
    assert [record.op for record in simulation.record(None).collectives] == ["all_reduce"] * len(DEVICES[backend])


@pytest.mark.parametrize("backend", ["nccl", "gloo", "cpu:gloo,cuda:nccl"])
def test_the_timeout_of_a_group_can_be_set(simulation: Simulation, backend: str) -> None:
    """torchtitan does so after its first step, by a private function of torch for which there is no public one."""
    dist.init_process_group(backend)
    set_timeout = getattr(dist.distributed_c10d, "_set_pg_timeout")  # noqa: B009  a public name would be flagged as private
    set_timeout(timedelta(seconds=100), dist.new_group([0]))
    set_timeout(timedelta(seconds=100))


INIT_METHODS = ["env://", "tcp://localhost:29519", "tcp://another-host:29500", "file://{path}/rendezvous"]


@pytest.mark.parametrize("named", [{}, {"rank": 1, "world_size": 4}], ids=["the job's", "named"])
@pytest.mark.parametrize("method", INIT_METHODS)
def test_every_init_method_finds_the_job(simulate: Simulate, tmp_path: Path, method: str, named: dict[str, int]) -> None:
    simulation = simulate(rank=1, nproc_per_node=4)
    dist.init_process_group("nccl", init_method=method.format(path=tmp_path), **named)
    assert (dist.get_rank(), dist.get_world_size()) == (1, 4)
    assert simulation.seen().findings == ()


@pytest.mark.parametrize(("rank", "world_size"), [(0, 4), (1, 2), (1, 8), (0, 1)])
def test_a_rank_that_is_not_the_jobs_is_pointed_at(simulate: Simulate, rank: int, world_size: int) -> None:
    simulation = simulate(rank=1, nproc_per_node=4)
    dist.init_process_group("nccl", rank=rank, world_size=world_size)
    (finding,) = simulation.seen().findings
    assert (finding.code, finding.severity) == ("rank-mismatch", "warning")
    assert f"as rank {rank} of {world_size}, but it runs as rank 1 of 4 of the job" in finding.message


@pytest.mark.parametrize("is_master", [True, False])
def test_a_store_that_the_script_creates_waits_for_no_rank(simulate: Simulate, is_master: bool) -> None:
    simulation = simulate(rank=1, nproc_per_node=4)
    store = dist.TCPStore("another-host", 29517, 4, is_master, timeout=timedelta(seconds=5))
    store.set("key", "value")
    assert (store.get("key"), store.host, store.port, isinstance(store, dist.TCPStore)) == (b"value", "another-host", 29517, True)
    dist.init_process_group("nccl", store=store, rank=1, world_size=4)
    dist.all_reduce(torch.ones(2, device="cuda"))
    assert [finding.code for finding in simulation.seen().findings] == ["local-store"]


WAITS: dict[str, Callable[[Any], object]] = {
    "get": lambda store: store.get("key"),
    "wait": lambda store: store.wait(["mine", "key"]),
    "wait for a time": lambda store: store.wait(["key"], timedelta(seconds=600)),
    "multi_get": lambda store: store.multi_get(["mine", "key"]),
}
STORES_OF_A_RANK: dict[str, Callable[[], Any]] = {
    "default": lambda: dist.distributed_c10d._get_default_store(),
    "TCPStore": lambda: dist.TCPStore("another-host", 29517, 4, False),
    "HashStore": lambda: dist.PrefixStore("a", dist.PrefixStore("b", dist.HashStore())),
}


@pytest.mark.parametrize("store", STORES_OF_A_RANK)
@pytest.mark.parametrize("wait", WAITS)
def test_waiting_for_a_key_that_another_rank_sets_ends_the_run(simulate: Simulate, store: str, wait: str) -> None:
    simulate(rank=1, nproc_per_node=4)
    dist.init_process_group("nccl")
    made = STORES_OF_A_RANK[store]()
    made.set("mine", "value")
    made.wait(["mine"])
    assert (made.get("mine"), made.multi_get(["mine"])) == (b"value", [b"value"])
    with pytest.raises(EmulationGapError, match=r"Waiting for the key 'key' of a store, .* is not emulated: .* broadcast_object_list"):
        WAITS[wait](made)


ANSWERS: dict[str, Callable[[Any], object]] = {
    "add": lambda store: store.add("arrived", 1),
    "check": lambda store: store.check(["key"]),
    "compare_set": lambda store: store.compare_set("owner", "", "rank 1"),
    "delete_key": lambda store: store.delete_key("key"),
    "num_keys": lambda store: store.num_keys(),
}


@pytest.mark.parametrize("store", STORES_OF_A_RANK)
@pytest.mark.parametrize("name", ANSWERS)
def test_what_a_store_answers_without_the_other_ranks_is_a_warning(simulate: Simulate, store: str, name: str) -> None:
    simulation = simulate(rank=1, nproc_per_node=4)
    dist.init_process_group("nccl")
    dist.barrier(dist.new_group())
    made = STORES_OF_A_RANK[store]()
    ANSWERS[name](made)
    (finding,) = [finding for finding in simulation.seen().findings if finding.code != "local-store"]
    assert (finding.code, finding.severity) == ("store-answer", "warning")
    assert finding.message.startswith(f"what {name}() of a store answers is without the other ranks")


def test_a_store_of_one_rank_answers_for_all(simulate: Simulate) -> None:
    simulation = simulate(rank=0, nproc_per_node=1)
    dist.HashStore().add("arrived", 1)
    assert simulation.seen().findings == ()


def test_a_store_in_a_file_is_shared_and_waits(simulate: Simulate, tmp_path: Path) -> None:
    simulate(rank=1, nproc_per_node=4)
    store = dist.FileStore(str(tmp_path / "store"), 4)
    dist.FileStore(str(tmp_path / "store"), 4).set("key", "value")
    assert store.get("key") == b"value"
    store.set_timeout(timedelta(milliseconds=10))
    with pytest.raises(RuntimeError, match="Timeout"):
        store.get("other")


@pytest.mark.skipif(torch.__version__ < "2.13", reason="torch 2.11 does not check the rank")
def test_a_rank_outside_the_world_is_refused(simulation: Simulation) -> None:
    with pytest.raises(RuntimeError, match=r"Cannot init process group where rank .* >= world_size"):
        dist.init_process_group("fake", rank=3, world_size=2)


def _made(*sizes: int) -> torch.Tensor:
    return torch.empty(*sizes, device="cuda")


def _grad(*sizes: int) -> torch.Tensor:
    return torch.ones(*sizes, device="cuda", requires_grad=True)


def _coalesced() -> None:
    output = _made(2, 1)
    with dist._coalescing_manager():
        dist.reduce_scatter_tensor(output, _grad(4, 1))


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "all_reduce": (lambda: dist.all_reduce(_made(3)), "all_reduce"),
    "all_gather": (lambda: dist.all_gather([_made(3), _made(3)], _grad(3)), "all_gather"),
    "all_gather_into_tensor": (lambda: dist.all_gather_into_tensor(_made(6), _grad(3)), "all_gather_into_tensor"),
    "reduce_scatter": (lambda: dist.reduce_scatter(_made(3), [_grad(3), _grad(3)]), "reduce_scatter"),
    "reduce_scatter_tensor": (lambda: dist.reduce_scatter_tensor(_made(3), _grad(6)), "reduce_scatter_tensor"),
    "coalesced": (_coalesced, "reduce_scatter_tensor"),
    "broadcast own": (lambda: dist.broadcast(_made(3), 0), "broadcast"),
    "broadcast other's": (lambda: dist.broadcast(_made(3), 1), "broadcast"),
    "scatter own": (lambda: dist.scatter(_made(3), [_grad(3), _grad(3)]), "scatter"),
    "scatter other's": (lambda: dist.scatter(_made(3), None, src=1), "scatter"),
    "gather here": (lambda: dist.gather(_grad(3), [_made(3), _made(3)]), "gather"),
    "gather there": (lambda: dist.gather(_grad(3), None, dst=1), "gather"),
    "all_to_all": (lambda: dist.all_to_all([_made(3), _made(3)], [_grad(3), _grad(3)]), "all_to_all"),
    "all_to_all_single": (lambda: dist.all_to_all_single(_made(4, 3), _grad(4, 3), [2, 2], [2, 2]), "all_to_all_single"),
    "all_to_all_single uneven": (lambda: dist.all_to_all_single(_made(8, 1), _grad(4, 1), [2, 6], [1, 3]), "all_to_all_single"),
    "send": (lambda: dist.send(_made(3), 1), "send"),
    "recv": (lambda: dist.recv(_made(3), 1), "recv"),
    "barrier": (lambda: dist.barrier(), "barrier"),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_operation_is_supported(simulation: Simulation, call: str) -> None:
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    run, op = CALLS[call]
    run()
    assert [record.op for record in simulation.record(None).collectives] == [op]


class _Dispatched(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


class _Called(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_scripts_own_modes_see_what_it_does(simulation: Simulation, device: str) -> None:
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    with _Dispatched() as dispatched, _Called() as called:
        tensor = torch.tensor([[1.0, 2.0]], device=device)
        dist.all_reduce(tensor)
        tensor.add(1)
    assert {"aten.lift_fresh.default", "c10d.allreduce_.default", "aten.add.Tensor"} <= set(dispatched.seen)
    assert {"tensor", "add"} <= set(called.seen)
    assert len(simulation.record(None).collectives) == 1


TRACED: dict[str, Callable[[torch.Tensor], Any]] = {
    "all_gather": lambda tensor: funcol.all_gather_tensor(tensor, 0, dist.group.WORLD),
    "all_reduce": lambda tensor: funcol.all_reduce(tensor, "sum", dist.group.WORLD),
    "reduce_scatter": lambda tensor: funcol.reduce_scatter_tensor(tensor, "sum", 0, dist.group.WORLD),
    "all_to_all": lambda tensor: funcol.all_to_all_single(tensor, None, None, dist.group.WORLD),
}


@pytest.mark.parametrize("mode", ["real", "fake"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("function", TRACED)
def test_functional_collectives_are_traced(simulation: Simulation, function: str, device: str, mode: Literal["real", "fake"]) -> None:
    dist.init_process_group("fake", store=dist.HashStore(), rank=0, world_size=2)
    graph = str(make_fx(TRACED[function], tracing_mode=mode)(torch.randn(2, 2, device=device)).graph)
    assert function in graph
    assert "wait_tensor" in graph


def test_fsdp_trains_in_a_fake_group(simulation: Simulation) -> None:
    dist.init_process_group("fake", store=dist.HashStore(), rank=0, world_size=2)
    layers = nn.Sequential(nn.Linear(2, 3, device="cuda"), nn.ReLU(), nn.Linear(3, 2, device="cuda"))
    model = FullyShardedDataParallel(layers, use_orig_params=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    model(torch.randn(2, 2)).sum().backward()
    optimizer.step()
    record = simulation.record(None)
    assert record.steps == 1
    assert {"all_gather_into_tensor", "reduce_scatter_tensor"} <= {str(call.op) for call in record.collectives}


def test_the_default_device_may_be_the_accelerator(simulation: Simulation) -> None:
    with torch.device("cuda"):
        assert {torch.ones(3).device.type, nn.Linear(2, 3).weight.device.type, torch.get_default_device().type} == {"cuda"}
    torch.set_default_device("cuda")
    try:
        assert torch.ones(3).device == torch.device("cuda:0")
        nn.Linear(2, 2)(torch.randn(2, 2)).sum().backward()
    finally:
        torch.set_default_device(None)
    assert torch.ones(3).device.type == "cpu"


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"])
def test_a_variable_that_the_rendezvous_needs_is_missed_as_in_torch(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)
    expected = f"Error initializing torch.distributed using env:// rendezvous: environment variable {name} expected, but not set"
    with pytest.raises(ValueError, match=f"^{expected}$"):
        dist.init_process_group("nccl")
