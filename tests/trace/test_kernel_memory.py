"""What kernels take beside their results, for operations as the emulation records them."""

from collections.abc import Callable

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import embedding, layer_norm, linear, scaled_dot_product_attention

from fakerun.device_memory.kernels.kernel_memory import Platform
from fakerun.device_memory.kernels.registry import kernel_memory
from fakerun.device_memory.kernels.sorting import radix_sort_bytes
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.device_program import Operation
from tests.in_process import Simulate

ON = Platform(hardware=hardware_named("h100-80gb"))


def cuda(*sizes: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.zeros(*sizes, device="cuda", dtype=dtype, requires_grad=dtype.is_floating_point)


def attention(backend: SDPBackend) -> Callable[[], None]:
    def run() -> None:
        query = cuda(1, 100, 4, 128).transpose(1, 2)
        with sdpa_kernel(backend):
            scaled_dot_product_attention(query, query, query).backward(cuda(1, 100, 4, 128).transpose(1, 2))

    return run


def embedded() -> None:
    embedding(cuda(4, 2000, dtype=torch.int64), cuda(50, 64)).backward(cuda(4, 2000, 64))


def indexed() -> None:
    table = cuda(10, 50, 8)
    table[:, cuda(1000, dtype=torch.int64)].backward(cuda(10, 1000, 8))


def normalised() -> None:
    layer_norm(cuda(2**17, 128), (128,), cuda(128), cuda(128)).backward(cuda(2**17, 128))


def expanded() -> None:
    linear(cuda(8, 16), cuda(4, 16)).sum().backward()


def by_hand(name: str, arguments: str) -> tuple[int, ...]:
    """What the operation takes of this text, which the emulation is to write."""
    return kernel_memory(Operation(name, arguments), ON).temporary_bytes


ROWS = 4 * 128
NORMALISED = (
    "bfloat16[131072,128], bfloat16[131072,128], [128], float32[131072,1], float32[131072,1], bfloat16[128], bfloat16[128], "
    "[True, True, True]"
)
CASES: dict[str, tuple[Callable[[], object], str, tuple[int, ...]]] = {
    "flash": (attention(SDPBackend.FLASH_ATTENTION), "_scaled_dot_product_flash_attention_backward", (ROWS * 4, ROWS * 128 * 4)),
    "efficient": (
        attention(SDPBackend.EFFICIENT_ATTENTION),
        "_scaled_dot_product_efficient_attention_backward",
        (400 * 4, 4 * (16 + 4 * 128 * 128)),
    ),
    "cudnn": (attention(SDPBackend.CUDNN_ATTENTION), "_scaled_dot_product_cudnn_attention_backward", (400 * 129 * 4 + 256,)),
    "embedding": (
        embedded,
        "embedding_dense_backward",
        by_hand("aten.embedding_dense_backward.default", "bfloat16[4,2000,64], int64[4,2000], 50, False"),
    ),
    "index": (indexed, "index_put_", (8000, 8000, -1, 8000, 8000, 8000, 1)),
    "layer norm": (normalised, "native_layer_norm_backward", by_hand("aten.native_layer_norm_backward.default", NORMALISED)),
    "sort": (lambda: torch.sort(cuda(256, 8192, dtype=torch.int32)), "sort", (2**24, 2**21 * 12 + 255)),
    "stable sort": (lambda: torch.sort(cuda(8192, dtype=torch.int64), stable=True), "sort", (2**16, radix_sort_bytes(8192, 8, 8, ON))),
    "topk": (lambda: torch.topk(cuda(100_000, dtype=torch.int32), 8), "topk", by_hand("aten.topk.default", "int32[100000], 8")),
    "foreach norm": (lambda: torch._foreach_norm([cuda(70_000), cuda(8)]), "_foreach_norm", (2 * 2 * 4,)),
    "bias": (lambda: cuda(8192, 4096).sum(0, keepdim=True), "sum", (4 * 4096 * 66 * 128, 128)),
    "norm": (lambda: torch.linalg.vector_norm(cuda(2**21, dtype=torch.float32)), "linalg_vector_norm", (4 * 256, 4)),
    "expanded gradient": (expanded, "mm", (8 * 4 * 2,)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_rule_reads_what_the_emulation_writes(name: str, simulate: Simulate) -> None:
    run, operator, expected = CASES[name]
    simulation = simulate()
    run()
    operations = [each for each in simulation.record(None).program.operations if each.name.split(".")[1] == operator]
    assert expected in [kernel_memory(operation, ON).temporary_bytes for operation in operations]


def test_products_take_workspaces(simulate: Simulate) -> None:
    simulation = simulate()
    linear(cuda(8, 16), cuda(4, 16), cuda(4)).sum().backward()
    torch.bmm(cuda(2, 3, 4), cuda(2, 4, 3))
    operations = [operation for operation in simulation.record(None).program.operations if "mm" in operation.name]
    assert {operation.name.split(".")[1] for operation in operations} == {"addmm", "mm", "bmm"}
    assert all([each.nbytes for each in kernel_memory(operation, ON).workspaces] == [2**25] for operation in operations)
