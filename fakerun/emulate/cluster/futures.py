"""Futures of calls: who waits for one lets its stream wait, and what callbacks do runs on streams of their own, behind what they wait for.

As in `c10::ivalue::Future` with devices (aten/src/ATen/core/ivalue_inl.h, 2.13; the source of all below): `wait` lets the current stream
wait for what the future stands for, and tells the allocator that the value is in use there. A callback runs at once, since NCCL's futures
are done when the call is issued, on the next stream of the pool, which waits for the future like any other. The future that `then` returns
stands for what that stream was asked. The future of a call on the host has no devices, and so no streams.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.emulate.device.stream_pools import StreamPools
from fakerun.torch_private import NO_GRAPH_TASK, call_at_end_of_backward, current_graph_task, pytree

Value = Any
"""What a future holds: tensors, lists of tensors, anything."""


class CallFutures:
    """Makes the futures of a rank."""

    def __init__(self, context: EmulationContext) -> None:
        self.streams = context.streams
        self.pools = context.part(StreamPools)
        self.execution = context.execution
        self.allocations = context.allocations
        self._kept: list[CallFuture] | None = None

    def future(self, value: Value, devices: Sequence[int], wait: Callable[[], None]) -> "CallFuture":
        """A future of this value, for which the current streams of the devices wait by `wait`.

        If it is made in backward, what follows backward waits for it, unless something else that does was made of it: DDP waits in C++,
        unseen, for what its hooks return, at the end of backward. `Reducer::finalize_backward` (torch/csrc/distributed/c10d/reducer.cpp,
        2.13) is a callback of that time, too, and is registered after the last future was made.
        """
        ready = _Ready(self, value, devices, wait)
        made = CallFuture(self, value, ready)
        if current_graph_task() != NO_GRAPH_TASK:
            call_at_end_of_backward(ready.end_of_backward)
        if self._kept is not None:
            self._kept.append(made)
        return made

    @contextmanager
    def kept(self) -> Iterator[list["CallFuture"]]:
        """Those that are made until the context ends, of which C++ keeps only its own halves."""
        previous, self._kept = self._kept, []
        try:
            yield self._kept
        finally:
            self._kept = previous


class _Ready:
    """What a future stands for. It refers to the value weakly: what waits for a future does not keep its memory."""

    def __init__(self, futures: CallFutures, value: Value, devices: Sequence[int], wait: Callable[[], None]) -> None:
        self.devices = devices
        self.has_successor = False
        """Whether another future was made of this one, which is ready later."""
        self._futures = futures
        self._wait = wait
        self._tensors = [weakref.ref(each) for each in pytree.tree_leaves(value) if isinstance(each, torch.Tensor)]

    def wait(self) -> None:
        """The current streams wait for it."""
        self._wait()
        current = {device: self._futures.streams.current(device) for device in self.devices}
        for reference in self._tensors:
            tensor = reference()
            if tensor is not None and tensor.device.type == ACCELERATOR and tensor.device.index in current:
                self._futures.allocations.used_on_stream(tensor, current[tensor.device.index])

    def end_of_backward(self) -> None:
        if not self.has_successor:
            self.wait()


class CallFuture(torch.futures.Future[Value]):
    """A future that is done."""

    def __init__(self, futures: CallFutures, value: Value, ready: _Ready) -> None:
        super().__init__()
        self._futures = futures
        self._ready = ready
        self.set_result(value)

    def wait(self) -> Value:
        self._ready.wait()
        return super().wait()

    def then(self, callback: Callable[[Any], Value]) -> torch.futures.Future[Value]:
        results: list[tuple[Value, Callable[[], None]]] = []

        def call(_: Any) -> Value:
            with self._own_streams() as wait:
                result = callback(self)
            results.append((result, wait))
            return result

        child = super().then(call)
        if not results:
            return child  # the callback failed: whoever waits for the child gets the error
        self._ready.has_successor = True
        result, wait = results[0]
        return self._futures.future(result, self._ready.devices, wait)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        def call(_: Any) -> None:
            with self._own_streams():
                callback(self)

        super().add_done_callback(call)

    @contextmanager
    def _own_streams(self) -> Iterator[Callable[[], None]]:
        """Until the context ends, work is queued on the next stream of the pool of each device, behind what the future stands for.

        What it returns lets the current streams wait for what these have been asked by the end of the context.
        """
        streams, execution = self._futures.streams, self._futures.execution
        events: dict[int, int] = {}
        outer = [streams.current(device) for device in self._ready.devices]
        own = [self._futures.pools.take(device) for device in self._ready.devices]

        def wait() -> None:
            for device, event in events.items():
                execution.waited_for_event(event, streams.current(device))

        for stream in own:
            streams.make_current(stream)
        try:
            self._ready.wait()
            yield wait
            for device, stream in zip(self._ready.devices, own, strict=True):
                events[device] = execution.recorded_event(stream)
        finally:
            for stream in outer:
                streams.make_current(stream)


def collect_all(futures: Sequence[Any]) -> Any:
    """Replaces `torch.futures.collect_all`, which waits in C++: a future of the futures."""
    ours = [each for each in futures if isinstance(each, CallFuture)]
    if len(ours) < len(futures) or not ours:
        return _COLLECT_ALL(list(futures))
    devices = tuple(dict.fromkeys(device for each in ours for device in each._ready.devices))

    def wait() -> None:
        for each in ours:
            each._ready.wait()

    for each in ours:
        each._ready.has_successor = True
    return ours[0]._futures.future(list(futures), devices, wait)


_COLLECT_ALL = torch.futures.collect_all


def wait_all(futures: Sequence[Any]) -> list[Value]:
    """Replaces `torch.futures.wait_all`, which waits in C++."""
    return [each.wait() for each in futures]
