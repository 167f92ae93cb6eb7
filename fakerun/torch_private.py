"""Every private name of torch that fakerun uses, imported, replaced by name or read as an attribute. Beside each: why, and the version.

Checked on torch 2.11, 2.13 and 2.15. When torch renames one of these, this is the one place to mend. On the ground floor, because both
`emulate` and `trace` need some, and neither imports the other.

What is replaced is a pair (owner, name), or the name alone where the owner is public: `patches.set(*PAIR, value)`. What is read for every
operator is an `attrgetter`, which costs as much as the attribute.
"""

import sys
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from operator import attrgetter, methodcaller
from typing import Any

import torch

# 2.13: `torch._dynamo` copies names out of `torch._C` when it is first imported: before `torch.cuda` is answered for, or it copies ours.
import torch._dynamo.device_interface
import torch.distributed.fsdp
import torch.nn.attention.flex_attention
import torch.nn.parallel.distributed
import torch.utils._foreach_utils

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

# 2.13: parameters that FSDP2 communicates together; keeps their gradients if they are not to be reduced yet.
from torch.distributed.fsdp._fully_shard._fsdp_param_group import FSDPParamGroup

# 2.13: what FSDP2 knows of a module.
from torch.distributed.fsdp._fully_shard._fsdp_state import FSDPState

# 2.13: where DTensor keeps the random state that all ranks share.
from torch.distributed.tensor import _random as dtensor_random

# 2.13: works out DTensor placements; runs operators on whole-size fake tensors to learn their shapes.
from torch.distributed.tensor._sharding_prop import ShardingPropagator

# 2.13: how a dimension that TP shards is sharded by FSDP, too.
from torch.distributed.tensor.placement_types import _StridedShard as StridedShard

# 2.13: what a library's finalizer calls: takes back what the library registered.
from torch.library import _del_library as unregister_library

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

# 2.11 to 2.14: what C++ calls before each `__torch_dispatch__`.
FIND_DISPATCH_RULE = (torch._library.simple_registry, "find_torch_dispatch_rule")

# 2.13: how `Module.to` parses its arguments, in C++; (owner, name) because it is replaced.
PARSE_TO = (torch._C._nn, "_parse_to")

# 2.13: `trunc_normal_` without its checks of arguments.
TRUNCATED_NORMAL = "_no_grad_trunc_normal_"

# 2.13: sorts tensors into lists of one device and dtype, for operators on lists; (owner, name) because it is replaced.
GROUP_TENSORS = (torch._C, "_group_tensors_by_device_and_dtype")

# 2.13: the types of tensors that optimizers, and functions on gradients, hand to operators on lists; (owner, name) because they are
# replaced. `torch.optim` deletes its attribute `optimizer`.
FOREACH_TYPES_OF_OPTIMIZERS = (sys.modules["torch.optim.optimizer"], "_foreach_supported_types")
FOREACH_TYPES_OF_FUNCTIONS = (torch.utils._foreach_utils, "_foreach_supported_types")

# 2.13: the owner of the functions that torch.nn.parallel.comm calls (`_scatter`, `_gather`, ...): builds without CUDA lack them.
MULTI_GPU_COPIES = torch._C

# 2.13: how torch.nn.parallel.comm puts tensors into flat buffers.
flatten_dense_tensors: Callable[..., Any] = torch._utils._flatten_dense_tensors
take_tensors: Callable[..., Any] = torch._utils._take_tensors
unflatten_dense_tensors: Callable[..., Any] = torch._utils._unflatten_dense_tensors

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
device_types_of: Callable[[Any], Any] = attrgetter("_device_types")


def backend_for(group: Any, device: Any) -> Any:
    """The backend of a process group for a device (2.13)."""
    return group._get_backend(device)


def assemble_group(group: Any, backends: Mapping[Any, Any], name: Any, description: str) -> Any:
    """Give a new process group these backends, by device, and its names. 2.13: what `_new_process_group_helper` does to one."""
    kind = torch.distributed.ProcessGroup.BackendType.CUSTOM
    group._set_default_backend(kind)
    for device, backend in backends.items():
        group._register_backend(device, kind, backend)
    group._set_group_name(name)
    group._set_group_desc(description)
    return group


# 2.13: through which every process group is made, and what it asks on the way: which backends the build has, the group that a group is
# split off, and the other ranks, through the store.
MAKE_GROUP = (torch.distributed.distributed_c10d, "_new_process_group_helper")
BACKENDS_AVAILABLE = ("_NCCL_AVAILABLE", "_GLOO_AVAILABLE")
SPLIT_SOURCE = (torch.distributed.distributed_c10d, "_get_split_source")
STORE_BARRIER = (torch.distributed.distributed_c10d, "_store_based_barrier")

# 2.13: numbers of calls, which the flight recorder uses; the fake backend has none and raises.
SET_SEQUENCE_NUMBER = "_set_sequence_number_for_group"
GET_SEQUENCE_NUMBER = "_get_sequence_number_for_group"

# 2.13: what `_set_pg_timeout` calls on the backends of NCCL and gloo (torchtitan sets timeouts with it after the first step).
SET_DEFAULT_TIMEOUT = "_set_default_timeout"

# 2.13: what calls on a group without this rank end in, and where objects that are communicated are put.
WARN_NOT_IN_GROUP = (torch.distributed.distributed_c10d, "_warn_not_in_group")
DEVICE_OF_OBJECTS = (torch.distributed.distributed_c10d, "_get_object_coll_device")

# 2.13: the check by which the ranks of DistributedDataParallel compare their models.
VERIFY_PARAMETERS = (torch.nn.parallel.distributed, "_verify_param_shape_across_processes")

# 2.13: what DDP logs of itself; it takes any backend called gloo for a ProcessGroupGloo.
LOG_CONSTRUCTION = (torch._C._distributed_c10d.Logger, "set_construction_data_and_log")

# 2.13: DDP's hooks of C++: its mixed precision calls the first, the second registers one.
RUN_ALL_REDUCE_HOOK = (torch._C._distributed_c10d.Reducer, "_run_allreduce_hook")
REGISTER_BUILTIN_HOOK = (torch.nn.parallel.DistributedDataParallel, "_register_builtin_comm_hook")

# 2.13: how DTensor learns shapes, and asks for the size of a shard; the first imported by name in several modules.
ARE_WE_TRACING = "_are_we_tracing"
PROPAGATE_SHAPES = "_propagate_tensor_meta_non_cached"
SHARD_SIZE_AND_OFFSET = "_local_shard_size_and_offset"

# 2.13: how FSDP2 joins meshes; the argument with which torch makes a mesh that has no process groups.
CONCATENATE_MESHES = "_concatenate"
INIT_BACKEND = "_init_backend"

# 2.13: how DTensor asks a mesh for this rank's coordinate on an axis, and where the mesh keeps all of them.
MESH_COORDINATE = "_sym_get_coordinate"
MESH_COORDINATES = "_coordinate_on_dim"

# 2.13: how FSDP2 divides a parameter among ranks.
CHUNKS_OF_PARAMETER = (torch.distributed.fsdp._fully_shard._fsdp_param, "_chunk_with_empty")

# 2.13: how DTensor divides a tensor among ranks.
SPLIT_TENSOR = "_split_tensor"

# 2.13: the mesh that a mesh is a part of; itself if it is none.
root_of_mesh: Callable[[Any], Any] = methodcaller("_get_root_mesh")

# 2.13: where a mesh keeps by which thread it was made, for torch's own tests, in which threads are ranks and must not share a mesh.
THREAD_OF_MESH = "_thread_id"

# 2.13: the gradient of an FSDP2 parameter that is not sharded at the moment.
unsharded_gradient: Callable[[Any], Any] = attrgetter("_unsharded_param.grad")

# 2.13: where FSDP2 finds out, at the first forward, which module is the root.
FSDP_ROOT_INITIALISATION = (FSDPState, "_lazy_init")


def leave_root_to_fsdp(state: Any) -> None:
    """Drop what `reshard_after_forward` says of a root before its first forward. 2.13: then FSDP2 does not reshard it."""
    if state._is_root is None:
        state._auto_reshard_after_forward = True


# 2.13: between these two calls of a process group its operations are sent together; the second returns the handle of all.
START_COALESCING = "_start_coalescing"
END_COALESCING = "_end_coalescing"

# 2.13: whether an operator belongs to torch itself (only those have outputs that depend on metadata alone).
is_builtin_operator: Any = torch._library.utils.is_builtin

# 2.13: the graph task and node that the autograd engine is running in this thread; -1 and None outside backward.
current_graph_task = torch._C._current_graph_task_id
NO_GRAPH_TASK = -1
current_autograd_node = torch._C._current_autograd_node

# 2.13: runs a function when the pass of backward that is running ends; FSDP uses it. Those that were registered first run first.
call_at_end_of_backward: Callable[[Callable[[], None]], None] = torch.autograd.Variable._execution_engine.queue_callback

# 2.11 to 2.14: the function of Python that calls the engine; how many hold a gradient, or its storage, in an operator that the engine calls
# for it, if nothing but the engine holds it (the arguments of the call count, and the object of Python for the storage).
ENGINE_FUNCTION = torch.autograd.graph._engine_run_backward.__name__
USES_OF_AN_UNSHARED_GRADIENT, USES_OF_AN_UNSHARED_STORAGE = 4, 2


def tensor_uses(tensor: torch.Tensor) -> int:
    """How many hold the tensor in C++; all of Python counts as one (2.13)."""
    count: int = tensor._use_count()  # type: ignore[attr-defined]
    return count


def storage_uses(tensor: torch.Tensor) -> int:
    """How many hold the storage of the tensor in C++ (2.13)."""
    count: int = torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)
    return count


# 2.13: the number that the next graph node made in this thread will get.
next_sequence_number = torch._C._autograd._get_sequence_nr


def sequence_number_of(node: Any) -> int:
    """The number that a graph node got when it was made (2.13)."""
    number: int = node._sequence_nr()
    return number


# 2.13: whether an operator has a kernel of its own on a dispatch key (composite operators are taken apart).
has_kernel_for_key = torch._C._dispatch_has_kernel_for_dispatch_key

# 2.13: whether algorithms must be deterministic, without the Python function around it (half of the time, for every operator).
are_algorithms_deterministic = torch._C._get_deterministic_algorithms

# 2.13: the precision of float32 operators of a backend ("cuda", "matmul"), whether the script set it by the old names or the new ones:
# the public property of torch.backends.cuda.matmul asks the same through a Python attribute (three times as long, for every operator).
float32_precision = torch._C._get_fp32_precision_getter

# 2.11: the order in which the kernels of scaled_dot_product_attention are tried (`sdpa_kernel(..., set_priority=True)` sets it).
attention_priority = torch._C._get_sdp_priority_order
set_attention_priority = torch._C._set_sdp_priority_order

# 2.13: what every dispatch mode is entered through.
PUSH_DISPATCH_MODE = (torch.utils._python_dispatch, "_push_mode")

# 2.13: the functions to which `with torch.device(...)` gives a device, and those that parameters without a shape allow; (owner, name)
# because they are replaced.
DEVICE_CONSTRUCTORS = (torch.utils._device, "_device_constructors")
FUNCTIONS_WITHOUT_SHAPE = (sys.modules["torch.nn.parameter"].UninitializedTensorMixin, "_allowed_methods")


def scripted_builtins() -> dict[int, str]:
    """The operators by which `torch.jit.script` compiles functions of torch, by the identity of the function (2.13)."""
    builtins: dict[int, str] = torch.jit._builtins._get_builtin_table()
    return builtins


# 2.13: leaves every mode, torch's and the user's, for a computation of our own.
disable_all_modes = torch.utils._python_dispatch._disable_current_modes

# 2.13: the ragged sizes of nested tensors, by their offsets, and what such a size is.
NestedIntNode: Any = torch.nested._internal.nested_int.NestedIntNode
ragged_sizes: Any = torch.nested._internal.nested_tensor._tensor_symint_registry

# 2.13: how FSDP1 gathers the optimizer state of flat parameters for a checkpoint.
FLAT_OPTIMIZER_STATE: Any = torch.distributed.fsdp._optim_utils
FLAT_STATE_KEYS = "_map_param_key_to_optim_keys"
FLAT_STATE_OF_ALL = "_allgather_state_info"
FlatStateKey: Any = FLAT_OPTIMIZER_STATE._OptimStateKey
FlatStateTensor: Any = FLAT_OPTIMIZER_STATE._PosDimTensorInfo


def flat_parameter_shards(handle: Any, rank: int) -> Any:
    """Which parts of its parameters lie in the shard of a flat parameter that a rank of its group has (2.13)."""
    size = handle.flat_param._sharded_size.numel()
    return handle._get_shard_metadata(rank * size, (rank + 1) * size - 1)


# 2.13: trees of arguments; `torch.utils.pytree` does not cover `tree_map_only`.
pytree = torch.utils._pytree

# 2.13: how higher-order operators are run on fake tensors.
higher_order_rules: dict[Any, Any] = torch._higher_order_ops.utils.registered_hop_fake_fns

# 2.13: the compiler, its entries for whole programs, and the module that it returns for a module.
DYNAMO: Any = torch._dynamo
ENABLE_COMPILED_AUTOGRAD = (torch._dynamo.compiled_autograd, "_enable")
OptimizedModule: Any = torch._dynamo.eval_frame.OptimizedModule

# 2.13: where a compiled function keeps the one that it was compiled from.
COMPILED_FROM = "_torchdynamo_orig_callable"


def compile_calls(module: torch.nn.Module, compile: Callable[[Any], Any]) -> None:
    """Have calls of the module go through what `compile` makes of them, as `module.compile()` does (2.13)."""
    module._compiled_call_impl = compile(module._call_impl)


# 2.13: the names under which wrappers hold the module that they wrap, and where a module holds its parts once `__init__` has run.
FSDP_WRAPPED = "_fsdp_wrapped_module"
CHECKPOINT_WRAPPED = "_checkpoint_wrapped_module"
COMPILED_MODULE = "_orig_mod"
MODULE_PARTS = "_modules"


def apply_to_module(module: torch.nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.nn.Module:
    """Replace each tensor of a module, as `module.to()` does (2.13)."""
    applied: torch.nn.Module = module._apply(function)
    return applied


# 2.13: the function that converts the parameters of a module, one after the other.
CONVERTS_A_MODULE = torch.nn.Module._apply.__code__

# 2.13: what C++ knows a storage by, the same for all Python objects of it.
storage_id: Callable[[Any], int] = attrgetter("_cdata")

# 2.13: whether a tensor is a view.
is_view: Callable[[torch.Tensor], bool] = torch.Tensor._is_view

# 2.13: what an operator's arguments and results are, and its name: `aten.add.Tensor` is `add` and `Tensor`.
schema_of: Callable[[Any], Any] = attrgetter("_schema")
OPERATOR_IN_CPP = "_op"  # what an operator calls
operator_name: Callable[[Any], str] = attrgetter("_opname")
overload_name: Callable[[Any], str] = attrgetter("_overloadname")


def unregister(library: torch.library.Library) -> None:
    """Take back the kernels that a library registered (2.13)."""
    library._destroy()


def keep_registered() -> None:
    """Have the libraries that there are not take back what they registered when a process ends that is forked from this one.

    There is nobody left to see it, and it took a rank 45 ms, a third of what the smallest rank costs (2.13: 174 libraries, each with a
    finalizer that Python calls at exit).
    """
    for finalizer in tuple(weakref.finalize._registry):  # type: ignore[attr-defined]
        alive = finalizer.peek()
        if alive is not None and alive[1] is unregister_library:
            finalizer.atexit = False


# 2.13: what torch.cuda alone holds: whether the build has CUDA, its initialisation, the current device.
CUDA_IS_COMPILED = "_is_compiled"
CUDA_LAZY_INIT = "_lazy_init"
CUDA_LAZY_CALL = "_lazy_call"
CUDA_EXCHANGE_DEVICE = "_exchange_device"
CUDA_MAYBE_EXCHANGE_DEVICE = "_maybe_exchange_device"
CUDA_GET_RNG_OFFSET = "_get_rng_state_offset"
CUDA_SET_RNG_OFFSET = "_set_rng_state_offset"

# 2.11 to 2.14: keeps the device busy for so many clock cycles, by `torch.cuda._sleep`; builds without CUDA lack it.
CUDA_SLEEP = "_cuda_sleep"

# 2.11 to 2.14: what C++ answers of the caching allocator. `torch.cuda.memory` asks it; builds without CUDA have few of them.
CPP = torch._C


class AllocatorFunction(StrEnum):
    """Functions of `CPP`."""

    STATISTICS = "_cuda_memoryStats"
    RESET_PEAK = "_cuda_resetPeakMemoryStats"
    RESET_ACCUMULATED = "_cuda_resetAccumulatedMemoryStats"
    EMPTY_CACHE = "_cuda_emptyCache"
    SET_FRACTION = "_cuda_setMemoryFraction"
    GET_FRACTION = "_cuda_getMemoryFraction"
    SET_SETTINGS = "_accelerator_setAllocatorSettings"
    GET_SETTINGS = "_accelerator_getAllocatorSettings"  # not in 2.11
    BACKEND = "_cuda_getAllocatorBackend"
    SNAPSHOT = "_cuda_memorySnapshot"
    RECORD_HISTORY = "_cuda_record_memory_history"
    RECORD_HISTORY_LEGACY = "_cuda_record_memory_history_legacy"
    OBSERVE_OUT_OF_MEMORY = "_cuda_attach_out_of_memory_observer"
    TRACEBACK = "_cuda_allocationTraceback"  # this and the next two: not in 2.11
    ANNOTATE = "_cuda_annotateMemory"
    LABELS_SUPPORTED = "_cuda_memoryMetadataSupported"
    SET_LABEL = "_cuda_setMemoryMetadata"
    GET_LABEL = "_cuda_getMemoryMetadata"
    ENABLE = "_cuda_cudaCachingAllocator_enable"
    IS_ENABLED = "_cuda_cudaCachingAllocator_is_enabled"  # not in 2.11
    HOST_STATISTICS = "_cuda_hostMemoryStats"
    RESET_HOST_PEAK = "_cuda_resetPeakHostMemoryStats"
    RESET_HOST_ACCUMULATED = "_cuda_resetAccumulatedHostMemoryStats"


class PoolFunction(StrEnum):
    """2.11 to 2.14: functions of `CPP`, which `torch.cuda.memory` has, too, except the third. Builds without CUDA have few of them."""

    BEGIN = "_cuda_beginAllocateToPool"
    BEGIN_FOR_THREAD = "_cuda_beginAllocateCurrentThreadToPool"
    BEGIN_FOR_STREAM = "_cuda_beginAllocateCurrentStreamToPool"
    END = "_cuda_endAllocateToPool"
    RELEASE = "_cuda_releasePool"


# 2.11 to 2.14: `torch.cuda.graph` calls it; builds without CUDA lack it.
EMPTY_HOST_CACHE = "_host_emptyCache"

# 2.13: where GradScaler steps unless a gradient is infinite.
STEP_IF_FINITE = "_maybe_opt_step"

# Triton 3.6 and 3.9, which torch's CUDA builds bring: where its runtime keeps the driver that it found.
TRITON_ACTIVE_DRIVER = "_active"

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


# 2.13: where the modules of torch.nn find functions of C++, and those of recurrent layers.
FUNCTIONS_OF_MODULES: Any = torch._VF
RNN_FUNCTIONS = ("lstm", "gru", "rnn_tanh", "rnn_relu")

# 2.13: the setting of inductor, and the key of torch.compile's options, that asks for async tensor parallelism.
_MICRO_PIPELINE_TP = "_micro_pipeline_tp"


def overlaps_communication(options: Mapping[str, Any] | None) -> bool:
    """Whether inductor overlaps products with collectives, by these options of torch.compile."""
    settings = sys.modules.get("torch._inductor.config")  # loaded by whoever changes it
    return bool((options or {}).get(_MICRO_PIPELINE_TP, getattr(settings, _MICRO_PIPELINE_TP, False)))


# 2.13: what each fused operator of async tensor parallelism is where nothing can be overlapped: the product, and a functional collective.
UNFUSED = {
    name: getattr(symmetric_memory, f"_{name}_fallback")
    for name in (
        *("fused_all_gather_matmul", "fused_all_gather_scaled_matmul"),
        *("fused_matmul_reduce_scatter", "fused_scaled_matmul_reduce_scatter"),
    )
}


__all__ = [
    "ARE_WE_TRACING",
    "AUTOCAST_CUDA_KEYS",
    "BACKENDS_AVAILABLE",
    "CHECKPOINT_WRAPPED",
    "CHUNKS_OF_PARAMETER",
    "COMPILED_FROM",
    "COMPILED_MODULE",
    "CONCATENATE_MESHES",
    "CONTROL_FLOW",
    "CPP",
    "CUDA_EXCHANGE_DEVICE",
    "CUDA_GET_RNG_OFFSET",
    "CUDA_IS_COMPILED",
    "CUDA_LAZY_CALL",
    "CUDA_LAZY_INIT",
    "CUDA_MAYBE_EXCHANGE_DEVICE",
    "CUDA_SET_RNG_OFFSET",
    "DEVICE_OF_OBJECTS",
    "DISPATCH_META_HANDLERS",
    "DYNAMO",
    "EMPTY_HOST_CACHE",
    "ENABLE_COMPILED_AUTOGRAD",
    "END_COALESCING",
    "FAKE_DEVICE_ATTRIBUTE",
    "FIND_DISPATCH_RULE",
    "FLAT_OPTIMIZER_STATE",
    "FLAT_STATE_KEYS",
    "FLAT_STATE_OF_ALL",
    "FLEX_ATTENTION_OPERATOR",
    "FSDP_ROOT_INITIALISATION",
    "FSDP_WRAPPED",
    "FUNCTIONS_OF_MODULES",
    "GET_ACCELERATOR",
    "GET_ANY_ACCELERATOR",
    "GET_SEQUENCE_NUMBER",
    "GROUP_TENSORS",
    "INIT_BACKEND",
    "LOG_CONSTRUCTION",
    "MAKE_GROUP",
    "MESH_COORDINATE",
    "MESH_COORDINATES",
    "MODULE_PARTS",
    "MULTI_GPU_COPIES",
    "NO_GRAPH_TASK",
    "NVTX_FUNCTIONS",
    "PARSE_TO",
    "PRIM_DEVICE",
    "PROPAGATE_SHAPES",
    "REGISTER_BUILTIN_HOOK",
    "RNN_FUNCTIONS",
    "RUN_ALL_REDUCE_HOOK",
    "SET_DEFAULT_TIMEOUT",
    "SET_SEQUENCE_NUMBER",
    "SHARD_SIZE_AND_OFFSET",
    "SPLIT_SOURCE",
    "SPLIT_TENSOR",
    "START_COALESCING",
    "STEP_IF_FINITE",
    "STORE_BARRIER",
    "THREAD_OF_MESH",
    "TRITON_ACTIVE_DRIVER",
    "TRUNCATED_NORMAL",
    "UNFUSED",
    "VERIFY_PARAMETERS",
    "WARN_NOT_IN_GROUP",
    "WRAPPER_CONSTRUCTOR",
    "AllocatorFunction",
    "AsyncCollectiveTensor",
    "DataDependentOutputException",
    "DynamicOutputShapeException",
    "FSDPParamGroup",
    "FakeProcessGroup",
    "FakeTensor",
    "FakeTensorMode",
    "FakeWork",
    "FlatStateKey",
    "FlatStateTensor",
    "HigherOrderOperator",
    "NestedIntNode",
    "OpOverload",
    "OptimizedModule",
    "PoolFunction",
    "ShardingPropagator",
    "StridedShard",
    "TensorBase",
    "UnsupportedOperatorException",
    "apply_to_module",
    "are_algorithms_deterministic",
    "are_we_tracing",
    "assemble_group",
    "backend_for",
    "call_at_end_of_backward",
    "compile_calls",
    "current_autograd_node",
    "current_fake_mode",
    "current_graph_task",
    "current_proxy_mode",
    "device_types_of",
    "disable_all_modes",
    "disable_torch_dispatch",
    "disable_torch_function",
    "dtensors_share_random_state",
    "exclude_dispatch_keys",
    "fake_group_options",
    "fake_tensor_module",
    "flat_parameter_shards",
    "flatten_dense_tensors",
    "float32_precision",
    "forbid_data_access",
    "has_kernel_for_key",
    "higher_order_rules",
    "include_meta_key",
    "is_builtin_operator",
    "is_device_mismatch",
    "is_view",
    "keep_registered",
    "leave_root_to_fsdp",
    "make_fake_group",
    "make_subclass",
    "next_sequence_number",
    "operator_name",
    "overlaps_communication",
    "overload_name",
    "preserve_dispatch_keys",
    "pytree",
    "ragged_sizes",
    "resolve_process_group",
    "root_of_mesh",
    "schema_of",
    "sequence_number_of",
    "storage_id",
    "swap_tensor_impl",
    "unflatten_dense_tensors",
    "unregister",
    "unsharded_gradient",
]
