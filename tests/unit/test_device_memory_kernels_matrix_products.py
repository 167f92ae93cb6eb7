"""cuBLAS's and cuBLASLt's workspaces: which product takes which, on which device, in which torch."""

import pytest

from fakerun.device_memory.kernels.matrix_products import cublas_workspace_bytes, cublaslt_workspace_bytes
from tests.unit.kernels_by_hand import platform, taken, temporary, workspaces

MIB = 2**20
SMALL = 8 * MIB + 128 * 1024
MM = "aten.mm.default(bfloat16[8192,4096], bfloat16[4096,4096]{1,4096})"
LINEAR = "aten.addmm.default(bfloat16[4096], bfloat16[8192,4096], bfloat16[4096,4096]{1,4096})"
SCALED = "aten._scaled_mm.default(float8_e4m3fn[16,32], float8_e4m3fn[32,16]{1,32}, float32[], float32[])"


@pytest.mark.parametrize(
    ("hardware", "version", "expected"),
    [
        ("h100-80gb", (2, 11), 32 * MIB),
        ("h100-80gb", (2, 14), 32 * MIB),
        ("a100-80gb", (2, 14), SMALL),
        ("l4", (2, 14), SMALL),
        ("b200", (2, 11), SMALL),
        ("b200", (2, 12), 32 * MIB),
        ("mi300x", (2, 14), 128 * MIB),
        ("mi355x", (2, 14), 128 * MIB),
    ],
)
def test_a_workspace_is_of_the_device_and_the_version(hardware: str, version: tuple[int, int], expected: int) -> None:
    assert cublas_workspace_bytes(platform(hardware, version)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":4096:8", 32 * MIB),
        (":16:8", 128 * 1024),
        (":4096:2:16:8", SMALL),
        (":0:0", 0),
        ("nonsense", 32 * MIB),
        ("", 32 * MIB),
        ("pools=:1024:3", 3 * MIB),
    ],
)
def test_the_variable_has_pools_of_kibibytes_and_a_count(text: str, expected: int) -> None:
    assert cublas_workspace_bytes(platform(CUBLAS_WORKSPACE_CONFIG=text)) == expected


def test_rocm_reads_names_of_its_own_too() -> None:
    assert cublas_workspace_bytes(platform("mi300x", HIPBLAS_WORKSPACE_CONFIG=":16:1")) == 16 * 1024
    assert cublas_workspace_bytes(platform("mi300x", HIPBLAS_WORKSPACE_CONFIG=":16:1", CUBLAS_WORKSPACE_CONFIG=":32:1")) == 32 * 1024
    assert cublas_workspace_bytes(platform(HIPBLAS_WORKSPACE_CONFIG=":16:1")) == 32 * MIB
    assert cublaslt_workspace_bytes(platform("mi300x")) == 76 * MIB
    assert cublaslt_workspace_bytes(platform("mi300x", HIPBLASLT_WORKSPACE_SIZE="1024")) == MIB


def test_cublaslt_has_what_its_variable_says_up_to_cublas() -> None:
    assert cublaslt_workspace_bytes(platform()) == MIB
    assert cublaslt_workspace_bytes(platform(CUBLASLT_WORKSPACE_SIZE="2048 KiB")) == 2 * MIB
    assert cublaslt_workspace_bytes(platform(CUBLASLT_WORKSPACE_SIZE="many")) == MIB
    assert cublaslt_workspace_bytes(platform(CUBLASLT_WORKSPACE_SIZE="65536")) == 32 * MIB
    assert cublaslt_workspace_bytes(platform(CUBLASLT_WORKSPACE_SIZE="65536", TORCH_CUBLASLT_UNIFIED_WORKSPACE="0")) == 64 * MIB
    assert cublaslt_workspace_bytes(platform(CUBLAS_WORKSPACE_CONFIG=":16:8")) == 128 * 1024


@pytest.mark.parametrize(
    "text",
    [
        MM,
        "aten.bmm.default(bfloat16[2,8,4], bfloat16[2,4,8])",
        "aten.baddbmm.default(float32[2,8,8], float32[2,8,4], float32[2,4,8])",
        "aten.mm.out(float32[8,4], float32[4,4], out=float32[8,4])",
        "aten.mv.default(float32[8,4], float32[4])",
        "aten.dot.default(float32[8], float32[8])",
        "aten.addmm.default(float32[8,4], float32[8,3], float32[3,4])",
        "aten.addmm_.default(float32[8,4], float32[8,3], float32[3,4])",
        "aten.addmm.default(float32[4]{2}, float32[8,3], float32[3,4])",
        "aten.addmm.default(float32[4], float32[1,3], float32[3,4])",
        "aten.addmm.default(complex64[4], complex64[8,3], complex64[3,4])",
        LINEAR,
        SCALED,
    ],
)
def test_products_take_one_workspace_for_both_libraries(text: str) -> None:
    assert workspaces(text) == {"cublas": 32 * MIB}
    assert temporary(text) == ()


def test_cublaslt_had_a_workspace_beside_that_of_cublas() -> None:
    before = platform(torch_version=(2, 11))
    assert workspaces(LINEAR, before) == workspaces(SCALED, before) == {"cublas": 32 * MIB, "cublaslt": MIB}
    assert workspaces(MM, before) == {"cublas": 32 * MIB}
    assert workspaces(LINEAR, platform(torch_version=(2, 11), TORCH_CUBLASLT_UNIFIED_WORKSPACE="1")) == {"cublas": 32 * MIB}
    assert workspaces(LINEAR, platform(torch_version=(2, 11), DISABLE_ADDMM_CUDA_LT="1")) == {"cublas": 32 * MIB}


def test_kept_apart_cublaslt_needs_no_workspace_of_cublas() -> None:
    apart = platform(TORCH_CUBLASLT_UNIFIED_WORKSPACE="0")
    assert workspaces(LINEAR, apart) == {"cublaslt": MIB}
    assert workspaces("aten.addmm.default(float32[8,4], float32[8,3], float32[3,4])", apart) == {"cublas": 32 * MIB}
    assert workspaces(MM, platform(TORCH_CUBLASLT_UNIFIED_WORKSPACE="0", TORCH_BLAS_PREFER_CUBLASLT="1")) == {"cublaslt": MIB}


def test_workspaces_of_one_call_are_freed_with_it() -> None:
    each = platform(torch_version=(2, 15))
    assert (temporary(MM, each), temporary(LINEAR, each)) == ((32 * MIB,), (MIB,))
    assert workspaces(MM, each) == workspaces(LINEAR, each) == {}
    assert workspaces(MM, platform(torch_version=(2, 15), TORCH_CUBLAS_WORKSPACE_CACHE="1")) == {"cublas": 32 * MIB}
    assert workspaces(MM, platform("mi300x", (2, 15))) == {"cublaslt": 76 * MIB}


def test_instinct_sends_products_to_hipblaslt() -> None:
    mi300x = platform("mi300x")
    assert workspaces(MM, mi300x) == workspaces(LINEAR, mi300x) == {"cublaslt": 76 * MIB}
    assert workspaces("aten.mm.default(float64[8,4], float64[4,4])", mi300x) == {"cublas": 128 * MIB}
    assert workspaces("aten.mv.default(float32[8,4], float32[4])", mi300x) == {"cublas": 128 * MIB}


@pytest.mark.parametrize(
    "text",
    [
        "aten.mm.default(float32[0,4], float32[4,4])",
        "aten.mm.default(float32[8,0], float32[0,4])",
        "aten._int_mm.default(int8[32,16], int8[16,32])",
        "aten.add.Tensor(float32[8], float32[8])",
        "c10d.allreduce_.default([float32[8]])",
        "other_library.mm.default(float32[8,4], float32[4,4])",
    ],
)
def test_what_calls_no_library_takes_nothing(text: str) -> None:
    assert workspaces(text) == {}
    assert temporary(text) == ()


def test_no_memory_is_no_workspace() -> None:
    assert taken(MM, platform(CUBLAS_WORKSPACE_CONFIG=":0:0")).workspaces == ()


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("aten.mm.default(bfloat16[4,8]{0,0}, bfloat16[8,16])", (4 * 8 * 2,)),  # an expanded gradient
        ("aten.mm.default(float32[4,8]{32,2}, float32[8,16]{1,0})", (4 * 8 * 4, 8 * 16 * 4)),
        ("aten.mm.default(float32[4,8]{16,1}, float32[8,16]{1,8})", ()),  # a slice of rows, a transposed matrix
        ("aten.mm.default(float32[4,1]{1,0}, float32[1,16])", ()),
        ("aten.addmm.default(float32[16]{0}, float32[4,8]{0,1}, float32[8,16])", (4 * 8 * 4,)),
        ("aten.addmm.default(float32[16], float32[4,8]{0,1}, float32[8,16])", (4 * 8 * 4,)),
        ("aten.bmm.default(float32[2,4,8]{0,8,1}, float32[2,8,4]{32,1,8})", ()),
        ("aten.bmm.default(float32[2,4,8]{1,16,2}, float32[2,8,4])", (2 * 4 * 8 * 4,)),
    ],
)
def test_matrices_that_cublas_cannot_read_are_copied(text: str, copied: tuple[int, ...]) -> None:
    assert temporary(text) == copied
    assert workspaces(text) == {"cublas": 32 * MIB}


def test_grouped_products_have_arguments_of_each_group_and_a_workspace() -> None:
    """As an H200 did (torch 2.11)."""
    assert temporary("aten._grouped_mm.default(bfloat16[512,128], bfloat16[16,128,256], int32[16])") == (960, 67_584)
    assert temporary("aten._grouped_mm.default(bfloat16[4,256,128], bfloat16[4,128,512])") == (240, 67_584)
    scaled = "float8_e4m3fn[1024,512], float8_e4m3fn[4,512,1024]{524288,1,512}, float32[1024], float32[4,1024], int32[4]"
    assert temporary(f"aten._scaled_grouped_mm.default({scaled}, torch.bfloat16)") == (304, 84_480)
