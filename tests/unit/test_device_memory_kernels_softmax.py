"""What softmax and the logarithm of sums of exponentials take; figures of an H200 (torch 2.11)."""

from tests.unit.kernels_by_hand import temporary


def test_the_gradient_of_a_softmax_has_a_product() -> None:
    assert temporary("aten._softmax_backward_data.default(float32[8,100], float32[8,100], -1, torch.float32)") == (3200,)
    assert temporary("aten._log_softmax_backward_data.default(float32[8,100], float32[8,100], -1, torch.float32)") == ()


def test_an_input_that_is_not_contiguous_is_copied() -> None:
    assert temporary("aten._softmax.default(float32[8,100], -1, False)") == ()
    assert temporary("aten._log_softmax.default(float32[8,100]{1,8}, -1, False)") == (3200,)


def test_attention_without_a_kernel_looks_for_rows_that_are_masked_out() -> None:
    assert temporary("aten._safe_softmax.default(float32[2,16,1024,1024], -1)") == (2**25, 2**15, 4)


def test_logsumexp_subtracts_the_largest_values() -> None:
    whole = temporary("aten.logsumexp.default(float32[8192,4096], [0])")
    assert whole == (16384, 138_412_032, 128, -3, -2, 16384, 4096, -5, -4, 134_217_728, 138_412_032, 128)
    assert temporary("aten.logsumexp.default(float32[64,64], [1])") == (256, 256, 64, -3, -2, 16384)
