"""Answers the operators of `torch.ops.c10d`: they work in place and return a Work."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from fakerun.emulate.cluster.backend_checks import backend_of
from fakerun.emulate.cluster.communication import Communication, by_operator
from fakerun.emulate.cluster.gloo_checks import check_coalesced_lists
from fakerun.emulate.context import EmulationContext
from fakerun.records.collective import CollectiveOp


def _group(call: dict[str, Any]) -> dist.ProcessGroup:
    return dist.ProcessGroup.unbox(call["process_group"])


def _stage(comm: Communication, call: dict[str, Any], tensors: Sequence[Any]) -> None:
    """Allocate the one tensor that NCCL gathers into or scatters from, and free it.

    The tensors of a list are copied out of it, or into it (`newLikeFlat`, torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp). Tensors of
    different sizes are broadcast or reduced one by one. The tensor of an asynchronous call lives until it is waited for: that is left out.
    """
    if tensors and backend_of(_group(call), tensors) == "nccl" and len({tensor.shape for tensor in tensors}) == 1:
        comm.new_tensor(tensors[0], (len(tensors), *tensors[0].shape))


def _all_reduce(comm: Communication, call: dict[str, Any]) -> Any:
    tensors, group = call["tensors"], _group(call)
    comm.report(CollectiveOp.ALL_REDUCE, group, tensors, tensors, reduce_op=call["reduce_op"], is_async=call["async_op"])
    comm.peers.all_reduce(tensors)
    return tensors, comm.work(tensors)


def _all_reduce_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    return _all_reduce(comm, call)[1]


def _reduce(comm: Communication, call: dict[str, Any]) -> Any:
    tensors, group = call["tensors"], _group(call)
    options = {"reduce_op": call["reduce_op"], "root": call["root_rank"], "is_async": call["async_op"]}
    comm.report(CollectiveOp.REDUCE, group, tensors, tensors, **options)
    if group.rank() == call["root_rank"]:
        comm.peers.all_reduce(tensors)
    return comm.work(tensors)


def _broadcast(comm: Communication, call: dict[str, Any]) -> Any:
    tensors = call["tensors"]
    comm.report(CollectiveOp.BROADCAST, _group(call), tensors, tensors, root=call["root_rank"], is_async=call["async_op"])
    comm.peers.broadcast(tensors)
    return tensors, comm.work(tensors)


def _all_gather(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs = call["output_tensors"], call["input_tensors"]
    flat = [tensor for part in outputs for tensor in part]
    for part in outputs:
        _stage(comm, call, part)
    comm.report(CollectiveOp.ALL_GATHER, _group(call), inputs, flat, is_async=call["async_op"])
    comm.peers.all_gather(outputs)
    return outputs, comm.work(flat)


def _all_gather_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    """`output_lists` has a list for each rank; for all_gather, each input has a list with a tensor for each rank."""
    inputs, flat = call["input_list"], [tensor for of_one_rank in call["output_lists"] for tensor in of_one_rank]
    check_coalesced_lists(_group(call), call["output_lists"], inputs, backend_of(_group(call), inputs))
    comm.report(CollectiveOp.ALL_GATHER, _group(call), inputs, flat, is_async=call["async_op"])
    comm.peers.all_gather([list(of_one_input) for of_one_input in zip(*call["output_lists"], strict=True)])
    return comm.work(flat)


def _all_gather_base(comm: Communication, call: dict[str, Any]) -> Any:
    output, source, group = call["output_tensor"], call["input_tensor"], _group(call)
    comm.report(CollectiveOp.ALL_GATHER_INTO_TENSOR, group, [source], [output], is_async=call["async_op"])
    comm.peers.all_gather_into([output])
    return output, comm.work([output])


def _all_gather_base_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs, group = call["outputs"], call["inputs"], _group(call)
    comm.report(CollectiveOp.ALL_GATHER_INTO_TENSOR, group, inputs, outputs, is_async=call["async_op"])
    comm.peers.all_gather_into(outputs)
    return comm.work(outputs)


def _reduce_scatter(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs, group = call["output_tensors"], call["input_tensors"], _group(call)
    flat = [tensor for part in inputs for tensor in part]
    for part in inputs:
        _stage(comm, call, part)
    comm.report(CollectiveOp.REDUCE_SCATTER, group, flat, outputs, reduce_op=call["reduce_op"], is_async=call["async_op"])
    comm.peers.reduce_scatter(outputs)
    return outputs, comm.work(outputs)


def _reduce_scatter_base(comm: Communication, call: dict[str, Any]) -> Any:
    output, source = call["output_tensor"], call["input_tensor"]
    _reduce_scatter_tensors(comm, call, [source], [output])
    return output, comm.work([output])


def _reduce_scatter_base_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    _reduce_scatter_tensors(comm, call, call["inputs"], call["outputs"])
    return comm.work(call["outputs"])


def _reduce_scatter_tensors(comm: Communication, call: dict[str, Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    group = _group(call)
    options = {"reduce_op": call["reduce_op"], "is_async": call["async_op"]}
    comm.report(CollectiveOp.REDUCE_SCATTER_TENSOR, group, inputs, outputs, **options)
    comm.peers.reduce_scatter(outputs)


def _gather(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs = call["output_tensors"], call["input_tensors"]
    flat = [tensor for part in outputs for tensor in part]
    comm.report(CollectiveOp.GATHER, _group(call), inputs, flat, root=call["root_rank"], is_async=call["async_op"])
    if flat:
        comm.peers.all_gather(outputs)
    return comm.work(flat or inputs)


def _gather_into_tensor(comm: Communication, call: dict[str, Any]) -> Any:
    output, source, group = call["output_tensor"], call["input_tensor"], _group(call)
    outputs = [output] if group.rank() == call["root_rank"] else []
    comm.report(CollectiveOp.GATHER, group, [source], outputs, root=call["root_rank"], is_async=call["async_op"])
    if outputs:
        comm.peers.all_gather_into(outputs)
    return output, comm.work([output])


def _scatter(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs, group = call["output_tensors"], call["input_tensors"], _group(call)
    flat = [tensor for part in inputs for tensor in part]
    comm.report(CollectiveOp.SCATTER, group, flat, outputs, root=call["root_rank"], is_async=call["async_op"])
    comm.peers.scatter(outputs)
    return outputs, comm.work(outputs)


def _all_to_all(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs, group = call["output_tensors"], call["input_tensors"], _group(call)
    comm.report(CollectiveOp.ALL_TO_ALL, group, inputs, outputs, is_async=call["async_op"])
    comm.peers.all_to_all(outputs)
    return outputs, comm.work(outputs)


def _all_to_all_base(comm: Communication, call: dict[str, Any]) -> Any:
    output, source, group = call["output"], call["input"], _group(call)
    sent, received = tuple(call["input_split_sizes"]), tuple(call["output_split_sizes"])
    splits: dict[str, Any] = {"input_splits": sent or None, "output_splits": received or None}
    comm.report(CollectiveOp.ALL_TO_ALL_SINGLE, group, [source], [output], is_async=call["async_op"], **splits)
    comm.peers.all_to_all_single(output)
    return comm.work([output])


def _send(comm: Communication, call: dict[str, Any]) -> Any:
    comm.report(CollectiveOp.SEND, _group(call), call["tensors"], [], peer=call["dst"], tag=call["tag"], is_async=not comm.handles.blocking)
    return comm.work(call["tensors"])


def _receive(comm: Communication, call: dict[str, Any]) -> Any:
    comm.report(
        CollectiveOp.RECV, _group(call), [], call["tensors"], peer=call.get("src"), tag=call["tag"], is_async=not comm.handles.blocking
    )
    comm.peers.receive(call["tensors"])
    return comm.work(call["tensors"])


def _barrier(comm: Communication, call: dict[str, Any]) -> Any:
    comm.report(CollectiveOp.BARRIER, _group(call), [], [], on=call["tensor"], device_ids=call["device_ids"], is_async=call["async_op"])
    return comm.work()


def _monitored_barrier(comm: Communication, call: dict[str, Any]) -> None:
    comm.report(CollectiveOp.BARRIER, _group(call), [], [])


ANSWERS = by_operator(
    torch.ops.c10d,
    {
        "allreduce_": _all_reduce,
        "allreduce_coalesced_": _all_reduce_coalesced,
        "reduce_": _reduce,
        "broadcast_": _broadcast,
        "allgather_": _all_gather,
        "allgather_coalesced_": _all_gather_coalesced,
        "_allgather_base_": _all_gather_base,
        "allgather_into_tensor_coalesced_": _all_gather_base_coalesced,
        "reduce_scatter_": _reduce_scatter,
        "_reduce_scatter_base_": _reduce_scatter_base,
        "reduce_scatter_tensor_coalesced_": _reduce_scatter_base_coalesced,
        "gather_": _gather,
        "gather_into_tensor_": _gather_into_tensor,
        "scatter_": _scatter,
        "alltoall_": _all_to_all,
        "alltoall_base_": _all_to_all_base,
        "send": _send,
        "recv_": _receive,
        "recv_any_source_": _receive,
        "barrier": _barrier,
        "monitored_barrier_": _monitored_barrier,
    },
)


def c10d_operators(context: EmulationContext) -> None:
    """Register the answers."""
    context.part(Communication).answer(ANSWERS)
