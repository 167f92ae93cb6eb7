"""Fused attention: what its forward and backward kernels accumulate in memory beside their results.

Not known, and left out: what cuDNN's engines need beside the tensors of cudnn-frontend's graph; AOTriton's accumulator of the queries'
gradient (ROCm, some kernels); deterministic algorithms, which take several accumulators. A dropout probability is not in the text of an
operation; without one, flash attention may split the keys of short queries.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, Requests, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand, is_dense

FLOAT32_BYTES = 4
_BLOCK = 128
"""Flash attention rounds lengths up to this."""
_MOST_SPLITS = 128
_CUDNN_WORKSPACE_BYTES = 256
_LARGE_SHARED_MEMORY = ((8, 0), (8, 7), (9, 0), (10, 0), (10, 3))
"""Compute capabilities on which a block has more than 99 KiB of shared memory, which the larger tiles need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """Batches, heads of queries and of keys, lengths, and elements of a head."""

    batches: int
    heads: int
    key_heads: int
    queries: int
    keys: int
    head: int
    value_head: int

    @property
    def is_empty(self) -> bool:
        return 0 in (self.batches, self.heads, self.queries, self.keys)


def _shape(query: TensorOperand, key: TensorOperand, value: TensorOperand, *, heads_first: bool) -> _Shape:
    length, heads = (2, 1) if heads_first else (1, 2)
    return _Shape(
        batches=query.sizes[0],
        heads=query.sizes[heads],
        key_heads=key.sizes[heads],
        queries=query.sizes[length],
        keys=key.sizes[length],
        head=query.sizes[3],
        value_head=value.sizes[3],
    )


def _copy_bytes(tensor: TensorOperand, *, heads_first: bool) -> int:
    """The copy that a kernel makes of a tensor whose lengths are not outside of its heads."""
    order = (0, 2, 1, 3) if heads_first else tuple(range(len(tensor.sizes)))
    return 0 if is_dense(tensor, order) else tensor.numel * tensor.element_bytes


def _rounded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _rounded_head(head: int) -> int:
    return _rounded(head, 32 if head <= 128 else 64)


# -- flash attention: aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp ------------------------------------------------------


def _flash_forward(operands: Operands, platform: Platform) -> KernelMemory:
    """`mha_fwd`: with few blocks of queries, keys are split among multiprocessors, each with an output of its own."""
    if platform.hardware.is_amd or len(operands.tensors[0].sizes) != 4:
        return NOTHING
    return _split_keys(_shape(*operands.tensors[:3], heads_first=True), platform)


def _flash_forward_lengths_first(operands: Operands, platform: Platform) -> KernelMemory:
    if platform.hardware.is_amd or len(operands.tensors[0].sizes) != 4:
        return NOTHING
    return _split_keys(_shape(*operands.tensors[:3], heads_first=False), platform)


def _split_keys(shape: _Shape, platform: Platform) -> KernelMemory:
    """`set_params_splitkv`."""
    if shape.is_empty:
        return NOTHING
    queries, heads = shape.queries, shape.heads
    if queries == 1 and heads > shape.key_heads:  # groups of heads become queries
        queries, heads = heads // shape.key_heads, shape.key_heads
    key_block = 256 if shape.head <= 64 else 128 if shape.head <= 128 else 64
    splits = _splits(
        blocks=shape.batches * heads * -(-queries // 64),
        multiprocessors=2 * platform.hardware.multiprocessors,
        key_blocks=-(-shape.keys // key_block),
    )
    if splits == 1:
        return NOTHING
    rows = splits * shape.batches * heads * queries
    return temporaries(rows * FLOAT32_BYTES, rows * _rounded_head(shape.head) * FLOAT32_BYTES)


def _splits(*, blocks: int, multiprocessors: int, key_blocks: int) -> int:
    """`num_splits_heuristic`: the fewest splits that keep the multiprocessors almost as busy as any number can."""
    if blocks >= 0.8 * multiprocessors:
        return 1
    most = min(_MOST_SPLITS, multiprocessors, key_blocks)
    eligible = [n for n in range(1, most + 1) if n == 1 or -(-key_blocks // n) != -(-key_blocks // (n - 1))]
    busy = {n: waves / math.ceil(waves) for n in eligible for waves in [blocks * n / multiprocessors]}
    return next(n for n in eligible if busy[n] >= 0.85 * max(busy.values()))


def _flash_backward(operands: Operands, platform: Platform) -> KernelMemory:
    return _flash_backward_of(operands, platform, heads_first=True)


def _flash_backward_lengths_first(operands: Operands, platform: Platform) -> KernelMemory:
    return _flash_backward_of(operands, platform, heads_first=False)


def _flash_backward_of(operands: Operands, platform: Platform, *, heads_first: bool) -> KernelMemory:
    """`mha_bwd`: the sum of the softmax's gradient, the gradient of queries in float32, and gradients of keys and values by head of query.

    The gradient and the output are copied if they are not contiguous (`_flash_attention_backward`, attention_backward.cu).
    """
    gradient, query, key, value, output = operands.tensors[:5]
    if len(query.sizes) == 3:
        return _packed_flash_backward(operands)
    shape = _shape(query, key, value, heads_first=heads_first)
    if shape.is_empty:
        return NOTHING
    if platform.hardware.is_amd:
        return temporaries(shape.batches * shape.heads * shape.queries * FLOAT32_BYTES)
    rows = shape.batches * shape.heads * _rounded(shape.queries, _BLOCK)
    grouped = shape.batches * shape.keys * shape.heads * shape.head * query.element_bytes if shape.heads != shape.key_heads else 0
    return temporaries(
        *(_copy_bytes(tensor, heads_first=heads_first) for tensor in (gradient, output)),
        rows * FLOAT32_BYTES,
        rows * _rounded_head(shape.head) * FLOAT32_BYTES,
        grouped,
        grouped,
    )


def _packed_flash_backward(operands: Operands) -> KernelMemory:
    """`mha_varlen_bwd`: sequences one after the other, each with a block of rows behind it."""
    _, query, key = operands.tensors[:3]
    bounds = next((tensor for tensor in operands.tensors[5:] if tensor.dtype == "int32"), None)
    sequences = 1 if bounds is None else bounds.numel - 1
    tokens, heads, head = query.sizes
    rows = (tokens + _BLOCK * sequences) * heads
    grouped = key.sizes[0] * heads * head * query.element_bytes if key.sizes[1] != heads else 0
    return temporaries(rows * FLOAT32_BYTES, rows * _rounded_head(head) * FLOAT32_BYTES, grouped, grouped)


# -- memory-efficient attention: attention.cu, attention_backward.cu and mem_eff_attention/kernel_backward.h -------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    """Queries and keys of a block, and whether gradients of keys and values stay in registers."""

    queries: int
    keys: int
    keeps_gradients: bool


def _efficient_forward(operands: Operands, platform: Platform) -> KernelMemory:
    return _accumulated_output(operands, platform, heads_first=True)


def _efficient_forward_lengths_first(operands: Operands, platform: Platform) -> KernelMemory:
    return _accumulated_output(operands, platform, heads_first=False)


def _accumulated_output(operands: Operands, platform: Platform, *, heads_first: bool) -> KernelMemory:
    """Heads that are too large for registers (128 elements) accumulate in float32, unless the output is float32."""
    query, key, value = operands.tensors[:3]
    shape = _shape(query, key, value, heads_first=heads_first)
    if platform.hardware.is_amd or query.dtype == "float32" or shape.value_head <= 128:
        return NOTHING
    return temporaries(shape.batches * shape.queries * shape.heads * shape.value_head * FLOAT32_BYTES)


def _efficient_backward(operands: Operands, platform: Platform) -> KernelMemory:
    return _efficient_backward_of(operands, platform, heads_first=True)


def _efficient_backward_lengths_first(operands: Operands, platform: Platform) -> KernelMemory:
    return _efficient_backward_of(operands, platform, heads_first=False)


def _efficient_backward_of(operands: Operands, platform: Platform, *, heads_first: bool) -> KernelMemory:
    """A copy of the gradient if it is not contiguous, the sum of the softmax's gradient, and the workspace of the kernel."""
    gradient, query, key, value = operands.tensors[:4]
    shape = _shape(query, key, value, heads_first=heads_first)
    if shape.is_empty:
        return NOTHING
    rows_bytes = shape.batches * shape.heads * shape.queries * FLOAT32_BYTES
    copied = _copy_bytes(gradient, heads_first=heads_first)
    if platform.hardware.is_amd:
        return temporaries(copied, rows_bytes)
    is_half = query.element_bytes == 2
    tile = _tile(max(shape.head, shape.value_head), is_half=is_half, platform=platform)
    workspace = _efficient_workspace_bytes(shape, tile, is_half=is_half)
    if is_half:
        return temporaries(copied, rows_bytes, workspace)
    requests = Requests(copied)
    product = requests.take(gradient.numel * FLOAT32_BYTES, rows_bytes)  # of output and gradient, and its sums
    requests.take(rows_bytes)
    requests.free(*product)
    requests.take(workspace)
    return requests.memory


def _tile(head: int, *, is_half: bool, platform: Platform) -> _Tile:
    """The first kernel of those generated for the type and the device that takes the head (kernels/cutlassB.h)."""
    capability = platform.hardware.compute_capability
    large = capability in _LARGE_SHARED_MEMORY
    if head <= 64:
        return _Tile(queries=64, keys=64, keeps_gradients=is_half)
    if not is_half:
        return _Tile(queries=128 if capability >= (8, 0) and large else 64, keys=64, keeps_gradients=False)
    if head <= 96 and capability in ((8, 6), (8, 9)):
        return _Tile(queries=128, keys=64, keeps_gradients=True)
    if head <= 128 and large:
        return _Tile(queries=128, keys=128, keeps_gradients=True)
    if head <= 128 and capability < (8, 0):
        return _Tile(queries=128, keys=64, keeps_gradients=True)
    return _Tile(queries=128 if large else 64, keys=64, keeps_gradients=False)


def _efficient_workspace_bytes(shape: _Shape, tile: _Tile, *, is_half: bool) -> int:
    """`workspace_size`: gradients of queries by tile, each with a lock; those of keys and values if they do not stay in registers."""
    accumulates_keys = is_half and not tile.keeps_gradients
    splits = -(-shape.keys // tile.keys)
    if shape.batches * shape.heads >= 256 and shape.keys <= 2 * tile.keys:
        splits = 1
    if accumulates_keys:
        splits = max(min(splits, 200 // (shape.batches * shape.heads)), 1)
    tiles = -(-shape.queries // tile.queries) * -(-shape.head // tile.keys)
    elements = tiles * (4 + tile.queries * tile.keys)
    if accumulates_keys:
        elements += splits * tile.keys * (_rounded(shape.head, tile.queries) + _rounded(shape.value_head, tile.queries))
    return shape.batches * shape.heads * _rounded(elements, 4) * FLOAT32_BYTES


# -- cuDNN: aten/src/ATen/native/cudnn/MHA.cpp, and scaled_dot_product_flash_attention.h of cudnn-frontend ---------------------------------


def _cudnn_forward(operands: Operands, platform: Platform) -> KernelMemory:
    """The workspace of the engine, as it was measured on an H200 for all shapes (cuDNN 9.19)."""
    return temporaries(_CUDNN_WORKSPACE_BYTES)


def _cudnn_backward(operands: Operands, platform: Platform) -> KernelMemory:
    """The gradient of queries in float32, the sum of the softmax's gradient, and gradients of keys and values by head of query.

    They are one request, with the workspace of the engine. A gradient laid out otherwise is copied.
    """
    gradient, query, key, value, output = operands.tensors[:5]
    shape = _shape(query, key, value, heads_first=True)
    copied = 0 if (gradient.strides or ()) == (output.strides or ()) else gradient.numel * gradient.element_bytes
    rows = shape.batches * shape.heads * shape.queries
    is_grouped = shape.heads != shape.key_heads
    grouped = 2 * shape.batches * shape.keys * shape.heads * shape.head * query.element_bytes if is_grouped else 0
    return temporaries(copied, rows * (shape.head + 1) * FLOAT32_BYTES + grouped + _CUDNN_WORKSPACE_BYTES)


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    "_scaled_dot_product_flash_attention": _flash_forward,
    "_scaled_dot_product_flash_attention_backward": _flash_backward,
    "_flash_attention_forward": _flash_forward_lengths_first,
    "_flash_attention_backward": _flash_backward_lengths_first,
    "_scaled_dot_product_efficient_attention": _efficient_forward,
    "_scaled_dot_product_efficient_attention_backward": _efficient_backward,
    "_efficient_attention_forward": _efficient_forward_lengths_first,
    "_efficient_attention_backward": _efficient_backward_lengths_first,
    "_scaled_dot_product_cudnn_attention": _cudnn_forward,
    "_scaled_dot_product_cudnn_attention_backward": _cudnn_backward,
}
