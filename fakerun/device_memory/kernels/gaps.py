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
        what="workspaces of convolutions",
        why="cuDNN and MIOpen choose the algorithm on the device",
        bound="measured: up to 1.4 times result and gradients of convolutions of ResNet-50, up to 4.3 times those of others",
    ),
    Gap(
        what="recurrent layers of cuDNN",
        why="the emulation runs the steps of a layer one by one, which keep other tensors",
        bound="measured: 5 outputs of an LSTM are kept for backward, 6 of a GRU, 1 of an RNN; 25 to 75 MiB while one runs",
    ),
    Gap(
        what="losses of mse_loss and smooth_l1_loss",
        why="the memory of the loss is that of the losses of all elements, of which it keeps one",
        bound="the predictions once more, as long as the loss lives",
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
        what="linear algebra (solvers, decompositions), FFTs and sparse products",
        why="workspaces of cuSOLVER, MAGMA, cuFFT and cuSPARSE",
        bound="measured: 3 MiB for small matrices, 5 times a matrix of 1 MiB; 2 to 6 times what is transformed by an FFT of 65,536",
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
