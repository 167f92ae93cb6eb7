"""What blocks that share a reduction leave in memory. The numbers follow Reduce.cuh by hand, for an H100 of 132 multiprocessors."""

import pytest

from tests.unit.kernels_by_hand import platform, temporary

L4, MI300X = platform("l4"), platform("mi300x")


def test_the_gradient_of_a_bias_has_a_partial_sum_for_each_thread() -> None:
    # Vectors of 4 outputs: 1024 threads along outputs, in blocks of 32 x 4; 32 blocks of outputs. 2048 values a thread, and
    # 16 x 132 blocks at a time: 66 blocks share an output.
    expected = (4 * 4096 * 66 * (32 * 4), 4 * 32)
    assert temporary("aten.sum.dim_IntList(bfloat16[8192,4096], [0], True)") == expected
    assert temporary("aten.sum.dim_IntList(bfloat16[4,2048,4096], [0, 1])") == expected
    assert temporary("aten.mean.dim(float32[8192,4096], [0])") == expected
    # Odd columns are not in vectors: 4095 outputs in blocks of 32 x 16, 512 values a thread, 4 x 132 blocks at a time over 128.
    assert temporary("aten.sum.dim_IntList(bfloat16[8192,4095], [0])") == (4 * 4095 * 5 * 32, 4 * 128)


@pytest.mark.parametrize(("rows", "expected"), [(512, ()), (1024, (2**23, 32)), (2048, (2**24, 32)), (4096, (2**25, 32))])
def test_gradients_of_norms_take_what_they_took_on_a_gpu(rows: int, expected: tuple[int, ...]) -> None:
    """Public memory snapshots: results/medium_{128,256,512,1024}_training of github.com/Wedsonlin/assignment2-systems, 49 times each."""
    for on in (platform(), platform("a100-80gb"), L4):
        assert temporary(f"aten.sum.dim_IntList(float32[4,{rows // 4},1024], [0, 1], True)", on) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aten.sum.dim_IntList(float32[4,128,2560]{128,1,512}, [-1], True)", (10_485_760, 16)),
        ("aten.sum.dim_IntList(float32[512,10000]{1,512}, [-1], True)", (41_156_608, 16)),
        ("aten.max.dim(float32[512,10000]{1,512}, -1, True)", (164_626_432, 16)),
    ],
)
def test_reductions_across_memory_take_what_they_took_on_an_h100(text: str, expected: tuple[int, ...]) -> None:
    """A public memory snapshot of a transformer's step, memory_ctx128_fullstep of a solution of Stanford's CS336."""
    assert temporary(text) == expected


def test_accumulators_are_those_of_the_operator() -> None:
    everything = "(bfloat16[2097152])"
    names = {"argmax": 16, "amax": 2, "max": 2, "sum": 4, "prod": 4}
    assert {name: temporary(f"aten.{name}.default{everything}")[0] // 256 for name in names} == names
    assert temporary("aten.any.default(bool[2097152])") == (256, 4)
    assert temporary("aten.sum.default(int64[2097152])") == (8 * 256, 4)
    assert temporary("aten.sum.default(bool[1000])") == (8000,)  # as int64


def test_a_sum_of_everything_has_a_partial_sum_for_each_block() -> None:
    # 2^21 values, 512 threads: 4096 a thread, 4 x 132 blocks at a time, and no fewer than 16 values a thread: 256 blocks.
    assert temporary("aten.sum.default(float32[2097152])") == (4 * 256, 4)
    assert temporary("aten.sum.default(float64[2097152])") == (8 * 256, 4)
    assert temporary("aten.linalg_vector_norm.default(float32[1024,2048])") == (4 * 256, 4)


@pytest.mark.parametrize(
    "text",
    [
        "aten.sum.default(float32[])",
        "aten.sum.default(float32[1000])",
        "aten.sum.dim_IntList(bfloat16[8192,4096], [1])",  # 32 threads each, 32 values a thread
        "aten.sum.dim_IntList(float32[0,4096], [0])",
        "aten.sum.dim_IntList(float32[1,4096], [0])",
        "aten.sum.dim_IntList(float32[16,4096], [0])",  # one block has all values
        "aten.max.other(float32[2097152], float32[2097152])",
    ],
)
def test_one_block_for_an_output_needs_nothing(text: str) -> None:
    assert temporary(text) == ()


def test_other_devices_have_other_blocks() -> None:
    # L4: 58 multiprocessors of 1536 threads, 12 x 58 blocks at a time over 32.
    assert temporary("aten.sum.dim_IntList(bfloat16[8192,4096], [0])", L4) == (4 * 4096 * 22 * 128, 4 * 32)
    # MI300X: wavefronts of 64, blocks of 64 x 2; 16 blocks of outputs; no fewer than 128 of 4096 values a thread, and 64 blocks.
    assert temporary("aten.sum.dim_IntList(bfloat16[8192,4096], [0])", MI300X) == (4 * 4096 * 64 * 256, 4 * 16)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aten.sum.default(float32[536870912])", (16_384, 4)),
        ("aten.sum.default(float32[1073741824])", (16_384, 4, -2, -1, 16_384, 4)),
        ("aten.sum.default(bfloat16[2147483648])", (4, 32_768, 4, -3, -2, 32_768, 4)),  # sums in float32 of bfloat16 results
        ("aten.amax.default(bfloat16[2147483648])", (16_384, 4, -2, -1, 16_384, 4)),
        ("aten.var.correction(float32[1073741824])", (16, 65_536, 4, -3, -2, 65_536, 4)),
        ("aten.sum.dim_IntList(float32[1048576,1024], [0])", (268_435_456, 32, -2, -1, 268_435_456, 32)),
        ("aten.sum.dim_IntList(float32[1024,1048576], [1])", (16_384, 2048, -2, -1, 16_384, 2048)),
    ],
)
def test_tensors_beyond_32_bit_indices_are_reduced_in_parts(text: str, expected: tuple[int, ...]) -> None:
    """As an H200 did (torch 2.11)."""
    assert temporary(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aten.var.correction(float32[8192,4096], [0])", (553_648_128, 128)),
        ("aten.var.correction(float64[16777216])", (16_896, 4)),
        ("aten.aminmax.default(float32[16777216])", (4224, 4)),
        ("aten.any.dim(float32[32768,768], 0)", (138_412_032, 24)),
        ("aten.all.default(bool[16777216])", (528, 4)),
    ],
)
def test_accumulators_are_those_that_an_h200_has(text: str, expected: tuple[int, ...]) -> None:
    assert temporary(text) == expected
