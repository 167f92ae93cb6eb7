"""Replaces every backend that a script asks for by the fake process group.

torch's own bookkeeping runs unchanged: `get_backend()` answers what was asked for, a group has one backend per device type. Only the
classes that would open connections are replaced, and the rendezvous that would wait for the other ranks.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from fakerun.emulate.cluster.started_ranks import StartedRanks
from fakerun.emulate.context import EmulationContext
from fakerun.errors import as_script_error
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.records.observer import FindingSink
from fakerun.torch_private import (
    BACKENDS_AVAILABLE,
    GET_SEQUENCE_NUMBER,
    MAKE_GROUP,
    SET_DEFAULT_TIMEOUT,
    SET_SEQUENCE_NUMBER,
    SPLIT_SOURCE,
    STORE_BARRIER,
    FakeProcessGroup,
    assemble_group,
    backend_for,
    device_types_of,
    fake_group_options,
    make_fake_group,
)


@contextmanager
def simulated_process_groups(context: EmulationContext) -> Iterator[None]:
    """Make every process group of this process a fake one of the emulated rank, until the context ends."""
    rank, world_size = context.rank, context.job.world_size
    started = context.part(StartedRanks)
    with Patches() as patches:
        patches.set(sys, "excepthook", sys.excepthook)  # init_process_group sets one that names the rank, and leaves it there
        backends = _Backends()
        _replace_backends(patches, backends)
        _replace_rendezvous(patches, rank, world_size)
        make_group = getattr(*MAKE_GROUP)

        def make_and_tell(*args: Any, **kwargs: Any) -> Any:
            if started.is_child:
                started.report_child()
            context.topology.process_group_created()
            if not args[2]:  # a list of ranks has every group but the first
                _note_contradiction((args[1], args[0]), (rank, world_size), context.findings)
            return make_group(*args, **kwargs)

        patches.set(*MAKE_GROUP, make_and_tell)
        _split_and_shrink(patches, backends)
        try:
            yield
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


def _note_contradiction(asked: tuple[int, int], job: tuple[int, int], findings: FindingSink) -> None:
    """Add a finding if the script names another rank or world size than the job. Each node may be a world of its own."""
    if asked != job:
        findings.note(
            FindingCode.RANK_MISMATCH,
            f"the script initialises torch.distributed as rank {asked[0]} of {asked[1]}, "
            f"but it runs as rank {job[0]} of {job[1]} of the job.",
            hint="In a real run such ranks wait for each other forever. Omit rank and world_size, so that torchrun's variables decide.",
        )


class _Backends:
    """The fake backends of this process, and which backend each replaces.

    They are held until the end: C++ would keep its own half of one alive only, and they are known by their Python half.
    """

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, str]] = {}
        self._allocator = object()

    def make(self, name: str, rank: int, size: int) -> Any:
        """A fake backend that replaces torch's of this name: "NCCL", "Gloo"."""
        backend = make_fake_group(rank, size)
        self._made[id(backend)] = backend, name
        return backend

    def name(self, backend: Any) -> str:
        """The backend that it replaces; empty for a fake backend that the script asked for."""
        return self._made.get(id(backend), (None, ""))[1]

    def coalesces(self, backend: Any) -> bool:
        """Whether it coalesces calls."""
        return self.name(backend) in _COALESCING

    def memory_allocator(self, backend: Any) -> object:
        """What `MemPool` takes as NCCL's allocator (`ncclMemAlloc`); other backends have none."""
        if not self.coalesces(backend):
            name = (self.name(backend) or "fake").lower()
            raise as_script_error(RuntimeError(f"Backend {name} does not support getMemAllocator"))
        return self._allocator


_COALESCING = frozenset({"NCCL", "NCCL2", "NCCLLazy", "XCCL"})


class _SimulatedBackend(type):
    """The metaclass of replaced backend classes: calling one makes a fake group, and fake groups are its instances."""

    make: Callable[[int, int], Any]

    def __call__(cls, store: Any, rank: int, size: int, options: Any = None, timeout: Any = None, **more: Any) -> Any:
        return cls.make(rank, size)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, FakeProcessGroup)


class _Options:
    """Replaces `ProcessGroupNCCL.Options`: any attribute may be set."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.config = _AnyAttributes()
        self._timeout: Any = None
        self.is_high_priority_stream = kwargs.get("is_high_priority_stream", False)


class _OptionsOfGroup(_Options):
    """The `options` of a group: NCCL's, and the switches of the fake group, which 2.15 reads when it makes another one."""

    def __init__(self, group: Any) -> None:
        super().__init__()
        options = fake_group_options(group)
        for name in dir(options):
            if isinstance(value := getattr(options, name), bool):
                setattr(self, name, value)


class _AnyAttributes:
    """An object whose attributes may all be set."""


def _replace_backends(patches: Patches, backends: _Backends) -> None:
    # Since 2.15 the backend "nccl" is made of NCCL2, and there is a lazy variant.
    for name in ("NCCL", "NCCL2", "NCCLLazy", "Gloo", "UCC", "XCCL", "MPI"):
        members = {"Options": _Options, "create": classmethod(_no_mpi), "make": staticmethod(partial(backends.make, name))}
        backend = _SimulatedBackend(f"ProcessGroup{name}", (), members)
        patches.add(distributed_c10d, backend.__name__, backend)  # builds of torch differ in what they have
    for name in ("ProcessGroupNCCL", "ProcessGroupGloo"):
        patches.add(dist, name, getattr(distributed_c10d, name))
    patches.set_all(distributed_c10d, dict.fromkeys(BACKENDS_AVAILABLE, True))
    # With a device bound, NCCL's groups are split off the default group's communicator. Ours have none.
    patches.set(*SPLIT_SOURCE, lambda *args: None)
    # Debug level DETAIL would wrap every group in one that compares ranks over gloo.
    patches.set(distributed_c10d, "get_debug_level", lambda: distributed_c10d.DebugLevel.OFF)
    patches.set(FakeProcessGroup, SET_SEQUENCE_NUMBER, lambda self: None)
    patches.set(FakeProcessGroup, GET_SEQUENCE_NUMBER, lambda self: 0)
    patches.add(FakeProcessGroup, SET_DEFAULT_TIMEOUT, lambda self, timeout: None)
    patches.set(FakeProcessGroup, "options", property(_OptionsOfGroup))
    # A `MemPool` of NCCL's allocator has segments that NCCL may register: registering moves no memory.
    patches.set(FakeProcessGroup, "mem_allocator", property(backends.memory_allocator))
    for name in ("register_mem_pool", "deregister_mem_pool"):
        patches.add(FakeProcessGroup, name, lambda self, pool, *args, **kwargs: None)
    # With it, batch_isend_irecv makes its calls between the start and the end of coalescing, and returns one handle for all.
    patches.set(FakeProcessGroup, "supports_coalescing", property(backends.coalesces))


def _store() -> Any:
    return getattr(dist, "HashStore")()  # noqa: B009  torch.distributed re-exports it unseen by type checkers


def _no_mpi(cls: Any, ranks: Any) -> None:
    raise as_script_error(
        RuntimeError("Distributed package doesn't have MPI built in. MPI is only included if you build PyTorch from source.")
    )


def _check_environment(asked_rank: int, asked_size: int) -> None:
    """Raise what a rendezvous over the environment raises for a variable that is not set (torch/distributed/rendezvous.py, 2.13)."""
    asked = {"RANK": asked_rank, "WORLD_SIZE": asked_size, "MASTER_ADDR": -1, "MASTER_PORT": -1}
    for name, number in asked.items():
        if number < 0 and name not in os.environ:
            message = f"Error initializing torch.distributed using {_FROM_ENVIRONMENT} rendezvous: "
            raise as_script_error(ValueError(f"{message}environment variable {name} expected, but not set"))


_FROM_ENVIRONMENT = "env://"


def _replace_rendezvous(patches: Patches, rank: int, world_size: int) -> None:
    def rendezvous(url: str, asked_rank: int = -1, asked_size: int = -1, **kwargs: Any) -> Iterator[Any]:
        if url == _FROM_ENVIRONMENT:
            _check_environment(asked_rank, asked_size)
        yield _store(), rank if asked_rank < 0 else asked_rank, world_size if asked_size < 0 else asked_size

    patches.set(distributed_c10d, "rendezvous", rendezvous)
    patches.set(dist, "rendezvous", rendezvous)
    patches.set(torch.distributed, "is_nccl_available", lambda: True)
    patches.set(distributed_c10d, "is_nccl_available", lambda: True)
    # It would wait in the store for the other ranks.
    patches.set(*STORE_BARRIER, lambda *args, **kwargs: None)


def _split_and_shrink(patches: Patches, backends: _Backends) -> None:
    """Groups made of parts of a group. torch checks the ranks and registers the groups, as for NCCL."""

    def split(parent: Any, *args: Any, **kwargs: Any) -> Any:
        return _split(backends, parent, *args, **kwargs)

    patches.set(dist.ProcessGroup, "split_group", split)
    patches.set(FakeProcessGroup, "supports_splitting", property(lambda self: True))
    patches.set(FakeProcessGroup, "supports_shrinking", property(lambda self: True))
    patches.set(FakeProcessGroup, "shrink", lambda group, excluded, *args, **kwargs: _shrunk(backends, group, excluded))


def _split(
    backends: _Backends,
    parent: Any,
    ranks: Any,
    timeout: Any = None,
    opts: Any = None,
    group_name: Any = None,
    group_desc: Any = None,
    device_types: Any = None,
) -> Any:
    """The group of these ranks of `parent`, if this rank is among them. torch's own fails on the store of a fake group (2.11 to 2.15)."""
    ranks = sorted(ranks)
    if parent.rank() not in ranks:
        return None
    rank, size = ranks.index(parent.rank()), len(ranks)
    devices = device_types or device_types_of(parent)
    parts = {device: backends.make(backends.name(backend_for(parent, device)), rank, size) for device in devices}
    return assemble_group(dist.ProcessGroup(_store(), rank, size), parts, group_name, group_desc or "undefined")


def _shrunk(backends: _Backends, group: Any, excluded: Any) -> Any:
    """The backend of the remaining ranks of `group`."""
    left = [rank for rank in range(group.size()) if rank not in excluded]
    return backends.make(backends.name(group), left.index(group.rank()), len(left))
