"""Python objects that ranks exchange: torch's own functions, on host tensors whatever the backend.

On the accelerator the bytes would have no values. Exchanges among all ranks, and what this rank sends, run unchanged in torch. What one
other rank sends comes from that rank, which is simulated for this purpose. If it is unavailable, the list keeps its objects, and the
recorded sizes are theirs.
"""

import inspect
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from fakerun.emulate.cluster.communication import Communication
from fakerun.emulate.cluster.peer_values import ObjectFallback
from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import DEVICE_OF_OBJECTS

Tensors = Iterator[torch.Tensor]


def _sizes_and_contents(objects: Sequence[Any]) -> Tensors:
    """What broadcast and recv bring: the sizes of the pickled objects (int64), then the bytes of all of them (uint8)."""
    contents = [pickle.dumps(each) for each in objects]
    yield torch.tensor([len(content) for content in contents], dtype=torch.long)
    yield _as_tensor(b"".join(contents))


def _parts(objects: Sequence[Any]) -> Tensors:
    """What scatter brings: the size of the largest object, this rank's own bytes, their number (torch/distributed/distributed_c10d.py)."""
    content = pickle.dumps(objects[0])
    size = torch.tensor([len(content)])
    return iter((size, _as_tensor(content), size))


def _nothing(objects: Sequence[Any]) -> Tensors:
    """No tensors: the objects do not come from one other rank."""
    return iter(())


def _as_tensor(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


_OBJECT_FUNCTIONS: dict[str, Callable[[Sequence[Any]], Tensors]] = {
    "all_gather_object": _nothing,
    "broadcast_object_list": _sizes_and_contents,
    "gather_object": _nothing,
    "recv_object_list": _sizes_and_contents,
    "scatter_object_list": _parts,
    "send_object_list": _nothing,
}
"""The functions, and what would bring each the objects that its first argument, a list, already holds."""


@contextmanager
def simulated_objects(context: EmulationContext) -> Iterator[None]:
    """Let the functions that communicate objects use host tensors until the context ends."""
    with Patches() as patches:
        patches.set(*DEVICE_OF_OBJECTS, lambda group=None: "cpu")
        for name, held in _OBJECT_FUNCTIONS.items():
            carried = _with_host_tensors(context, getattr(dist, name), held)
            patches.set(dist, name, carried)
            patches.set(distributed_c10d, name, carried)
        yield


def _with_host_tensors(
    context: EmulationContext, function: Callable[..., Any], held: Callable[[Sequence[Any]], Tensors]
) -> Callable[..., Any]:
    communication = context.part(Communication)
    first_argument = next(iter(inspect.signature(function).parameters))

    def call(*args: Any, **kwargs: Any) -> Any:
        objects: Any = args[0] if args else kwargs.get(first_argument)
        kept = list(objects) if isinstance(objects, list) else []
        in_place = ObjectFallback(held(kept))
        with communication.communicating_objects(in_place):
            result = function(*args, **kwargs)
        if in_place.unavailable is not None:
            objects[:] = kept  # the very objects, not copies
            peer, reason = in_place.unavailable
            context.findings.note(
                FindingCode.UNKNOWN_OBJECT,
                f"{function.__name__}: the objects from rank {peer} are unknown ({reason.value}), so the list keeps its own.",
                hint=f"Simulate rank {peer} too, or create the objects on every rank in a dry run.",
            )
        return result

    return call
