"""The memory functions of `torch.cuda`: torch's own Python code on the counters, segments and limits of the simulated allocator."""

import gc
import pickle
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.cuda import _memory_viz as viz
from torch.utils.checkpoint import checkpoint

from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.settings import AllocatorSettings
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.outside_memory import context_range
from fakerun.job.out_of_memory import OutOfMemory
from fakerun.rank.simulation import Simulation
from fakerun.records.device_program import Opcode
from fakerun.torch_private import AllocatorFunction
from tests.in_process import Simulate

MIB = 2**20
GIB = 2**30
WORKSPACE_BYTES = 32 * MIB
"""Of cuBLAS on an H100."""
CONTEXT_BYTES = context_range(hardware_named("h100-80gb")).low_bytes
TOTAL_BYTES = GIB + CONTEXT_BYTES
SMALL_CARD = f"h100-80gb,memory={TOTAL_BYTES / 1024}KiB"
"""With 1 GiB for the allocator."""


def tensor(nbytes: int) -> torch.Tensor:
    return torch.empty(nbytes, dtype=torch.uint8, device="cuda")


# -- counters --------------------------------------------------------------------------------------------------------------------------


def test_nothing_is_counted_before_cuda_is_used(simulation: Simulation) -> None:
    assert torch.cuda.memory_stats() == {}
    assert torch.cuda.memory_stats_as_nested_dict() == {}
    assert torch.cuda.memory_reserved() == torch.cuda.max_memory_allocated() == 0
    with pytest.raises(RuntimeError, match="Invalid device argument 0: did you call init"):
        torch.cuda.reset_peak_memory_stats(0)


def test_reserved_is_what_segments_hold(simulation: Simulation) -> None:
    small = tensor(1000)
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == (1024, 2 * MIB)
    large = tensor(3 * MIB)
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == (3 * MIB + 1024, 22 * MIB)
    own = tensor(30 * MIB + 1)
    assert torch.cuda.memory_reserved() == 54 * MIB
    del own, large
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == (1024, 54 * MIB)
    torch.cuda.empty_cache()
    assert (torch.cuda.memory_reserved(), torch.cuda.max_memory_reserved()) == (2 * MIB, 54 * MIB)
    assert small.nbytes == 1000


def test_counters_are_those_of_an_allocator_that_is_asked_the_same(simulation: Simulation) -> None:
    kept = [tensor(size) for size in (100, 2 * MIB, 5 * MIB, 600)]
    del kept[1]
    kept.append(tensor(MIB + 1))
    allocator = CachingAllocator(AllocatorSettings(), total_bytes=GIB)
    blocks = [allocator.allocate(size) for size in (100, 2 * MIB, 5 * MIB, 600)]
    allocator.free(blocks[1])
    allocator.allocate(MIB + 1)
    ours = torch.cuda.memory_stats()
    assert {name: ours[name] for name in allocator.statistics() if name in ours} == {
        name: value for name, value in allocator.statistics().items() if name in ours
    }


def test_every_counter_has_its_name(simulation: Simulation) -> None:
    """As torch documents them (`torch.cuda.memory_stats`, 2.11, 2.13 and 2.14), and as `memory_summary` reads them."""
    tensor(1)
    metrics = {
        *("allocation", "allocated_bytes", "active", "active_bytes", "requested_bytes"),
        *("segment", "reserved_bytes", "inactive_split", "inactive_split_bytes"),
    }
    kinds = ("current", "peak", "allocated", "freed")
    pools = ("all", "large_pool", "small_pool")
    expected = {f"{metric}.{pool}.{kind}" for metric in metrics for pool in pools for kind in kinds}
    expected |= {f"{metric}.{kind}" for metric in ("oversize_allocations", "oversize_segments") for kind in kinds}
    expected |= {"num_alloc_retries", "num_ooms", "num_sync_all_streams", "num_device_alloc", "num_device_free", "max_split_size"}
    documented = set(re.findall(r'``"(num_\w+|max_split_size)"``', torch.cuda.memory_stats.__doc__ or ""))
    assert documented <= expected | documented
    assert set(torch.cuda.memory_stats()) == expected | documented
    assert list(torch.cuda.memory_stats()) == sorted(torch.cuda.memory_stats())


def test_nested_counters_are_those_of_the_flat_ones(simulation: Simulation) -> None:
    kept = tensor(3 * MIB)
    nested, flat = torch.cuda.memory_stats_as_nested_dict(), torch.cuda.memory_stats()
    assert nested["allocated_bytes"]["large_pool"]["peak"] == flat["allocated_bytes.large_pool.peak"] == kept.nbytes
    assert nested["num_device_alloc"] == flat["num_device_alloc"] == 1


def test_nested_counters_are_in_torch_s_order(simulation: Simulation) -> None:
    """That of torch 2.11 on an H100; later versions have further ones."""
    tensor(1)
    nested = torch.cuda.memory_stats_as_nested_dict()
    numbers = ("num_alloc_retries", "num_ooms", "max_split_size", "num_sync_all_streams", "num_device_alloc", "num_device_free")
    metrics = ("allocation", "segment", "active", "inactive_split", "allocated_bytes", "reserved_bytes", "active_bytes")
    others = ("inactive_split_bytes", "requested_bytes", "oversize_allocations", "oversize_segments")
    expected = [*numbers, *metrics, *others]
    assert [name for name in nested if name in expected] == expected
    assert list(nested["segment"]) == ["all", "small_pool", "large_pool"]
    assert list(nested["segment"]["all"]) == list(nested["oversize_segments"]) == ["current", "peak", "allocated", "freed"]


def test_counters_of_host_memory_have_their_names(simulation: Simulation) -> None:
    """Those of torch 2.11 on an H100."""
    tensor(1)
    stats = torch.cuda.host_memory_stats()
    counters = ("active_bytes", "active_requests", "allocated_bytes", "allocations")
    expected = {f"{name}.{kind}" for name in counters for kind in ("allocated", "current", "freed", "peak")}
    expected |= {f"{name}.{kind}" for name in ("host_alloc_time", "host_free_time") for kind in ("avg", "count", "max", "min", "total")}
    assert set(stats) == expected | {"num_host_alloc", "num_host_free"}
    assert set(stats.values()) == {0}
    (finding,) = [finding for finding in simulation.seen().findings if finding.code == "not-emulated"]
    assert "torch.cuda.host_memory_stats" in finding.message


def test_the_device_can_be_kept_busy(simulation: Simulation) -> None:
    torch.cuda._sleep(1_000_000)
    assert torch.cuda.is_initialized()


def test_a_product_takes_a_workspace(simulation: Simulation) -> None:
    """Of cuBLAS's handle: one in forward, and one in the thread of backward; they stay."""
    weight = torch.zeros(64, 64, device="cuda", requires_grad=True)
    before = torch.cuda.memory_allocated()
    product = weight @ weight
    workspace = torch.cuda.memory_allocated() - before - product.nbytes
    assert workspace >= WORKSPACE_BYTES
    product.sum().backward()
    del product
    weight.grad = None
    assert torch.cuda.memory_allocated() == before + 2 * workspace


def test_peaks_and_sums_are_reset(simulation: Simulation) -> None:
    del_later = tensor(40 * MIB)
    del del_later
    kept = tensor(2 * MIB)
    assert torch.cuda.max_memory_allocated() == 40 * MIB
    torch.cuda.reset_peak_memory_stats()
    assert (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()) == (kept.nbytes, 40 * MIB)
    torch.cuda.reset_accumulated_memory_stats()
    stats = torch.cuda.memory_stats()
    assert stats["allocated_bytes.all.allocated"] == stats["allocated_bytes.all.freed"] == 0
    assert stats["allocated_bytes.all.current"] == kept.nbytes


def test_a_reset_leaves_the_record_alone(simulation: Simulation) -> None:
    kept = tensor(40 * MIB)
    before = simulation.seen().program
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.reset_accumulated_memory_stats()
    assert simulation.seen().program == before
    assert kept.is_cuda


def test_names_that_are_deprecated(simulation: Simulation) -> None:
    kept = tensor(MIB)
    for function in (torch.cuda.memory_cached, torch.cuda.max_memory_cached):
        with pytest.warns(FutureWarning):
            assert function() == 2 * kept.nbytes
    for reset in (torch.cuda.reset_max_memory_allocated, torch.cuda.reset_max_memory_cached):
        with pytest.warns(FutureWarning, match="reset_peak_memory_stats"):
            reset()


def test_a_summary_is_printed(simulation: Simulation) -> None:
    kept = tensor(30 * MIB)
    row = next(line for line in torch.cuda.memory_summary().splitlines() if "GPU reserved memory" in line)
    assert "30720 KiB" in row
    assert "from large pool" in torch.cuda.memory_summary()
    assert "from large pool" not in torch.cuda.memory_summary(abbreviated=True)
    assert kept.is_cuda


def test_each_device_has_an_allocator(simulation: Simulation) -> None:
    kept = torch.empty(MIB, dtype=torch.uint8, device="cuda:1")
    assert [torch.cuda.memory_reserved(device) for device in (0, 1, "cuda:1")] == [0, 2 * MIB, 2 * MIB]
    assert simulation.seen().devices == (1,), "to ask is not to use"
    assert kept.is_cuda
    with pytest.raises(RuntimeError, match="Invalid device argument 2"):
        torch.cuda.memory_stats(2)


def test_free_memory_is_what_is_not_reserved(simulation: Simulation) -> None:
    kept = tensor(3 * MIB)
    total = torch.cuda.get_device_properties(0).total_memory
    assert torch.cuda.mem_get_info() == torch.cuda.mem_get_info("cuda") == (total - CONTEXT_BYTES - 20 * MIB, total)
    assert torch.accelerator.memory_reserved() == 20 * MIB
    assert kept.is_cuda


# -- settings and limits ---------------------------------------------------------------------------------------------------------------


def test_settings_are_those_of_the_environment_at_the_first_use(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate()
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "roundup_power2_divisions:4")
    kept = tensor(9 * MIB)
    assert torch.cuda.memory_allocated() == 10 * MIB
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "nonsense:1")
    assert torch.cuda.memory_allocated() == 10 * MIB
    assert kept.is_cuda


@pytest.mark.parametrize("use", [lambda: tensor(1), lambda: torch.cuda.set_device(0), torch.cuda.init, lambda: torch.ones(1).cuda()])
def test_wrong_settings_are_refused_at_the_first_use(use: Callable[[], Any], simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate()
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:1")
    torch.ones(1)
    with pytest.raises(ValueError, match="CachingAllocator option max_split_size_mb too small, must be >= 20"):
        use()
    assert not torch.cuda.is_initialized()


@pytest.mark.filterwarnings("ignore:.*_set_allocator_settings:FutureWarning")
def test_the_script_changes_settings(simulation: Simulation) -> None:
    first = tensor(30 * MIB)
    torch.cuda.memory._set_allocator_settings("expandable_segments:True")
    with pytest.raises(ValueError, match="Unrecognized key 'expandable'"):
        torch.cuda.memory._set_allocator_settings("expandable:True")
    second = tensor(30 * MIB)
    assert [segment["is_expandable"] for segment in torch.cuda.memory_snapshot()] == [True, False]
    assert torch.cuda.memory_reserved() == 70 * MIB
    program = simulation.seen().program
    assert program.settings == ("expandable_segments:True",)
    assert [each.operand for each in program.issued() if each.opcode is Opcode.CHANGE_SETTINGS] == [0]
    assert first.is_cuda
    assert second.is_cuda


def test_the_backend_is_that_of_the_settings(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate()
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "backend:cudaMallocAsync")
    assert torch.cuda.get_allocator_backend() == "cudaMallocAsync"


def test_the_memory_fraction_is_kept_and_recorded(simulation: Simulation) -> None:
    assert torch.cuda.get_per_process_memory_fraction() == 1.0
    with pytest.raises(ValueError, match="Invalid fraction value"):
        torch.cuda.set_per_process_memory_fraction(1.5)
    torch.cuda.set_per_process_memory_fraction(0.25, 1)
    torch.cuda.set_per_process_memory_fraction(0.5)
    assert simulation.seen().devices == ()
    kept = tensor(1)
    assert torch.cuda.get_per_process_memory_fraction() == 0.5
    assert torch.cuda.get_per_process_memory_fraction(1) == 0.25
    limits = [each for each in simulation.seen().program.issued() if each.opcode is Opcode.LIMIT_MEMORY]
    assert [each.operand for each in limits] == [500_000_000]
    assert kept.is_cuda


def test_beyond_the_fraction_allocations_go_on_unless_they_are_to_fail(simulate: Simulate) -> None:
    simulate(hardware=SMALL_CARD)
    torch.cuda.set_per_process_memory_fraction(0.5)
    kept = tensor(600 * MIB)
    assert torch.cuda.memory_reserved() == kept.nbytes


# -- snapshots -------------------------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_read_by_torchs_tools(simulation: Simulation, tmp_path: Path) -> None:
    before = tensor(600)
    torch.cuda.memory._record_memory_history()
    kept = tensor(3 * MIB)
    path = tmp_path / "snapshot.pickle"
    torch.cuda.memory._dump_snapshot(str(path))
    snapshot = pickle.loads(path.read_bytes())
    assert f"total_reserved: {22 * MIB / MIB:.1f}MiB" in viz.segsum(snapshot)
    for lines in (viz.memory, viz.segments):
        assert "test_cuda_memory.py" in lines(snapshot, format_flamegraph=str)  # else drawn by a program that torch downloads
    assert "alloc" in viz.trace(snapshot)
    assert len(snapshot["device_traces"]) == 2
    assert snapshot["device_traces"][1] == []
    assert [(entry["action"], entry["size"]) for entry in snapshot["device_traces"][0]] == [("segment_alloc", 20 * MIB), ("alloc", 3 * MIB)]
    blocks = {block["requested_size"]: block for segment in snapshot["segments"] for block in segment["blocks"]}
    assert blocks[600]["frames"] == []
    (frame,) = blocks[3 * MIB]["frames"]
    assert (Path(frame["filename"]).name, frame["name"]) == ("test_cuda_memory.py", "tensor")
    assert (before.nbytes, kept.nbytes) == (600, 3 * MIB)


def test_a_history_is_what_happened_while_it_was_recorded(simulation: Simulation) -> None:
    record: Any = torch.cuda.memory._record_memory_history

    def actions() -> list[tuple[str, int]]:
        (trace, *_) = torch.cuda.memory._snapshot()["device_traces"]
        return [(entry["action"], entry["size"]) for entry in trace]

    tensor(100)
    record(max_entries=3)
    kept = tensor(200)
    record(None)
    tensor(300)
    assert actions() == [("alloc", 200)]
    record(max_entries=3)
    tensor(400)
    assert actions() == [("alloc", 400), ("free_requested", 400), ("free_completed", 400)]
    record("state")
    assert actions() == [("free_completed", 400)]
    record(clear_history=True)
    assert actions() == []
    record(True, trace_alloc_max_entries=2)
    del kept
    assert actions() == [("free_requested", 200), ("free_completed", 200)]
    assert torch.cuda.memory_stats()["num_device_alloc"] == 1
    with pytest.raises(RuntimeError, match="expected stacks to be 'python', or 'all'"):
        record(stacks="c")


def test_a_history_shows_the_segments_that_the_counters_count(simulation: Simulation) -> None:
    """The history is made by allocators of its own."""
    kept = [tensor(size * MIB) for size in (3, 30, 5, 1)]
    del kept[1]
    without = torch.cuda.memory_snapshot()
    torch.cuda.memory._record_memory_history()
    assert torch.cuda.memory_snapshot() == without
    assert sum(segment["total_size"] for segment in without) == torch.cuda.memory_reserved()


def test_segments_have_the_stream_of_the_script(simulation: Simulation) -> None:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        kept = tensor(600)
    assert [segment["stream"] for segment in torch.cuda.memory_snapshot()] == [side.cuda_stream]
    assert torch.cuda.memory_snapshot((0, 7)) == []
    assert kept.is_cuda


# -- out of memory ---------------------------------------------------------------------------------------------------------------------


def test_an_allocation_without_memory_fails(simulate: Simulate) -> None:
    simulation = simulate(hardware=SMALL_CARD, oom=OutOfMemory.RAISE)
    kept = tensor(700 * MIB)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        tensor(500 * MIB)
    assert str(caught.value).startswith(
        "CUDA out of memory. Tried to allocate 500.00 MiB. GPU 0 has a total capacity of 1.60 GiB of which 324.00 MiB is free. "
        "Including non-PyTorch memory, this process has 1.28 GiB memory in use. Of the allocated memory 700.00 MiB is allocated by "
        "PyTorch, and 0 bytes is reserved by PyTorch but unallocated."
    )
    assert torch.cuda.memory_allocated() == kept.nbytes
    assert torch.cuda.memory_stats()["num_ooms"] == torch.cuda.memory_stats()["num_alloc_retries"] == 1
    assert [block.requested_bytes for block in simulation.seen().program.blocks] == [kept.nbytes]


def test_the_cache_is_given_back_before_an_allocation_fails(simulate: Simulate) -> None:
    simulate(hardware=SMALL_CARD, oom=OutOfMemory.RAISE)
    for size in (600, 700, 800):
        tensor(size * MIB)
    assert torch.cuda.memory_stats()["num_alloc_retries"] == 2
    assert torch.cuda.max_memory_reserved() == 800 * MIB


def test_what_failed_leaves_nothing_allocated(simulate: Simulate) -> None:
    """Of an operator with several results; while the error is handled."""
    simulate(hardware=SMALL_CARD, oom=OutOfMemory.RAISE)
    source = torch.empty(4, 50 * MIB, dtype=torch.float16, device="cuda")
    try:
        source.sort()  # values of 400 MiB fit, indices of 1600 MiB do not
    except torch.OutOfMemoryError:
        assert torch.cuda.memory_allocated() == source.nbytes
        assert tensor(600 * MIB).is_cuda
    else:
        pytest.fail("it fits")


def test_a_workspace_may_be_what_does_not_fit(simulate: Simulate) -> None:
    simulate(hardware=SMALL_CARD, oom=OutOfMemory.RAISE)
    kept = tensor(1020 * MIB)
    factor = torch.zeros(8, 8, device="cuda")
    with pytest.raises(torch.OutOfMemoryError, match=r"Tried to allocate 3\d.00 MiB"):
        torch.mm(factor, factor)
    assert torch.cuda.memory_allocated() == kept.nbytes + 512


def test_a_storage_that_cannot_grow_keeps_its_size(simulate: Simulate) -> None:
    simulate(hardware=SMALL_CARD, oom=OutOfMemory.RAISE)
    storage = tensor(600 * MIB).untyped_storage()
    with pytest.raises(torch.OutOfMemoryError):
        storage.resize_(700 * MIB)
    assert storage.nbytes() == torch.cuda.memory_allocated() == 600 * MIB
    storage.resize_(0)
    storage.resize_(700 * MIB)
    assert torch.cuda.memory_allocated() == 700 * MIB


def test_memory_runs_out_at_the_fraction(simulate: Simulate) -> None:
    simulate(hardware=SMALL_CARD, oom=OutOfMemory.RAISE)
    torch.cuda.set_per_process_memory_fraction(0.5 * GIB / TOTAL_BYTES)
    with pytest.raises(torch.OutOfMemoryError, match=r"512\.00 MiB allowed; Of the allocated memory 0 bytes"):
        tensor(600 * MIB)


def test_backward_fails_and_can_be_run_with_less(simulate: Simulate) -> None:
    simulate(hardware=SMALL_CARD, oom=OutOfMemory.RAISE)
    layers = torch.nn.Sequential(*(torch.nn.GELU() for _ in range(8)))

    def steps(rows: int) -> None:
        start = torch.zeros(rows, MIB, device="cuda", requires_grad=True)
        checkpoint(layers, start, use_reentrant=False).sum().backward()

    failed = []
    for rows in (64, 32, 16):
        try:
            steps(rows)
        except torch.OutOfMemoryError:
            failed.append(rows)
        gc.collect()
        assert torch.cuda.memory_allocated() == 0
    assert failed == [64, 32]


def test_observers_are_told_when_memory_runs_out(simulate: Simulate) -> None:
    simulate(hardware=SMALL_CARD, oom=OutOfMemory.RAISE)
    told: list[tuple[int, ...]] = []
    attach: Any = getattr(torch._C, AllocatorFunction.OBSERVE_OUT_OF_MEMORY.value)
    attach(lambda *figures: told.append(figures))
    with pytest.raises(torch.OutOfMemoryError):
        tensor(2 * GIB)
    assert told == [(0, 2 * GIB, TOTAL_BYTES, GIB)]


def test_the_same_program_goes_on_where_allocations_do_not_fail(simulate: Simulate) -> None:
    simulate(hardware=SMALL_CARD)
    kept = tensor(2 * GIB)
    assert torch.cuda.memory_reserved() == kept.nbytes
    assert torch.cuda.mem_get_info() == (0, TOTAL_BYTES)


def test_a_failed_result_is_freed_with_its_error(simulate: Simulate) -> None:
    simulate(hardware=SMALL_CARD, oom=OutOfMemory.RAISE)
    error: torch.OutOfMemoryError | None = None
    try:
        tensor(2 * GIB)
    except torch.OutOfMemoryError as raised:
        error = raised
    reference = weakref.ref(error) if error is not None else None
    del error
    assert reference is not None
    assert reference() is None
