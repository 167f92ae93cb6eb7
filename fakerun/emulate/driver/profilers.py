"""torch's profilers record the host only: no work runs on the device, so there is no device activity to record."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode


@contextmanager
def host_only_profilers(context: EmulationContext) -> Iterator[None]:
    """Let `torch.profiler` and `torch.autograd.profiler` record host activities, whatever the script requests."""
    profiler = torch.autograd.profiler
    init = profiler.profile.__init__

    def initialise(self: Any, *args: Any, use_cuda: bool = False, use_device: str | None = None, **kwargs: Any) -> None:
        if use_cuda or use_device is not None:
            context.findings.note(
                FindingCode.HOST_PROFILE_ONLY,
                "the script profiles device activities, but a dry run has none: the profile shows the host's, with the dry run's times.",
            )
            kwargs["use_cpu"] = True
        init(self, *args, **kwargs)

    with Patches() as patches:
        patches.set(profiler.profile, "__init__", initialise)
        patches.set(profiler.emit_nvtx, "__enter__", lambda self: self)
        patches.set(profiler.emit_nvtx, "__exit__", lambda self, *error: False)
        yield
