"""Which tensors torch takes operators on lists for (`_foreach_add_`): on CUDA all plain tensors, which simulated ones stand for.

Optimizers, clipping of gradients and averages of weights choose by the exact type of the tensors; what they choose decides about
temporaries as large as all parameters.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import FOREACH_TYPES_OF_FUNCTIONS, FOREACH_TYPES_OF_OPTIMIZERS, FakeTensor


@contextmanager
def foreach_types(_: EmulationContext) -> Iterator[None]:
    """Have simulated tensors taken for plain ones until the context ends."""
    with Patches() as patches:
        for owner, name in (FOREACH_TYPES_OF_OPTIMIZERS, FOREACH_TYPES_OF_FUNCTIONS):
            patches.set(owner, name, [*getattr(owner, name), FakeTensor])
        yield
