"""CUDA's errors for calls that a real run rejects too, where torch's fake tensors raise another error or none.

Messages and rules are those of torch 2.13: c10's adaption.cpp (one device for all arguments), ATen/TensorIterator.cpp (the same, for
pointwise operators), torchgen/dest/register_dispatch_key.py (names of kernels), ATen/native/Convolution.cpp, ATen/native/LinearAlgebra.cpp,
torch/csrc/Exceptions.cpp (names of tensor types).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from fakerun.emulate.unsupported.torch_errors import gap_of
from fakerun.errors import as_script_error
from fakerun.torch_private import OpOverload, is_device_mismatch, operator_name, overload_name, pytree, schema_of

_SAME_DEVICE = "Expected all tensors to be on the same device, but"
NO_NUMPY = "can't convert {} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."

_REDUCTION = re.compile(r"a and b must have same reduction dim, but got \[(\d+), (\d+)\] X \[(\d+), (\d+)\]")
_DONE_BY: Mapping[str, tuple[str, Mapping[str, str]]] = {"embedding": ("index_select", {"weight": "self", "indices": "index"})}
"""Operators that are made of another one: what checks the devices is that one's kernel, with its names of the arguments."""
_NAMED_TYPES = {
    torch.uint8: "Byte",
    torch.int8: "Char",
    torch.float64: "Double",
    torch.float32: "Float",
    torch.int32: "Int",
    torch.int64: "Long",
    torch.int16: "Short",
    torch.float16: "Half",
}


def cuda_error_for(error: Exception, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Exception | None:
    """What a real run raises where the simulation of `func` raised `error`; a gap of fakerun's; or None if the error is the same."""
    if is_device_mismatch(error):
        return as_script_error(RuntimeError(_mixed_devices(func, args, kwargs)))
    if (shapes := _REDUCTION.search(str(error))) is not None:
        rows, inner, other, columns = shapes.groups()
        return as_script_error(RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{inner} and {other}x{columns})"))
    return gap_of(error, func)


def different_types(one: str, first: torch.Tensor, other: str, second: torch.Tensor) -> str:
    """The message of convolutions for operands of different dtype or device type."""
    return f"{one} type ({_type_name(first)}) and {other} type ({_type_name(second)}) should be the same"


def misplaced_indices(indexed: torch.Tensor) -> str:
    """The message of indexing for indices on another device than the indexed tensor."""
    return f"indices should be either on cpu or on the same device as the indexed tensor ({indexed.device})"


def _type_name(tensor: torch.Tensor) -> str:
    kind = tensor.device.type
    if (name := _NAMED_TYPES.get(tensor.dtype)) is not None:
        return f"torch.{'' if kind == 'cpu' else f'{kind}.'}{name}Tensor"
    return f"{kind.upper()}{str(tensor.dtype).removeprefix('torch.').title().replace('Bf', 'BF')}Type"


def _mixed_devices(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    named = list(_named_tensors(func, args, kwargs))
    kernel = _checking_kernel(func)
    if kernel is None:
        devices = [tensor.device for _, tensor in named]
        common = next((device for device in devices if device.type != "cpu"), devices[0])
        other = next((device for device in devices if device != common), common)
        return f"{_SAME_DEVICE} found at least two devices, {common} and {other}!"
    renamed = _DONE_BY.get(operator_name(func), ("", {}))[1]
    common = named[0][1].device
    name, other = next(((name, tensor.device) for name, tensor in named if tensor.device != common), (named[0][0], common))
    found = f"got {renamed.get(name, name)} is on {other}, different from other tensors on {common}"
    return f"{_SAME_DEVICE} {found} (when checking argument in method {kernel})"


def _named_tensors(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the call with its argument's name, in the order of the schema."""
    names = [argument.name for argument in schema_of(func).arguments] if isinstance(func, OpOverload) else []
    values = dict(zip(names or map(str, range(len(args))), args, strict=False)) | dict(kwargs)
    for name in names or values:
        for leaf in pytree.tree_leaves(values.get(name)):
            if isinstance(leaf, torch.Tensor):
                yield name, leaf


def _checking_kernel(func: Any) -> str | None:
    """The name of the generated CUDA kernel that checks the devices; None where TensorIterator checks them, or it is unknown."""
    if not isinstance(func, OpOverload) or func.namespace != "aten":
        return None
    overload = "" if overload_name(func) == "default" else overload_name(func)
    name = _DONE_BY.get(operator_name(func), (operator_name(func), {}))[0]
    declaration = _declaration(f"{name}.{overload}" if overload else name)
    if declaration is None or "device_check: NoCheck" in declaration:
        return None
    written = f"{name}_out" if "(a!) out" in declaration.partition("\n")[0] else name
    if "structured" in declaration:
        return f"wrapper_CUDA_{written}"
    return f"wrapper_CUDA_{overload}_{written}" if re.search(r"^    (?:.*, )?CUDA[,:]", declaration, re.MULTILINE) else None


def _declaration(operator: str) -> str | None:
    """The operator's entry in ATen's native_functions.yaml, which torch's wheels carry for those who write backends."""
    found = re.search(rf"^- func: {re.escape(operator)}\(.*\n(?:(?!- func: ).*\n)*", _declarations(), re.MULTILINE)
    return found and found[0]


@cache
def _declarations() -> str:
    spec = find_spec("torchgen")
    directory = spec and next(iter(spec.submodule_search_locations or ()), None)
    file = Path(directory or "") / "packaged" / "ATen" / "native" / "native_functions.yaml"
    return file.read_text(encoding="utf-8") if file.is_file() else ""
