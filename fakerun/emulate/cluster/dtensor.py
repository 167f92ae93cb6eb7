"""DTensor behaves as in eager mode, though a fake mode is active, which torch takes for a sign that it is being traced."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from types import ModuleType
from typing import Any

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.mode import DeviceMode
from fakerun.patching import Patches
from fakerun.torch_private import (
    ARE_WE_TRACING,
    PROPAGATE_SHAPES,
    SHARD_SIZE_AND_OFFSET,
    ShardingPropagator,
    StridedShard,
    are_we_tracing,
    current_fake_mode,
    current_proxy_mode,
)


class _ModulesThatAsk:
    """The modules of torch that have imported the function which says whether DTensor is being traced.

    Each is looked at once in a process: to look at all of torch takes a rank 13 ms, most of it for copying the pages of memory that it
    shared with the other ranks until then. Those that are loaded with this module are looked at before ranks are forked.
    """

    def __init__(self) -> None:
        self._looked_at: set[str] = set()
        self._found: list[ModuleType] = []
        self.until_now()

    def until_now(self) -> Sequence[ModuleType]:
        """Those that have been loaded up to now."""
        new = list(takewhile(lambda name: name not in self._looked_at, reversed(sys.modules)))
        self._looked_at.update(new)
        modules = (sys.modules[name] for name in new if name.startswith("torch."))
        self._found += [module for module in modules if getattr(module, ARE_WE_TRACING, None) is are_we_tracing]
        return self._found


_modules_that_ask = _ModulesThatAsk()


@contextmanager
def eager_dtensor(context: EmulationContext) -> Iterator[None]:
    """Let DTensor and the functional collectives act as they do on a GPU, until the context ends."""
    with Patches() as patches:
        _deny_tracing(patches)
        _propagate_unobserved(patches, context.mode)
        _remember_shard_sizes(patches)
        yield


def _deny_tracing(patches: Patches) -> None:
    """Traced, DTensor would not synchronise random states (a broadcast), nor wait for collectives where their result is first used."""

    def really_tracing() -> bool:
        fake = current_fake_mode()
        return (fake is not None and not isinstance(fake, DeviceMode)) or current_proxy_mode() is not None

    for module in _modules_that_ask.until_now():
        patches.set(module, ARE_WE_TRACING, really_tracing)


def _propagate_unobserved(patches: Patches, mode: DeviceMode) -> None:
    """Sharding propagation runs operators on whole-size fake tensors to learn shapes: on a GPU it takes no device memory."""
    propagate = getattr(ShardingPropagator, PROPAGATE_SHAPES)

    def for_shapes(self: Any, schema: Any) -> Any:
        with mode.shapes_only():
            return propagate(self, schema)

    patches.set(ShardingPropagator, PROPAGATE_SHAPES, for_shapes)


def _remember_shard_sizes(patches: Patches) -> None:
    """Random initialisation asks for the size of a shard each time, and torch splits a range of the whole length for it (2.13)."""
    work_out = getattr(StridedShard, SHARD_SIZE_AND_OFFSET)
    known: dict[Any, tuple[int, Any]] = {}

    def size_and_offset(self: Any, *args: Any, **kwargs: Any) -> tuple[int, Any]:
        key = self, args, tuple(kwargs.items())
        found = known.get(key)
        if found is None:
            found = work_out(self, *args, **kwargs)
            if not isinstance(found[1], list):  # a list of all offsets is the caller's to change
                known[key] = found
        return found

    patches.set(StridedShard, SHARD_SIZE_AND_OFFSET, size_and_offset)
