"""A cross entropy in chunks of tokens, each checkpointed: float32 copies, probabilities and their gradients exist for one chunk at a time.

Assumes this in place of the loss, for logits (tokens, vocabulary):

    parts = zip(logits.chunk(8), labels.chunk(8))
    loss = sum(checkpoint(part_loss, *part, use_reentrant=False) for part in parts) / labels.numel()

with `F.cross_entropy(part.float(), labels, reduction="sum")` as the part's loss. The logits stay until the last chunk is computed again in
backward; the gradients of the parts are put together to that of the logits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes, Size
from fakerun.analysis.memory.advice.module_visits import end_of_operation
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.records.memory import MemoryBlock, rounded_size_bytes

CHUNKS = 8

_LOG_SOFTMAX = "aten._log_softmax.default"
_LOG_SOFTMAX_BACKWARD = "aten._log_softmax_backward_data.default"
_NLL_BACKWARD = "aten.nll_loss_backward.default"
_CONVERSION = "aten._to_copy.default"


@dataclass(frozen=True, slots=True)
class _Loss:
    """The blocks of one cross entropy: `converted` and `gradient` are of logits that are converted to float32 for it."""

    logits: Allocation
    converted: Allocation | None
    probabilities: Allocation
    of_probabilities: Allocation
    of_converted: Allocation
    gradient: Allocation | None

    @property
    def last(self) -> Allocation:
        """The gradient of the logits."""
        return self.gradient or self.of_converted


def chunked(lifetimes: Lifetimes, device: int) -> Iterator[tuple[MemoryBlock, ProgramEdit]]:
    """The edit to the program with each of its large cross entropies in chunks, and the log-probabilities that the largest makes now."""
    losses = [loss for loss in _losses(lifetimes) if loss.probabilities.block.device == device]
    if losses:
        edit = ProgramEdit(lifetimes)
        for loss in losses:
            _in_chunks(lifetimes, edit, loss)
        yield max((loss.probabilities.block for loss in losses), key=lambda block: block.nbytes), edit


def _losses(lifetimes: Lifetimes) -> Iterator[_Loss]:
    """Every cross entropy that is followed by its backward."""
    starts = [position for position in lifetimes.executions if lifetimes.operation_at(position) == _LOG_SOFTMAX]
    for start, end in pairwise([*starts, len(lifetimes.program.order)]):
        (probabilities,) = lifetimes.results_of(start) or (None,)
        if probabilities is None or len(probabilities.block.shape) != 2:
            continue
        found = _backward(lifetimes, probabilities, start, end)
        before = [each for each in lifetimes.allocations[: probabilities.number][::-1] if each.is_alive_at(start)]
        if found is None:
            continue
        of_probabilities, of_converted, gradient = found
        size = gradient.size if gradient is not None else probabilities.size
        converted = _latest(before, probabilities.size) if gradient is not None else None
        logits = _latest(before, size)
        if logits is not None and (gradient is None) == (converted is None):
            yield _Loss(logits, converted, probabilities, of_probabilities, of_converted, gradient)


def _latest(before: Sequence[Allocation], size: Size) -> Allocation | None:
    return next((each for each in before if each.size == size), None)


def _backward(
    lifetimes: Lifetimes, probabilities: Allocation, start: int, end: int
) -> tuple[Allocation, Allocation, Allocation | None] | None:
    """What the backward of the loss makes: gradients of the log-probabilities, of what they are of, and of logits of another dtype."""
    found: list[Allocation] = []
    for position in lifetimes.executions_within(start, end):
        name = lifetimes.operation_at(position)
        expected = (_NLL_BACKWARD, _LOG_SOFTMAX_BACKWARD, _CONVERSION)[len(found)]
        if len(found) == 2 and name != _CONVERSION:
            return found[0], found[1], None
        if name == expected:
            results = [each for each in lifetimes.results_of(position) if each.size[1] == probabilities.size[1]]
            if not results:
                return None
            found += results[:1]
            if len(found) == 3:
                return found[0], found[1], found[2]
    return None


def _in_chunks(lifetimes: Lifetimes, edit: ProgramEdit, loss: _Loss) -> None:
    tokens, vocabulary = loss.probabilities.block.shape
    rows = -(-tokens // CHUNKS)
    parts = [min(rows, tokens - first) for first in range(0, tokens, rows)]
    removed = (loss.converted, loss.probabilities, loss.of_probabilities, None if loss.gradient is None else loss.of_converted)
    for allocation in removed:
        if allocation is not None:
            edit.remove(allocation)
    forward = (loss.converted or loss.probabilities).allocated_at
    for part in parts:
        for number in _forward(edit, forward, loss, part * vocabulary):
            edit.free(forward, number)
    _backward_in_chunks(lifetimes, edit, loss, [part * vocabulary for part in parts])


def _forward(edit: ProgramEdit, position: int, loss: _Loss, elements: int) -> list[int]:
    """Compute a part; returns what it takes, the log-probabilities last."""
    return [edit.allocate(position, _part(each.block, elements)) for each in (loss.converted, loss.probabilities) if each is not None]


def _backward_in_chunks(lifetimes: Lifetimes, edit: ProgramEdit, loss: _Loss, parts: Sequence[int]) -> None:
    position = loss.of_probabilities.allocated_at
    done = end_of_operation(lifetimes, loss.last.allocated_at)
    for index, elements in enumerate(parts):
        *converted, probabilities = _forward(edit, position, loss, elements)
        for number in converted:
            edit.free(position, number)
        of_probabilities = edit.allocate(position, _part(loss.of_probabilities.block, elements))
        of_converted = edit.allocate(position, _part(loss.of_converted.block, elements))
        edit.free(position, probabilities)
        edit.free(position, of_probabilities)
        if index == len(parts) - 1 and loss.logits.freed_at is not None and loss.logits.freed_at < done:
            edit.free_at(loss.logits, position)
        if loss.gradient is None:
            edit.free(done, of_converted)
        else:
            edit.free(done, edit.allocate(position, _part(loss.gradient.block, elements)))
            edit.free(position, of_converted)


def _part(block: MemoryBlock, elements: int) -> MemoryBlock:
    """A block for as many elements, a multiple of the size of the last dimension."""
    nbytes = block.requested_bytes // prod(block.shape) * elements
    return replace(block, requested_bytes=nbytes, nbytes=rounded_size_bytes(nbytes), shape=(elements // block.shape[-1], block.shape[-1]))
