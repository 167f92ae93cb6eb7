"""What kernels request and no rule includes, because it depends on a library's choice or on values."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fakerun.device_memory.kernels.operands import Operands, TensorOperand, operands_of
from fakerun.records.device_program import Operation

_MIB = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What is left out, why, and how much it may be.

    `operators` are the names of the operators that have it, empty where no name tells; `most_bytes` is the most of one of them, from its
    arguments and results, None where that is not known.
    """

    what: str
    why: str
    bound: str
    operators: frozenset[str] = frozenset()
    most_bytes: Callable[[Operands, Operands], float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotIncluded:
    """A gap that a program has. `most_bytes` is that of its largest operation, None if it is not known."""

    gap: Gap
    most_bytes: int | None


def not_included(operations: Iterable[Operation]) -> tuple[NotIncluded, ...]:
    """The gaps of a program with these operations, in the order of `NOT_INCLUDED`."""
    by_operator: dict[str, list[Operation]] = {}
    for operation in operations:
        operator = operation.name.removeprefix("aten.").partition(".")[0]
        by_operator.setdefault(operator.removesuffix("_"), []).append(operation)
    return tuple(_found(by_operator))


def _found(by_operator: dict[str, list[Operation]]) -> Iterator[NotIncluded]:
    for gap in NOT_INCLUDED:
        operations = [each for operator in gap.operators & by_operator.keys() for each in by_operator[operator]]
        if not operations:
            continue
        if gap.most_bytes is None:
            yield NotIncluded(gap=gap, most_bytes=None)
        elif most := max(gap.most_bytes(operands_of(each.arguments), operands_of(each.results)) for each in operations):
            yield NotIncluded(gap=gap, most_bytes=round(most))


def _nbytes(operands: Operands) -> int:
    tensors = (*operands.tensors, *(tensor for each in operands.tensor_lists for tensor in each))
    return sum(_tensor_nbytes(tensor) for tensor in tensors)


def _tensor_nbytes(tensor: TensorOperand) -> int:
    return tensor.numel * tensor.element_bytes


def _of_convolution(arguments: Operands, results: Operands) -> float:
    return 4.3 * _nbytes(results)


def _of_transform(arguments: Operands, results: Operands) -> float:
    return 6 * _nbytes(arguments)


def _of_linear_algebra(arguments: Operands, results: Operands) -> float:
    return max(5 * _nbytes(arguments), 3 * _MIB)


def _of_indices(arguments: Operands, results: Operands) -> float:
    """Of each element an index, and of `unique` five times its input."""
    first = arguments.tensors[:1]
    return sum(max(8 * tensor.numel, 5 * _tensor_nbytes(tensor)) for tensor in first)


def _of_loss(arguments: Operands, results: Operands) -> float:
    return sum(map(_tensor_nbytes, arguments.tensors[:1]))


_LINEAR_ALGEBRA = frozenset(
    {
        "_linalg_det", "_linalg_eigh", "_linalg_slogdet", "_linalg_solve_ex", "_linalg_svd", "cholesky", "cholesky_inverse", "geqrf",
        "cholesky_solve", "linalg_cholesky_ex", "linalg_eig", "linalg_inv_ex", "linalg_ldl_factor_ex", "linalg_lstsq", "linalg_lu",
        "linalg_lu_factor_ex", "linalg_lu_solve", "linalg_qr", "linalg_solve_triangular", "ormqr", "triangular_solve",
    }
)  # fmt: skip

NOT_INCLUDED: tuple[Gap, ...] = (
    Gap(
        what="workspaces of convolutions",
        why="cuDNN and MIOpen choose the algorithm on the device",
        bound="measured: up to 1.4 times result and gradients of convolutions of ResNet-50, up to 4.3 times those of others",
        operators=frozenset({"convolution", "cudnn_convolution", "miopen_convolution", "convolution_backward"}),
        most_bytes=_of_convolution,
    ),
    Gap(
        what="recurrent layers of cuDNN",
        why="the emulation runs the steps of a layer one by one, which keep other tensors",
        bound="measured: 5 outputs of an LSTM are kept for backward, 6 of a GRU, 1 of an RNN; 25 to 75 MiB while one runs",
        operators=frozenset({"_cudnn_rnn", "_cudnn_rnn_backward"}),
    ),
    Gap(
        what="losses of mse_loss and smooth_l1_loss",
        why="the memory of the loss is that of the losses of all elements, of which it keeps one",
        bound="the predictions once more, as long as the loss lives",
        operators=frozenset({"mse_loss", "smooth_l1_loss"}),
        most_bytes=_of_loss,
    ),
    Gap(
        what="biases and masks that are added in place (linear layers of inputs that are not contiguous, attention without a kernel)",
        why="torch adds out of place while operations are intercepted: the emulation predicts more",
        bound="one result more than there is, while it is added",
    ),
    Gap(
        what="the workspace of the engine of cuDNN's attention",
        why="cuDNN chooses the engine on the device; 256 bytes are included, and what cudnn-frontend's graph adds for backward",
        bound="measured: 130 KiB for a single query",
    ),
    Gap(
        what="deterministic backward of flash attention",
        why="whether algorithms must be deterministic is not in the text of an operation",
        bound="one float32 gradient of the queries for each split: as many as multiprocessors per head and batch; none with warn_only",
    ),
    Gap(
        what="AOTriton's accumulator of the queries' gradient on ROCm",
        why="some of its kernels have one, by architecture",
        bound="one float32 gradient of the queries",
    ),
    Gap(
        what="scans by logarithm",
        why="they have tiles of their own",
        bound="measured: 42 KiB for 10 million numbers",
    ),
    Gap(
        what="indices that masks are expanded to, unique, nonzero, bincount, histc",
        why="their number depends on values",
        bound="8 bytes for each index; unique with indices takes five times its input (measured)",
        operators=frozenset({"_unique2", "unique_dim", "unique_consecutive", "nonzero", "bincount", "histc"}),
        most_bytes=_of_indices,
    ),
    Gap(
        what="rowwise scaled products of CUTLASS",
        why="arrays of problem sizes and descriptors of each multiprocessor",
        bound="less than 1 MiB; none was measured",
    ),
    Gap(
        what="copies to the host of tensors that are not contiguous",
        why="the device of the result is not in the text of an operation",
        bound="one more tensor",
    ),
    Gap(
        what="batch normalisation",
        why="cuDNN's workspace; sums by channel otherwise",
        bound="measured: 0.8 MiB for 64 channels in channels_last, else a few times the channels",
    ),
    Gap(
        what="workspaces of linear algebra (solvers, decompositions)",
        why="cuSOLVER and MAGMA choose the algorithm",
        bound="measured: 3 MiB for small matrices, 5 times a matrix of 1 MiB",
        operators=_LINEAR_ALGEBRA,
        most_bytes=_of_linear_algebra,
    ),
    Gap(
        what="workspaces of FFTs",
        why="cuFFT chooses the algorithm",
        bound="measured: 2 to 6 times what is transformed by an FFT of 65,536",
        operators=frozenset({"_fft_r2c", "_fft_c2r", "_fft_c2c"}),
        most_bytes=_of_transform,
    ),
    Gap(
        what="workspaces of sparse products",
        why="cuSPARSE chooses the algorithm",
        bound="none was measured; sparse tensors on the device end a run",
    ),
    Gap(
        what="workspace sizes and libraries that the script chooses (torch.backends.cuda.cublas_workspace_size, preferred_blas_library)",
        why="they are not recorded",
        bound="the difference to the workspaces assumed",
    ),
    Gap(
        what="seed and offset that a generator keeps for a CUDA graph, since torch 2.14",
        why="made when a random number is captured, which is not followed; those of torch 2.11 to 2.13 are included",
        bound="1 KiB for each capture",
    ),
    Gap(
        what="handles of threads that the script starts",
        why="a workspace is taken for forward and for backward",
        bound="one cuBLAS workspace for each further thread",
    ),
)
