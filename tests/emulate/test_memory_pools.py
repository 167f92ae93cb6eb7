"""Private memory pools through torch's own API: expectations of its test_cuda.py (`TestMemPool`, `TestCuda`) on segments and counters."""

import gc
import random
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.history import memory_histories
from fakerun.analysis.memory.reserved import reserved_memory
from fakerun.hardware.catalogue import hardware_named
from fakerun.job.out_of_memory import OutOfMemory
from fakerun.job.spec import JobSpec
from fakerun.rank.simulation import Simulation
from fakerun.records.device_program import DeviceProgram, Opcode, PoolOrigin, check_program
from tests.in_process import Simulate

pytestmark = pytest.mark.filterwarnings("ignore")

MIB = 2**20
_MAJOR, _MINOR, *_ = map(int, re.findall(r"\d+", torch.__version__))
NEW_TORCH = (_MAJOR, _MINOR)


def tensor(nbytes: int) -> torch.Tensor:
    return torch.empty(nbytes, dtype=torch.uint8, device="cuda")


def segments(pool: tuple[int, int]) -> list[int]:
    """How large those of a pool are, in MiB."""
    return [each["total_size"] // MIB for each in torch.cuda.memory_snapshot() if each["segment_pool_id"] == pool]


def reserved() -> int:
    return torch.cuda.memory_reserved() // MIB


def captured(make: Callable[[], Any], **options: Any) -> tuple[Any, Any]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, **options):
        result = make()
    return graph, result


# -- MemPool ---------------------------------------------------------------------------------------------------------------------------


def test_identities_count_up_and_tell_graphs_from_others(simulation: Simulation) -> None:
    handle, pool = torch.cuda.graph_pool_handle(), torch.cuda.MemPool()
    assert handle[0] == pool.id[0] == 0
    assert pool.id[1] == handle[1] + 1
    graph, _ = captured(lambda: tensor(1))
    assert graph.pool()[0] > 0
    assert graph.pool()[1] == 0


def test_each_thread_makes_pools_of_its_own(simulation: Simulation) -> None:
    pools: list[Any] = []
    threads = [threading.Thread(target=lambda: pools.append(torch.cuda.MemPool())) for _ in range(4)]
    for thread in threads:
        thread.start()
        thread.join()
    assert len({pool.id for pool in pools}) == 4


def test_a_pool_is_used_and_deleted(simulation: Simulation) -> None:
    """test_mempool_with_allocator: segments are the pool's, use counts 1, 2, 1; deletion gives back what nobody uses."""
    pool = torch.cuda.MemPool()
    assert pool.use_count() == 1
    with torch.cuda.use_mem_pool(pool):
        assert pool.use_count() == 2
        first = tensor(MIB)
    assert pool.use_count() == 1
    outside = tensor(MIB)
    with torch.cuda.use_mem_pool(pool):
        assert len(pool.snapshot()) == 1
        second = tensor(MIB)
        assert len(pool.snapshot()) == 1
        third = tensor(MIB)
        assert len(pool.snapshot()) == 2
    assert {each["segment_pool_id"] for each in pool.snapshot()} == {pool.id}
    assert reserved() == 6
    del first, second, third
    torch.cuda.empty_cache()
    assert reserved() == 6  # the pool is held
    del pool
    assert reserved() == 2
    assert outside.nbytes == MIB


def test_a_deleted_pool_keeps_what_is_in_use_until_the_cache_is_emptied(simulation: Simulation) -> None:
    """test_tensor_delete_after_allocator_delete."""
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        kept = tensor(30 * MIB)
    identity = pool.id
    del pool
    assert segments(identity) == [30]
    del kept
    assert segments(identity) == [30]
    torch.cuda.empty_cache()
    assert segments(identity) == []


def test_what_a_pool_caches_serves_no_one_else(simulation: Simulation) -> None:
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        tensor(30 * MIB)
    tensor(30 * MIB)
    assert reserved() == 60
    with torch.cuda.use_mem_pool(pool):
        tensor(30 * MIB)
    assert reserved() == 60


def test_the_pool_that_was_entered_last_serves(simulation: Simulation) -> None:
    outer, inner = torch.cuda.MemPool(), torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(outer):
        kept = [tensor(2 * MIB)]
        with torch.cuda.use_mem_pool(inner):
            kept.append(tensor(30 * MIB))
        kept.append(tensor(40 * MIB))
        with pytest.raises(RuntimeError, match="already recording to mempool_id"), torch.cuda.use_mem_pool(outer):
            pass
    kept.append(tensor(50 * MIB))
    assert (sorted(segments(outer.id)), segments(inner.id), segments((0, 0))) == ([20, 40], [30], [50])


def test_a_pool_serves_the_thread_that_entered_it(simulation: Simulation) -> None:
    pool = torch.cuda.MemPool()
    kept = []
    with torch.cuda.use_mem_pool(pool):
        thread = threading.Thread(target=lambda: kept.append(tensor(30 * MIB)))
        thread.start()
        thread.join()
        kept.append(tensor(40 * MIB))
    assert (segments(pool.id), segments((0, 0))) == ([40], [30])


def test_backward_has_a_thread_of_its_own(simulation: Simulation) -> None:
    """As `use_mem_pool` documents."""
    pool = torch.cuda.MemPool()
    weight = torch.ones(10 * MIB, device="cuda", requires_grad=True)
    with torch.cuda.use_mem_pool(pool):
        (weight * 2).sum().backward()
        after = tensor(50 * MIB)
    assert weight.grad is not None
    held = {each["address"]: each["segment_pool_id"] for each in torch.cuda.memory_snapshot()}
    found = [each for each in torch.cuda.memory_snapshot() if each["segment_pool_id"] == (0, 0) and each["allocated_size"] == 40 * MIB]
    assert len(found) == 2  # the weight and its gradient
    assert pool.id in held.values()
    assert after.nbytes == 50 * MIB


def test_a_pool_serves_the_device_that_it_is_used_on(simulate: Simulate) -> None:
    simulate(nproc_per_node=2)
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool, "cuda:1"):
        here = tensor(30 * MIB)
        there = torch.empty(40 * MIB, dtype=torch.uint8, device="cuda:1")
    by_device = {each["device"]: each["segment_pool_id"] for each in torch.cuda.memory_snapshot()}
    assert by_device == {0: (0, 0), 1: pool.id}
    assert here.device != there.device


def test_a_pool_that_does_not_split_gives_whole_segments(simulation: Simulation) -> None:
    pool = torch.cuda.MemPool(no_split=True)
    with torch.cuda.use_mem_pool(pool):
        kept = tensor(3 * MIB), tensor(3 * MIB)
    assert segments(pool.id) == [20, 20]
    assert torch.cuda.memory_allocated() == 40 * MIB > sum(each.nbytes for each in kept)


@pytest.mark.parametrize("use_on_oom", [False, True])
def test_a_pool_may_help_out_when_memory_runs_out(use_on_oom: bool, simulate: Simulate) -> None:
    """test_mempool_limited_memory_with_allocator."""
    simulate(oom=OutOfMemory.RAISE)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(100 * MIB / total)
    pool = torch.cuda.MemPool(use_on_oom=use_on_oom)
    with torch.cuda.use_mem_pool(pool):
        cached = tensor(60 * MIB)
    del cached
    if use_on_oom:
        assert tensor(60 * MIB).nbytes == 60 * MIB
        assert reserved() == 60
    else:
        with pytest.raises(torch.OutOfMemoryError, match=r"with 60.00 MiB allocated in private pools \(e.g., CUDA Graphs\)"):
            tensor(60 * MIB)


@pytest.mark.skipif(NEW_TORCH < (2, 13), reason="counters by private pool came with 2.13")
def test_counters_name_private_pools(simulation: Simulation) -> None:
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        kept = tensor(30 * MIB)
    nested = torch.cuda.memory_stats_as_nested_dict()["reserved_bytes_by_private_pools"]
    assert nested[pool.id]["all"]["current"] == kept.nbytes


def test_a_pool_has_nccl_s_allocator(simulation: Simulation) -> None:
    """As torch's documentation registers buffers with NCCL; segments that an allocator of its own gives are not expandable."""
    torch.cuda.memory._set_allocator_settings("expandable_segments:True")
    dist.init_process_group("nccl", device_id=torch.device("cuda", 0))
    backend: Any = dist.group.WORLD._get_backend(torch.device("cuda"))  # type: ignore[union-attr]
    pool = torch.cuda.MemPool(backend.mem_allocator)
    with torch.cuda.use_mem_pool(pool):
        buffer = torch.ones(30 * MIB, dtype=torch.uint8, device="cuda")
    backend.register_mem_pool(pool)
    dist.all_reduce(buffer)
    backend.deregister_mem_pool(pool)
    assert [(each["total_size"], each["is_expandable"]) for each in pool.snapshot()] == [(30 * MIB, False)]
    gloo: Any = dist.new_group(backend="gloo")._get_backend(torch.device("cpu"))
    with pytest.raises(RuntimeError, match="Backend gloo does not support getMemAllocator"):
        assert gloo.mem_allocator


# -- CUDA graphs -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "after_capture", "after_deletion"),
    [(512, 2, 2), (MIB, 4, 2), (MIB + 512, 20, 20), (10 * MIB - 512, 40, 20), (10 * MIB + 512, 36, 12)],
)
def test_a_graph_keeps_its_segments_and_its_result_outlives_it(
    size: int, after_capture: int, after_deletion: int, simulation: Simulation
) -> None:
    """test_graph_memory_stats_and_use_result_after_destroy_graph, of 2.11 and of 2.13."""
    kind = "small_pool" if size <= MIB else "large_pool"
    of_generator = kind == "small_pool" and NEW_TORCH < (2, 14)
    side = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(side):
        source = torch.ones(size // 4, device="cuda")
        before = torch.cuda.memory_stats()
        graph.capture_begin()
        result = source.clone()
        for _ in range(5):
            result = result.clone() + 1
        graph.capture_end()

    def more(name: str) -> int:
        return int(torch.cuda.memory_stats()[f"{name}.{kind}.current"] - before[f"{name}.{kind}.current"])

    own_segment = 2 * (of_generator and NEW_TORCH == (2, 13))  # on the default stream; before, beside `source`
    for _ in range(2):
        assert more("reserved_bytes") == (after_capture + own_segment) * MIB
        assert more("active_bytes") == result.nbytes + 1024 * of_generator
        assert more("active") == 1 + 2 * of_generator
        graph.replay()
        torch.cuda.empty_cache()
    del graph
    torch.cuda.empty_cache()
    assert (more("reserved_bytes"), more("active"), more("active_bytes")) == (after_deletion * MIB, 1, result.nbytes)


def test_a_reset_graph_gives_its_pool_to_the_next_empty_cache(simulation: Simulation) -> None:
    graph, _ = captured(lambda: tensor(30 * MIB).add(1).nbytes)
    pool = graph.pool()
    assert segments(pool) == [30, 30]
    torch.cuda.empty_cache()
    assert segments(pool) == [30, 30]
    graph.reset()
    assert segments(pool) == [30, 30]
    torch.cuda.empty_cache()
    assert segments(pool) == []


def test_graphs_that_share_a_pool_share_its_memory(simulation: Simulation) -> None:
    """test_graph_two_successive: the second capture takes what the first one freed, and the pool lives as long as one of them."""
    handle = torch.cuda.graph_pool_handle()
    first, kept = captured(lambda: (tensor(30 * MIB).nbytes, tensor(40 * MIB))[1], pool=handle)
    second, _ = captured(lambda: tensor(30 * MIB).nbytes, pool=first.pool())
    assert first.pool() == second.pool() == handle
    assert sorted(segments(handle)) == [30, 40]
    alone, _ = captured(lambda: tensor(30 * MIB).nbytes)
    assert segments(alone.pool()) == [30]
    assert sum(segments(handle)) + sum(segments(alone.pool())) == 100
    del first
    torch.cuda.empty_cache()
    assert sorted(segments(handle)) == [30, 40]
    del second
    torch.cuda.empty_cache()
    assert segments(handle) == [40]
    assert kept.nbytes == 40 * MIB


def test_a_capture_takes_streams_that_wait_for_it_and_no_others(simulation: Simulation) -> None:
    joined, apart = torch.cuda.Stream(), torch.cuda.Stream()
    kept = []
    graph = torch.cuda.CUDAGraph()
    assert not torch.cuda.is_current_stream_capturing()
    with torch.cuda.graph(graph):
        assert torch.cuda.is_current_stream_capturing()
        assert torch.cuda.CUDAGraph.get_currently_capturing_graph() is graph
        joined.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(joined):
            assert torch.cuda.is_current_stream_capturing()
            kept.append(tensor(30 * MIB))
        with torch.cuda.stream(apart):
            assert not torch.cuda.is_current_stream_capturing()
            kept.append(tensor(40 * MIB))
        torch.cuda.current_stream().wait_stream(joined)
        kept.append(tensor(50 * MIB))
    assert not torch.cuda.is_current_stream_capturing()
    with torch.cuda.stream(joined):
        kept.append(tensor(60 * MIB))
    assert sorted(segments(graph.pool())) == [30, 50]
    assert [size for size in sorted(segments((0, 0))) if size > 2] == [40, 60]  # 2: of the graph's generator


def test_a_graph_is_captured_into_a_mem_pool(simulation: Simulation) -> None:
    pool = torch.cuda.MemPool()
    graph, kept = captured(lambda: tensor(30 * MIB), pool=pool.id)
    assert pool.use_count() == 2
    identity = pool.id
    del pool
    assert graph.pool() == identity
    assert segments(identity) == [30]
    del graph, kept
    torch.cuda.empty_cache()
    assert segments(identity) == []


def test_workspaces_of_a_captured_product_go_with_the_graph_since_2_13(simulation: Simulation) -> None:
    """`clearCublasWorkspacesForStream` in `CUDAGraph::reset`; before, they kept the pool."""
    x = torch.ones(64, 64, device="cuda")
    graph, _ = captured(lambda: (x @ x).nbytes)
    pool = graph.pool()
    assert 32 in segments(pool)
    del graph
    torch.cuda.empty_cache()
    assert (32 in segments(pool)) is (NEW_TORCH < (2, 13))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda graph: graph.capture_begin(), "must be captured on a non-default stream"),
        (lambda graph: graph.replay(), "without a preceding successful capture"),
        (lambda graph: graph.pool(), "without a preceding successful capture"),
        (lambda graph: graph.capture_end(), "before capture_begin"),
    ],
)
def test_a_graph_that_is_not_captured_refuses_as_torch_does(wrong: Callable[[Any], Any], message: str, simulation: Simulation) -> None:
    with pytest.raises(RuntimeError, match=message):
        wrong(torch.cuda.CUDAGraph())


def test_a_captured_graph_is_not_captured_again(simulation: Simulation) -> None:
    graph, _ = captured(lambda: tensor(1))
    with pytest.raises(RuntimeError, match="already owns a captured graph"), torch.cuda.graph(graph):
        pass


def test_a_pool_that_was_released_and_still_holds_something_is_not_taken_again(simulation: Simulation) -> None:
    """`create_or_incref_pool`: an internal assertion of torch's."""
    handle = torch.cuda.graph_pool_handle()
    graph, kept = captured(lambda: tensor(30 * MIB), pool=handle)
    graph.reset()
    with pytest.raises(RuntimeError, match="was released"):
        captured(lambda: tensor(1), pool=handle)
    del kept
    captured(lambda: tensor(1), pool=handle)  # `torch.cuda.graph` empties the cache


def test_graphed_callables_keep_their_activations_in_one_pool(simulation: Simulation) -> None:
    """torch's own `make_graphed_callables`: what forward saves for backward is in the pool, and later steps allocate nothing there."""
    model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(4))).cuda()
    batch = torch.ones(1024, 512, device="cuda", requires_grad=True)
    graphed = torch.cuda.make_graphed_callables(model, (batch,))
    gc.collect()
    (pool,) = {each["segment_pool_id"] for each in torch.cuda.memory_snapshot()} - {(0, 0)}
    held = segments(pool)
    assert sum(held) >= 4 * 2
    for _ in range(3):
        graphed(batch).sum().backward()  # type: ignore[union-attr]
    assert segments(pool) == held
    assert all(parameter.grad is not None for parameter in model.parameters())


# -- the record ------------------------------------------------------------------------------------------------------------------------


def recorded(simulation: Simulation) -> DeviceProgram:
    program = simulation.seen().program
    check_program(program)
    return program


def test_the_program_names_pools_and_where_they_were_made(simulation: Simulation) -> None:
    pool = torch.cuda.MemPool(no_split=True)
    with torch.cuda.use_mem_pool(pool):
        tensor(1)
    captured(lambda: tensor(1))
    kinds = recorded(simulation).pools
    assert [(kind.origin, kind.no_split) for kind in kinds] == [(PoolOrigin.MEM_POOL, True), (PoolOrigin.GRAPH, False)]
    assert all(kind.call_site and kind.call_site.path.endswith("test_memory_pools.py") for kind in kinds)


def test_a_program_without_pools_has_no_instructions_of_them(simulation: Simulation) -> None:
    tensor(1)
    of_pools = {Opcode.NAME_POOL, Opcode.SERVE_FROM, Opcode.BEGIN_POOL, Opcode.BEGIN_CAPTURE, Opcode.END_POOL, Opcode.RELEASE_POOL}
    assert not of_pools & {each.opcode for each in recorded(simulation).issued()}


def test_a_loop_over_a_pool_repeats_its_instructions(simulation: Simulation) -> None:
    """So that it is stored as numbers alone."""
    before = 0
    for _ in range(5):
        pool = torch.cuda.MemPool()
        with torch.cuda.use_mem_pool(pool):
            tensor(MIB)
        del pool
        before, count = len(recorded(simulation).instructions), before
    assert before == count


class ByChance:
    """Tensors of any size, in pools, on streams, in captures, made and dropped."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.streams = [torch.cuda.default_stream(), torch.cuda.Stream(), torch.cuda.Stream()]
        self.pools: list[Any] = []
        self.graphs: list[Any] = []
        self.live: list[torch.Tensor] = []

    def act(self) -> None:
        acts = (self.allocate, self.allocate, self.allocate, self.free, self.use_pool, self.capture, self.drop, torch.cuda.empty_cache)
        self.chance.choice(acts)()

    def allocate(self) -> None:
        with torch.cuda.stream(self.chance.choice(self.streams)):
            self.live.append(tensor(int(2 ** self.chance.uniform(0, 26))))

    def free(self) -> None:
        for _ in range(min(2, len(self.live))):
            self.live.pop(self.chance.randrange(len(self.live)))

    def use_pool(self) -> None:
        if not self.pools or self.chance.random() < 0.3:
            self.pools.append(torch.cuda.MemPool(no_split=self.chance.random() < 0.3))
        with torch.cuda.use_mem_pool(self.chance.choice(self.pools)):
            for _ in range(3):
                self.allocate()
            self.free()

    def capture(self) -> None:
        shared = self.chance.choice(self.graphs).pool() if self.graphs and self.chance.random() < 0.5 else None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=shared):
            self.live.append(tensor(int(2 ** self.chance.uniform(0, 26))))
            tensor(3 * MIB)
        self.graphs.append(graph)

    def drop(self) -> None:
        for kept in (self.pools, self.graphs):
            if kept:
                kept.pop(self.chance.randrange(len(kept)))


@pytest.mark.parametrize("seed", range(6))
def test_a_kept_program_is_served_from_pools_as_while_it_ran(seed: int, simulation: Simulation) -> None:
    """Peaks, segments and their pools."""
    script = ByChance(seed)
    for _ in range(60):
        script.act()
    program = recorded(simulation)
    settings = AllocatorSettings(torch_version=NEW_TORCH)
    (memory,) = reserved_memory(program, settings, hardware_named("h100-80gb")).values()
    assert memory.peak_bytes == torch.cuda.max_memory_reserved()
    assert len({pool.pool_id for pool in memory.pools_at_peak}) > 2
    held = [(each["segment_pool_id"], each["address"], each["total_size"]) for each in torch.cuda.memory_snapshot()]
    (history,) = memory_histories(JobSpec(module="test", hardware=hardware_named("h100-80gb")), simulation.seen()).values()
    assert [(each.pool_id, each.address, each.nbytes) for each in history.segments] == held
    assert {kind for kind, _, _ in held} > {(0, 0)}


def test_a_kept_program_is_served_from_pools_with_other_settings(simulation: Simulation) -> None:
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        kept = tensor(30 * MIB), tensor(25 * MIB)
    assert reserved() == 56
    settings = AllocatorSettings.parse("expandable_segments:True", NEW_TORCH)
    (memory,) = reserved_memory(recorded(simulation), settings, hardware_named("l4")).values()
    assert [(each.pool_id, each.reserved_bytes // MIB) for each in memory.pools_at_peak] == [(pool.id, 60)]  # three pages
    assert len(kept) == 2
