"""In-place operators on lists of tensors (`_foreach_add_`): which operators they are, and whether their kernels could reject a call."""

from collections.abc import Sequence
from typing import Any

from fakerun.torch_private import FakeTensor, schema_of


def is_in_place_foreach(func: Any) -> bool:
    """Whether the operator's only effect is on the contents of the tensors of its first list."""
    return func.name().startswith("aten::_foreach_") and schema_of(func).is_mutable and not schema_of(func).returns


def elements_match(args: Sequence[Any]) -> bool:
    """Whether all lists have one length and the tensors at each position match: floating-point, of one size, dtype and device.

    The numbers beside them are real. Anything else may be broadcast, promoted or rejected by the kernel.
    """
    lists = [arg for arg in args if isinstance(arg, (list, tuple))]
    numbers = [arg for arg in args if not isinstance(arg, (list, tuple))]
    numbers.extend(number for each in lists if each and _is_real(each[0]) for number in each)
    tensors = [each for each in lists if not (each and _is_real(each[0]))]
    if not all(map(_is_real, numbers)) or any(len(each) != len(lists[0]) for each in lists):
        return False
    return all(map(_same_metadata, zip(*tensors, strict=True)))


def _is_real(value: Any) -> bool:
    return type(value) in (int, float)


def _same_metadata(tensors: Sequence[Any]) -> bool:
    first = tensors[0]
    if type(first) is not FakeTensor or not first.is_floating_point():
        return False
    size, dtype, device = first.shape, first.dtype, first.fake_device
    return all(
        type(each) is FakeTensor and each.shape == size and each.dtype == dtype and each.fake_device == device for each in tensors[1:]
    )
