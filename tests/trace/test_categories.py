"""Categories of device memory: a category's bytes equal those of the objects that hold them, where these can be asked."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

from fakerun.analysis.memory.breakdown import by_category
from fakerun.analysis.memory.footprint import alive_after
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.rank.simulation import Simulation
from fakerun.records.memory import Category, MemoryBlock, rounded_size_bytes
from tests.in_process import Simulate
from tests.trace.seen import watch

pytestmark = pytest.mark.filterwarnings("ignore")

BATCH, WIDTH = 8, 64


class Tied(nn.Module):
    """Two layers that share their weight, and buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.second(self.norm(self.first(x)).relu())
        return output


def live(simulation: Simulation) -> list[MemoryBlock]:
    memory = timeline_of(simulation.record(None).program)
    return list(alive_after(memory, len(memory.events) - 1))


def live_bytes(simulation: Simulation) -> dict[Category, int]:
    return by_category(live(simulation))


def blocks(simulation: Simulation, *shape: int) -> list[MemoryBlock]:
    """All that were ever made for a tensor of this shape."""
    return [block for block in timeline_of(simulation.record(None).program).blocks if block.shape == shape]


def category_of(simulation: Simulation, *shape: int) -> str:
    """The one category of all blocks of this shape."""
    (category,) = {block.category.value for block in blocks(simulation, *shape)}
    return category


def held_bytes(tensors: Iterable[Any]) -> int:
    """What distinct device storages of these tensors take."""
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors if _on_device(tensor)}
    return sum(map(rounded_size_bytes, storages.values()))


def _on_device(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.is_cuda


def leaves(state: Any) -> list[Any]:
    children = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else None
    return [state] if children is None else [leaf for child in children for leaf in leaves(child)]


def assert_each_has_its_own(simulation: Simulation, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """What the module's tensors and the optimizer's state take is what the categories say."""
    found = live_bytes(simulation)
    parameters = list(module.parameters())
    assert found[Category.PARAMETER] == held_bytes(parameters)
    assert found[Category.GRADIENT] == held_bytes(parameter.grad for parameter in parameters)
    assert found[Category.BUFFER] == held_bytes(module.buffers())
    assert found[Category.OPTIMIZER_STATE] == (held_bytes(leaves(dict(optimizer.state))) if optimizer is not None else 0)


OPTIMIZERS: list[tuple[str, Callable[[Any], torch.optim.Optimizer]]] = [
    ("AdamW", lambda parameters: torch.optim.AdamW(parameters)),
    ("AdamW foreach", lambda parameters: torch.optim.AdamW(parameters, foreach=True, amsgrad=True)),
    ("AdamW fused", lambda parameters: torch.optim.AdamW(parameters, fused=True)),
    ("AdamW capturable", lambda parameters: torch.optim.AdamW(parameters, capturable=True, foreach=False)),
    ("SGD", lambda parameters: torch.optim.SGD(parameters, lr=0.1)),
    ("SGD with momentum", lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True)),
    ("SGD with momentum, one by one", lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, foreach=False)),
    ("Adafactor", lambda parameters: torch.optim.Adafactor(parameters)),
    ("Adagrad", lambda parameters: torch.optim.Adagrad(parameters)),
    ("RMSprop", lambda parameters: torch.optim.RMSprop(parameters, momentum=0.9, centered=True)),
    ("LBFGS", lambda parameters: torch.optim.LBFGS(parameters, max_iter=2)),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in OPTIMIZERS])
def test_parameters_gradients_and_state(make: Callable[[Any], torch.optim.Optimizer], simulation: Simulation) -> None:
    model = Tied().cuda()
    optimizer = make(model.parameters())
    for _ in range(2):

        def closure() -> torch.Tensor:
            optimizer.zero_grad(set_to_none=False)
            loss: torch.Tensor = model(torch.ones(BATCH, WIDTH).cuda()).mean()
            loss.backward()
            return loss

        optimizer.step(closure)  # type: ignore[arg-type]
        assert_each_has_its_own(simulation, model, optimizer)
    optimizer.zero_grad()
    assert_each_has_its_own(simulation, model, optimizer)
    assert live_bytes(simulation)[Category.ACTIVATION] == 0


class Several(torch.optim.Optimizer):
    """One optimizer to the script, several inside, which hold the state: as libraries wrap those of a model's parts."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        held = list(parameters)
        self.inside = [torch.optim.AdamW([parameter]) for parameter in held]
        super().__init__(held, {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for optimizer in self.inside:
            optimizer.step()


def test_state_of_optimizers_inside_one_that_wraps_them(simulation: Simulation) -> None:
    model = nn.Linear(WIDTH, WIDTH).cuda()
    optimizer = Several(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(BATCH, WIDTH).cuda()).mean().backward()
        optimizer.step()
    found = live_bytes(simulation)
    state = held_bytes(leaves([dict(one.state) for one in optimizer.inside]))
    assert found[Category.OPTIMIZER_STATE] == state == 2 * found[Category.PARAMETER]


def test_owners_of_parameters_gradients_and_state(simulation: Simulation) -> None:
    model = Tied().cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(BATCH, WIDTH).cuda()).mean().backward()
    optimizer.step()
    owners = {(block.category.value, block.module) for block in live(simulation) if block.category is not Category.INPUT}
    assert owners == {
        *((kind, module) for kind in ("parameter", "gradient", "optimizer_state") for module in ("first", "second", "norm")),
        ("buffer", "norm"),
    }


def test_gradients_of_micro_batches(simulation: Simulation) -> None:
    model = Tied().cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        model(torch.ones(BATCH, WIDTH).cuda()).mean().backward()
    assert_each_has_its_own(simulation, model, None)
    optimizer.step()
    assert_each_has_its_own(simulation, model, optimizer)


def test_gradients_without_an_optimizer(simulation: Simulation) -> None:
    model = Tied().cuda()
    for _ in range(2):
        model(torch.ones(BATCH, WIDTH).cuda()).mean().backward()
        assert_each_has_its_own(simulation, model, None)
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.1 * parameter.grad)
                parameter.grad.zero_()


@pytest.mark.parametrize("as_view", [False, True])
def test_buckets_of_ddp(as_view: bool, simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    model = nn.parallel.DistributedDataParallel(Tied().cuda(), gradient_as_bucket_view=as_view)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        model(torch.ones(BATCH, WIDTH).cuda()).mean().backward()
        optimizer.step()
    assert_each_has_its_own(simulation, model, optimizer)
    buckets = sum(4 * parameter.numel() for parameter in model.parameters())
    # Besides the buckets: parameters and buffers were broadcast, which they remain after.
    communication = live_bytes(simulation)[Category.COMMUNICATION]
    assert communication < 1024 if as_view else buckets <= communication < buckets + 1024


def gathered(simulation: Simulation) -> None:
    shard = torch.ones(3, WIDTH).cuda()
    everything = torch.empty(6, WIDTH, device="cuda")
    dist.all_gather_into_tensor(everything, shard)
    assert {category_of(simulation, 3, WIDTH), category_of(simulation, 6, WIDTH)} == {"communication"}


def reduced(simulation: Simulation) -> None:
    loss = torch.ones(3, WIDTH).cuda()
    dist.all_reduce(loss)
    assert category_of(simulation, 3, WIDTH) == "communication"


def parameters_gathered_in_place(simulation: Simulation) -> None:
    """A hand-written sharded optimizer: parameters are views of one flat tensor, which is gathered after each step."""
    flat = torch.zeros(2 * WIDTH * WIDTH, device="cuda")
    model = nn.Linear(WIDTH, WIDTH, bias=False, device="cuda")
    model.weight.data = flat[: WIDTH * WIDTH].view(WIDTH, WIDTH)
    model(torch.ones(BATCH, WIDTH).cuda()).mean().backward()
    dist.all_gather_into_tensor(flat, flat.chunk(2)[dist.get_rank()].clone())
    assert category_of(simulation, 2 * WIDTH * WIDTH) == "parameter"


def gradients_reduced_in_place(simulation: Simulation) -> None:
    model = Tied().cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(BATCH, WIDTH).cuda()).mean().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    optimizer.step()
    assert_each_has_its_own(simulation, model, optimizer)


def a_host_object(simulation: Simulation) -> None:
    dist.broadcast_object_list([{"seed": 3}], device=torch.device("cuda"))


@pytest.mark.parametrize(
    "communicate",
    [gathered, reduced, parameters_gathered_in_place, gradients_reduced_in_place, a_host_object],
    ids=lambda communicate: communicate.__name__,
)
def test_communication(communicate: Callable[[Simulation], None], simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    communicate(simulation)


@pytest.mark.parametrize("reshard", [False, True])
def test_fully_sharded(reshard: bool, simulate: Simulate) -> None:
    from torch.distributed.fsdp import fully_shard

    simulation = simulate()
    dist.init_process_group("nccl")
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))).cuda()
    for layer in model:
        fully_shard(layer, reshard_after_forward=reshard)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(BATCH, WIDTH).cuda()).mean().backward()
        optimizer.step()
    found = live_bytes(simulation)
    shard = 3 * WIDTH * WIDTH * 4 // 2
    assert (found[Category.PARAMETER], found[Category.GRADIENT], found[Category.OPTIMIZER_STATE]) == (shard, shard, 2 * shard)
    whole = [block for block in timeline_of(simulation.record(None).program).blocks if block.nbytes == WIDTH * WIDTH * 4]
    assert {(block.phase.value, block.category.value) for block in whole} == {
        ("other", "parameter"),  # before it was sharded
        ("forward", "communication"),
        ("backward", "temporary"),  # gradients before they are reduced
        ("backward", "communication"),  # what is reduced
    }


def test_whole_gradients_of_micro_batches(simulate: Simulate) -> None:
    """FSDP2 without gradient synchronisation keeps unsharded gradients, in the dtype of the later reduction."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    simulation = simulate(nproc_per_node=2)
    torch.distributed.init_process_group("nccl")
    model: Any = nn.Linear(256, 64, bias=False, device="cuda")
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    fully_shard(model, mp_policy=policy, reshard_after_forward=False)
    inputs = torch.randn(4, 256, device="cuda")
    with watch(simulation) as seen:
        model.set_requires_gradient_sync(False)
        for _ in range(2):
            model(inputs).sum().backward()
    (gradient,) = {block.dtype for block in seen.where(category=Category.GRADIENT)}
    assert gradient == "float32"
    assert {block.shape for block in seen.where(category=Category.GRADIENT)} == {(64, 256)}


def test_tensor_parallel_output_is_an_activation(simulate: Simulate) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    simulation = simulate(nproc_per_node=4)
    mesh = init_device_mesh("cuda", (2, 2), mesh_dim_names=("dp", "tp"))
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)).cuda()
    parallelize_module(model, mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    fully_shard(model, mesh=mesh["dp"])
    output = model(torch.ones(BATCH, WIDTH).cuda())
    (made,) = [block for block in live(simulation) if block.shape == (BATCH, WIDTH) and block.category is not Category.INPUT]
    assert made.category in (Category.ACTIVATION, Category.COMMUNICATION)
    blocks = timeline_of(simulation.record(None).program).blocks
    assert not [block for block in blocks if block.phase == "forward" and block.category == "temporary"]
    del output


class Cube(torch.autograd.Function):
    """Keeps a tensor that it computed."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x[:, :3] * 3)
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return gradient * ctx.saved_tensors[0].sum()


class Cubed(nn.Linear):
    """A layer with a custom function in it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = Cube.apply(super().forward(x))
        return output


def test_activations(simulation: Simulation) -> None:
    model = nn.Sequential(nn.Linear(WIDTH, 48), Cubed(48, 40)).cuda()
    output = model(torch.ones(BATCH, WIDTH).cuda())
    loss = functional.mse_loss(output, torch.ones(BATCH, 40).cuda())
    assert category_of(simulation, BATCH, 48) == "activation"
    assert {block.category.value for block in blocks(simulation, BATCH, 40)} == {"activation", "input"}
    assert category_of(simulation, BATCH, 3) == "activation"  # what the function saved
    (made,) = [block for block in live(simulation) if block.shape == ()]
    assert made.category is Category.ACTIVATION
    loss.backward()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_recomputed_activations(use_reentrant: bool, simulation: Simulation) -> None:
    model = nn.Sequential(nn.Linear(WIDTH, 48), nn.ReLU(), nn.Linear(48, 40)).cuda()
    x = torch.ones(BATCH, WIDTH).cuda().requires_grad_()
    torch.utils.checkpoint.checkpoint(model, x, use_reentrant=use_reentrant).mean().backward()
    made = [block for block in blocks(simulation, BATCH, 48) if block.category is Category.ACTIVATION]
    assert {block.phase.value for block in made} == {"forward", "backward"}


def test_nothing_is_kept_without_gradients(simulation: Simulation) -> None:
    model = nn.Linear(WIDTH, 48).cuda()
    with torch.no_grad():
        model(torch.ones(BATCH, WIDTH).cuda())
    with torch.inference_mode():
        model(torch.ones(BATCH, WIDTH).cuda())
    assert category_of(simulation, BATCH, 48) == "temporary"


def test_inputs(simulation: Simulation) -> None:
    model = nn.Linear(WIDTH, 48).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    following = torch.ones(1, WIDTH).cuda()
    for part in range(1, 4):
        pixels = torch.ones(10 * part, WIDTH, dtype=torch.uint8).cuda().float() / 255
        output = model(following) + model(pixels).mean()
        following = torch.ones(1 + part, WIDTH).cuda(non_blocking=True)  # while forward runs
        labels = torch.ones(part, 48).cuda()
        functional.mse_loss(output, labels).backward()
    optimizer.step()
    for part in range(1, 4):
        assert category_of(simulation, part, WIDTH) == "input"
        assert [block.category.value for block in blocks(simulation, 10 * part, WIDTH)] == ["input", "temporary", "input"]
    assert "input" in {block.category.value for block in blocks(simulation, 2, 48)}


def test_what_the_script_computes_besides(simulation: Simulation) -> None:
    model = nn.Linear(WIDTH, 48).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    loss = model(torch.ones(BATCH, WIDTH).cuda()).mean()
    loss.backward()
    torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm()  # type: ignore[union-attr]
    assert {block.category.value for block in blocks(simulation, 2)} == {"temporary"}
    optimizer.step()
    assert {block.category.value for block in timeline_of(simulation.record(None).program).blocks if block.phase == "optimizer"} == {
        "optimizer_state",
        "temporary",
    }


def test_an_average_of_the_model(simulation: Simulation) -> None:
    model = Tied().cuda()
    average = torch.optim.swa_utils.AveragedModel(model)
    model(torch.ones(BATCH, WIDTH).cuda()).mean().backward()
    average.update_parameters(model)
    with torch.no_grad():
        average(torch.ones(BATCH, WIDTH).cuda())
    assert live_bytes(simulation)[Category.PARAMETER] == held_bytes((*model.parameters(), *average.parameters()))


def _average_on_the_device(model: nn.Module) -> nn.Module:
    return deepcopy(model).cuda()


def _copy_of_the_device(model: nn.Module) -> nn.Module:
    return deepcopy(deepcopy(model).cuda())


@pytest.mark.parametrize("average", [_average_on_the_device, _copy_of_the_device])
def test_a_model_that_is_never_called(simulation: Simulation, average: Callable[[nn.Module], nn.Module]) -> None:
    model = Tied()
    ema = average(model)
    model.cuda()(torch.randn(BATCH, WIDTH, device="cuda")).sum().backward()
    used = live_bytes(simulation)
    assert used[Category.PARAMETER] == held_bytes([*model.parameters(), *ema.parameters()])
    assert used[Category.BUFFER] == held_bytes([*model.buffers(), *ema.buffers()])


def test_a_model_of_which_a_part_is_called(simulation: Simulation) -> None:
    autoencoder = nn.ModuleDict({"encoder": nn.Linear(WIDTH, WIDTH), "decoder": nn.Linear(WIDTH, 2 * WIDTH)}).cuda()
    autoencoder["encoder"](torch.randn(BATCH, WIDTH, device="cuda"))
    assert live_bytes(simulation)[Category.PARAMETER] == held_bytes(autoencoder.parameters())
    assert {block.module for block in blocks(simulation, 2 * WIDTH, WIDTH)} == {"decoder"}


COPIES_OF_WEIGHTS: dict[str, Callable[[nn.Module], Any]] = {
    "clones": lambda model: [weight.clone().detach() for weight in model.parameters()],
    "clones without gradients": lambda model: {name: weight.detach().clone() for name, weight in model.named_parameters()},
    "copies of the state": lambda model: deepcopy({name: value for name, value in model.state_dict().items() if "weight" in name}),
    "in another precision": lambda model: [weight.detach().double() for weight in model.parameters()],
    "filled later": lambda model: [torch.empty_like(weight).copy_(weight.detach()) for weight in model.parameters()],
    "copies of copies": lambda model: [weight.detach().clone().clone() for weight in model.parameters()],
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in COPIES_OF_WEIGHTS.items()])
@pytest.mark.parametrize("called_before", [False, True])
def test_copies_of_the_weights_outside_of_modules(simulation: Simulation, make: Callable[[nn.Module], Any], called_before: bool) -> None:
    model = nn.Linear(WIDTH, WIDTH, bias=False).cuda()
    if called_before:
        model(torch.ones(BATCH, WIDTH).cuda()).sum().backward()
    average = make(model)
    model(torch.ones(BATCH, WIDTH).cuda()).sum().backward()
    used = live_bytes(simulation)
    assert used[Category.PARAMETER] == held_bytes([*model.parameters(), *leaves(average)])
    assert used[Category.GRADIENT] == held_bytes(weight.grad for weight in model.parameters())


def test_copies_of_gradients(simulation: Simulation) -> None:
    model = nn.Linear(WIDTH, WIDTH, bias=False).cuda()
    model(torch.ones(BATCH, WIDTH).cuda()).sum().backward()
    kept = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    assert live_bytes(simulation)[Category.GRADIENT] == held_bytes([*kept, *(weight.grad for weight in model.parameters())])


def test_copies_that_are_no_weights(simulation: Simulation) -> None:
    model = nn.Linear(WIDTH, WIDTH, bias=False).cuda()
    batch = torch.ones(BATCH, WIDTH).cuda()
    model(batch.clone()).sum().backward()
    half = batch[: BATCH // 2].clone()
    with torch.no_grad():
        model.weight.copy_(torch.zeros((), device="cuda"))
    assert live_bytes(simulation)[Category.PARAMETER] == held_bytes(model.parameters())
    assert category_of(simulation, *half.shape) == "temporary"
    assert "parameter" not in {block.category.value for block in (*blocks(simulation), *blocks(simulation, *batch.shape))}


def test_a_checkpoint_on_the_device(simulation: Simulation, tmp_path: Path) -> None:
    """Loaded without `map_location` it takes the memory of the weights and of the optimizer's state once more."""
    model = nn.Linear(WIDTH, WIDTH, bias=False).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(BATCH, WIDTH).cuda()).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint.pt")
    loaded = torch.load(tmp_path / "checkpoint.pt", map_location="cuda:1")
    model.load_state_dict(loaded["model"])
    optimizer.load_state_dict(loaded["optimizer"])
    optimizer.step()
    elsewhere = [block for block in live(simulation) if block.device == 1 and block.nbytes > 512]
    assert sorted((block.category.value, block.nbytes) for block in elsewhere) == [
        *[("optimizer_state", 4 * WIDTH * WIDTH)] * 2,
        ("parameter", 4 * WIDTH * WIDTH),
    ]
