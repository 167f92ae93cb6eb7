"""What is recorded of compiled functions: which operations they have, in forward and backward, and which blocks these read and write."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from fakerun.rank.simulation import Simulation
from fakerun.records.device_program import BlockUses, DeviceProgram, Opcode, check_program
from tests.in_process import Simulate

pytestmark = pytest.mark.filterwarnings("ignore")


class Block(nn.Module):
    """`x + silu(w x)`."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4, bias=False)

    def forward(self, x: torch.Tensor) -> Any:
        return x + functional.silu(self.linear(x))


def program_of(simulation: Simulation) -> DeviceProgram:
    program = simulation.record(None).program
    check_program(program)
    return program


def told(program: DeviceProgram) -> list[str]:
    """`[`, `[backward` and `]` around compiled functions; operators, those of compiled code with what they read and write."""
    story: list[str] = []
    for each in program.issued():
        if each.opcode is Opcode.BEGIN_COMPILED:
            story.append("[backward" if each.operand else "[")
        elif each.opcode is Opcode.END_COMPILED:
            story.append("]")
        elif each.opcode is Opcode.EXECUTE:
            story.append(program.operations[each.operand].name.split(".")[1])
        elif each.opcode is Opcode.USE_BLOCKS:
            story[-1] += f" {_as_text(program.uses[each.operand])}"
    return story


def _as_text(uses: BlockUses) -> str:
    return f"{','.join(map(str, uses.reads))}>{','.join(map(str, uses.writes))}"


FORWARD = ["[", "mm 0,1>2", "silu 2>3", "add 0,3>4", "]"]


def test_each_operation_tells_what_it_reads_and_writes(simulation: Simulation) -> None:
    model = Block().cuda()
    model.compile()
    x = torch.ones(2, 4, device="cuda", requires_grad=True)
    model(x).sum().backward()
    x.tan()
    after = told(program_of(simulation))[2:]
    assert after[: len(FORWARD)] == FORWARD
    assert after[len(FORWARD) :] == [
        *("sum", "ones_like"),
        *("[backward", "silu_backward 0,1>2", "mm 2,3>4", "mm 2,5>6", "add 0,6>7", "]"),
        "tan",
    ]


def test_each_call_has_the_same_numbers_and_its_own_backward(simulation: Simulation) -> None:
    model = nn.Sequential(Block(), nn.Tanh(), Block()).cuda()
    model[0].compile()
    model[2].compile()
    model(torch.ones(2, 4, device="cuda")).sum().backward()
    after = told(program_of(simulation))[3:]
    assert after[: 2 * len(FORWARD) + 1] == [*FORWARD, "tanh", *FORWARD]
    backward = after[2 * len(FORWARD) + 3 :]
    assert [each.split()[0] for each in backward] == [
        *("[backward", "silu_backward", "mm", "mm", "add", "]", "tanh_backward"),
        *("[backward", "silu_backward", "mm"),
    ]


def test_nothing_is_marked_without_compiled_functions(simulation: Simulation) -> None:
    model = Block().cuda()
    model(torch.ones(2, 4, device="cuda")).sum().backward()
    program = program_of(simulation)
    assert program.uses == ()
    marks = {Opcode.BEGIN_COMPILED, Opcode.END_COMPILED, Opcode.USE_BLOCKS}
    assert marks.isdisjoint(each.opcode for each in program.instructions)


def test_what_compiled_functions_call_is_compiled_with_them(simulation: Simulation) -> None:
    inner = torch.compile(torch.sin)
    torch.compile(lambda x: inner(x).cos())(torch.ones(2, device="cuda"))
    assert told(program_of(simulation)) == ["ones", "[", "sin 0>1", "cos 1>2", "]"]


def test_what_is_changed_is_read_and_written_and_what_is_overwritten_only_written(simulation: Simulation) -> None:
    x, out = torch.ones(2, device="cuda"), torch.empty(2, device="cuda")

    def change(x: torch.Tensor, out: torch.Tensor) -> None:
        x.add_(1)
        torch.exp(x, out=out)
        out[:1].copy_(x[:1])
        x.zero_()

    torch.compile(change)(x, out)
    assert told(program_of(simulation)) == ["ones", "[", "add_ 0>0", "exp 0>1", "copy_ 0>1", "zero_ >0", "]"]


def test_recomputation_of_a_compiled_function_is_a_call_of_it(simulation: Simulation) -> None:
    model = Block().cuda()
    model.compile()
    x = torch.ones(2, 4, device="cuda", requires_grad=True)
    checkpoint(model, x, use_reentrant=False).sum().backward()
    names = [each.split()[0] for each in told(program_of(simulation))][2:]
    assert names[:5] == ["[", "mm", "silu", "add", "]"]
    recomputed = names[names.index("ones_like") + 1 :]
    assert recomputed[:5] == ["[", "mm", "]", "[backward", "silu_backward"]  # no more is needed than what silu took


class Checkpointed(nn.Module):
    """A block that is computed again in backward, as libraries wrap one before they compile it."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.block = Block()
        self.options = options

    def forward(self, x: torch.Tensor) -> Any:
        return checkpoint(self.block, x, **self.options)


def save_products(context: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operator is torch.ops.aten.mm.default else CheckpointPolicy.PREFER_RECOMPUTE


RECOMPUTED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "what silu took": ({"use_reentrant": False}, ["mm"]),
    "all": ({"use_reentrant": True}, ["mm", "silu", "add"]),
    "nothing, as products are saved": (
        {"use_reentrant": False, "context_fn": partial(create_selective_checkpoint_contexts, save_products)},
        [],
    ),
}


@pytest.mark.parametrize("kind", RECOMPUTED)
def test_what_a_checkpoint_inside_computes_again_is_compiled_code_of_backward(kind: str, simulation: Simulation) -> None:
    options, again = RECOMPUTED[kind]
    blocks: list[Any] = [torch.compile(Checkpointed(**options)) for _ in range(2)]
    model = nn.Sequential(*blocks).cuda()
    for _ in range(2):
        model(torch.ones(2, 4, device="cuda", requires_grad=True)).sum().backward()
        torch.ones(1, device="cuda").tan()
    after = told(program_of(simulation))
    step = after[after.index("tan") + 2 :]
    assert step[: 2 * len(FORWARD)] == [*FORWARD, *FORWARD]
    since = step[step.index("[backward") :]
    backward = [each.split()[0].rstrip("_") for each in since if ">" in each or each in ("[backward", "]")]
    assert backward == 2 * ["[backward", *again, "silu_backward", "mm", "mm", "add", "]"]


def test_what_the_loss_makes_after_a_checkpoint_is_not_compiled_code(simulation: Simulation) -> None:
    model = torch.compile(Checkpointed(use_reentrant=True).cuda())
    for _ in range(2):
        model(torch.ones(2, 4, device="cuda", requires_grad=True).sin()).cos().sum().backward()
        torch.ones(1, device="cuda").tan()
    after = told(program_of(simulation))
    compiled = {each.split()[0].rstrip("_") for each in after if ">" in each}
    assert compiled == {"mm", "silu", "add", "silu_backward"}


def test_what_fsdp_does_around_a_compiled_module_is_not_compiled(simulate: Simulate) -> None:
    simulation = simulate()
    mesh = init_device_mesh("cuda", (2,))
    model = nn.Sequential(Block(), Block()).cuda()
    for block in model:
        block.compile()
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for _ in range(2):
        model(torch.ones(2, 4, device="cuda")).sum().backward()
    compiled = {each.split()[0] for each in told(program_of(simulation)) if ">" in each}
    assert compiled == {"mm", "silu", "add", "silu_backward"}


def test_a_replayed_graph_repeats_what_was_compiled(simulation: Simulation) -> None:
    function = torch.compile(lambda x: x.sin().cos())
    x, graph = torch.ones(2, device="cuda"), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function(x)
    graph.replay()
    graph.replay()
    program = program_of(simulation)
    marks = [each.opcode for each in program.issued()]
    replay = marks[marks.index(Opcode.BEGIN_REPLAY) :]
    assert [opcode for opcode in replay if opcode is not Opcode.FREE] == [
        *(Opcode.BEGIN_REPLAY, Opcode.BEGIN_COMPILED),
        *(Opcode.REPLAY, Opcode.USE_BLOCKS) * 2,
        *(Opcode.END_COMPILED, Opcode.END_REPLAY),
    ]
    assert program.uses == (BlockUses(reads=(0,), writes=(1,)), BlockUses(reads=(1,), writes=(2,)))
