"""Convolutions: operations of the implicit matrix product over a share of the peak."""

import math
from collections.abc import Callable, Mapping
from functools import partial

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates

SHARE_OF_PEAK = 0.45
"""Of 16-bit numbers, of TF32 for float32 (cuDNN uses it by default). An assumption: no table of convolutions was found."""


def _of(operation: DescribedOperation, rates: Rates, *, is_backward: bool) -> OperationCost:
    """A forward pass multiplies each element of the output with the weights of a filter; each gradient of a backward pass does as much."""
    tensors = operation.operands.tensors
    inputs, weight = tensors[1:3] if is_backward else tensors[:2]
    transposed = next(iter(operation.operands.flags), False)
    if transposed:
        positions = _positions(inputs.sizes)
    elif is_backward:
        positions = _positions(tensors[0].sizes)
    elif operation.has_results:
        positions = _positions(operation.results[0].sizes)
    else:
        strides = next(iter(operation.operands.integer_lists), (1,))
        positions = _positions(inputs.sizes) // math.prod(strides)
    flops = 2 * positions * weight.numel
    if is_backward:
        wanted = operation.operands.flag_lists[-1] if operation.operands.flag_lists else (True, True, False)
        flops *= sum(wanted[:2])
    dtype = "tf32" if inputs.dtype == "float32" else inputs.dtype
    peak = rates.peak_flops(dtype) or rates.peak_flops("float32")
    moved = operation.moved_bytes
    seconds = max(flops / (peak * SHARE_OF_PEAK * rates.clock_factor) if peak else math.inf, moved / rates.memory_bytes_per_s, LAUNCH_S)
    return OperationCost(
        kind=OperationKind.CONVOLUTION,
        seconds=seconds if math.isfinite(seconds) else moved / rates.memory_bytes_per_s,
        basis=Basis.ROOFLINE,
        kernels=2 if is_backward else 1,
        flops=flops,
        full_flops=flops,
        moved_bytes=moved,
    )


def _positions(sizes: tuple[int, ...]) -> int:
    """Of all images: what is left of [images, channels, ...] without the channels."""
    return math.prod(sizes[:1] + sizes[2:])


RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {
    **dict.fromkeys(("convolution", "_convolution", "cudnn_convolution", "conv2d", "conv1d", "conv3d"), partial(_of, is_backward=False)),
    "convolution_backward": partial(_of, is_backward=True),
}
