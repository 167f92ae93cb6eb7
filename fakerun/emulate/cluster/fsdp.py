"""Reports what FSDP2 holds besides the script's tensors: communication buffers, and gradients that are not reduced yet."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import FSDPParamGroup, pytree, unsharded_gradient

_OPERATORS = ("all_gather_copy_in", "split_with_sizes_copy", "chunk_cat")
"""torch's own operators around FSDP2's collectives: into the gathered buffer, out of it into the parameters, into the reduced buffer."""


@contextmanager
def accumulated_gradients(context: EmulationContext) -> Iterator[None]:
    """Report whole gradients that FSDP2 keeps from one backward to the next (`set_requires_gradient_sync(False)`, pipelines)."""
    end_backward = FSDPParamGroup.post_backward

    def end_backward_and_tell(group: Any, *args: Any) -> None:
        end_backward(group, *args)
        if not group.reduce_grads:
            for parameter in group.fsdp_params:
                # Both: until 2.13 a gradient that is reduced in another dtype is kept in a place of its own.
                kept = (parameter.unsharded_accumulated_grad, unsharded_gradient(parameter))
                context.allocations.gradients_kept([gradient for gradient in kept if gradient is not None])

    with Patches() as patches:
        patches.set(FSDPParamGroup, "post_backward", end_backward_and_tell)
        yield


def fsdp_buffers(context: EmulationContext) -> None:
    """Register the handlers of the `fsdp` operators that this torch has."""
    mode, allocations = context.mode, context.allocations

    def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        output = mode.simulate_call(func, (), args, dict(kwargs))
        written = mode.mutations.of(func, args, kwargs)
        allocations.communication_buffers([leaf for leaf in (*pytree.tree_leaves(output), *written) if isinstance(leaf, torch.Tensor)])
        return output

    for name in _OPERATORS:
        if hasattr(torch.ops.fsdp, name):
            mode.handle(getattr(torch.ops.fsdp, name).default, run)
