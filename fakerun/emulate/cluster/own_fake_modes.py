"""Communication under a FakeTensorMode of the script's own, as in a memory estimator.

Such a mode takes the place of fakerun's. Its tensors hold no data and take no memory, here as on a GPU; what it communicates is reported
like any other call.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from weakref import WeakSet

import torch

from fakerun.emulate.cluster.communication import Communication
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import CPP_ACCELERATOR
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.records.observer import FindingSink
from fakerun.torch_private import FakeTensor, FakeTensorMode, disable_torch_function


class _FakeModeCommunication(Communication):
    """Communication whose results are tensors of one FakeTensorMode."""

    def __init__(self, context: EmulationContext, fake_mode: FakeTensorMode) -> None:
        super().__init__(context)
        self._fake_mode = fake_mode

    def operating(self) -> AbstractContextManager[Any]:
        return self._fake_mode

    def new_tensor(self, like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        return FakeTensor(self._fake_mode, torch.empty(shape, dtype=like.dtype, device="meta"), like.device)


@contextmanager
def own_fake_modes(context: EmulationContext) -> Iterator[None]:
    """Answer the communication operators that a FakeTensorMode of the script's meets, until the context ends."""
    answers = context.part(Communication).answers
    dispatch: Any = FakeTensorMode.__torch_dispatch__
    reported: WeakSet[FakeTensorMode] = WeakSet()

    def dispatched(self: Any, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if self not in reported:
            reported.add(self)
            _report(context.findings)
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if isinstance(device, torch.device) and device.type == CPP_ACCELERATOR:
            kwargs["device"] = context.devices.to_python(device)
        answer = answers.get(func)
        if answer is None:
            return dispatch(self, func, types, args, kwargs)
        with context.mode.lock, disable_torch_function():
            return answer(_FakeModeCommunication(context, self), args, kwargs)

    with Patches() as patches:
        patches.set(FakeTensorMode, "__torch_dispatch__", dispatched)  # fakerun's own mode has another
        yield


def _report(findings: FindingSink) -> None:
    findings.note(
        FindingCode.OWN_FAKE_MODE,
        "the script runs under a FakeTensorMode of its own. Its tensors take no device memory, here as on a GPU.",
        hint="The report's memory is that of the other tensors.",
    )
