"""Partial results of norms and of gradients of normalisations."""

from tests.unit.kernels_by_hand import platform, temporary

MIB = 2**20


def test_norms_of_many_tensors_have_a_partial_norm_for_each_chunk_of_the_largest() -> None:
    # 32 chunks of 65,536 elements in the largest of 100 tensors.
    tensors = "[float32[2097152], float32[4096] x 99]"
    assert temporary(f"aten._foreach_norm.Scalar({tensors})") == (100 * 32 * 4,)
    assert temporary("aten._foreach_norm.Scalar([bfloat16[65537] x 2])") == (2 * 2 * 4,)
    assert temporary("aten._foreach_max.default([bfloat16[65537] x 2])") == (2 * 2 * 2,)
    assert temporary("aten._foreach_norm.Scalar([float32[8], bfloat16[8]])") == ()  # norm by norm
    assert temporary("aten._foreach_norm.Scalar([])") == ()


def norm(kind: str, rows: int, columns: int, *, mask: str = "[True, True, True]") -> str:
    tensor = f"bfloat16[{rows},{columns}]"
    return f"aten.{kind}.default({tensor}, {tensor}, [{columns}], float32[{rows},1], bfloat16[{columns}], {mask})"


def test_normalisations_of_many_rows_of_few_columns_sum_by_blocks() -> None:
    layer, rms = "native_layer_norm_backward", "_fused_rms_norm_backward"
    assert temporary(norm(layer, 65536, 128)) == ()
    assert temporary(norm(layer, 131072, 4096)) == ()
    partial, summed = 4096 * 128 * 2, (128 * 2, *temporary("aten.sum.dim_IntList(bfloat16[4096,128], [0])"))
    assert temporary(norm(rms, 131072, 128, mask="[True, True]")) == (partial, *summed)
    twice = temporary(norm(layer, 131072, 128))
    assert twice == (partial, partial, *summed, *range(-2 - len(summed), -2), *summed)
    assert temporary(norm(layer, 131072, 128, mask="[True, True, False]")) == (partial, *summed)
    assert temporary(norm(rms, 2**22, 1024, mask="[True, True]"))[0] == 32768 // 32 * 1024 * 2
    assert temporary(norm(rms, 2**22, 1024, mask="[True, True]"), platform("mi300x"))[0] == 32768 // 16 * 1024 * 2


def test_normalisations_take_what_they_took_on_an_h200() -> None:
    """Torch 2.11, beside the gradients, one of which the kernel allocates anew."""
    staged = (1536, 8_650_752, 24)
    assert temporary(norm("native_layer_norm_backward", 65537, 768)) == (2_096_640, 2_096_640, *staged, -5, -4, -3, *staged)


def test_group_norm_sums_by_channel_and_by_group() -> None:
    tensors = "float32[8,64,{0}], float32[8,64,{0}], float32[8,4], float32[8,4]{1}"
    text = f"aten.native_group_norm_backward.default({tensors}, 8, 64, {{0}}, 4, [True])"
    by_channel, by_group = 8 * 64 * 4, 8 * 4 * 4
    sums = (by_channel, by_channel, by_group, by_group)
    assert temporary(text.format(256, ", float32[64]")) == (*sums, by_channel, -4, -3)
    assert temporary(text.format(256, "")) == temporary(text.format(1, ", float32[64]")) == sums
    forward = "aten.native_group_norm.default(float32[8,64,{0}], float32[64], float32[64], 8, 64, {0}, 4)"
    assert temporary(forward.format(256)) == (by_channel, by_channel)
    assert temporary(forward.format(1)) == ()


def test_normalisations_copy_what_is_not_contiguous() -> None:
    tensor = "bfloat16[64,512,768]{768,49152,1}"
    assert temporary(f"aten.native_layer_norm.default({tensor}, [768], bfloat16[768], bfloat16[768])") == (50_331_648,)
    arguments = f"bfloat16[64,512,768], {tensor}, [768], float32[64,512,1], float32[64,512,1], bfloat16[768], bfloat16[768]"
    assert temporary(f"aten.native_layer_norm_backward.default({arguments}, [True, True, True])") == (50_331_648,)
