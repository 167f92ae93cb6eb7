"""Each operation that the device executes is recorded once: held against torch's own record of the same program on the host."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed._functional_collectives import all_reduce
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.nn import functional
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from fakerun.emulate.kernels.flex_attention import block_density
from fakerun.rank.simulation import Simulation
from fakerun.records.device_program import Opcode, Operation
from tests.in_process import Simulate

WITHOUT_KERNEL = {"aten._unsafe_view", "aten.detach", "aten.empty", "aten.empty_like", "aten.new_empty", "aten._reshape_alias"}


class Recorded(TorchDispatchMode):
    """Torch's own record of the operators that a program calls, without those that execute nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.namespace == "aten" and not func.is_view and str(func.overloadpacket) not in WITHOUT_KERNEL:
            self.operators.append(str(func))
        return func(*args, **(kwargs or {}))


def executed(simulation: Simulation) -> list[str]:
    program = simulation.record(None).program
    return [program.operations[each.operand].name for each in program.issued() if each.opcode is Opcode.EXECUTE]


def device_steps(optimizer: str, **options: Any) -> Callable[[str], None]:
    """Two steps of an optimizer whose counters of steps are on the device, where it allows that."""

    def run(device: str) -> None:
        parameters = [nn.Parameter(torch.ones(size, device=device)) for size in (4, 4, 8)]
        steps = getattr(torch.optim, optimizer)(parameters, lr=0.1, **options)
        for _ in range(2):
            for parameter in parameters:
                parameter.grad = torch.ones_like(parameter)
            steps.step()
            steps.zero_grad(set_to_none=False)

    return run


def in_place_and_out(device: str) -> None:
    x, other = torch.ones(4, 4, device=device), torch.ones(4, 4, device=device)
    out = torch.empty(4, 4, device=device)
    torch.mm(x, other, out=out)
    torch.add(x, 1, out=out)
    torch.cat([x, other], out=torch.empty(8, 4, device=device))
    x.add_(other).mul_(2).lerp_(other, 0.5).addcmul_(x, other).clamp_(0, 1).zero_().fill_(2)
    x.lerp_(other, torch.ones_like(other))
    x.masked_fill_(x > 0, 0.0).copy_(other)
    x.index_add_(0, torch.arange(4, device=device), other)
    x.scatter_add_(0, torch.zeros(1, 4, dtype=torch.int64, device=device), other)


def lists(device: str) -> None:
    tensors, others = ([torch.ones(size, device=device) for size in (4, 8)] for _ in range(2))
    torch._foreach_add(tensors, 1.0)
    torch._foreach_mul_(tensors, others)
    torch._foreach_lerp_(tensors, others, 0.5)
    torch._foreach_norm(tensors)
    torch._foreach_copy_(tensors, others)
    torch._foreach_zero_(tensors)
    nn.utils.get_total_norm(others, foreach=True)


def convolutions(device: str) -> None:
    weight = torch.ones(4, 3, 3, 3, device=device, requires_grad=True)
    mean, variance = torch.zeros(4, device=device), torch.ones(4, device=device)
    x = functional.conv2d(torch.ones(2, 3, 8, 8, device=device), weight)
    x = functional.batch_norm(x, mean, variance, training=True).relu_()
    functional.group_norm(functional.max_pool2d(x, 2), 2).square().mean().backward()


def embedding(device: str) -> None:
    weight = torch.ones(10, 4, device=device, requires_grad=True)
    tokens = torch.zeros(2, 3, dtype=torch.int64, device=device)
    functional.cross_entropy(functional.embedding(tokens, weight).view(6, 4), tokens.view(6)).backward()


def recomputed(reentrant: bool) -> Callable[[str], None]:
    def run(device: str) -> None:
        x, *weights = (torch.ones(4, 4, device=device, requires_grad=True) for _ in range(3))
        for weight in weights:
            x = checkpoint(lambda x, weight: functional.gelu(x @ weight).tanh(), x, weight, use_reentrant=reentrant)
        x.sum().backward()

    return run


def uncommon(device: str) -> None:
    """Operators whose kernels are answered by rules."""
    x = torch.ones(4, 3, device=device)
    torch.binomial(x, x / 2)
    torch._standard_gamma(x)
    torch.equal(x, x)


PROGRAMS: dict[str, Callable[[str], None]] = {
    **{f"{name} for loop": device_steps(name, foreach=False) for name in ("SGD", "Adadelta", "RMSprop")},
    **{f"{name} foreach": device_steps(name, foreach=True) for name in ("SGD", "Adadelta", "RMSprop")},
    "SGD with momentum": device_steps("SGD", foreach=False, momentum=0.9),
    **{f"{name} fused": device_steps(name, fused=True) for name in ("SGD", "Adam", "AdamW")},
    **({"Adagrad fused": device_steps("Adagrad", fused=True)} if torch.__version__ >= "2.13" else {}),  # older ones have none on CUDA
    "in place and out=": in_place_and_out,
    "lists": lists,
    "convolutions": convolutions,
    "embedding": embedding,
    "recomputed": recomputed(False),
    "recomputed, reentrant": recomputed(True),
    "answered by rules": uncommon,
}

ON_HOST = {
    "Adadelta foreach": ["aten._foreach_add_.Tensor"] * 2,
    "RMSprop foreach": ["aten._foreach_add_.Tensor"] * 2,
    **{f"{name} for loop": ["aten.add_.Tensor"] * 6 for name in ("Adadelta", "RMSprop")},
}
"""What counts steps in tensors on the host, on a device, too."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_operators_are_those_that_torch_dispatches(name: str, simulate: Simulate) -> None:
    program = PROGRAMS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Recorded() as real:
            program("cpu")
        simulation = simulate()
        program("cuda")
    expected, found = list(real.operators), executed(simulation)
    for operator in ON_HOST.get(name, ()):
        expected.remove(operator)
    host = {"aten.zeros.default"} if name in ON_HOST else set()
    assert sorted(each for each in found if each not in host) == sorted(each for each in expected if each not in host)
    assert [each for each in found if each in set(expected) - host] == [each for each in expected if each not in host] or name in ON_HOST


def test_dropout_is_one_kernel(simulation: Simulation) -> None:
    x = torch.ones(4, device="cuda", requires_grad=True)
    functional.dropout(x, 0.5).sum().backward()
    dropouts = [name for name in executed(simulation) if "dropout" in name]
    assert dropouts == ["aten.native_dropout.default", "aten.native_dropout_backward.default"]


def test_a_functional_collective_copies_what_it_reduces(simulation: Simulation) -> None:
    torch.distributed.init_process_group("nccl")
    all_reduce(torch.ones(4, device="cuda"), "sum", [0, 1])
    torch.distributed.destroy_process_group()
    assert executed(simulation)[:2] == ["aten.ones.default", "aten.clone.default"]


def test_flex_attention_is_a_kernel_with_the_density_of_its_mask(simulation: Simulation) -> None:
    query = torch.ones(1, 2, 512, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    causal = create_block_mask(lambda b, h, q, kv: q >= kv, None, None, 512, 512, device="cuda")
    before = len(executed(simulation))
    torch.compile(flex_attention)(query, query, query, block_mask=causal).sum().backward()
    program = simulation.record(None).program
    after = [program.operations[each.operand] for each in program.issued() if each.opcode is Opcode.EXECUTE][before:]
    assert [each.name.replace("add_", "add") for each in after] == [
        "higher_order.flex_attention.default",
        "aten.sum.default",
        "aten.ones_like.default",
        "higher_order.flex_attention_backward.default",
        "aten.add.Tensor",  # of the three gradients, in place from torch 2.13 on
        "aten.add.Tensor",
    ]
    heads, line = "bfloat16[1,2,512,64]", "float32[1,2,512]"
    assert after[0].arguments == f"{heads}, {heads}, {heads}, density=0.625"  # of 4 x 4 blocks 10 are not masked
    assert after[0].results == f"{heads}, {line}, {line}"
    assert after[3].arguments == f"{heads}{{0,0,0,0}}, {heads}, {heads}, {heads}, {heads}, {line}, density=0.625"
    assert after[3].results == f"{heads}, {heads}, {heads}"


def test_the_density_of_a_mask_is_that_of_its_blocks() -> None:
    def window(b: Any, h: Any, q: Any, kv: Any) -> Any:
        return (q - kv).abs() < 100

    assert block_density(lambda b, h, q, kv: q >= q, (300, 300), (128, 128)) == 1
    assert block_density(window, (1024, 1024), (128, 128)) == pytest.approx((8 + 2 * 7) / 64)
    assert block_density(lambda b, h, q, kv: q >= kv, (2**17, 2**17), (128, 128)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("unknown", [lambda b, h, q, kv: bool(q > kv), lambda b, h, q, kv: 1 / 0])
def test_a_mask_that_cannot_be_looked_at_has_no_density(unknown: Callable[..., Any]) -> None:
    assert block_density(unknown, (256, 256), (128, 128)) is None


def test_a_mask_of_documents_that_are_on_the_device_has_no_density(simulation: Simulation) -> None:
    document = torch.randint(4, (256,), device="cuda")
    mask = create_block_mask(lambda b, h, q, kv: document[q] == document[kv], None, None, 256, 256, device="cuda")
    before = len(executed(simulation))
    query = torch.ones(1, 2, 256, 64, device="cuda")
    torch.compile(flex_attention)(query, query, query, block_mask=mask)
    assert executed(simulation)[before:] == ["aten.ones.default", "higher_order.flex_attention.default"]
    assert "density" not in simulation.record(None).program.operations[-1].arguments


def test_a_launch_of_a_triton_kernel_is_an_operation(simulation: Simulation) -> None:
    triton: Any = pytest.importorskip("triton")

    @triton.jit  # type: ignore[untyped-decorator]
    def double(source, target, count):  # type: ignore[no-untyped-def]
        pass

    double[(1,)](torch.ones(4, device="cuda"), torch.zeros(4, device="cuda"), 4)
    program = simulation.record(None).program
    assert program.operations[-1] == Operation("triton.double.default", "float32[4], float32[4]")


def test_operations_on_dtensors_are_those_on_their_local_tensors(simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=4)
    mesh = init_device_mesh("cuda", (4,))
    weight = DTensor.from_local(torch.ones(8, 2, device="cuda"), mesh, [Shard(1)])
    x = DTensor.from_local(torch.ones(3, 8, device="cuda"), mesh, [Replicate()])
    product: Any = x @ weight
    product.redistribute(placements=[Replicate()]).to_local()
    program = simulation.record(None).program
    operations = [program.operations[each.operand] for each in program.issued() if each.opcode is Opcode.EXECUTE]
    assert [(each.name, each.results) for each in operations] == [
        ("aten.ones.default", "float32[8,2]"),
        ("aten.ones.default", "float32[3,8]"),
        ("aten.mm.default", "float32[3,2]"),
        ("aten.cat.default", "float32[3,8]"),  # the gathered parts are one after the other
    ]


def test_fsdp_copies_into_and_out_of_its_buffers(simulate: Simulate) -> None:
    simulation = simulate()
    mesh = init_device_mesh("cuda", (2,))
    model: Any = fully_shard(nn.Linear(64, 64, bias=False).cuda(), mesh=mesh)
    model(torch.ones(2, 64, device="cuda")).sum().backward()
    copies = [name for name in executed(simulation) if name.startswith("fsdp.")]
    gathered = ["fsdp.all_gather_copy_in.default", "fsdp.split_with_sizes_copy.default"]
    assert copies == [*gathered, "fsdp.chunk_cat.default"]
