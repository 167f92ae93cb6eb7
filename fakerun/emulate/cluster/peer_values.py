"""The values that a rank receives from its peers, where they are known.

For each call this rank publishes what it contributes, if that is known and small, and computes what it receives from what the peers
published. A peer that is not simulated is assumed to contribute what this rank would in its place. That assumption does not give what one
particular peer sends (the root of a broadcast, the sender of a message): for host tensors that peer is simulated too. A peer that never
makes the call, or makes another one in its place, blocks this rank: at once on the host, where it waits for the accelerator otherwise.

On the accelerator most tensors have no values, and nothing is published or fetched.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist

from fakerun.emulate.call_progress import CallProgress
from fakerun.emulate.cluster.contributions import Contribution, Values, decode, encode, reduced
from fakerun.emulate.cluster.handles import Handles
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.host_waits import HostWaits
from fakerun.emulate.device.known_values import NOTHING, PEERS, ROUTING
from fakerun.emulate.device.unknown_values import UnknownValues
from fakerun.records.call_signature import signature_of
from fakerun.records.collective import CollectiveOp, CommunicationCall
from fakerun.records.mailbox import Answer, Unavailable
from fakerun.torch_private import FakeTensor

_LARGEST_BYTES = 2**22
"""The largest exchanged value: above this size it is data, on which no decisions are made."""

_ROOTED = frozenset({CollectiveOp.BROADCAST, CollectiveOp.SCATTER})
_P2P = frozenset({CollectiveOp.SEND, CollectiveOp.RECV})


@dataclass(slots=True)
class ObjectFallback:
    """Python objects that may be received: `tensors` are those that would bring what is there already, in the order of the calls.

    They are used if the sender is unavailable; `unavailable` then has the sender and the reason.
    """

    tensors: Iterator[torch.Tensor]
    unavailable: tuple[int, Unavailable] | None = None


@dataclass(slots=True, kw_only=True)
class _PendingCall:
    """The call being answered. `own` is what this rank contributes, None if that is not known."""

    key: str
    number: int
    info: CommunicationCall
    rank: int
    own: Contribution | None = None

    @property
    def size(self) -> int:
        return len(self.info.group_ranks)

    @property
    def sender(self) -> int | None:
        return self.info.root if self.info.op in _ROOTED else self.info.peer


class PeerValues:
    """Fills what communication receives, where values are known. The rest becomes unknown, or placeholders on the host.

    For each call: first `begin`, then one of the methods that say what kind of call it is. An asynchronous call receives when it is
    waited for, as its buffers may not be looked at before.
    """

    def __init__(self, context: EmulationContext) -> None:
        self.objects: ObjectFallback | None = None
        self._mode = context.mode
        self._values = context.part(UnknownValues)
        self._handles = context.part(Handles)
        self._host_waits = context.part(HostWaits)
        self._mailbox = context.mailbox
        self._simulated = frozenset(context.job.ranks)
        self._progress = context.part(CallProgress)
        self._call: _PendingCall

    def begin(self, number: int, info: CommunicationCall, group: dist.ProcessGroup, inputs: Values) -> None:
        """Publish what this rank contributes to the call of this number."""
        rank = group.rank()
        position = self._position(info, group, rank)
        key = f"{position} {_agreed(info)}"
        call = self._call = _PendingCall(key=key, number=number, info=info, rank=rank)
        self._mailbox.publish(position, Unavailable.UNKNOWN)  # no value, but how far this rank has come
        if info.op in (CollectiveOp.RECV, CollectiveOp.BARRIER) or (info.op in _ROOTED and info.root != info.group_ranks[rank]):
            return
        known = [self._mode.known.of(tensor) for tensor in inputs]
        values = [each.clone() for each in known if each is not None]
        if len(values) == len(inputs):
            call.own = Contribution(values=values, splits=info.input_splits, assumed=self._mode.known.assumed_of_any(inputs))
        self._mailbox.publish(key, encode(call.own) if call.own is not None and call.own.nbytes <= _LARGEST_BYTES else Unavailable.UNKNOWN)

    def _position(self, info: CommunicationCall, group: dist.ProcessGroup, rank: int) -> str:
        """The call's group, and its number there: the same on every rank that takes part in it."""
        key = str(group.group_name)
        if info.op not in _P2P:
            return self._progress.begin(key, info.group_ranks, info.group_ranks)
        own, peer = info.group_ranks[rank], info.peer
        sender, receiver = (own, peer) if info.op is CollectiveOp.SEND else (peer, own)
        ahead = (sender,) if info.op is CollectiveOp.RECV and sender is not None else ()
        return self._progress.begin(f"{key} {sender}>{receiver} {info.tag}", (own,), ahead)

    # -- kinds of calls ---------------------------------------------------------------------------------------------------------------

    def all_reduce(self, tensors: Values) -> None:
        """Each of `tensors` becomes its reduction over all members."""
        if self._call.size > 1:
            self._receive(
                tensors, lambda call, all_: [reduced(call.info.reduce_op, [each.values[i] for each in all_]) for i in range(len(tensors))]
            )

    def all_gather(self, outputs: Sequence[Values]) -> None:
        """`outputs[i][j]` becomes the i-th tensor of member j."""
        flat = [target for targets in outputs for target in targets]
        self._receive(flat, lambda call, all_: [each.values[i] for i in range(len(outputs)) for each in all_])

    def all_gather_into(self, outputs: Values) -> None:
        """Each output becomes the concatenated tensors of all members."""
        self._receive(outputs, lambda call, all_: [torch.cat([each.values[i].flatten() for each in all_]) for i in range(len(outputs))])

    def reduce_scatter(self, outputs: Values) -> None:
        """Each output becomes the reduction of the members' parts for this rank."""
        count = len(outputs)

        def parts(call: _PendingCall, all_: Sequence[Contribution]) -> list[torch.Tensor | None]:
            shares = [[each.share(i, count).part(call.rank, call.size) for each in all_] for i in range(count)]
            return [reduced(call.info.reduce_op, values) for values in shares]

        self._receive(outputs, parts)

    def all_to_all(self, outputs: Values) -> None:
        """Output j becomes member j's part for this rank."""
        self._receive(outputs, lambda call, all_: [each.part(call.rank, call.size) for each in all_])

    def all_to_all_single(self, output: torch.Tensor) -> None:
        """The output becomes the concatenated rows of the members for this rank."""

        def rows(call: _PendingCall, all_: Sequence[Contribution]) -> list[torch.Tensor | None]:
            parts = [each.part(call.rank, call.size) for each in all_]
            expected = call.info.output_splits
            fits = not expected or list(expected) == [len(part) for part in parts]  # else the peers are not like this rank
            return [torch.cat(parts) if fits else None]

        self._receive([output], rows)

    def broadcast(self, tensors: Values) -> None:
        """`tensors` become the root's tensors."""
        self._receive_from_one(tensors, lambda call, sent: sent.values, keep_if_unavailable=True)

    def scatter(self, outputs: Values) -> None:
        """The output becomes the root's part for this rank."""
        self._receive_from_one(outputs, lambda call, sent: [sent.part(call.rank, call.size)])

    def receive(self, tensors: Values) -> None:
        """`tensors` become what the peer sends."""
        self._receive_from_one(tensors, lambda call, sent: sent.values)

    # -- receiving --------------------------------------------------------------------------------------------------------------------

    def _receive(self, targets: Values, made: Callable[[_PendingCall, Sequence[Contribution]], Sequence[torch.Tensor | None]]) -> None:
        """Fill `targets` with what `made` computes from the contributions of all members."""
        call = self._call
        if call.own is None:
            self._fill(targets, None)
            return

        def receive(targets: Values) -> None:
            all_ = self._from_all(call)
            self._fill(targets, None if all_ is None else made(call, all_), assumed=_assumed(all_ or ()))

        self._when_complete(call, targets, receive)

    def _receive_from_one(
        self, targets: Values, made: Callable[[_PendingCall, Contribution], Sequence[torch.Tensor]], *, keep_if_unavailable: bool = False
    ) -> None:
        call = self._call
        if call.sender == call.info.group_ranks[call.rank]:
            if call.own is not None and call.info.op is CollectiveOp.SCATTER:
                self._fill(targets, made(call, call.own), assumed=call.own.assumed)
            return
        if not self._is_observable(call, targets):
            if not keep_if_unavailable:
                self._fill(targets, None)
            return

        def receive(targets: Values) -> None:
            sent = self._from_sender(call)
            self._fill(targets, None if sent is None else made(call, sent), assumed=NOTHING if sent is None else sent.assumed)

        self._when_complete(call, targets, receive)

    def _is_observable(self, call: _PendingCall, targets: Values) -> bool:
        """Whether the received values may be read: always on the host; on the accelerator where values are known, and counts.

        For tensors on the accelerator, a sender is simulated in addition only for votes: messages for a buffer of known counts.
        """
        if call.info.nbytes > _LARGEST_BYTES or call.sender is None:
            return False
        if self.objects is not None or any(type(target) is not FakeTensor for target in targets):
            return True
        known = all(self._mode.known.of(target) is not None for target in targets)
        counts = not any(target.is_floating_point() for target in targets)
        if call.sender in self._simulated and len(self._simulated) > 1:
            return known or counts
        return call.info.op is CollectiveOp.RECV and known and counts

    def _from_all(self, call: _PendingCall) -> Sequence[Contribution] | None:
        """What each member contributes; None if it is unknown for one of them."""
        assert call.own is not None
        absent = self._assumed_contribution(call.own)
        found = [call.own if i == call.rank else absent for i in range(call.size)]
        published = call.own.nbytes <= _LARGEST_BYTES
        others = [i for i, rank in enumerate(call.info.group_ranks) if published and i != call.rank and rank in self._simulated]
        answers = self._fetch(call, [call.info.group_ranks[i] for i in others])
        if answers is None:
            return None
        for i, answer in zip(others, answers, strict=True):
            if answer is Unavailable.UNKNOWN:
                return None
            found[i] = decode(answer) if isinstance(answer, bytes) else absent
        return found

    @staticmethod
    def _assumed_contribution(own: Contribution) -> Contribution:
        """This rank's contribution, for ranks that are not simulated. Values that follow from `--routing` are the same on every rank."""
        return own if own.assumed & ROUTING else replace(own, assumed=own.assumed | PEERS)

    def _from_sender(self, call: _PendingCall) -> Contribution | None:
        assert call.sender is not None
        (answer,) = self._fetch(call, [call.sender]) or (Unavailable.UNKNOWN,)
        if isinstance(answer, bytes):
            return decode(answer)
        if self.objects is None:
            return None
        self.objects.unavailable = (call.sender, answer)
        held = next(self.objects.tensors)
        return Contribution(values=[held] * (call.size if call.info.op is CollectiveOp.SCATTER else 1))

    def _fetch(self, call: _PendingCall, ranks: Sequence[int]) -> Sequence[Answer] | None:
        """What these ranks contribute to the call. If one of them never makes it, None on the accelerator; on the host this rank ends."""
        answers = self._mailbox.fetch([(rank, call.key) for rank in ranks]) if ranks else []
        never = [rank for rank, answer in zip(ranks, answers, strict=True) if answer is Unavailable.NEVER]
        if not never:
            return answers
        if call.info.cuda_index is None or self.objects is not None:
            self._mailbox.block(call.number, never)
        self._host_waits.never_completes(call.number, never)
        return None

    def _when_complete(self, call: _PendingCall, targets: Values, receive: Callable[[Values], None]) -> None:
        """Receive now, or when the call is waited for. The contents of buffers of a call in flight are unknown.

        Until then they are held, as NCCL holds them: the script may have passed views that nothing else refers to (`irecv(buffer[i])`).
        """
        if not call.info.is_async:
            receive(targets)
            return
        for target in targets:
            if type(target) is FakeTensor:
                self._mode.known.forget(target)
        self._handles.on_wait(call.number, lambda: receive(targets))

    def _fill(self, targets: Values, values: Sequence[torch.Tensor | None] | None, *, assumed: int = NOTHING) -> None:
        for i, target in enumerate(targets):
            value = None if values is None or len(values) != len(targets) else values[i]
            if not target.numel():
                continue
            fits = value is not None and value.numel() == target.numel()
            if fits and value is not None and type(target) is FakeTensor:
                self._mode.known.remember(target, value.reshape(target.shape), assumed=assumed)
            elif fits and value is not None:
                target.copy_(value.reshape(target.shape))
                if assumed & PEERS:
                    self._values.report_assumed_peers()
            elif type(target) is FakeTensor:
                self._mode.known.forget(target)
            else:
                self._values.fill(target, "what another rank sends")


def _agreed(info: CommunicationCall) -> str:
    """What the ranks of a call must agree on to receive from each other. They may differ in the reduction without waiting for ever."""
    root = None if info.root is None else info.group_ranks.index(info.root)
    signature = signature_of(info, root)
    return f"{signature.op} {signature.dtype} {signature.counts} {signature.root}"


def _assumed(contributions: Sequence[Contribution]) -> int:
    """The assumptions that any of them follows from."""
    assumed = NOTHING
    for each in contributions:
        assumed |= each.assumed
    return assumed
