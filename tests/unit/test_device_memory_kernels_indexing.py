"""What gradients of embeddings and of indexing need to sort indices."""

from fakerun.device_memory.kernels.sorting import radix_sort_bytes
from tests.unit.kernels_by_hand import H100, platform, temporary

A100 = platform("a100-80gb")
SCAN = 1279
"""The storage of a scan of few 64-bit numbers."""


def embedding(count: str, width: int, rows: int, *, dtype: str = "bfloat16", by_frequency: bool = False) -> str:
    return f"aten.embedding_dense_backward.default({dtype}[{count},{width}], int64[{count}], {rows}, {by_frequency})"


def test_few_indices_need_nothing() -> None:
    assert temporary(embedding("3072", 4096, 128256)) == ()
    assert temporary(embedding("0", 4096, 128256, by_frequency=True)) == ()


def test_many_indices_are_sorted_and_summed_by_ten() -> None:
    # Llama 3: 8192 tokens of 4096, at most one segment each.
    partial_sums = 8192 // 10 + 8192
    indices = 8192 * 8
    sorting = (indices, indices, indices, radix_sort_bytes(8192, 8, 8, H100), -4, -3)
    finding = (indices, 8, indices, SCAN, -8, -7)
    expected = (*sorting, *finding, indices, indices, SCAN, -11, 8, partial_sums * 8, partial_sums * 4096 * 4)
    assert temporary(embedding("1,8192", 4096, 128256)) == expected
    # No more segments than rows.
    partial_sums = 8192 // 10 + 100
    expected = (*sorting, *finding, 800, 800, SCAN, -11, 8, partial_sums * 8, partial_sums * 64 * 4)
    assert temporary(embedding("8192", 64, 100)) == expected


def test_occurrences_are_counted_too() -> None:
    partial_sums = 10 // 10 + 10
    assert temporary(embedding("10", 64, 100, dtype="float64", by_frequency=True)) == (
        *(80, 80, 80, 1, -4, -3),
        *(80, SCAN, -6, SCAN, -7),
        *(80, 8, 80, SCAN, -11, -10),
        *(80, 80, SCAN, -14, 8, partial_sums * 8, partial_sums * 64 * 8),
    )


def test_indexing_sorts_what_it_sums() -> None:
    indices = 1000 * 8
    sorted_indices = (indices, indices, -1, indices, indices, indices, 1)
    text = "aten._index_put_impl_.default(float32[50,4], [int64[1000]], float32[1000,4], {}, True)"
    assert temporary(text.format(True)) == sorted_indices
    assert temporary(text.format(False)) == ()
    assert temporary("aten.index_put_.default(float32[50,4], [int64[10,1], int64[100]], float32[10,100]{1,10}, True)") == (
        (indices, indices, -1, indices, indices, -4, -3, 4000, indices, indices, indices, 1)
    )
    assert temporary("aten.index_put.default(float32[50,4], [None, int64[1000]], float32[50,1000], True)") == sorted_indices
    # Values that are broadcast are copied.
    assert temporary("aten.index_put.default(float32[50,4], [int64[1000]], float32[4], True)") == (
        (indices, indices, -1, 16000, indices, indices, indices, 1)
    )
    assert temporary("aten.index_put_.default(float32[50], [bool[50]], float32[], True)") == ()


def test_many_indices_are_those_of_a_gpu_run() -> None:
    """The embedding of results/medium_1024_training of github.com/Wedsonlin/assignment2-systems, a public memory snapshot."""
    text = "aten.index_put_.default(float32[10000,1024], [int64[4096]], float32[4096,1024], True)"
    assert temporary(text, A100) == (32768, 32768, -1, 32768, 32768, 32768, 72191)  # of which the first is free when the last is requested


def test_indices_that_are_broadcast_are_copied() -> None:
    assert temporary("aten.index.Tensor(float32[50,4], [int64[10,1], int64[100]])") == (8000, 8000)
    assert temporary("aten.index.Tensor(float32[50,4], [int64[100], int64[100]])") == ()
    assert temporary("aten.index.Tensor(float32[50,4], [bool[50]])") == ()


def test_bags_are_summed_by_row_as_single_embeddings_are() -> None:
    tensors = "float32[256,64], int64[5120], int64[256], int64[5120], int64[256], int64[0]"
    text = f"aten._embedding_bag_backward.default({tensors}, 10000, False, {{}}, False)"
    assert temporary(text.format(0)) == temporary(text.format(1)) == temporary(embedding("5120", 64, 10_000, dtype="float32"))
    assert temporary(text.format(2)) == ()
