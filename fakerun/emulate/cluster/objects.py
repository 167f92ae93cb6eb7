"""Python objects that another rank sends: it alone knows them, so the receiver keeps what it holds, and the report says so.

The communication is torch's (torch/distributed/distributed_c10d.py, 2.11 to 2.15): sizes first, then the pickled objects, taken to be as
large as what the receiver holds. Objects that this rank sends, and those that all ranks exchange, go torch's own way; all travel in host
tensors, whatever the backend: on the accelerator they would have no value.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from fakerun.emulate.cluster.communication import Communication
from fakerun.emulate.patching import Patches
from fakerun.records.observer import FindingSink


@contextmanager
def simulated_objects(
    communication: Communication, findings: FindingSink, unnoted: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    """Replace the functions that communicate objects for as long as the context lasts.

    `unnoted` keeps the user from being told of the values of their tensors.
    """
    objects = _Objects(findings, unnoted)
    functions: dict[str, Callable[..., Any]] = {
        "all_gather_object": dist.all_gather_object,
        "gather_object": dist.gather_object,
        "send_object_list": dist.send_object_list,
        "broadcast_object_list": objects.broadcast,
        "recv_object_list": objects.receive,
        "scatter_object_list": objects.scatter,
    }
    with Patches() as patches:
        patches.set(distributed_c10d, "_get_object_coll_device", lambda group=None: "cpu")
        for name, function in functions.items():
            carried = _carried(communication, function)
            patches.set(dist, name, carried)
            patches.set(distributed_c10d, name, carried)
        yield


def _carried(communication: Communication, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with communication.carrying_objects():
            return function(*args, **kwargs)

    return call


class _Objects:
    """torch's functions of the same arguments; those that a newer torch adds are handed on."""

    def __init__(self, findings: FindingSink, unnoted: Callable[[], AbstractContextManager[None]]) -> None:
        self._findings = findings
        self._unnoted = unnoted
        self._broadcast = dist.broadcast_object_list
        self._receive = dist.recv_object_list
        self._scatter = dist.scatter_object_list

    def broadcast(
        self,
        object_list: list[Any],
        src: int | None = None,
        group: Any = None,
        device: Any = None,
        group_src: int | None = None,
        **more: Any,
    ) -> Any:
        """`torch.distributed.broadcast_object_list`."""
        if src is None and group_src is None:
            src = 0
        if (sender := _other_rank(src, group, group_src)) is None:
            return self._broadcast(object_list, src, group, device, group_src, **more)
        for tensor in _pickled(object_list, device):
            dist.broadcast(tensor, group=group, group_src=sender)
        self._note("broadcast_object_list", sender, group)
        return None

    def receive(
        self,
        object_list: list[Any],
        src: int | None = None,
        group: Any = None,
        device: Any = None,
        group_src: int | None = None,
        **more: Any,
    ) -> Any:
        """`torch.distributed.recv_object_list`."""
        if (sender := _other_rank(src, group, group_src)) is None:
            return self._receive(object_list, src, group, device, group_src, **more)
        with self._unnoted():
            for tensor in _pickled(object_list, device):
                dist.recv(tensor, group=group, group_src=sender)
        return self._note("recv_object_list", sender, group)

    def scatter(
        self,
        scatter_object_output_list: list[Any],
        scatter_object_input_list: Any = None,
        src: int | None = None,
        group: Any = None,
        group_src: int | None = None,
        **more: Any,
    ) -> Any:
        """`torch.distributed.scatter_object_list`."""
        if src is None and group_src is None:
            src = 0
        if (sender := _other_rank(src, group, group_src)) is None:
            return self._scatter(scatter_object_output_list, scatter_object_input_list, src, group, group_src, **more)
        size, content = _pickled(scatter_object_output_list[:1], None)
        with self._unnoted():
            dist.broadcast(size, group=group, group_src=sender)
            for tensor in (content, size):
                dist.scatter(tensor, group=group, group_src=sender)
        self._note("scatter_object_list", sender, group)
        return None

    def _note(self, name: str, sender: int, group: Any) -> int:
        """Tell the user; returns the sender's global rank."""
        world: Any = dist.group.WORLD
        rank = dist.get_global_rank(group or world, sender)
        self._findings.note(
            "unknown-object",
            f"{name}: what rank {rank} sends is not known to a rank alone; the list keeps what it holds.",
            hint=f"Simulate rank {rank}, or let a dry run make the object on every rank.",
        )
        return rank


def _other_rank(src: int | None, group: Any, group_src: int | None) -> int | None:
    """The sender's rank in the group. None where torch has its own ways: this rank sends, or is not in the group, or nobody is named."""
    group = group or dist.group.WORLD
    me = dist.get_rank(group)
    if me < 0 or (src is None and group_src is None):
        return None
    sender = dist.get_group_rank(group, src) if src is not None else group_src
    return None if sender == me else sender


def _pickled(objects: Sequence[Any], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The sizes of the pickled objects (int64), and the bytes of all of them (uint8), on the device that they travel from."""
    contents = [pickle.dumps(each) for each in objects]
    sizes = torch.tensor([len(content) for content in contents], dtype=torch.long)
    content = torch.frombuffer(bytearray(b"".join(contents)), dtype=torch.uint8)
    return sizes.to(device or "cpu"), content.to(device or "cpu")
