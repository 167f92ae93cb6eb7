"""Operations whose time is that of the bytes they move: distinct elements read and written, over what kernels reach of the bandwidth.

Some do not keep the memory busy: they are limited by elements a cycle of a multiprocessor. Both limits, and what some operators read more
than once, are those of `fakerun/hardware/measured/` (H100 and H200, torch 2.11); other cards are taken to need as many cycles an element.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation, distinct_bytes
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates
from fakerun.device_memory.kernels.operands import TensorOperand, is_dense

PINNED_BYTES_PER_S = {3: 12.0e9, 4: 25.0e9, 5: 54.6e9}
"""Between host and device by generation of PCIe, 16 lanes; 5 is measured, 3 and 4 are as much of the link."""
PAGEABLE_TO_DEVICE_S = 12e-6
PAGEABLE_BYTES_PER_S = 9.0e9
"""Copies of pageable memory: what even the smallest takes, and the rate of large ones (measured: 7.0 to 13.8 GB/s)."""

_SOFTMAX_ROWS_PER_MULTIPROCESSOR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an operator does beside moving each of its bytes once.

    `elements_per_cycle` of a multiprocessor; `passes` over the bytes of its largest input where they are more than reads and writes;
    `kernels`; `extra_s` for kernels that hardly depend on size.
    """

    kind: OperationKind
    elements_per_cycle: float | None = None
    passes: float | None = None
    kernels: int = 1
    extra_s: float = 0.0


_MIXED_TYPES_PER_CYCLE = 1.3
_STRIDED_PER_CYCLE = 1.45
_TRANSPOSED_PER_CYCLE = 0.75
_FUNCTION_PER_CYCLE = 3.0
"""Elements a cycle of a multiprocessor: types converted element by element; operands with gaps or broadcast; a transposed matrix; functions
of transcendental instructions."""

_Kind = OperationKind
_POINTWISE = Limits(kind=_Kind.POINTWISE)
_FUNCTION = Limits(kind=_Kind.POINTWISE, elements_per_cycle=_FUNCTION_PER_CYCLE)
_REDUCTION = Limits(kind=_Kind.REDUCTION, extra_s=5e-6)
_COPY = Limits(kind=_Kind.COPY)
_NORM_BACKWARD = Limits(kind=_Kind.NORM, passes=7, kernels=2)

_LIMITS: Mapping[str, Limits] = {
    **dict.fromkeys(("copy_", "clone", "_to_copy", "cat", "stack", "fill_", "zero_", "zeros", "ones", "full", "zeros_like", "ones_like"), _COPY),
    **dict.fromkeys(("new_zeros", "new_full", "new_ones", "full_like", "contiguous", "constant_pad_nd", "flip"), _COPY),
    "roll": Limits(kind=_Kind.COPY, elements_per_cycle=0.85),
    **dict.fromkeys(("gelu", "gelu_backward", "tanh", "sigmoid", "exp", "log", "pow", "erf", "sin", "cos", "silu", "mish"), _FUNCTION),
    **dict.fromkeys(("softplus", "elu", "silu_backward"), _FUNCTION),
    "native_dropout": Limits(kind=_Kind.POINTWISE, elements_per_cycle=2.1),
    **dict.fromkeys(("normal_", "uniform_", "bernoulli_", "randn", "rand", "randn_like", "rand_like"), Limits(kind=_Kind.POINTWISE, elements_per_cycle=1.7)),
    **dict.fromkeys(("randint", "randperm", "exponential_", "random_"), Limits(kind=_Kind.POINTWISE, elements_per_cycle=1.7)),
    **dict.fromkeys(("sum", "mean", "amax", "amin", "max", "min", "any", "all", "prod", "var", "std", "var_mean", "linalg_vector_norm"), _REDUCTION),
    **dict.fromkeys(("norm", "logsumexp", "count_nonzero", "argmax", "argmin"), _REDUCTION),
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp"), Limits(kind=_Kind.REDUCTION, elements_per_cycle=1.0)),
    **dict.fromkeys(("_fused_rms_norm", "native_layer_norm", "native_group_norm"), Limits(kind=_Kind.NORM, passes=2.7)),
    **dict.fromkeys(("_fused_rms_norm_backward", "native_layer_norm_backward", "native_group_norm_backward"), _NORM_BACKWARD),
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update", "miopen_batch_norm"), Limits(kind=_Kind.NORM, passes=3)),
    **dict.fromkeys(("native_batch_norm_backward", "cudnn_batch_norm_backward", "batch_norm_backward"), Limits(kind=_Kind.NORM, passes=5)),
    "_softmax": Limits(kind=_Kind.REDUCTION, elements_per_cycle=1.1),
    "_softmax_backward_data": Limits(kind=_Kind.REDUCTION, passes=6.3, kernels=2),
    "_log_softmax": Limits(kind=_Kind.LOSS, elements_per_cycle=2.2),
    "_log_softmax_backward_data": Limits(kind=_Kind.LOSS, passes=4),
    **dict.fromkeys(("nll_loss_forward", "nll_loss_backward", "nll_loss2d_forward", "nll_loss2d_backward"), Limits(kind=_Kind.LOSS, extra_s=8e-6)),
    **dict.fromkeys(("mse_loss", "mse_loss_backward", "binary_cross_entropy", "binary_cross_entropy_with_logits"), Limits(kind=_Kind.LOSS)),
    "index_add_": Limits(kind=_Kind.OTHER, elements_per_cycle=0.44),
    **dict.fromkeys(("scatter_add", "scatter_add_", "index_add", "scatter_reduce"), Limits(kind=_Kind.OTHER, elements_per_cycle=0.44)),
    **dict.fromkeys(("index_put_", "index_put", "_index_put_impl_", "_unsafe_index_put"), Limits(kind=_Kind.OTHER, elements_per_cycle=0.82)),
    **dict.fromkeys(("topk", "kthvalue"), Limits(kind=_Kind.OTHER, elements_per_cycle=0.45)),
    **dict.fromkeys(("sort", "argsort", "msort"), Limits(kind=_Kind.OTHER, elements_per_cycle=0.075, kernels=8, extra_s=50e-6)),
    **dict.fromkeys(("nonzero", "masked_select", "unique", "unique_consecutive", "_unique2", "unique_dim"), Limits(kind=_Kind.OTHER, kernels=4, extra_s=15e-6)),
}  # fmt: skip

_GATHERS = frozenset({"embedding", "index", "index_select", "gather", "take", "_unsafe_index", "take_along_dim"})


def moved_bytes_cost(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """The cost of an operator that has no rule of its own."""
    limits = _LIMITS.get(operation.operator) or _LIMITS.get(operation.operator.removesuffix("_")) or _POINTWISE
    moved = operation.moved_bytes
    if limits.passes is not None:
        moved = max(moved, round(limits.passes * max(map(distinct_bytes, operation.read), default=0)))
    per_cycle = _elements_per_cycle(operation, limits)
    computing_s = 0.0 if per_cycle is None else operation.elements / (per_cycle * rates.cycles_per_s)
    return OperationCost(
        kind=limits.kind,
        seconds=max(moved / rates.memory_bytes_per_s, computing_s) + limits.kernels * LAUNCH_S + limits.extra_s,
        basis=Basis.ROOFLINE,
        kernels=limits.kernels,
        moved_bytes=moved,
    )


def _elements_per_cycle(operation: DescribedOperation, limits: Limits) -> float | None:
    """The tightest limit on elements a cycle of a multiprocessor."""
    found = [] if limits.elements_per_cycle is None else [limits.elements_per_cycle]
    if limits.kind in (OperationKind.POINTWISE, OperationKind.COPY):
        large = [each for each in (*operation.read, *operation.written) if each.numel > 1]
        if _converts(operation, large):
            found.append(_MIXED_TYPES_PER_CYCLE)
        if any(map(_is_transposed, large)):
            found.append(_TRANSPOSED_PER_CYCLE)
        elif (
            any(not is_dense(each) for each in large)
            or len({each.sizes for each in large}) > 1
            and operation.operator not in ("cat", "stack")
        ):
            found.append(_STRIDED_PER_CYCLE)
    return min(found, default=None)


def _converts(operation: DescribedOperation, tensors: list[TensorOperand]) -> bool:
    """Whether elements are converted one by one: numbers of different types, but not a copy of float32 to fewer bits."""
    numbers = {each.dtype for each in tensors if each.dtype.startswith(("float", "bfloat", "complex"))}
    if len(numbers) < 2:
        return False
    is_copy = operation.operator in ("_to_copy", "copy_")
    return not (is_copy and operation.read and operation.read[-1].dtype == "float32")


def _is_transposed(tensor: TensorOperand) -> bool:
    """Whether its elements are next to each other along the last dimension but one."""
    strides = tensor.strides
    return strides is not None and len(strides) >= 2 and strides[-2] == 1 and strides[-1] > 1 and tensor.sizes[-2] > 1


# -- operators with a rule of their own ----------------------------------------------------------------------------------------------------


def _gather(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Reads indices, and as much of the table as it writes."""
    indices = sum(distinct_bytes(each) for each in operation.inputs if each.dtype in ("int64", "int32"))
    if operation.has_results:
        result = sum(map(distinct_bytes, operation.results))
    else:
        table, *others = operation.inputs
        count = max((each.numel for each in others), default=1)
        row = table.sizes[-1] if operation.operator == "embedding" else 1
        result = count * row * table.element_bytes
    moved = indices + 2 * result
    is_embedding = operation.operator == "embedding"
    return OperationCost(
        kind=OperationKind.EMBEDDING if is_embedding else OperationKind.OTHER,
        seconds=moved / rates.memory_bytes_per_s + LAUNCH_S,
        basis=Basis.ROOFLINE,
        moved_bytes=moved,
    )


_SORTING_S = 100e-6
_GRADIENT_ELEMENTS_PER_CYCLE = 0.28


def _embedding_backward(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Zeros for the whole table, indices sorted, and gradients summed by index: 16 kernels."""
    gradient = operation.operands.tensors[0]
    rows = next(iter(operation.operands.integers), 0)
    table_bytes = rows * gradient.sizes[-1] * gradient.element_bytes
    moved = table_bytes + 2 * distinct_bytes(gradient)
    summing_s = gradient.numel / (_GRADIENT_ELEMENTS_PER_CYCLE * rates.cycles_per_s)
    return OperationCost(
        kind=OperationKind.EMBEDDING,
        seconds=table_bytes / rates.memory_bytes_per_s + summing_s + _SORTING_S,
        basis=Basis.ROOFLINE,
        kernels=16,
        moved_bytes=moved,
    )


def _log_softmax(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Reads rows three times: from memory if those that are worked on together do not fit into the second-level cache."""
    logits = operation.inputs[0]
    nbytes = distinct_bytes(logits)
    written = sum(map(distinct_bytes, operation.results))
    cache = rates.accelerator.l2_cache_bytes or 0
    in_work = _SOFTMAX_ROWS_PER_MULTIPROCESSOR * rates.accelerator.multiprocessors * logits.sizes[-1] * logits.element_bytes
    moved = written + (3 if in_work > cache else 1) * nbytes
    limits = _LIMITS[operation.operator]
    computing_s = logits.numel / ((limits.elements_per_cycle or 1.0) * rates.cycles_per_s)
    return OperationCost(
        kind=limits.kind,
        seconds=max(moved / rates.memory_bytes_per_s, computing_s) + LAUNCH_S,
        basis=Basis.ROOFLINE,
        moved_bytes=moved,
    )


def host_copy_cost(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """A copy between host and device: pinned if it does not block the host, else taken to be of pageable memory."""
    moved = max(map(distinct_bytes, (*operation.tensors, *operation.results)), default=0)
    link = rates.accelerator.interconnect
    pinned = PINNED_BYTES_PER_S.get(link.pcie_generation or 4, 25.0e9) * (link.pcie_lanes or 16) / 16
    asynchronous = True in (*operation.operands.flags, operation.operands.named.get("non_blocking"))
    seconds = LAUNCH_S + moved / pinned if asynchronous else PAGEABLE_TO_DEVICE_S + moved / min(pinned, PAGEABLE_BYTES_PER_S)
    return OperationCost(kind=OperationKind.HOST_COPY, seconds=seconds, basis=Basis.ROOFLINE, moved_bytes=moved)


RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {
    **dict.fromkeys(_GATHERS, _gather),
    "embedding_dense_backward": _embedding_backward,
    "_log_softmax": _log_softmax,
    "_softmax": _log_softmax,
}
