"""Answers to communication operators: the call is reported, the result has the right shape, and nothing is sent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist

from fakerun.emulate.cluster.attempted_call import AttemptedCall
from fakerun.emulate.cluster.backend_checks import backend_of, check_call, check_device, check_group
from fakerun.emulate.cluster.call_device import CallDevices
from fakerun.emulate.cluster.handles import Handles
from fakerun.emulate.cluster.peer_values import ObjectFallback, PeerValues
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.mode import Handler
from fakerun.emulate.device.signature import unwraps_itself
from fakerun.records.collective import P2P_OPS, CollectiveOp, CommunicationCall
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import FakeTensor, pytree, schema_of

_REDUCE_OPS = {
    getattr(dist.ReduceOp.RedOpType, name): name.lower()
    for name in ("SUM", "AVG", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR", "PREMUL_SUM")
}


class Communication:
    """What all answers to communication operators use: reporting the call, making its result. `peers` fill in known values."""

    def __init__(self, context: EmulationContext) -> None:
        self._mode = context.mode
        self._call_devices = CallDevices(context.devices)
        self._findings = context.findings
        self._allocations = context.allocations
        self._observer = context.communication
        self.handles = context.part(Handles)
        self.peers = context.part(PeerValues)
        self._last_call = 0
        self.answers: dict[Any, _Bound] = {}
        """By operator, for communication that another mode than fakerun's meets."""

    def answer(self, answers: Mapping[Any, "Answer"]) -> None:
        """Take over these operators."""
        for operator, answer in answers.items():
            bound = self.answers[operator] = _Bound(operator, answer)
            self._mode.handle(operator, _handler(self, bound))

    # -- the call and its result ----------------------------------------------------------------------------------------------------------

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
        tag: int | None = None,
        input_splits: tuple[int, ...] | None = None,
        output_splits: tuple[int, ...] | None = None,
        is_async: bool = False,
        on: torch.Tensor | None = None,
        device_ids: Sequence[int] = (),
    ) -> None:
        """Report the call. `root` and `peer` are ranks in the group; `on` and `device_ids` give the device of a barrier.

        Raises:
            RuntimeError, ValueError, TypeError, NotImplementedError: as the group's backend does, for calls that it rejects.
        """
        check_group(group, op)
        attempted = AttemptedCall(
            op=op,
            group=group,
            inputs=inputs,
            outputs=outputs,
            reduce_op=_reduce_op_name(reduce_op),
            root=root,
            peer=peer,
            input_splits=input_splits,
            output_splits=output_splits,
        )
        if self.peers.objects is None:
            self._check_device(op, group, attempted.tensors)
            check_call(attempted)
        cuda_index = self._cuda_index(group, attempted.tensors, on, device_ids)
        call = self._call(attempted, tag=tag, is_async=is_async, cuda_index=cuda_index)
        self._last_call = self._observer.communicated(call, inputs, outputs)
        if is_async and op not in P2P_OPS and cuda_index is not None and backend_of(group, attempted.tensors) == "nccl":
            self.handles.stash(self._last_call, [*inputs, *outputs])
        self.peers.begin(self._last_call, call, group, inputs)

    def _call(self, attempted: AttemptedCall, *, tag: int | None, is_async: bool, cuda_index: int | None) -> CommunicationCall:
        """The call as it is recorded: sizes in place of tensors, global ranks in place of ranks in the group."""
        ranks = tuple(dist.get_process_group_ranks(attempted.group))
        inputs, outputs = attempted.inputs, attempted.outputs
        return CommunicationCall(
            op=attempted.op,
            group_ranks=ranks,
            group_description=attempted.group.group_desc,
            process_group=str(attempted.group.group_name),
            dtype=_dtype_name(attempted.tensors),
            input_sizes=tuple(tuple(tensor.shape) for tensor in inputs),
            output_sizes=tuple(tuple(tensor.shape) for tensor in outputs),
            nbytes=max(_nbytes(inputs), _nbytes(outputs)),
            reduce_op=attempted.reduce_op,
            root=_global_rank(ranks, attempted.root),
            peer=_global_rank(ranks, attempted.peer),
            tag=tag,
            input_splits=attempted.input_splits,
            output_splits=attempted.output_splits,
            is_async=is_async,
            cuda_index=cuda_index,
            coalesced=None if cuda_index is None else self.handles.coalesced,
        )

    def _check_device(self, op: CollectiveOp, group: dist.ProcessGroup, tensors: Sequence[torch.Tensor]) -> None:
        try:
            check_device(group, tensors)
        except RuntimeError:
            if any(tensor.device.type == "cpu" for tensor in tensors):
                self._findings.note(
                    FindingCode.CPU_TENSOR,
                    f"the script calls {op.value} on a host tensor in {_name(group)}, whose backend supports GPU tensors only.",
                    hint='Move the tensor to the GPU, or initialise torch.distributed with backend="cpu:gloo,cuda:nccl".',
                    subject=op.value,
                )
            raise

    def _cuda_index(
        self, group: dist.ProcessGroup, tensors: Sequence[torch.Tensor], on: torch.Tensor | None, device_ids: Sequence[int]
    ) -> int | None:
        if self.peers.objects is not None:
            return self._call_devices.of_objects(group)
        return self._call_devices.of_tensors(group, tensors[0]) if tensors else self._call_devices.of_barrier(group, on, device_ids)

    @contextmanager
    def communicating_objects(self, objects: ObjectFallback) -> Iterator[None]:
        """Until the context ends, calls communicate Python objects as bytes in host tensors, whatever the backend."""
        previous, self.peers.objects = self.peers.objects, objects
        try:
            yield
        finally:
            self.peers.objects = previous

    def work(self, tensors: Sequence[torch.Tensor] = ()) -> Any:
        """The handle of the call that was reported last, in the box that operators return."""
        return self.handles.work(self._last_call, tensors)

    def in_flight(self, outputs: Sequence[torch.Tensor]) -> None:
        """The call that was reported last has no handle: `wait_tensor` waits for its outputs."""
        self.handles.in_flight(self._last_call, outputs)

    def operating(self) -> AbstractContextManager[Any]:
        """For a call that torch makes of operators besides the communication: they are simulated and observed as any others."""
        return self._mode

    def new_tensor(self, like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """An uninitialised contiguous tensor on the device of `like`, as a functional collective allocates for its result."""
        if type(like) is FakeTensor:
            output = self._mode.wrap(torch.empty(shape, dtype=like.dtype, device="meta"), like.device)
            self._allocations.tensors_created((output,), derived=True)
            return output  # type: ignore[no-any-return]
        return torch.empty(shape, dtype=like.dtype)

    def copied(self, source: torch.Tensor) -> torch.Tensor:
        """A copy of `source`, which a functional collective then works on in place."""
        output = self.new_tensor(source, source.shape)
        if type(output) is not FakeTensor:
            return output.copy_(source)
        self._mode.executed(torch.ops.aten.clone.default, (source,), {}, output)
        values = self._mode.known.of(source)
        if values is not None:
            self._mode.known.remember(output, values)
        return output


class _Bound:
    """One operator's answer: binds the arguments to the names of its schema."""

    def __init__(self, operator: Any, answer: "Answer") -> None:
        self._arguments = [(argument.name, argument.default_value) for argument in schema_of(operator).arguments]
        self._answer = answer

    def __call__(self, communication: Communication, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if any(map(_unwraps_itself, pytree.tree_leaves(args))):
            return NotImplemented
        bound = dict(self._arguments)
        bound.update(zip((name for name, _ in self._arguments), args))  # noqa: B905  trailing defaults are left out
        bound.update(kwargs)
        return self._answer(communication, bound)


def _handler(communication: Communication, bound: _Bound) -> Handler:
    return lambda func, args, kwargs: bound(communication, args, kwargs)


Answer = Callable[[Communication, dict[str, Any]], Any]


def by_operator(namespace: Any, answers: Mapping[str, Answer]) -> dict[Any, Answer]:
    """The answers by operator, for those operators of `namespace` that this torch has.

    torch looks an operator up when it is first asked for: where the tables are made, before ranks are forked, and not in each of them.
    """
    return {getattr(namespace, name).default: answer for name, answer in answers.items() if hasattr(namespace, name)}


def _unwraps_itself(argument: Any) -> bool:
    return isinstance(argument, torch.Tensor) and type(argument) is not FakeTensor and unwraps_itself(type(argument))


def _global_rank(ranks: tuple[int, ...], rank: int | None) -> int | None:
    """The global rank of a rank in the group; None where there is none (-1 stands for anybody)."""
    return ranks[rank] if rank is not None and 0 <= rank < len(ranks) else None


def _name(group: dist.ProcessGroup) -> str:
    """What messages call a group."""
    if group is dist.group.WORLD:
        return "the default process group"
    described = "" if group.group_desc in ("", "undefined") else f" {group.group_desc}"
    return f"process group{described} of {group.size()} rank{'s' * (group.size() > 1)}"


def _nbytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _dtype_name(tensors: Sequence[torch.Tensor]) -> str:
    """Torch's name of what is communicated; nothing for a barrier."""
    return str(tensors[0].dtype).removeprefix("torch.") if tensors else ""


def _reduce_op_name(reduce_op: Any) -> str | None:
    if reduce_op is None or isinstance(reduce_op, str):
        return reduce_op
    kind: Any = getattr(reduce_op, "op", reduce_op)
    kind = kind() if callable(kind) else kind
    return _REDUCE_OPS.get(dist.ReduceOp.RedOpType(kind) if isinstance(kind, int) else kind, str(kind))
