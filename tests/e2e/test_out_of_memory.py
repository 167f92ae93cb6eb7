"""A script that looks for the largest batch that fits: through the command."""

import pytest

from tests.commands import REPOSITORY, fakerun

PROGRAM = str(REPOSITORY / "tests" / "programs" / "batch_size_finder.py")


@pytest.mark.parametrize(
    ("hardware", "refused", "batch"), [("h100-80gb", [2**20, 2**19], 2**18), ("l4", [2**20, 2**19, 2**18, 2**17], 2**16)]
)
def test_allocations_that_fail_let_a_script_find_its_batch(hardware: str, refused: list[int], batch: int) -> None:
    """It reserves three times the batch (64 GiB at first) and the weight of 1 GiB.

    The batch; the output, whose memory is free in backward, when the gradient of the weight is cut off it; and so new memory for the
    contiguous copy that the product makes of the gradient of the sum, which is expanded (`prepare_matrix_for_cublas`, Blas.cpp).
    """
    result = fakerun(PROGRAM, "--world-size", "1", "--oom", "raise", "--hardware", hardware, "--show-output")
    assert result.returncode == 0, result.stderr
    printed = [line.removeprefix("[rank0]: ") for line in result.stderr.splitlines() if line.startswith("[rank0]: ")]
    assert printed == [*(f"out of memory at {each}" for each in refused), f"batch {batch}"]


def test_by_default_it_goes_on_with_what_does_not_fit() -> None:
    result = fakerun(PROGRAM, "--world-size", "1", "--show-output")
    assert result.returncode == 1
    assert "[rank0]: batch 1048576" in result.stderr
    assert "does-not-fit" in result.stdout
