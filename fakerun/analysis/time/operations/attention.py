"""Fused attention: executed operations over a rate by kernel, pass, head, causality, heads in all and length."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates
from fakerun.hardware.kernel_tables import AttentionCurve, AttentionSetting

BACKWARD_FLOPS = 2.5
"""Of the forward pass: five products instead of two, as the FlashAttention papers count."""

_NEIGHBOURS = 3
_BACKWARD_OF_FORWARD = 0.85
"""The rate of the backward pass over that of the forward pass, where only the latter is in a table: cuDNN on the H200."""

_SHARES = {"flash": 0.33, "cudnn": 0.6, "efficient": 0.17}
"""Of the peak of a card without tables, forward, long sequences: as on the H100; FlashAttention-2 reaches 0.6 on an A100."""
_FLASH_SHARE_BEFORE_HOPPER = 0.6
_HOPPER = (9, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """Heads of queries of all sequences, mean lengths, elements of a head of queries and keys, and of values."""

    heads: int
    queries: float
    keys: float
    head: int
    value_head: int
    causal: bool

    @property
    def full_flops(self) -> float:
        """Multiplications and additions of the forward pass, the whole square."""
        return 2 * self.heads * self.queries * self.keys * (self.head + self.value_head)

    @property
    def flops(self) -> float:
        """Those that the kernels execute: half of the square if a causal mask covers the rest."""
        if not self.causal:
            return self.full_flops
        return self.full_flops * (0.5 if self.queries <= self.keys else 1 - 0.5 * self.keys / self.queries)


def attention_cost(shape: AttentionShape, kernel: str, moved_bytes: int, rates: Rates, *, is_backward: bool) -> OperationCost:
    """The cost of one pass of a kernel: flash (FlashAttention-2), cudnn or efficient."""
    factor = BACKWARD_FLOPS if is_backward else 1.0
    rate, basis = _rate(shape, kernel, rates, is_backward=is_backward)
    seconds = max(shape.flops * factor / rate + LAUNCH_S, moved_bytes / rates.memory_bytes_per_s)
    return OperationCost(
        kind=OperationKind.ATTENTION,
        seconds=seconds,
        basis=basis,
        kernels=3 if is_backward else 1,
        flops=round(shape.flops * factor),
        full_flops=round(shape.full_flops * factor),
        moved_bytes=moved_bytes,
    )


def _rate(shape: AttentionShape, kernel: str, rates: Rates, *, is_backward: bool) -> tuple[float, Basis]:
    """Executed operations a second, and what that is taken from."""
    for setting, factor in _settings(kernel, shape, is_backward=is_backward):
        curves = rates.tables.attention.get(setting) if rates.tables is not None else None
        if curves:
            rate, distance = _nearest(curves, shape.heads, shape.queries)
            own = rates.tables_are_own and rates.table_factor == 1.0 and setting.head == shape.head and factor == 1.0
            basis = Basis.EXTRAPOLATED if not own or distance > 1.5 else Basis.MEASURED if distance == 0 else Basis.INTERPOLATED
            return rate * factor * rates.table_factor, basis
    share = _SHARES[kernel]
    if kernel == "flash" and rates.accelerator.compute_capability < _HOPPER:
        share = _FLASH_SHARE_BEFORE_HOPPER
    peak = rates.peak_flops("bfloat16") or rates.peak_flops("float16") or rates.peak_flops("float32")
    return peak * share * (_BACKWARD_OF_FORWARD if is_backward else 1.0), Basis.ROOFLINE


def _settings(kernel: str, shape: AttentionShape, *, is_backward: bool) -> Iterator[tuple[AttentionSetting, float]]:
    """Settings to look for, the nearest first, with what its rate is multiplied by."""
    heads = sorted((64, 128, 256), key=lambda head: abs(math.log(head / shape.head)))
    kernels = {"flash": ("flash",), "cudnn": ("cudnn",), "efficient": ("efficient",)}[kernel]
    for each in kernels:
        for causal in (shape.causal, not shape.causal):
            for head in heads:
                yield AttentionSetting(each, is_backward, head, causal), 1.0
    if is_backward:
        for setting, factor in _settings(kernel, shape, is_backward=False):
            yield setting, factor * _BACKWARD_OF_FORWARD


@lru_cache(maxsize=1024)
def _nearest(curves: tuple[AttentionCurve, ...], heads: int, length: float) -> tuple[float, float]:
    """The rate in operations a second at the nearest points in log(heads) and log(length), and the distance of the nearest in octaves.

    The length counts twice: the rate changes faster with it.
    """
    near = sorted(
        (math.hypot(math.log2(heads / point_heads), 2 * math.log2(max(length, 1.0) / point_length)), rate)
        for curve in curves
        for point_heads, point_length, rate in curve.points
    )[:_NEIGHBOURS]
    if near[0][0] == 0:
        exact = [rate for distance, rate in near if distance == 0]
        return sum(exact) / len(exact) * 1e12, 0.0
    weights = [1 / distance**2 for distance, _ in near]
    log_rate = sum(weight * math.log(rate) for weight, (_, rate) in zip(weights, near, strict=True)) / sum(weights)
    return math.exp(log_rate) * 1e12, near[0][0]


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


def _rule(
    kernel: str, *, first: int, causal_flag: int = 0, heads_first: bool = True
) -> Callable[[DescribedOperation, Rates], OperationCost]:
    return partial(_of, kernel=kernel, first=first, causal_flag=causal_flag, heads_first=heads_first)


RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {
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
    "_scaled_dot_product_fused_attention_overrideable": _rule("flash", first=0),
    "_scaled_dot_product_fused_attention_overrideable_backward": _rule("flash", first=1),
}
