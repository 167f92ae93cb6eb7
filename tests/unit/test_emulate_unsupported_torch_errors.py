"""torch's errors for what it cannot simulate are recognised."""

import pytest

from fakerun.emulate.unsupported.gaps import SKIP_IT
from fakerun.emulate.unsupported.torch_errors import gap_of

# As torch's fake tensors name them; the message is the operator.
UnsupportedOperatorException = type("UnsupportedOperatorException", (RuntimeError,), {})
DataDependentOutputException = type("DataDependentOutputException", (RuntimeError,), {})

NO_KERNEL = (
    "Could not run 'aten::histogram.bin_ct' with arguments from the '{}' backend. This could be because the operator doesn't exist for "
    "this backend ... CPU: registered at RegisterCPU.cpp:1 [kernel]" + "\nmany lines" * 40
)
GAPS = [
    (
        NotImplementedError(NO_KERNEL.format("Lazy")),
        f"torch.ops.aten.histogram is not emulated: torch cannot run it without the device. {SKIP_IT}",
    ),
    (
        NotImplementedError(NO_KERNEL.format("SparseCUDA")),
        f"torch.ops.aten.histogram is not emulated: torch cannot run it without the device. {SKIP_IT}",
    ),
    (
        UnsupportedOperatorException("mine.sum.default"),
        "torch.ops.mine.sum is not emulated: the shape of its result is known only by running it. Register a shape rule with "
        'torch.library.register_fake("mine::sum"), which torch.compile needs too, or skip the call.',
    ),
    (
        RuntimeError("There was no fake impl registered for <CustomOpDef(mine::sum)>. This is necessary for torch.compile to work."),
        "torch.ops.mine.sum is not emulated: the shape of its result is known only by running it. Register a shape rule with "
        'torch.library.register_fake("mine::sum"), which torch.compile needs too, or skip the call.',
    ),
    (
        RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU."),
        f"A call that needs the device itself is not emulated: torch cannot run it without the device. {SKIP_IT}",
    ),
    (
        RuntimeError("PyTorch is not linked with support for cuda devices"),
        f"A call that needs the device itself is not emulated: torch cannot run it without the device. {SKIP_IT}",
    ),
    (
        DataDependentOutputException("aten.equal.default"),
        f"torch.ops.aten.equal is not emulated: its result depends on values that a dry run does not compute. {SKIP_IT}",
    ),
    (
        RuntimeError("Cannot access data pointer of Tensor (e.g. FakeTensor, FunctionalTensor)."),
        "Native code that reads a device tensor's memory is not emulated: tensors on the device have no data in a dry run. " + SKIP_IT,
    ),
]


@pytest.mark.parametrize(("error", "message"), GAPS)
def test_a_gap_has_a_one_line_message(error: Exception, message: str) -> None:
    assert str(gap_of(error)) == message


@pytest.mark.parametrize(
    "error",
    [
        ValueError(NO_KERNEL.format("Lazy")),
        NotImplementedError("forward is not implemented"),
        NotImplementedError(NO_KERNEL.format("QuantizedCPU")),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x8 and 16x8)"),
    ],
)
def test_other_errors_are_not_gaps(error: Exception) -> None:
    assert gap_of(error) is None


def test_the_simulated_operator_is_preferred_to_the_one_in_torchs_error() -> None:
    assert str(gap_of(NotImplementedError(NO_KERNEL.format("Lazy")), "aten.mm.default")).startswith("torch.ops.aten.mm is not emulated")
