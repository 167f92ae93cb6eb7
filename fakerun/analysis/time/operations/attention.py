"""Fused attention: the time of a pass, by kernel, head, causality, heads in all and length."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates
from fakerun.hardware.kernel_tables import AttentionCurve, AttentionSetting

BACKWARD_FLOPS = 2.5
"""Of the forward pass: five products instead of two, as the FlashAttention papers count."""

_BACKWARD_OF_FORWARD = 0.85
"""The rate of the backward pass over that of the forward pass, where only the latter is in a table: cuDNN on the H200."""

_FLOPS_PER_CYCLE = {"flash": 1235.0, "efficient": 630.0}
"""A multiprocessor's, forward, long sequences, heads of 128, where there are no tables: FlashAttention-2 has 1,232 (H100), 1,241 (A100)."""
_FLEX_SHARE = (0.9, 0.85)
"""Of FlashAttention-2's rate, forward and backward: pytorch.org/blog/flexattention (2024, A100). Later versions are faster on Hopper."""
_CAUSAL_DENSITY = 0.75
"""Below this a mask is more like a causal one than like none."""
_FIXED_S = 50e-6
"""What a pass takes beside its operations: 2 to 80 us on the H100."""
_CUDNN_SHARE = 0.6
"""Of the peak, cuDNN on Hopper and later; before, it is taken to be as fast as FlashAttention-2."""
_HOPPER = (9, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """Heads of queries of all sequences, mean lengths, elements of a head of queries and keys, and of values.

    `density` is the share of the square that is computed, where a mask of blocks says it.
    """

    heads: int
    queries: float
    keys: float
    head: int
    value_head: int
    causal: bool
    density: float | None = None

    @property
    def full_flops(self) -> float:
        """Multiplications and additions of the forward pass, the whole square."""
        return 2 * self.heads * self.queries * self.keys * (self.head + self.value_head)

    @property
    def flops(self) -> float:
        """Those that the kernels execute: half of the square if a causal mask covers the rest, what a mask of blocks leaves."""
        if self.density is not None:
            return self.full_flops * self.density
        if not self.causal:
            return self.full_flops
        return self.full_flops * (0.5 if self.queries <= self.keys else 1 - 0.5 * self.keys / self.queries)


def attention_cost(shape: AttentionShape, kernel: str, moved_bytes: int, rates: Rates, *, is_backward: bool) -> OperationCost:
    """The cost of one pass of a kernel: flash (FlashAttention-2), cudnn or efficient."""
    factor = BACKWARD_FLOPS if is_backward else 1.0
    computing_s, basis = _seconds(shape, kernel, rates, is_backward=is_backward)
    return OperationCost(
        kind=OperationKind.ATTENTION,
        seconds=max(computing_s / rates.attention_clock_factor, LAUNCH_S, moved_bytes / rates.memory_bytes_per_s),
        basis=basis,
        kernels=3 if is_backward else 1,
        flops=round(shape.flops * factor),
        full_flops=round(shape.full_flops * factor),
        moved_bytes=moved_bytes,
    )


def _seconds(shape: AttentionShape, kernel: str, rates: Rates, *, is_backward: bool) -> tuple[float, Basis]:
    """The time of a pass at the highest clock, and what it is taken from."""
    hopper = rates.accelerator.compute_capability >= _HOPPER
    if kernel == "cudnn" and not hopper:
        kernel = "flash"
    flops = shape.flops * (BACKWARD_FLOPS if is_backward else 1.0)
    for setting in _settings(kernel, shape, is_backward=is_backward):
        curve = rates.tables.attention.get(setting) if rates.tables is not None else None
        if curve is not None:
            own = rates.tables_are_own and rates.table_factor == 1.0 and (setting.head, setting.causal) == (shape.head, shape.causal)
            of_backward = setting.is_backward == is_backward
            seconds = _on_curve(curve, shape, flops) * (1.0 if of_backward else 1.0 / _BACKWARD_OF_FORWARD)
            return seconds / rates.table_factor, _basis(curve, shape) if own and of_backward else Basis.EXTRAPOLATED
    rate = rates.peak_flops("bfloat16") * _CUDNN_SHARE if kernel == "cudnn" else _FLOPS_PER_CYCLE[kernel] * rates.cycles_per_s
    rate = min(rate, rates.peak_flops("bfloat16") * rates.product_share) * (_BACKWARD_OF_FORWARD if is_backward else 1.0)
    return flops / rate + _FIXED_S, Basis.ROOFLINE


def _on_curve(curve: AttentionCurve, shape: AttentionShape, flops: float) -> float:
    us = flops * 1e-6 / curve.tflops + curve.fixed_us + curve.us_per_element * shape.heads * shape.queries * shape.head
    return us * 1e-6


def _basis(curve: AttentionCurve, shape: AttentionShape) -> Basis:
    """Whether a curve has a point of these sizes, or of sizes around them."""
    if any((heads, length) == (shape.heads, shape.queries) for heads, length, _ in curve.points):
        return Basis.MEASURED
    work = sorted(heads * length**2 for heads, length, _ in curve.points)
    return Basis.INTERPOLATED if work[0] <= shape.heads * shape.queries**2 <= work[-1] else Basis.EXTRAPOLATED


def _settings(kernel: str, shape: AttentionShape, *, is_backward: bool) -> Iterator[AttentionSetting]:
    """Settings to look for, the nearest first; those of the forward pass last."""
    heads = sorted((64, 128, 256), key=lambda head: abs(math.log(head / shape.head)))
    for backward in (True, False) if is_backward else (False,):
        for head in heads:
            for causal in (shape.causal, not shape.causal):
                yield AttentionSetting(kernel, backward, head, causal)


# -- operators -----------------------------------------------------------------------------------------------------------------------------


def _of(operation: DescribedOperation, rates: Rates, *, kernel: str, first: int, causal_flag: int, heads_first: bool) -> OperationCost:
    """The cost of an operator whose queries, keys and values begin at its tensor number `first`, 1 in a backward pass."""
    query, key, value = operation.operands.tensors[first : first + 3]
    flags = operation.operands.flags
    causal = len(flags) > causal_flag and flags[causal_flag]
    if len(query.sizes) == 4:
        length, head_axis = (2, 1) if heads_first else (1, 2)
        shape = AttentionShape(
            heads=query.sizes[0] * query.sizes[head_axis],
            queries=query.sizes[length],
            keys=key.sizes[length],
            head=query.sizes[3],
            value_head=value.sizes[3],
            causal=causal,
        )
    else:  # sequences of different lengths, one after the other, with their bounds: taken to be equal
        bounds = next((each for each in operation.operands.tensors[first + 3 :] if each.dtype == "int32"), None)
        sequences = 1 if bounds is None else max(bounds.numel - 1, 1)
        shape = AttentionShape(
            heads=sequences * query.sizes[1],
            queries=query.sizes[0] / sequences,
            keys=key.sizes[0] / sequences,
            head=query.sizes[2],
            value_head=value.sizes[2],
            causal=causal,
        )
    return attention_cost(shape, kernel, operation.moved_bytes, rates, is_backward=first == 1)


def _flex(operation: DescribedOperation, rates: Rates, *, first: int) -> OperationCost:
    """FlexAttention: queries, keys and values, in backward after the gradient, and the density of its mask of blocks.

    Its kernel is taken to reach a share of FlashAttention-2's rate.
    """
    query, key, value = operation.operands.tensors[first : first + 3]
    text = operation.operands.named.get("density")
    density = float(str(text)) if text is not None else 1.0
    shape = AttentionShape(
        heads=query.sizes[0] * query.sizes[1],
        queries=query.sizes[2],
        keys=key.sizes[2],
        head=query.sizes[3],
        value_head=value.sizes[3],
        causal=density < _CAUSAL_DENSITY,
        density=density,
    )
    cost = attention_cost(shape, "flash", operation.moved_bytes, rates, is_backward=first == 1)
    return replace(cost, seconds=cost.seconds / _FLEX_SHARE[first], basis=Basis.EXTRAPOLATED)


def _rule(
    kernel: str, *, first: int, causal_flag: int = 0, heads_first: bool = True
) -> Callable[[DescribedOperation, Rates], OperationCost]:
    return partial(_of, kernel=kernel, first=first, causal_flag=causal_flag, heads_first=heads_first)


RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {  # `_flash_attn_*` are those of the flash_attn library
    "flex_attention": partial(_flex, first=0),
    "flex_attention_backward": partial(_flex, first=1),
    "_scaled_dot_product_flash_attention": _rule("flash", first=0),
    "_scaled_dot_product_flash_attention_backward": _rule("flash", first=1),
    "_flash_attention_forward": _rule("flash", first=0, heads_first=False),
    "_flash_attention_backward": _rule("flash", first=1, heads_first=False),
    "_scaled_dot_product_efficient_attention": _rule("efficient", first=0, causal_flag=1),
    "_scaled_dot_product_efficient_attention_backward": _rule("efficient", first=1),
    "_efficient_attention_forward": _rule("efficient", first=0, causal_flag=1, heads_first=False),
    "_efficient_attention_backward": _rule("efficient", first=1, heads_first=False),
    "_scaled_dot_product_cudnn_attention": _rule("cudnn", first=0, causal_flag=1),
    "_scaled_dot_product_cudnn_attention_backward": _rule("cudnn", first=1),
    "_cudnn_attention_forward": _rule("cudnn", first=0, causal_flag=1, heads_first=False),
    "_cudnn_attention_backward": _rule("cudnn", first=1, heads_first=False),
    "_flash_attn_forward": _rule("flash", first=0, heads_first=False),
    "_flash_attn_backward": _rule("flash", first=1, heads_first=False),
    "_flash_attn_varlen_forward": _rule("flash", first=0, heads_first=False),
    "_flash_attn_varlen_backward": _rule("flash", first=1, heads_first=False),
    "_scaled_dot_product_fused_attention_overrideable": _rule("flash", first=0),
    "_scaled_dot_product_fused_attention_overrideable_backward": _rule("flash", first=1),
}
