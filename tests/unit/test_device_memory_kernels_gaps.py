"""What kernels request and no rule includes: which of it a program has, and how much."""

import pytest

from fakerun.device_memory.kernels.gaps import NOT_INCLUDED, not_included
from fakerun.records.device_program import Operation

MIB = 1024**2
CONVOLUTION = Operation(
    "aten.convolution.default",
    "bfloat16[8,64,56,56], bfloat16[64,64,3,3], [1, 1], [1, 1], [1, 1], False, [0, 0], 1",
    "bfloat16[8,64,56,56]",
)
BACKWARD = Operation(
    "aten.convolution_backward.default",
    "bfloat16[8,64,56,56], bfloat16[8,64,56,56], bfloat16[64,64,3,3], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]",
    "bfloat16[8,64,56,56], bfloat16[64,64,3,3]",
)
IMAGES, FILTERS = 8 * 64 * 56 * 56 * 2, 64 * 64 * 3 * 3 * 2


def of(*operations: Operation) -> dict[str, int | None]:
    return {each.gap.what: each.most_bytes for each in not_included(operations)}


def test_of_several_operations_the_largest_counts() -> None:
    assert of(CONVOLUTION) == {"workspaces of convolutions": round(4.3 * IMAGES)}
    assert of(CONVOLUTION, BACKWARD) == {"workspaces of convolutions": round(4.3 * (IMAGES + FILTERS))}


@pytest.mark.parametrize(
    ("operation", "what", "most_bytes"),
    [
        (Operation("aten.linalg_cholesky_ex.default", "float32[16,16]", "float32[16,16], int32[]"), "linear algebra", 3 * MIB),
        (Operation("aten.linalg_inv_ex.default", "float32[1024,1024]", "float32[1024,1024], int32[]"), "linear algebra", 20 * MIB),
        (Operation("aten._fft_r2c.default", "float32[65536], [0], 0, True", "complex64[32769]"), "FFTs", 6 * 65536 * 4),
        (Operation("aten._unique2.default", "int64[1000]", "int64[1000], int64[0], int64[0]"), "indices", 5 * 8000),
        (Operation("aten.nonzero.default", "bool[1000]", "int64[1000,1]"), "indices", 8 * 1000),
        (Operation("aten.mse_loss.default", "float32[32,1000], float32[32,1000]", "float32[]"), "losses", 32 * 1000 * 4),
    ],
    ids=lambda value: value.name if isinstance(value, Operation) else None,
)
def test_the_bound_of_a_kind(operation: Operation, what: str, most_bytes: int) -> None:
    ((found, nbytes),) = of(operation).items()
    assert what in found
    assert nbytes == most_bytes


def test_what_has_no_known_bound_is_named_all_the_same() -> None:
    layer = Operation("aten._cudnn_rnn.default", "float32[16,4,32], [float32[128,32]]", "float32[16,4,32]")
    assert of(layer) == {"recurrent layers of cuDNN": None}


def test_other_programs_have_none() -> None:
    assert not_included([Operation("aten.mm.default", "bfloat16[8,8], bfloat16[8,8]", "bfloat16[8,8]")]) == ()


def test_no_operator_has_two_gaps() -> None:
    operators = [operator for gap in NOT_INCLUDED for operator in gap.operators]
    assert len(operators) == len(set(operators))


def test_a_gap_with_a_bound_says_of_what() -> None:
    assert all(gap.operators for gap in NOT_INCLUDED if gap.most_bytes)
