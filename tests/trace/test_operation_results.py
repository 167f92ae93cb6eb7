"""What is recorded of the results of operations."""

import torch
from torch.nn.functional import dropout, scaled_dot_product_attention

from fakerun.device_memory.kernels.operands import TensorOperand, operands_of
from fakerun.rank.simulation import Simulation
from fakerun.records.device_program import Opcode, Operation


def executed(simulation: Simulation) -> list[Operation]:
    program = simulation.record(None).program
    return [program.operations[each.operand] for each in program.issued() if each.opcode is Opcode.EXECUTE]


def results(simulation: Simulation, name: str) -> list[str]:
    return [operation.results for operation in executed(simulation) if operation.name.startswith(f"aten.{name}.")]


def test_a_result_is_told_as_an_argument_is(simulation: Simulation) -> None:
    x = torch.ones(4, 8, device="cuda", dtype=torch.bfloat16)
    for _ in range(2):
        x @ x.t()
    torch.empty_like(x.t()).sin()
    assert results(simulation, "ones") == ["bfloat16[4,8]"]
    assert results(simulation, "mm") == ["bfloat16[4,4]", "bfloat16[4,4]"]
    assert results(simulation, "sin") == ["bfloat16[8,4]{1,8}"]


def test_each_result_of_several_is_told_and_none_where_there_is_none(simulation: Simulation) -> None:
    x = torch.ones(4, 8, device="cuda")
    x.sort()
    dropout(x, 0.5)
    torch.nn.functional.layer_norm(x, (8,))
    assert results(simulation, "sort") == ["float32[4,8], int64[4,8]"]
    assert results(simulation, "native_dropout") == ["float32[4,8], bool[4,8]"]
    assert results(simulation, "native_layer_norm") == ["float32[4,8], float32[4,1], float32[4,1]"]


def test_lists_are_in_brackets_and_read_as_operands(simulation: Simulation) -> None:
    tensors = [torch.ones(size, device="cuda") for size in (8, 8, 2)]
    torch._foreach_mul(tensors, 2.0)
    (text,) = results(simulation, "_foreach_mul")
    assert text == "[float32[8] x 2, float32[2]]"
    assert operands_of(text).tensor_lists == ((*[TensorOperand("float32", (8,))] * 2, TensorOperand("float32", (2,))),)


def test_what_only_changes_its_arguments_has_no_result(simulation: Simulation) -> None:
    x, out = torch.ones(8, device="cuda"), torch.empty(8, device="cuda")
    x.add_(1)
    torch.exp(x, out=out)
    torch._foreach_add_([x, out], 1.0)
    out.copy_(x)
    assert [each.results for each in executed(simulation)] == ["float32[8]", "", "", "", ""]


def test_a_copy_tells_its_direction(simulation: Simulation) -> None:
    x = torch.ones(8, device="cuda")
    x.cpu()
    x.half()
    torch.ones(8).cuda()
    copies = [(each.arguments, each.results) for each in executed(simulation) if each.name == "aten._to_copy.default"]
    assert [(arguments.split(",")[0], results) for arguments, results in copies] == [
        ("float32[8]", "float32[8]@cpu"),
        ("float32[8]", "float16[8]"),
        ("float32[8]@cpu", "float32[8]"),
    ]


def test_a_large_copy_to_the_host_is_executed_once(simulation: Simulation) -> None:
    torch.ones(2**26, device="cuda").cpu()
    assert results(simulation, "_to_copy") == ["float32[67108864]@cpu"]


def test_work_on_large_host_tensors_is_none_of_the_device(simulation: Simulation) -> None:
    large = torch.ones(2**26)
    (large + large).mul_(2)
    large.cuda()
    assert [each.name for each in executed(simulation)] == ["aten._to_copy.default"]


def test_results_that_depend_on_values_are_those_of_each_call(simulation: Simulation) -> None:
    values = torch.tensor([1, 0, 1, 0], device="cuda")
    values.nonzero()
    values.fill_(1).nonzero()
    assert results(simulation, "nonzero") == ["int64[2,1]", "int64[4,1]"]


def test_attention_makes_what_its_backward_reads(simulation: Simulation) -> None:
    q = torch.ones(1, 2, 64, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
    forward, backward = [each for each in executed(simulation) if "attention" in each.name]
    assert operands_of(forward.results).tensors[0].sizes == (1, 2, 64, 64)
    assert [each.sizes for each in operands_of(backward.results).tensors] == [(1, 2, 64, 64)] * 3
