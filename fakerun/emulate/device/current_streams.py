"""Which stream of a device the work of this thread is queued on.

As in CUDA, each thread has a current stream for each device, the default one at first. Autograd runs each node of backward on the stream
that was current in the forward pass when the node was made (torch/csrc/autograd/engine.cpp, `Engine::evaluate_function`); what a hook
changes holds until its node ends. A node whose stream is not that of the node before it waits for that one, and what follows backward waits
for its last node. The engine lets a node wait for the nodes whose gradients it takes (`InputBuffer::add`, in
torch/csrc/autograd/input_buffer.cpp, 2.13); the node before it is nearly always the one.
"""

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from typing import TypeAlias

from fakerun.records.observer import AutogradClock, StreamKey

_Wait: TypeAlias = Callable[[StreamKey, StreamKey], None]

_NO_NODE = -1


class _OfThread(threading.local):
    """The state of one thread."""

    def __init__(self) -> None:
        self.current: dict[int, StreamKey] = {}
        """Outside backward, by device."""
        self.made_since: defaultdict[int, list[int]] = defaultdict(list)
        self.made_on: defaultdict[int, list[StreamKey]] = defaultdict(list)
        """By device: the nodes that were made from `made_since[i]` on, as autograd numbers them, were made on `made_on[i]`."""
        self.node: int | None = _NO_NODE
        self.in_node: dict[int, StreamKey] = {}
        """What was made current within that node of backward."""
        self.of_last_node: dict[int, StreamKey] = {}
        """In backward, by device: the stream of the last node that used one."""


class CurrentStreams:
    """The current streams of all threads. Implements `fakerun.records.observer.CurrentStreams`."""

    def __init__(self, clock: AutogradClock) -> None:
        self._clock = clock
        self._thread = _OfThread()
        self._is_used = False
        """Whether any stream but the default ones was ever current."""
        self._defaults: dict[int, StreamKey] = {}
        self.on_wait: _Wait = lambda waited_for, stream: None
        """Called where autograd lets a stream, the second one, wait for another."""

    def default(self, device: int) -> StreamKey:
        return self._defaults.setdefault(device, (device, 0, None))

    def current(self, device: int) -> StreamKey:
        if not self._is_used:
            return self._defaults.get(device) or self.default(device)
        thread = self._thread
        outside = thread.current.get(device) or self.default(device)
        if not self._clock.in_backward():
            last = thread.of_last_node.pop(device, outside)
            if last != outside:
                self.on_wait(last, outside)
            return outside
        node = self._clock.running_sequence()
        if node == thread.node and device in thread.in_node:
            return thread.in_node[device]
        stream, last = self._forward_stream(thread, device, node), thread.of_last_node.get(device, outside)
        thread.of_last_node[device] = stream
        if last != stream:
            self.on_wait(last, stream)
        return stream

    def make_current(self, stream: StreamKey) -> None:
        """Make a stream that of its device."""
        self._is_used = True
        device, thread = stream[0], self._thread
        if not self._clock.in_backward():
            thread.current[device] = stream
            self._note_nodes(thread, device, stream)
            return
        node = self._clock.running_sequence()
        if node != thread.node:
            thread.node, thread.in_node = node, {}
        thread.in_node[device] = stream

    def _note_nodes(self, thread: _OfThread, device: int, stream: StreamKey) -> None:
        """The nodes that are made from now on are made on this stream."""
        since, on = thread.made_since[device], thread.made_on[device]
        number = self._clock.next_sequence()
        if since and since[-1] == number:
            on[-1] = stream
        elif (on[-1] if on else self.default(device)) != stream:
            since.append(number)
            on.append(stream)

    def _forward_stream(self, thread: _OfThread, device: int, node: int | None) -> StreamKey:
        """The stream of a node; of one without a number, which accumulates a gradient, the default one."""
        since = thread.made_since.get(device)
        if node is None or not since:
            return self.default(device)
        at = bisect_right(since, node) - 1
        return thread.made_on[device][at] if at >= 0 else self.default(device)
