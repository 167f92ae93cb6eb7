"""What copies between host and device take; figures of an H200 (torch 2.11)."""

import pytest

from tests.unit.kernels_by_hand import temporary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bfloat16[1024,512]{1024,2}, bfloat16[1024,512]@cpu", (2**20,)),
        ("bfloat16[1024,1024]@cpu, bfloat16[1024,1024]{1,1024}", (2**21,)),
        ("bfloat16[1024,512]{1024,2}@cpu, bfloat16[1024,512]", ()),
        ("bfloat16[1024,1024]{1,1024}@cpu, bfloat16[1024,1024]{1,1024}", ()),
        ("bfloat16[1024,512]{1024,2}, bfloat16[1024,512]", ()),
        ("float32[1024,1024], bfloat16[1024,1024]@cpu", ()),
    ],
)
def test_a_device_tensor_that_is_not_contiguous_is_copied(text: str, expected: tuple[int, ...]) -> None:
    assert temporary(f"aten.copy_.default({text})") == expected
