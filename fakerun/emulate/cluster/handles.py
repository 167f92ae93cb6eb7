"""Handles of calls in flight: calls complete at once, and the observer learns which calls the script waited for.

A handle is waited for when its `wait` (or a synonym) is called or its future is taken, for which `futures` says when streams wait: DDP's
reducer waits for futures in C++, unseen, at the end of backward.
The result of a functional collective is waited for when `wait_tensor` sees its storage, which is what torch's own registry goes by.
"""

import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from fakerun.emulate.cluster.backend_checks import check_coalescing
from fakerun.emulate.cluster.futures import CallFutures, collect_all, wait_all
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.patching import Patches
from fakerun.torch_private import (
    END_COALESCING,
    START_COALESCING,
    current_graph_task,
    storage_id,
)

_IN_FLIGHT = 1024
"""Handles kept for C++, which keeps only its own half of a Python Work alive: far more than it holds on to at once (DDP's copies: two)."""

_OWN_REFERENCES = 4
"""References to a handle that nobody else has, while they are counted: `_kept_alive`, `_handle_of`, a variable and an argument."""


class FinishedWork(dist.Work):
    """A Work that is done and whose future holds the tensors, as NCCL's does (torch's FakeWork holds nothing).

    It refers to the tensors weakly: a handle that the script keeps must not keep their memory.
    """

    def __init__(
        self,
        tensors: Sequence[torch.Tensor],
        waited: Callable[[], None],
        take_future: Callable[[list[torch.Tensor]], torch.futures.Future[Any]],
    ) -> None:
        super().__init__()
        self._tensors = [weakref.ref(tensor) for tensor in tensors]
        self._waited = waited
        self._take_future = take_future

    def wait(self, timeout: Any = None) -> bool:
        self._waited()
        return True

    def synchronize(self) -> None:
        self._waited()

    def block_current_stream(self) -> None:
        self._waited()

    def is_completed(self) -> bool:
        self._waited()  # a script that polls has waited once the answer is True
        return True

    def is_success(self) -> bool:
        return True

    def exception(self) -> None:
        return None

    def result(self) -> list[torch.Tensor]:
        return [tensor for reference in self._tensors if (tensor := reference()) is not None]

    def get_future(self) -> Any:
        return self._take_future(self.result())


class Handles:
    """Makes the handles of this rank's calls, which go by the observer's numbers."""

    def __init__(self, context: EmulationContext) -> None:
        self._observer = context.communication
        self._futures = context.part(CallFutures)
        self._kept_alive: deque[FinishedWork] = deque(maxlen=_IN_FLIGHT)
        self._unwaited: dict[int, tuple[Any, list[int]]] = {}  # functional results, by address of their storage
        self._coalesced: list[list[int]] = []  # the innermost last
        self._first_coalesced: int | None = None
        self._on_wait_actions: dict[int, Callable[[], None]] = {}
        self._stashed: dict[int, Sequence[torch.Tensor]] = {}  # by call
        self._handle_of: dict[int, FinishedWork] = {}  # of calls with something stashed
        self._of_futures: list[tuple[int, int]] = []  # calls whose future was taken, each with the pass of backward in which it was
        self._first_backward: int | None = None
        """The first pass of backward in which a future was taken."""
        self.blocking = False
        """Whether the point-to-point call being made is blocking."""

    def work(self, call: int, tensors: Sequence[torch.Tensor]) -> Any:
        """The handle of `call`, in the box that operators return."""
        if self._coalesced:
            self._coalesced[-1].append(call)
        return self._make([call], tensors).boxed()

    def _make(self, calls: list[int], tensors: Sequence[torch.Tensor]) -> FinishedWork:
        def waited() -> None:
            while calls:
                self._finish(calls.pop(0))

        of_handle = tuple(calls)

        def take_future(result: list[torch.Tensor]) -> torch.futures.Future[Any]:
            self._of_futures += ((current_graph_task(), call) for call in calls if call in self._stashed)
            while calls:
                self._finish(calls.pop(0), by_future=True)
            devices = tuple(dict.fromkeys(tensor.device.index for tensor in result if tensor.device.type == ACCELERATOR))
            return self._futures.future(result, devices, partial(self._wait_on_stream, of_handle))

        work = FinishedWork(tensors, waited, take_future)
        self._kept_alive.append(work)
        self._handle_of.update((call, work) for call in calls if call in self._stashed)
        return work

    def stash(self, call: int, tensors: Sequence[torch.Tensor]) -> None:
        """Keep the tensors of an asynchronous call until it is waited for, as NCCL's handles do.

        Since torch 2.8 they do it for collectives, whose streams the allocator does not know of ("Launch kernel on current stream & remove
        record_stream entirely", pytorch/pytorch#148590). Of a handle that is dropped before, the tensors are free with a later collective.
        Of one whose future is waited for (DDP's), too: the process group's own thread sees every 100 ms which calls are over, and the next
        collective frees their tensors. On an H200 that was the first one of the next pass of backward.
        """
        if not self._coalesced:
            self._release_dropped()
            self._release_of_futures()
        self._stashed[call] = tensors

    def _release_dropped(self) -> None:
        for call in tuple(self._handle_of):
            work = self._handle_of[call]
            if sys.getrefcount(work) <= _OWN_REFERENCES:
                self._release(call)

    def _release_of_futures(self) -> None:
        now = current_graph_task()
        for backward, call in tuple(self._of_futures):
            if self._first_backward is None:
                self._first_backward = backward
            # After the first pass so much is done for the first time that the thread has seen the ends before the next forward pass.
            if backward == -1 or (backward == self._first_backward and backward != now) or now not in (-1, backward):
                self._of_futures.remove((backward, call))
                self._release(call)

    def _release(self, call: int) -> None:
        self._stashed.pop(call, None)
        self._handle_of.pop(call, None)

    def on_wait(self, call: int, action: Callable[[], None]) -> None:
        """Run `action` when `call` is waited for."""
        self._on_wait_actions[call] = action

    def _finish(self, call: int, *, by_future: bool = False) -> None:
        tell = self._observer.future_taken if by_future else self._observer.waited_for
        tell(call)  # first: a rank that waits for ever ends in its action
        action = self._on_wait_actions.pop(call, None)
        if action is not None:
            action()
        self._handle_of.pop(call, None)
        if not by_future:
            self._release(call)

    def _wait_on_stream(self, calls: Sequence[int]) -> None:
        """The stream waits for calls whose future was taken."""
        for call in calls:
            self._observer.stream_waited_for(call)

    # -- several calls with one handle (batch_isend_irecv) -------------------------------------------------------------------------------

    @property
    def coalesced(self) -> int | None:
        """The number of the first of the calls that are issued as one; None outside coalescing.

        NCCL issues nothing before the outermost of nested batches ends, so they are one.
        """
        return self._first_coalesced

    def start_coalescing(self) -> None:
        """Issue calls from here on as one, with one handle."""
        if not self._coalesced:
            self._first_coalesced = self._observer.mark().calls
        self._coalesced.append([])

    def end_coalescing(self) -> FinishedWork:
        """The handle of the calls since `start_coalescing`."""
        calls = self._coalesced.pop() if self._coalesced else []
        if not self._coalesced:
            self._first_coalesced = None
        return self._make(calls, ())

    @contextmanager
    def coalescing(self) -> Iterator[None]:
        """Calls made until the context ends are issued as one; each is waited for by itself."""
        self.start_coalescing()
        try:
            yield
        finally:
            self.end_coalescing()

    @contextmanager
    def blocking_calls(self) -> Iterator[None]:
        """Point-to-point calls made until the context ends are blocking."""
        previous, self.blocking = self.blocking, True
        try:
            yield
        finally:
            self.blocking = previous

    # -- functional collectives ----------------------------------------------------------------------------------------------------------

    def in_flight(self, call: int, outputs: Sequence[torch.Tensor]) -> None:
        """`call` is waited for as soon as one of `outputs` is; one that is dropped before is free at once."""
        results = {id(output) for output in outputs}
        self._stashed[call] = [tensor for tensor in self._stashed.get(call, ()) if id(tensor) not in results]
        for output in outputs:
            storage = output.untyped_storage()
            entry = self._unwaited.get(storage_id(storage))
            if entry is None or entry[0]() is None:  # the address may be another storage's by now
                entry = self._unwaited[storage_id(storage)] = (weakref.ref(storage, partial(self._died, storage_id(storage))), [])
            entry[1].append(call)

    def wait_for(self, tensor: torch.Tensor) -> None:
        """The script waits for what `tensor` receives."""
        reference, calls = self._unwaited.pop(storage_id(tensor.untyped_storage()), (None, []))
        if reference is not None and reference() is not None:
            for call in calls:
                self._finish(call)

    def _died(self, address: int, reference: Any) -> None:
        entry = self._unwaited.get(address)
        if entry is not None and entry[0] is reference:
            del self._unwaited[address]
            for call in entry[1]:
                self._release(call)


@contextmanager
def simulated_handles(context: EmulationContext) -> Iterator[None]:
    """Give coalesced calls their handle, mark blocking point-to-point calls, and see waits for several futures, until the context ends."""
    handles = context.part(Handles)

    def blocking_call(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with handles.blocking_calls():
                return function(*args, **kwargs)

        return call

    def start_coalescing(group: dist.ProcessGroup, device: torch.device) -> None:
        check_coalescing(group, device)
        handles.start_coalescing()

    with Patches() as patches:
        patches.set(dist.ProcessGroup, START_COALESCING, start_coalescing)
        patches.set(dist.ProcessGroup, END_COALESCING, lambda group, device: handles.end_coalescing())
        patches.set_all(torch.futures, {"collect_all": collect_all, "wait_all": wait_all})
        for name in ("send", "recv"):
            blocking = blocking_call(getattr(dist, name))
            patches.set(dist, name, blocking)
            patches.set(distributed_c10d, name, blocking)
        yield
