"""What the autograd engine is doing in this thread (implements `fakerun.records.observer.AutogradClock`)."""

from fakerun.torch_private import current_autograd_node, current_graph_task, next_sequence_number, sequence_number_of

_NO_SEQUENCE = 2**64 - 1
"""What AccumulateGrad nodes have: they belong to no place in the forward pass."""


class EngineClock:
    """Reads autograd's own counters."""

    def in_backward(self) -> bool:
        return current_graph_task() != -1

    def next_sequence(self) -> int:
        return next_sequence_number()

    def running_sequence(self) -> int | None:
        node = current_autograd_node()
        if node is None:
            return None
        number: int = sequence_number_of(node)
        return None if number == _NO_SEQUENCE else number
