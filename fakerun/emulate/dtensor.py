"""DTensor works out an operator's global result by running it on whole-size fake tensors: a computation about shapes, not of the job."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fakerun.emulate.mode import DeviceMode
from fakerun.emulate.patching import Patches
from fakerun.emulate.torch_private import ShardingPropagator

_PROPAGATE = "_propagate_tensor_meta_non_cached"


@contextmanager
def shape_propagation_unobserved(mode: DeviceMode) -> Iterator[None]:
    """Let sharding propagation run unobserved: on a GPU it takes no device memory."""
    propagate = getattr(ShardingPropagator, _PROPAGATE)

    def unobserved(self: Any, schema: Any) -> Any:
        with mode.unobserved():
            return propagate(self, schema)

    with Patches() as patches:
        patches.set(ShardingPropagator, _PROPAGATE, unobserved)
        yield
