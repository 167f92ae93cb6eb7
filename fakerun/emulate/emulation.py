"""The emulation of one rank: everything that the script is made to see, put together.

Each room lists its handlers and contexts in its `contexts.py`, and states which of its contexts must be entered before which, and why. No
other order matters: no two contexts change the same attribute of torch, and a context reads what another one changed when the script
calls it, not when it is entered.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from fakerun.emulate.checkpoints import contexts as checkpoints
from fakerun.emulate.cluster import contexts as cluster
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device import contexts as device
from fakerun.emulate.device.current_streams import CurrentStreams
from fakerun.emulate.device.mode import DeviceMode
from fakerun.emulate.driver import contexts as driver
from fakerun.emulate.kernels import contexts as kernels
from fakerun.emulate.order import Enter, Precedence, Register, check_order
from fakerun.emulate.rank_tracking import contexts as rank_tracking
from fakerun.emulate.rank_tracking.contexts import followed_rank
from fakerun.emulate.unsupported import contexts as unsupported
from fakerun.errors import FakerunError
from fakerun.job.spec import JobSpec
from fakerun.records.mailbox import Mailbox
from fakerun.records.observer import Observers


def _device_mode(context: EmulationContext) -> DeviceMode:
    return context.mode


def _torch_functions(context: EmulationContext) -> AbstractContextManager[None]:
    return context.functions.installed()


HANDLERS: tuple[Register, ...] = (*device.HANDLERS, *kernels.HANDLERS, *cluster.HANDLERS)

CONTEXTS: tuple[Enter, ...] = (
    *device.CONTEXTS,
    *driver.CONTEXTS,
    *kernels.CONTEXTS,
    *cluster.CONTEXTS,
    *checkpoints.CONTEXTS,
    *unsupported.CONTEXTS,
    *rank_tracking.CONTEXTS,
    _torch_functions,
    _device_mode,
)

ORDER: tuple[Precedence, ...] = (
    *driver.ORDER,
    Precedence(first=followed_rank, then=_torch_functions, reason="it observes functions of torch, which are then put into their places"),
)

check_order(CONTEXTS, ORDER)


@contextmanager
def emulation(
    job: JobSpec, rank: int, mailbox: Mailbox, observers: Observers, streams: CurrentStreams, abort: Callable[[FakerunError], None]
) -> Iterator[None]:
    """Make this process look like rank `rank` of `job` on its hardware. Everything is put back when the context ends."""
    context = EmulationContext.of(job, rank, mailbox, observers, streams, abort)
    for register in HANDLERS:
        register(context)
    with ExitStack() as stack:
        for enter in CONTEXTS:
            stack.enter_context(enter(context))
        yield
