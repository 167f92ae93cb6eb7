"""Which of the operations that are executed would be compiled code: those of functions given to `torch.compile`, and of their backward.

The functions run eagerly. A node of backward belongs to the call in which it was made, by autograd's sequence number. What a node computes
again for a checkpoint belongs to that call, too, and so do the nodes that are made of it, which run where the checkpoint is reentrant. What
runs besides is no compiled code: sums of gradients, which belong to no call, and what hooks do for FSDP, on streams of their own or with
its operators.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.emulate.device.mutations import MutatedArguments
from fakerun.records.observer import AutogradClock, CompiledCodeObserver, CurrentStreams, StreamKey
from fakerun.torch_private import FakeTensor, pytree

aten = torch.ops.aten

_OVERWRITE = frozenset({aten.copy_, aten.fill_, aten.zero_, aten._foreach_copy_, aten._foreach_zero_})
"""Operators that do not read what they change."""


class CompiledCode:
    """Follows the calls of compiled functions, and tells the observer what their operations read and write."""

    def __init__(self, observer: CompiledCodeObserver, clock: AutogradClock, streams: CurrentStreams, mutations: MutatedArguments) -> None:
        self._observer = observer
        self._clock = clock
        self._streams = streams
        self._mutations = mutations
        self._depth = 0
        self._begins: list[int] = []
        """Of each call of a compiled function, and of each part of one that is computed again, the sequence number that the next node of
        autograd had when it began."""
        self._ends: list[float] = []
        """The same when it ended; infinite until then."""
        self._calls: list[int] = []
        """Of which call it is: the number of the call among these."""
        self._called_on: list[StreamKey] = []
        self._in_backward_of: int | None = None
        """The call whose backward is running."""

    def begin(self, device: int) -> None:
        """A compiled function is called, while this device is the current one. What it calls in turn is compiled with it."""
        self._depth += 1
        if self._depth == 1:
            self._end_backward()
            self._begin_nodes(len(self._calls), self._streams.current(device), self._clock.next_sequence())
            self._observer.began(in_backward=False)

    def end(self) -> None:
        """The function returns."""
        self._depth -= 1
        if self._depth == 0:
            self._end_nodes()
            self._observer.ended()

    def _begin_nodes(self, call: int, stream: StreamKey, since: int) -> None:
        """Nodes that are made from now on belong to this call, and those made since the one of this sequence number."""
        self._begins.append(since)
        self._ends.append(math.inf)
        self._calls.append(call)
        self._called_on.append(stream)

    def _end_nodes(self) -> None:
        if self._ends and self._ends[-1] == math.inf:
            self._ends[-1] = self._clock.next_sequence()

    def is_running(self) -> bool:
        """Whether the operation that is executed next would be compiled code."""
        if self._depth:
            return self._is_on_stream(-1)
        if not self._clock.in_backward():
            self._end_backward()
            return False
        node = self._clock.running_sequence()
        if node is None:
            return False
        number = bisect_right(self._begins, node) - 1
        if number < 0 or node >= self._ends[number]:
            self._end_backward()
            return False
        call = self._calls[number]
        if call != self._in_backward_of:
            self._end_backward()
            self._in_backward_of = call
            self._observer.began(in_backward=True)
        if torch.is_grad_enabled() and self._ends[-1] != math.inf:  # a checkpoint: backward itself runs without gradients
            own_node = self._clock.next_sequence() - 1  # autograd makes it before it calls the operator
            self._begin_nodes(call, self._called_on[call], own_node)
        return self._is_on_stream(call)

    def executed(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """An operation of compiled code was executed."""
        if getattr(func, "namespace", "") == "fsdp":
            return
        written = list(self._mutations.of(func, args, kwargs))
        only_written = {id(tensor) for tensor in written} if getattr(func, "overloadpacket", None) in _OVERWRITE else set()
        only_written.update(id(tensor) for tensor in _on_device(kwargs.get("out")))
        read = [tensor for tensor in _on_device((args, dict(kwargs))) if id(tensor) not in only_written]
        self._observer.executed(read, [*_on_device(output), *written])

    def _is_on_stream(self, call: int) -> bool:
        stream = self._called_on[call]
        return self._streams.current(stream[0]) == stream

    def _end_backward(self) -> None:
        if self._in_backward_of is not None:
            self._in_backward_of = None
            self._end_nodes()
            self._observer.ended()


def _on_device(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if type(leaf) is FakeTensor and leaf.fake_device.type == ACCELERATOR]
