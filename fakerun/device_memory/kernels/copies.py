"""What copies take beside their results.

- Between host and device: a device tensor that is not contiguous is made contiguous first (aten/src/ATen/native/cuda/Copy.cu).
- Of a list of tensors into one, and of one into a list (`_chunk_cat`, `split_with_sizes_copy`), by which FSDP2 packs and unpacks what it
  communicates: one kernel does it all, and reads from a table of integers where each of its blocks has to copy (aten/src/ATen/native/cuda/
  TensorShape.cu; held against torch 2.11 on an H100).
"""

import math
from collections.abc import Callable, Iterable, Mapping

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand, is_dense

_INTEGER_BYTES = 8
_BLOCK_THREADS = 128
_BLOCK_BYTES = 16 * _BLOCK_THREADS


def _copy(operands: Operands, platform: Platform) -> KernelMemory:
    """`copy_requires_temporaries`: nothing where both are laid out alike, without gaps."""
    tensors = operands.tensors[:2]
    if len({tensor.on_host for tensor in tensors}) < 2:
        return NOTHING
    host, device = sorted(tensors, key=lambda tensor: not tensor.on_host)
    is_alike = device.strides == host.strides and is_dense(device)
    return NOTHING if device.strides is None or is_alike else temporaries(device.numel * device.element_bytes)


def _chunk_cat(operands: Operands, platform: Platform) -> KernelMemory:
    """`get_chunk_cat_metadata`: six integers for each tensor, two more, and one for each block, which copies 2 KiB of a chunk."""
    tensors, out = operands.tensor_lists[0], operands.named.get("out")
    dim, chunks = operands.integers[:2]
    element_bytes = out.element_bytes if isinstance(out, TensorOperand) else tensors[0].element_bytes
    if not all(map(is_dense, tensors)) or (isinstance(out, TensorOperand) and not _casts(tensors[0], out)):
        return NOTHING
    blocks = 0
    for tensor in tensors:
        rows = math.ceil(tensor.sizes[dim] / chunks)
        blocks += math.ceil(rows * math.prod(tensor.sizes[dim + 1 :]) * element_bytes / _BLOCK_BYTES)
    return temporaries(_INTEGER_BYTES * (6 * len(tensors) + 2 + blocks))


def _casts(source: TensorOperand, out: TensorOperand) -> bool:
    """Whether the kernel writes this type from that one."""
    return source.dtype == out.dtype or (source.dtype, out.dtype) == ("bfloat16", "float32")


def _split_copy(operands: Operands, platform: Platform) -> KernelMemory:
    """`split_with_sizes_copy_out_cuda`: four integers for each result, one more, and one for each block.

    A block copies more than 2 KiB of a chunk where there would be more blocks than twice what the device runs at once.
    """
    (source, *_), (sizes, *_) = operands.tensors, operands.integer_lists
    dim, out = (*operands.integers, 0)[0], operands.named.get("out")
    threads, results = platform.hardware.threads_per_multiprocessor, out if isinstance(out, tuple) else ()
    tensors = [each for each in (source, *results) if isinstance(each, TensorOperand)]
    if threads is None or not results or not all(is_dense(each) and each.dtype == source.dtype for each in tensors):
        return NOTHING
    row_bytes = math.prod(source.sizes[dim + 1 :]) * source.element_bytes
    chunk_bytes, chunks = [size * row_bytes for size in sizes], math.prod(source.sizes[:dim])
    most_blocks = platform.hardware.multiprocessors * threads // _BLOCK_THREADS * 2
    rounds = math.ceil(_blocks(chunk_bytes, _BLOCK_BYTES) * chunks / most_blocks)
    rounds_of_chunk = math.ceil(rounds / min(math.ceil(math.sqrt(rounds)), chunks))
    return temporaries(_INTEGER_BYTES * (4 * len(sizes) + 1 + _blocks(chunk_bytes, _BLOCK_BYTES * rounds_of_chunk)))


def _blocks(sizes: Iterable[int], block_bytes: int) -> int:
    return sum(math.ceil(nbytes / block_bytes) for nbytes in sizes)


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    "copy_": _copy,
    "_chunk_cat": _chunk_cat,
    "chunk_cat": _chunk_cat,
    "split_with_sizes_copy": _split_copy,
}
