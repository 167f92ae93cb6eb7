"""The private names exist in this torch, and the operators named by strings are operators."""

import weakref
from typing import Any

import pytest
import torch

from fakerun import torch_private
from tests.unit.test_layers import NO_ATTRIBUTES

PAIRS = {name: value for name, value in vars(torch_private).items() if isinstance(value, tuple) and not isinstance(value[0], str)}
"""Owner and name of what is replaced."""

OPERATORS = [
    (module, name)
    for module, names in NO_ATTRIBUTES.items()
    for name in sorted(names)
    if module.rpartition(".")[2] not in ("native_calls", "nccl_size_checks", "nvml", "rewriting", "threads", "uses", "variables")
]
NAMESPACES = (torch.ops.aten, torch.ops.c10d, torch.ops._c10d_functional, torch.ops.symm_mem)
SINCE_2_15 = {"_low_contention_all_gather_ce_multicast", "_low_contention_all_gather_ce_multicast_out"}


def test_every_public_name_is_listed() -> None:
    assert set(torch_private.__all__) <= vars(torch_private).keys()


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_replaced_exists(name: str) -> None:
    owner, attribute = PAIRS[name]
    assert hasattr(owner, attribute)


@pytest.mark.parametrize(("module", "name"), OPERATORS)
def test_strings_that_are_no_attributes_are_operators(module: str, name: str) -> None:
    if name in SINCE_2_15 and torch.__version__ < "2.15":
        pytest.skip("an operator of torch 2.15")
    assert any(hasattr(namespace, name) for namespace in NAMESPACES)


def test_accessors_read_what_they_name() -> None:
    tensor = torch.ones(2, requires_grad=True)
    operator: Any = torch.ops.aten.add.Tensor
    assert torch_private.storage_id(tensor.untyped_storage()) == torch_private.storage_id(tensor.view(2).untyped_storage())
    assert torch_private.is_view(tensor.view(2))
    assert not torch_private.is_view(tensor)
    assert (torch_private.operator_name(operator), torch_private.overload_name(operator)) == ("add", "Tensor")
    assert [argument.name for argument in torch_private.schema_of(operator).arguments] == ["self", "other", "alpha"]
    first, second = tensor * 2, tensor * 3
    assert torch_private.sequence_number_of(first.grad_fn) < torch_private.sequence_number_of(second.grad_fn)


def test_at_exit_only_later_libraries_take_back_what_they_registered() -> None:
    before = torch.library.Library("fakerun_test", "FRAGMENT")
    torch_private.keep_registered()
    after = torch.library.Library("fakerun_test", "FRAGMENT")
    runs_at_exit = {id(alive[0]): each.atexit for each in _finalizers() if (alive := each.peek()) is not None}
    assert (runs_at_exit[id(before)], runs_at_exit[id(after)]) == (False, True)


def _finalizers() -> "list[weakref.finalize[Any, Any]]":
    return list(weakref.finalize._registry)  # type: ignore[attr-defined]
