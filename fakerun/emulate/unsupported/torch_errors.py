"""torch's errors for operators that it cannot simulate, restated as gaps: what is missing, and the workaround.

Free of torch: errors are recognised by class name and message, so that no caller has to load torch.
"""

import re
from dataclasses import replace
from typing import Any

from fakerun.emulate.unsupported.gaps import CUSTOM_KERNEL, NATIVE_READ, NO_DEVICE, SPARSE, UNKNOWN_SHAPE
from fakerun.errors import EmulationGapError

_NO_KERNEL = re.compile(r"Could not run '(?P<operator>[\w:.]+)' with arguments from the '\w*(?:Lazy|CUDA|Meta)' backend")
_NO_FAKE_IMPL = re.compile(r"There was no fake impl registered for <?(?:CustomOpDef\()?(?P<operator>[\w:.]+)")
_NO_DRIVER = re.compile(
    "Found no NVIDIA driver|NVIDIA driver on your system is too old|No CUDA GPUs are available|no CUDA-capable device"
    "|not linked with support for cuda devices"
)
"""Messages of torch, built with or without CUDA, on a host without a driver."""
_NO_DATA = re.compile(r"Cannot access data pointer of Tensor|Cannot access storage of FakeTensor")
_WITHOUT_DEVICE = "torch cannot run it without the device"
_VALUES_NEEDED = frozenset({"DataDependentOutputException", "DynamicOutputShapeException"})


def gap_of(error: BaseException, operator: Any = None) -> EmulationGapError | None:
    """The gap that explains torch's error, or None if the error needs no explanation. `operator` is the one being simulated, if known."""
    if not isinstance(error, RuntimeError):
        return None
    message = str(error)
    if type(error).__name__ == "UnsupportedOperatorException":
        return _without_shapes(_name(operator or message))
    if (found := _NO_FAKE_IMPL.search(message)) is not None:
        return _without_shapes(_name(found["operator"]))
    if type(error).__name__ in _VALUES_NEEDED:
        return UNKNOWN_SHAPE.error(_name(operator or message), "its result depends on values that a dry run does not compute")
    if isinstance(error, NotImplementedError) and (found := _NO_KERNEL.search(message)) is not None:
        return NO_DEVICE.error(_name(operator or found["operator"]), _WITHOUT_DEVICE)
    if _NO_DRIVER.search(message) is not None:
        return NO_DEVICE.error("A call that needs the device itself" if operator is None else _name(operator), _WITHOUT_DEVICE)
    if _NO_DATA.search(message) is not None:
        return NATIVE_READ.error("" if operator is None else _name(operator))
    return None


def sparse_gap(operator: Any) -> EmulationGapError:
    """The gap for an operator that makes a sparse tensor on the device."""
    return SPARSE.error(f"A sparse tensor on the device ({_name(operator)})")


def _without_shapes(operator: str) -> EmulationGapError:
    qualified = operator.removeprefix("torch.ops.").replace(".", "::", 1)
    workaround = f'Register a shape rule with torch.library.register_fake("{qualified}"), which torch.compile needs too, or skip the call.'
    return replace(CUSTOM_KERNEL, workaround=workaround).error(operator, "the shape of its result is known only by running it")


def _name(operator: Any) -> str:
    """As the script can write it: `torch.ops.aten.mm`, from an operator, `aten::mm.out` or `aten.mm.default`."""
    namespace, name, *_ = [*str(operator).replace("::", ".").split("."), ""]
    return f"torch.ops.{namespace}.{name}"
