"""What losses take that are reduced; figures of an H200 (torch 2.11)."""

import pytest

from tests.unit.kernels_by_hand import temporary

LOSSES = 4096 * 256 * 4


@pytest.mark.parametrize("name", ["mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "binary_cross_entropy"])
def test_the_losses_of_all_elements_are_reduced(name: str) -> None:
    text = f"aten.{name}.default(float32[4096,256], float32[4096,256]{{}})"
    assert temporary(text.format("")) == temporary(text.format(", 2")) == (LOSSES, 512, 4)
    assert temporary(text.format(", 0")) == ()


def test_the_logarithm_of_the_sigmoid_is_kept_beside_them() -> None:
    text = "aten.binary_cross_entropy_with_logits.default(float32[4096,256], float32[4096,256])"
    assert temporary(text) == (LOSSES, LOSSES, 512, 4)
