"""What sorting keeps beside its result."""

import pytest

from tests.unit.kernels_by_hand import platform, temporary

MI300X = platform("mi300x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aten.sort.default(float32[8,4096], -1, True)", ()),
        ("aten.sort.default(float32[0], -1, False)", ()),
        ("aten.sort.default(int64[], -1, False)", ()),
        # One segment: positions, and keys and positions once more.
        ("aten.sort.default(int64[8192], -1, False)", (8192 * 8, 8192 * 16)),
        ("aten.sort.stable(int64[8192], stable=True, dim=0)", (8192 * 8, 8192 * 16)),
        ("aten.sort.default(float32[4,2000000], -1, False)", (2_000_000 * 8, 2_000_000 * 12)),
        # Few segments: pairs of position and segment twice, sorted keys, and the storage of the sort.
        ("aten.sort.default(float32[4,8192], 1, False)", (32768 * 8, 32768 * 8, 32768 * 4, 32768 * 12)),
        ("aten.sort.default(bfloat16[256,8192], -1, False)", (256 * 8192 * 8, 256 * 8192 * 10)),
        # Not along the last dimension: copies of input, values and indices.
        ("aten.sort.default(float32[8192,256], 0, False)", (2**23, 2**23, 2**24, 2**24, 2**21 * 12)),
        ("aten.sort.default(float32[8192,256]{1,8192}, 0, False)", (2**24, 2**21 * 12)),
    ],
)
def test_sort(text: str, expected: tuple[int, ...]) -> None:
    assert temporary(text) == expected


def test_topk_sorts_few_large_slices() -> None:
    assert temporary("aten.topk.default(float32[8192,128], 8, -1, True, True)") == ()
    assert temporary("aten.topk.default(float32[11,100000], 8)") == ()
    one = (100_000 * 4, 100_000 * 8, 100_000 * 8, 100_000 * 12)
    assert temporary("aten.topk.default(float32[100000], 8)") == one
    assert temporary("aten.topk.default(float32[100000], 8)", MI300X) == one
    assert temporary("aten.topk.default(float32[2,100000], 8)", MI300X) == ()
