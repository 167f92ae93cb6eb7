"""Computes the placements of `_foreach_` and `_fused_` operators on DTensors once for each distinct element of their lists.

torch does it for each parameter of the model and each operator of the optimizer, in time that grows with the square of the list (2.13):
3.3 s for an AdamW over Llama 3 8B, more than everything else in a step. The elements are independent of each other, and
the layers of a model have equal parameters.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import ShardingPropagator

_PROPAGATE = "propagate_op_sharding_non_cached"
_ELEMENTWISE = ("aten::_foreach_", "aten::_fused_")


@contextmanager
def deduplicated_foreach_sharding(_: EmulationContext) -> Iterator[None]:
    """Reuse the placements of equal elements until the context ends."""
    propagate: Callable[[Any, Any], Any] = getattr(ShardingPropagator, _PROPAGATE)

    def propagate_distinct(self: Any, schema: Any) -> Any:
        length = _length_of_lists(schema) if schema.op.name().startswith(_ELEMENTWISE) else 0
        if not length:
            return propagate(self, schema)
        first_of, element_of = _distinct(schema.args_schema, length)
        if len(first_of) == length:
            return propagate(self, schema)
        found = propagate(self, _with_elements(schema, length, first_of))
        return _for_all(found, schema, len(first_of), element_of)

    with Patches() as patches:
        patches.set(ShardingPropagator, _PROPAGATE, propagate_distinct)
        yield


def _length_of_lists(schema: Any) -> int:
    """How many elements the operator's lists have; 0 without a list, or where lists differ in length, which is torch's to reject."""
    lengths = {len(arg) for arg in schema.args_schema if _is_list(arg) and arg}
    in_keywords = any(_is_list(value) for value in schema.kwargs_schema.values())
    return lengths.pop() if len(lengths) == 1 and not in_keywords else 0


def _is_list(arg: Any) -> bool:
    return isinstance(arg, (list, tuple))


def _distinct(args: Sequence[Any], length: int) -> tuple[list[int], list[int]]:
    """Where each distinct element is first, and for every element which of these it equals."""
    columns = zip(*(arg for arg in args if _is_list(arg) and len(arg) == length), strict=True)
    numbers: dict[tuple[Any, ...], int] = {}
    first_of: list[int] = []
    element_of: list[int] = []
    for index, column in enumerate(columns):
        number = numbers.setdefault(tuple((type(each), each) for each in column), len(numbers))  # 1 and 1.0 promote differently
        if number == len(first_of):
            first_of.append(index)
        element_of.append(number)
    return first_of, element_of


def _with_elements(schema: Any, length: int, indices: Sequence[int]) -> Any:
    """The schema with these elements of each list alone."""
    args = tuple(type(arg)(arg[i] for i in indices) if _is_list(arg) and len(arg) == length else arg for arg in schema.args_schema)
    return type(schema)(schema.op, args, schema.kwargs_schema, schema.schema_info)


def _for_all(found: Any, schema: Any, distinct: int, element_of: Sequence[int]) -> Any:
    """The placements of the distinct elements, expanded to all elements."""
    if _is_list(found.output_spec):
        found.output_spec = type(found.output_spec)(found.output_spec[number] for number in element_of)
    if found.redistribute_schema is not None:
        found.redistribute_schema = _with_elements(found.redistribute_schema, distinct, element_of)
    return found
