"""What kernels request and no rule includes, because it depends on a library's choice or on values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What is left out, why, and how much it may be."""

    what: str
    why: str
    bound: str


NOT_INCLUDED: tuple[Gap, ...] = (
    Gap(
        what="workspaces of convolutions and recurrent layers",
        why="cuDNN and MIOpen choose the algorithm on the device",
        bound="from nothing to as much as the tensors of the layer",
    ),
    Gap(
        what="the workspace of the engine of cuDNN's attention",
        why="cuDNN chooses the engine on the device; what cudnn-frontend's graph adds for backward is included",
        bound="not known",
    ),
    Gap(
        what="deterministic backward of flash attention",
        why="whether algorithms must be deterministic is not in the text of an operation",
        bound="one float32 gradient of the queries for each split: as many as multiprocessors per head and batch, rounded up",
    ),
    Gap(
        what="AOTriton's accumulator of the queries' gradient on ROCm",
        why="some of its kernels have one, by architecture",
        bound="one float32 gradient of the queries",
    ),
    Gap(
        what="shared reductions of variances and of tensors of 2 GiB and more; counters of scans",
        why="they follow from the launch configuration of each",
        bound="a few MiB, more for reductions over rows that are not contiguous",
    ),
    Gap(
        what="indices that masks are expanded to, unique, nonzero, bincount, histc",
        why="their number depends on values",
        bound="8 bytes for each index, more while they are sorted",
    ),
    Gap(
        what="grouped products and rowwise scaled products of CUTLASS",
        why="arrays of problem sizes and descriptors of each multiprocessor",
        bound="less than 1 MiB",
    ),
    Gap(
        what="copies to and from the host of tensors that are not contiguous",
        why="the device of the result is not in the text of an operation",
        bound="one more tensor",
    ),
    Gap(
        what="batch normalisation",
        why="cuDNN's workspace; sums by channel otherwise",
        bound="a few times the channels",
    ),
    Gap(
        what="linear algebra (solvers, decompositions), FFTs and sparse products",
        why="workspaces of cuSOLVER, MAGMA, cuFFT and cuSPARSE",
        bound="not known",
    ),
    Gap(
        what="workspace sizes and libraries that the script chooses (torch.backends.cuda.cublas_workspace_size, preferred_blas_library)",
        why="they are not recorded",
        bound="the difference to the workspaces assumed",
    ),
    Gap(
        what="handles of threads that the script starts",
        why="a workspace is taken for forward and for backward",
        bound="one cuBLAS workspace for each further thread",
    ),
)
