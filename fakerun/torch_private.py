"""Every private name of torch that fakerun uses; no other module imports one. Beside each: why, and the version it was checked on.

Checked on torch 2.13 and 2.15. When torch renames one of these, this is the one place to mend.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

# 2.13: `torch._dynamo` copies names out of `torch._C` when it is first imported: before `torch.cuda` is answered for, or it copies ours.
import torch._dynamo.device_interface
import torch.distributed.fsdp
import torch.nn.attention.flex_attention

# 2.13: the process-group backend that communicates nothing, and its finished Work.
from torch._C._distributed_c10d import FakeProcessGroup, FakeWork

# 2.13: from the name that a functional collective carries to its group.
from torch._C._distributed_c10d import _resolve_process_group as resolve_process_group

# 2.13: FakeTensor carries shape, dtype, layout and device without data; its mode runs the meta kernels.
from torch._subclasses import fake_tensor as fake_tensor_module
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedOperatorException,
)

# 2.13: the operators of symmetric memory, which the import defines.
from torch.distributed import _symmetric_memory as symmetric_memory

# 2.13: what a functional collective returns in eager mode: waits for the result where it is first used.
from torch.distributed._functional_collectives import AsyncCollectiveTensor

# 2.13: whether DTensor and functional collectives are being traced: they take an active fake mode for a yes.
from torch.distributed._functional_collectives import _are_we_tracing as are_we_tracing

# 2.13: parameters that FSDP2 communicates together; keeps their gradients where it is told not to reduce them.
from torch.distributed.fsdp._fully_shard._fsdp_param_group import FSDPParamGroup

# 2.13: where DTensor keeps the random state that ranks agreed on.
from torch.distributed.tensor import _random as dtensor_random

# 2.13: works out DTensor placements; runs operators on whole-size fake tensors to learn their shapes.
from torch.distributed.tensor._sharding_prop import ShardingPropagator

# 2.13: how a dimension that TP shards is sharded by FSDP, too.
from torch.distributed.tensor.placement_types import _StridedShard as StridedShard

# 2.13: where a FakeTensor keeps its device; a plain attribute in 2.11, behind a property of the same name in 2.13.
FAKE_DEVICE_ATTRIBUTE = "_fake_device" if hasattr(FakeTensor, "fake_device") else "fake_device"

_DeviceMismatch: type[Exception] | None = getattr(fake_tensor_module, "FakeTensorDeviceMismatchError", None)


def is_device_mismatch(error: Exception) -> bool:
    """Whether fake tensors refuse operands for being on different devices: a class of its own in 2.13, only words in 2.11."""
    return "Unhandled FakeTensor Device Propagation" in str(error) if _DeviceMismatch is None else isinstance(error, _DeviceMismatch)


# 2.13: the operator through which C++ asks a tensor subclass for its device.
PRIM_DEVICE: Any = torch.ops.prim.device.default

# 2.13: the table by which FakeTensor answers metadata questions from C++ inside a kernel.
DISPATCH_META_HANDLERS: dict[Any, Any] = fake_tensor_module._DISPATCH_META_HANDLERS

# 2.13: keeps our own attribute reads inside the dispatch from running through torch-function modes.
disable_torch_function: Callable[[], AbstractContextManager[None]] = torch._C.DisableTorchFunction

# 2.13: what FakeTensorMode does around a meta kernel, without its generator-based context manager (a tenth of the time).
disable_torch_dispatch: Callable[[], AbstractContextManager[None]] = torch._C._DisableTorchDispatch
preserve_dispatch_keys: Callable[[], AbstractContextManager[None]] = torch._C._PreserveDispatchKeyGuard
include_meta_key = torch._C._set_meta_in_tls_dispatch_include

# 2.13: the proxy mode (make_fx) that is active in this thread, or None; and the same of the fake mode.
current_proxy_mode = torch.fx.experimental.proxy_tensor.get_proxy_mode


def current_fake_mode() -> Any:
    """The fake mode that is active in this thread, or None."""
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)


# 2.13: what FakeTensor's constructor does: a subclass instance with the dispatch keys of its device, whose data cannot be touched.
make_subclass: Any = torch.Tensor._make_subclass
forbid_data_access = torch._C._set_throw_on_mutable_data_ptr

# 2.13: the constructor behind DTensor, AsyncCollectiveTensor and other wrappers.
WRAPPER_CONSTRUCTOR = "_make_wrapper_subclass"

# 2.13: how torch's own Python code asks C++ for the accelerator; (owner, name) because it is replaced.
GET_ACCELERATOR = (torch._C, "_accelerator_getAccelerator")
GET_ANY_ACCELERATOR = (torch._C, "_get_accelerator")  # the older question; fully_shard without a mesh asks it

# 2.13: how `Module.to` parses its arguments, in C++; (owner, name) because it is replaced.
PARSE_TO = (torch._C._nn, "_parse_to")

# 2.13: `trunc_normal_` without its checks of arguments.
TRUNCATED_NORMAL = "_no_grad_trunc_normal_"

# 2.13: sorts tensors into lists of one device and dtype, for operators on lists; (owner, name) because it is replaced.
GROUP_TENSORS = (torch._C, "_group_tensors_by_device_and_dtype")

# 2.13: the NVTX functions that torch.cuda.nvtx calls; (owner, name) because they are replaced.
NVTX_FUNCTIONS = (torch.cuda.nvtx, "_nvtx")

# 2.13: the C-level base of torch.Tensor, whose `device` the masquerade reads and maps back.
TensorBase = torch._C.TensorBase

# 2.13: swaps the content of two tensors and leaves their identities.
swap_tensor_impl = torch._C._swap_tensor_impl

# 2.13: how an autocast kernel calls the operator below itself, and the key that it stands on.
exclude_dispatch_keys = torch._C._ExcludeDispatchKeyGuard
AUTOCAST_CUDA_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)

# 2.13: the devices that a process group has a backend for.
GROUP_DEVICES = "_device_types"

# 2.13: between these two calls of a process group its operations are sent together; the second returns the handle of all.
START_COALESCING = "_start_coalescing"
END_COALESCING = "_end_coalescing"

# 2.13: whether an operator belongs to torch itself (only those have outputs that depend on metadata alone).
is_builtin_operator: Any = torch._library.utils.is_builtin

# 2.13: the graph task and node that the autograd engine is running in this thread; -1 and None outside backward.
current_graph_task = torch._C._current_graph_task_id
current_autograd_node = torch._C._current_autograd_node

# 2.13: the number that the next graph node made in this thread will get (`Node._sequence_nr` gives a node's own).
next_sequence_number = torch._C._autograd._get_sequence_nr

# 2.13: whether an operator has a kernel of its own on a dispatch key (composite operators are taken apart).
has_kernel_for_key = torch._C._dispatch_has_kernel_for_dispatch_key

# 2.13: whether algorithms must be deterministic, without the Python function around it (half of the time, for every operator).
are_algorithms_deterministic = torch._C._get_deterministic_algorithms

# 2.13: leaves every mode, torch's and the user's, for a computation of our own.
disable_all_modes = torch.utils._python_dispatch._disable_current_modes

# 2.13: the ragged sizes of nested tensors, by their offsets, and what such a size is.
NestedIntNode: Any = torch.nested._internal.nested_int.NestedIntNode
ragged_sizes: Any = torch.nested._internal.nested_tensor._tensor_symint_registry

# 2.13: how FSDP1 gathers the optimizer state of flat parameters for a checkpoint.
FLAT_OPTIMIZER_STATE: Any = torch.distributed.fsdp._optim_utils

# 2.13: trees of arguments; `torch.utils.pytree` does not cover `tree_map_only`.
pytree = torch.utils._pytree

# 2.13: how higher-order operators are run on fake tensors.
higher_order_rules: dict[Any, Any] = torch._higher_order_ops.utils.registered_hop_fake_fns

# 2.13: the compiler, its entries for whole programs, and the module that it returns for a module.
DYNAMO: Any = torch._dynamo
COMPILED_AUTOGRAD: Any = torch._dynamo.compiled_autograd
OptimizedModule: Any = torch._dynamo.eval_frame.OptimizedModule

# 2.13: the name by which flex_attention calls the operator behind it; (owner, name) because it is replaced.
FLEX_ATTENTION_OPERATOR = (sys.modules["torch.nn.attention.flex_attention"], "flex_attention_hop")

# 2.13: where scripts find control flow as an operator. The package has a function under the name of each module.
CONTROL_FLOW = {
    name: (*owners, sys.modules[f"torch._higher_order_ops.{name}"])
    for name, owners in {
        "cond": (torch, torch._higher_order_ops),
        "while_loop": (torch._higher_order_ops,),
        "scan": (torch._higher_order_ops,),
    }.items()
}

# 2.13: the types behind operators, for telling operators from higher-order operators.
OpOverload = torch._ops.OpOverload
HigherOrderOperator = torch._ops.HigherOrderOperator


def dtensors_share_random_state() -> bool:
    """Whether a random operation on DTensors has run. 2.13: the first one makes a tracker, which broadcasts a random state."""
    return dtensor_random._rng_tracker is not None


def make_fake_group(rank: int, size: int) -> Any:
    """A fake backend for `rank` of `size`. 2.13: torch's type stubs describe other arguments than the binding takes."""
    backend: Any = FakeProcessGroup
    return backend._create_internal(rank, size, backend.Options())


# Read before the emulation puts other options into its place.
_fake_group: Any = FakeProcessGroup
_fake_group_options: Any = getattr(FakeProcessGroup, "options", None)


def fake_group_options(backend: Any) -> Any:
    """The options that a fake backend was made with. 2.13: an attribute, None where none were given."""
    options: Any = None if _fake_group_options is None else _fake_group_options.__get__(backend)
    return _fake_group.Options() if options is None else options


def fake_group_refuses(backend: Any) -> bool:
    """Whether a fake backend was told to refuse all collectives."""
    return bool(getattr(fake_group_options(backend), "error_on_collective", False))


# 2.13: what each fused operator of async tensor parallelism is where nothing can be overlapped: the product, and a functional collective.
UNFUSED = {
    name: getattr(symmetric_memory, f"_{name}_fallback")
    for name in (
        *("fused_all_gather_matmul", "fused_all_gather_scaled_matmul"),
        *("fused_matmul_reduce_scatter", "fused_scaled_matmul_reduce_scatter"),
    )
}


__all__ = [
    "AUTOCAST_CUDA_KEYS",
    "COMPILED_AUTOGRAD",
    "CONTROL_FLOW",
    "DISPATCH_META_HANDLERS",
    "DYNAMO",
    "END_COALESCING",
    "FAKE_DEVICE_ATTRIBUTE",
    "FLAT_OPTIMIZER_STATE",
    "FLEX_ATTENTION_OPERATOR",
    "GET_ACCELERATOR",
    "GET_ANY_ACCELERATOR",
    "GROUP_DEVICES",
    "GROUP_TENSORS",
    "NVTX_FUNCTIONS",
    "PARSE_TO",
    "PRIM_DEVICE",
    "START_COALESCING",
    "TRUNCATED_NORMAL",
    "UNFUSED",
    "WRAPPER_CONSTRUCTOR",
    "AsyncCollectiveTensor",
    "DataDependentOutputException",
    "DynamicOutputShapeException",
    "FSDPParamGroup",
    "FakeProcessGroup",
    "FakeTensor",
    "FakeTensorMode",
    "FakeWork",
    "HigherOrderOperator",
    "NestedIntNode",
    "OpOverload",
    "OptimizedModule",
    "ShardingPropagator",
    "StridedShard",
    "TensorBase",
    "UnsupportedOperatorException",
    "are_algorithms_deterministic",
    "are_we_tracing",
    "current_autograd_node",
    "current_fake_mode",
    "current_graph_task",
    "current_proxy_mode",
    "disable_all_modes",
    "disable_torch_dispatch",
    "disable_torch_function",
    "dtensors_share_random_state",
    "exclude_dispatch_keys",
    "fake_group_options",
    "fake_group_refuses",
    "fake_tensor_module",
    "forbid_data_access",
    "has_kernel_for_key",
    "higher_order_rules",
    "include_meta_key",
    "is_builtin_operator",
    "is_device_mismatch",
    "make_fake_group",
    "make_subclass",
    "next_sequence_number",
    "preserve_dispatch_keys",
    "pytree",
    "ragged_sizes",
    "resolve_process_group",
    "swap_tensor_impl",
]
