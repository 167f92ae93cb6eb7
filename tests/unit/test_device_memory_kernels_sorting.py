"""What sorting keeps beside its result."""

import pytest

from fakerun.device_memory.kernels.sorting import radix_sort_bytes
from tests.unit.kernels_by_hand import H100, platform, temporary

A100, MI300X = platform("a100-80gb"), platform("mi300x")
PAIRS_OF_8192 = radix_sort_bytes(8192, 8, 8, H100)
PAIRS_OF_100_000 = radix_sort_bytes(100_000, 4, 8, H100)
LONG = radix_sort_bytes(2_000_000, 4, 8, H100)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        # Of GPU runs: public memory snapshots, results/medium_{256,512,1024}_training of github.com/Wedsonlin/assignment2-systems, and
        # memory_ctx512_fullstep of another solution. 14 bits of 64-bit keys with 64-bit values.
        (1024, 1),
        (2048, 1),
        (4096, 72191),
    ],
)
def test_the_storage_of_a_radix_sort_is_that_of_gpu_runs(count: int, expected: int) -> None:
    assert radix_sort_bytes(count, 8, 8, A100, 14) == expected


def test_the_storage_of_a_radix_sort_has_all_pairs_and_counters() -> None:
    # Four digits of 256 counters of 8 bytes, 33 tiles of 3072 pairs with 256 counters of 4 bytes, keys and values, four counters.
    assert radix_sort_bytes(100_000, 4, 8, A100) == 8192 + 33 * 1024 + 400_128 + 800_000 + 256 + 255
    assert PAIRS_OF_100_000 == 8192 + 19 * 1024 + 400_128 + 800_000 + 256 + 255  # tiles of 5376 pairs


@pytest.mark.parametrize(
    ("key_bytes", "count", "expected"),
    [(2, 100_000, 1_023_231), (4, 4097, 59_391), (4, 1_000_000, 12_200_191), (8, 5000, 99_327), (8, 65_536, 1_080_831)],
)
def test_tiles_of_hopper_are_those_that_an_h200_has(key_bytes: int, count: int, expected: int) -> None:
    assert radix_sort_bytes(count, key_bytes, 8, H100) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aten.sort.default(float32[8,4096], -1, True)", (4096 * 8,)),  # positions of one slice
        ("aten.sort.default(float32[8,1], -1, True)", ()),
        ("aten.sort.default(float32[0], -1, False)", ()),
        ("aten.sort.default(int64[], -1, False)", ()),
        # One segment: positions, and keys and positions once more.
        ("aten.sort.default(int64[8192], -1, False)", (8192 * 8, PAIRS_OF_8192)),
        ("aten.sort.stable(int64[8192], stable=True, dim=0)", (8192 * 8, PAIRS_OF_8192)),
        ("aten.sort.default(float32[4,2000000], -1, False)", (16_000_000, LONG, -2, LONG, -3, LONG, -4, LONG)),
        # Few segments: pairs of position and segment twice; sorted keys, and the storage of the sort; then that of a sort by segment.
        (
            "aten.sort.default(float32[4,8192], 1, False)",
            (32768 * 8, 32768 * 8, 32768 * 4, radix_sort_bytes(32768, 4, 8, H100), -4, -3, radix_sort_bytes(32768, 8, 4, H100, 7)),
        ),
        ("aten.sort.default(bfloat16[256,8192], -1, False)", (256 * 8192 * 8, 256 * 8192 * 10 + 255)),
        # Not along the last dimension: copies of input, values and indices.
        ("aten.sort.default(float32[8192,256], 0, False)", (2**23, 2**23, 2**24, 2**24, 2**21 * 12 + 255)),
        ("aten.sort.default(float32[8192,256]{1,8192}, 0, False)", (2**24, 2**21 * 12 + 255)),
    ],
)
def test_sort(text: str, expected: tuple[int, ...]) -> None:
    assert temporary(text) == expected


def test_several_blocks_select_from_a_long_slice() -> None:
    """As an H200 did: torch 2.11."""
    assert temporary("aten.topk.default(float32[8192,128], 8, -1, True, True)") == ()
    assert temporary("aten.topk.default(float32[1,19999], 8)") == ()
    blocks = (4, 8, 8, 782 * 512, 1024, 782 * 4, 782 * 4, 1279, -8, 1279)
    assert temporary("aten.topk.default(float32[1,1000000], 8)") == blocks
    few = (400, 800, 800, 500 * 512, 102_400, 2000, 2000, 1279, -8, 1279)
    assert temporary("aten.topk.default(float32[5000,100], 8, 0)") == few


def test_many_results_of_a_selection_are_sorted_whole() -> None:
    selecting = temporary("aten.topk.default(float32[4,32000], 4096)")
    assert temporary("aten.topk.default(float32[4,32000], 5000, -1, True, False)") == selecting
    sorts = temporary("aten.topk.default(float32[4,32000], 5000)")
    assert sorts[: len(selecting)] == selecting
    assert {80_000, 160_000, radix_sort_bytes(20_000, 4, 8, H100)} <= set(sorts[len(selecting) :])


def test_topk_of_rocm_sorts_one_large_slice() -> None:
    values, indices = 100_000 * 4, 100_000 * 8
    one = (values, indices, indices, radix_sort_bytes(100_000, 4, 8, MI300X))
    assert temporary("aten.topk.default(float32[100000], 8)", MI300X) == one
    assert temporary("aten.topk.default(float32[2,100000], 8)", MI300X) == ()


def test_a_median_of_everything_sorts() -> None:
    assert temporary("aten.median.default(float32[100001])") == (400_004, 800_008, 800_008, 1_228_543)
    assert temporary("aten.median.dim(float32[64,1000], -1)") == ()


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1000, (8, -1, 8000, 4000, 4000, 1)),
        (100_000, (8, -1, 800_000, 800_000, 800_000, 1_633_279)),
        (10_000_000, (8, -1, 80_000_000, 80_000_000, 80_000_000, 162_237_951)),
    ],
)
def test_a_permutation_sorts_random_keys(count: int, expected: tuple[int, ...]) -> None:
    assert temporary(f"aten.randperm.default({count})") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aten.cumsum.default(float32[10000000], 0)", (42_495,)),
        ("aten.cumsum.default(int64[100000], 0)", (2815,)),
        ("aten.cumsum.default(bfloat16[10000000], 0)", (22_015,)),
        ("aten.cumsum.default(int32[2048], 0)", (16_384, 1279)),
        ("aten.cumsum.default(bool[2048], 0)", (16_384, 1279)),
        ("aten.cumsum.default(float32[2048,512]{1,2048}, 0)", (4_194_304,)),
        ("aten.cumsum.default(float32[2048,512], 0)", ()),
    ],
)
def test_scans_take_what_they_took_on_an_h200(text: str, expected: tuple[int, ...]) -> None:
    assert temporary(text) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (100, (800, 1, -2, 800, 8, 1023)),
        (10_000, (80_000, 99_071, -2, 80_000, 8, 1023)),
        (1_000_000, (8_000_000, 8_195_071, -2, 8_000_000, 8, 2815)),
    ],
)
def test_different_values_are_found_by_sorting(count: int, expected: tuple[int, ...]) -> None:
    assert temporary(f"aten._unique2.default(int64[{count}])") == expected
    assert temporary(f"aten._unique2.default(int64[{count}], True, True, True)") == ()
