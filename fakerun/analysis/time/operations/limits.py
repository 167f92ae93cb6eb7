"""What operators do beside moving each of their bytes once, as measured (`fakerun/hardware/measured`: H100 and H200, torch 2.11)."""

from collections.abc import Mapping
from dataclasses import dataclass

from fakerun.analysis.time.costs import OperationKind

CONVERTED_PER_CYCLE = 1.3
"""Elements a cycle of a multiprocessor, copied into another type; float32 to fewer bits is limited by memory only."""
MIXED_TYPES_PER_CYCLE = 1.0
"""Operands of two types."""
STRIDED_PER_CYCLE = 1.45
"""Operands with gaps, in another order than the others, or broadcast."""
TRANSPOSED_PER_CYCLE = 0.9
"""A transposed matrix: 0.5 to 1.5."""
FILLED_PER_CYCLE = 6.5
"""Numbers written and none read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What limits an operator beside its bytes.

    `elements_per_cycle` of a multiprocessor; `cycles_per_row` of one for each row of its first tensor; `passes` over the bytes of its
    largest input where they are more than reads and writes; `kernels`; `extra_s` for kernels that hardly depend on size.
    """

    kind: OperationKind
    elements_per_cycle: float | None = None
    cycles_per_row: float = 0.0
    passes: float | None = None
    kernels: int = 1
    extra_s: float = 0.0


def limits_of(operator: str) -> Limits:
    """The limits of an operator, in place or not; those of a plain pointwise one if it has none of its own."""
    return _BY_OPERATOR.get(operator) or _BY_OPERATOR.get(operator.removesuffix("_")) or _POINTWISE


def _by_operator(*rows: tuple[str, Limits]) -> Mapping[str, Limits]:
    return {operator: limits for operators, limits in rows for operator in operators.split()}


_POINTWISE = Limits(kind=OperationKind.POINTWISE)

_BY_OPERATOR = _by_operator(
    (
        "copy clone _to_copy convert_element_type cat stack fill zero zeros ones full zeros_like ones_like full_like new_zeros new_ones"
        " new_full constant_pad_nd flip",
        Limits(kind=OperationKind.COPY),
    ),
    ("roll", Limits(kind=OperationKind.COPY, elements_per_cycle=0.85)),
    ("gelu", Limits(kind=OperationKind.POINTWISE, elements_per_cycle=2.9)),
    ("gelu_backward", Limits(kind=OperationKind.POINTWISE, elements_per_cycle=2.25)),
    (
        "silu silu_backward tanh sigmoid erf exp log sin cos mish softplus elu",
        Limits(kind=OperationKind.POINTWISE, elements_per_cycle=3.8),
    ),
    ("native_dropout", Limits(kind=OperationKind.POINTWISE, elements_per_cycle=2.1)),
    (
        "normal uniform bernoulli exponential random randn rand randn_like rand_like randint randint_like randperm",
        Limits(kind=OperationKind.POINTWISE, elements_per_cycle=1.7),
    ),
    (
        "sum mean amax amin max min any all prod var std var_mean std_mean norm linalg_vector_norm logsumexp count_nonzero",
        Limits(kind=OperationKind.REDUCTION, extra_s=5e-6),
    ),
    ("argmax argmin", Limits(kind=OperationKind.REDUCTION, elements_per_cycle=3.5, extra_s=5e-6)),
    ("cumsum cumprod logcumsumexp", Limits(kind=OperationKind.REDUCTION, elements_per_cycle=1.1)),
    ("_fused_rms_norm", Limits(kind=OperationKind.NORM, passes=2.7, cycles_per_row=350)),
    ("native_layer_norm native_group_norm", Limits(kind=OperationKind.NORM, passes=2.7, cycles_per_row=620)),
    ("_fused_rms_norm_backward", Limits(kind=OperationKind.NORM, passes=7, cycles_per_row=1360, kernels=2)),
    (
        "native_layer_norm_backward native_group_norm_backward",
        Limits(kind=OperationKind.NORM, passes=7, cycles_per_row=1680, kernels=2),
    ),
    (
        "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit _batch_norm_with_update",
        Limits(kind=OperationKind.NORM, passes=3),
    ),
    ("native_batch_norm_backward cudnn_batch_norm_backward batch_norm_backward", Limits(kind=OperationKind.NORM, passes=5)),
    ("_softmax", Limits(kind=OperationKind.REDUCTION, elements_per_cycle=1.15)),
    ("_softmax_backward_data", Limits(kind=OperationKind.REDUCTION, passes=6.3, kernels=2)),
    ("_log_softmax", Limits(kind=OperationKind.LOSS, elements_per_cycle=2.2)),
    ("_log_softmax_backward_data", Limits(kind=OperationKind.LOSS, passes=4)),
    (
        "mse_loss mse_loss_backward binary_cross_entropy binary_cross_entropy_backward binary_cross_entropy_with_logits",
        Limits(kind=OperationKind.LOSS),
    ),
    ("index_add scatter_add scatter_reduce", Limits(kind=OperationKind.OTHER, elements_per_cycle=0.44)),
    (
        "index_put _index_put_impl _unsafe_index_put index_copy scatter",
        Limits(kind=OperationKind.OTHER, elements_per_cycle=0.82),
    ),
    ("topk kthvalue", Limits(kind=OperationKind.OTHER, elements_per_cycle=0.45)),
    ("sort argsort msort", Limits(kind=OperationKind.OTHER, elements_per_cycle=0.075, kernels=8, extra_s=50e-6)),
    (
        "nonzero masked_select unique unique_consecutive _unique2 unique_dim bincount",
        Limits(kind=OperationKind.OTHER, kernels=4, extra_s=15e-6),
    ),
)
