"""What fused attention accumulates beside its results."""

import pytest

from fakerun.device_memory.kernels.kernel_memory import Platform
from tests.unit.kernels_by_hand import platform, temporary, workspaces

MIB = 2**20
A100, L4, MI300X = platform("a100-80gb"), platform("l4"), platform("mi300x")


def backward(kind: str, query: str, key: str | None = None, *, gradient: str | None = None, dtype: str = "bfloat16") -> str:
    """The text of `_scaled_dot_product_KIND_attention_backward`, of sizes [batches, heads, length, head] with lengths outside of heads."""
    key = key or query
    operands = [laid_out(each, dtype) for each in (query, key, key, query)]
    grad = operands[0] if gradient is None else f"{dtype}[{gradient}]"
    rows = query.rpartition(",")[0]
    return f"aten._scaled_dot_product_{kind}_attention_backward.default({grad}, {', '.join(operands)}, float32[{rows}], False)"


def laid_out(sizes: str, dtype: str = "bfloat16") -> str:
    heads, length, head = map(int, sizes.split(",")[1:])
    return f"{dtype}[{sizes}]{{{heads * length * head},{head},{heads * head},1}}"


def test_flash_backward_has_gradients_of_queries_in_float32() -> None:
    # Llama 3 8B: 32 heads of 128 at 8192 tokens.
    assert temporary(backward("flash", "1,32,8192,128")) == (32 * 8192 * 4, 32 * 8192 * 128 * 4)
    assert temporary(backward("flash", "2,4,100,40")) == (2 * 4 * 128 * 4, 2 * 4 * 128 * 64 * 4)
    assert temporary(backward("flash", "1,1,128,200")) == (128 * 4, 128 * 256 * 4)


def test_flash_backward_sums_gradients_of_grouped_heads() -> None:
    grouped = 8192 * 32 * 128 * 2
    assert temporary(backward("flash", "1,32,8192,128", "1,8,8192,128")) == (32 * 8192 * 4, 32 * 8192 * 128 * 4, grouped, grouped)


def test_a_gradient_of_another_layout_is_copied() -> None:
    copied = 32 * 8192 * 128 * 2
    assert temporary(backward("flash", "1,32,8192,128", gradient="1,32,8192,128")) == (copied, 32 * 8192 * 4, 32 * 8192 * 128 * 4)
    assert temporary(backward("flash", "1,1,128,64", gradient="1,1,128,64")) == (128 * 4, 128 * 64 * 4)  # one head: no other layout


def test_packed_sequences_have_a_block_behind_each() -> None:
    query, bounds = "bfloat16[1000,8,64]", "int32[4]"
    text = f"aten._flash_attention_backward.default({', '.join([query] * 5)}, float32[8,1000], {bounds}, {bounds}, 512, 512, True)"
    rows = (1000 + 128 * 3) * 8
    assert temporary(text) == (rows * 4, rows * 64 * 4)


def test_flash_forward_splits_keys_of_few_queries() -> None:
    def forward(query: str, key: str) -> str:
        return f"aten._scaled_dot_product_flash_attention.default(bfloat16[{query}], bfloat16[{key}], bfloat16[{key}], False, False)"

    assert temporary(forward("1,32,8192,128", "1,32,8192,128")) == ()
    # 8 blocks for 264 half multiprocessors, 64 blocks of keys. 33 splits would be one wave; only 32 of those up to 33 divide them evenly.
    splits = 32
    assert temporary(forward("1,8,1,128", "1,8,8192,128")) == (splits * 8 * 4, splits * 8 * 128 * 4)
    assert temporary(forward("1,8,1,128", "1,8,128,128")) == ()


@pytest.mark.parametrize(
    ("query", "on", "tiles", "queries", "keys"),
    [
        ("2,16,1024,64", A100, 16, 64, 64),
        ("2,16,1024,64", L4, 16, 64, 64),
        ("2,16,1024,128", A100, 8, 128, 128),
        ("2,16,1024,96", L4, 8 * 2, 128, 64),
    ],
)
def test_efficient_backward_has_a_tile_of_the_gradient_of_queries_with_a_lock(
    query: str, on: Platform, tiles: int, queries: int, keys: int
) -> None:
    assert temporary(backward("efficient", query), on) == (2 * 16 * 1024 * 4, 32 * tiles * (16 + 4 * queries * keys))


def test_efficient_backward_accumulates_gradients_of_keys_where_registers_do_not_hold_them() -> None:
    # 64 x 64 tiles for heads of 128 without the shared memory of an A100; 200 // 32 splits.
    elements = 16 * 2 * (4 + 64 * 64) + 6 * 64 * (128 + 128)
    assert temporary(backward("efficient", "2,16,1024,128"), L4) == (2 * 16 * 1024 * 4, 32 * elements * 4)
    elements = 8 * 4 * (4 + 128 * 64) + 6 * 64 * (256 + 256)
    assert temporary(backward("efficient", "2,16,1024,256"), A100) == (2 * 16 * 1024 * 4, 32 * elements * 4)


def test_efficient_backward_in_float32_multiplies_output_and_gradient_first() -> None:
    rows, product, workspace = 2 * 16 * 1024 * 4, 2 * 16 * 1024 * 64 * 4, 32 * 16 * (16 + 4 * 64 * 64)
    assert temporary(backward("efficient", "2,16,1024,64", dtype="float32"), A100) == (product, rows, rows, -2, -1, workspace)
    copied = temporary(backward("efficient", "2,16,1024,64", dtype="float32", gradient="2,16,1024,64"), A100)
    assert copied == (product, product, rows, rows, -3, -2, workspace)


def test_efficient_backward_in_float32_takes_what_it_took_on_a_gpu() -> None:
    """Public memory snapshot of a training step: ftcourse_memory_snapshot of github.com/cranberrii/ftcourse, 22 layers."""
    gradient, product, rows, sums, *freed, workspace = temporary(
        backward("efficient", "1,32,1000,64", dtype="float32", gradient="1,32,1000,64"), A100
    )
    assert (gradient, sums, workspace) == (8_192_000, 128_000, 8_396_800)
    assert (product, rows, freed) == (8_192_000, 128_000, [-3, -2])


def test_efficient_forward_accumulates_large_heads() -> None:
    def forward(head: int, dtype: str) -> str:
        sizes = f"{dtype}[2,16,1024,{head}]"
        return f"aten._scaled_dot_product_efficient_attention.default({sizes}, {sizes}, {sizes}, True)"

    assert temporary(forward(128, "bfloat16")) == temporary(forward(256, "float32")) == ()
    assert temporary(forward(256, "bfloat16")) == (2 * 1024 * 16 * 256 * 4,)


def test_cudnn_backward_has_gradients_of_queries_in_float32() -> None:
    accumulated = 32 * 8192 * 129 * 4 + 256
    assert temporary(backward("cudnn", "1,32,8192,128")) == (accumulated,)
    assert temporary(backward("cudnn", "1,32,8192,128", gradient="1,32,8192,128")) == (64 * MIB, accumulated)


def test_rocm_sums_the_gradient_of_the_softmax_only() -> None:
    assert temporary(backward("flash", "1,32,8192,128"), MI300X) == (32 * 8192 * 4,)
    assert temporary(backward("efficient", "1,32,8192,128"), MI300X) == (32 * 8192 * 4,)


def test_nothing_is_taken_for_nothing() -> None:
    assert temporary(backward("flash", "1,32,0,128")) == temporary(backward("efficient", "0,32,8,128")) == ()
    assert workspaces(backward("flash", "1,32,8192,128")) == {}
