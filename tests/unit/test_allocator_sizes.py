"""What requests are rounded up to, and how much they make the allocator ask for."""

import pytest

from fakerun.allocator.settings import AllocatorSettings
from fakerun.allocator.sizes import MIB, new_segment_bytes, rounded_bytes


@pytest.mark.parametrize(
    ("requested", "rounded"),
    [(1, 512), (511, 512), (512, 512), (513, 1024), (MIB - 1, MIB), (MIB, MIB), (MIB + 1, MIB + 512), (84 * MIB, 84 * MIB)],
)
def test_requests_are_rounded_up_to_512_bytes(requested: int, rounded: int) -> None:
    assert rounded_bytes(requested) == rounded


@pytest.mark.parametrize(
    ("text", "requested", "rounded"),
    [
        # 1200 with 4 divisions, the example beside roundup_power2_next_division, is rounded to 512 bytes: it is below 4 times 512.
        ("4", 1200, 1536),
        ("4", 4 * 512 + 1, 2560),
        ("4", 1280 * 1024, 1280 * 1024),
        ("4", 1200 * 1024, 1280 * 1024),
        ("4", 2 * MIB, 2 * MIB),
        ("1", 3 * MIB + 1, 3 * MIB + 512),
        # test_cuda.py, test_allocator_settings: floats of 21 * 1024 * 1024 and of 100 * 1024 * 1024 elements.
        ("4", 84 * MIB, 96 * MIB),
        ("8", 84 * MIB, 88 * MIB),
        ("[64:8,128:2,256:2,512:2,1024:1,>:1]", 84 * MIB, 88 * MIB),
        ("[64:8,128:2,256:2,512:2,1024:1,>:1]", 400 * MIB, 512 * MIB),
        ("[64:8,128:2,256:2,512:2,1024:1,>:1]", 1500 * MIB, 1500 * MIB),
        ("[64:8,>:0]", 5 * MIB - 512, 5 * MIB),
        ("[64:8,>:0]", 600 * MIB + 1, 600 * MIB + 512),
    ],
)
def test_powers_of_two_are_divided(text: str, requested: int, rounded: int) -> None:
    settings = AllocatorSettings.parse(f"roundup_power2_divisions:{text}")
    assert rounded_bytes(requested, settings.divisions) == rounded


@pytest.mark.parametrize(
    ("size", "segment"),
    [
        (512, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 512, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 512, 12 * MIB),
        (84 * MIB, 84 * MIB),
    ],
)
def test_new_segments(size: int, segment: int) -> None:
    assert new_segment_bytes(size, 20 * MIB) == segment


def test_large_segments_may_be_larger() -> None:
    assert new_segment_bytes(2 * MIB, 64 * MIB) == 64 * MIB
    assert new_segment_bytes(12 * MIB, 64 * MIB) == 12 * MIB
