"""FSDP2's root as it was before torch 2.8: it stays gathered between forward and backward, whatever `reshard_after_forward` says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import FSDP_ROOT_INITIALISATION, leave_root_to_fsdp


@contextmanager
def gathered_root(context: EmulationContext) -> Iterator[None]:
    """Treat each root as one of which nothing was said, if the job asks for the behaviour of such a torch."""
    behaviour = context.job.torch_behaviour
    if behaviour is None or not behaviour.root_stays_gathered:
        yield
        return
    initialise = getattr(*FSDP_ROOT_INITIALISATION)

    def initialise_root(state: Any) -> None:
        leave_root_to_fsdp(state)
        initialise(state)

    with Patches() as patches:
        patches.set(*FSDP_ROOT_INITIALISATION, initialise_root)
        yield
