"""Processes that a script starts to be the ranks: `torch.multiprocessing.spawn`, `multiprocessing.Process`, `os.fork`.

A rank that fakerun simulates is a process already. Where the script starts as many processes as its node, or the job, has ranks, the one
that would be this rank is called in this process, and the others are those that fakerun simulates beside it. Other processes run for
real, as a loader's workers do; one that initialises torch.distributed there ends the run with the way out.
"""

import _thread
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import process, spawn
from typing import Any, NoReturn

import torch.distributed as dist
import torch.multiprocessing as torch_multiprocessing

from fakerun.emulate.cluster.child_guard import Guard, report
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.unsupported.gaps import PROCESS_AS_RANK
from fakerun.errors import FakerunError, UsageError
from fakerun.patching import Patches


class StartedRanks:
    """The processes that the script starts, as far as they may be ranks."""

    def __init__(self, context: EmulationContext) -> None:
        self._context = context
        self._pid = os.getpid()
        self._listens = False
        self._refusal: FakerunError = PROCESS_AS_RANK.error()
        """Why a child must not initialise torch.distributed."""
        self.address = f"\0fakerun-{self._pid}-{id(self)}"
        """Abstract (unix(7)): there is no file to remove."""

    @property
    def is_child(self) -> bool:
        """Whether this is a process that the script forked."""
        return os.getpid() != self._pid

    def report_child(self) -> NoReturn:
        """In a child: end the run."""
        report(self.address)

    def listen(self) -> None:
        """Wait for children, in a thread: the script itself may be waiting for a child in native code."""
        if self._listens or self.is_child:
            return
        self._listens = True
        children = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        children.bind(self.address)
        children.set_inheritable(False)

        def wait_for_child() -> None:
            children.recv(1)
            self._context.abort(self._refusal)

        _thread.start_new_thread(wait_for_child, ())

    def index(self, count: int) -> int | None:
        """Which of `count` processes that the script starts is this rank; None if they cannot be the ranks of the node or the job."""
        job, rank = self._context.job, self._context.rank
        if count == job.nproc_per_node:
            return rank % job.nproc_per_node
        if count == job.world_size:
            return rank
        self._refusal = UsageError(
            f"the script starts {count} processes that initialise torch.distributed, but the job has {job.nproc_per_node} ranks on each "
            f"of its nodes and {job.world_size} in all; pass --world-size {count}, or --nproc-per-node {count} for each node"
        )
        return None


@contextmanager
def started_ranks(context: EmulationContext) -> Iterator[None]:
    """Call what would be this rank's process in this process, and watch the others, until the context ends."""
    ranks = context.part(StartedRanks)
    functions: Any = sys.modules["torch.multiprocessing.spawn"]  # the package has the function under this name
    start_for_real = functions.start_processes
    start = process.BaseProcess.start
    prepare = spawn.get_preparation_data

    def start_processes(
        fn: Callable[..., Any], args: Sequence[Any] = (), nprocs: int = 1, join: bool = True, *more: Any, **named: Any
    ) -> Any:
        index = None if ranks.is_child else ranks.index(nprocs)
        if index is None:
            return start_for_real(fn, args, nprocs, join, *more, **named)
        _call_as_process(fn, index, args)
        return None if join else functions.ProcessContext([], [])

    def start_watched(started: Any) -> None:
        ranks.listen()
        start(started)

    def fork_watched(original: Callable[[], Any]) -> Callable[[], Any]:
        def fork() -> Any:
            ranks.listen()
            return original()

        return fork

    def prepare_watched(name: str) -> dict[str, Any]:
        return {**prepare(name), "fakerun": Guard(ranks.address)}

    with Patches() as patches:
        patches.set(functions, "start_processes", start_processes)
        patches.set(torch_multiprocessing, "start_processes", start_processes)
        patches.set(process.BaseProcess, "start", start_watched)
        for name in ("fork", "forkpty"):
            patches.set(os, name, fork_watched(getattr(os, name)))
        patches.set(spawn, "get_preparation_data", prepare_watched)
        yield


def _call_as_process(fn: Callable[..., Any], index: int, args: Sequence[Any]) -> None:
    """Call `fn`; what would end with its process (variables, the process group, the exit itself) ends with the call."""
    environment = dict(os.environ)
    was_initialized = dist.is_initialized()
    try:
        fn(index, *args)
    except SystemExit as error:
        if type(error) is not SystemExit or error.code not in (None, 0):
            raise
    if dist.is_initialized() and not was_initialized:
        dist.destroy_process_group()
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
