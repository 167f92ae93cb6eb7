"""Pipelines as Megatron has them: one forward and one backward in turn, plain or interleaved, and the messages between stages."""

from collections import deque
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from megatron_parallel import Layout, gathered, size
from torch import Tensor, nn

Batches = Iterator[tuple[Tensor, Tensor]]
Received = Tensor | None


class Messages:
    """What a stage sends to its neighbours and receives from them, at once. In a `ring` the last stage is before the first.

    With `in_parts` each rank of a tensor-parallel group sends a part, and what arrives is gathered, as Megatron does where every rank has
    the whole. `is_synchronous`: the host waits for each exchange, as Megatron's did in 2022.
    """

    def __init__(
        self, layout: Layout, shape: Sequence[int], dtype: torch.dtype, *, ring: bool, in_parts: bool = False, is_synchronous: bool = False
    ) -> None:
        self.layout, self.shape, self.dtype = layout, tuple(shape), dtype
        self.in_parts, self.is_synchronous = in_parts and layout.tp is not None, is_synchronous
        stages, stage = layout.pp_ranks, layout.stage
        self.previous = stages[stage - 1] if ring or stage > 0 else None
        self.next = stages[(stage + 1) % len(stages)] if ring or stage + 1 < len(stages) else None

    def exchange(
        self, output: Received = None, gradient: Received = None, *, from_previous: bool = False, from_next: bool = False
    ) -> tuple[Received, Received]:
        """Send an output on and a gradient back; returns what the previous stage sent on and the next one back, as far as asked for."""
        received = [self._empty() if asked else None for asked in (from_previous, from_next)]
        operations = []
        for sent, arriving, peer in ((gradient, received[0], self.previous), (output, received[1], self.next)):
            if peer is None:
                continue
            if sent is not None:
                operations.append(dist.P2POp(dist.isend, self._part(sent.detach()), peer))
            if arriving is not None:
                operations.append(dist.P2POp(dist.irecv, arriving, peer))
        if operations:
            for work in dist.batch_isend_irecv(operations):
                work.wait()
            if self.is_synchronous:
                torch.cuda.synchronize()
        whole = [None if each is None else self._whole(each) for each in received]
        return whole[0], whole[1]

    def _empty(self) -> Tensor:
        shape = list(self.shape)
        if self.in_parts:
            shape[0] //= size(self.layout.tp)
        return torch.empty(shape, dtype=self.dtype, device=self.layout.device)

    def _part(self, x: Tensor) -> Tensor:
        if not self.in_parts:
            return x.contiguous()
        return x.chunk(size(self.layout.tp))[dist.get_rank(self.layout.tp)].contiguous()

    def _whole(self, x: Tensor) -> Tensor:
        return gathered(x, self.layout.tp)[0] if self.in_parts else x


class Pipeline:
    """`count` micro-batches through the chunks of this rank's layers: a chunk makes of (tokens or what was received, labels) its output."""

    def __init__(self, chunks: Sequence[nn.Module], messages: Messages, count: int) -> None:
        self.chunks, self.messages, self.layout, self.count = chunks, messages, messages.layout, count

    def forward(self, chunk: int, received: Received, tokens: Tensor, labels: Tensor) -> Tensor:
        x = tokens if received is None else received.requires_grad_()
        output: Tensor = self.chunks[chunk](x, labels)
        return output

    def backward(self, received: Received, output: Tensor, gradient: Received) -> Received:
        if gradient is None:
            output.div(self.count).backward()
        else:
            output.backward(gradient)
        return None if received is None else received.grad

    def step(self, batches: Batches) -> None:
        """Forward and backward of all micro-batches."""
        layout, exchange = self.layout, self.messages.exchange
        ahead = min(len(layout.pp_ranks) - layout.stage - 1, self.count)
        held: deque[tuple[Received, Tensor]] = deque()

        def forward(received: Received) -> Tensor:
            held.append((received, self.forward(0, received, *next(batches))))
            return held[-1][1]

        for _ in range(ahead):
            received, _ = exchange(from_previous=not layout.is_first)
            exchange(forward(received))
        steady = self.count - ahead
        received = exchange(from_previous=not layout.is_first)[0] if steady else None
        for position in range(steady):
            output = forward(received)
            _, gradient = exchange(None if layout.is_last else output, from_next=not layout.is_last)
            sent = self.backward(*held.popleft(), gradient)
            received, _ = exchange(None, sent, from_previous=not layout.is_first and position < steady - 1)
        for _ in range(ahead):
            _, gradient = exchange(from_next=True)
            exchange(None, self.backward(*held.popleft(), gradient))


class Interleaved(Pipeline):
    """Each rank has several chunks of layers; chunk c of stage s comes after chunk c of stage s - 1, and chunk c - 1 of the last stage.

    Micro-batches go through in groups of as many as there are stages, a group through one chunk after the other (Narayanan et al. 2021).
    """

    def __init__(self, chunks: Sequence[nn.Module], messages: Messages, count: int) -> None:
        super().__init__(chunks, messages, count)
        self.stages = len(self.layout.pp_ranks)
        if count % self.stages:
            raise SystemExit(f"{count} micro-batches cannot be interleaved over {self.stages} stages")
        self.inputs: list[deque[Received]] = [deque() for _ in chunks]
        self.gradients: list[deque[Received]] = [deque() for _ in chunks]
        self.held: list[deque[tuple[Received, Tensor]]] = [deque() for _ in chunks]

    def step(self, batches: Batches) -> None:
        layout, last_chunk = self.layout, len(self.chunks) - 1
        total = self.count * len(self.chunks)
        ahead = total if self.count == self.stages else min(2 * (self.stages - layout.stage - 1) + last_chunk * self.stages, total)
        steady = total - ahead
        if not layout.is_first:
            self._exchange(arriving=0)
        for position in range(ahead):
            output = self._forward(position, batches)
            arriving = self._chunk(position + 1) if position + 1 < total else None
            is_turn = position + 1 == ahead and steady > 0
            self._exchange(
                output,
                arriving=None if layout.is_first and arriving == 0 else arriving,
                returning=last_chunk if is_turn and not layout.is_last else None,
            )
        for position in range(steady):
            output, gradient = self._forward(position + ahead, batches), self._backward(position)
            arriving = None if position == steady - 1 else self._arriving_after(position + ahead)
            self._exchange(output, gradient, arriving=arriving, returning=self._returning_after(position))
        if not steady and not layout.is_last:
            self._exchange(returning=last_chunk)
        for position in range(steady, total):
            gradient = self._backward(position)
            returning = last_chunk - self._chunk(position + 1) if position + 1 < total else None
            self._exchange(None, gradient, returning=None if layout.is_last and returning == last_chunk else returning)

    def _chunk(self, position: int) -> int:
        """The chunk of the forward pass at this position of the schedule; of the backward pass it is as far from the last one."""
        return position % (self.stages * len(self.chunks)) // self.stages

    def _arriving_after(self, position: int) -> int | None:
        """For which chunk the previous stage sends what it computes beside this stage's forward pass at `position`; None for none.

        The first stage is ahead of the last one, which is before it in the ring, by all the others.
        """
        if not self.layout.is_first:
            return self._chunk(position + 1)
        chunk = self._chunk(position - (self.stages - 1)) + 1
        return chunk if chunk < len(self.chunks) else None

    def _returning_after(self, position: int) -> int | None:
        """The same of the next stage, beside the backward pass at `position`."""
        last_chunk = len(self.chunks) - 1
        if not self.layout.is_last:
            return last_chunk - self._chunk(position + 1)
        chunk = last_chunk - self._chunk(position - (self.stages - 1)) - 1
        return chunk if chunk >= 0 else None

    def _forward(self, position: int, batches: Batches) -> Received:
        """What is to be sent on: nothing from the end of the model."""
        chunk = self._chunk(position)
        received = None if self.layout.is_first and chunk == 0 else self.inputs[chunk].popleft()
        output = self.forward(chunk, received, *next(batches))
        self.held[chunk].append((received, output))
        return None if self.layout.is_last and chunk == len(self.chunks) - 1 else output

    def _backward(self, position: int) -> Received:
        """What is to be sent back: nothing from the beginning of the model."""
        chunk = len(self.chunks) - 1 - self._chunk(position)
        is_end = self.layout.is_last and chunk == len(self.chunks) - 1
        return self.backward(*self.held[chunk].popleft(), None if is_end else self.gradients[chunk].popleft())

    def _exchange(
        self, output: Received = None, gradient: Received = None, *, arriving: int | None = None, returning: int | None = None
    ) -> None:
        """Send, and keep what is received for the chunks `arriving` and `returning`; None receives nothing."""
        received, returned = self.messages.exchange(output, gradient, from_previous=arriving is not None, from_next=returning is not None)
        if arriving is not None:
            self.inputs[arriving].append(received)
        if returning is not None:
            self.gradients[returning].append(returned)
