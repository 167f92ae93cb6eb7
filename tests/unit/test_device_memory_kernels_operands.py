"""The text of operations, read."""

from fakerun.device_memory.kernels.operands import Operands, TensorOperand, is_dense, operands_of


def test_tensors_have_type_sizes_strides_and_place() -> None:
    read = operands_of("bfloat16[8192,4096], bfloat16[4096,8]{1,4096}, int64[]@cpu, float8_e4m3fn[0]")
    assert read.tensors == (
        TensorOperand("bfloat16", (8192, 4096)),
        TensorOperand("bfloat16", (4096, 8), (1, 4096)),
        TensorOperand("int64", (), on_host=True),
        TensorOperand("float8_e4m3fn", (0,)),
    )
    assert [tensor.numel for tensor in read.tensors] == [8192 * 4096, 4096 * 8, 1, 0]


def test_elements_have_the_bytes_of_their_type() -> None:
    names = "bool, uint8, float8_e5m2, float4_e2m1fn_x2, float16, bfloat16, int32, float64, complex64, complex128"
    tensors = operands_of(", ".join(f"{name}[2]" for name in names.split(", "))).tensors
    assert [tensor.element_bytes for tensor in tensors] == [1, 1, 1, 1, 2, 2, 4, 8, 8, 16]


def test_lists_numbers_flags_and_names_are_told_apart() -> None:
    read = operands_of("[float32[8] x 3, int64[2]{2}], [1, -2], [], 5, True, tanh, torch.float32, out=float32[4], sizes=[3, 4]")
    assert read.tensor_lists == ((*(TensorOperand("float32", (8,)),) * 3, TensorOperand("int64", (2,), (2,))),)
    assert read.integer_lists == ((1, -2), ())
    assert (read.integers, read.flags, read.tensors) == ((5,), (True,), ())
    assert read.values[-2:] == ("tanh", "torch.float32")
    assert read.named == {"out": TensorOperand("float32", (4,)), "sizes": (3, 4)}


def test_no_arguments_are_no_operands() -> None:
    assert operands_of("") == Operands()


def test_dense_tensors_have_no_holes_and_overlap_nowhere() -> None:
    assert is_dense(TensorOperand("float32", (2, 3, 4)))
    assert is_dense(TensorOperand("float32", (2, 3, 4), (12, 1, 3)))
    assert not is_dense(TensorOperand("float32", (2, 3, 4), (12, 1, 3)), (0, 1, 2))
    assert is_dense(TensorOperand("float32", (2, 3, 4), (12, 1, 3)), (0, 2, 1))
    assert not is_dense(TensorOperand("float32", (2, 3), (4, 1)))
    assert not is_dense(TensorOperand("float32", (2, 3), (0, 1)))
    assert is_dense(TensorOperand("float32", (1, 3), (0, 1)))
    assert is_dense(TensorOperand("float32", ()))
