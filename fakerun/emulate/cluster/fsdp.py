"""Tells the observer which buffers FSDP2 gathers into and reduces from: memory that exists only for communication."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fakerun.emulate.device.mode import DeviceMode
from fakerun.emulate.torch_private import pytree
from fakerun.records.observer import OperationObserver

_OPERATORS = ("all_gather_copy_in", "split_with_sizes_copy", "chunk_cat")
"""torch's own operators around FSDP2's collectives: into the gathered buffer, out of it into the parameters, into the reduced buffer."""


class FsdpBuffers:
    """The handlers of the `fsdp` operators."""

    def __init__(self, mode: DeviceMode, observer: OperationObserver) -> None:
        self._mode = mode
        self._observer = observer
        for name in _OPERATORS:
            if hasattr(torch.ops.fsdp, name):
                mode.handlers[getattr(torch.ops.fsdp, name).default] = self._run

    def _run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        output = self._mode.simulate_call(func, (), args, dict(kwargs))
        written = self._mode.written_by(func, args, kwargs)
        self._observer.communication_buffers([leaf for leaf in (*pytree.tree_leaves(output), *written) if isinstance(leaf, torch.Tensor)])
        return output
