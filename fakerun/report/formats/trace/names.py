"""What torch, Kineto and NCCL call things, as far as readers of their traces go by it.

Sources: the names of kernels in public traces; torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp for the names of collectives
(RECORD_PARAM_COMMS_DATA); hta/common/types.py, HolisticTraceAnalysis 0.5, for what is taken for communication, copies and computing.
"""

from collections.abc import Mapping, Sequence

from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.device_program import Operation
from fakerun.report.model import Input, OperationInputs, OperationKind, TensorInput

_KERNELS = {
    OperationKind.MATRIX_PRODUCT: "gemm_kernel",
    OperationKind.ATTENTION: "flash_attention_kernel",
    OperationKind.CONVOLUTION: "convolution_kernel",
    OperationKind.NORM: "norm_kernel",
    OperationKind.LOSS: "loss_kernel",
    OperationKind.EMBEDDING: "embedding_kernel",
    OperationKind.POINTWISE: "elementwise_kernel",
    OperationKind.REDUCTION: "reduce_kernel",
    OperationKind.COPY: "copy_kernel",
    OperationKind.OPTIMIZER: "optimizer_kernel",
    OperationKind.OTHER: "kernel",
}
_TO_DEVICE, _TO_HOST = "Memcpy HtoD (Host -> Device)", "Memcpy DtoH (Device -> Host)"

_NCCL_KERNELS = {
    CollectiveOp.ALL_REDUCE: "AllReduce",
    CollectiveOp.ALL_GATHER: "AllGather",
    CollectiveOp.ALL_GATHER_INTO_TENSOR: "AllGather",
    CollectiveOp.REDUCE: "Reduce",
    CollectiveOp.REDUCE_SCATTER: "ReduceScatter",
    CollectiveOp.REDUCE_SCATTER_TENSOR: "ReduceScatter",
    CollectiveOp.BROADCAST: "Broadcast",
    CollectiveOp.BARRIER: "AllReduce",
}
"""The others are made of sends and receives."""

_C10D_NAMES = {
    CollectiveOp.ALL_REDUCE: "allreduce",
    CollectiveOp.ALL_GATHER_INTO_TENSOR: "_allgather_base",
    CollectiveOp.REDUCE_SCATTER_TENSOR: "_reduce_scatter_base",
    CollectiveOp.ALL_TO_ALL_SINGLE: "all_to_allv",
}

_SCALAR_TYPES = {
    "bool": "Bool",
    "uint8": "Byte",
    "int8": "Char",
    "int16": "Short",
    "int32": "Int",
    "int64": "Long",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "float32": "Float",
    "float64": "Double",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}
"""c10/core/ScalarType.h; the others are spelled like torch's name with a capital letter."""

_CPP_TYPES = {
    "bool": "bool",
    "uint8": "unsigned char",
    "int8": "signed char",
    "int16": "short int",
    "int32": "int",
    "int64": "long int",
    "float16": "c10::Half",
    "float32": "float",
    "float64": "double",
}
"""The names of their types in C++, which Kineto has for arguments; the others have one in the namespace of c10."""

_NCCL_TYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32", "float64": "f64", "int64": "i64", "int32": "i32", "uint8": "u8"}


def operator_name(operation: Operation) -> str:
    """`aten::mm` for `aten.mm.default`."""
    namespace, _, rest = operation.name.partition(".")
    return f"{namespace}::{rest.partition('.')[0]}" if rest else namespace


def input_args(inputs: Sequence[Input]) -> Mapping[str, object]:
    """The sizes and types of the arguments, under the keys of `record_shapes=True`."""
    return {"Input Dims": [_dims(each) for each in inputs], "Input type": [_type(each) for each in inputs]}


def _dims(given: Input) -> Sequence[object]:
    if given is None:
        return []
    return given.sizes if isinstance(given, TensorInput) else [each.sizes for each in given]


def _type(given: Input) -> str:
    if given is None:
        return "Scalar"
    if isinstance(given, TensorInput):
        return _CPP_TYPES.get(given.dtype) or f"c10::{scalar_type(given.dtype)}"
    return "TensorList"


def kernel_name(operation: Operation, kind: OperationKind, inputs: OperationInputs) -> str:
    """`gemm_kernel aten::mm`: what the kernel does and for whom; which kernel a library would take is not known."""
    if kind is OperationKind.HOST_COPY:
        return _TO_DEVICE if inputs.ends_on_host else _TO_HOST
    return f"{_KERNELS[kind]} {operator_name(operation)}"


def scalar_type(dtype: str) -> str:
    """`BFloat16` for `bfloat16`, as c10 prints it."""
    return _SCALAR_TYPES.get(dtype) or dtype[:1].upper() + dtype[1:]


def collective_name(call: CollectiveRecord) -> str:
    """As c10d records it: `_allgather_base`."""
    return _C10D_NAMES.get(call.op, call.op.value)


def nccl_kernel_name(call: CollectiveRecord) -> str:
    """`ncclDevKernel_ReduceScatter_Sum_bf16`, without the algorithm and the protocol that NCCL would choose."""
    kernel = _NCCL_KERNELS.get(call.op)
    if kernel is None:
        return "ncclDevKernel_SendRecv"
    if call.reduce_op is None:
        return f"ncclDevKernel_{kernel}"
    return f"ncclDevKernel_{kernel}_{call.reduce_op.capitalize()}_{_NCCL_TYPES.get(call.dtype, call.dtype)}"
