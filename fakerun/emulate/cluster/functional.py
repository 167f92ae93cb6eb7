"""Answers the functional collectives (`torch.ops._c10d_functional`) and DTensor's own: they return a new tensor."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import GroupName

from fakerun.emulate.cluster.communication import Communication, by_operator
from fakerun.emulate.context import EmulationContext
from fakerun.records.collective import CollectiveOp
from fakerun.torch_private import AsyncCollectiveTensor, resolve_process_group


def _group(call: dict[str, Any]) -> dist.ProcessGroup:
    group = call["group_name"]
    return resolve_process_group(GroupName(group)) if isinstance(group, str) else dist.ProcessGroup.unbox(group)


def _all_reduce(comm: Communication, call: dict[str, Any]) -> Any:
    return _all_reduce_in_place(comm, {**call, "input": comm.copied(call["input"])})


def _all_reduce_in_place(comm: Communication, call: dict[str, Any]) -> Any:
    _all_reduce_tensors(comm, call, [call["input"]])
    return call["input"]


def _all_reduce_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    return _all_reduce_coalesced_in_place(comm, {**call, "inputs": [comm.copied(source) for source in call["inputs"]]})


def _all_reduce_coalesced_in_place(comm: Communication, call: dict[str, Any]) -> Any:
    _all_reduce_tensors(comm, call, call["inputs"])
    return call["inputs"]


def _all_reduce_tensors(comm: Communication, call: dict[str, Any], tensors: Sequence[Any]) -> None:
    comm.report(CollectiveOp.ALL_REDUCE, _group(call), tensors, tensors, reduce_op=call["reduce_op"], is_async=True)
    comm.in_flight(tensors)
    comm.peers.all_reduce(tensors)


def _broadcast(comm: Communication, call: dict[str, Any]) -> Any:
    return _broadcast_in_place(comm, {**call, "input": comm.copied(call["input"])})


def _broadcast_in_place(comm: Communication, call: dict[str, Any]) -> Any:
    tensor = call["input"]
    comm.report(CollectiveOp.BROADCAST, _group(call), [tensor], [tensor], root=call["src"], is_async=True)
    comm.in_flight([tensor])
    comm.peers.broadcast([tensor])
    return tensor


def _all_gather(comm: Communication, call: dict[str, Any]) -> Any:
    source = call["input"]
    output = call.get("out")
    if output is None:
        output = comm.new_tensor(source, (source.shape[0] * call["group_size"], *source.shape[1:]))
    comm.report(CollectiveOp.ALL_GATHER_INTO_TENSOR, _group(call), [source], [output], is_async=True)
    comm.in_flight([output])
    comm.peers.all_gather_into([output])
    return output


def _all_gather_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    inputs, size = call["inputs"], call["group_size"]
    outputs = [comm.new_tensor(source, (source.shape[0] * size, *source.shape[1:])) for source in inputs]
    comm.report(CollectiveOp.ALL_GATHER_INTO_TENSOR, _group(call), inputs, outputs, is_async=True)
    comm.in_flight(outputs)
    comm.peers.all_gather_into(outputs)
    return outputs


def _reduce_scatter(comm: Communication, call: dict[str, Any]) -> Any:
    return _reduce_scatter_tensors(comm, call, [call["input"]], call.get("out"))[0]


def _reduce_scatter_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    return _reduce_scatter_tensors(comm, call, call["inputs"], None)


def _reduce_scatter_tensors(comm: Communication, call: dict[str, Any], inputs: Sequence[Any], out: Any) -> list[Any]:
    group, size = _group(call), call["group_size"]
    outputs = [out] if out is not None else [comm.new_tensor(source, (source.shape[0] // size, *source.shape[1:])) for source in inputs]
    comm.report(CollectiveOp.REDUCE_SCATTER_TENSOR, group, inputs, outputs, reduce_op=call["reduce_op"], is_async=True)
    comm.in_flight(outputs)
    comm.peers.reduce_scatter(outputs)
    return outputs


def _all_to_all(comm: Communication, call: dict[str, Any]) -> Any:
    source, group = call["input"], _group(call)
    sent, received = tuple(call["input_split_sizes"]), tuple(call["output_split_sizes"])
    output = comm.new_tensor(source, (sum(received), *source.shape[1:]) if received else source.shape)
    splits: dict[str, Any] = {"input_splits": sent or None, "output_splits": received or None}
    comm.report(CollectiveOp.ALL_TO_ALL_SINGLE, group, [source], [output], is_async=True, **splits)
    comm.in_flight([output])
    comm.peers.all_to_all_single(output)
    return output


def _send(comm: Communication, call: dict[str, Any]) -> Any:
    return _point_to_point(comm, _group(call), "isend", call["tensor"], call["dst"], call["tag"])


def _receive(comm: Communication, call: dict[str, Any]) -> Any:
    return _point_to_point(comm, _group(call), "irecv", call["tensor"], call["src"], call["tag"])


def _batch_of_point_to_point(comm: Communication, call: dict[str, Any]) -> Any:
    calls = zip(call["op_list"], call["tensors"], call["peer_list"], call["tag_list"], strict=True)
    with comm.handles.coalescing():
        return [_point_to_point(comm, _group(call), *each) for each in calls]


def _point_to_point(comm: Communication, group: dist.ProcessGroup, name: str, tensor: Any, peer: int, tag: int) -> Any:
    op, inputs, outputs = (CollectiveOp.SEND, [tensor], []) if name == "isend" else (CollectiveOp.RECV, [], [tensor])
    comm.report(op, group, inputs, outputs, peer=peer, tag=tag, is_async=True)
    comm.in_flight([tensor])
    if outputs:
        comm.peers.receive(outputs)
    return tensor


def _wait(comm: Communication, call: dict[str, Any]) -> Any:
    comm.handles.wait_for(call["tensor"])
    return call["tensor"]


def _wait_all(comm: Communication, call: dict[str, Any]) -> Any:
    for tensor in call["tensors"]:
        comm.handles.wait_for(tensor)
    return call["tensors"]


def _wrap(comm: Communication, call: dict[str, Any]) -> Any:
    """What eager code gets for a result in flight. A custom operator since 2.13, whose shape rule would make another tensor."""
    return AsyncCollectiveTensor(call["input"])


ANSWERS = by_operator(
    torch.ops._c10d_functional,
    {
        "all_reduce": _all_reduce,
        "all_reduce_": _all_reduce_in_place,
        "all_reduce_coalesced": _all_reduce_coalesced,
        "all_reduce_coalesced_": _all_reduce_coalesced_in_place,
        "broadcast": _broadcast,
        "broadcast_": _broadcast_in_place,
        "all_gather_into_tensor": _all_gather,
        "all_gather_into_tensor_out": _all_gather,
        "all_gather_into_tensor_coalesced": _all_gather_coalesced,
        "reduce_scatter_tensor": _reduce_scatter,
        "reduce_scatter_tensor_out": _reduce_scatter,
        "reduce_scatter_tensor_coalesced": _reduce_scatter_coalesced,
        "all_to_all_single": _all_to_all,
        "isend": _send,
        "irecv": _receive,
        "batch_p2p_ops": _batch_of_point_to_point,
        "_wrap_tensor_autograd": _wrap,
        "wait_tensor": _wait,
        "wait_tensors": _wait_all,
    },
)


def _shard_dim_all_to_all(comm: Communication, call: dict[str, Any]) -> Any:
    """DTensor's change of sharded dimension: the parts are concatenated, exchanged, and concatenated along the other dimension.

    Each is an operator of its own that takes memory, as in torch/csrc/distributed/c10d/Functional.cpp.
    """
    source, group, gathered, sharded = call["input"], _group(call), call["gather_dim"], call["shard_dim"]
    shape = [*source.shape]
    shape[sharded] //= group.size()
    with comm.operating():
        parts = source.view(*shape[:sharded], group.size(), *shape[sharded:]).movedim(sharded, 0).contiguous()
        sent = torch.view_as_real(parts) if source.is_complex() else parts
    received = comm.new_tensor(sent, sent.shape)
    comm.report(CollectiveOp.ALL_TO_ALL_SINGLE, group, [sent], [received], is_async=False)
    comm.peers.all_to_all_single(received)
    shape[gathered] *= group.size()
    with comm.operating():
        joined = received.movedim(0, gathered).contiguous()
        return (torch.view_as_complex(joined) if source.is_complex() else joined).view(shape)


DTENSOR_ANSWERS = by_operator(torch.ops._dtensor, {"shard_dim_alltoall": _shard_dim_all_to_all})


def functional_collectives(context: EmulationContext) -> None:
    """Register the answers."""
    communication = context.part(Communication)
    communication.answer(ANSWERS)
    communication.answer(DTENSOR_ANSWERS)
