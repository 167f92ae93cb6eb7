"""What sorting keeps beside its result."""

import pytest

from fakerun.device_memory.kernels.sorting import radix_sort_bytes
from tests.unit.kernels_by_hand import platform, temporary

MI300X = platform("mi300x")
PAIRS_OF_8192 = radix_sort_bytes(8192, 8, 8)
PAIRS_OF_100_000 = radix_sort_bytes(100_000, 4, 8)


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
    assert radix_sort_bytes(count, 8, 8, 14) == expected


def test_the_storage_of_a_radix_sort_has_all_pairs_and_counters() -> None:
    # Four digits of 256 counters of 8 bytes, 33 tiles of 3072 pairs with 256 counters of 4 bytes, keys and values, four counters.
    assert PAIRS_OF_100_000 == 8192 + 33 * 1024 + 400_128 + 800_000 + 256 + 255


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aten.sort.default(float32[8,4096], -1, True)", ()),
        ("aten.sort.default(float32[0], -1, False)", ()),
        ("aten.sort.default(int64[], -1, False)", ()),
        # One segment: positions, and keys and positions once more.
        ("aten.sort.default(int64[8192], -1, False)", (8192 * 8, PAIRS_OF_8192)),
        ("aten.sort.stable(int64[8192], stable=True, dim=0)", (8192 * 8, PAIRS_OF_8192)),
        ("aten.sort.default(float32[4,2000000], -1, False)", (2_000_000 * 8, radix_sort_bytes(2_000_000, 4, 8))),
        # Few segments: pairs of position and segment twice, sorted keys, and the storage of the sort.
        ("aten.sort.default(float32[4,8192], 1, False)", (32768 * 8, 32768 * 8, 32768 * 4, radix_sort_bytes(32768, 4, 8))),
        ("aten.sort.default(bfloat16[256,8192], -1, False)", (256 * 8192 * 8, 256 * 8192 * 10 + 255)),
        # Not along the last dimension: copies of input, values and indices.
        ("aten.sort.default(float32[8192,256], 0, False)", (2**23, 2**23, 2**24, 2**24, 2**21 * 12 + 255)),
        ("aten.sort.default(float32[8192,256]{1,8192}, 0, False)", (2**24, 2**21 * 12 + 255)),
    ],
)
def test_sort(text: str, expected: tuple[int, ...]) -> None:
    assert temporary(text) == expected


def test_topk_sorts_few_large_slices() -> None:
    assert temporary("aten.topk.default(float32[8192,128], 8, -1, True, True)") == ()
    assert temporary("aten.topk.default(float32[11,100000], 8)") == ()
    one = (100_000 * 4, 100_000 * 8, 100_000 * 8, PAIRS_OF_100_000)
    assert temporary("aten.topk.default(float32[100000], 8)") == one
    assert temporary("aten.topk.default(float32[100000], 8)", MI300X) == one
    assert temporary("aten.topk.default(float32[2,100000], 8)", MI300X) == ()
