"""Uses of the CUDA API in training scripts, each with the behaviour of a GPU."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate, really

pytestmark = pytest.mark.filterwarnings("ignore")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 4))


def codes(simulation: Simulation) -> set[str]:
    return {finding.code for finding in simulation.record(None).findings}


# -- saying where a tensor belongs -------------------------------------------------------------------------------------


def test_default_device(simulation: Simulation) -> None:
    torch.set_default_device("cuda")
    try:
        assert torch.ones(3).device == torch.device("cuda", 0)
        assert nn.Linear(2, 2).weight.is_cuda
    finally:
        torch.set_default_device(None)


def test_device_contexts_and_default_tensor(simulation: Simulation) -> None:
    with torch.device("cuda"):
        assert nn.Linear(2, 2).weight.is_cuda
    with torch.cuda.device(1):
        assert torch.cuda.current_device() == 1
        assert torch.ones(2, device="cuda").device.index == 1
    assert torch.cuda.current_device() == 0


def test_a_generator_on_the_accelerator(simulation: Simulation) -> None:
    generator = torch.Generator(device="cuda")
    generator.manual_seed(3)
    assert generator.device.type == "cuda"
    assert generator.initial_seed() == 3
    assert torch.randn(3, device="cuda", generator=generator).is_cuda
    assert torch.randperm(8, device="cuda", generator=generator).is_cuda
    assert torch.empty(3, device="cuda").normal_(generator=generator).is_cuda


def test_a_mesh_sets_the_device_if_the_script_has_not(simulate: Simulate) -> None:
    simulate(rank=5, nproc_per_node=8)
    dist.init_process_group("nccl", device_id=torch.device("cuda:5"))
    assert not torch.cuda.is_initialized()
    dist.device_mesh.init_device_mesh("cuda", (8,))
    assert torch.cuda.current_device() == 5


def test_a_mesh_keeps_the_device_that_the_script_has_set(simulate: Simulate) -> None:
    simulate(rank=5, nproc_per_node=8)
    torch.cuda.set_device(2)
    dist.device_mesh.init_device_mesh("cuda", (8,))
    assert torch.cuda.current_device() == 2


def test_fully_shard_without_a_mesh_uses_the_accelerator(simulate: Simulate) -> None:
    simulate(rank=1)
    dist.init_process_group("nccl")
    with torch.device("meta"):
        model = network()
    torch.distributed.fsdp.fully_shard(model)
    model.to_empty(device="cuda:1")
    model(torch.ones(2, 16, device="cuda:1")).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# -- parameters and their identity -------------------------------------------------------------------------------------


def test_tied_weights_stay_tied(simulation: Simulation) -> None:
    embedding, head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
    head.weight = embedding.weight
    model = nn.Sequential(embedding, head).cuda()
    assert embedding.weight is head.weight
    assert len(list(model.parameters())) == 1


def test_an_optimizer_made_before_cuda_steps_the_moved_parameters(simulation: Simulation) -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.cuda()
    model(torch.ones(2, 16, device="cuda")).sum().backward()
    optimizer.step()
    assert all(state["exp_avg"].is_cuda for state in optimizer.state.values())
    assert len(optimizer.state) == 4


def test_a_deep_copy_for_an_average_model(simulation: Simulation) -> None:
    model = network().cuda()
    average = copy.deepcopy(model)
    before = torch.cuda.memory_allocated()
    third = copy.deepcopy(model)
    assert torch.cuda.memory_allocated() - before == sum((p.numel() * 4 + 511) // 512 * 512 for p in third.parameters())
    with torch.no_grad():
        for mine, theirs in zip(average.parameters(), model.parameters(), strict=True):
            mine.mul_(0.99).add_(theirs, alpha=0.01)
    swa = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99))
    swa.update_parameters(model)
    swa.update_parameters(model)


def test_equal_addresses_mean_shared_storages(simulation: Simulation) -> None:
    x, y = torch.ones(8, device="cuda"), torch.ones(8, device="cuda")
    assert x.data_ptr() == x.view(2, 4).data_ptr() == x.untyped_storage().data_ptr() != y.data_ptr()
    made = torch.zeros(8, device="cuda")
    assert made.untyped_storage().data_ptr() == made.data_ptr() != 0
    assert x[2:].data_ptr() == x.data_ptr() + 8
    assert x.storage().data_ptr() == x.data_ptr()
    assert torch.empty(0, device="cuda").data_ptr() == 0


def test_data_is_replaced(simulation: Simulation) -> None:
    model = network()
    for parameter in model.parameters():
        parameter.data = parameter.data.cuda()
    model(torch.ones(2, 16, device="cuda")).sum().backward()
    for parameter in model.parameters():
        assert isinstance(parameter, nn.Parameter)
        assert parameter.grad is not None
        parameter.data = parameter.data.half()
        parameter.data = parameter.data.cpu()
        assert parameter.device.type == "cpu"


def test_a_model_moves_there_and_back(simulation: Simulation) -> None:
    model = network().cuda()
    model.cpu()
    assert model[0].weight.device.type == "cpu"
    assert torch.cuda.memory_allocated() == 0
    model.half().cuda()
    assert model[0].weight.dtype is torch.float16


# -- asking for values -------------------------------------------------------------------------------------------------


def test_unknown_values_are_placeholders(simulation: Simulation) -> None:
    loss = network().cuda()(torch.randn(2, 16, device="cuda")).mean()
    assert loss.item() == 1.0
    assert float(loss) == 1.0
    assert loss.detach().cpu().numpy() == 1.0
    assert loss.tolist() == 1.0
    assert not torch.isnan(loss).any()
    assert not torch.isnan(loss)
    assert torch.stack([loss, loss]).tolist() == [1.0, 1.0]
    assert torch.isfinite(loss).all().item() in (True, False)
    assert f"{loss:.3f}" == "1.000"
    assert f"{loss.item():.3f}" == "1.000"
    assert "unknown-value" in codes(simulation)


def test_printing_a_device_tensor(simulation: Simulation) -> None:
    for tensor in (torch.randn(2, 2, device="cuda"), torch.randn((), device="cuda"), torch.ones(3, device="cuda:1", dtype=torch.int64)):
        assert f"cuda:{tensor.device.index}" in repr(tensor)
        assert "lazy" not in str(tensor)
        assert "Fake" not in str(tensor)
    parameter = nn.Linear(2, 2).cuda().weight
    assert repr(parameter).startswith("Parameter containing:")


def test_accuracy_is_counted(simulation: Simulation) -> None:
    logits, labels = torch.randn(8, 4, device="cuda"), torch.randint(4, (8,)).cuda()
    assert (logits.argmax(-1) == labels).sum().item() >= 0
    assert (logits.topk(2).indices == labels[:, None]).any(-1).float().mean().item() >= 0
    assert len(logits.argmax(1).cpu().numpy()) == 8
    assert logits[labels == 0].shape[1] == 4


# -- the training step -------------------------------------------------------------------------------------------------


def test_gradient_scaling(simulation: Simulation) -> None:
    model = network().cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for scaler in (torch.cuda.amp.GradScaler(), torch.amp.GradScaler("cuda")):
        for _ in range(2):
            with torch.autocast("cuda", dtype=torch.float16):
                output = model(torch.ones(2, 16, device="cuda"))
                loss = nn.functional.mse_loss(output, torch.ones_like(output))
            assert output.dtype is torch.float16
            assert loss.dtype is torch.float32
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        assert scaler.get_scale() > 0
        assert scaler.is_enabled()
        scaler.load_state_dict(scaler.state_dict())


@pytest.mark.usefixtures("no_workspaces")
@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_frees_activations(reentrant: bool, simulation: Simulation) -> None:
    model = nn.Sequential(*[nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 256)) for _ in range(4)]).cuda()
    x = torch.randn(512, 256, device="cuda", requires_grad=True)

    def held(run: Any) -> int:
        before = torch.cuda.memory_allocated()
        loss = run().sum()
        kept = torch.cuda.memory_allocated() - before
        loss.backward()
        return kept

    def checkpointed() -> Any:
        y = x
        for block in model:
            y = checkpoint(block, y, use_reentrant=reentrant)
        return y

    assert held(checkpointed) < held(lambda: model(x)) / 2


def test_gradient_accumulation_clipping_and_schedules(simulation: Simulation) -> None:
    model = network().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    schedules = [
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10),
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5),
        torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10),
        torch.optim.lr_scheduler.StepLR(optimizer, 2),
    ]
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for _ in range(2):
        for _ in range(3):
            loss = model(torch.ones(2, 16, device="cuda")).sum() / 3
            loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        assert norm.is_cuda
        nn.utils.clip_grad_value_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        for schedule in schedules:
            schedule.step()
        plateau.step(loss.item())


@pytest.mark.usefixtures("no_workspaces")
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_evaluation_keeps_no_activations(guard: Any, simulation: Simulation) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).cuda()
    model.eval()
    before = torch.cuda.memory_allocated()
    total = 0.0
    with guard():
        for _ in range(2):
            output = model(torch.ones(2, 3, 8, 8, device="cuda"))
            total += nn.functional.cross_entropy(output, torch.tensor([0, 1], device="cuda")).item()
    del output
    assert total == 2.0
    assert torch.cuda.memory_allocated() == before


def test_multihead_attention_with_masks(simulation: Simulation) -> None:
    attention = nn.MultiheadAttention(32, 4, batch_first=True).cuda()
    x = torch.randn(2, 10, 32, device="cuda")
    causal = nn.Transformer.generate_square_subsequent_mask(10, device=torch.device("cuda"))
    padding = torch.zeros(2, 10, dtype=torch.bool, device="cuda")
    attention(x, x, x, attn_mask=causal, is_causal=True, need_weights=False)[0].sum().backward()
    output, weights = attention(x, x, x, key_padding_mask=padding)
    assert output.shape == (2, 10, 32)
    assert weights.shape == (2, 10, 10)


def test_compiled_models_and_functions(simulation: Simulation) -> None:
    model = torch.compile(network().cuda(), mode="max-autotune")
    model(torch.ones(2, 16, device="cuda")).sum().backward()

    @torch.compile(fullgraph=True)
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    assert twice(torch.ones(2, device="cuda")).is_cuda
    network().compile()
    assert "compiled-eagerly" in codes(simulation)


# -- data --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pinned_loader_with_workers(workers: int, simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    dataset = TensorDataset(torch.arange(32.0).reshape(16, 2), torch.arange(16))
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, shuffle=True, seed=3)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=workers, pin_memory=True, drop_last=True)
    seen: list[int] = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for x, y in loader:
            seen += y.tolist()
            assert x.cuda(non_blocking=True).is_cuda
            assert y.to(0, non_blocking=True).tolist() == y.tolist()  # what came from the host is known
    assert len(seen) == 16
    assert set(seen) <= set(range(16))


def test_pinned_memory(simulation: Simulation) -> None:
    pinned = torch.ones(3).pin_memory()
    assert pinned.to("cuda", non_blocking=True).is_cuda
    assert torch.empty(3, pin_memory=True).shape == (3,)


PINNED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "pinned": lambda pinned: pinned,
    "a view": lambda pinned: pinned[1:],
    "already on the host": lambda pinned: pinned.cpu(),
    "pinned again": lambda pinned: pinned.pin_memory(),
    "of numbers": lambda pinned: torch.tensor([1.0], pin_memory=True),
    "empty": lambda pinned: torch.empty(3, pin_memory=True),
    "large": lambda pinned: torch.zeros(2**23, pin_memory=True),
    "like a device tensor": lambda pinned: torch.empty_like(pinned.cuda(), device="cpu", pin_memory=True),
    "new": lambda pinned: pinned.new_ones(3, pin_memory=True),
    "copied without waiting": lambda pinned: pinned.cuda().to("cpu", non_blocking=True),
    "a batch": lambda pinned: next(iter(DataLoader(TensorDataset(pinned), pin_memory=True)))[0],
}
NOT_PINNED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "pageable": lambda pinned: torch.ones(3),
    "a copy": lambda pinned: pinned.clone(),
    "on the device": lambda pinned: pinned.cuda(),
    "copied from the device": lambda pinned: pinned.cuda().cpu(),
}


@pytest.mark.parametrize("name", [*PINNED, *NOT_PINNED])
def test_host_memory_knows_that_it_is_pinned(simulation: Simulation, name: str) -> None:
    host = torch.ones(3)
    pinned = host.pin_memory()
    pinned[0] = 2.0
    assert host.tolist() == [1.0] * 3, "pin_memory copies"
    tensor = (PINNED | NOT_PINNED)[name](pinned)
    assert tensor.is_pinned() == (name in PINNED)
    assert tensor.untyped_storage().is_pinned() == (name in PINNED)


def test_device_memory_cannot_be_pinned(simulation: Simulation) -> None:
    with pytest.raises(RuntimeError, match=r"cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned"):
        torch.ones(3, device="cuda").pin_memory()


# -- the CUDA API ------------------------------------------------------------------------------------------------------


def test_memory_statistics(simulation: Simulation) -> None:
    assert torch.cuda.memory_allocated() == 0
    x = torch.empty(1000, device="cuda")
    assert torch.cuda.memory_allocated() == torch.cuda.memory_allocated(0) == torch.cuda.memory_allocated("cuda:0") == 4096
    assert torch.cuda.memory_allocated(1) == 0
    del x
    assert torch.cuda.memory_allocated() == 0
    assert torch.cuda.max_memory_allocated() == 4096
    torch.cuda.reset_peak_memory_stats()
    assert torch.cuda.max_memory_allocated() == 0
    stats = torch.cuda.memory_stats()
    assert stats["allocated_bytes.all.current"] == 0
    assert stats["allocated_bytes.all.peak"] == 0
    assert stats["num_ooms"] == stats["num_alloc_retries"] == 0
    for key in (
        "active.all.current",
        "allocation.all.allocated",
        "segment.all.peak",
        "inactive_split_bytes.all.peak",
        "reserved_bytes.all.peak",
    ):
        assert stats[key] >= 0
    assert isinstance(torch.cuda.memory_summary(abbreviated=True), str)
    assert "allocated" in torch.cuda.memory_summary(0).lower()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    assert free <= total == torch.cuda.get_device_properties(0).total_memory
    assert torch.cuda.memory_reserved() >= 0


def test_device_properties(simulate: Simulate) -> None:
    simulate(hardware="a100-40gb")
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    assert "A100" in properties.name == torch.cuda.get_device_name()
    assert (properties.major, properties.minor) == torch.cuda.get_device_capability() == (8, 0)
    assert 38 * 2**30 < properties.total_memory < 40 * 2**30
    assert properties.multi_processor_count == 108
    assert torch.cuda.is_bf16_supported()
    assert torch.cuda.device_count() == 2
    assert torch.cuda.get_device_properties("cuda:1").warp_size == 32
    assert torch.version.cuda
    assert torch.backends.cudnn.is_available()
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.set_float32_matmul_precision("high")


def test_events_and_streams(simulation: Simulation) -> None:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    start.record()
    with torch.cuda.stream(stream):
        assert torch.cuda.current_stream() == stream
        x = torch.ones(3, device="cuda") * 2
        x.record_stream(stream)
    torch.cuda.current_stream().wait_stream(stream)
    end.record(torch.cuda.current_stream())
    torch.cuda.synchronize()
    assert start.elapsed_time(end) > 0
    with torch.cuda.nvtx.range("step"):
        torch.cuda.nvtx.range_push("inner")
        torch.cuda.nvtx.range_pop()


def test_random_state(simulation: Simulation) -> None:
    torch.manual_seed(0)
    torch.cuda.manual_seed_all(3)
    state = torch.cuda.get_rng_state()
    assert state.device.type == "cpu"
    torch.cuda.set_rng_state(state)
    torch.cuda.set_rng_state_all(torch.cuda.get_rng_state_all())
    with torch.random.fork_rng():
        torch.randn(2, device="cuda")
    with torch.random.fork_rng(devices=[0]):
        torch.randn(2, device="cuda")


def test_a_state_is_that_of_a_cuda_generator(simulation: Simulation) -> None:
    torch.cuda.manual_seed(7)
    generator = torch.cuda.default_generators[0]
    assert generator.initial_seed() == torch.cuda.initial_seed() == 7
    assert torch.cuda.get_rng_state().view(torch.int64).tolist() == [7, 0]
    saved = torch.cuda.get_rng_state()
    torch.cuda.manual_seed_all(9)
    generator.set_offset(4)
    assert torch.cuda.get_rng_state().view(torch.int64).tolist() == [9, 4]
    torch.cuda.default_generators[0].set_state(saved)  # as Megatron restores it, past torch.cuda.set_rng_state
    assert torch.cuda.get_rng_state().equal(saved)
    assert torch.cuda.get_rng_state(1).view(torch.int64).tolist() == [9, 0]


def test_generators_that_share_their_state(simulation: Simulation) -> None:
    generator = torch.Generator(device="cuda").manual_seed(3)
    shared, copied = generator.graphsafe_get_state(), generator.clone_state()
    generator.manual_seed(4)
    assert (shared.initial_seed(), copied.initial_seed()) == (4, 3)
    assert generator.graphsafe_set_state(copied).initial_seed() == 3
    assert copied.device == torch.device("cuda:0")


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        (torch.zeros(5056, dtype=torch.uint8), RuntimeError, "RNG state is wrong size"),
        (torch.zeros(16), TypeError, "RNG state must be a torch.ByteTensor"),
    ],
)
def test_a_state_of_another_kind_is_refused(simulation: Simulation, state: torch.Tensor, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        torch.cuda.set_rng_state(state)


# -- checkpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "where"),
    [
        (None, "cuda:0"),
        ("cpu", "cpu"),
        ("cuda:1", "cuda:1"),
        ({"cuda:0": "cuda:1"}, "cuda:1"),
        (torch.device("cuda", 1), "cuda:1"),
        (lambda storage, place: storage, "cpu"),
    ],
)
def test_what_was_saved_can_be_loaded_again(location: Any, where: str, tmp_path: Path, simulation: Simulation) -> None:
    model = network().cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 16, device="cuda")).sum().backward()
    optimizer.step()
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "rng": torch.get_rng_state()}, path)
    assert not really(tmp_path)
    before = torch.cuda.memory_allocated(0), torch.cuda.memory_allocated(1)
    loaded = torch.load(path, map_location=location, weights_only=True)
    after = torch.cuda.memory_allocated(0), torch.cuda.memory_allocated(1)
    assert {str(value.device) for value in loaded["model"].values()} == {where}
    assert (after[0] > before[0], after[1] > before[1]) == (where == "cuda:0", where == "cuda:1")
    assert loaded["epoch"] == 3
    assert torch.equal(loaded["rng"].cpu(), torch.get_rng_state())
    model.load_state_dict(loaded["model"])
    optimizer.load_state_dict(loaded["optimizer"])
    optimizer.step()
    assert "not-saved" in codes(simulation)


def test_nothing_of_the_users_is_overwritten(tmp_path: Path, simulate: Simulate) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"precious")
    simulate()
    model = network().cuda()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    on_host = {name: value.cpu() for name, value in model.state_dict().items()}
    for state in (model.state_dict(), on_host, {"epoch": 3}, model):
        torch.save(state, path)
        assert type(torch.load(path, weights_only=False)) is type(state)
        torch.save(state, str(path) + ".tmp")
        assert ("checkpoint.pt.tmp" in really(tmp_path)) == (state == {"epoch": 3})
        Path(str(path) + ".tmp").replace(path)
        assert type(torch.load(path, weights_only=False)) is type(state)
        assert really(tmp_path) == {"checkpoint.pt": b"precious"}
    for other in (path, path.with_name("other.pt")):
        with other.open("wb") as file:
            torch.save(on_host, file)
        assert torch.load(other)["0.weight"].shape == (32, 16)
        assert really(tmp_path) == {"checkpoint.pt": b"precious"}


def test_saving_what_is_on_the_host_happens(tmp_path: Path, simulation: Simulation) -> None:
    path = tmp_path / "data.pt"
    torch.save({"tokens": torch.arange(3), "x": torch.ones(2)}, path)
    torch.save({"tokens": torch.arange(4)}, path)  # a file of this run may be written again
    assert path.exists()
    assert torch.load(path)["tokens"].tolist() == [0, 1, 2, 3]
    on_device = torch.load(path, map_location="cuda:1")["tokens"]
    assert on_device.device == torch.device("cuda:1")
    assert on_device.tolist() == [0, 1, 2, 3]
    buffer = io.BytesIO()
    torch.save(torch.arange(5), buffer)
    buffer.seek(0)
    assert torch.load(buffer).tolist() == [0, 1, 2, 3, 4]


def test_a_buffer_of_simulated_tensors_can_be_loaded(simulation: Simulation) -> None:
    buffer = io.BytesIO()
    torch.save(network().cuda().state_dict(), buffer)
    buffer.seek(0)
    assert torch.load(buffer)["0.weight"].is_cuda


def test_python_pickles_modules_and_tensors(simulation: Simulation) -> None:
    on_host = nn.Linear(2, 2)
    assert torch.equal(pickle.loads(pickle.dumps(on_host)).weight, on_host.weight)
    assert "not-saved" not in codes(simulation)
    known = pickle.loads(pickle.dumps({"lengths": torch.tensor([3, 5], device="cuda")}))["lengths"]
    assert known.tolist() == [3, 5]
    model = pickle.loads(pickle.dumps(network().cuda()))
    model(torch.ones(2, 16, device="cuda")).sum().backward()
    assert model[0].weight.grad.is_cuda
    assert pickle.loads(pickle.dumps(torch.randn(3, device="cuda:1"))).device == torch.device("cuda:1")
    assert "not-saved" in codes(simulation)


def test_a_missing_directory_fails_as_it_would(tmp_path: Path, simulation: Simulation) -> None:
    with pytest.raises(RuntimeError, match=r"Parent directory .* does not exist"):
        torch.save(network().cuda(), tmp_path / "none" / "checkpoint.pt")


# -- torch.distributed -------------------------------------------------------------------------------------------------


def test_objects_are_exchanged(simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    gathered: list[Any] = [None, None]
    dist.all_gather_object(gathered, {"rank": 0})
    assert gathered[0] == {"rank": 0}
    objects = [{"seed": 3}, "x"]
    dist.broadcast_object_list(objects, src=0)
    assert objects == [{"seed": 3}, "x"]
    dist.barrier()
    dist.barrier(device_ids=[0])
    dist.monitored_barrier(dist.new_group(backend="gloo"))


def test_metrics_are_reduced(simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    loss = torch.tensor(2.5, device="cuda")
    dist.all_reduce(loss, op=dist.ReduceOp.AVG)
    assert loss.item() in (1.0, 2.5)
    parts = [torch.zeros(2, device="cuda") for _ in range(2)]
    dist.all_gather(parts, torch.ones(2, device="cuda"))
    work = dist.all_reduce(torch.ones(3, device="cuda"), async_op=True)
    work.wait()
    assert work.is_completed()


def test_ddp_with_its_options(simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    model = DistributedDataParallel(
        network().cuda(), device_ids=[0], output_device=0, gradient_as_bucket_view=True, find_unused_parameters=True, static_graph=False
    )
    with model.no_sync():
        model(torch.ones(2, 16, device="cuda")).sum().backward()
    model(torch.ones(2, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with model.join():
        model(torch.ones(2, 16, device="cuda")).sum().backward()


def test_synchronised_batch_norm(simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))).cuda()
    model = DistributedDataParallel(model, device_ids=[0])
    model(torch.ones(2, 3, 8, 8, device="cuda")).sum().backward()
    operations = [record.op.value for record in simulation.record(None).collectives]
    assert "all_gather" in " ".join(operations)


def test_fsdp1(simulation: Simulation) -> None:
    from torch.distributed.fsdp import FullStateDictConfig, FullyShardedDataParallel, MixedPrecision, StateDictType
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    dist.init_process_group("nccl")
    model = FullyShardedDataParallel(
        network(),
        device_id=torch.cuda.current_device(),
        auto_wrap_policy=ModuleWrapPolicy({nn.Linear}),
        mixed_precision=MixedPrecision(param_dtype=torch.bfloat16, reduce_dtype=torch.float32),
        sync_module_states=True,
        use_orig_params=True,
    )
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        model(torch.ones(2, 16, device="cuda")).sum().backward()
        model.clip_grad_norm_(1.0)
        optimizer.step()
        optimizer.zero_grad()
    options = FullStateDictConfig(offload_to_cpu=True, rank0_only=True)
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.FULL_STATE_DICT, options):
        state = model.state_dict()
    assert state["0.weight"].shape == (32, 16)
    assert state["0.weight"].device.type == "cpu"


def test_a_directory_for_what_was_not_written_is_removed_again(tmp_path: Path, simulate: Simulate) -> None:
    kept, empty = tmp_path / "kept", tmp_path / "checkpoints" / "step-3"
    simulation = simulate()
    empty.mkdir(parents=True)
    kept.mkdir()
    torch.save(network().cuda().state_dict(), empty / "model.pt")
    torch.save(network().cuda().state_dict(), kept / "model.pt")
    (kept / "notes.txt").write_text("x")
    simulation.__exit__(None, None, None)
    assert (kept / "notes.txt").exists()
    assert not (tmp_path / "checkpoints").exists()


def test_what_follows_from_the_data_is_exact(simulation: Simulation) -> None:
    mask = torch.tensor([True, False, True, True]).cuda()
    assert mask.nonzero().flatten().tolist() == [0, 2, 3]
    assert mask.nonzero().shape == (3, 1)
    assert torch.arange(4, device="cuda")[mask].tolist() == [0, 2, 3]
    assert torch.tensor([3, 1, 3], device="cuda").unique().tolist() == [1, 3]
    assert "unknown-value" not in codes(simulation)


def test_truncated_normal_initialisation_has_no_finding(simulation: Simulation) -> None:
    weight = torch.empty(8, 8, device="cuda")
    nn.init.trunc_normal_(weight, std=0.02)
    nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)
    assert weight.is_cuda
    assert "unknown-value" not in codes(simulation)


def test_truncated_normal_of_shards_may_communicate_more(simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    mesh = dist.device_mesh.init_device_mesh("cuda", (2,))
    weight = distribute_tensor(torch.empty(8, 8, device="cuda"), mesh, [Shard(0)])
    before = len(simulation.record(None).collectives)
    nn.init.trunc_normal_(weight, std=0.02, a=-0.06, b=0.06)
    asked = [call for call in simulation.record(None).collectives[before:] if call.dtype == "bool"]
    assert ("assumed-samples" in codes(simulation)) == bool(asked)
    assert "unknown-value" not in codes(simulation)


def test_the_old_tensor_types(simulation: Simulation) -> None:
    kind: Any = vars(torch.cuda)["FloatTensor"]
    assert kind([1.0, 2.0]).tolist() == [1.0, 2.0]
    assert kind(2, 3).shape == (2, 3)
    assert isinstance(torch.ones(2, device="cuda"), kind)
    assert not isinstance(torch.ones(2), kind)
    for half in ("torch.cuda.HalfTensor", vars(torch.cuda)["HalfTensor"]):
        converted: Any = torch.ones(2).type(half)
        assert converted.is_cuda
        assert converted.dtype is torch.float16
    assert torch.ones(2, device="cuda").type(torch.float16).is_cuda


def test_sharded_checkpoints_are_neither_written_nor_read(tmp_path: Path, simulation: Simulation) -> None:
    from torch.distributed import checkpoint

    dcp: Any = checkpoint  # it does not mark all that it exports
    dist.init_process_group("cpu:gloo,cuda:nccl")
    model = network().cuda()
    torch.distributed.fsdp.fully_shard(model)
    state = {"model": model.state_dict(), "step": 3}
    dcp.save(state, checkpoint_id=tmp_path / "sharded")
    dcp.async_save(state, checkpoint_id=tmp_path / "sharded").result()
    dcp.load(state, checkpoint_id=tmp_path / "sharded")
    assert not really(tmp_path)
    assert "not-loaded" not in codes(simulation)
    dcp.load(state, checkpoint_id=tmp_path / "another")
    assert {"not-saved", "not-loaded"} <= codes(simulation)


@pytest.mark.parametrize("background", [False, True])
def test_an_asynchronous_checkpoint_is_staged_as_asked_for(background: bool, simulation: Simulation) -> None:
    from torch.distributed.checkpoint import staging, state_dict_saver

    dist.init_process_group("cpu:gloo,cuda:nccl")
    stager = staging.DefaultStager(staging.StagingOptions(use_async_staging=background))
    given: Any = state_dict_saver.async_save({"step": 3}, checkpoint_id="nowhere", async_stager=stager)
    stager.close()
    assert isinstance(given, state_dict_saver.AsyncSaveResponse) == background
    for future in (given.staging_completion, given.upload_completion) if background else (given,):
        assert future.done()


def test_an_asynchronous_checkpoint_needs_a_backend_for_the_host(simulation: Simulation) -> None:
    from torch.distributed.checkpoint import state_dict_saver

    dist.init_process_group("nccl")
    with pytest.raises(AssertionError, match=r"^A CPU backend must be enabled for async save"):
        state_dict_saver.async_save({"step": 3}, checkpoint_id="nowhere")


def test_an_lstm_has_a_finding(simulation: Simulation) -> None:
    nn.LSTM(4, 4).cuda()(torch.ones(3, 1, 4, device="cuda"))[0].sum().backward()
    assert "unfused-rnn" in codes(simulation)
