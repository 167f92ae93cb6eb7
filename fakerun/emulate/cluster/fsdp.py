"""Tells the observer which buffers FSDP2 gathers into and reduces from: memory that exists only for communication."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fakerun.emulate.device.mode import DeviceMode
from fakerun.emulate.torch_private import pytree
from fakerun.records.observer import OperationObserver

_OPERATORS = ("all_gather_copy_in", "split_with_sizes_copy", "chunk_cat")
"""torch's own operators around FSDP2's collectives: into the gathered buffer, out of it into the parameters, into the reduced buffer."""


def report_fsdp_buffers(mode: DeviceMode, observer: OperationObserver) -> None:
    """Register the handlers of the `fsdp` operators that this torch has."""

    def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        output = mode.simulate_call(func, (), args, dict(kwargs))
        written = mode.writes.of(func, args, kwargs)
        observer.communication_buffers([leaf for leaf in (*pytree.tree_leaves(output), *written) if isinstance(leaf, torch.Tensor)])
        return output

    for name in _OPERATORS:
        if hasattr(torch.ops.fsdp, name):
            mode.handlers[getattr(torch.ops.fsdp, name).default] = run
