"""Answers every communication operator: the call is reported, the result has the right shape, and nothing is sent.

A rank alone takes its peers to be like itself: what it would gather from them is what it sends them. On the accelerator there are
no values anyway; on the host the copies are made, so that sizes and objects that ranks exchange come out as they would among equals.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import GroupName

from fakerun.emulate.mode import DeviceMode
from fakerun.emulate.torch_private import FakeTensor, FakeWork, resolve_process_group
from fakerun.records.collective import CollectiveOp, CommunicationCall
from fakerun.records.observer import OperationObserver

_REDUCE_OPS = {
    getattr(dist.ReduceOp.RedOpType, name): name.lower()
    for name in ("SUM", "AVG", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR", "PREMUL_SUM")
}


class FinishedWork(dist.Work):
    """A Work that is done and whose future holds the tensors, as NCCL's does (torch's FakeWork holds nothing).

    It refers to the tensors weakly: a handle that the script keeps must not keep their memory.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self._tensors = [weakref.ref(tensor) for tensor in tensors]

    def wait(self, timeout: Any = None) -> bool:
        return True

    def is_completed(self) -> bool:
        return True

    def is_success(self) -> bool:
        return True

    def get_future(self) -> Any:
        future: torch.futures.Future[list[torch.Tensor]] = torch.futures.Future()
        future.set_result([tensor for reference in self._tensors if (tensor := reference()) is not None])
        return future


class Communication:
    """The handlers of the `c10d` and `_c10d_functional` operators."""

    def __init__(self, mode: DeviceMode, observer: OperationObserver) -> None:
        self._mode = mode
        self._observer = observer
        self._works: list[FinishedWork] = []  # C++ keeps only its own half of a Python Work alive
        for namespace, table in ((torch.ops.c10d, C10D), (torch.ops._c10d_functional, FUNCTIONAL), (torch.ops._dtensor, DTENSOR)):
            for name, answer in table.items():
                if hasattr(namespace, name):
                    operator = getattr(namespace, name).default
                    mode.handlers[operator] = _Bound(self, operator, answer)

    # -- what the answers use ----------------------------------------------------------------------------------------------------------

    def report(
        self,
        op: CollectiveOp,
        group: dist.ProcessGroup,
        inputs: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
        *,
        reduce_op: Any = None,
        root: int | None = None,
        peer: int | None = None,
        **more: Any,
    ) -> None:
        """Tell the observer. `root` and `peer` are ranks in the group."""
        ranks = tuple(dist.get_process_group_ranks(group))
        call = CommunicationCall(
            op=op,
            group_ranks=ranks,
            group_description=group.group_desc,
            dtype=_dtype_name((*inputs, *outputs)),
            input_sizes=tuple(tuple(tensor.shape) for tensor in inputs),
            output_sizes=tuple(tuple(tensor.shape) for tensor in outputs),
            nbytes=max(_nbytes(inputs), _nbytes(outputs)),
            reduce_op=_reduce_op_name(reduce_op),
            root=None if root is None else ranks[root],
            peer=None if peer is None or peer < 0 else ranks[peer],
            **more,
        )
        self._observer.communicated(call, inputs, outputs)

    def work(self, tensors: Sequence[torch.Tensor] = ()) -> Any:
        """A finished Work, in the box that operators return."""
        if not tensors:
            return FakeWork().boxed()
        work = FinishedWork(tensors)
        self._works.append(work)
        return work.boxed()

    def new_tensor(self, like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """An uninitialised contiguous tensor on the device of `like`, as a functional collective allocates for its result."""
        if type(like) is FakeTensor:
            output = self._mode.wrap(torch.empty(shape, dtype=like.dtype, device="meta"), like.device)
            self._observer.tensors_made((output,), derived=True)
            return output  # type: ignore[no-any-return]
        return torch.empty(shape, dtype=like.dtype)

    # -- values, where they are known ----------------------------------------------------------------------------------------------------

    def copy(self, target: torch.Tensor, source: torch.Tensor, *, part: tuple[int, int] | None = None) -> None:
        """`target` receives `source`, or the i-th of n equal parts of it."""
        values = self._mode.known.of(source)
        if values is not None and part is not None:
            values = values.flatten().chunk(part[1])[part[0]]
        self._receive(target, values)

    def repeat(self, target: torch.Tensor, source: torch.Tensor, times: int) -> None:
        """`target` receives `source` from each of `times` ranks, one after the other."""
        values = self._mode.known.of(source)
        self._receive(target, None if values is None else values.flatten().repeat(times))

    def reduce(self, tensors: Sequence[torch.Tensor], reduce_op: Any, size: int) -> None:
        """Reduce with `size - 1` peers that hold the same values."""
        name = _reduce_op_name(reduce_op)
        for tensor in tensors:
            values = self._mode.known.of(tensor)
            if values is not None and name == "sum":
                values.mul_(size)
            elif values is not None and name == "product":
                values.pow_(size)

    def _receive(self, target: torch.Tensor, values: torch.Tensor | None) -> None:
        if values is not None and values.numel() != target.numel():
            values = None
        if type(target) is not FakeTensor:
            if values is not None:
                target.copy_(values.reshape(target.shape))
        elif values is not None:
            self._mode.known.remember(target, values.reshape(target.shape))
        elif self._mode.known:
            self._mode.known.forget(target)


class _Bound:
    """One operator's handler: binds the arguments to the names of its schema."""

    def __init__(self, communication: Communication, operator: Any, answer: "Answer") -> None:
        self._communication = communication
        self._arguments = [(argument.name, argument.default_value) for argument in operator._schema.arguments]
        self._answer = answer

    def __call__(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        bound = dict(self._arguments)
        bound.update(zip((name for name, _ in self._arguments), args))  # noqa: B905  trailing defaults are left out
        bound.update(kwargs)
        return self._answer(self._communication, bound)


Answer = Callable[[Communication, dict[str, Any]], Any]


# -- c10d: in place, a Work comes back -------------------------------------------------------------------------------------------------


def _group(call: dict[str, Any]) -> dist.ProcessGroup:
    return dist.ProcessGroup.unbox(call["process_group"])


def _all_reduce(comm: Communication, call: dict[str, Any]) -> Any:
    tensors, group = call["tensors"], _group(call)
    comm.report(CollectiveOp.ALL_REDUCE, group, tensors, tensors, reduce_op=call["reduce_op"], is_async=call["async_op"])
    comm.reduce(tensors, call["reduce_op"], group.size())
    return tensors, comm.work(tensors)


def _all_reduce_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    return _all_reduce(comm, call)[1]


def _reduce(comm: Communication, call: dict[str, Any]) -> Any:
    tensors, group = call["tensors"], _group(call)
    options = {"reduce_op": call["reduce_op"], "root": call["root_rank"], "is_async": call["async_op"]}
    comm.report(CollectiveOp.REDUCE, group, tensors, tensors, **options)
    if group.rank() == call["root_rank"]:
        comm.reduce(tensors, call["reduce_op"], group.size())
    return comm.work(tensors)


def _broadcast(comm: Communication, call: dict[str, Any]) -> Any:
    tensors = call["tensors"]
    comm.report(CollectiveOp.BROADCAST, _group(call), tensors, tensors, root=call["root_rank"], is_async=call["async_op"])
    return tensors, comm.work(tensors)


def _all_gather(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs = call["output_tensors"], call["input_tensors"]
    flat = [tensor for part in outputs for tensor in part]
    comm.report(CollectiveOp.ALL_GATHER, _group(call), inputs, flat, is_async=call["async_op"])
    for part, source in zip(outputs, inputs, strict=True):
        for target in part:
            comm.copy(target, source)
    return outputs, comm.work(flat)


def _all_gather_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs = call["output_lists"], call["input_list"]
    return _all_gather(comm, {**call, "output_tensors": [list(part) for part in outputs], "input_tensors": inputs})[1]


def _all_gather_base(comm: Communication, call: dict[str, Any]) -> Any:
    output, source, group = call["output_tensor"], call["input_tensor"], _group(call)
    comm.report(CollectiveOp.ALL_GATHER_INTO_TENSOR, group, [source], [output], is_async=call["async_op"])
    comm.repeat(output, source, group.size())
    return output, comm.work([output])


def _all_gather_base_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs, group = call["outputs"], call["inputs"], _group(call)
    comm.report(CollectiveOp.ALL_GATHER_INTO_TENSOR, group, inputs, outputs, is_async=call["async_op"])
    for output, source in zip(outputs, inputs, strict=True):
        comm.repeat(output, source, group.size())
    return comm.work(outputs)


def _reduce_scatter(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs, group = call["output_tensors"], call["input_tensors"], _group(call)
    flat = [tensor for part in inputs for tensor in part]
    comm.report(CollectiveOp.REDUCE_SCATTER, group, flat, outputs, reduce_op=call["reduce_op"], is_async=call["async_op"])
    for output, parts in zip(outputs, inputs, strict=True):
        comm.copy(output, parts[group.rank()])
    comm.reduce(outputs, call["reduce_op"], group.size())
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
    for output, source in zip(outputs, inputs, strict=True):
        comm.copy(output, source, part=(group.rank(), group.size()))
    comm.reduce(outputs, call["reduce_op"], group.size())


def _gather(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs = call["output_tensors"], call["input_tensors"]
    flat = [tensor for part in outputs for tensor in part]
    comm.report(CollectiveOp.GATHER, _group(call), inputs, flat, root=call["root_rank"], is_async=call["async_op"])
    for target in flat:
        comm.copy(target, inputs[0])
    return comm.work(flat or inputs)


def _scatter(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs, group = call["output_tensors"], call["input_tensors"], _group(call)
    flat = [tensor for part in inputs for tensor in part]
    comm.report(CollectiveOp.SCATTER, group, flat, outputs, root=call["root_rank"], is_async=call["async_op"])
    if flat:
        comm.copy(outputs[0], flat[group.rank()])
    return outputs, comm.work(outputs)


def _all_to_all(comm: Communication, call: dict[str, Any]) -> Any:
    outputs, inputs = call["output_tensors"], call["input_tensors"]
    comm.report(CollectiveOp.ALL_TO_ALL, _group(call), inputs, outputs, is_async=call["async_op"])
    for output, source in zip(outputs, inputs, strict=True):
        comm.copy(output, source)
    return outputs, comm.work(outputs)


def _all_to_all_base(comm: Communication, call: dict[str, Any]) -> Any:
    output, source = call["output"], call["input"]
    comm.report(
        CollectiveOp.ALL_TO_ALL_SINGLE,
        _group(call),
        [source],
        [output],
        is_async=call["async_op"],
        input_splits=tuple(call["input_split_sizes"]) or None,
        output_splits=tuple(call["output_split_sizes"]) or None,
    )
    comm.copy(output, source)
    return comm.work([output])


def _send(comm: Communication, call: dict[str, Any]) -> Any:
    comm.report(CollectiveOp.SEND, _group(call), call["tensors"], [], peer=call["dst"], tag=call["tag"])
    return comm.work(call["tensors"])


def _receive(comm: Communication, call: dict[str, Any]) -> Any:
    comm.report(CollectiveOp.RECV, _group(call), [], call["tensors"], peer=call.get("src"), tag=call["tag"])
    return comm.work(call["tensors"])


def _barrier(comm: Communication, call: dict[str, Any]) -> Any:
    comm.report(CollectiveOp.BARRIER, _group(call), [], [], is_async=call["async_op"])
    return comm.work()


def _monitored_barrier(comm: Communication, call: dict[str, Any]) -> None:
    comm.report(CollectiveOp.BARRIER, _group(call), [], [])


C10D: dict[str, Answer] = {
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
    "scatter_": _scatter,
    "alltoall_": _all_to_all,
    "alltoall_base_": _all_to_all_base,
    "send": _send,
    "recv_": _receive,
    "recv_any_source_": _receive,
    "barrier": _barrier,
    "monitored_barrier_": _monitored_barrier,
}


# -- _c10d_functional: a new tensor comes back --------------------------------------------------------------------------------------------


def _functional_group(call: dict[str, Any]) -> dist.ProcessGroup:
    group = call["group_name"]
    return resolve_process_group(GroupName(group)) if isinstance(group, str) else dist.ProcessGroup.unbox(group)


def _f_all_reduce(comm: Communication, call: dict[str, Any]) -> Any:
    source = call["input"]
    output = comm.new_tensor(source, source.shape)
    comm.copy(output, source)
    return _f_all_reduce_in_place(comm, {**call, "input": output})


def _f_all_reduce_in_place(comm: Communication, call: dict[str, Any]) -> Any:
    _f_all_reduce_tensors(comm, call, [call["input"]])
    return call["input"]


def _f_all_reduce_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    outputs = [comm.new_tensor(source, source.shape) for source in call["inputs"]]
    for output, source in zip(outputs, call["inputs"], strict=True):
        comm.copy(output, source)
    return _f_all_reduce_coalesced_in_place(comm, {**call, "inputs": outputs})


def _f_all_reduce_coalesced_in_place(comm: Communication, call: dict[str, Any]) -> Any:
    _f_all_reduce_tensors(comm, call, call["inputs"])
    return call["inputs"]


def _f_all_reduce_tensors(comm: Communication, call: dict[str, Any], tensors: Sequence[Any]) -> None:
    group = _functional_group(call)
    comm.report(CollectiveOp.ALL_REDUCE, group, tensors, tensors, reduce_op=call["reduce_op"], is_async=True)
    comm.reduce(tensors, call["reduce_op"], group.size())


def _f_broadcast(comm: Communication, call: dict[str, Any]) -> Any:
    output = comm.new_tensor(call["input"], call["input"].shape)
    comm.copy(output, call["input"])
    return _f_broadcast_in_place(comm, {**call, "input": output})


def _f_broadcast_in_place(comm: Communication, call: dict[str, Any]) -> Any:
    tensor = call["input"]
    comm.report(CollectiveOp.BROADCAST, _functional_group(call), [tensor], [tensor], root=call["src"], is_async=True)
    return tensor


def _f_all_gather(comm: Communication, call: dict[str, Any]) -> Any:
    source = call["input"]
    output = call.get("out")
    if output is None:
        output = comm.new_tensor(source, (source.shape[0] * call["group_size"], *source.shape[1:]))
    comm.report(CollectiveOp.ALL_GATHER_INTO_TENSOR, _functional_group(call), [source], [output], is_async=True)
    comm.repeat(output, source, call["group_size"])
    return output


def _f_all_gather_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    inputs, size = call["inputs"], call["group_size"]
    outputs = [comm.new_tensor(source, (source.shape[0] * size, *source.shape[1:])) for source in inputs]
    comm.report(CollectiveOp.ALL_GATHER_INTO_TENSOR, _functional_group(call), inputs, outputs, is_async=True)
    for output, source in zip(outputs, inputs, strict=True):
        comm.repeat(output, source, size)
    return outputs


def _f_reduce_scatter(comm: Communication, call: dict[str, Any]) -> Any:
    return _f_reduce_scatter_tensors(comm, call, [call["input"]], call.get("out"))[0]


def _f_reduce_scatter_coalesced(comm: Communication, call: dict[str, Any]) -> Any:
    return _f_reduce_scatter_tensors(comm, call, call["inputs"], None)


def _f_reduce_scatter_tensors(comm: Communication, call: dict[str, Any], inputs: Sequence[Any], out: Any) -> list[Any]:
    group, size = _functional_group(call), call["group_size"]
    outputs = [out] if out is not None else [comm.new_tensor(source, (source.shape[0] // size, *source.shape[1:])) for source in inputs]
    comm.report(CollectiveOp.REDUCE_SCATTER_TENSOR, group, inputs, outputs, reduce_op=call["reduce_op"], is_async=True)
    for output, source in zip(outputs, inputs, strict=True):
        comm.copy(output, source, part=(group.rank(), size))
    comm.reduce(outputs, call["reduce_op"], size)
    return outputs


def _f_all_to_all(comm: Communication, call: dict[str, Any]) -> Any:
    source = call["input"]
    sent, received = tuple(call["input_split_sizes"]), tuple(call["output_split_sizes"])
    output = comm.new_tensor(source, (sum(received), *source.shape[1:]) if received else source.shape)
    comm.report(
        CollectiveOp.ALL_TO_ALL_SINGLE,
        _functional_group(call),
        [source],
        [output],
        is_async=True,
        input_splits=sent or None,
        output_splits=received or None,
    )
    if output.shape == source.shape:
        comm.copy(output, source)
    return output


def _f_wait(comm: Communication, call: dict[str, Any]) -> Any:
    return call["tensor"]


def _f_wait_all(comm: Communication, call: dict[str, Any]) -> Any:
    return call["tensors"]


FUNCTIONAL: dict[str, Answer] = {
    "all_reduce": _f_all_reduce,
    "all_reduce_": _f_all_reduce_in_place,
    "all_reduce_coalesced": _f_all_reduce_coalesced,
    "all_reduce_coalesced_": _f_all_reduce_coalesced_in_place,
    "broadcast": _f_broadcast,
    "broadcast_": _f_broadcast_in_place,
    "all_gather_into_tensor": _f_all_gather,
    "all_gather_into_tensor_out": _f_all_gather,
    "all_gather_into_tensor_coalesced": _f_all_gather_coalesced,
    "reduce_scatter_tensor": _f_reduce_scatter,
    "reduce_scatter_tensor_out": _f_reduce_scatter,
    "reduce_scatter_tensor_coalesced": _f_reduce_scatter_coalesced,
    "all_to_all_single": _f_all_to_all,
    "wait_tensor": _f_wait,
    "wait_tensors": _f_wait_all,
}


def _shard_dim_all_to_all(comm: Communication, call: dict[str, Any]) -> Any:
    """DTensor's change of sharded dimension: one all-to-all of equal parts (torch/csrc/distributed/c10d/Functional.cpp)."""
    source, group = call["input"], _functional_group(call)
    shape = list(source.shape)
    shape[call["gather_dim"]] *= group.size()
    shape[call["shard_dim"]] //= group.size()
    output = comm.new_tensor(source, shape)
    comm.report(CollectiveOp.ALL_TO_ALL_SINGLE, group, [source], [output], is_async=False)
    return output


DTENSOR: dict[str, Answer] = {"shard_dim_alltoall": _shard_dim_all_to_all}


# -- values on the host, and names --------------------------------------------------------------------------------------------------------


def _nbytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _dtype_name(tensors: Sequence[torch.Tensor]) -> str:
    """Torch's name of what is communicated; a barrier's is that of the byte it is made of."""
    return str(tensors[0].dtype).removeprefix("torch.") if tensors else "uint8"


def _reduce_op_name(reduce_op: Any) -> str | None:
    if reduce_op is None or isinstance(reduce_op, str):
        return reduce_op
    kind: Any = getattr(reduce_op, "op", reduce_op)
    kind = kind() if callable(kind) else kind
    return _REDUCE_OPS.get(dist.ReduceOp.RedOpType(kind) if isinstance(kind, int) else kind, str(kind))
