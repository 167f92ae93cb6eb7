"""Functions that are a few kernels of a library on a GPU, and run as many operators here: the operators are not executed on the device.

Autograd numbers the nodes that a call makes; what these run in backward is part of the call, too, and so are the sums of gradients that the
engine makes between them: a weight that a call uses in each step has one gradient for each. (Of what feeds such a call and something else,
one sum that a GPU executes is left out with them.)
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fakerun.records.observer import AutogradClock
from fakerun.torch_private import current_autograd_node, current_graph_task


class FusedCalls:
    """Follows the calls, one after the other."""

    def __init__(self, clock: AutogradClock) -> None:
        self._clock = clock
        self._is_called = False
        self._begins: list[int] = []
        """Of each call, the sequence number that the next node of autograd had when it began."""
        self._ends: list[int] = []
        """The same when it ended."""
        self._report_backward: list[Callable[[], None]] = []
        self._reported: set[tuple[int, int]] = set()
        """Passes of backward, each with the calls of which it has come to a node."""
        self._was_inside = False
        """Whether the node that backward ran last is of a call."""

    @contextmanager
    def call(self, report_backward: Callable[[], None]) -> Iterator[None]:
        """Until the context ends a call runs; `report_backward` is called where its backward begins."""
        self._begins.append(self._clock.next_sequence())
        self._is_called = True
        try:
            yield
        finally:
            self._is_called = False
            self._ends.append(self._clock.next_sequence())
            self._report_backward.append(report_backward)

    def take(self) -> bool:
        """Whether the operator that ran last is part of a call."""
        if self._is_called or not self._clock.in_backward():
            return self._is_called
        if current_autograd_node() is None:
            return self._was_inside
        node = self._clock.running_sequence()
        call = -1 if node is None else bisect_right(self._begins, node) - 1
        self._was_inside = node is not None and call >= 0 and node < self._ends[call]
        if self._was_inside and (found := (current_graph_task(), call)) not in self._reported:
            self._reported.add(found)
            self._report_backward[call]()
        return self._was_inside
