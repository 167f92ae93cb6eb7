"""What copies take between host and device, and of lists; figures of an H100 and an H200 (torch 2.11)."""

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


LAYER = "float32[1024] x 2, float32[1024,1024], float32[1024], float32[1024,1024], float32[1024], float32[1024,1024], float32[1024], "
LAYER += "float32[1024,1024], float32[1024] x 3, float32[4096,1024], float32[4096], float32[1024,4096], float32[1024]"
SIZES = (256, 256, 262144, 256, 262144, 256, 262144, 256, 262144, 256, 256, 256, 1048576, 1024, 1048576, 256)
OTHERS = (8192000, 256, 256, 8192000)


def split(sizes: tuple[int, ...]) -> str:
    results = ", ".join(f"float32[4,{size}]" for size in sizes)
    return f"fsdp.split_with_sizes_copy.default(float32[4,{sum(sizes)}], {list(sizes)}, 1, out=[{results}])"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"fsdp.chunk_cat.default([{LAYER}], 0, 4, out=float32[4,3149056])", 50024),
        ("fsdp.chunk_cat.default([float32[32000,1024], float32[1024] x 2, float32[32000,1024]], 0, 4, out=float32[4,16384512])", 256224),
        (split(SIZES), 25176),
        (split(OTHERS), 32152),
    ],
)
def test_lists_take_a_table_of_blocks(text: str, expected: int) -> None:
    """As FSDP2 did for a transformer of 1,024 features on an H100 (`programs.py`, kind-fsdp2)."""
    assert temporary(text) == (expected,)


def test_a_table_is_of_the_bytes_that_are_written() -> None:
    """A gradient in bfloat16 is reduced in float32: 9 parameters of a layer of Llama 3 8B, each rank with a quarter of the layer."""
    layer = (
        "bfloat16[1024,4096], bfloat16[256,4096] x 2, bfloat16[4096,1024], bfloat16[3584,4096] x 2, bfloat16[4096,3584], bfloat16[4096] x 2"
    )
    assert temporary(f"fsdp.chunk_cat.default([{layer}], 0, 2, out=float32[2,27267072])") == (426496,)
    assert temporary("aten._chunk_cat.default([bfloat16[4096,4096]], 0, 2)") == (8 * (6 + 2 + 8192),)


def test_other_copies_of_lists_take_no_table() -> None:
    """Torch copies them one by one: of other types, or with gaps."""
    assert temporary("aten._chunk_cat.out([float32[64,64]], 0, 2, out=bfloat16[2,2048])") == ()
    assert temporary("aten.split_with_sizes_copy.out(float32[4,8]{16,1}, [4, 4], 1, out=[float32[4,4] x 2])") == ()
    assert temporary("aten.split_with_sizes_copy.default(float32[4,8], [4, 4], 1)") == ()
