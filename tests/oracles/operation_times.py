"""The operations that were measured (`fakerun/hardware/measured`), as a device program records them: what an entry's time is of.

The operators are those that torch 2.11 dispatches for the calls of `scripts/dev/gpu/operations`, without views and what only allocates.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fakerun.records.device_program import Operation

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp8_e4m3": "float8_e4m3fn"}

LISTS: Mapping[str, Sequence[tuple[int, tuple[int, ...]]]] = {
    "llama 8b layer": ((2, (4096, 4096)), (2, (1024, 4096)), (3, (14336, 4096)), (2, (4096,))),
    "gpt2 124m": (
        (1, (50257, 768)),
        (1, (1024, 768)),
        (12, (2304, 768)),
        (12, (768, 768)),
        (24, (3072, 768)),
        (98, (768,)),
        (12, (2304,)),
        (12, (3072,)),
    ),
    "8b shard of 64": ((64, (64, 4096)), (64, (16, 4096)), (96, (224, 4096)), (65, (64,))),
    "100 of 16 KiB": ((100, (4096,)),),
    "100 of 4 MiB": ((100, (1024, 1024)),),
    "1000 of 4 KiB": ((1000, (1024,)),),
    "1 of 1 GiB": ((1, (16384, 16384)),),
    "10 of 64 MiB": ((10, (4096, 4096)),),
}


def operations_of(entry: Mapping[str, Any]) -> tuple[Operation, ...]:
    """The operations of an entry; none if it is of something else, or of more than operators."""
    make = _KINDS.get(entry["kind"])
    return () if make is None else tuple(make(entry))


def tensor(dtype: str, *sizes: int, strides: Sequence[int] | None = None) -> str:
    """A tensor in the text of an operation."""
    text = f"{dtype}[{','.join(map(str, sizes))}]"
    return text if strides is None else f"{text}{{{','.join(map(str, strides))}}}"


def operation(name: str, *arguments: str, results: Sequence[str] = ()) -> Operation:
    return Operation(f"aten.{name}", ", ".join(arguments), ", ".join(results))


def _matrices(entry: Mapping[str, Any], batches: tuple[int, ...] = ()) -> tuple[str, str, str]:
    rows, columns, depth = entry["shape"][-3:]
    dtype, layout = DTYPES[entry["dtype"]], entry["layout"]
    left_strides = None if layout[0] == "N" else (1, rows)
    right_strides = None if layout[1] == "N" else (1, depth)
    result = "bfloat16" if dtype.startswith("float8") else dtype
    return (
        tensor(dtype, *batches, rows, depth, strides=left_strides),
        tensor(dtype, *batches, depth, columns, strides=right_strides),
        tensor(result, *batches, rows, columns),
    )


def _product(entry: Mapping[str, Any]) -> list[Operation]:
    if entry["dtype"] not in DTYPES:  # TF32 is a setting, which is not in the text of an operation
        return []
    left, right, result = _matrices(entry)
    return [operation("mm.default", left, right, results=[result])]


def _product_with_bias(entry: Mapping[str, Any]) -> list[Operation]:
    left, right, result = _matrices(entry)
    bias = tensor(DTYPES[entry["dtype"]], entry["shape"][1])
    return [operation("addmm.default", bias, left, right, results=[result])]


def _batched_product(entry: Mapping[str, Any]) -> list[Operation]:
    left, right, result = _matrices(entry, (entry["shape"][0],))
    return [operation("bmm.default", left, right, results=[result])]


def _scaled_product(entry: Mapping[str, Any]) -> list[Operation]:
    left, right, result = _matrices(entry)
    scale = tensor("float32")
    return [operation("_scaled_mm.default", left, right, scale, scale, results=[result])]


def _grouped_product(entry: Mapping[str, Any]) -> list[Operation]:
    groups, rows, columns, depth = entry["shape"]
    left, right = tensor("bfloat16", rows, depth), tensor("bfloat16", groups, depth, columns, strides=(depth * columns, 1, depth))
    return [operation("_grouped_mm.default", left, right, tensor("int32", groups), results=[tensor("bfloat16", rows, columns)])]


def _attention(entry: Mapping[str, Any]) -> list[Operation]:
    names = {"flash": "flash", "cudnn": "cudnn", "efficient": "efficient"}
    if entry["name"] not in names:
        return []
    batches, heads, key_heads, length, head = entry["shape"]
    dtype = DTYPES[entry["dtype"]]
    query, key = tensor(dtype, batches, heads, length, head), tensor(dtype, batches, key_heads, length, head)
    causal = str(entry["causal"])
    kernel = f"_scaled_dot_product_{names[entry['name']]}_attention"
    sums = tensor("float32", batches, heads, length)
    if entry["pass"] == "forward":
        flags = (causal,) if entry["name"] == "flash" else ("True", causal)
        return [operation(f"{kernel}.default", query, key, key, *flags, results=[query, sums])]
    mask = ("[True, True, True, False]",) if entry["name"] == "efficient" else ()
    return [operation(f"{kernel}_backward.default", query, query, key, key, query, sums, *mask, causal, results=[query, key, key])]


# -- what moves bytes ----------------------------------------------------------------------------------------------------------------------

_UNARY = {
    "clone bf16": ("clone.default", "bf16"),
    "clone fp32": ("clone.default", "fp32"),
    "mul by number bf16": ("mul.Tensor", "bf16"),
    "gelu bf16": ("gelu.default", "bf16"),
    "gelu tanh bf16": ("gelu.default", "bf16"),
    "silu bf16": ("silu.default", "bf16"),
    "relu bf16": ("relu.default", "bf16"),
    "exp fp32": ("exp.default", "fp32"),
    "rsqrt fp32": ("rsqrt.default", "fp32"),
    "pow 2 fp32": ("pow.Tensor_Scalar", "fp32"),
    "tanh bf16": ("tanh.default", "bf16"),
    "cumsum fp32": ("cumsum.default", "fp32"),
}
_BINARY = {
    "add bf16": ("add.Tensor", "bf16", "bf16"),
    "add fp32": ("add.Tensor", "fp32", "fp32"),
    "add fp32 and bf16": ("add.Tensor", "fp32", "bf16"),
    "mul bf16": ("mul.Tensor", "bf16", "bf16"),
    "mul fp32": ("mul.Tensor", "fp32", "fp32"),
    "gelu backward bf16": ("gelu_backward.default", "bf16", "bf16"),
    "silu backward bf16": ("silu_backward.default", "bf16", "bf16"),
}
_IN_PLACE = {
    "add_ bf16": ("add_.Tensor", "bf16", "bf16"),
    "add_ fp32": ("add_.Tensor", "fp32", "fp32"),
    "copy_ bf16 into fp32": ("copy_.default", "fp32", "bf16"),
    "addcmul_ fp32": ("addcmul_.default", "fp32", "fp32"),
    "lerp_ fp32": ("lerp_.Scalar", "fp32", "fp32"),
}
_TO_NUMBER = {
    "sum fp32": ("sum.default", "fp32"),
    "sum bf16": ("sum.default", "bf16"),
    "norm fp32": ("linalg_vector_norm.default", "fp32"),
    "norm bf16": ("linalg_vector_norm.default", "bf16"),
}


def _elementwise(entry: Mapping[str, Any]) -> list[Operation]:
    name = entry["name"]

    def flat(dtype: str, sized_as: str) -> str:
        return tensor(DTYPES[dtype], entry["size_bytes"] // (2 if sized_as == "bf16" else 4))

    if name in _UNARY:
        operator, dtype = _UNARY[name]
        return [operation(operator, flat(dtype, dtype), results=[flat(dtype, dtype)])]
    if name in _BINARY:
        operator, dtype, other = _BINARY[name]
        return [operation(operator, flat(dtype, dtype), flat(other, dtype), results=[flat(dtype, dtype)])]
    if name in _IN_PLACE:
        operator, dtype, other = _IN_PLACE[name]
        return [operation(operator, flat(dtype, dtype), flat(other, dtype))]
    if name in _TO_NUMBER:
        operator, dtype = _TO_NUMBER[name]
        return [operation(operator, flat(dtype, dtype), results=[tensor(DTYPES[dtype])])]
    return _other_elementwise(name, flat)


def _other_elementwise(name: str, flat: Callable[[str, str], str]) -> list[Operation]:
    half, single = flat("bf16", "bf16"), flat("fp32", "fp32")
    made = {
        "cast fp32 to bf16": [operation("_to_copy.default", single, "dtype=torch.bfloat16", results=[flat("bf16", "fp32")])],
        "cast bf16 to fp32": [operation("_to_copy.default", half, "dtype=torch.float32", results=[flat("fp32", "bf16")])],
        "fill_ bf16": [operation("fill_.Scalar", half)],
        "zeros fp32": [operation("zero_.default", single)],
        "silu and mul bf16": [
            operation("silu.default", half, results=[half]),
            operation("mul.Tensor", half, half, results=[half]),
        ],
        "randn fp32": [operation("normal_.default", single)],
    }
    return made.get(name, [])


def _rows(entry: Mapping[str, Any]) -> list[Operation]:
    rows, columns = entry["shape"]
    dtype, name, backward = DTYPES[entry["dtype"]], entry["name"], entry.get("pass") == "backward"
    full, row, weight = tensor(dtype, rows, columns), tensor("float32", rows, 1), tensor(dtype, columns)
    lengths = f"[{columns}]"
    if name == "rms_norm" and not backward:
        return [operation("_fused_rms_norm.default", full, lengths, weight, results=[full, row])]
    if name == "rms_norm":
        return [operation("_fused_rms_norm_backward.default", full, full, lengths, row, weight, "[True, True]", results=[full, weight])]
    if name == "layer_norm" and not backward:
        return [operation("native_layer_norm.default", full, lengths, weight, weight, results=[full, row, row])]
    if name == "layer_norm":
        arguments = (full, full, lengths, row, row, weight, weight, "[True, True, True]")
        return [operation("native_layer_norm_backward.default", *arguments, results=[full, weight, weight])]
    if name in ("softmax", "log_softmax"):
        operator = f"_{name}_backward_data.default" if backward else f"_{name}.default"
        return [operation(operator, *((full, full) if backward else (full,)), results=[full])]
    reduced = {
        "sum of rows": "sum.dim_IntList",
        "mean of rows": "mean.dim",
        "max of rows": "amax.default",
        "argmax of rows": "argmax.default",
    }
    if name in reduced:
        return [operation(reduced[name], full, results=[tensor(dtype, rows)])]
    if name == "topk 8 of rows":
        return [operation("topk.default", full, "8", results=[tensor(dtype, rows, 8), tensor("int64", rows, 8)])]
    return []


def _layout(entry: Mapping[str, Any]) -> list[Operation]:
    sizes = tuple(entry["shape"])
    whole = tensor("bfloat16", *sizes)
    batches, length, heads, head = sizes
    inner = (length * heads * head, heads * head, head, 1)
    if entry["name"] == "transpose heads, contiguous":
        moved = tensor("bfloat16", batches, heads, length, head, strides=(inner[0], inner[2], inner[1], 1))
        return [operation("clone.default", moved, results=[tensor("bfloat16", batches, heads, length, head)])]
    if entry["name"] == "transpose last two, contiguous":
        moved = tensor("bfloat16", batches, length, head, heads, strides=(inner[0], inner[1], 1, head))
        return [operation("clone.default", moved, results=[tensor("bfloat16", batches, length, head, heads)])]
    if entry["name"] == "cat of four":
        return [operation("cat.default", f"[{whole} x 4]", "-1", results=[tensor("bfloat16", *sizes[:-1], 4 * head)])]
    if entry["name"] == "stack of two":
        return [operation("stack.default", f"[{whole} x 2]", results=[tensor("bfloat16", 2, *sizes)])]
    if entry["name"] == "roll":
        return [operation("roll.default", whole, "[1]", "[1]", results=[whole])]
    if entry["name"] == "broadcast add":
        first = tensor("bfloat16", batches, 1, heads, head, strides=inner)
        return [operation("add.Tensor", whole, first, results=[whole])]
    return []


def _by_index(entry: Mapping[str, Any]) -> list[Operation]:
    if "dtype" not in entry:
        return []
    rows, columns, count = entry["shape"]
    dtype = DTYPES[entry["dtype"]]
    table, indices, chosen = tensor(dtype, rows, columns), tensor("int64", count), tensor(dtype, count, columns)
    made = {
        "embedding backward": operation("embedding_dense_backward.default", chosen, indices, str(rows), "-1", "False", results=[table]),
        "embedding": operation("embedding.default", table, indices, results=[chosen]),
        "index_select": operation("index_select.default", table, "0", indices, results=[chosen]),
        "index": operation("index.Tensor", table, f"[{indices}]", results=[chosen]),
        "index_add_": operation("index_add_.default", table, "0", indices, chosen),
        "index_put_": operation("index_put_.default", table, f"[{indices}]", chosen),
    }
    return [made[entry["name"]]] if entry["name"] in made else []


# -- lists ---------------------------------------------------------------------------------------------------------------------------------


def list_text(name: str, dtype: str) -> str:
    """The tensors of a list in the text of an operation."""
    runs = (f"{tensor(dtype, *sizes)} x {count}" if count > 1 else tensor(dtype, *sizes) for count, sizes in LISTS[name])
    return f"[{', '.join(runs)}]"


def _tensor_list(entry: Mapping[str, Any]) -> list[Operation]:
    name = entry["list"]
    single, half = list_text(name, "float32"), list_text(name, "bfloat16")
    count = sum(count for count, _ in LISTS[name])
    made = {
        "foreach copy_ fp32 to bf16": operation("_foreach_copy_.default", half, single),
        "foreach zero_": operation("_foreach_zero_.default", single),
        "foreach mul_": operation("_foreach_mul_.Scalar", single),
        "foreach norm": operation("_foreach_norm.Scalar", single, results=[f"[{tensor('float32')} x {count}]"]),
    }
    return [made[entry["name"]]] if entry["name"] in made else []


def _optimizer(entry: Mapping[str, Any]) -> list[Operation]:
    fused = {"AdamW fused": "_fused_adamw_", "Adam fused": "_fused_adam_", "SGD fused": "_fused_sgd_", "SGD momentum fused": "_fused_sgd_"}
    name = entry["name"]
    if name not in fused:
        return []
    parameters = list_text(entry["list"], DTYPES[entry["dtype"]])
    states = {"SGD fused": 0, "SGD momentum fused": 1}.get(name, 2)
    steps = f"[{tensor('float32')} x {sum(count for count, _ in LISTS[entry['list']])}]" if states == 2 else "[]"
    lists = (parameters,) * (2 + states)
    return [operation(f"{fused[name]}.default", *lists, *(("[]", steps) if states == 2 else ()))]


def elements_of(name: str) -> int:
    """Elements of a list."""
    return sum(count * math.prod(sizes) for count, sizes in LISTS[name])


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], list[Operation]]] = {
    "mm": _product,
    "addmm": _product_with_bias,
    "bmm": _batched_product,
    "scaled_mm": _scaled_product,
    "grouped_mm": _grouped_product,
    "attention": _attention,
    "memory_bound": _elementwise,
    "rows": _rows,
    "layout": _layout,
    "index": _by_index,
    "tensor_list": _tensor_list,
    "optimizer": _optimizer,
}
